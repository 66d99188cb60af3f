import numpy as np
import pytest

from adclick.studio.inspecting import LEVELS, SMALL_PX, defect_peaks, small_map
from adclick.studio.report import MARK, histogram, overlaid


def test_a_small_map_loses_no_peak() -> None:
    steps = np.zeros((200, 200), np.uint16)
    steps[199, 2] = LEVELS
    steps[101, 77] = 40_000
    small = small_map(steps)
    assert small.shape == (SMALL_PX, SMALL_PX)
    assert small[-1, 0] == LEVELS  # the last row, at the left
    assert sorted(small[small > 0].tolist()) == [40_000, LEVELS]


def test_a_map_that_is_small_already_stays() -> None:
    steps = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32)
    assert (small_map(steps) == steps).all()


def test_each_labelled_defect_has_the_highest_value_in_it() -> None:
    """At the picture's own size, which is not the map's: 4 x 8 pixels a value here."""
    scores = np.zeros((8, 8), np.float32)
    scores[1, 1], scores[1, 2], scores[6, 6] = 0.4, 0.9, 0.7
    mask = np.zeros((32, 64), bool)
    mask[4:8, 8:16] = True  # exactly the pixels of scores[1, 1]
    mask[24:28, 40:60] = True
    assert defect_peaks(scores, mask) == pytest.approx([0.4, 0.7])
    mask[4:8, 16] = True  # one pixel more, of scores[1, 2]
    assert defect_peaks(scores, mask) == pytest.approx([0.9, 0.7])
    assert defect_peaks(scores, np.zeros((5, 5), bool)) == []


def test_a_picture_of_the_report_is_marked_where_its_map_is_above_the_level() -> None:
    scores = np.zeros((64, 64), np.float32)
    scores[20:40, 20:40] = 0.8
    image = np.full((640, 320, 3), 90, np.uint8)
    shown = overlaid(image, scores, 0.5)
    assert shown.shape == (320, 160, 3)
    assert (shown == MARK).all(axis=2).any()
    assert (shown[:60] == 90).all()
    assert not (overlaid(image, scores, 0.9) == MARK).all(axis=2).any()


def test_the_reports_threshold_stands_among_its_scores() -> None:
    rows = [
        {"group": "normal", "score": 0.01},
        {"group": "normal", "score": 0.02},
        {"group": "defective", "score": 0.05},
        {"group": "new", "score": None},
    ]
    shown = histogram(rows, 0.03)
    end = 1.2 * 0.05
    assert f'<line x1="{600 * 0.03 / end:.1f}"' in shown
    assert shown.count('class="normal" x=') == 60  # a bar a bin
