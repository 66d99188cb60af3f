"""What labels buy: detectors trained on labels of more or fewer images and clicks, side by side."""

from collections.abc import Sequence

from adclick.reporting.label_costs import collect_points, cost_table, draw_label_costs
from adclick.reporting.style import place_title, save
from adclick.run.artifacts import read_json, write_csv
from adclick.run.job import parse_job, run
from adclick.run.plan.figures import MakeLabelCosts

COMMAND = "adclick.commands.make_label_costs"


def main(argv: Sequence[str] | None = None) -> None:
    """Write the table (CSV) and the figure (PNG) of one category from metric records."""
    job = parse_job(
        COMMAND,
        MakeLabelCosts,
        argv,
        doc=__doc__,
        lists=["metrics"],
        outputs=["table", "figure"],
    )
    settings = job.settings
    points = collect_points(
        [cost.model_dump() for cost in settings.costs],
        [read_json(path) for path in job.lists["metrics"]],
    )
    write_csv(job.outputs["table"], cost_table(points, settings.titles), stamp=job.stamp)
    where = place_title(settings.dataset, settings.category, settings.titles)
    save(draw_label_costs(points, title=where), job.outputs["figure"], stamp=job.stamp)


if __name__ == "__main__":
    run(main)
