"""Draw the embedded toy data set to disk, in the layout of MVTec AD."""

from collections.abc import Sequence

from adclick.data.toy import draw_toy
from adclick.run.artifacts import write_json
from adclick.run.job import parse_job, run
from adclick.run.plan.data import DrawToy

COMMAND = "adclick.commands.draw_toy"


def main(argv: Sequence[str] | None = None) -> None:
    """Draw every category below the output folder."""
    job = parse_job(COMMAND, DrawToy, argv, doc=__doc__, outputs=["folder", "record"])
    toy = job.settings.toy
    draw_toy(
        job.outputs["folder"],
        size_px=job.settings.size_px,
        normals=toy.normals,
        test_normals=toy.test_normals,
        defects_per_type=toy.defects_per_type,
        seed=toy.seed,
    )
    write_json(job.outputs["record"], {"folder": job.outputs["folder"].name}, stamp=job.stamp)


if __name__ == "__main__":
    run(main)
