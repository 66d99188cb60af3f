"""Finished labels in the forms that other software reads."""

import csv
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool

from adclick.annotate.desk import object_masks
from adclick.annotate.outlines import outlines
from adclick.annotate.run_pictures import recorded_paths
from adclick.annotate.store import Picture, picture_of, saved_labels, saved_mask
from adclick.data.images import is_upright, list_pictures, upright_png, write_png
from adclick.run.artifacts import new_folder, replacing, write_text
from adclick.run.errors import InputError
from adclick.run.folders import ends_in, fault_of_type

UNKNOWN = "unknown"
NORMAL = "good"
COCO_FILE = "annotations/instances_default.json"  # a name by which tools know the folder as COCO
ANOMALIB_COLUMNS = ("image_path", "label", "label_index", "split", "mask_path", "defect_type")


@dataclass(frozen=True)
class Label:
    """A finished image: its picture, whole mask, and its defects' types and masks, which together
    are the whole; the exported picture is `file_name`.
    """

    picture: Picture
    name: str
    file_name: str
    mask: Bool[np.ndarray, "height width"]
    defects: Sequence[tuple[str, Bool[np.ndarray, "height width"]]]

    @property
    def type(self) -> str:
        """The folder it belongs to: its defects' one type, `combined` of several, or `good`."""
        types = sorted({name for name, _ in self.defects})
        if not self.mask.any():
            return NORMAL
        return types[0] if len(types) == 1 else "combined" if types else UNKNOWN


def finished_labels(
    labels: Path, saved: Mapping[str, Mapping[str, Any]], pictures: Mapping[str, Picture]
) -> list[Label]:
    """The images that are done or normal. InputError when one has no picture, or none is finished.

    Names are the keys with `-` for each `/`, so that no two images of subfolders collide.
    """
    finished = {key: facts for key, facts in saved.items() if facts["state"] in ("done", "normal")}
    lost = sorted(set(finished) - set(pictures))
    if lost:
        raise InputError(
            f"{labels}: labels without a picture: {', '.join(lost)}; give their folder"
        )
    if not finished:
        raise InputError(f"{labels}: no finished image (done or normal); label some first")
    found = [_label(labels, key, facts, pictures[key]) for key, facts in sorted(finished.items())]
    names = [one.name for one in found]
    alike = sorted({name for name in names if names.count(name) > 1})
    if alike:
        raise InputError(f"{labels}: two images would both be {', '.join(alike)}; rename one")
    return found


def labelled_pictures(
    labels: Path, saved: Mapping[str, Mapping[str, Any]], images: Path
) -> dict[str, Picture]:
    """The pictures below a folder that labels are of, by the labels' keys.

    A key is a picture's path below the folder that was labelled, or its id in a run, whose manifest
    or whose label then says which file it is. So `images` may be any folder above the pictures; a
    path below it comes before one that ends alike. InputError when several files fit.
    """
    images = Path(os.path.normpath(images.absolute()))
    alike: dict[str, list[Path]] = {}
    for file in list_pictures(images):
        alike.setdefault(file.stem, []).append(file)
    recorded = recorded_paths(labels)
    found: dict[str, Picture] = {}
    for key, facts in saved.items():
        paths = [path for path in (facts.get("path"), recorded.get(key)) if path]
        named = [file for path in paths for file in alike.get(Path(path).stem, [])]
        keyed = alike.get(Path(key).name, [])
        rules = [
            [file for file in named if file.relative_to(images).as_posix() in paths],
            [file for file in keyed if _stem(file.relative_to(images)) == key],
            [file for file in named if any(ends_in(str(file), path) for path in paths)],
            [file for file in keyed if ends_in(_stem(file), key)],
        ]
        fitting = sorted((set(one) for one in rules if one), key=lambda one: len(one) > 1)
        if fitting and len(fitting[0]) > 1:
            names = " and ".join(sorted(map(str, fitting[0]))[:2])
            raise InputError(f"{labels}: {key} may be {names}; give a folder with one of them")
        if fitting:
            chosen = fitting[0].pop()
            found[key] = picture_of(key, chosen)
            for other in sorted(set().union(*rules) - {chosen}):
                print(f"{labels}: {key} is taken for {chosen}, not for {other}", file=sys.stderr)
    return found


def _stem(path: Path) -> str:
    return path.with_suffix("").as_posix()


def _label(labels: Path, key: str, facts: Mapping[str, Any], picture: Picture) -> Label:
    mask = saved_mask(labels, key)
    objects = object_masks(facts, labels / f"{key}.json")
    shapes = {own.shape for _, own in objects}
    if mask is None or shapes | {mask.shape} != {picture.shape}:
        raise InputError(
            f"{labels / key}.png: missing, or not of its picture's size; save it again"
        )
    defects = _defects(objects, mask)
    for kind, _ in defects:
        fault = "is that of pictures without any" if kind == NORMAL else fault_of_type(kind)
        if fault is not None:
            raise InputError(f"{labels / key}.json: {kind!r} is no name of a defect: it {fault}")
    name = key.replace("/", "-")
    suffix = picture.path.suffix.lower() if is_upright(picture.path) else ".png"
    return Label(picture, name, name + suffix, mask, defects)


def _defects(
    objects: Sequence[tuple[str | None, np.ndarray]], mask: np.ndarray
) -> list[tuple[str, np.ndarray]]:
    """Type and mask of every defect. The saved mask, which may have been painted elsewhere since,
    is the last word: what no defect has of it is of the image's one type, else of none known.
    """
    found = [(name or UNKNOWN, own & mask) for name, own in objects]
    types = {name for name, own in found if own.any()}
    rest = mask & ~np.any([np.zeros_like(mask), *(own for _, own in found)], axis=0)
    found.append((types.pop() if len(types) == 1 else UNKNOWN, rest))
    return [(name, own) for name, own in found if own.any()]


def write_mvtec(labels: Sequence[Label], output: Path) -> None:
    """MVTec AD's layout: `test/<type>/<name>` and `ground_truth/<type>/<name>_mask.png`."""
    for label in labels:
        _copy(label, output / "test" / label.type)
        if label.type != NORMAL:
            write_png(output / "ground_truth" / label.type / f"{label.name}_mask.png", label.mask)


def write_anomalib(labels: Sequence[Label], output: Path) -> None:
    """The same, and `labels.csv` with the columns of anomalib's tabular data."""
    write_mvtec(labels, output)
    text = StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(ANOMALIB_COLUMNS)
    for label in labels:
        image = PurePosixPath("test", label.type, label.file_name)
        normal = label.type == NORMAL
        mask = "" if normal else PurePosixPath("ground_truth", label.type, f"{label.name}_mask.png")
        state = ("normal", 0) if normal else ("abnormal", 1)
        lines.writerow([image, *state, "test", mask, label.type])
    write_text(output / "labels.csv", text.getvalue())


def write_coco(labels: Sequence[Label], output: Path) -> None:
    """COCO instances: a run-length mask a defect (`COCO_FILE`), and `images/`."""
    numbers = _numbers(labels)
    images, annotations = [], []
    for index, label in enumerate(labels, start=1):
        _copy(label, output / "images")
        height, width = label.mask.shape
        size = {"height": height, "width": width}
        images.append({"id": index, "file_name": label.file_name, **size})
        for name, mask in label.defects:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index,
                    "category_id": numbers[name],
                    "segmentation": {"size": [height, width], "counts": compressed(mask)},
                    "area": int(mask.sum()),
                    "bbox": _box(mask),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    content = {"images": images, "annotations": annotations, "categories": categories}
    write_text(output / COCO_FILE, json.dumps(content, indent=1) + "\n")


def write_yolo(labels: Sequence[Label], output: Path) -> None:
    """YOLO segmentation: `images/`, `labels/<name>.txt` with a polygon a line (one for every
    component of a defect, as `outlines` has them), `data.yaml`.

    `data.yaml` names no `path`: trainers then take its own folder, wherever they are started.
    """
    numbers = {name: number - 1 for name, number in _numbers(labels).items()}
    for label in labels:
        _copy(label, output / "images")
        lines = [
            f"{numbers[name]} " + " ".join(f"{value:.8f}" for value in outline.ravel())
            for name, mask in label.defects
            for outline in outlines(mask)
        ]
        write_text(output / "labels" / f"{label.name}.txt", "".join(f"{one}\n" for one in lines))
    names = "".join(f"  {number}: {json.dumps(name)}\n" for name, number in numbers.items())
    write_text(output / "data.yaml", f"train: images\nval: images\nnames:\n{names}")


def write_pngs(labels: Sequence[Label], output: Path) -> None:
    """`masks/<name>.png` (0 and 255), `types/<name>.png` (a type's number a pixel, 0 = normal), and
    `classes.json` with the numbers.
    """
    numbers = _numbers(labels)
    for label in labels:
        write_png(output / "masks" / f"{label.name}.png", label.mask)
        index = np.zeros(label.mask.shape, np.uint8)
        for name, mask in label.defects:
            index[mask] = numbers[name]
        write_png(output / "types" / f"{label.name}.png", index)
    write_text(output / "classes.json", json.dumps({"normal": 0, **numbers}, indent=1) + "\n")


FORMATS: Mapping[str, Callable[[Sequence[Label], Path], None]] = {
    "mvtec": write_mvtec,
    "anomalib": write_anomalib,
    "coco": write_coco,
    "yolo": write_yolo,
    "png": write_pngs,
}


def compressed(mask: Bool[np.ndarray, "height width"]) -> str:
    """COCO's compressed run lengths: columns one after the other, zeros first, each length (from
    the third on its difference to the one before the last) in groups of five bits as text.
    """
    flat = mask.T.ravel()
    changes = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    if flat.size and flat[0]:
        lengths = [0, *lengths]
    steps = [
        length - lengths[place - 2] if place > 2 else length for place, length in enumerate(lengths)
    ]
    return "".join(_groups(step) for step in steps)


def _groups(value: int) -> str:
    text = ""
    while True:
        bits = value & 0x1F
        value >>= 5
        ends = (value == 0 and not bits & 0x10) or (value == -1 and bool(bits & 0x10))
        text += chr((bits if ends else bits | 0x20) + 48)
        if ends:
            return text


def _numbers(labels: Sequence[Label]) -> dict[str, int]:
    """The types' numbers from 1, by name."""
    names = sorted({name for label in labels for name, _ in label.defects})
    return {name: number for number, name in enumerate(names, start=1)}


def _box(mask: Bool[np.ndarray, "height width"]) -> list[int]:
    """[left, top, width, height]."""
    return [int(value) for value in cv2.boundingRect(mask.astype(np.uint8))]


def _copy(label: Label, folder: Path) -> None:
    """The picture's own file; as PNG where it had to be turned: masks are upright, and not every
    reader turns a photograph.
    """
    source = label.picture.path
    content = source.read_bytes() if is_upright(source) else upright_png(source)
    with replacing(folder / label.file_name) as temporary:
        temporary.write_bytes(content)


def main(labels: Path, *, images: Path, output: Path, form: str) -> None:
    """Write them whole into a new folder, or nothing. InputError for a mistake, named."""
    if form not in FORMATS:
        raise InputError(f"--format {form}: choose from {', '.join(FORMATS)}")
    if output.exists():
        raise InputError(f"{output}: exists already; give a new folder, or remove it")
    saved = saved_labels(labels)
    finished = finished_labels(labels, saved, labelled_pictures(labels, saved, images))
    with new_folder(output) as folder:
        FORMATS[form](finished, folder)
    defective = sum(bool(label.mask.any()) for label in finished)
    print(f"{output}: {len(finished)} images ({defective} with defects) as {form}")
