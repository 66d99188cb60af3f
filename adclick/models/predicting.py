"""`adclick predict`: a detector's maps of a folder of photographs, and what it decides on them."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from adclick.data.images import picture_files, read_image, write_png
from adclick.models.decisions import Level
from adclick.models.inspecting import Inspector, open_inspector
from adclick.models.overlay import draw_overlay
from adclick.models.regions import Region, find_regions
from adclick.run.artifacts import replacing, write_text
from adclick.run.errors import InputError
from adclick.run.folders import shown
from adclick.run.job import FAILED

MAPS, OVERLAYS = "maps", "overlays"
SCORES, REGIONS, RESULTS = "scores.csv", "regions.csv", "results.json"
DIGITS = 6


class Prediction(NamedTuple):
    """A picture's result: its map's maximum, how much of it lies above the level, and where.
    `defective` is None where nothing was held out that could decide.
    """

    image: str
    score: float
    threshold: float
    area_px: int
    area_share: float
    defective: bool | None
    regions: Sequence[Region]


def predict(
    model_folder: Path,
    images: Path,
    output: Path,
    *,
    threshold: float | None,
    overlays: bool,
    false_alarms: float | None = None,
) -> None:
    """Write maps (float32 TIFF, native size), overlays, and tables of a folder's pictures.

    Subfolders are kept. Pictures that cannot be read are named at the end, with exit code 1.
    InputError when the model needs clicks, there is no picture, two would have one name, `output`
    holds a finished prediction, or the level cannot be had (`level_of`).
    """
    with open_inspector(model_folder) as inspector:
        level = inspector.level(threshold=threshold, false_alarms=false_alarms)
        pictures = picture_files(images, apart_from=output)
        if (output / SCORES).exists():
            raise InputError(f"{output / SCORES} is there already: give another --output")
        print(level.line)
        found: list[Prediction] = []
        broken: list[str] = []
        for path in pictures.values():
            name = path.relative_to(images)
            with told_if_it_fails(shown(name), broken):
                picture = read_image(path, bits=inspector.bits, clipped=True)
                found.append(_predict_one(inspector, picture, name, output, level, overlays))
                print(_line(found[-1]), flush=True)
    write_tables(output, found, level)
    print(_sum(output, found, level))
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
    inspector: Inspector,
    picture: np.ndarray,
    name: Path,
    output: Path,
    level: Level,
    overlays: bool,
) -> Prediction:
    scores = inspector.map_of(picture).astype(np.float32)
    _write_tiff(output / MAPS / name.with_suffix(".tiff"), scores)
    if overlays:
        sheet = draw_overlay(picture, scores, threshold=level.value, title=shown(name))
        write_png(output / OVERLAYS / name.with_suffix(".png"), sheet)
    return decide(shown(name), scores, level)


def decide(image: str, scores: np.ndarray, level: Level) -> Prediction:
    """What a map [height width] at a picture's own size says at a level."""
    area = int((scores > level.value).sum())
    return Prediction(
        image=image,
        score=float(scores.max()),
        threshold=level.value,
        area_px=area,
        area_share=area / scores.size,
        defective=area > 0 if level.decides else None,
        regions=find_regions(scores, level.value),
    )


def write_tables(output: Path, found: Sequence[Prediction], level: Level) -> None:
    """Write a row a picture (`scores.csv`), a row a region (`regions.csv`), and both as JSON; the
    scores last, so that they are there only when everything is.
    """
    regions = [
        [one.image, number, *_cells(region)]
        for one in found
        for number, region in enumerate(one.regions, start=1)
    ]
    write_text(output / REGIONS, _table(["image", "region", *Region._fields], regions))
    content: dict[str, Any] = {
        "threshold": level.value,
        "decides": level.decides,
        "threshold_from": level.line,
    }
    content["images"] = [_entry(one) for one in found]
    write_text(output / RESULTS, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    columns = [name for name in Prediction._fields if name != "regions"]
    rows = [[*_cells(one[:-1]), len(one.regions)] for one in found]
    write_text(output / SCORES, _table([*columns, "regions"], rows))


def _cells(values: Iterable[Any]) -> list[Any]:
    known = {True: "yes", False: "no", None: ""}
    return [
        known[value]
        if value is None or isinstance(value, bool)
        else round(value, DIGITS)
        if isinstance(value, float)
        else value
        for value in values
    ]


def _entry(one: Prediction) -> dict[str, Any]:
    return {**one._asdict(), "regions": [region._asdict() for region in one.regions]}


def _line(one: Prediction) -> str:
    said = {True: ", defective", False: ", normal", None: ""}[one.defective]
    count = len(one.regions)
    places = f", {count} region{'s' * (count != 1)}" if count else ""
    return f"{one.image}: score {one.score:.3f}{said}{places}"


def _sum(output: Path, found: Sequence[Prediction], level: Level) -> str:
    above = sum(one.area_px > 0 for one in found)
    what = "defective" if level.decides else "with any pixel"
    return f"{output}: {len(found)} images, {above} {what} above {level.value:.4g}"


def _write_tiff(path: Path, scores: np.ndarray) -> None:
    done, content = cv2.imencode(".tiff", scores)
    if not done:
        raise OSError(f"{path}: OpenCV could not write a TIFF")
    with replacing(path) as temporary:
        temporary.write_bytes(content.tobytes())


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()
