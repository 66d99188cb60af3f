"""What a click costs the methods of table 1: seconds, parameters and memory, a table of ours.

Unlike all other tables it is not the same in every run: it says what was measured.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from adclick.reporting.table_forms import NOT_RUN, Table

Record = Mapping[str, Any]

KEY = "click_costs"
TITLE = "What a click costs"
LABELS = ("Data set", "Device", "Method")
NUMBERS = ("s to open", "s a click", "parameters (M)", "memory (MB)", "GPU memory (MB)")
NONE = "-"  # no weights, or no GPU
NOTES = (
    "s to open: seconds until a picture takes clicks; s a click: seconds until a click is answered."
    " Medians over the pictures and clicks of a category, averaged over categories; first seed.",
    "parameters: of the weights of the method itself, in millions; the residual's frozen backbone"
    " is not among them, nor are the seconds of its stages.",
    "memory: the most that the process held, its libraries and pictures among it; GPU memory: the"
    " most that was allocated there. The largest of the categories.",
)


def build_cost_table(
    records: Mapping[tuple[str, str], Sequence[Record]],
    *,
    datasets: Sequence[str],
    methods: Sequence[str],
    titles: Mapping[str, str],
    setting: str,
    departures: Sequence[str],
) -> Table:
    """A row a data set and method, in the order given; `records` are those of `simulate_clicks`, a
    list of categories for each pair of data set and method. A pair without any was not run.
    """
    rows = {place: (devices(found), _cells(found)) for place, found in records.items()}
    return cost_rows(
        rows,
        datasets=datasets,
        methods=methods,
        titles=titles,
        said=(setting, tuple(departures)),
        described=(KEY, TITLE, NUMBERS, NOTES),
    )


def cost_rows(
    rows: Mapping[tuple[str, str], tuple[str, Sequence[str]]],
    *,
    datasets: Sequence[str],
    methods: Sequence[str],
    titles: Mapping[str, str],
    said: tuple[str, tuple[str, ...]],
    described: tuple[str, str, Sequence[str], tuple[str, ...]],
) -> Table:
    """A table of costs: device and cells of every data set and method, one that has none not run;
    `described` are its key, title, columns and notes, `said` setting and departures.
    """
    key, title, numbers, notes = described
    empty = ("", [NOT_RUN] * len(numbers))
    texts = []
    for dataset in datasets:
        for method in methods:
            device, cells = rows.get((dataset, method), empty)
            names = (titles.get(dataset, dataset), device, titles.get(method, method))
            texts.append([*names, *cells])
    columns = (*LABELS, *numbers)
    frame = pd.DataFrame(texts, columns=list(columns), dtype=str)
    marks = pd.DataFrame("", index=frame.index, columns=frame.columns, dtype=str)
    return Table(None, title, columns, frame, marks, *said, notes, labels=len(LABELS), key=key)


def devices(records: Sequence[Record]) -> str:
    """The devices that records were made on."""
    return ", ".join(sorted({record["device"] for record in records}))


def amount(value: float) -> str:
    """Seconds, to two digits below ten."""
    return f"{value:#.2g}" if value < 10 else f"{value:.0f}"


def _cells(records: Sequence[Record]) -> list[str]:
    if not records:
        return [NOT_RUN] * len(NUMBERS)
    seconds = [
        sum(record["seconds"][name] for record in records) / len(records)
        for name in ("open", "click")
    ]
    parameters = max(record["parameters"] for record in records)
    memory = [
        max(record["peak_memory_mb"][name] for record in records) for name in ("process", "gpu")
    ]
    return [
        *map(amount, seconds),
        f"{parameters / 1e6:.1f}" if parameters else NONE,
        *(f"{value:.0f}" if value else NONE for value in memory),
    ]
