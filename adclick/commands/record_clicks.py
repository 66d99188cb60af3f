"""Write down how answers to clicks are refined, for model folders: training does not read it."""

from collections.abc import Sequence

from adclick.run.artifacts import write_json
from adclick.run.job import parse_job, run
from adclick.run.plan.clicks import RecordClicks

COMMAND = "adclick.commands.record_clicks"


def main(argv: Sequence[str] | None = None) -> None:
    """Write the settings `zoom` and `edges`."""
    job = parse_job(COMMAND, RecordClicks, argv, doc=__doc__, outputs=["record"])
    write_json(job.outputs["record"], job.settings.model_dump(mode="json"), stamp=job.stamp)


if __name__ == "__main__":
    run(main)
