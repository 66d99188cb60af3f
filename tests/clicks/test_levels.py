import cv2
import numpy as np
import pytest

from adclick.clicks.click import Click
from adclick.clicks.levels import (
    HALF,
    LEVEL_FEATURES,
    LEVELS,
    RING_PX,
    Seen,
    _above,
    at_level,
    level_features,
    level_ious,
    shown_lengths,
)
from adclick.clicks.levels_kernel import add_by_level

CLICKS = (Click(5, 7, True), Click(20, 30, False), Click(9, 9, True))


def seen(shape: tuple[int, int] = (33, 41), seed: int = 0) -> Seen:
    generator = np.random.default_rng(seed)

    def smooth(channels: int = 1) -> np.ndarray:
        plane = cv2.GaussianBlur(generator.random((*shape, channels)).astype(np.float32), (0, 0), 2)
        return (plane - plane.min()) / (plane.max() - plane.min())

    colours = (smooth(3) * 40).astype(np.float32)
    return Seen(smooth(), smooth(), colours, 2.5, smooth())


def mean(plane: np.ndarray, where: np.ndarray) -> float:
    return float(plane[where].mean()) if where.any() else 0.0


def slow_features(given: Seen, level: float, clicks: tuple[Click, ...]) -> dict[str, float]:
    """What a level's mask is judged by, mask by mask; keys are names of columns."""
    mask = given.answer > level
    grown = cv2.dilate(mask.astype(np.uint8), np.ones((2 * RING_PX + 1,) * 2, np.uint8)) > 0
    ring = grown & ~mask
    steps, colours, outline = 0.0, 0.0, 0
    for first, second in (np.s_[:-1, :], np.s_[1:, :]), (np.s_[:, :-1], np.s_[:, 1:]):
        crossed = mask[first] != mask[second]
        outline += int(crossed.sum())
        steps += float(np.abs(given.answer[first] - given.answer[second])[crossed].sum())
        away = given.colours[first] - given.colours[second]
        colours += float(np.linalg.norm(away, axis=2)[crossed].sum())
    root = np.sqrt(given.mean_squared_step)
    apart = [mean(own, mask) - mean(own, ring) for own in np.moveaxis(given.colours, 2, 0)]
    return {
        "level": level,
        "clicks": len(clicks),
        "positive": sum(one.positive for one in clicks),
        "negative": sum(not one.positive for one in clicks),
        "honoured": float(
            np.mean([(given.prior[one.row, one.column] > 0.5) == one.positive for one in clicks])
        ),
        "answer_steps": steps / max(outline, 1),
        "colour_steps": colours / max(outline, 1) / root,
        "lengths_inside": mean(given.lengths, mask),
        "lengths_around": mean(given.lengths, ring),
        "prior_inside": mean(given.prior, mask),
        "prior_around": mean(given.prior, ring),
        "mean_answer": mean(given.answer, mask),
        "colours_apart": float(np.linalg.norm(apart)) / root,
        "along_lines": float(given.along_lines),
        "loose": float(given.loose),
        "local": float(given.local),
    }


def column(name: str) -> int:
    return LEVEL_FEATURES.index(name)


@pytest.mark.parametrize("shape", [(33, 41), (8, 64), (9, 9)])
def test_features_of_all_levels_are_those_of_each_mask(shape: tuple[int, int]) -> None:
    given = seen(shape)
    if shape == (33, 41):
        given = given._replace(before=given.lengths > 0.5, along_lines=True, local=True)
    clicks = tuple(one for one in CLICKS if one.row < shape[0] and one.column < shape[1])
    found = level_features(given, clicks)
    assert found.shape == (len(LEVELS), len(LEVEL_FEATURES))
    for index, level in enumerate(LEVELS):
        for name, expected in slow_features(given, float(level), clicks).items():
            assert found[index, column(name)] == pytest.approx(expected, abs=2e-4), (index, name)


def test_some_are_relative_to_the_other_levels_also_where_all_are_negative() -> None:
    given = seen()
    middle = cv2.GaussianBlur(given.answer, (0, 0), 3)
    given = given._replace(lengths=(1 - middle / middle.max()).astype(np.float32))
    found = level_features(given, CLICKS)
    for name in ("answer_steps", "colour_steps", "residual"):
        own = found[:, column(name)]
        relative = found[:, column(f"relative_{name}")]
        np.testing.assert_allclose(relative, own / np.abs(own).max(), atol=1e-4)
    assert (found[:15, column("residual")] < 0).all(), "the residual is lower inside"
    assert np.abs(found[:, column("relative_residual")]).max() == pytest.approx(1)
    area = np.array([(given.answer > level).sum() for level in LEVELS])
    np.testing.assert_allclose(found[:, column("log_area")], np.log(area / area[HALF]), atol=1e-4)


def test_an_empty_answer_has_features_too() -> None:
    given = seen()._replace(answer=np.zeros((33, 41), np.float32))
    found = level_features(given, CLICKS)
    assert np.isfinite(found).all()
    assert (found[:, column("as_clicked")] == 0).all()
    even = seen()._replace(mean_squared_step=0.0)
    assert np.isfinite(level_features(even, CLICKS)).all()


def squares(*corners: tuple[int, int, int]) -> np.ndarray:
    """A picture of 40 x 50 px with squares of a side at a corner."""
    mask = np.zeros((40, 50), bool)
    for row, left, side in corners:
        mask[row : row + side, left : left + side] = True
    return mask


def clicked(answer: np.ndarray, clicks: list[Click], before: np.ndarray | None) -> np.ndarray:
    plane = answer.astype(np.float32)
    given = Seen(plane, plane, np.dstack([plane] * 3), 1.0, plane, before)
    return level_features(given, clicks)[:, column("as_clicked")]


def test_a_mask_whose_middle_was_clicked_is_what_was_meant() -> None:
    wide, narrow = squares((5, 5, 25)), squares((5, 5, 9))
    answer = np.where(narrow, 0.9, np.where(wide, 0.3, 0.0))
    found = clicked(answer, [Click(9, 9, True)], None)
    assert found[LEVELS < 0.3] == pytest.approx(5 / 13, abs=0.03)
    assert found[(LEVELS > 0.3) & (LEVELS < 0.9)] == pytest.approx(1, abs=0.03)
    assert (found[LEVELS > 0.9] == 0).all(), "and an empty one was not"
    middle = clicked(answer, [Click(17, 17, True)], None)
    assert middle[LEVELS < 0.3] == pytest.approx(1, abs=0.03)
    assert (middle[LEVELS > 0.3] == 0).all()


@pytest.mark.parametrize("positive", [True, False])
def test_a_later_click_is_about_what_changes(positive: bool) -> None:
    large, small = squares((3, 3, 15)), squares((25, 30, 7))
    answer, before = (large | small, small) if positive else (small, large | small)

    def last(row: int, left: int, sign: bool) -> np.ndarray:
        return clicked(answer, [Click(28, 33, True), Click(row, left, sign)], before)

    assert last(10, 10, positive) == pytest.approx(1, abs=0.03)
    assert last(10, 4, positive) == pytest.approx(2 / 8, abs=0.03)
    assert (last(10, 10, not positive) == 0).all()
    assert (last(28, 33, positive) == 0).all(), "nothing changes there"
    assert (last(39, 0, positive) == 0).all(), "nor outside of both"
    assert (last(50, -3, positive) == last(39, 0, positive)).all(), "a border's"


def test_where_the_other_kind_of_error_is_larger_it_would_have_been_clicked() -> None:
    missed, alarm = squares((3, 3, 15)), squares((20, 25, 19))
    found = clicked(missed, [Click(21, 26, True), Click(10, 10, True)], alarm)
    assert found == pytest.approx(8 / 10, abs=0.03)


def test_nobody_clicks_the_same_pixel_twice() -> None:
    square = squares((3, 3, 15))
    again = clicked(square, [Click(10, 10, True), Click(10, 10, True)], None)
    assert (again == 1).all(), "and who does meant it, no more than that"
    found = clicked(square, [Click(10, 10, True), Click(10, 11, True)], None)
    assert found == pytest.approx(1, abs=0.03)
    elsewhere = clicked(square, [Click(30, 40, True), Click(10, 11, True)], None)
    assert elsewhere == pytest.approx(7 / 8, abs=0.03)


def test_ious_are_those_of_each_mask() -> None:
    given = seen()
    truth = np.zeros((33, 41), bool)
    truth[3:12, 4:20] = True
    found = level_ious(given.answer, truth)
    for index, level in enumerate(LEVELS):
        mask = given.answer > level
        assert found[index] == pytest.approx((mask & truth).sum() / (mask | truth).sum())


@pytest.mark.parametrize("threshold", [0.3, 0.5])
@pytest.mark.parametrize("level", [0.07, 0.5, 0.86])
def test_the_chosen_mask_is_that_at_the_threshold_and_keeps_every_click(
    level: float, threshold: float
) -> None:
    answer = seen().answer
    moved = at_level(answer, level, CLICKS, threshold=threshold)
    others = np.ones(answer.shape, bool)
    for click in CLICKS:
        assert moved[click.row, click.column] == click.positive
        others[click.row, click.column] = False
    np.testing.assert_array_equal((moved > threshold)[others], (answer > level)[others])
    order = np.argsort(answer[others])
    assert (np.diff(moved[others][order]) >= -1e-6).all(), "the ranks of pixels stay"
    assert moved.min() >= 0 and moved.max() <= 1


def test_one_half_leaves_an_answer_as_it_is() -> None:
    answer = seen().answer
    moved = at_level(answer, float(LEVELS[HALF]), [], threshold=0.5)
    np.testing.assert_allclose(moved, answer, atol=1e-6)


def test_lengths_are_told_by_those_of_normal_pictures() -> None:
    residual = np.full((4, 5, 6), 0.5, np.float16)
    scale = np.full(6, 0.25, np.float32)
    np.testing.assert_allclose(shown_lengths(residual, scale, (32, 40)), np.tanh(0.25), atol=1e-4)


def test_sums_are_those_of_bincount_to_the_last_digit():
    generator = np.random.default_rng(0)
    index = generator.integers(0, len(LEVELS) + 1, (40, 50))
    weights = generator.random(index.shape, np.float32)
    sums = np.zeros(len(LEVELS) + 1)
    add_by_level(index.ravel(), weights.ravel(), sums)
    np.testing.assert_array_equal(sums, np.bincount(index.ravel(), weights.ravel()))


def test_weights_of_other_pixels_are_refused():
    with pytest.raises(ValueError, match="weights of"):
        _above(np.zeros((3, 4), int), np.zeros((3, 3), np.float32))
