"""KolektorSDD2 as published."""

from collections.abc import Collection
from functools import partial
from pathlib import Path

from adclick.data.images import decode_mask
from adclick.data.reading import (
    GOOD,
    Group,
    Row,
    checked,
    decoded,
    name_of,
    pictures,
    require_folder,
    row_of,
)

STRAYS = frozenset({"10301 (copy)", "10301_GT (copy)"})  # doubles inside the published archive


def read_rows(root: Path, category: str, *, training_normals: Collection[str] = ()) -> list[Row]:
    """Rows of KolektorSDD2 as published: `{train, test}/<number>.png`, the mask `<number>_GT.png`.

    Every picture has a mask; one that is all 0 makes it normal, any other is of the type `defect`.
    Two doubles that the published archive contains are skipped. `category` is only for messages.
    """
    require_folder(root, "download KolektorSDD2 from vicos.si (Resources) and unpack it there")
    rows: list[Row] = []
    problems: list[str] = []
    for split in ("train", "test"):
        stems = {path.stem: path for path in pictures(root / split) if path.stem not in STRAYS}
        if not stems:
            problems.append(f"{split} has no image")
        for stem, path in stems.items():
            if stem.endswith("_GT"):
                if stem.removesuffix("_GT") not in stems:
                    problems.append(f"{name_of(path, root)} has no image")
            elif f"{stem}_GT" not in stems:
                problems.append(f"{name_of(path, root)} has no mask")
            else:
                rows += _ksdd2_row(root, path, stems[f"{stem}_GT"], split, problems)
    return checked(root, category, rows, problems)


def _ksdd2_row(root: Path, image: Path, mask: Path, split: str, problems: list[str]) -> list[Row]:
    decode = partial(decode_mask, mask_values="ids")
    found = decoded(root, mask.relative_to(root), decode, problems)
    if found is None:
        return []
    if found[0].any():
        return [row_of(root, Group(split, "defect", image.parent, image.parent), image, mask)]
    return [row_of(root, Group(split, GOOD, image.parent, None), image, None)]
