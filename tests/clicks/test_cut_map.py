import numpy as np
import pytest

from adclick.clicks.click import Click
from adclick.clicks.cut_map import click_threshold

# One row of scores above a minimum of 0: the column is the score.
LADDER = np.arange(11.0)[None, :]


def crossing(probability):
    """The score at which a probability x / (x + t) is one half: t."""
    return LADDER[0, 10] * (1 / probability[0, 10] - 1)


@pytest.mark.parametrize(
    ("positives", "negatives", "threshold"),
    [
        ([8], [2], 5),
        ([8, 6], [2, 4], 5),
        ([8], [], 4),
        ([8, 4], [], 2),
        ([6], [9], 3),  # contradicted: the positive click wins
        ([6], [9, 2], 4),  # of two negatives only the one that can be honoured
        ([6], [6], 3),
        ([], [1], 5),
        ([], [4], 8),
        ([], [], 5),
    ],
)
def test_the_threshold_lies_where_the_clicks_say(positives, negatives, threshold):
    clicks = [Click(0, column, True) for column in positives]
    clicks += [Click(0, column, False) for column in negatives]
    probability = click_threshold(LADDER, clicks)
    assert crossing(probability) == pytest.approx(threshold, rel=1e-6)
    assert np.allclose(probability, LADDER / (LADDER + threshold), rtol=1e-6)
    assert probability.dtype == np.float32


def random_case(seed):
    generator = np.random.default_rng(seed)
    anomaly_map = generator.gamma(1.0, size=(9, 11))
    places = generator.integers([9, 11, 2], size=(generator.integers(0, 6), 3)).tolist()
    clicks = [Click(row, column, bool(positive)) for row, column, positive in places]
    return anomaly_map, clicks


@pytest.mark.parametrize("seed", range(30))
def test_positive_clicks_win_and_uncontradicted_negatives_hold(seed):
    anomaly_map, clicks = random_case(seed)
    probability = click_threshold(anomaly_map, clicks)
    positives = [anomaly_map[click.row, click.column] for click in clicks if click.positive]
    for click in clicks:
        value = probability[click.row, click.column]
        if click.positive:
            assert value > 0.5
        elif anomaly_map[click.row, click.column] < min(positives, default=np.inf):
            assert value < 0.5


@pytest.mark.parametrize("seed", range(10))
def test_the_probability_keeps_the_order_of_the_map(seed):
    anomaly_map, clicks = random_case(seed)
    probability = click_threshold(anomaly_map, clicks)
    order = np.argsort(anomaly_map, axis=None)
    assert np.all(np.diff(probability.ravel()[order]) >= 0)
    assert probability.min() >= 0 and probability.max() <= 1


@pytest.mark.parametrize("seed", range(10))
def test_scaling_and_shifting_the_map_changes_nothing(seed):
    anomaly_map, clicks = random_case(seed)
    moved = click_threshold(40 * anomaly_map - 7, clicks)
    assert np.allclose(moved, click_threshold(anomaly_map, clicks), atol=1e-6)


def test_a_map_that_tells_nothing_apart_follows_the_positive_clicks():
    flat = np.ones((3, 4), dtype=np.float32)
    assert np.all(click_threshold(flat, [Click(0, 0, True)]) == 1)
    assert np.all(click_threshold(flat, [Click(0, 0, False)]) == 0)
    assert np.all(click_threshold(flat, []) == 0)
    assert np.all(click_threshold(LADDER, [Click(0, 0, True)]) == 1)


def test_the_map_is_left_alone():
    anomaly_map, clicks = random_case(4)
    kept = anomaly_map.copy()
    click_threshold(anomaly_map, clicks)
    assert np.array_equal(anomaly_map, kept)


@pytest.mark.parametrize("place", [(-1, 0), (1, 0), (0, 11)])
def test_a_click_outside_the_map_is_refused(place):
    with pytest.raises(ValueError, match="outside the map of 1 x 11"):
        click_threshold(LADDER, [Click(*place, True)])


def test_a_map_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        click_threshold(np.array([[0.0, np.nan]]), [])
