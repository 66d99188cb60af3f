"""What a detector costs: seconds to train and a picture, parameters and memory, a table of ours.

Like that of clicks it says what was measured, and is not the same in every run.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from adclick.reporting.click_costs import amount, cost_rows, devices
from adclick.reporting.table_forms import NOT_RUN, Table

Record = Mapping[str, Any]

KEY = "map_costs"
TITLE = "What a detector costs"
NUMBERS = ("s to train", "s a picture", "parameters (M)", "memory (MB)", "GPU memory (MB)")
NONE = "-"  # not trained, no weights, or no GPU
NOTES = (
    "s to train: seconds of the method's own training, without labels and pretraining; s a picture:"
    " the median over a category's pictures. Averaged over categories; first seed. Peers that learn"
    " are timed from the picture on, frozen backbone and all; methods on the residual from the"
    " residual on, whose backbone and matching `make bench` times.",
    "parameters: what a method holds beside a frozen backbone (of anomalib's models with it), banks"
    " of features among them, in millions.",
    "memory: the most that training or the maps held, libraries and pictures among it; GPU memory:"
    " the most that was allocated there. The largest of the categories.",
)


def build_map_cost_table(
    records: Mapping[tuple[str, str], Sequence[Record]],
    *,
    datasets: Sequence[str],
    methods: Sequence[str],
    titles: Mapping[str, str],
    setting: str,
    departures: Sequence[str],
) -> Table:
    """A row a data set and method, in the order given; `records` are those of maps (see
    `with_training`), a list of categories for each pair. A pair without any was not run.
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


def with_training(record: Record, training: Record | None) -> dict[str, Any]:
    """A record of maps, with what their training took where it has a record of its own."""
    if training is None:
        return dict(record)
    memory = record["peak_memory_mb"]
    most = max(memory["process"], _process_mb(training["peak_memory_mb"]))
    return {
        **record,
        "seconds": {**record["seconds"], "training": training["seconds"]},
        "peak_memory_mb": {**memory, "process": most},
    }


def _process_mb(memory: Any) -> float:
    """The memory of a training's process, whichever way its record has it."""
    return memory["process"] if isinstance(memory, dict) else memory


def _cells(records: Sequence[Record]) -> list[str]:
    if not records:
        return [NOT_RUN] * len(NUMBERS)
    training = [record["seconds"].get("training", 0) for record in records]
    picture = [record["seconds"]["picture"] for record in records]
    parameters = max(record["parameters"] for record in records)
    memory = [
        max(record["peak_memory_mb"][name] for record in records) for name in ("process", "gpu")
    ]
    return [
        amount(sum(training) / len(records)) if any(training) else NONE,
        amount(sum(picture) / len(records)),
        f"{parameters / 1e6:.1f}" if parameters else NONE,
        *(f"{value:.0f}" if value else NONE for value in memory),
    ]
