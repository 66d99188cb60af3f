"""Lifelike defects: as small and thin as real ones, on the object, and seen."""

from typing import Any

import cv2
import numpy as np
import pytest

from adclick.data.defects import simulate_defect
from adclick.data.engraving import crack_opacity, engrave, pit_opacity, scratch_opacity
from adclick.data.lifelike import LIFELIKE, Surface, areas_of, draw_lifelike
from adclick.data.toy import draw_normal

SIZE = 128
THIN = ["cracks", "scratches"]
SIZED = ["cracks", "pits", "scratches", "missing", "displaced"]


def seeded(*numbers: int) -> np.random.Generator:
    return np.random.default_rng(numbers)


@pytest.fixture(scope="module")
def cloth() -> np.ndarray:
    return draw_normal("cloth", SIZE, seeded(0))


@pytest.fixture(scope="module")
def plate() -> tuple[np.ndarray, np.ndarray]:
    """A bright, slightly rough plate on a dark ground, and where it is."""
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    inside = (rows - 64) ** 2 + (columns - 60) ** 2 < 45**2
    image = np.where(inside[:, :, None], 170, 30) + seeded(1).normal(0, 3, (SIZE, SIZE, 3))
    return image.clip(0, 255).astype(np.uint8), inside


def drawn(kind: str, image: np.ndarray, seed: int, **more: Any) -> tuple[np.ndarray, np.ndarray]:
    return simulate_defect(image, seeded(2, seed), shares={kind: 1.0}, **more)


@pytest.mark.parametrize("kind", sorted(LIFELIKE))
def test_every_piece_of_a_mask_is_seen_and_lies_on_the_object(
    kind: str, plate: tuple[np.ndarray, np.ndarray]
) -> None:
    image, inside = plate
    for seed in range(6):
        made, mask = drawn(kind, image, seed, foreground=inside)
        change = np.abs(made.astype(int) - image).max(axis=2)
        count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        for piece in range(1, count):
            own = np.asarray(labels) == piece
            assert own.sum() >= 3
            assert change[own].mean() > 5
            assert inside[own].mean() >= 0.5
        assert count > 1
        near = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
        assert change[~near].mean() < 2


@pytest.mark.parametrize("kind", sorted(LIFELIKE))
def test_the_same_seed_gives_the_same_defect(kind: str, cloth: np.ndarray) -> None:
    before = cloth.copy()
    first, second, other = (drawn(kind, cloth, seed) for seed in (3, 3, 4))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])
    assert not np.array_equal(first[1], other[1])
    assert np.array_equal(cloth, before)


@pytest.mark.parametrize("kind", THIN)
def test_lines_are_thin_and_long(kind: str, cloth: np.ndarray) -> None:
    lengths = []
    for seed in range(8):
        _, mask = drawn(kind, cloth, seed)
        depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)
        assert np.max(depth) <= 5
        rows, columns = np.nonzero(mask)
        lengths.append(np.hypot(np.ptp(rows), np.ptp(columns)))
    assert max(lengths) > 30
    assert min(lengths) < 30


@pytest.mark.parametrize("kind", THIN)
def test_clear_lines_stand_out_more_and_are_longer(kind: str, cloth: np.ndarray) -> None:
    def seen(kind: str) -> tuple[float, float]:
        changes, lengths = [], []
        for seed in range(16):
            made, mask = drawn(kind, cloth, seed)
            changes.append(np.abs(made.astype(float) - cloth)[mask].mean())
            lengths.append(max(np.ptp(axis) for axis in np.nonzero(mask)))
        return float(np.median(changes)), float(np.median(lengths))

    (change, length), (clear_change, clear_length) = seen(kind), seen(f"clear_{kind}")
    assert clear_change > 1.3 * change and clear_length > length


@pytest.mark.parametrize("opacity_of", [crack_opacity, scratch_opacity, pit_opacity])
def test_a_wanted_area_is_about_what_is_drawn(opacity_of: Any) -> None:
    for area in (12.0, 60.0, 200.0):
        found = [
            areas_of(opacity_of((SIZE, SIZE), seeded(5, seed), area_px=area) >= 0.25)
            for seed in range(12)
        ]
        largest = np.median([max(areas, default=0) for areas in found])
        assert area / 2.5 < largest < 2.5 * area


@pytest.mark.parametrize("kind", SIZED)
def test_sizes_follow_those_of_labelled_defects(
    kind: str, plate: tuple[np.ndarray, np.ndarray]
) -> None:
    image, inside = plate

    def median(area: float) -> float:
        made = [
            drawn(kind, image, seed, foreground=inside, areas_px=[area], minimum_area_px=60)
            for seed in range(8)
        ]
        return float(np.median([max(areas_of(mask)) for _, mask in made]))

    small, large = median(15.0), median(150.0)
    assert small < 45
    assert large > 2.5 * small


def test_the_kinds_that_are_no_shapes_may_be_smaller_than_the_smallest_blob(
    cloth: np.ndarray,
) -> None:
    areas = [int(drawn("pits", cloth, seed, minimum_area_px=100)[1].sum()) for seed in range(12)]
    assert min(areas) < 50
    blobs = [int(drawn("blobs", cloth, seed, minimum_area_px=100)[1].sum()) for seed in range(3)]
    assert min(blobs) >= 100


def test_where_material_is_missing_the_background_shows(
    plate: tuple[np.ndarray, np.ndarray],
) -> None:
    image, inside = plate
    outside = cv2.erode((~inside).astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    for seed in range(6):
        made, mask = drawn("missing", image, seed, foreground=inside)
        assert np.median(made[mask]) < 60
        assert np.array_equal(made[outside], image[outside])


def test_without_background_a_missing_part_is_a_displaced_one(cloth: np.ndarray) -> None:
    for foreground in (None, np.ones((SIZE, SIZE), bool)):
        surface = Surface(cloth, foreground)
        missing, displaced = (
            draw_lifelike(kind, surface, seeded(6)) for kind in ("missing", "displaced")
        )
        assert np.array_equal(missing[0], displaced[0])
        assert np.array_equal(missing[1], displaced[1])


def test_a_displaced_part_has_the_colours_of_the_picture() -> None:
    halves = np.full((SIZE, SIZE, 3), 40, np.uint8)
    halves[:, SIZE // 2 :] = 200
    for seed in range(6):
        made, mask = drawn("displaced", halves, seed)
        core = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
        assert set(np.unique(made[core])) <= {40, 200}


def test_shades_keep_the_texture(cloth: np.ndarray) -> None:
    for seed in range(6):
        made, mask = drawn("shades", cloth, seed)
        core = cv2.erode(mask.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
        old, new = cloth[core].mean(axis=1), made[core].mean(axis=1)
        assert np.corrcoef(old, new)[0, 1] > 0.9
        assert 0.05 < abs(new.mean() / old.mean() - 1) < 0.4


@pytest.mark.parametrize("kind", sorted(LIFELIKE))
def test_defects_of_a_grey_camera_are_grey(kind: str, cloth: np.ndarray) -> None:
    grey = np.repeat(cloth[:, :, :1], 3, axis=2)
    for seed in range(3):
        assert np.ptp(drawn(kind, grey, seed)[0], axis=2).max() <= 1


@pytest.mark.parametrize("level", [0, 255])
def test_an_engraving_goes_where_there_is_room_for_it(level: int) -> None:
    image = np.full((32, 32, 3), level, np.uint8)
    opacity = np.zeros((32, 32), np.float32)
    opacity[10:20, 10:20] = 1
    for seed in range(4):
        made, mask = engrave(image, opacity, seeded(7, seed), dark_share=0.5, lit_share=0.0)
        assert np.abs(made.astype(int) - image)[mask].mean() > 12
        assert np.array_equal(mask, opacity == 1)


def test_pictures_need_not_be_square() -> None:
    normal = draw_normal("cloth", 96, seeded(8))[:67]
    for kind in LIFELIKE:
        made, mask = drawn(kind, normal, 0)
        assert made.shape == (67, 96, 3)
        assert mask.shape == (67, 96)


def test_areas_are_those_of_pieces() -> None:
    mask = np.zeros((12, 12), bool)
    mask[1:3, 1:4] = mask[3, 4] = mask[8:10, 8] = True
    assert areas_of(mask) == [7.0, 2.0]
    assert areas_of(np.zeros((4, 4), bool)) == []
