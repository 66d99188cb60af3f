from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from adclick.annotate.run_pictures import find_run_pictures, write_run_images
from adclick.annotate.store import find_pictures
from adclick.data.images import read_image, write_png
from adclick.run.artifacts import ArraySpec, create_arrays, write_csv
from adclick.run.errors import InputError

ROLES = {
    "train/good/000": "train_normal",
    "train/rust/000": "spare_defect",
    "test/rust/000": "train_defect",
    "test/rust/001": "test_defect",
}


def category(folder: Path, roles: dict[str, str], seed: int = 0) -> np.ndarray:
    made = folder / "make_manifest"
    pixels = np.random.default_rng(seed).integers(0, 256, (len(roles), 8, 8, 3), np.uint8)
    columns = {"image_id": list(roles), "path": [f"cap/{name}.bmp" for name in roles]}
    columns["defect_type"] = [name.split("/")[1] for name in roles]
    table = pd.DataFrame(columns | {"role": list(roles.values())})
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


def test_the_files_of_a_run_are_labelled_at_their_own_size(tmp_path: Path) -> None:
    category(tmp_path / "run", ROLES)
    data = tmp_path / "data"
    for name in ROLES:
        write_png(data / f"cap/{name}.png", np.zeros((20, 30, 3), np.uint8))
        (data / f"cap/{name}.png").rename(data / f"cap/{name}.bmp")
    for folder in (data, data / "cap", data / "cap/../../data"):
        found = find_run_pictures(tmp_path / "run", folder)
        assert {one.kind for one in found} == {"rust"}
        assert [(one.key, one.shape) for one in found] == [
            ("train/rust/000", (20, 30)),
            ("test/rust/000", (20, 30)),
        ]
        assert found[0].path.samefile(data / "cap/train/rust/000.bmp")
    (data / "cap/train/rust/000.bmp").rename(tmp_path / "camera.bmp")
    (data / "cap/train/rust/000.bmp").symlink_to(tmp_path / "camera.bmp")
    assert find_run_pictures(tmp_path / "run", data)[0].key == "train/rust/000"
    with pytest.raises(InputError, match=r"cap/test/rust/000.bmp of the run is not below it"):
        find_run_pictures(tmp_path / "run", data / "cap/train")
    (data / "old/cap/train/rust").mkdir(parents=True)
    (data / "old/cap/train/rust/000.bmp").write_bytes(found[0].path.read_bytes())
    with pytest.raises(InputError, match=r"cap/train/rust/000.bmp of the run is there twice"):
        find_run_pictures(tmp_path / "run", data)
