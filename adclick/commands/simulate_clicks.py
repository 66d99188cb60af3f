"""A click method's answers to the robot user on all real defects of a category (Sec. 4.2)."""

from collections.abc import Callable, Sequence

import numpy as np

from adclick.artifacts import ArraySpec, create_array, create_arrays, open_arrays
from adclick.commands.entry import Job, parse_job, run
from adclick.commands.reading import defect_rows, read_masks
from adclick.config import SimulateClicks
from adclick.detection import finish_map, training_free_map
from adclick.device import compute_device
from adclick.errors import InputError
from adclick.peers.threshold import click_threshold
from adclick.robot import Answer, simulate_clicks

COMMAND = "adclick.commands.simulate_clicks"
DEFECT_ROLES = ("train_defect", "test_defect", "spare_defect")


def main(argv: Sequence[str] | None = None) -> None:
    """Write the `clicks` [image click 3] (row, column, positive; -1 where none was needed), the
    `masks` after each of them [image click height width / 8] (bits), and the `probabilities` after
    some [image count height width] (float16).

    Only images with a defect count, training defects included, as in the paper. Without weights the
    method is the thresholded training-free map.
    """
    job = parse_job(
        COMMAND,
        SimulateClicks,
        argv,
        doc=__doc__,
        inputs=["manifest", "images", "masks", "residuals"],
        optional=["weights", "language"],
        outputs=["maps"],
    )
    rows = defect_rows(job.inputs["manifest"], roles=DEFECT_ROLES)
    truths = read_masks(job.inputs["masks"])
    rows = [row for row in rows if row[1] in truths]
    if not rows:
        raise InputError(
            f"{job.inputs['manifest']}: no image with a defect mask; clicks cannot be scored"
        )
    answers = _answers(job, rows, truths)
    _write_maps(job, [image_id for _, image_id, _ in rows], answers)


def _answers(
    job: Job[SimulateClicks], rows: Sequence[tuple[int, str, str]], truths: dict[str, np.ndarray]
) -> list[list[Answer]]:
    clicks = job.settings.clicks

    def click(predict: Callable[..., np.ndarray], image_id: str) -> list[Answer]:
        return simulate_clicks(
            predict, truths[image_id], count=max(clicks.counts), threshold=clicks.threshold
        )

    if "weights" not in job.inputs:
        return _threshold_answers(job, rows, click)
    from adclick.commands.opening import open_network

    with (
        compute_device() as device,
        open_network(
            job.inputs["weights"],
            images=job.inputs["images"],
            residuals=job.inputs["residuals"],
            language=job.inputs["language"],
            category=job.settings.category,
            radius_px=clicks.radius_px,
            device=device,
        ) as opened,
    ):
        return [
            click(opened.session(row, [kind]).predict, image_id) for row, image_id, kind in rows
        ]


def _threshold_answers(
    job: Job[SimulateClicks],
    rows: Sequence[tuple[int, str, str]],
    click: Callable[..., list[Answer]],
) -> list[list[Answer]]:
    detection = job.settings.detection
    if detection is None:
        raise ValueError("the threshold method needs detection settings")
    with (
        open_arrays(job.inputs["residuals"]) as residuals,
        open_arrays(job.inputs["images"]) as images,
    ):
        size_px = images["images"].shape[1]
        answers = []
        for row, image_id, _ in rows:
            finished = finish_map(
                training_free_map(residuals["lengths"][row], size_px),
                residuals["foreground"][row],
                smoothing_px=detection.smoothing_px,
                foreground_exponent=detection.foreground_exponent,
            )
            answers.append(
                click(
                    lambda given, _previous, shown=finished.pixels: click_threshold(shown, given),
                    image_id,
                )
            )
    return answers


def _write_maps(job: Job[SimulateClicks], ids: list[str], answers: list[list[Answer]]) -> None:
    clicks = job.settings.clicks
    counts, most = clicks.counts, max(clicks.counts)
    shape = answers[0][0].probability.shape
    specs = {
        "probabilities": ArraySpec((len(counts), *shape), "float16"),
        "masks": ArraySpec((most, shape[0], -(-shape[1] // 8)), "uint8"),
    }
    with create_arrays(job.outputs["maps"], image_ids=ids, specs=specs, stamp=job.stamp) as file:
        create_array(file, "clicks", (len(ids), most, 3), "int32")[:] = -1
        file["counts"] = np.asarray(counts, np.int32)
        for index, own in enumerate(answers):
            for place, count in enumerate(counts):
                file["probabilities"][index, place] = own[count - 1].probability
            masks = np.stack([one.probability > clicks.threshold for one in own])
            file["masks"][index] = np.packbits(masks, axis=2)
            for place, click in enumerate(own[-1].clicks):
                file["clicks"][index, place] = (click.row, click.column, int(click.positive))


if __name__ == "__main__":
    run(main)
