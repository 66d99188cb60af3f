"""Folder layouts: a reader for each, all giving the same rows; masks pair by name, never by order.

Whatever is wrong with a folder is collected first and told in one error, so one repair is enough.
"""

import csv
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, UInt8

from adclick.data.images import IMAGE_SUFFIXES, decode_image, decode_mask, read_bytes
from adclick.run.errors import InputError

GOOD = "good"
MAGNETIC_TILE_TYPES = ("blowhole", "break", "crack", "fray", "uneven")
KSDD2_STRAYS = frozenset(
    {"10301 (copy)", "10301_GT (copy)"}
)  # doubles inside the published archive
NAMED_PROBLEMS = 20
UNLABELLED_GO = "defects that are still to be labelled belong to the split train"
LABELS = {"normal": True, "normal_test": True, "good": True, "abnormal": False}
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


class _Group(NamedTuple):
    """One folder of pictures of one type, and the folder in which their masks lie."""

    split: str
    defect_type: str
    folder: Path
    mask_folder: Path | None


# --- readers ------------------------------------------------------------------------------------


def read_mvtec(root: Path, category: str) -> list[Row]:
    """Rows of MVTec AD's layout: `<category>/{train/good, test/<type>, ground_truth/<type>}`.

    Defects may also lie in `train/<type>`, where those that nobody has labelled yet have no mask.
    A mask is `<stem>_mask.<suffix>` or `<stem>.<suffix>`. Files that start with a dot are ignored.
    Raises one InputError that lists every problem of the category.
    """
    folder = root / category
    _require_folder(
        folder,
        "download MVTec AD from mvtec.com (Company > Research > Datasets) and unpack it there",
    )
    groups = [
        _Group(split, kind.name, kind, None if kind.name == GOOD else _truth(folder, kind))
        for split in ("train", "test")
        for kind in folders(folder / split)
    ]
    known = {group.mask_folder for group in groups}
    stray = [kind for kind in folders(folder / "ground_truth") if kind.name != GOOD]
    orphans = [
        f"{_name(mask, root)} has no image"
        for kind in stray
        if kind not in known
        for mask in pictures(kind)
    ]
    rows, problems = _read_groups(root, groups)
    if not any(row.split == "train" and row.is_normal for row in rows):
        problems.append(f"{_name(folder / 'train' / GOOD, root)} has no image")
    return _checked(root, category, rows, problems + orphans)


def read_folder(
    root: Path,
    category: str,
    *,
    normal_dir: str | Sequence[str],
    abnormal_dir: str | Sequence[str] = (),
    normal_test_dir: str | Sequence[str] = (),
    mask_dir: str | Sequence[str] = (),
    abnormal_train_dir: str | Sequence[str] = (),
    extensions: Sequence[str] = IMAGE_SUFFIXES,
) -> list[Row]:
    """Rows of folders under `root`, named by anomalib's `Folder` keys.

    Each abnormal folder is one defect type, called by the folder's own name. `mask_dir` holds one
    folder for each of `abnormal_train_dir` and then of `abnormal_dir`, or one for all of them.
    `abnormal_train_dir` is ours: real defects to train on. Masks pair as in `read_mvtec`, and are
    needed for `abnormal_dir` alone.
    `category` is only for messages.
    """
    _require_folder(root, "set the data set's root to the folder of your pictures")
    defects = [
        *(("train", name) for name in _sequence(abnormal_train_dir)),
        *(("test", name) for name in _sequence(abnormal_dir)),
    ]
    masks = _mask_folders(root, _sequence(mask_dir), len(defects))
    groups = [
        *(_Group("train", GOOD, root / name, None) for name in _sequence(normal_dir)),
        *(_Group("test", GOOD, root / name, None) for name in _sequence(normal_test_dir)),
        *(
            _Group(split, (root / name).name, root / name, mask)
            for (split, name), mask in zip(defects, masks, strict=True)
        ),
    ]
    rows, problems = _read_groups(root, groups, suffixes=_sequence(extensions))
    return _checked(root, category, rows, problems)


def read_ksdd2(root: Path, category: str) -> list[Row]:
    """Rows of KolektorSDD2 as published: `{train, test}/<number>.png`, the mask `<number>_GT.png`.

    Every picture has a mask; one without a pixel above 127 makes it normal, any other is of the
    type `defect`. Two doubles that the published archive contains are skipped. `category` is only
    for messages.
    """
    _require_folder(root, "download KolektorSDD2 from vicos.si (Resources) and unpack it there")
    rows: list[Row] = []
    problems: list[str] = []
    for split in ("train", "test"):
        stems = {
            path.stem: path for path in pictures(root / split) if path.stem not in KSDD2_STRAYS
        }
        if not stems:
            problems.append(f"{split} has no image")
        for stem, path in stems.items():
            if stem.endswith("_GT"):
                if stem.removesuffix("_GT") not in stems:
                    problems.append(f"{_name(path, root)} has no image")
            elif f"{stem}_GT" not in stems:
                problems.append(f"{_name(path, root)} has no mask")
            else:
                rows += _ksdd2_row(root, path, stems[f"{stem}_GT"], split, problems)
    return _checked(root, category, rows, problems)


def read_magnetic_tile(
    root: Path, category: str, *, training_normals: Collection[str] = ()
) -> list[Row]:
    """Rows of Magnetic-Tile-Defects as published: `MT_<Type>/Imgs/<name>.jpg` with `<name>.png`.

    Everything belongs to the split `test`, except the normal pictures whose ids
    (`train/good/<name>`) are in `training_normals`. Masks of the normal pictures are all zero and
    are not used. `category` is only for messages.
    """
    _require_folder(
        root, "get abin24/Magnetic-tile-defect-datasets. from GitHub and unpack it there"
    )
    rows: list[Row] = []
    problems: list[str] = []
    for defect_type in (*MAGNETIC_TILE_TYPES, "free"):
        folder = root / f"MT_{defect_type.capitalize()}" / "Imgs"
        images = {path.stem: path for path in pictures(folder) if path.suffix.lower() == ".jpg"}
        masks = {path.stem: path for path in pictures(folder) if path.suffix.lower() == ".png"}
        if not images:
            problems.append(f"{_name(folder, root)} has no image")
        problems += [f"{_name(images[stem], root)} has no mask" for stem in images.keys() - masks]
        problems += [f"{_name(masks[stem], root)} has no image" for stem in masks.keys() - images]
        for stem in images.keys() & masks.keys():
            rows.append(_tile_row(root, defect_type, images[stem], masks[stem], training_normals))
    absent = set(training_normals) - {row.image_id for row in rows}
    problems += [f"{image_id} is listed for training but is no image" for image_id in absent]
    return _checked(root, category, rows, problems)


def read_csv(root: Path, category: str) -> list[Row]:
    """Rows of a sample sheet `<root>/<category>.csv` with anomalib's column names.

    `image_path` (relative to `root`, or absolute); `label` (`normal`, `normal_test`, `abnormal`)
    or `label_index` (0, 1); `split` (`train`, `test`; when empty, `normal` is for training and all
    else for testing); `mask_path`; and ours, `defect_type` (default `defect`). Unlike anomalib's,
    the training split may hold defects, also without a mask. Other columns are ignored.
    """
    sheet = root / f"{category}.csv"
    _require_folder(root, f"make a sample sheet {category}.csv there, with a column image_path")
    rows: list[Row] = []
    problems: list[str] = []
    for number, cells in enumerate(_sheet_rows(sheet), start=2):
        try:
            row = _sheet_row(cells)
        except InputError as error:
            problems.append(f"{sheet.name} line {number}: {error}")
            continue
        if row.mask_path is None and not row.is_normal and row.split == "test":
            problems.append(
                f"{sheet.name} line {number}: {row.path} has no mask_path; {UNLABELLED_GO}"
            )
        rows.append(row)
    return _checked(root, category, _distinct(rows), problems)


READERS: Mapping[str, Callable[..., list[Row]]] = {
    "mvtec": read_mvtec,
    "toy": read_mvtec,
    "folder": read_folder,
    "ksdd2": read_ksdd2,
    "magnetic_tile": read_magnetic_tile,
    "csv": read_csv,
}


# --- problems -----------------------------------------------------------------------------------


def decode_row(root: Path, row: Row, problems: list[str]) -> Pixels | None:
    """A row's pixels and checksums, each file read once; None when `problems` had to grow."""
    before = len(problems)
    image = _decoded(root, row.path, decode_image, problems)
    mask = None if row.mask_path is None else _decoded(root, row.mask_path, decode_mask, problems)
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
    named = [" ".join(problem.split()) for problem in problems[:NAMED_PROBLEMS]]
    if len(problems) > NAMED_PROBLEMS:
        named.append(f"and {len(problems) - NAMED_PROBLEMS} more")
    return InputError(f"{place}: repair or remove: {'; '.join(named)}")


def _checked(root: Path, category: str, rows: list[Row], problems: list[str]) -> list[Row]:
    """The rows sorted by id; or one error, and then broken files are looked for as well."""
    counts = Counter(row.image_id for row in rows)
    problems += [f"{image_id} has {count} files" for image_id, count in counts.items() if count > 1]
    if not rows and not problems:
        problems.append("no image at all")
    if problems:
        for row in rows:
            decode_row(root, row, problems)
        raise problems_error(f"{root}, category {category}", sorted(set(problems)))
    return sorted(rows, key=lambda row: row.image_id)


def _require_folder(folder: Path, advice: str) -> None:
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder; {advice}, or set data_root to where the data lie"
            " (`make demo` needs no data)"
        )


def _decoded(
    root: Path, path: Path, decode: Callable[[bytes, Path], Array], problems: list[str]
) -> tuple[Array, str] | None:
    try:
        content = read_bytes(root / path)
        return decode(content, path), sha256(content).hexdigest()
    except InputError as error:
        problems.append(str(error))
        return None


def _size(array: np.ndarray) -> str:
    return f"{array.shape[1]} x {array.shape[0]}"


# --- folders ------------------------------------------------------------------------------------


def _read_groups(
    root: Path,
    groups: Sequence[_Group],
    *,
    suffixes: Sequence[str] = IMAGE_SUFFIXES,
) -> tuple[list[Row], list[str]]:
    rows: list[Row] = []
    problems = [
        f"{_name(group.folder, root)} is not a folder"
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
            problems += _mask_problems(_name(image, root), group, masks)
            for mask in masks:
                owners[mask].append(_name(image, root))
            rows.append(_row(root, group, image, masks[0] if masks else None))
    for mask, images in owners.items():
        if not images:
            problems.append(f"{_name(mask, root)} has no image")
        if len(images) > 1:
            problems.append(f"{_name(mask, root)} is the mask of {' and '.join(images)}")
    return rows, problems


def _row(root: Path, group: _Group, image: Path, mask: Path | None) -> Row:
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


def _mask_problems(image: str, group: _Group, masks: Sequence[Path]) -> list[str]:
    if group.defect_type != GOOD and not masks and group.split == "test":
        return [f"{image} has no mask; {UNLABELLED_GO}"]
    if len(masks) > 1:
        return [f"{image} has {len(masks)} masks ({', '.join(mask.name for mask in masks)})"]
    return []


def _mask_folders(root: Path, names: Sequence[str], count: int) -> list[Path | None]:
    if len(names) not in (0, 1, count):
        raise InputError(
            f"mask_dir: {len(names)} folders for {count} abnormal folders; give one, or as many"
        )
    folders: list[Path | None] = [root / name for name in names]
    return folders if len(folders) == count else (folders or [None]) * count


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


def _truth(folder: Path, kind: Path) -> Path:
    return folder / "ground_truth" / kind.name


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _sequence(value: str | Sequence[str]) -> Sequence[str]:
    return (value,) if isinstance(value, str) else value


def _ksdd2_row(root: Path, image: Path, mask: Path, split: str, problems: list[str]) -> list[Row]:
    decoded = _decoded(root, mask.relative_to(root), decode_mask, problems)
    if decoded is None:
        return []
    if decoded[0].any():
        return [_row(root, _Group(split, "defect", image.parent, image.parent), image, mask)]
    return [_row(root, _Group(split, GOOD, image.parent, None), image, None)]


def _tile_row(
    root: Path, defect_type: str, image: Path, mask: Path, training_normals: Collection[str]
) -> Row:
    if defect_type != "free":
        return _row(root, _Group("test", defect_type, image.parent, image.parent), image, mask)
    split = "train" if f"train/{GOOD}/{image.stem}" in training_normals else "test"
    return _row(root, _Group(split, GOOD, image.parent, None), image, None)


# --- sample sheets ------------------------------------------------------------------------------


def _sheet_rows(sheet: Path) -> list[dict[str, str]]:
    try:
        text = read_bytes(sheet).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{sheet}: not UTF-8 text; save it as CSV in UTF-8") from None
    reader = csv.DictReader(StringIO(text, newline=""), restval="")
    columns = set(reader.fieldnames or ())
    if "image_path" not in columns or not columns & {"label", "label_index"}:
        raise InputError(f"{sheet}: needs the columns image_path and label (or label_index)")
    return [{key: cell.strip() for key, cell in line.items() if key} for line in reader]


def _sheet_row(cells: Mapping[str, str]) -> Row:
    """The row of a sheet's line; InputError (without the place) when a cell is not understood."""
    if not cells["image_path"]:
        raise InputError("image_path is empty")
    is_normal = _is_normal(cells.get("label", ""), cells.get("label_index", ""))
    train_by_default = is_normal and cells.get("label") != "normal_test"
    split = cells.get("split") or ("train" if train_by_default else "test")
    if split not in ("train", "test"):
        raise InputError(f"split is {split!r}, not train or test")
    path, mask = Path(cells["image_path"]), cells.get("mask_path")
    defect_type = GOOD if is_normal else cells.get("defect_type") or "defect"
    return Row(
        image_id=f"{split}/{defect_type}/{path.stem}",
        path=path,
        split=split,
        defect_type=defect_type,
        mask_path=Path(mask) if mask and not is_normal else None,
    )


def _is_normal(label: str, label_index: str) -> bool:
    if label:
        if label not in LABELS:
            raise InputError(f"label is {label!r}, not one of {', '.join(LABELS)}")
        return LABELS[label]
    if label_index not in ("0", "1"):
        raise InputError(f"label_index is {label_index!r}, not 0 (normal) or 1 (abnormal)")
    return label_index == "0"


def _distinct(rows: Sequence[Row]) -> list[Row]:
    """The rows; where two would have one id, the whole path stands in for the stem."""
    counts = Counter(row.image_id for row in rows)
    return [
        row
        if counts[row.image_id] == 1
        else replace(row, image_id=f"{row.split}/{row.defect_type}/{_flat(row.path)}")
        for row in rows
    ]


def _flat(path: Path) -> str:
    return "-".join(part for part in path.with_suffix("").parts if part != path.anchor)
