"""One table of the paper from the metrics of a run: CSV, Markdown, LaTeX and HTML."""

from collections.abc import Sequence
from typing import Any

from adclick.artifacts import read_json, write_text
from adclick.commands.entry import parse_job, run
from adclick.config import MakeTable
from adclick.provenance import canonical_json
from adclick.table_forms import to_csv, to_html, to_latex, to_markdown
from adclick.tables import build_table, read_published, scale_departures

COMMAND = "adclick.commands.make_table"


def main(argv: Sequence[str] | None = None) -> None:
    """Write the table in four forms, and the stamp of all of them beside the CSV."""
    job = parse_job(
        COMMAND,
        MakeTable,
        argv,
        doc=__doc__,
        inputs=["published", "paper_settings"],
        lists=["metrics"],
        outputs=["csv", "markdown", "latex", "html"],
    )
    settings = job.settings
    table = build_table(
        settings.number,
        [_record(read_json(path)) for path in job.lists["metrics"]],
        read_published(job.inputs["published"]),
        datasets=settings.datasets,
        methods=settings.methods,
        titles=settings.titles,
        setting=settings.scale_note,
        departures=scale_departures(settings.scale, read_published(job.inputs["paper_settings"])),
        switches=settings.switches or None,
    )
    forms = {"csv": to_csv, "markdown": to_markdown, "latex": to_latex, "html": to_html}
    for name, form in forms.items():
        write_text(job.outputs[name], form(table))
    stamp_path = job.outputs["csv"].with_name(job.outputs["csv"].name + ".stamp.json")
    write_text(stamp_path, canonical_json(job.stamp) + "\n")


def _record(metrics: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metrics.items() if key != "stamp"}


if __name__ == "__main__":
    run(main)
