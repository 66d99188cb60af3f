"""Labels of the training defects: ADClick's answer to simulated clicks, the true masks, or their
boxes (Sec. 4.3).
"""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from adclick.clicks.labels import boxes
from adclick.clicks.robot import Answer, simulate_clicks
from adclick.data.geometry import contents_of, in_frame, write_contents
from adclick.data.rows import defect_rows, read_masks
from adclick.models.opening import open_network
from adclick.run.artifacts import ArraySpec, create_arrays, open_arrays
from adclick.run.device import compute_device
from adclick.run.errors import InputError
from adclick.run.job import Job, parse_job, run
from adclick.run.plan.clicks import LabelDefects

COMMAND = "adclick.commands.label_defects"


def main(argv: Sequence[str] | None = None) -> None:
    """Write `probabilities` [image height width] and `clicks` [image click (row, column,
    positive)], -1 = none.

    Only the robot user opens the true masks here (supervision `weak`), or they are the labels
    (`full`), or their boxes are (`box`). With `labelled_images` only so many get a label: types in
    turn, as they come in the manifest, so that a few are of many types.
    """
    job = parse_job(
        COMMAND,
        LabelDefects,
        argv,
        doc=__doc__,
        trains=lambda _: True,
        inputs=["manifest", "images", "masks"],
        optional=["weights", "language", "residuals"],
        outputs=["labels"],
    )
    rows = defect_rows(job.inputs["manifest"], roles=["train_defect"])
    if not rows:
        raise InputError(
            f"{job.inputs['manifest']}: no training defect; check `split` and `training_defects`"
        )
    rows = spread(rows, job.settings.labelled_images or len(rows), job.inputs["manifest"])
    truths = read_masks(job.inputs["masks"])
    _require_truths(job, rows, truths)
    most = job.settings.label_clicks
    with open_arrays(job.inputs["images"]) as images:
        frame, contents = images["images"].shape[1:3], contents_of(images, "images")
    specs = {"probabilities": ArraySpec(frame, "float16"), "clicks": ArraySpec((most, 3), "int32")}
    ids = [image_id for _, image_id, _ in rows]
    with create_arrays(job.outputs["labels"], image_ids=ids, specs=specs, stamp=job.stamp) as file:
        for index, answer in enumerate(_labels(job, rows, truths)):
            file["probabilities"][index] = in_frame(answer.probability, frame)
            clicks = [(click.row, click.column, int(click.positive)) for click in answer.clicks]
            file["clicks"][index] = np.array(
                clicks + [(-1, -1, -1)] * (most - len(clicks)), np.int32
            )
        write_contents(file, [contents[row] for row, _, _ in rows], frame)


def _require_truths(
    job: Job[LabelDefects], rows: Sequence[tuple[int, str, str]], truths: dict[str, np.ndarray]
) -> None:
    unlabelled = [image_id for _, image_id, _ in rows if image_id not in truths]
    if unlabelled:
        raise InputError(
            f"{job.inputs['manifest']}: {len(unlabelled)} training defects have no mask, first"
            f" {unlabelled[0]}: supervision {job.settings.supervision} needs it; label them with"
            " `adclick annotate` and train a variant with supervision human"
        )


def spread(
    rows: Sequence[tuple[int, str, str]], count: int, manifest: Path
) -> list[tuple[int, str, str]]:
    """`count` of the rows (row, image id, type), types in turn, in their order. InputError when
    there are fewer.
    """
    if count > len(rows):
        raise InputError(
            f"labelled_images: {count} asked for, and {manifest} has {len(rows)} training defects"
        )
    turns = {kind: itertools.count() for _, _, kind in rows}
    ordered = sorted((next(turns[kind]), place) for place, (_, _, kind) in enumerate(rows))
    return [rows[place] for place in sorted(place for _, place in ordered[:count])]


def _labels(
    job: Job[LabelDefects], rows: Sequence[tuple[int, str, str]], truths: dict[str, np.ndarray]
) -> Iterator[Answer]:
    settings = job.settings
    if settings.supervision != "weak":
        masks = [truths[image_id] for _, image_id, _ in rows]
        drawn = [boxes(mask) for mask in masks] if settings.supervision == "box" else masks
        yield from (Answer((), mask.astype(np.float32)) for mask in drawn)
        return
    with (
        compute_device() as device,
        open_network(
            job.inputs["weights"],
            images=job.inputs["images"],
            residuals=job.inputs["residuals"],
            language=job.inputs.get("language"),
            category=settings.category,
            radius_px=settings.radius_px,
            device=device,
        ) as opened,
    ):
        for row, image_id, kind in rows:
            predict = opened.answers(
                row,
                [kind],
                zoom=settings.zoom,
                edges=settings.edges,
                threshold=settings.threshold,
            )
            yield simulate_clicks(
                predict, truths[image_id], count=settings.label_clicks, threshold=settings.threshold
            )[-1]


if __name__ == "__main__":
    run(main)
