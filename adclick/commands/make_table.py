"""One table of the paper from the metrics of a run, in all forms."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adclick.reporting.paper_tables import (
    build_table,
    choice_notes,
    read_published,
    scale_departures,
)
from adclick.reporting.table_forms import FORMS, write_table
from adclick.run.artifacts import read_json
from adclick.run.job import parse_job, run
from adclick.run.plan.tables import MakeTable

COMMAND = "adclick.commands.make_table"


def main(argv: Sequence[str] | None = None) -> None:
    """Write the table in all forms, and the stamp of all of them beside the CSV."""
    job = parse_job(
        COMMAND,
        MakeTable,
        argv,
        doc=__doc__,
        inputs=["published", "paper_settings"],
        lists=["metrics", "choices"],
        outputs=list(FORMS),
    )
    settings = job.settings
    table = build_table(
        settings.table,
        [_record(read_json(path)) for path in job.lists["metrics"]],
        read_published(job.inputs["published"]),
        datasets=settings.datasets,
        methods=settings.methods,
        titles=settings.titles,
        setting=settings.scale_note,
        departures=scale_departures(settings.scale, read_published(job.inputs["paper_settings"])),
        switches=settings.switches,
        textures=settings.textures,
        remarks=choice_notes(_choices(job.lists["choices"]), settings.titles),
    )
    write_table(table, job.outputs, stamp=job.stamp)


def _choices(paths: Sequence[Path]) -> list[tuple[str, str, str]]:
    """Matching, category and what was chosen, of `<category>/choose_matching/<matching>/…`."""
    return [(path.parent.name, path.parents[2].name, read_json(path)["chosen"]) for path in paths]


def _record(metrics: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metrics.items() if key != "stamp"}


if __name__ == "__main__":
    run(main)
