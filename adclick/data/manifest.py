"""The manifest: one line a picture of a category, with its role, size and checksums."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, UInt8

from adclick.data.geometry import content_of
from adclick.data.images import deep_maximum, resize_image, resize_mask
from adclick.data.reading import GOOD, VALIDATION, Pixels, Row, decode_row, problems_error
from adclick.run.errors import InputError
from adclick.run.provenance import digest
from adclick.run.settings.data import EmptyMasks, Geometry, MaskValues, PictureUse
from adclick.run.yaml_files import read_yaml

COLUMNS = (
    "image_id",
    "path",
    "split",
    "defect_type",
    "mask_path",
    "role",
    "width",
    "height",
    "sha256",
    "mask_sha256",
)
DEPTHS = (8, 12, 16)  # bits that cameras mostly have
SPLIT_SEED = 0


@dataclass(frozen=True)
class Entry:
    """A row and what its files turned out to hold: native size in pixels, the files' sha256."""

    row: Row
    width: int
    height: int
    sha256: str
    mask_sha256: str


@dataclass(frozen=True)
class LoadedRow:
    """An entry with its pixels at the network's size; `mask` is None where the row has none, and
    `native`, the mask at the photograph's own pixels, also where it is the same or its shape is not
    kept.
    """

    entry: Entry
    image: UInt8[np.ndarray, "height width 3"]
    mask: Bool[np.ndarray, "height width"] | None
    native: Bool[np.ndarray, "native_height native_width"] | None


@dataclass(frozen=True)
class Split:
    """A category's lists of training images; `train_normals` None: all of the training split."""

    train_defects: tuple[str, ...]
    train_normals: tuple[str, ...] | None


def camera_bits(paths: Iterable[Path]) -> int | None:
    """The fewest bits of a camera that hold every value of the 16-bit pictures; None without any.

    All pictures of a category are asked: a dark one must not become as bright as the others.
    """
    return bits_of(value for path in paths if (value := deep_maximum(path)) is not None)


def bits_of(largest_values: Iterable[int]) -> int | None:
    """The same of the largest values of the 16-bit pictures."""
    largest = max(largest_values, default=None)
    if largest is None:
        return None
    return next((bits for bits in DEPTHS if largest < 2**bits), DEPTHS[-1])


def load_rows(
    rows: Iterable[Row],
    geometry: Geometry,
    *,
    root: Path,
    use: PictureUse,
    empty_masks: EmptyMasks,
    mask_values: MaskValues | None,
) -> Iterator[LoadedRow]:
    """Each row's picture and mask at the network's size, every file read and decoded once.

    A defective row whose mask has no pixel is an error, is left out (`drop`), or becomes a normal
    picture (`normal`). After the last row one InputError lists all files that cannot be decoded,
    all masks of another size than their picture, and all empty masks under `error`.
    """
    problems: list[str] = []
    for row in rows:
        pixels = decode_row(root, row, problems, mask_values=mask_values, bits=use.bits)
        if pixels is None:
            continue
        kept = _apply_empty_masks(row, pixels, empty_masks, problems)
        if kept is not None:
            yield _loaded(kept, pixels, geometry, use)
    if problems:
        raise problems_error(str(root), problems)


def _apply_empty_masks(
    row: Row, pixels: Pixels, empty_masks: EmptyMasks, problems: list[str]
) -> Row | None:
    if pixels.mask is None or pixels.mask.any():
        return row
    if empty_masks == "normal":
        return replace(row, defect_type=GOOD, mask_path=None)
    if empty_masks == "error":
        problems.append(
            f"{row.mask_path} marks no pixel (empty_masks: drop or normal would accept it)"
        )
    return None


def _loaded(row: Row, pixels: Pixels, geometry: Geometry, use: PictureUse) -> LoadedRow:
    height, width = pixels.image.shape[:2]
    shape = content_of((height, width), geometry)
    mask = None if row.mask_path is None else pixels.mask
    return LoadedRow(
        Entry(row, width, height, pixels.sha256, "" if mask is None else pixels.mask_sha256),
        resize_image(pixels.image, shape, use.resize),
        None if mask is None else resize_mask(mask, shape, use.resize),
        None if geometry.stretch is not None or shape == (height, width) else mask,
    )


def build_manifest(
    entries: Sequence[Entry],
    *,
    training_defects: Collection[str],
    training_normals: Collection[str] | None = None,
) -> pd.DataFrame:
    """The manifest as a table with the columns `COLUMNS`, in the order of `entries`.

    Roles: `train_normal` and `train_defect` are trained on, `test_normal` and `test_defect` are for
    testing, `spare_normal` and `spare_defect` are of the training split and not listed for
    training, or of the validation split. Listed normal pictures are the only ones trained on;
    without a list it is the training split. Paths have forward slashes; the mask of a normal
    picture, and of a defect that nobody has labelled, is empty text. Raises InputError naming every
    listed id that is not an entry of the right kind.
    """
    _check_listed(entries, training_defects, training_normals)
    defects, normals = set(training_defects), training_normals and set(training_normals)
    records = [
        {
            "image_id": entry.row.image_id,
            "path": entry.row.path.as_posix(),
            "split": entry.row.split,
            "defect_type": entry.row.defect_type,
            "mask_path": "" if entry.row.mask_path is None else entry.row.mask_path.as_posix(),
            "role": _role(entry.row, defects, normals),
            "width": entry.width,
            "height": entry.height,
            "sha256": entry.sha256,
            "mask_sha256": entry.mask_sha256,
        }
        for entry in entries
    ]
    return pd.DataFrame(records, columns=list(COLUMNS))


def _role(row: Row, defects: Collection[str], normals: Collection[str] | None) -> str:
    if row.is_normal:
        if row.split == "train" if normals is None else row.image_id in normals:
            return "train_normal"
        return "spare_normal" if row.split in ("train", VALIDATION) else "test_normal"
    if row.image_id in defects:
        return "train_defect"
    return "spare_defect" if row.split == "train" else "test_defect"


def _check_listed(
    entries: Sequence[Entry], defects: Collection[str], normals: Collection[str] | None
) -> None:
    kinds = {entry.row.image_id: entry.row.is_normal for entry in entries}
    problems = [
        f"{image_id} is not a defective image" for image_id in defects if kinds.get(image_id, True)
    ]
    problems += [
        f"{image_id} is not a normal image"
        for image_id in normals or ()
        if not kinds.get(image_id, False)
    ]
    if problems:
        raise problems_error("the split's list", problems)


def choose_training_defects(
    rows: Iterable[Row], count: int, *, order: Literal["drawn", "sorted"]
) -> list[str]:
    """The ids of `count` defects for training, chosen by their ids alone.

    Types in turn (sorted), from each its next image: `sorted` by id, which takes what was
    photographed first, or `drawn`, in an order that a digest of seed and id gives, so that pictures
    that are added change little. Where the training split holds defects, only those are candidates,
    else those of the test split. InputError when too few.
    """
    defective = [row for row in rows if not row.is_normal]
    candidates = [row for row in defective if row.split == "train"] or defective
    if count > len(candidates):
        raise InputError(
            f"training_defects: {count} asked for, {len(candidates)} there; ask for fewer"
        )
    queues: dict[str, list[str]] = {}
    ranks = {row.image_id: digest([SPLIT_SEED, row.image_id]) for row in candidates}
    if order == "sorted":
        ranks = {image_id: image_id for image_id in ranks}
    for row in sorted(candidates, key=lambda row: (row.defect_type, ranks[row.image_id])):
        queues.setdefault(row.defect_type, []).append(row.image_id)
    turns = [
        (turn, defect_type, image_id)
        for defect_type, queue in queues.items()
        for turn, image_id in enumerate(queue)
    ]
    return [image_id for _, _, image_id in sorted(turns)[:count]]


def repeated_pictures(manifest: pd.DataFrame) -> list[str]:
    """A sentence for each file that lies, under several names, on both sides of what a score rests
    on: in training, validation and test, or among normal and defective pictures. Files of equal
    bytes count.
    """
    found: list[str] = []
    for _, same in manifest.groupby("sha256", sort=False):
        sides = {
            (role.startswith("test"), name.startswith(f"{VALIDATION}/"), role.endswith("normal"))
            for role, name in zip(same["role"], same["image_id"], strict=True)
        }
        if len(sides) > 1:
            found.append(f"{' and '.join(map(str, same['image_id']))} are one picture")
    return found


def read_split(path: Path, category: str) -> Split:
    """A category's lists in a split file: `{category: {train_defects: [id], train_normals: [id]}}`.

    `train_normals` may be left out. InputError when the file or the category is missing, or the
    lists are not lists of ids, each once.
    """
    content = read_yaml(path, "split")
    if not isinstance(content, dict):
        raise InputError(f"{path}: must map categories to lists")
    if category not in content:
        raise InputError(f"{path}: no category {category}; it has {', '.join(map(str, content))}")
    lists = content[category]
    if not isinstance(lists, dict) or not {"train_defects"} <= set(lists) <= {
        "train_defects",
        "train_normals",
    }:
        raise InputError(f"{path}: {category} must have train_defects, and may have train_normals")
    normals = lists.get("train_normals")
    return Split(
        _ids(path, category, lists["train_defects"]),
        None if normals is None else _ids(path, category, normals),
    )


def _ids(path: Path, category: str, values: object) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise InputError(f"{path}: {category}: the lists must hold image ids")
    if len(set(values)) < len(values):
        raise InputError(f"{path}: {category}: an image id is listed twice")
    return tuple(values)
