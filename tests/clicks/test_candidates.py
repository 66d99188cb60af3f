from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from adclick.clicks.candidates import candidates, local_change
from adclick.clicks.click import Click
from adclick.clicks.edges import prepare, solve, solve_along_lines
from adclick.clicks.levels import LEVELS, at_level
from adclick.run.settings.clicks import Edges, Lines

EDGES = Edges(
    trust=0.1, least_trust=0.02, early_trust=0.0, prior_power=1.0, sharpness=2.0, likeness=4.0
)
SHAPE = (36, 44)
CLICKS = [Click(10, 12, True), Click(25, 30, False)]


def smooth(seed: int) -> np.ndarray:
    plane = np.random.default_rng(seed).random(SHAPE).astype(np.float32)
    plane = cv2.GaussianBlur(plane, (0, 0), 3)
    return (plane - plane.min()) / (plane.max() - plane.min())


def picture(line: bool = False) -> np.ndarray:
    image = np.random.default_rng(0).integers(120, 128, (*SHAPE, 3)).astype(np.uint8)
    if line:
        image[10:12] = 40
    return image


def found(
    edges: Edges,
    before: np.ndarray | None,
    *,
    line: bool = False,
    clicks: Sequence[Click] = tuple(CLICKS),
):
    prepared = prepare(picture(line), edges, radius_px=3.0)
    return candidates(prepared, smooth(1), clicks, lengths=smooth(4), before=before)


def changed_at_click(mask: np.ndarray, before: np.ndarray, click: Click) -> np.ndarray:
    """The mask before, with what a click adds or takes away, by labelling what differs."""
    if before[click.row, click.column] == click.positive:
        return before
    changes = mask & ~before if click.positive else before & ~mask
    changes[click.row, click.column] = True
    _, parts = cv2.connectedComponents(changes.astype(np.uint8), connectivity=8)
    part = parts == parts[click.row, click.column]
    return before ^ part


@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("place", [(10, 12), (0, 0), (35, 43), (20, 25)])
def test_each_level_changes_what_was_there_before_at_the_click_alone(
    positive: bool, place: tuple[int, int]
) -> None:
    answer, before = smooth(1), smooth(2) > 0.5
    click = Click(*place, positive)
    changed = local_change(answer, before, click)
    masks = [answer > level for level in LEVELS]
    for level, mask in zip(LEVELS, masks, strict=True):
        np.testing.assert_array_equal(changed > level, changed_at_click(mask, before, click))
    assert any(((changed > level) != mask).any() for level, mask in zip(LEVELS, masks, strict=True))
    assert changed.dtype == np.float32 and changed.min() >= 0 and changed.max() <= 1
    for kept in (changed > LEVELS[-1]) & before, (changed <= LEVELS[0]) & ~before:
        order = np.argsort(answer[kept])
        assert np.unique(changed[kept]).size > 10, "what stays is still ranked"
        assert (np.diff(changed[kept][order]) >= -1e-6).all()


@pytest.mark.parametrize("threshold", [0.35, 0.49, 0.5, 0.9])
def test_at_the_threshold_nothing_else_changes(threshold: float) -> None:
    answer, before = np.maximum(smooth(1), (smooth(3) > 0.7).astype(np.float32)), smooth(2) > 0.5
    click = Click(10, 12, not before[10, 12])
    changed = local_change(answer, before, click)
    for level in LEVELS:
        moved = at_level(changed, float(level), [click], threshold=threshold)
        expected = changed_at_click(answer > level, before, click)
        np.testing.assert_array_equal(moved > threshold, expected)


def test_a_click_that_changes_nothing_leaves_what_was_there() -> None:
    before = smooth(2) > 0.5
    row, column = np.argwhere(before)[0]
    changed = local_change(smooth(1), before, Click(int(row), int(column), True))
    for level in LEVELS:
        np.testing.assert_array_equal(changed > level, before)


def test_a_click_outside_of_the_picture_is_at_its_border() -> None:
    before = np.zeros(SHAPE, bool)
    before[20, 20] = True
    outside = local_change(smooth(1), before, Click(-3, 60, True))
    np.testing.assert_array_equal(outside, local_change(smooth(1), before, Click(0, 43, True)))


def test_without_settings_the_answer_is_alone() -> None:
    (only,) = found(EDGES, smooth(2) > 0.5)
    np.testing.assert_array_equal(
        only.answer, solve(prepare(picture(), EDGES, radius_px=3.0), smooth(1), CLICKS)
    )
    assert not (only.along_lines or only.loose or only.local)


@pytest.mark.parametrize("before", [None, np.zeros(SHAPE, bool)])
def test_before_there_is_a_mask_one_trusts_the_network_less(before: np.ndarray | None) -> None:
    edges = EDGES.model_copy(update={"loose": 0.1, "local": True})
    answer, loose = found(edges, before)
    assert (answer.loose, loose.loose) == (False, True) and not loose.local
    less = EDGES.model_copy(update={"trust": 0.01})
    expected = solve(prepare(picture(), less, radius_px=3.0), smooth(1), CLICKS)
    np.testing.assert_allclose(loose.answer, expected, atol=1e-5)
    assert np.abs(loose.answer - answer.answer).max() > 0.01


def test_then_one_changes_it_at_the_last_click_alone() -> None:
    edges = EDGES.model_copy(update={"loose": 0.1, "local": True})
    before = smooth(2) > 0.5
    answer, local = found(edges, before)
    assert local.local and not local.loose
    np.testing.assert_array_equal(local.answer, local_change(answer.answer, before, CLICKS[-1]))
    assert len(found(EDGES.model_copy(update={"loose": 0.1}), before)) == 1
    assert len(found(EDGES.model_copy(update={"local": True}), None)) == 1


def test_lines_come_last() -> None:
    lines = Lines(contrast=3, likeness=0.5, gap_px=1, elongation=20, edge_px=1.5, side_px=6)
    edges = EDGES.model_copy(update={"loose": 0.1, "local": True, "lines": lines})
    answers = found(edges, None, line=True)
    assert [one.along_lines for one in answers] == [False, False, True]
    prepared = prepare(picture(line=True), edges, radius_px=3.0)
    np.testing.assert_array_equal(
        answers[-1].answer, solve_along_lines(prepared, smooth(1), CLICKS)
    )
