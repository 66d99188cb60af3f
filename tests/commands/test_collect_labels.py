from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from adclick.annotate.store import save_label
from adclick.commands import collect_labels
from adclick.run.artifacts import image_ids, open_arrays, read_stamp, write_csv
from adclick.run.errors import InputError
from adclick.run.job import run

SIZE = 8
IMAGES = [
    ("train/good/000", "bolt/train/good/000.png", "train_normal", (16, 32)),
    ("train/crack/000", "bolt/train/crack/000.png", "spare_defect", (16, 32)),
    ("test/crack/000", "bolt/test/crack/000.png", "test_defect", (16, 32)),
    ("test/crack/001", "bolt/test/crack/001.png", "train_defect", (16, 32)),
    ("test/rust/001", "bolt/test/rust/001.bmp", "train_defect", (16, 32)),
]


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    rows = [
        {"image_id": image_id, "path": path, "role": role, "height": shape[0], "width": shape[1]}
        for image_id, path, role, shape in IMAGES
    ]
    write_csv(tmp_path / "manifest.csv", pd.DataFrame(rows), stamp={})
    return tmp_path / "manifest.csv"


def save(
    folder: Path,
    key: str,
    *,
    state: str = "done",
    shape: tuple[int, int] = (16, 32),
    box: tuple[slice, slice] = (slice(4, 12), slice(8, 16)),
    clicks: Sequence[Sequence[tuple[int, int, bool]]] = ([(6, 10, True)],),
    path: str = "",
) -> None:
    mask = np.zeros(shape, bool)
    mask[box] = True
    objects = [
        {"clicks": [{"row": r, "column": c, "positive": positive} for r, c, positive in own]}
        for own in clicks
    ]
    facts: Mapping[str, Any] = {"state": state, "objects": objects, "path": path}
    save_label(folder, key, facts, mask if state in ("done", "normal") else None)


def collected(
    folder: Path, manifest: Path, resize: str = "published"
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    output = manifest.parent / "labels.h5"
    settings = f'{{"size": null, "size_px": {SIZE}, "stride": 8, "resize": "{resize}"}}'
    collect_labels.main(
        ["--settings", settings, "--folder", str(folder), "--manifest", str(manifest)]
        + ["--labels", str(output)]
    )
    with open_arrays(output) as file:
        probabilities, clicks = file["probabilities"][:], file["clicks"][:]
        assert (probabilities.dtype, clicks.dtype) == (np.float16, np.int32)
        ids = image_ids(file)
    return {one: (probabilities[place], clicks[place]) for place, one in enumerate(ids)}


def test_masks_and_clicks_come_at_the_networks_size(tmp_path: Path, manifest: Path) -> None:
    save(tmp_path / "labels", "test/crack/001", clicks=[[(6, 10, True), (14, 30, False)]])
    save(tmp_path / "labels", "train/crack/000")
    found = collected(tmp_path / "labels", manifest)
    assert list(found) == ["train/crack/000", "test/crack/001"]  # as in the manifest
    mask, clicks = found["test/crack/001"]
    expected = np.zeros((SIZE, SIZE))
    expected[2:6, 2:4] = 1
    assert np.array_equal(mask, expected)
    assert clicks.tolist() == [[3, 2, 1], [7, 7, 0]]
    assert found["train/crack/000"][1].tolist() == [[3, 2, 1], [-1, -1, -1]]


def test_clicks_of_all_defects_count_unless_the_mask_says_otherwise(
    tmp_path: Path, manifest: Path
) -> None:
    one = [(6, 10, True), (8, 12, False)]  # keeps the other defect out of this one: it is a defect
    another = [
        (8, 13, True),
        (0, 31, True),
        (0, 0, False),
        (99, 0, False),
    ]  # erased, right, outside
    save(tmp_path / "labels", "test/crack/001", clicks=[one, another])
    clicks = collected(tmp_path / "labels", manifest)["test/crack/001"][1]
    assert clicks.tolist() == [[3, 2, 1], [4, 3, 1], [0, 0, 0]]


def test_labels_drawn_without_a_click(tmp_path: Path, manifest: Path) -> None:
    save(tmp_path / "labels", "test/crack/001", clicks=[[]])
    assert collected(tmp_path / "labels", manifest)["test/crack/001"][1].tolist() == [[-1, -1, -1]]


@pytest.mark.parametrize("known", [{}, {"objects": [{"type": "crack"}]}])
def test_labels_that_say_nothing_of_clicks(tmp_path: Path, manifest: Path, known: dict) -> None:
    facts = {"state": "done", **known}
    save_label(tmp_path / "labels", "test/crack/001", facts, np.ones((16, 32), bool))
    assert collected(tmp_path / "labels", manifest)["test/crack/001"][1].tolist() == [[-1, -1, -1]]


def test_labels_of_the_runs_own_pictures_have_the_networks_size(
    tmp_path: Path, manifest: Path
) -> None:
    box = (slice(1, 3), slice(5, 6))
    save(
        tmp_path / "labels", "test/crack/001", shape=(SIZE, SIZE), box=box, clicks=[[(1, 5, True)]]
    )
    mask, clicks = collected(tmp_path / "labels", manifest)["test/crack/001"]
    assert np.argwhere(mask).tolist() == [[1, 5], [2, 5]]
    assert clicks.tolist() == [[1, 5, 1]]


@pytest.mark.parametrize("prefix", ["", "test/", "bolt/test/"])
def test_pictures_may_be_labelled_from_any_folder_above(
    tmp_path: Path, manifest: Path, prefix: str
) -> None:
    save(tmp_path / "labels", f"{prefix}rust/001")
    assert list(collected(tmp_path / "labels", manifest)) == ["test/rust/001"]


@pytest.mark.parametrize("state", ["normal", "skipped", "todo", "in_work"])
def test_unfinished_labels_are_left_out(tmp_path: Path, manifest: Path, state: str) -> None:
    save(tmp_path / "labels", "test/crack/001", state=state)
    save(tmp_path / "labels", "test/rust/001")
    assert list(collected(tmp_path / "labels", manifest)) == ["test/rust/001"]


def test_labels_of_test_images_are_not_trained_on(
    tmp_path: Path, manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "labels", "test/crack/000")
    with pytest.raises(InputError, match="no finished label of a training defect; label some of"):
        collected(tmp_path / "labels", manifest)
    save(tmp_path / "labels", "test/rust/001")
    assert list(collected(tmp_path / "labels", manifest)) == ["test/rust/001"]
    assert "not used, of test images: test/crack/000" in capsys.readouterr().err


def test_everything_wrong_is_named_in_one_error(tmp_path: Path, manifest: Path) -> None:
    labels = tmp_path / "labels"
    save(labels, "test/rust/001")
    save(labels, "rust/001")
    save(labels, "crack/000")
    save(labels, "train/good/000")
    save(labels, "test/crack/001", shape=(16, 31))
    save(labels, "train/crack/000")
    (labels / "train/crack/000.png").unlink()
    with pytest.raises(InputError) as caught:
        collected(labels, manifest)
    for part in (
        "test/rust/001 and rust/001 label one image",
        "crack/000 fits train/crack/000, test/crack/000: label from a folder above",
        "train/good/000 is a normal image (train/good/000), and has a defect",
        "test/crack/001.png has 31 x 16 pixels, its image 32 x 16",
        "train/crack/000.png is missing: save it again",
    ):
        assert part in str(caught.value)
    assert not (tmp_path / "labels.h5").exists()


def test_a_label_without_an_image_stops_no_other(
    tmp_path: Path, manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "labels", "train/dent/007")
    with pytest.raises(InputError, match="labels of no image of the manifest: train/dent/007"):
        collected(tmp_path / "labels", manifest)
    save(tmp_path / "labels", "test/rust/001")
    assert list(collected(tmp_path / "labels", manifest)) == ["test/rust/001"]
    assert "not used, no image of the manifest: train/dent/007" in capsys.readouterr().err


def test_a_label_whose_image_has_another_id_now_is_found_by_its_path(
    tmp_path: Path, manifest: Path
) -> None:
    save(tmp_path / "labels", "train/rust/an-earlier-id", path="bolt/test/rust/001.bmp")
    assert list(collected(tmp_path / "labels", manifest)) == ["test/rust/001"]


def test_a_folder_without_labels(
    tmp_path: Path, manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        run(lambda: collected(tmp_path / "nowhere", manifest))
    assert caught.value.code == 2
    assert "label images with `adclick annotate` first" in capsys.readouterr().err


def test_the_stamp_says_which_labels(tmp_path: Path, manifest: Path) -> None:
    def stamped() -> object:
        collected(tmp_path / "labels", manifest)
        stamp = read_stamp(tmp_path / "labels.h5")
        assert stamp is not None
        return stamp["inputs"]["folder"]

    save(tmp_path / "labels", "test/crack/001")
    first = stamped()
    save(tmp_path / "labels", "test/rust/001", state="skipped")
    assert stamped() == first
    save(tmp_path / "labels", "test/crack/001", clicks=[[(7, 10, True)]])
    second = stamped()
    save(tmp_path / "labels", "test/crack/001", box=(slice(4, 13), slice(8, 16)))
    assert len({first, second, stamped()}) == 3


@pytest.mark.parametrize(("resize", "rows"), [("published", 1), ("area", SIZE)])
def test_masks_shrink_as_the_pictures_do(
    tmp_path: Path, manifest: Path, resize: str, rows: int
) -> None:
    line = (slice(0, 16), slice(8, 9))  # one pixel wide, beside what is sampled
    save(tmp_path / "labels", "test/crack/001", box=line, clicks=([(6, 8, True)],))
    (found,) = collected(tmp_path / "labels", manifest, resize).values()
    assert (found[0] > 0.5).any(axis=1).sum() >= rows
