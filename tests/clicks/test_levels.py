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


def slow_features(given: Seen, level: float, clicks: tuple[Click, ...]) -> dict[int, float]:
    """What a level's mask is judged by, mask by mask; keys are columns."""
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
    inside, total = given.answer[mask].sum(), given.answer.sum()
    believed, before = given.prior > 0.5, given.before
    apart = [mean(own, mask) - mean(own, ring) for own in np.moveaxis(given.colours, 2, 0)]
    return {
        0: level,
        1: len(clicks),
        2: sum(one.positive for one in clicks),
        3: sum(not one.positive for one in clicks),
        4: float(
            np.mean([(given.prior[one.row, one.column] > 0.5) == one.positive for one in clicks])
        ),
        6: steps / max(outline, 1),
        7: colours / max(outline, 1) / root,
        8: mean(given.lengths, mask),
        9: mean(given.lengths, ring),
        11: mean(given.prior, mask),
        12: mean(given.prior, ring),
        13: (mask & believed).sum() / (mask | believed).sum(),
        15: inside / (mask.sum() + total - inside),
        16: mean(given.answer, mask),
        17: float(np.linalg.norm(apart)) / root,
        23: 0.0 if before is None else float((mask & before).sum() / (mask | before).sum()),
        24: float(given.along_lines),
    }


@pytest.mark.parametrize("shape", [(33, 41), (8, 64), (9, 9)])
def test_features_of_all_levels_are_those_of_each_mask(shape: tuple[int, int]) -> None:
    given = seen(shape)
    if shape == (33, 41):
        given = given._replace(before=given.lengths > 0.5, along_lines=True)
    clicks = tuple(one for one in CLICKS if one.row < shape[0] and one.column < shape[1])
    found = level_features(given, clicks)
    assert found.shape == (len(LEVELS), LEVEL_FEATURES)
    for index, level in enumerate(LEVELS):
        for column, expected in slow_features(given, float(level), clicks).items():
            assert found[index, column] == pytest.approx(expected, abs=2e-4), (index, column)


def test_some_are_relative_to_the_other_levels_also_where_all_are_negative() -> None:
    given = seen()
    middle = cv2.GaussianBlur(given.answer, (0, 0), 3)
    given = given._replace(lengths=(1 - middle / middle.max()).astype(np.float32))
    found = level_features(given, CLICKS)
    for column, own in {18: 6, 19: 7, 20: 10, 21: 15}.items():
        largest = np.abs(found[:, own]).max()
        np.testing.assert_allclose(found[:, column], found[:, own] / largest, atol=1e-4)
    assert (found[:15, 10] < 0).all(), "the residual is lower inside"
    assert np.abs(found[:, 20]).max() == pytest.approx(1)
    area = np.array([(given.answer > level).sum() for level in LEVELS])
    np.testing.assert_allclose(found[:, 22], np.log(area / area[HALF]), atol=1e-4)


def test_an_empty_answer_has_features_too() -> None:
    given = seen()._replace(answer=np.zeros((33, 41), np.float32))
    found = level_features(given, CLICKS)
    assert np.isfinite(found).all()
    even = seen()._replace(mean_squared_step=0.0)
    assert np.isfinite(level_features(even, CLICKS)).all()


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
