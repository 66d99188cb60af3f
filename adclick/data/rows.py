"""What many stages read of a category: the rows of its manifest by role, and its true masks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from adclick.data.geometry import contents_of, cropped
from adclick.run.artifacts import image_ids, open_arrays, read_csv


def train_normal_rows(manifest: Path) -> list[int]:
    """Rows of the manifest that are normal training images."""
    return [int(row) for row in np.flatnonzero(read_csv(manifest)["role"] == "train_normal")]


def defect_rows(manifest: Path, *, roles: Sequence[str]) -> list[tuple[int, str, str]]:
    """(row, image id, defect type) of the images with one of the given roles, in order."""
    table = read_csv(manifest)
    columns = (table["image_id"], table["defect_type"], table["role"])
    return [
        (row, str(image_id), str(kind))
        for row, (image_id, kind, role) in enumerate(zip(*columns, strict=True))
        if role in roles
    ]


def read_masks(path: Path) -> dict[str, np.ndarray]:
    """True masks [height width] by image id, each as large as its picture."""
    with open_arrays(path) as file:
        ids, contents = image_ids(file), contents_of(file, "masks")
        return {
            image_id: cropped(file["masks"][row] > 0, contents[row])
            for row, image_id in enumerate(ids)
        }


NORMAL_TYPE = "good"
SIMULATED_TYPE = "contamination"
