"""Anomaly maps of the test images without any click: a trained detector's, or the training-free
one.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from adclick.data.geometry import contents_of, in_frame, write_contents
from adclick.data.rows import defect_rows, train_normal_rows
from adclick.residuals.maps import exceeded_by, resize_map, training_free_map
from adclick.run.artifacts import (
    ArraySpec,
    create_arrays,
    open_arrays,
    read_csv,
    set_text,
    write_json,
)
from adclick.run.costs import machine_costs
from adclick.run.job import Job, parse_job, run
from adclick.run.plan.detection import PredictMaps
from adclick.run.provenance import canonical_json

COMMAND = "adclick.commands.predict_maps"
NORMAL_SHARE = 0.001  # of normal pixels: what a detector's own threshold lets through
SHOWN_ROLES = ("train_defect", "spare_normal", "test_defect", "test_normal")
# Normal pictures that nothing was trained on, in the order in which a threshold is set with them.
HELD_OUT = {"spare_normal": "validation", "test_normal": "test"}


def main(argv: Sequence[str] | None = None) -> None:
    """Write `maps` [image height width] float32, zero beyond `contents`, finished: foreground,
    smoothing (a detector on features adds to a finished map, and its own is not finished a second
    time).

    All test images, the held-out normal ones and the defects that were chosen for training are
    predicted; which of them count is decided where maps are scored. Without weights the map is the
    length of the residual. The attribute `detection` says how maps are made, the threshold that
    `NORMAL_SHARE` of the pixels of the normal training images exceed (the residual of each of these
    is to the others; a network was trained with all of them), and the scores of normal pictures
    that nothing was trained on: with these a picture is decided on. The record says what a map
    costs: the median seconds from the residual on, the parameters, the most memory.
    """
    job = parse_job(
        COMMAND,
        PredictMaps,
        argv,
        doc=__doc__,
        inputs=["manifest", "images", "residuals"],
        optional=["weights", "language"],
        outputs=["maps", "record"],
    )
    settings = job.settings
    rows = defect_rows(job.inputs["manifest"], roles=SHOWN_ROLES)
    with open_arrays(job.inputs["images"]) as images:
        frame, contents = images["images"].shape[1:3], contents_of(images, "images")
    specs = {"maps": ArraySpec(frame, "float32")}
    ids = [image_id for _, image_id, _ in rows]
    with (
        _open_maps(job) as map_of,
        create_arrays(job.outputs["maps"], image_ids=ids, specs=specs, stamp=job.stamp) as file,
    ):
        scores, shapes = dict[int, float](), _shapes(job.inputs["manifest"])
        seconds: list[float] = []
        for index, (row, _, _) in enumerate(rows):
            started = time.perf_counter()
            found = map_of(row)
            seconds.append(time.perf_counter() - started)
            file["maps"][index] = in_frame(found, frame)
            scores[row] = float(resize_map(found, shapes[row]).max())
        write_contents(file, [contents[row] for row, _, _ in rows], frame)
        normal = train_normal_rows(job.inputs["manifest"])
        pixels = sum(contents[row][0] * contents[row][1] for row in normal)
        threshold = exceeded_by(NORMAL_SHARE, map(map_of, normal), pixels=pixels)
        how = {**settings.model_dump(include={"sliding"}), **settings.detection.model_dump()}
        held_out = _held_out(job.inputs["manifest"], scores)
        said = {**how, "threshold": threshold, "held_out": held_out}
        set_text(file, "detection", canonical_json(said))
    write_json(job.outputs["record"], _costs(job, seconds), stamp=job.stamp)


def _costs(job: Job[PredictMaps], seconds: Sequence[float]) -> dict[str, Any]:
    from adclick.networks.checkpoints import parameter_count

    weights = job.inputs.get("weights")
    return {
        "images": len(seconds),
        "seconds": {"picture": median(seconds) if seconds else 0.0},
        "parameters": parameter_count(weights) if weights else 0,
        **machine_costs(),
    }


def _shapes(manifest: Path) -> list[tuple[int, int]]:
    """The pictures' own (height, width), at which a new picture's map is judged."""
    table = read_csv(manifest)
    return list(zip(map(int, table["height"]), map(int, table["width"]), strict=True))


def _held_out(manifest: Path, scores: Mapping[int, float]) -> dict[str, Any] | None:
    """Which normal pictures were held out, and the scores of their maps, in rising order."""
    for role, pictures in HELD_OUT.items():
        rows = [row for row, _, _ in defect_rows(manifest, roles=[role])]
        if rows:
            found = sorted(float(f"{scores[row]:.6g}") for row in rows)
            return {"pictures": pictures, "scores": found}
    return None


@contextmanager
def _open_maps(job: Job[PredictMaps]) -> Iterator[Callable[[int], np.ndarray]]:
    settings = job.settings
    if "weights" not in job.inputs:
        with (
            open_arrays(job.inputs["residuals"]) as residuals,
            open_arrays(job.inputs["images"]) as images,
        ):
            contents = contents_of(images, "images")
            yield lambda row: training_free_map(
                residuals["lengths"][row],
                residuals["foreground"][row],
                content=contents[row],
                stride=settings.stride,
                **settings.detection.model_dump(),
            )
        return
    from adclick.models.detecting import open_detector, open_feature_detector

    if settings.features:
        with open_feature_detector(
            job.inputs["weights"],
            images=job.inputs["images"],
            residuals=job.inputs["residuals"],
            detection=settings.detection,
        ) as map_of:
            yield map_of
        return
    with open_detector(
        job.inputs["weights"],
        manifest=job.inputs["manifest"],
        images=job.inputs["images"],
        residuals=job.inputs["residuals"],
        language=job.inputs.get("language"),
        category=settings.category,
        sliding=settings.sliding,
        stride=settings.stride,
        detection=settings.detection,
    ) as map_of:
        yield map_of


if __name__ == "__main__":
    run(main)
