"""What a sheet shows: the picture, its heat, an outline at the threshold."""

import numpy as np
import pytest

from adclick.models.overlay import (
    FOOT_PX,
    GAP_PX,
    LEAST_WIDTH_PX,
    MARGIN_PX,
    OUTLINE,
    PANEL_PX,
    draw_overlay,
)

GREY = 128


def sheet_of(
    scores: np.ndarray, threshold: float = 0.5, title: str = "a.png"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A whole sheet of a grey picture, and its two panels."""
    height, width = scores.shape
    picture = np.full((height, width, 3), GREY, np.uint8)
    sheet = draw_overlay(picture, scores, threshold=threshold, title=title)
    scale = PANEL_PX / max(height, width)
    high, wide = round(height * scale), round(width * scale)
    rows = slice(MARGIN_PX, MARGIN_PX + high)
    right = MARGIN_PX + wide + GAP_PX
    return sheet, sheet[rows, MARGIN_PX : MARGIN_PX + wide], sheet[rows, right : right + wide]


def square(inside: float, outside: float = 0.0) -> np.ndarray:
    scores = np.full((80, 80), outside, np.float32)
    scores[20:60, 20:60] = inside
    return scores


def is_outline(panel: np.ndarray) -> np.ndarray:
    return (np.abs(panel.astype(int) - OUTLINE) <= 3).all(axis=2)


def test_the_left_panel_is_the_picture_and_without_scores_the_right_one_too() -> None:
    _, picture, heated = sheet_of(square(0.0))
    assert (picture == GREY).all()
    assert (heated == GREY).all()


def test_higher_scores_stand_out_more() -> None:
    changes = []
    for score in (0.1, 0.3, 0.8, 1.0):
        _, picture, heated = sheet_of(square(score), threshold=1.0)
        centre = (slice(300, 340), slice(300, 340))
        changes.append(np.abs(heated[centre].astype(int) - picture[centre]).mean())
        assert (heated[:100] == GREY).all()
    assert changes == sorted(changes)
    assert changes[0] > 0


@pytest.mark.parametrize(("threshold", "drawn"), [(0.5, True), (0.7, False)])
def test_the_outline_is_where_scores_pass_the_threshold(threshold: float, drawn: bool) -> None:
    _, _, heated = sheet_of(square(0.6), threshold)
    lines = is_outline(heated)
    assert lines.any() == drawn
    if drawn:
        rows = np.flatnonzero(lines.any(axis=1))
        assert abs(rows[0] - 160) < 8
        assert abs(rows[-1] - 480) < 8
        assert not lines[200:440, 200:440].any()


@pytest.mark.parametrize("shape", [(630, 230), (40, 400), (2000, 1500)])
def test_pictures_of_any_shape_have_room_for_the_foot(shape: tuple[int, int]) -> None:
    scores = np.zeros(shape, np.float32)
    sheet, picture, _ = sheet_of(scores, title="a/very/long/folder/" * 9 + "name.png")
    assert sheet.shape[1] >= LEAST_WIDTH_PX
    assert max(picture.shape[:2]) == PANEL_PX
    assert sheet.shape[0] == picture.shape[0] + MARGIN_PX + FOOT_PX
    assert (sheet[:, :MARGIN_PX] == sheet[0, 0]).all(), "nothing is written over the margin"


def test_the_foot_tells_score_and_area() -> None:
    low, high = (sheet_of(square(score), 0.5)[0][-FOOT_PX:] for score in (0.6, 0.9))
    assert (low != high).any()
    assert (low == sheet_of(square(0.6), 0.5)[0][-FOOT_PX:]).all()
