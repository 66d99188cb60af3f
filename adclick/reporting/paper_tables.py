"""The paper's result tables: published numbers, ours, and the difference, in percent.

Metrics come in as fractions in [0, 1]; here, in `figures` and in `plots` they become percent. A
table is text from the start, so that its forms (`table_forms`) cannot disagree, and equal input
gives equal bytes.
"""

import itertools
import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from adclick.reporting.table_forms import DIFFERENCE, LATER, NOT_RUN, OURS, PAPER, RANKING, Table
from adclick.run.settings.tables import TableLayout

Record = Mapping[str, Any]
# Keys: data set, method, category, then seed; and row, data set, category, metric.
Index = dict[tuple[str, str, str], dict[int, Record]]
Published = dict[tuple[str, str, str, str], Mapping[str, str]]

UNDEFINED = "n/a"  # measured, and the metric has no value (an AUROC of one class)
ABSENT = "-"  # not in the paper
MARKED = (
    f"Percent. {RANKING}: per column, among the rows of one data set and category, at the printed"
    " precision"
)
SOURCES = (
    "The paper's numbers and settings as it states them, and where this implementation departs from"
    " them: config/published."
)
APART = "; published rows and those of this run apart, since they differ in scale"

AVERAGES = {
    "total_average": "Total average",
    "texture_average": "Texture average",
    "object_average": "Object average",
}
METRICS = {
    "pixel_ap": "AP",
    "pixel_pro": "PRO",
    "pixel_auroc": "P-AUROC",
    "image_auroc": "I-AUROC",
    "miou": "mIoU",
}


@dataclass(frozen=True)
class Block:
    """Rows that may be compared: one category of one data set, or one average over `members`."""

    dataset: str
    category: str
    published_category: str
    members: tuple[str, ...]


@dataclass(frozen=True)
class Variant:
    """One of our rows: method key, state of the table's switches, published row it repeats."""

    method: str
    switches: tuple[bool, ...]
    counterpart: str


@dataclass(frozen=True)
class Row:
    """One line of a block; `numbers` are its cells as ranked (None: not ranked)."""

    block: Block
    method: str
    source: str
    switches: tuple[bool, ...]
    cells: tuple[str, ...]
    numbers: tuple[float | None, ...]
    partial: bool = False  # an average that lacks categories


def read_published(path: Path) -> pd.DataFrame:
    """The published numbers as printed: every column text, an empty cell the empty text."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def scale_departures(facts: Mapping[str, str], settings: pd.DataFrame) -> list[str]:
    """What a run does at another scale than the paper: each fact beside the paper's value.

    `facts` are a run's values by their `setting` in config/published/settings.csv, whose column
    `ours` begins with the value at full scale. Raises ValueError for a name that the file lacks.
    """
    lines = {line["setting"]: line for line in settings.to_dict("records")}
    unknown = [name for name in facts if name not in lines]
    if unknown:
        raise ValueError(f"no such setting: {', '.join(unknown)}")
    found: list[str] = []
    for name, value in facts.items():
        paper, full = str(lines[name]["paper"]), str(lines[name]["ours"])
        if not re.match(rf"{re.escape(value)}(?![\w.-])", full):
            stated = f"full scale: {full}" if paper == "not stated" else f"paper: {paper}"
            found.append(f"{name} {value} ({stated})")
    return found


def build_table(
    layout: TableLayout,
    records: Sequence[Record],
    published: pd.DataFrame,
    *,
    datasets: Mapping[str, Sequence[str]],
    methods: Sequence[str],
    titles: Mapping[str, str] | None = None,
    setting: str = "",
    departures: Sequence[str] = (),
    switches: Mapping[str, Mapping[str, Any]] | None = None,
    textures: Mapping[str, Sequence[str]] | None = None,
    remarks: Sequence[str] = (),
) -> Table:
    """A table of the paper, with our measurements beside the published ones.

    `records` are metric records (kinds `clicks` and `maps`) of any run; those of `methods` in the
    categories of `datasets` (data set -> categories) are shown, both in the order given. A block of
    rows is one category or one average. It holds the published rows and those of later work (when
    one of `methods` was run there), ours, and ours minus its counterpart. Ours is the mean over
    seeds, with the sample standard deviation when there are several; of an average, that of the
    seeds' averages. Best and second best, later work aside, are marked per column within a block,
    at printed precision, ties included; with
    `departures` from the paper's scale, published rows and ours each among themselves. An average
    that lacks categories says how many it has, and is neither ranked nor subtracted.

    `titles` are printed names of data sets, categories and methods; `setting` (one line on the run)
    and `departures` (from the paper's scale) go below the table. `switches` (Tables 7 and 8) are
    the settings of each variant, which also find its counterpart. `textures` are the categories of
    a data set that fill the picture: where the paper has averages of textures and of objects, they
    say which is which. `remarks` are notes on the run.

    Raises ValueError for two records of one run, or a variant without its switches.
    """
    shown = _select(records, layout, datasets, methods)
    lines = _index_published(str(layout.number), published)
    later = _index_published(f"later {layout.number}", published)
    variants = _variants(layout, lines, methods, switches or {})
    index = _index_records(shown)
    rows = [
        row
        for dataset, categories in datasets.items()
        for block in _blocks(
            layout,
            dataset,
            categories,
            _published_categories(published, dataset),
            (textures or {}).get(dataset, ()),
        )
        for row in _block_rows(block, layout, index, (lines, later), variants, titles or {})
    ]
    compared = any(row.source == PAPER for row in rows)
    marking = [MARKED + (APART if departures and compared else "") + "."]
    table_notes = [
        *_run_notes(shown, layout, titles or {}),
        *remarks,
        *(marking + _row_notes(rows, lines, layout)),
        *_later_notes(rows, later, layout),
        SOURCES,
    ]
    said = (setting.rstrip(". "), tuple(departures))
    return _assemble(layout, rows, titles or {}, said, table_notes)


def _select(
    records: Sequence[Record],
    layout: TableLayout,
    datasets: Mapping[str, Sequence[str]],
    methods: Sequence[str],
) -> list[Record]:
    """The records that belong in the table, in an order that does not depend on theirs."""
    wanted = [
        record
        for record in records
        if record["kind"] == layout.kind
        and record["method"] in methods
        and record["category"] in datasets.get(record["dataset"], ())
    ]
    return sorted(wanted, key=_identity)


def _identity(record: Record) -> tuple[str, str, str, int]:
    return record["dataset"], record["method"], record["category"], int(record["seed"])


def _index_records(records: Iterable[Record]) -> Index:
    index: Index = {}
    for record in records:
        *key, seed = _identity(record)
        runs = index.setdefault((key[0], key[1], key[2]), {})
        if seed in runs:
            raise ValueError(f"two {record['kind']} records of {', '.join(key)}, seed {seed}")
        runs[seed] = record
    return index


def _index_published(table: str, published: pd.DataFrame) -> Published:
    """The published lines of a table of the paper, or of later work beside it (`later 2`)."""
    lines = [
        {str(name): str(text) for name, text in line.items()}
        for line in published.to_dict("records")
    ]
    return {
        (line["row"], line["dataset"], line["category"], line["metric"]): line
        for line in lines
        if line["table"] == table
    }


def _published_cell(lines: Published, row: str, block: Block, column: str, part: str) -> str:
    line = lines.get((row, block.dataset, block.published_category, column), {})
    return line.get(part, "")


def _variants(
    layout: TableLayout,
    lines: Published,
    methods: Sequence[str],
    switches: Mapping[str, Mapping[str, Any]],
) -> list[Variant]:
    if not layout.switches:
        return [Variant(method, (), layout.counterparts.get(method, "")) for method in methods]
    by_state = {_row_state(layout, row): row for row, *_ in lines}
    variants: list[Variant] = []
    for method in methods:
        missing = [key for key in layout.switches.values() if key not in switches.get(method, {})]
        if missing:
            raise ValueError(f"variant {method}: no value of {', '.join(missing)}")
        state = tuple(bool(switches[method][key]) for key in layout.switches.values())
        variants.append(Variant(method, state, by_state.get(state, "")))
    return variants


def _row_state(layout: TableLayout, row: str) -> tuple[bool, ...]:
    """Which switches a published ablation row has on: its name lists them, joined by +."""
    return tuple(printed in row.split("+") for printed in layout.switches)


def _published_categories(published: pd.DataFrame, dataset: str) -> list[str]:
    """The categories of a data set in the published numbers, averages too, in their order."""
    lines = published.to_dict("records")
    return list(dict.fromkeys(one["category"] for one in lines if one["dataset"] == dataset))


def _blocks(
    layout: TableLayout,
    dataset: str,
    categories: Sequence[str],
    published: Sequence[str],
    textures: Sequence[str],
) -> list[Block]:
    """Averages first, then categories; a data set of one category is its own average.

    An average is over the published categories of its kind where there are any, whatever was run.
    """
    members = tuple(name for name in published if name not in AVERAGES) or tuple(categories)
    if len(members) == 1:
        return [Block(dataset, members[0], "total_average", members)]
    groups = {
        "total_average": members,
        "texture_average": tuple(name for name in members if name in textures),
        "object_average": tuple(name for name in members if name not in textures),
    }
    blocks = [
        Block(dataset, name, name, found)
        for name, found in groups.items()
        if name == "total_average"
        or (layout.per_category and name in published and found and set(found) <= set(categories))
    ]
    if layout.per_category:
        blocks += [Block(dataset, category, category, (category,)) for category in categories]
    return blocks


def _block_rows(
    block: Block,
    layout: TableLayout,
    index: Index,
    printed: tuple[Published, Published],
    variants: Sequence[Variant],
    titles: Mapping[str, str],
) -> list[Row]:
    """`printed` are the paper's lines, then those of later work."""
    present = {
        variant.method: _present(index, layout, block, variant.method) for variant in variants
    }
    complete = {method for method, found in present.items() if found == block.members}
    rows: list[Row] = []
    if any(present.values()):
        rows += _published_rows(block, layout, printed[0], PAPER, ranked=bool(complete))
        rows += _published_rows(block, layout, printed[1], LATER, ranked=False)
    published = {row.method: row for row in rows if row.source == PAPER}
    for variant in variants:
        found = present[variant.method]
        name = titles.get(variant.method, variant.method)
        ours = _our_row(block, layout, index, variant, found, name)
        rows.append(ours)
        if variant.method in complete and variant.counterpart in published:
            rows.append(_difference_row(ours, published[variant.counterpart]))
    return rows


def _published_rows(
    block: Block, layout: TableLayout, lines: Published, source: str, *, ranked: bool
) -> list[Row]:
    rows: list[Row] = []
    for name in dict.fromkeys(row for row, *_ in lines):
        cells = [_published_cell(lines, name, block, column, "value") for column in layout.columns]
        if any(cells):
            numbers = tuple(float(cell) if cell and ranked else None for cell in cells)
            shown = tuple(cell or ABSENT for cell in cells)
            rows.append(Row(block, name, source, _row_state(layout, name), shown, numbers))
    return rows


def _our_row(
    block: Block,
    layout: TableLayout,
    index: Index,
    variant: Variant,
    present: tuple[str, ...],
    name: str,
) -> Row:
    cells = tuple(
        _seed_cell(_seed_means(index, layout, block.dataset, variant.method, present, column))
        for column in layout.columns
    )
    if present == block.members:
        numbers = tuple(_leading_number(cell) for cell in cells)
        return Row(block, name, OURS, variant.switches, cells, numbers)
    if present:
        name = f"{name} ({len(present)} of {len(block.members)} categories)"
    unranked = (None,) * len(cells)
    return Row(block, name, OURS, variant.switches, cells, unranked, partial=bool(present))


def _difference_row(ours: Row, published: Row) -> Row:
    cells = tuple(
        ABSENT if mine is None or theirs is None else _signed(mine - theirs)
        for mine, theirs in zip(ours.numbers, published.numbers, strict=True)
    )
    name = f"{ours.method} minus {published.method}"
    return Row(ours.block, name, DIFFERENCE, ours.switches, cells, (None,) * len(cells))


def _section(
    record: Record, layout: TableLayout, column: str
) -> tuple[Mapping[str, Any] | None, str]:
    """The part of a record that a column reads (None: not measured), and the metric in it."""
    metric, _, count = column.partition("@")
    part = record["counts"].get(count) if count else record["test_sets"].get(layout.test_set)
    return part, metric


def _present(index: Index, layout: TableLayout, block: Block, method: str) -> tuple[str, ...]:
    """The members of a block in which a method was measured."""
    return tuple(
        category
        for category in block.members
        if any(
            _section(record, layout, column)[0] is not None
            for record in index.get((block.dataset, method, category), {}).values()
            for column in layout.columns
        )
    )


def _seed_means(
    index: Index,
    layout: TableLayout,
    dataset: str,
    method: str,
    categories: Sequence[str],
    column: str,
) -> list[float]:
    """Per seed that every category has, the mean over categories; NaN: metric undefined."""
    values: list[dict[int, float]] = []
    for category in categories:
        runs: dict[int, float] = {}
        for seed, record in index[dataset, method, category].items():
            part, metric = _section(record, layout, column)
            if part is not None:
                value = part.get(metric)
                runs[seed] = math.nan if value is None else float(value)
        values.append(runs)
    shared = sorted(set[int].intersection(*map(set, values))) if values else []
    return [math.fsum(runs[seed] for runs in values) / len(values) for seed in shared]


def _seed_cell(fractions: Sequence[float]) -> str:
    """A mean in percent with one decimal, with the standard deviation of several seeds."""
    if not fractions:
        return NOT_RUN
    if any(math.isnan(fraction) for fraction in fractions):
        return UNDEFINED
    text = f"{100 * math.fsum(fractions) / len(fractions):.1f}"
    if len(fractions) == 1:
        return text
    return f"{text} ± {100 * statistics.stdev(fractions):.1f}"


def _leading_number(cell: str) -> float | None:
    return None if cell in (NOT_RUN, UNDEFINED) else float(cell.split()[0])


def _signed(difference: float) -> str:
    rounded = round(difference, 1)
    return f"{rounded:+.1f}" if rounded else "0.0"


def _block_marks(rows: Sequence[Row], *, apart: bool) -> list[list[str]]:
    """Per row and column `best`, `second` or nothing; `apart` ranks published and own rows each
    among themselves.
    """
    groups = [row.source if apart else "" for row in rows]
    columns: list[list[str]] = []
    for numbers in zip(*(row.numbers for row in rows), strict=True):
        ranked: dict[str, list[float]] = {}
        for group, number in zip(groups, numbers, strict=True):
            ranked.setdefault(group, []).extend([] if number is None else [number])
        pairs = zip(groups, numbers, strict=True)
        columns.append([_mark(number, ranked[group]) for group, number in pairs])
    return [list(marks) for marks in zip(*columns, strict=True)]


def _mark(number: float | None, ranked: Sequence[float]) -> str:
    """A number's place among its rivals; without any it has none."""
    if number is None or len(ranked) == 1:
        return ""
    place = sorted(set(ranked), reverse=True).index(number)
    return ("best", "second", "")[min(place, 2)]


def _assemble(
    layout: TableLayout,
    rows: Sequence[Row],
    titles: Mapping[str, str],
    said: tuple[str, tuple[str, ...]],
    notes: Sequence[str],
) -> Table:
    labels = [METRICS[column.partition("@")[0]] for column in layout.columns]
    counts = [column.partition("@")[2] for column in layout.columns]
    numbers = [f"{label}@{n}" if n else label for label, n in zip(labels, counts, strict=True)]
    columns = ("Data set", "Category", "Method", *layout.switches, "Source", *numbers)
    texts: list[list[str]] = []
    marks: list[list[str]] = []
    names = {**AVERAGES, **titles}
    for block, group in itertools.groupby(rows, key=lambda row: row.block):
        members = list(group)
        place = [
            titles.get(block.dataset, block.dataset),
            names.get(block.category, block.category),
        ]
        for row, row_marks in zip(members, _block_marks(members, apart=bool(said[1])), strict=True):
            states = ["yes" if state else "no" for state in row.switches]
            texts.append([*place, row.method, *states, row.source, *row.cells])
            marks.append([""] * (len(columns) - len(row_marks)) + row_marks)
    frame = pd.DataFrame(texts, columns=list(columns), dtype=str)
    marked = pd.DataFrame(marks, columns=list(columns), dtype=str)
    return Table(layout.number, layout.title, columns, frame, marked, *said, tuple(notes))


def choice_notes(choices: Sequence[tuple[str, str, str]], titles: Mapping[str, str]) -> list[str]:
    """A note a matching that was chosen by the category, of (matching, category, chosen)."""
    notes = []
    for matching in dict.fromkeys(name for name, _, _ in choices):
        own = [
            f"{titles.get(category, category)} {chosen}"
            for name, category, chosen in choices
            if name == matching
        ]
        notes.append(
            f"Matching {matching}, chosen on simulated defects of held-out normal images:"
            f" {', '.join(own)}."
        )
    return notes


def _image_count(record: Record, layout: TableLayout) -> int | None:
    part: Record = record
    if layout.kind == "maps":
        part = record["test_sets"].get(layout.test_set) or {}
    return part.get("images")


def _run_notes(
    records: Sequence[Record], layout: TableLayout, titles: Mapping[str, str]
) -> list[str]:
    """What the numbers were measured on: images per category, and seeds."""
    images: dict[str, dict[str, set[int]]] = {}
    for record in records:
        count = _image_count(record, layout)
        if count is not None:
            categories = images.setdefault(record["dataset"], {})
            categories.setdefault(record["category"], set()).add(count)
    notes: list[str] = []
    for dataset, categories in images.items():
        counts = (
            f"{titles.get(name, name)} {' or '.join(map(str, sorted(found)))}"
            for name, found in sorted(categories.items())
        )
        notes.append(f"Images evaluated, {titles.get(dataset, dataset)}: {', '.join(counts)}.")
    seeds = sorted({int(record["seed"]) for record in records})
    if len(seeds) > 1:
        listed = ", ".join(map(str, seeds))
        notes.append(f"Mean and sample standard deviation (±) over seeds {listed}.")
    return notes


def _row_notes(rows: Sequence[Row], lines: Published, layout: TableLayout) -> list[str]:
    """What a reader has to know of the rows: partial averages, published remarks."""
    notes = [layout.remark] if layout.remark and any(row.source == PAPER for row in rows) else []
    if any(row.partial for row in rows):
        notes.append(
            "An average that lacks categories is neither ranked nor compared with a published one."
        )
    return [*notes, *_published_remarks(rows, lines, layout)]


def _published_remarks(rows: Sequence[Row], lines: Published, layout: TableLayout) -> list[str]:
    """Remarks of the published file on shown numbers, with the rows and categories when few."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    for row in rows:
        for column in layout.columns if row.source == PAPER else ():
            remark = _published_cell(lines, row.method, row.block, column, "note")
            if remark:
                methods, categories = found.setdefault(remark, (set(), set()))
                methods.add(row.method)
                categories.add(AVERAGES.get(row.block.category, row.block.category))
    notes: list[str] = []
    for remark, places in sorted(found.items()):
        few = [name for names in places if len(names) <= 3 for name in sorted(names)]
        notes.append(f"{', '.join(['Published numbers', *few])}: {remark}.")
    return notes


def _later_notes(rows: Sequence[Row], lines: Published, layout: TableLayout) -> list[str]:
    """Where the numbers of later work are from, and how their protocol differs."""
    said: dict[str, dict[str, None]] = {}
    for row in rows:
        for column in layout.columns if row.source == LATER else ():
            line = lines.get((row.method, row.block.dataset, row.block.published_category, column))
            if line:
                source = f"{line['source']} ({line['year']})"
                parts = (source, line["setting"], *line["note"].split("; "))
                said.setdefault(row.method, {}).update(dict.fromkeys(filter(None, parts)))
    if not said:
        return []
    methods = [f"{method}: {'; '.join(parts)}." for method, parts in said.items()]
    return [
        "Later work is not ranked: it is quoted, and its protocols are not the paper's.",
        *(f"Later work, {told}" for told in methods),
    ]
