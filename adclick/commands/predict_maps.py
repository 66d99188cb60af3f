"""Anomaly maps of the test images without any click: a trained detector's, or the training-free
one.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from adclick.artifacts import ArraySpec, create_arrays, open_arrays
from adclick.commands.entry import Job, parse_job, run
from adclick.commands.reading import defect_rows
from adclick.config import PredictMaps
from adclick.detection import finish_map, training_free_map

COMMAND = "adclick.commands.predict_maps"
SHOWN_ROLES = ("train_defect", "test_defect", "test_normal")


def main(argv: Sequence[str] | None = None) -> None:
    """Write `maps` [image height width] float32, finished: foreground, smoothing.

    All test images and the defects that were chosen for training are predicted; which of them count
    is decided where maps are scored. Without weights the map is the length of the residual.
    """
    job = parse_job(
        COMMAND,
        PredictMaps,
        argv,
        doc=__doc__,
        inputs=["manifest", "images", "residuals"],
        optional=["weights", "language"],
        outputs=["maps"],
    )
    settings = job.settings
    rows = defect_rows(job.inputs["manifest"], roles=SHOWN_ROLES)
    specs = {"maps": ArraySpec((settings.size_px, settings.size_px), "float32")}
    ids = [image_id for _, image_id, _ in rows]
    with (
        open_arrays(job.inputs["residuals"]) as residuals,
        _raw_map(job) as raw,
        create_arrays(job.outputs["maps"], image_ids=ids, specs=specs, stamp=job.stamp) as file,
    ):
        for index, (row, _, _) in enumerate(rows):
            finished = finish_map(
                raw(row),
                residuals["foreground"][row],
                smoothing_px=settings.detection.smoothing_px,
                foreground_exponent=settings.detection.foreground_exponent,
            )
            file["maps"][index] = finished.pixels


@contextmanager
def _raw_map(job: Job[PredictMaps]) -> Iterator[Callable[[int], np.ndarray]]:
    size_px = job.settings.size_px
    if "weights" not in job.inputs:
        with open_arrays(job.inputs["residuals"]) as residuals:
            yield lambda row: training_free_map(residuals["lengths"][row], size_px)
        return
    from adclick.commands.detecting import open_detector

    sliding = job.settings.sliding
    with open_detector(
        job.inputs["weights"],
        manifest=job.inputs["manifest"],
        images=job.inputs["images"],
        residuals=job.inputs["residuals"],
        language=job.inputs["language"],
        category=job.settings.category,
        windows=None if sliding is None else (sliding.window, sliding.step),
        stride=job.settings.stride,
    ) as raw:
        yield raw


if __name__ == "__main__":
    run(main)
