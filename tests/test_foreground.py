from pathlib import Path

import h5py
import numpy as np
import pytest

from adclick.foreground import EVERYWHERE, Foreground, fit_foreground, foreground_map


def washers(images: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of noisy discs on a plain ground, and where the discs are."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    disc = rows**2 + columns**2 <= (0.35 * size) ** 2
    signs = np.array([1, -1, 0.5, 0])
    layer1 = disc[..., None] * signs + 0.1 * random.normal(size=(images, size, size, 4))
    return layer1.astype(np.float32), disc


@pytest.mark.parametrize("size", [8, 20, 40])
def test_the_object_is_found_without_labels(size: int) -> None:
    layer1, disc = washers(8, size, seed=0)
    found = foreground_map(layer1, fit_foreground(layer1))
    assert found.dtype == np.float32
    assert found[:, disc].mean() > 0.8
    assert found[:, ~disc].mean() < 0.2
    assert found.min() == 0
    assert found.max() == 1


def test_the_object_need_not_be_the_larger_cluster() -> None:
    layer1, disc = washers(8, 40, seed=0)
    other = -layer1  # the brighter cluster is the background now
    assert foreground_map(other, fit_foreground(other))[:, disc].mean() > 0.8


def test_a_map_by_hand() -> None:
    layer1 = np.array([[[[0, 0], [1, 2], [4, 0], [0, 9]]]], np.float32)
    foreground = Foreground(np.array([1, 0.5], np.float32), bias=1.0, minimum=1.0, maximum=5.0)
    np.testing.assert_allclose(foreground_map(layer1, foreground), [[[0, 0.5, 1, 1]]])


def test_one_percent_of_the_normal_pixels_is_clipped_at_each_end() -> None:
    layer1, _ = washers(10, 20, seed=1)
    found = foreground_map(layer1, fit_foreground(layer1))
    assert 0.009 <= (found == 0).mean() <= 0.012
    assert 0.009 <= (found == 1).mean() <= 0.012


def test_the_fit_is_the_same_from_a_file_and_again(tmp_path: Path) -> None:
    layer1, _ = washers(6, 16, seed=2)
    settings = {"seed": 3, "sample_pixels": 200, "samples_per_class": 50}
    expected = fit_foreground(layer1, **settings)
    with h5py.File(tmp_path / "features.h5", "w") as file:
        found = fit_foreground(file.create_dataset("layer1", data=layer1), **settings)
    np.testing.assert_array_equal(found.weight, expected.weight)
    assert (found.bias, found.minimum, found.maximum) == (
        expected.bias,
        expected.minimum,
        expected.maximum,
    )
    assert expected.weight.shape == (4,)
    assert not np.array_equal(
        fit_foreground(layer1, **settings | {"seed": 4}).weight, expected.weight
    )


def test_without_a_usable_split_the_object_is_everywhere() -> None:
    equal = np.ones((3, 10, 10, 2), np.float32)
    assert fit_foreground(equal) is EVERYWHERE
    corner = np.zeros((3, 20, 20, 2), np.float32)
    corner[:, :3, :3] = 1  # the other cluster never comes near the centre
    assert fit_foreground(corner) is EVERYWHERE
    assert fit_foreground(np.zeros((1, 2, 2, 1), np.float32)) is EVERYWHERE


def test_everywhere_is_one_for_any_features() -> None:
    np.testing.assert_array_equal(
        foreground_map(np.zeros((2, 3, 4, 5), np.float32), EVERYWHERE), np.ones((2, 3, 4))
    )
