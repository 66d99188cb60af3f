"""A threshold keeps its rate of false alarms, or says that it cannot."""

import numpy as np
import pytest

from adclick.metrics.false_alarms import false_alarms, pictures_needed, threshold_at


@pytest.mark.parametrize(("rate", "rank"), [(0.01, 1), (0.02, 2), (0.1, 10), (0.5, 50)])
def test_it_is_the_score_that_so_many_exceed(rate: float, rank: int) -> None:
    scores = np.random.default_rng(0).permutation(99).astype(float)
    found = threshold_at(scores, rate)
    assert found.value == 99 - rank
    assert found.promised == pytest.approx(rate)
    assert found.is_kept


@pytest.mark.parametrize("count", [1, 12, 98])
def test_with_too_few_it_is_the_highest_and_says_so(count: int) -> None:
    found = threshold_at(np.arange(float(count)), 0.01)
    assert found.value == count - 1
    assert found.promised == pytest.approx(1 / (count + 1))
    assert not found.is_kept
    assert "it takes 99 of them" in found.line
    assert pictures_needed(0.01) == 99


@pytest.mark.parametrize(("count", "rate"), [(9, 0.1), (30, 0.1), (12, 0.01), (199, 0.015)])
def test_new_pictures_exceed_it_as_often_as_promised(count: int, rate: float) -> None:
    random = np.random.default_rng(1)
    exceeded = [
        np.mean(
            random.gamma(2.0, size=50) > threshold_at(random.gamma(2.0, size=count), rate).value
        )
        for _ in range(4000)
    ]
    promised = threshold_at(np.arange(float(count)), rate).promised
    assert np.mean(exceeded) == pytest.approx(promised, rel=0.06)


def test_everything_may_be_a_false_alarm_and_nothing_cannot() -> None:
    assert threshold_at([1.0, 2.0], 1.0).value == 1.0
    nothing = threshold_at([1.0, 2.0], 0.0)
    assert nothing.value == 2.0
    assert "no number is enough" in nothing.line


def test_what_a_level_marks_is_counted() -> None:
    assert false_alarms([0.1, 0.5, 0.5, 0.9], 0.5) == (1, 0.25)
    assert false_alarms([], 0.5) == (0, 0.0)


@pytest.mark.parametrize(("scores", "rate"), [([], 0.01), ([1.0], 1.5), ([1.0], -0.1)])
def test_what_is_no_rate_or_no_score_is_refused(scores: list[float], rate: float) -> None:
    with pytest.raises(ValueError, match="score|rate"):
        threshold_at(scores, rate)


@pytest.mark.parametrize(("rate", "said"), [(1.0, "100 %"), (0.995, "100 %"), (0.01, "1 %")])
def test_shares_are_said_in_percent(rate: float, said: str) -> None:
    scores = np.arange(9999.0)
    assert f"about {said} of normal pictures" in threshold_at(scores, rate).line
