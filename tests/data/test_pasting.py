"""Real defects pasted like real ones: anywhere on the object, in the surface's tone, soft-edged."""

import numpy as np
import pytest

from adclick.data.pasting import paste_anywhere

SIZE = 96
HOME, GROUND, DEFECT = 120, 20, 40


def seeded(*numbers: int) -> np.random.Generator:
    return np.random.default_rng(numbers)


@pytest.fixture
def plate() -> tuple[np.ndarray, np.ndarray]:
    """A plate of 10 grey levels more than the defective one, on a dark ground; and where it is."""
    inside = np.zeros((SIZE, SIZE), bool)
    inside[8:88, 40:92] = True
    image = np.where(inside[:, :, None], HOME + 10, GROUND) * np.ones(3)
    return image.astype(np.uint8), inside


def labelled(rows: slice = slice(30, 42), columns: slice = slice(50, 56)) -> tuple:
    image = np.full((SIZE, SIZE, 3), HOME, np.uint8)
    label = np.zeros((SIZE, SIZE), np.float32)
    image[rows, columns], label[rows, columns] = DEFECT, 0.8
    return image, label


def test_a_defect_lies_anywhere_on_the_object_in_the_tone_of_its_surroundings(
    plate: tuple[np.ndarray, np.ndarray],
) -> None:
    normal, inside = plate
    image, label = labelled()
    places = []
    for seed in range(16):
        made, moved = paste_anywhere(image, label, normal, seeded(1, seed), foreground=inside)
        mask = moved > 0.5
        assert inside[mask].mean() > 0.8
        assert 0.7 * 0.49 < mask.sum() / 72 < 1.3 * 1.96
        assert moved[~mask].max() == 0
        assert moved.max() == pytest.approx(0.8, abs=0.01)
        assert abs(np.median(made[mask].astype(float)) - (DEFECT + 10)) <= 1
        far = np.ones((SIZE, SIZE), bool)
        rows, columns = np.nonzero(mask)
        far[rows.min() - 6 : rows.max() + 7, columns.min() - 6 : columns.max() + 7] = False
        assert np.array_equal(made[far], normal[far])
        places.append((rows.mean(), columns.mean()))
    assert np.std(places, axis=0).min() > 6


def test_the_rim_of_a_pasted_defect_is_soft(plate: tuple[np.ndarray, np.ndarray]) -> None:
    normal, inside = plate
    image, label = labelled(slice(30, 50), slice(50, 70))
    image[:] = HOME
    image[30:50, 50:70] = DEFECT
    made, _ = paste_anywhere(image, label, normal, seeded(2), foreground=inside)
    between = (made > DEFECT + 25) & (made < HOME - 5)
    assert between.all(axis=2).sum() >= 12


def test_a_surface_like_that_at_home_is_preferred() -> None:
    normal = np.full((SIZE, SIZE, 3), 230, np.uint8)
    normal[:, : SIZE // 2] = HOME
    image, label = labelled(columns=slice(20, 26))
    beside = [
        (paste_anywhere(image, label, normal, seeded(3, seed))[1][:, SIZE // 2 :] > 0.5).any()
        for seed in range(8)
    ]
    assert not any(beside)


@pytest.mark.parametrize("side", [1, 2, 3])
def test_a_tiny_defect_is_not_made_smaller(side: int) -> None:
    image, label = labelled(slice(30, 30 + side), slice(50, 50 + side))
    normal = np.full((SIZE, SIZE, 3), HOME, np.uint8)
    areas = [
        np.count_nonzero(paste_anywhere(image, label, normal, seeded(4, seed))[1] > 0.5)
        for seed in range(12)
    ]
    assert np.mean(areas) >= 0.7 * side**2


def test_pasting_repeats_by_seed_and_leaves_its_inputs_alone() -> None:
    image, label = labelled()
    normal = np.full((SIZE, SIZE, 3), 90, np.uint8)
    before = [array.copy() for array in (image, label, normal)]
    first, second = (paste_anywhere(image, label, normal, seeded(6)) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])
    for array, old in zip((image, label, normal), before, strict=True):
        assert np.array_equal(array, old)
