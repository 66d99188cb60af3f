"""What a click costs the methods of table 1: a table in all forms."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from adclick.reporting.click_costs import build_cost_table
from adclick.reporting.paper_tables import read_published, scale_departures
from adclick.reporting.table_forms import FORMS, write_table
from adclick.run.artifacts import read_json
from adclick.run.job import parse_job, run
from adclick.run.plan.tables import MakeCostTable

COMMAND = "adclick.commands.make_cost_table"


def main(argv: Sequence[str] | None = None) -> None:
    """Write the table in all forms, and the stamp of all of them beside the CSV."""
    job = parse_job(
        COMMAND,
        MakeCostTable,
        argv,
        doc=__doc__,
        inputs=["paper_settings"],
        lists=["records"],
        outputs=list(FORMS),
    )
    settings = job.settings
    records: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for place, path in zip(settings.measured, job.lists["records"], strict=True):
        records[place].append(read_json(path))
    table = build_cost_table(
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
