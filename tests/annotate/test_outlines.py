"""Masks as polygons, and filled again."""

import cv2
import numpy as np
import pytest

from adclick.annotate.outlines import outlines
from tests.annotate.masks import MASKS, filled


@pytest.mark.parametrize("whole", [np.floor, np.rint])
def test_masks_come_back_whether_points_are_rounded_or_cut_off(whole) -> None:
    for mask in MASKS[::5]:
        assert np.array_equal(filled(outlines(mask), mask.shape, whole), mask)


def test_every_component_is_a_polygon_with_an_area() -> None:
    for mask in MASKS[::5]:
        found = list(outlines(mask))
        assert len(found) == cv2.connectedComponents(mask.astype(np.uint8))[0] - 1
        for polygon in found:
            assert len(polygon) >= 3
            assert (np.ptp(polygon, axis=0) > 0).all()
            assert 0 <= polygon.min() <= polygon.max() <= 1


def test_straight_sides_have_no_points_between_corners() -> None:
    mask = np.zeros((300, 400), bool)
    mask[10:200, 20:300] = True
    assert [len(polygon) for polygon in outlines(mask)] == [4]
    mask[50:60, 50:60] = False
    (with_hole,) = outlines(mask)
    assert len(with_hole) < 16


def test_a_column_of_a_thousand_holes() -> None:
    mask = np.ones((2001, 3), bool)
    mask[1::2, 1] = False
    assert np.array_equal(filled(outlines(mask), mask.shape), mask)


def resampled(polygon: np.ndarray) -> np.ndarray:
    """A thousand points along a closed outline, equally many between any two of its own."""
    closed = np.concatenate([polygon, polygon[:1]])
    places = np.linspace(0, len(polygon), 1000)
    columns = [np.interp(places, np.arange(len(closed)), values) for values in closed.T]
    return np.stack(columns, axis=1)


def overlap(found: np.ndarray, mask: np.ndarray) -> float:
    return float((found & mask).sum() / (found | mask).sum())


def test_masks_come_back_nearly_from_trainers_that_resample() -> None:
    masks = MASKS[::5]
    overlaps = [overlap(filled(map(resampled, outlines(mask)), mask.shape), mask) for mask in masks]
    assert np.mean(np.array(overlaps) < 0.95) <= 0.02
    assert min(overlaps) > 0.85


def test_a_thin_diagonal_stays_thin_in_trainers_that_resample() -> None:
    mask = np.eye(40, dtype=bool)
    assert overlap(filled(map(resampled, outlines(mask)), mask.shape), mask) > 0.97
