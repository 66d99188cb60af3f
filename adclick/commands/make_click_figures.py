"""Pictures of one category's clicks: best, median and worst cases, and mIoU against clicks."""

from collections.abc import Sequence

import numpy as np

from adclick.clicks.click import Click
from adclick.data.geometry import cropped
from adclick.data.rows import read_masks
from adclick.reporting.case_sheets import ClickCase, choose_cases, click_sheet
from adclick.reporting.line_figures import miou_curve
from adclick.reporting.style import place_title, save
from adclick.run.artifacts import image_ids, open_arrays, read_json
from adclick.run.job import Job, parse_job, run
from adclick.run.plan.figures import MakeClickFigures

COMMAND = "adclick.commands.make_click_figures"


def main(argv: Sequence[str] | None = None) -> None:
    """Cases are chosen by the IoU after the last click of one method, of its first seed."""
    job = parse_job(
        COMMAND,
        MakeClickFigures,
        argv,
        doc=__doc__,
        inputs=["images", "masks", "maps"],
        lists=["metrics"],
        outputs=["clicks_figure", "miou_figure"],
    )
    settings = job.settings
    names = settings.titles
    where = place_title(settings.dataset, settings.category, names)
    metrics = [read_json(path) for path in job.lists["metrics"]]
    shown = next(one for one in metrics if one["method"] == settings.shown)
    cases = _cases(job, shown["ious"])
    title = f"{where}: {names.get(settings.shown, settings.shown)}"
    save(click_sheet(cases, title=title), job.outputs["clicks_figure"], stamp=job.stamp)
    curve = miou_curve(metrics, methods=settings.methods, titles=names)
    save(curve, job.outputs["miou_figure"], stamp=job.stamp)


def _cases(job: Job[MakeClickFigures], ious: Sequence[Sequence[float]]) -> list[ClickCase]:
    clicks = job.settings.clicks
    last = max(clicks.counts)
    chosen = choose_cases([own[last - 1] for own in ious], job.settings.figure_cases)
    truths = read_masks(job.inputs["masks"])
    with open_arrays(job.inputs["maps"]) as maps, open_arrays(job.inputs["images"]) as pictures:
        ids = image_ids(maps)
        rows = {image_id: row for row, image_id in enumerate(image_ids(pictures))}
        return [
            ClickCase(
                image=cropped(pictures["images"][rows[ids[place]]], truths[ids[place]].shape),
                truth=truths[ids[place]],
                clicks=tuple(
                    Click(int(row), int(column), bool(positive))
                    for row, column, positive in maps["clicks"][place, 0]
                    if row >= 0
                ),
                masks={
                    count: _unpacked(maps["masks"][place, 0, count - 1], truths[ids[place]])
                    for count in clicks.counts
                },
                title=f"{name}, IoU {100 * ious[place][last - 1]:.1f} % after {last} clicks:"
                f" {ids[place]}",
                ious={count: ious[place][count - 1] for count in clicks.counts},
            )
            for place, name in chosen.items()
        ]


def _unpacked(bits: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """A mask [height width] of bits, of the size of the true one."""
    bits = bits[: truth.shape[0]]
    return np.unpackbits(bits, axis=1, count=truth.shape[1]).astype(bool)


if __name__ == "__main__":
    run(main)
