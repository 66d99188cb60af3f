"""`adclick predict`: a detector's anomaly maps of a folder of photographs."""

import csv
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from adclick.data.images import picture_files, read_image, write_png
from adclick.metrics.map_files import resize_map
from adclick.models.description import read_description
from adclick.models.folder import OpenedModel, detect, open_model
from adclick.models.overlay import draw_overlay
from adclick.run.artifacts import replacing, write_text
from adclick.run.device import compute_device
from adclick.run.errors import InputError
from adclick.run.folders import shown
from adclick.run.job import FAILED

MAPS, OVERLAYS, SCORES = "maps", "overlays", "scores.csv"
COLUMNS = ("image", "score", "threshold", "area_px", "area_share")


class Prediction(NamedTuple):
    """A row of `scores.csv`: a map's maximum, and how much of it lies above a threshold."""

    image: str
    score: float
    threshold: float
    area_px: int
    area_share: float


def predict(
    model_folder: Path, images: Path, output: Path, *, threshold: float | None, overlays: bool
) -> None:
    """Write maps (float32 TIFF, native size), overlays and `scores.csv` of a folder's pictures.

    Without a threshold the model's own is taken. Subfolders are kept. Pictures that cannot be read
    are named at the end, with exit code 1.
    InputError when the model needs clicks, there is no picture, two would have one name, or
    `output` holds a finished prediction.
    """
    described = read_description(model_folder)
    if described.detection is None:
        raise InputError(
            f"{model_folder}: {described.title} needs clicks; use adclick annotate --model"
            f" {model_folder} --images {images}"
        )
    level = described.detection.threshold if threshold is None else threshold
    if not 0 <= level <= 1:
        raise InputError(f"--threshold {level}: must be from 0 to 1")
    pictures = picture_files(images, apart_from=output)
    if (output / SCORES).exists():
        raise InputError(f"{output / SCORES} is there already: give another --output")
    found: list[Prediction] = []
    broken: list[str] = []
    with compute_device() as device:
        model = open_model(model_folder, device=device)
        for path in pictures.values():
            name = path.relative_to(images)
            with told_if_it_fails(shown(name), broken):
                picture = read_image(path, bits=described.pictures.bits, clipped=True)
                found.append(_predict_one(model, picture, name, output, level, overlays=overlays))
                print(f"{shown(name)}: score {found[-1].score:.3f}", flush=True)
    write_text(output / SCORES, _table(found))
    above = sum(row.area_px > 0 for row in found)
    print(f"{output}: {len(found)} images, {above} with any pixel above {level:g}")
    if broken:
        print(f"error: {len(broken)} skipped: {'; '.join(broken)}", file=sys.stderr)
        raise SystemExit(FAILED)


@contextmanager
def told_if_it_fails(name: str, broken: list[str]) -> Iterator[None]:
    """Keeps the failure of one picture from being that of all: it is named in `broken`."""
    try:
        yield
    except InputError as error:
        broken.append(" ".join(str(error).split()))
    except Exception as error:  # of this picture, whatever it is: others must not wait for it
        broken.append(f"{name}: {' '.join(f'{type(error).__name__}: {error}'.split())}")
    else:
        return
    print(f"{name}: skipped", flush=True)


def _predict_one(
    model: OpenedModel,
    picture: np.ndarray,
    name: Path,
    output: Path,
    threshold: float,
    *,
    overlays: bool,
) -> Prediction:
    scores = resize_map(detect(model, picture), picture.shape[:2]).astype(np.float32)
    _write_tiff(output / MAPS / name.with_suffix(".tiff"), scores)
    if overlays:
        sheet = draw_overlay(picture, scores, threshold=threshold, title=shown(name))
        write_png(output / OVERLAYS / name.with_suffix(".png"), sheet)
    area = int((scores > threshold).sum())
    return Prediction(shown(name), float(scores.max()), threshold, area, area / scores.size)


def _write_tiff(path: Path, scores: np.ndarray) -> None:
    done, content = cv2.imencode(".tiff", scores)
    if not done:
        raise OSError(f"{path}: OpenCV could not write a TIFF")
    with replacing(path) as temporary:
        temporary.write_bytes(content.tobytes())


def _table(rows: list[Prediction]) -> str:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(
        (row.image, f"{row.score:.6f}", f"{row.threshold:g}", row.area_px, f"{row.area_share:.6f}")
        for row in rows
    )
    return text.getvalue()
