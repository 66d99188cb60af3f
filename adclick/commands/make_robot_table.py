"""Click methods with robot users who click less well: a table in all forms."""

from collections.abc import Sequence

from adclick.reporting.honest_clicks import build_robot_table
from adclick.reporting.paper_tables import read_published, scale_departures
from adclick.reporting.table_forms import FORMS, write_table
from adclick.run.artifacts import read_json
from adclick.run.job import parse_job, run
from adclick.run.plan.tables import MakeRobotTable
from adclick.run.settings.clicks import Robot

COMMAND = "adclick.commands.make_robot_table"
PLACES = {"deepest": "deepest point", "inside": "anywhere in the inner half"}


def main(argv: Sequence[str] | None = None) -> None:
    """Write the table in all forms, and the stamp of all of them beside the CSV."""
    job = parse_job(
        COMMAND,
        MakeRobotTable,
        argv,
        doc=__doc__,
        inputs=["paper_settings"],
        lists=["metrics"],
        outputs=list(FORMS),
    )
    settings = job.settings
    table = build_robot_table(
        [read_json(path) for path in job.lists["metrics"]],
        datasets=settings.datasets,
        methods=settings.methods,
        robots={name: _words(robot) for name, robot in settings.robots.items()},
        titles=settings.titles,
        setting=settings.scale_note,
        departures=scale_departures(settings.scale, read_published(job.inputs["paper_settings"])),
    )
    write_table(table, job.outputs, stamp=job.stamp)


def _words(robot: Robot) -> str:
    """What a user does, in words."""
    wrong = f", {100 * robot.wrong:g} % of clicks with the wrong sign" if robot.wrong else ""
    draws = f"{robot.draws} draw{'s' * (robot.draws != 1)}"
    return f"clicks the larger error, {PLACES[robot.place]}{wrong}; {draws}"


if __name__ == "__main__":
    run(main)
