"""What a detector costs: a table in all forms."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from adclick.reporting.map_costs import build_map_cost_table, with_training
from adclick.reporting.paper_tables import read_published, scale_departures
from adclick.reporting.table_forms import FORMS, write_table
from adclick.run.artifacts import read_json
from adclick.run.job import parse_job, run
from adclick.run.plan.tables import MakeMapCostTable

COMMAND = "adclick.commands.make_map_cost_table"


def main(argv: Sequence[str] | None = None) -> None:
    """Write the table in all forms, and the stamp of all of them beside the CSV."""
    job = parse_job(
        COMMAND,
        MakeMapCostTable,
        argv,
        doc=__doc__,
        inputs=["paper_settings"],
        lists=["records", "trainings"],
        outputs=list(FORMS),
    )
    settings = job.settings
    records: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    trainings = dict(zip(settings.trained, job.lists["trainings"], strict=True))
    for place, path in zip(settings.measured, job.lists["records"], strict=True):
        training = read_json(trainings[place]) if place in trainings else None
        dataset, _, method = place
        records[dataset, method].append(with_training(read_json(path), training))
    table = build_map_cost_table(
        records,
        datasets=settings.datasets,
        methods=settings.methods,
        titles=settings.titles,
        setting=settings.scale_note,
        departures=scale_departures(settings.scale, read_published(job.inputs["paper_settings"])),
    )
    write_table(table, job.outputs, stamp=job.stamp)


if __name__ == "__main__":
    run(main)
