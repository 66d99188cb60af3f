"""How click methods fare with users who click less well: a table of ours, in percent and clicks.

Every image is clicked anew in each of a robot user's draws; spread is over those draws.
"""

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from adclick.reporting.paper_tables import AVERAGES
from adclick.reporting.table_forms import NOT_RUN, RANKING, Table

Record = Mapping[str, Any]
Records = dict[tuple[str, str, str, str], dict[int, Record]]  # data set, category, method, user

KEY = "honest_clicks"
TITLE = "Honest clicks: the same methods with users who click less well"
COUNTS = (5, 3, 1)
METRICS = {"miou": "mIoU", "worst": "worst", "pixel_ap": "AP"}
NOC_TARGETS = {"0.80": "NoC80", "0.85": "NoC85", "0.90": "NoC90"}
ONE_DRAW = "-"  # nothing to be the worst of


@dataclass(frozen=True)
class Block:
    """Rows that may be compared: one category, or the average over all of a data set."""

    dataset: str
    category: str
    members: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """One method with one user; a number is None where there is none to rank."""

    method: str
    robot: str
    cells: tuple[str, ...]
    numbers: tuple[float | None, ...]


def build_robot_table(
    records: Sequence[Record],
    *,
    datasets: Mapping[str, Sequence[str]],
    methods: Sequence[str],
    robots: Mapping[str, str],
    titles: Mapping[str, str],
    setting: str,
    departures: Sequence[str],
) -> Table:
    """A row a method and robot user, for every category of `datasets` and their average.

    `records` are metric records of kind `clicks`; `robots` maps a user's name to what it does, in
    words. Columns are mIoU, the mIoU of every image's worst draw, and AP, after those of 5, 3 and 1
    clicks that were reported; then the clicks to an IoU of 80, 85 and 90 %. Cells are means over
    draws with their sample standard deviation, seeds averaged first; with a single draw the
    deviation is over seeds. Best and second best are marked among the methods that met the same
    user. An average needs every category.

    Raises ValueError for two records of one run, or users that counted up to different numbers.
    """
    index = _index(records)
    all_runs = [one for runs in index.values() for one in runs.values()]
    reported = {count for one in all_runs for count in one["counts"]}
    counts = [count for count in COUNTS if str(count) in reported]
    names = {**AVERAGES, **titles}
    columns = [f"{label}@{count}" for count in counts for label in METRICS.values()]
    columns = ["Data set", "Category", "Method", "User", *columns, *NOC_TARGETS.values()]
    texts: list[list[str]] = []
    marks: list[list[str]] = []
    for block in _blocks(datasets):
        pairs = itertools.product(methods, robots)
        rows = [_row(block, index, method, robot, counts) for method, robot in pairs]
        place = [names.get(block.dataset, block.dataset), names.get(block.category, block.category)]
        for row in rows:
            rivals = [other for other in rows if other.robot == row.robot]
            method = names.get(row.method, row.method)
            texts.append([*place, method, names.get(row.robot, row.robot), *row.cells])
            marks.append(["", "", "", "", *_marks(row, rivals, len(NOC_TARGETS))])
    return Table(
        None,
        TITLE,
        tuple(columns),
        pd.DataFrame(texts, columns=columns, dtype=str),
        pd.DataFrame(marks, columns=columns, dtype=str),
        setting,
        tuple(departures),
        tuple(_notes(index, robots, names)),
        labels=4,
        key=KEY,
    )


def _index(records: Sequence[Record]) -> Records:
    index: Records = {}
    for record in records:
        key = (record["dataset"], record["category"], record["method"], record["robot"])
        runs = index.setdefault(key, {})
        if record["seed"] in runs:
            raise ValueError(f"two records of {', '.join(key)}, seed {record['seed']}")
        runs[record["seed"]] = record
    caps = {one["noc_cap"] for runs in index.values() for one in runs.values()}
    if len(caps) > 1:
        raise ValueError(f"numbers of clicks cannot be compared: counted up to {sorted(caps)}")
    return index


def _blocks(datasets: Mapping[str, Sequence[str]]) -> list[Block]:
    """Averages first, then categories; one category is its own average."""
    found: list[Block] = []
    for dataset, categories in datasets.items():
        if len(categories) > 1:
            found.append(Block(dataset, "total_average", tuple(categories)))
        found += [Block(dataset, category, (category,)) for category in categories]
    return found


def _row(block: Block, index: Records, method: str, robot: str, counts: Sequence[int]) -> Row:
    runs = [index.get((block.dataset, name, method, robot), {}) for name in block.members]
    seeds = sorted(set[int].intersection(*(set(one) for one in runs)))
    width = len(counts) * len(METRICS) + len(NOC_TARGETS)
    if not seeds:
        return Row(method, robot, (NOT_RUN,) * width, (None,) * width)
    # One list of categories a seed.
    chosen = [[one[seed] for one in runs] for seed in seeds]
    pairs = [_cell(chosen, str(count), metric) for count in counts for metric in METRICS]
    pairs += [_noc_cell(chosen, target) for target in NOC_TARGETS]
    cells, numbers = zip(*pairs, strict=True)
    return Row(method, robot, cells, numbers)


def _cell(chosen: Sequence[Sequence[Record]], count: str, metric: str) -> tuple[str, float | None]:
    """A cell's text and its number, both at the printed precision."""
    draws = len(chosen[0][0]["draws"])
    if metric == "worst":
        if draws == 1:
            return ONE_DRAW, None
        return _text([_mean([_mean([one["worst"][count] for one in own]) for own in chosen])])
    # [seed][draw]: means over categories
    values = [
        [_mean([one["draws"][draw][count][metric] for one in own]) for draw in range(draws)]
        for own in chosen
    ]
    if draws == 1:
        return _text([own[0] for own in values])
    return _text([_mean(list(own)) for own in zip(*values, strict=True)])


def _text(fractions: Sequence[float]) -> tuple[str, float]:
    shown = f"{100 * _mean(fractions):.1f}"
    if len(fractions) == 1:
        return shown, float(shown)
    return f"{shown} ± {100 * statistics.stdev(fractions):.1f}", float(shown)


def _noc_cell(chosen: Sequence[Sequence[Record]], target: str) -> tuple[str, float]:
    shown = f"{_mean([_mean([one['noc'][target] for one in own]) for own in chosen]):.2f}"
    return shown, float(shown)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _marks(row: Row, rivals: Sequence[Row], fewest: int) -> list[str]:
    """`best`, `second` or nothing a column; of the last `fewest` columns less is better."""
    marks: list[str] = []
    for place, number in enumerate(row.numbers):
        sign = -1 if place >= len(row.numbers) - fewest else 1
        found = [rival.numbers[place] for rival in rivals]
        ranked = sorted({sign * other for other in found if other is not None}, reverse=True)
        if number is None or len(rivals) == 1:
            marks.append("")
        else:
            marks.append(("best", "second", "")[min(ranked.index(sign * number), 2)])
    return marks


def _notes(index: Records, robots: Mapping[str, str], names: Mapping[str, str]) -> list[str]:
    notes = [f"{names.get(name, name)}: {words}." for name, words in robots.items()]
    images: dict[tuple[str, str], int] = {}
    draws: set[int] = set()
    seeds: set[int] = set()
    caps: set[int] = set()
    for (dataset, category, _, _), runs in index.items():
        for seed, record in runs.items():
            images[dataset, category] = record["images"]
            draws.add(len(record["draws"]))
            seeds.add(seed)
            caps.add(record["noc_cap"])
    counted = ", ".join(f"{names.get(name, name)} {number}" for (_, name), number in images.items())
    if counted:
        notes.append(f"Images with a defect, each clicked in every draw: {counted}.")
    notes.append(
        "mIoU and AP in percent: mean and sample standard deviation (±) over draws"
        + (
            f", seeds {', '.join(map(str, sorted(seeds)))} averaged; with one draw over seeds"
            if len(seeds) > 1
            else ""
        )
        + ". worst: the mean over images of the lowest IoU of all draws."
    )
    notes += [
        f"NoC80, NoC85, NoC90: mean clicks to an IoU of 80, 85 and 90 %, {cap} where it is not"
        " reached; fewer is better."
        for cap in caps
    ]
    notes.append(f"{RANKING}, among the methods that met the same user.")
    return notes
