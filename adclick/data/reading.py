"""What the readers of all layouts share: rows, pictures paired with masks, problems.

Masks pair by name, never by order. Whatever is wrong with a folder is collected first and told in
one error, so one repair is enough.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, UInt8

from adclick.data.images import IMAGE_SUFFIXES, decode_image, decode_mask, read_bytes
from adclick.run.errors import InputError
from adclick.run.folders import fault_of_type, shown, writable
from adclick.run.settings.data import MaskValues

GOOD = "good"
VALIDATION = "validation"  # the split of normal pictures that a detector's threshold is set with
NAMED_PROBLEMS = 20
UNLABELLED_GO = "defects that are still to be labelled belong to the split train"
Array = TypeVar("Array")


@dataclass(frozen=True)
class Row:
    """One picture of a category, before anything was decoded.

    `image_id` is `<split>/<defect type or good>/<stem>`. Paths are relative to the data set's root
    (absolute only when a sample sheet says so). `mask_path` is None for normal pictures, and for
    defects of the training split that nobody has labelled.
    """

    image_id: str
    path: Path
    split: str
    defect_type: str
    mask_path: Path | None

    @property
    def is_normal(self) -> bool:
        """Whether the picture shows no defect."""
        return self.defect_type == GOOD


class Pixels(NamedTuple):
    """A row's decoded files: picture, mask (None where the row has none) and the files' sha256."""

    image: UInt8[np.ndarray, "height width 3"]
    mask: Bool[np.ndarray, "height width"] | None
    sha256: str
    mask_sha256: str


class Group(NamedTuple):
    """One folder of pictures of one type, and the folder in which their masks lie."""

    split: str
    defect_type: str
    folder: Path
    mask_folder: Path | None


def decode_row(
    root: Path,
    row: Row,
    problems: list[str],
    *,
    mask_values: MaskValues | None,
    bits: int | None = None,
) -> Pixels | None:
    """A row's pixels and checksums, each file read once; None when `problems` had to grow."""
    before = len(problems)
    image = decoded(root, row.path, partial(decode_image, bits=bits), problems)
    decode = partial(decode_mask, mask_values=mask_values)
    mask = None if row.mask_path is None else decoded(root, row.mask_path, decode, problems)
    if len(problems) > before or image is None:
        return None
    if mask is not None and mask[0].shape != image[0].shape[:2]:
        problems.append(
            f"{row.mask_path} has {_size(mask[0])} pixels, its image {row.path} {_size(image[0])}"
        )
        return None
    return Pixels(image[0], mask and mask[0], image[1], mask[1] if mask else "")


def problems_error(place: str, problems: Sequence[str]) -> InputError:
    """One line that names a place and what is wrong there: twenty problems, then a count."""
    named = [shown(" ".join(problem.split())) for problem in problems[:NAMED_PROBLEMS]]
    if len(problems) > NAMED_PROBLEMS:
        named.append(f"and {len(problems) - NAMED_PROBLEMS} more")
    return InputError(f"{place}: repair or remove: {'; '.join(named)}")


def checked(root: Path, category: str, rows: list[Row], problems: list[str]) -> list[Row]:
    """The rows sorted by id; or one error, and then broken files are looked for as well."""
    counts = Counter(row.image_id for row in rows)
    problems += [f"{image_id} has {count} files" for image_id, count in counts.items() if count > 1]
    problems += [fault for row in rows for fault in _name_faults(row)]
    if not rows and not problems:
        problems.append("no image at all")
    if problems:
        for row in rows:
            decode_row(root, row, problems, mask_values="ids")
        raise problems_error(f"{root}, category {category}", sorted(set(problems)))
    return sorted(rows, key=lambda row: row.image_id)


def _name_faults(row: Row) -> Iterator[str]:
    """What keeps a row's names from being written down, or its type from being one."""
    if not writable(str(row.path)):
        fault = "is no UTF-8, or has a control character"
        yield f"{shown(row.path)} has a name that {fault}; rename it"
    fault = fault_of_type(row.defect_type)
    if fault is not None:
        yield f"{shown(row.defect_type)!r} is no name of a kind of defect: it {fault}; rename it"


def require_folder(folder: Path, advice: str) -> None:
    """InputError that says what to do when a data set is not there."""
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder; {advice}, or set data_root to where the data lie"
            " (`make demo` needs no data)"
        )


def decoded(
    root: Path, path: Path, decode: Callable[[bytes, Path], Array], problems: list[str]
) -> tuple[Array, str] | None:
    """A file's content and sha256; None when `problems` had to grow."""
    try:
        content = read_bytes(root / path)
        return decode(content, path), sha256(content).hexdigest()
    except InputError as error:
        problems.append(str(error))
        return None


def _size(array: np.ndarray) -> str:
    return f"{array.shape[1]} x {array.shape[0]}"


def read_groups(
    root: Path,
    groups: Sequence[Group],
    *,
    suffixes: Sequence[str] = IMAGE_SUFFIXES,
) -> tuple[list[Row], list[str]]:
    """The rows of groups of folders, and what is wrong with them."""
    rows: list[Row] = []
    problems = [
        f"{name_of(group.folder, root)} is not a folder"
        for group in groups
        if not group.folder.is_dir()
    ]
    folders = {group.mask_folder: _by_stem(group.mask_folder) for group in groups}
    owners: dict[Path, list[str]] = {
        mask: [] for stems in folders.values() for masks in stems.values() for mask in masks
    }
    for group in groups:
        stems = folders[group.mask_folder]
        for image in pictures(group.folder, suffixes):
            masks = stems.get(f"{image.stem}_mask", []) + stems.get(image.stem, [])
            problems += _mask_problems(name_of(image, root), group, masks)
            for mask in masks:
                owners[mask].append(name_of(image, root))
            rows.append(row_of(root, group, image, masks[0] if masks else None))
    for mask, images in owners.items():
        if not images:
            problems.append(f"{name_of(mask, root)} has no image")
        if len(images) > 1:
            problems.append(f"{name_of(mask, root)} is the mask of {' and '.join(images)}")
    return rows, problems


def row_of(root: Path, group: Group, image: Path, mask: Path | None) -> Row:
    """The row of a picture in a group."""
    return Row(
        image_id=f"{group.split}/{group.defect_type}/{image.stem}",
        path=image.relative_to(root),
        split=group.split,
        defect_type=group.defect_type,
        mask_path=None if mask is None else mask.relative_to(root),
    )


def _by_stem(folder: Path | None) -> dict[str, list[Path]]:
    stems: dict[str, list[Path]] = {}
    for path in pictures(folder):
        stems.setdefault(path.stem, []).append(path)
    return stems


def _mask_problems(image: str, group: Group, masks: Sequence[Path]) -> list[str]:
    if group.defect_type != GOOD and not masks and group.split == "test":
        return [f"{image} has no mask; {UNLABELLED_GO}"]
    if len(masks) > 1:
        return [f"{image} has {len(masks)} masks ({', '.join(mask.name for mask in masks)})"]
    return []


def folders(folder: Path) -> list[Path]:
    """The folders in a folder by name, hidden ones left out; none where there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def pictures(folder: Path | None, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> list[Path]:
    """The files with one of the suffixes by name, hidden ones left out; none without a folder."""
    if folder is None or not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".")
    )


def name_of(path: Path, root: Path) -> str:
    """A file as messages call it: relative to the root."""
    return path.relative_to(root).as_posix()
