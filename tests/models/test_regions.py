"""Regions are the connected parts of a map above a level."""

import numpy as np
import pytest

from adclick.models.regions import find_regions


def test_each_part_has_its_area_place_and_peak() -> None:
    scores = np.zeros((10, 20), np.float32)
    scores[1:4, 2:7] = 0.6
    scores[2, 5] = 0.7
    scores[8, 19] = 0.9
    small, large = find_regions(scores, 0.5)
    assert small[:5] == (pytest.approx(0.9), 1, 1 / 200, 8, 19)
    assert large[:5] == (pytest.approx(0.7), 15, 15 / 200, 2, 5)
    assert large[5:] == (1, 2, 4, 7)


def test_parts_that_touch_by_a_corner_are_one() -> None:
    assert len(find_regions(np.eye(5, dtype=np.float32), 0.5)) == 1


def test_another_region_in_a_box_lends_it_no_peak() -> None:
    scores = np.zeros((9, 9), np.float32)
    scores[0, :] = scores[:, 0] = 0.6
    scores[5, 5] = 0.9
    assert [(one.area_px, round(one.score, 1)) for one in find_regions(scores, 0.5)] == [
        (1, 0.9),
        (17, 0.6),
    ]


def test_what_equals_the_level_is_not_above_it() -> None:
    assert find_regions(np.full((3, 3), 0.5, np.float32), 0.5) == []
