from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from adclick.annotate.store import find_pictures
from adclick.artifacts import ArraySpec, create_arrays, write_csv
from adclick.commands.run_images import write_run_images
from adclick.data.images import read_image
from adclick.errors import InputError

ROLES = {
    "train/good/000": "train_normal",
    "train/rust/000": "spare_defect",
    "test/rust/000": "train_defect",
    "test/rust/001": "test_defect",
}


def category(folder: Path, roles: dict[str, str], seed: int = 0) -> np.ndarray:
    made = folder / "make_manifest"
    pixels = np.random.default_rng(seed).integers(0, 256, (len(roles), 8, 8, 3), np.uint8)
    table = pd.DataFrame({"image_id": list(roles), "role": list(roles.values())})
    write_csv(made / "manifest.csv", table, stamp={})
    specs = {"images": ArraySpec((8, 8, 3), "uint8")}
    stamp = {"seed": seed}
    with create_arrays(made / "images.h5", image_ids=list(roles), specs=specs, stamp=stamp) as file:
        file["images"][:] = pixels
    return pixels


def keys(folder: Path) -> list[str]:
    return [picture.key for picture in find_pictures(folder)]


def test_the_defects_to_train_on_are_labelled_not_those_to_score_on(tmp_path: Path) -> None:
    pixels = category(tmp_path / "run", ROLES)
    folder = write_run_images(tmp_path / "run", tmp_path / "images")
    assert keys(folder) == ["test/rust/000", "train/rust/000"]
    assert np.array_equal(read_image(folder / "test/rust/000.png"), pixels[2])


def test_without_defects_to_train_on_all_are_labelled(tmp_path: Path) -> None:
    category(tmp_path / "run", {"train/good/000": "train_normal", "test/rust/001": "test_defect"})
    assert keys(write_run_images(tmp_path / "run", tmp_path / "images")) == ["test/rust/001"]


def test_pictures_are_written_once_and_again_when_the_run_changes(tmp_path: Path) -> None:
    category(tmp_path / "run", ROLES)
    folder = write_run_images(tmp_path / "run", tmp_path / "images")
    (folder / "test/rust/000.png").write_bytes(b"mine")
    write_run_images(tmp_path / "run", folder)
    assert (folder / "test/rust/000.png").read_bytes() == b"mine"
    pixels = category(tmp_path / "run", ROLES | {"train/rust/000": "test_defect"}, seed=1)
    write_run_images(tmp_path / "run", folder)
    assert keys(folder) == ["test/rust/000"]
    assert np.array_equal(read_image(folder / "test/rust/000.png"), pixels[2])


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no category of a finished run"):
        write_run_images(tmp_path, tmp_path / "images")
