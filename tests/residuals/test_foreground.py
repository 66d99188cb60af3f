from pathlib import Path

import h5py
import numpy as np
import pytest

from adclick.commands import fit_foreground as command
from adclick.residuals import foreground
from adclick.residuals.foreground import (
    EVERYWHERE,
    Foreground,
    fit_foreground,
    foreground_map,
    joined_map,
)
from adclick.run.artifacts import ArraySpec, create_arrays, open_arrays
from adclick.run.plan.stages import settings_json
from tests.chain import micro_config


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


@pytest.mark.parametrize("shape", ["reaching the border", "with a hole", "without noise"])
def test_objects_of_other_shapes_are_found(shape: str) -> None:
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:40, :40] - 19.5
    inside = {
        "reaching the border": abs(columns) < 8,
        "with a hole": (rows**2 + columns**2 < 14**2) & (rows**2 + columns**2 > 5**2),
        "without noise": rows**2 + columns**2 < 14**2,
    }[shape]
    noise = 0 if shape == "without noise" else 0.3 * random.normal(size=(8, 40, 40, 4))
    layer1 = (inside[..., None] * np.array([1, -1, 0.5, 2]) + noise).astype(np.float32)
    layer1 = np.broadcast_to(layer1, (8, 40, 40, 4))
    found = foreground_map(layer1, fit_foreground(layer1))
    assert found[:, inside].mean() > 0.7
    assert found[:, ~inside].mean() < 0.3


def test_more_channels_than_samples_and_constant_channels_do_no_harm() -> None:
    random = np.random.default_rng(0)
    few, disc = washers(4, 16, seed=0)
    layer1 = np.zeros((4, 16, 16, 400), np.float32)
    layer1[..., :4] = few
    layer1[..., 4:300] = 0.1 * random.normal(size=(4, 16, 16, 296))
    layer1[..., 300] = 7
    found = foreground_map(layer1, fit_foreground(layer1, samples_per_class=100))
    assert found[:, disc].mean() > 0.7
    assert found[:, ~disc].mean() < 0.3


def test_both_classes_have_as_many_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    discriminant = foreground._discriminant

    def noted(background: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, float]:
        seen.append((len(background), len(centre)))
        return discriminant(background, centre)

    monkeypatch.setattr(foreground, "_discriminant", noted)
    layer1, _ = washers(8, 20, seed=0)
    fit_foreground(layer1)
    fit_foreground(layer1, samples_per_class=50)
    (all_background, all_centre), fewer = seen
    assert 50 < all_background == all_centre
    assert fewer == (50, 50)


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


def test_too_few_samples_of_a_class_are_no_split() -> None:
    layer1, _ = washers(4, 8, seed=0)  # the centre box has four pixels an image
    assert fit_foreground(layer1) is not EVERYWHERE
    assert fit_foreground(layer1[:3]) is EVERYWHERE


def test_neighbours_join_by_the_largest_value() -> None:
    layer1 = np.array([[[0], [1]], [[2], [4]]], np.float32)
    own = Foreground(np.array([0.25], np.float32), bias=0.0, minimum=0.0, maximum=1.0)
    other = np.array([[0.5, 0], [0, 0]], np.float16)
    expected = np.array([[0.5, 0.25], [0.5, 1]], np.float32)
    np.testing.assert_allclose(joined_map(layer1, own, [other], (2, 2)), expected)
    np.testing.assert_allclose(joined_map(layer1, own, [], (2, 2))[0], [0, 0.25])
    np.testing.assert_allclose(joined_map(layer1, own, [other], (1, 1)), [[0.5625]])
    wider = joined_map(layer1, own, [other], (4, 4))
    np.testing.assert_allclose(wider[3], [0.5, 0.625, 0.875, 1])


@pytest.mark.parametrize(("category", "textured"), [("cloth", True), ("washer", False)])
def test_nothing_is_estimated_for_textures(category: str, textured: bool, tmp_path: Path) -> None:
    layer1, disc = washers(6, 16, seed=0)
    specs = {"layer1": ArraySpec((16, 16, 4), "float16")}
    ids = [str(index) for index in range(6)]
    with create_arrays(tmp_path / "f.h5", image_ids=ids, specs=specs, stamp={}) as file:
        file["layer1"][:] = layer1
    settings = settings_json(micro_config(), "fit_foreground", dataset="toy", category=category)
    files = ["--features", str(tmp_path / "f.h5"), "--foreground", str(tmp_path / "g.h5")]
    command.main(["--settings", settings, *files])
    with open_arrays(tmp_path / "g.h5") as file:
        assert (file["weight"].size == 0) == textured
        assert (file["maps"][:][:, ~disc].mean() == 1) == textured


def test_everywhere_is_one_for_any_features() -> None:
    np.testing.assert_array_equal(
        foreground_map(np.zeros((2, 3, 4, 5), np.float32), EVERYWHERE), np.ones((2, 3, 4))
    )
