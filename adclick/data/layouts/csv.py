"""A sample sheet that names pictures and masks wherever they lie."""

import csv
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path

from adclick.data.images import read_bytes
from adclick.data.reading import (
    GOOD,
    UNLABELLED_GO,
    VALIDATION,
    Row,
    checked,
    require_folder,
)
from adclick.run.errors import InputError
from adclick.run.folders import fault_of_type

LABELS = {"normal": True, "normal_test": True, "good": True, "abnormal": False}
LEFT_OUT = "left_out"  # the split of pictures that are known and not used


def read_rows(root: Path, category: str, *, training_normals: Collection[str] = ()) -> list[Row]:
    """Rows of a sample sheet `<root>/<category>.csv` with anomalib's column names.

    `image_path` (relative to `root`, or absolute); `label` (`normal`, `normal_test`, `abnormal`)
    or `label_index` (0, 1); `split` (`train`, `test`, or `validation` or `val`: normal pictures
    that are never trained on, or `left_out`: not used; when empty, `normal` is for training and all
    else for testing); `mask_path`; and ours, `defect_type` (default `defect`) and `picture_name`
    (default: the file's name without suffix), with which the picture's id ends. Unlike anomalib's,
    the training split may hold defects, also without a mask. Other columns are ignored.
    """
    sheet = root / f"{category}.csv"
    require_folder(root, f"make a sample sheet {category}.csv there, with a column image_path")
    rows, problems = _rows(sheet)
    used = [row for row in rows if row.split != LEFT_OUT]
    return checked(root, category, used, problems)


def read_sheet(sheet: Path) -> dict[str, Row]:
    """The rows of a sample sheet by the paths that it gives, with the ids that `read_rows` gives
    them; lines that are not understood are left out, pictures that are not used are there.

    InputError when the file is no such sheet.
    """
    return {row.path.as_posix(): row for row in _rows(sheet)[0]}


def _rows(sheet: Path) -> tuple[list[Row], list[str]]:
    """The rows of a sheet, and what is wrong with it."""
    rows: list[Row] = []
    problems: list[str] = []
    named: set[str] = set()
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
        named |= {row.image_id} if cells.get("picture_name") else set()
        rows.append(row)
    return _distinct(rows, named), problems


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
    split = VALIDATION if split == "val" else split
    if split not in ("train", VALIDATION, "test", LEFT_OUT):
        raise InputError(f"split is {split!r}, not train, {VALIDATION}, test or {LEFT_OUT}")
    if split == VALIDATION and not is_normal:
        raise InputError(f"split is {VALIDATION}, which is for normal pictures alone")
    path, mask = Path(cells["image_path"]), cells.get("mask_path")
    defect_type = GOOD if is_normal else cells.get("defect_type") or "defect"
    if defect_type == GOOD and not is_normal:
        raise InputError(f"defect_type is {GOOD}, but the label abnormal; say one of both")
    if fault := fault_of_type(defect_type):
        raise InputError(f"defect_type {defect_type!r} is no name of a kind of defect: it {fault}")
    name = cells.get("picture_name") or path.stem
    if name.startswith(".") or "/" in name:
        raise InputError(f"picture_name is {name!r}; it must have no '/', nor begin with '.'")
    return Row(
        image_id=f"{split}/{defect_type}/{name}",
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


def _distinct(rows: Sequence[Row], named: Collection[str]) -> list[Row]:
    """The rows; where two would have one id, the whole path stands in for the stem, but not in the
    ids that the sheet gives itself.
    """
    counts = Counter(row.image_id for row in rows)
    return [
        row
        if counts[row.image_id] == 1 or row.image_id in named
        else replace(row, image_id=f"{row.split}/{row.defect_type}/{_flat(row.path)}")
        for row in rows
    ]


def _flat(path: Path) -> str:
    return "-".join(part for part in path.with_suffix("").parts if part != path.anchor)
