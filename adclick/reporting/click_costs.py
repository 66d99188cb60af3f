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
    texts = [
        [
            titles.get(dataset, dataset),
            _devices(records.get((dataset, method), [])),
            titles.get(method, method),
            *_cells(records.get((dataset, method), [])),
        ]
        for dataset in datasets
        for method in methods
    ]
    columns = (*LABELS, *NUMBERS)
    frame = pd.DataFrame(texts, columns=list(columns), dtype=str)
    marks = pd.DataFrame("", index=frame.index, columns=frame.columns, dtype=str)
    said = (setting, tuple(departures))
    return Table(None, TITLE, columns, frame, marks, *said, NOTES, labels=len(LABELS), key=KEY)


def _devices(records: Sequence[Record]) -> str:
    return ", ".join(sorted({record["device"] for record in records}))


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
        *(f"{value:#.2g}" if value < 10 else f"{value:.0f}" for value in seconds),
        f"{parameters / 1e6:.1f}" if parameters else NONE,
        *(f"{value:.0f}" if value else NONE for value in memory),
    ]
