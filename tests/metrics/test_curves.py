"""Curves of anomaly maps: their areas are the metrics, and their slices the slow curve's means."""

import numpy as np
import pytest

from adclick.metrics.curves import Steps, map_curves
from adclick.metrics.pixels import pixel_metrics


def data(seed: int, *, levels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Five maps with one to three defects each, one image good; scores tied when levels are few."""
    draw = np.random.default_rng(seed)
    masks = np.zeros((5, 24, 20), bool)
    for mask in masks[:4]:
        for row, column in draw.integers(0, 16, (int(draw.integers(1, 4)), 2)):
            mask[row : row + 3, column : column + 4] = True
    maps = draw.normal(size=masks.shape).astype(np.float32) + 1.5 * masks
    return (maps if levels is None else np.round(maps * levels) / levels), masks


@pytest.mark.parametrize("levels", [None, 2], ids=["distinct", "tied"])
@pytest.mark.parametrize("slices", [1, 7, 200])
def test_the_areas_are_the_reported_numbers(levels: int | None, slices: int) -> None:
    for seed in range(5):
        maps, masks = data(seed, levels=levels)
        expected = pixel_metrics(maps, masks)
        found = map_curves(maps, masks, slices=slices)
        assert found.precision.mean == pytest.approx(expected.ap, abs=1e-12)
        assert found.overlap.mean == pytest.approx(expected.pro, abs=1e-12)


@pytest.mark.parametrize("limit", [0.05, 1.0])
def test_the_overlap_ends_at_its_limit(limit: float) -> None:
    maps, masks = data(3, levels=2)
    found = map_curves(maps, masks, pro_limit=limit).overlap
    assert found.edges[[0, -1]] == pytest.approx([0.0, limit])
    assert found.mean == pytest.approx(pixel_metrics(maps, masks, pro_limit=limit).pro, abs=1e-12)


def test_each_slice_is_the_mean_of_the_slow_curve() -> None:
    """One threshold at a time: the scores of 8 pixels, by hand."""
    maps = np.array([[[8.0, 7.0, 6.0, 5.0], [4.0, 3.0, 2.0, 1.0]]])
    masks = np.array([[[True, False, True, False], [False, False, False, True]]])
    found = map_curves(maps, masks, pro_limit=1.0, slices=2)
    # Precision at the three defective pixels: 1/1, 2/3, 3/8; the first slice holds two of them.
    assert found.precision.edges == pytest.approx([0, 2 / 3, 1])
    assert found.precision.means == pytest.approx([(1 + 2 / 3) / 2, 3 / 8])
    # Regions {8} and {6, 1}, which touch at a corner: overlap 1/2 up to the rate 1/5, then 3/4.
    assert found.overlap.edges == pytest.approx([0, 0.25, 1])
    assert found.overlap.means == pytest.approx([(0.2 / 2 + 0.05 * 3 / 4) / 0.25, 3 / 4])


def test_images_may_differ_in_shape() -> None:
    maps, masks = data(0)
    listed = [maps[0, :12], *maps[1:]], [masks[0, :12], *masks[1:]]
    assert map_curves(*listed).precision.mean == pytest.approx(pixel_metrics(*listed).ap)


def test_more_slices_than_defective_pixels_are_one_a_pixel() -> None:
    maps = np.array([[[3.0, 2.0, 1.0]]])
    found = map_curves(maps, np.array([[[True, False, True]]]), slices=50)
    assert found.precision.means == pytest.approx([1.0, 2 / 3])


@pytest.mark.parametrize(("value", "name"), [(True, "normal"), (False, "defective")])
def test_without_one_kind_of_pixel_there_is_no_curve(value: bool, name: str) -> None:
    with pytest.raises(ValueError, match=f"no {name} pixel"):
        map_curves(np.zeros((1, 4, 4)), np.full((1, 4, 4), value))


def test_the_mean_counts_widths() -> None:
    assert Steps(np.array([0.0, 0.1, 1.0]), np.array([1.0, 0.0])).mean == pytest.approx(0.1)
