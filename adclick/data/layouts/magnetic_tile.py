"""Magnetic-Tile-Defects as published."""

from collections.abc import Collection
from pathlib import Path

from adclick.data.reading import (
    GOOD,
    Group,
    Row,
    checked,
    name_of,
    pictures,
    require_folder,
    row_of,
)

TYPES = ("blowhole", "break", "crack", "fray", "uneven")


def read_rows(root: Path, category: str, *, training_normals: Collection[str] = ()) -> list[Row]:
    """Rows of Magnetic-Tile-Defects as published: `MT_<Type>/Imgs/<name>.jpg` with `<name>.png`.

    Everything belongs to the split `test`, except the normal pictures whose ids
    (`train/good/<name>`) are in `training_normals`. Masks of the normal pictures are all zero and
    are not used. `category` is only for messages.
    """
    require_folder(
        root, "get abin24/Magnetic-tile-defect-datasets. from GitHub and unpack it there"
    )
    rows: list[Row] = []
    problems: list[str] = []
    for defect_type in (*TYPES, "free"):
        folder = root / f"MT_{defect_type.capitalize()}" / "Imgs"
        images = {path.stem: path for path in pictures(folder) if path.suffix.lower() == ".jpg"}
        masks = {path.stem: path for path in pictures(folder) if path.suffix.lower() == ".png"}
        if not images:
            problems.append(f"{name_of(folder, root)} has no image")
        problems += [f"{name_of(images[stem], root)} has no mask" for stem in images.keys() - masks]
        problems += [f"{name_of(masks[stem], root)} has no image" for stem in masks.keys() - images]
        for stem in images.keys() & masks.keys():
            rows.append(_tile_row(root, defect_type, images[stem], masks[stem], training_normals))
    absent = set(training_normals) - {row.image_id for row in rows}
    problems += [f"{image_id} is listed for training but is no image" for image_id in absent]
    return checked(root, category, rows, problems)


def _tile_row(
    root: Path, defect_type: str, image: Path, mask: Path, training_normals: Collection[str]
) -> Row:
    if defect_type != "free":
        return row_of(root, Group("test", defect_type, image.parent, image.parent), image, mask)
    split = "train" if f"train/{GOOD}/{image.stem}" in training_normals else "test"
    return row_of(root, Group(split, GOOD, image.parent, None), image, None)
