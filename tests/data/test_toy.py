"""The embedded data set: exact masks, flawless twins, and pictures that stay as they are."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from adclick.data.images import read_image, read_mask
from adclick.data.layouts.mvtec import read_rows as read_mvtec
from adclick.data.toy import CATEGORIES, DEFECT_TYPES, draw_defect, draw_normal, draw_toy
from adclick.run.errors import InputError

KINDS = [(category, kind) for category in CATEGORIES for kind in DEFECT_TYPES[category]]
AS_FIRST_DRAWN = {  # mean red, green and blue, and the mask's area in percent
    "hole": (129.58, 157.30, 187.75, 2.32),
    "loose_thread": (130.48, 158.33, 188.96, 0.89),
    "stain": (130.13, 157.80, 188.14, 3.60),
    "chipped": (94.58, 100.61, 103.87, 2.21),
    "rust": (96.27, 100.97, 103.42, 2.69),
    "scratch": (96.60, 102.60, 105.82, 0.43),
    "crack": (174.51, 169.40, 170.92, 0.76),
    "dent": (174.61, 169.40, 170.81, 2.19),
    "misprint": (174.08, 168.91, 170.43, 2.73),
}
THIN = [("cloth", "loose_thread"), ("washer", "scratch"), ("capsule", "crack")]


def seeded(*numbers: int) -> np.random.Generator:
    return np.random.default_rng(numbers)


def test_there_are_three_categories_of_three_named_defects() -> None:
    assert DEFECT_TYPES == {
        "cloth": ("hole", "loose_thread", "stain"),
        "washer": ("chipped", "rust", "scratch"),
        "capsule": ("crack", "dent", "misprint"),
    }


@pytest.mark.parametrize(("category", "kind"), KINDS)
def test_a_defective_picture_equals_its_flawless_twin_outside_the_mask(
    category: str, kind: str
) -> None:
    for seed in range(2):
        twin = draw_normal(category, 128, seeded(seed))
        image, mask = draw_defect(category, kind, 128, seeded(seed))
        change = np.abs(image.astype(int) - twin).max(axis=2)
        near = cv2.dilate(mask.astype(np.uint8), np.ones((7, 7), np.uint8)).astype(bool)
        assert change[~near].max(initial=0) <= 40  # faint shadows
        assert (change[~near] > 12).mean() < 0.002
        assert np.mean(change[mask] > 8) > 0.6, seed
        assert change[mask].mean() > 20, seed


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_median_defect_covers_one_to_three_percent(category: str) -> None:
    areas = [
        draw_defect(category, kind, 64, seeded(7, seed))[1].mean()
        for kind in DEFECT_TYPES[category]
        for seed in range(6)
    ]
    assert 0.01 <= np.median(areas) <= 0.03
    assert min(areas) > 0.001
    assert max(areas) < 0.08


@pytest.mark.parametrize(("category", "kind"), THIN)
def test_thin_defects_are_at_most_three_pixels_wide(category: str, kind: str) -> None:
    squares = []
    for seed in range(4):
        _, mask = draw_defect(category, kind, 128, seeded(8, seed))
        assert mask.any()
        opened = cv2.erode(mask.astype(np.uint8), np.ones((4, 4), np.uint8))
        squares.append(opened.sum() / mask.sum())
    assert np.median(squares) == 0  # not a single 4 x 4 square fits in, crossings apart
    assert max(squares) < 0.1


@pytest.mark.parametrize("category", CATEGORIES)
def test_normal_pictures_vary_and_defects_stand_out_from_that(category: str) -> None:
    normals = np.stack([draw_normal(category, 64, seeded(9, seed)) for seed in range(6)]).astype(
        float
    )
    spread = normals.mean(axis=3).std(axis=0)
    assert spread.mean() > 4
    assert np.ptp(normals.mean(axis=(1, 2, 3))) > 5  # exposure
    kind = DEFECT_TYPES[category][0]
    image, mask = draw_defect(category, kind, 64, seeded(9, 0))
    assert np.abs(image - normals[0]).max(axis=2)[mask].mean() > spread.mean()


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_same_seed_draws_the_same_and_another_does_not(category: str) -> None:
    first = draw_normal(category, 64, seeded(1))
    assert np.array_equal(first, draw_normal(category, 64, seeded(1)))
    assert not np.array_equal(first, draw_normal(category, 64, seeded(2)))


@pytest.mark.parametrize("size_px", [32, 64, 100])
def test_a_scene_looks_the_same_at_every_size(size_px: int) -> None:
    large, large_mask = draw_defect("washer", "rust", 128, seeded(3))
    image, mask = draw_defect("washer", "rust", size_px, seeded(3))
    assert image.shape == (size_px, size_px, 3)
    assert mask.mean() == pytest.approx(large_mask.mean(), rel=0.2)
    assert image.mean() == pytest.approx(large.mean(), rel=0.02)


def test_the_pictures_are_still_those_that_models_were_tuned_on() -> None:
    """Mean levels and areas as first drawn; they hold on every machine, single pixels may not."""
    drawn = {}
    for category, kind in KINDS:
        image, mask = draw_defect(category, kind, 128, seeded(0))
        drawn[kind] = (*image.mean(axis=(0, 1)), 100 * mask.mean())
    assert set(drawn) == set(AS_FIRST_DRAWN)
    for kind, expected in AS_FIRST_DRAWN.items():
        assert drawn[kind] == pytest.approx(expected, abs=0.15), kind


def test_the_files_are_those_of_the_mvtec_layout(tmp_path: Path) -> None:
    draw_toy(tmp_path / "a b", size_px=24, normals=3, test_normals=2, defects_per_type=2, seed=5)
    assert sorted(path.name for path in (tmp_path / "a b").iterdir()) == sorted(CATEGORIES)
    for category in CATEGORIES:
        rows = read_mvtec(tmp_path / "a b", category)
        assert [row.image_id for row in rows if row.is_normal] == [
            "test/good/000",
            "test/good/001",
            "train/good/000",
            "train/good/001",
            "train/good/002",
        ]
        assert {row.defect_type for row in rows} == {"good", *DEFECT_TYPES[category]}
        assert len(rows) == 5 + 6
        for row in rows:
            assert read_image(tmp_path / "a b" / row.path).shape == (24, 24, 3)
            assert row.mask_path is None or read_mask(tmp_path / "a b" / row.mask_path).any()


def test_more_pictures_leave_the_first_as_they_were(tmp_path: Path) -> None:
    counts = {"test_normals": 1, "defects_per_type": 1, "seed": 5, "size_px": 16}
    draw_toy(tmp_path, normals=1, **counts)
    first = {path: path.read_bytes() for path in tmp_path.rglob("*.png")}
    stale = tmp_path / "cloth" / "train" / "good" / "999.png"
    stale.write_bytes(b"left by an older run")
    draw_toy(tmp_path, normals=2, **counts)
    assert {path: path.read_bytes() for path in first} == first
    assert len(list(tmp_path.rglob("*.png"))) == len(first) + 3
    assert not stale.exists()
    draw_toy(tmp_path, normals=1, **(counts | {"seed": 6}))
    assert all(
        path.read_bytes() != content for path, content in first.items() if "_mask" not in path.name
    )


def test_a_stopped_drawing_leaves_no_category(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise InputError("disk full")

    monkeypatch.setattr("adclick.data.toy.write_png", fail)
    with pytest.raises(InputError):
        draw_toy(tmp_path, size_px=16, normals=1, test_normals=1, defects_per_type=1, seed=0)
    with pytest.raises(InputError, match="no such folder"):
        read_mvtec(tmp_path, "cloth")
