"""MVTec AD's layout, and that of one's own photographs."""

from collections.abc import Collection
from pathlib import Path

from adclick.data.reading import (
    GOOD,
    VALIDATION,
    Group,
    Row,
    checked,
    folders,
    name_of,
    pictures,
    read_groups,
    require_folder,
)


def read_rows(root: Path, category: str, *, training_normals: Collection[str] = ()) -> list[Row]:
    """Rows of MVTec AD's layout: `<category>/{train/good, test/<type>, ground_truth/<type>}`.

    Defects may also lie in `train/<type>`, where those that nobody has labelled yet have no mask;
    normal pictures that are never trained on, in `validation/good`.
    A mask is `<stem>_mask.<suffix>` or `<stem>.<suffix>`. Files that start with a dot are ignored.
    Raises one InputError that lists every problem of the category.
    """
    folder = root / category
    require_folder(
        folder,
        "download MVTec AD from mvtec.com (Company > Research > Datasets) and unpack it there",
    )
    groups = [
        Group(split, kind.name, kind, None if kind.name == GOOD else _truth(folder, kind))
        for split in ("train", "test")
        for kind in folders(folder / split)
    ]
    known = {group.mask_folder for group in groups}
    held_out = folder / VALIDATION / GOOD
    groups += [Group(VALIDATION, GOOD, held_out, None)] if held_out.is_dir() else []
    stray = [kind for kind in folders(folder / "ground_truth") if kind.name != GOOD]
    orphans = [
        f"{name_of(mask, root)} has no image"
        for kind in stray
        if kind not in known
        for mask in pictures(kind)
    ]
    rows, problems = read_groups(root, groups)
    if not any(row.split == "train" and row.is_normal for row in rows):
        problems.append(f"{name_of(folder / 'train' / GOOD, root)} has no image")
    return checked(root, category, rows, problems + orphans)


def _truth(folder: Path, kind: Path) -> Path:
    return folder / "ground_truth" / kind.name
