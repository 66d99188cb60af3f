import numpy as np
import pytest

from adclick.clicks.click import Click
from adclick.clicks.robot import PROTOCOL, Answer, RobotUser, click_generator, simulate_clicks

TRUTH = np.zeros((16, 16), bool)
TRUTH[4:9, 4:9] = True


def test_the_first_click_falls_into_the_middle_of_the_defect() -> None:
    answers = simulate_clicks(
        lambda clicks, previous: np.zeros((16, 16), np.float32), TRUTH, count=1, threshold=0.5
    )
    assert answers[0].clicks == (Click(6, 6, True),)


def test_a_false_alarm_gets_a_negative_click_and_the_last_map_is_passed_on() -> None:
    seen = []

    def everywhere(clicks, previous):
        seen.append(previous)
        return np.ones((16, 16), np.float32)

    answers = simulate_clicks(everywhere, TRUTH, count=2, threshold=0.5)
    assert not answers[1].clicks[1].positive
    assert seen[0] is None
    assert np.all(seen[1] == 1)


def test_a_right_mask_ends_the_clicking_and_repeats_the_answer() -> None:
    calls = []

    def right(clicks, previous):
        calls.append(clicks)
        return TRUTH.astype(np.float32)

    answers = simulate_clicks(right, TRUTH, count=5, threshold=0.5)
    assert len(calls) == 1
    assert [len(answer.clicks) for answer in answers] == [1] * 5


def test_no_pixel_is_clicked_twice() -> None:
    answers = simulate_clicks(
        lambda clicks, previous: np.zeros((16, 16), np.float32), TRUTH, count=8, threshold=0.5
    )
    places = [(click.row, click.column) for click in answers[-1].clicks]
    assert len(set(places)) == 8


WIDE = np.zeros((40, 40), bool)
WIDE[5:35, 5:35] = True
JITTERED, IMPERFECT = RobotUser("inside", 0.0), RobotUser("inside", 0.1)


def clicked(user: RobotUser, image_id: str = "a", draw: int = 0, count: int = 1) -> list[Answer]:
    return simulate_clicks(
        lambda clicks, previous: np.zeros(WIDE.shape, np.float32),
        WIDE,
        count=count,
        threshold=0.5,
        user=user,
        generator=click_generator(image_id, draw),
    )


def test_a_jittered_user_clicks_the_same_region_elsewhere_in_each_draw() -> None:
    clicks = {clicked(JITTERED, draw=draw)[0].clicks[0] for draw in range(30)}
    assert len(clicks) > 20
    # The inner half: deeper than half of the largest depth, 15.
    assert all(12 <= click.row < 28 and 12 <= click.column < 28 for click in clicks)
    assert all(click.positive for click in clicks)


def test_draws_depend_on_the_image_and_the_draw_alone() -> None:
    first = clicked(JITTERED, count=5)[-1].clicks
    assert clicked(JITTERED, count=5)[-1].clicks == first
    assert clicked(JITTERED, image_id="b", count=5)[-1].clicks != first
    assert clicked(JITTERED, draw=1, count=5)[-1].clicks != first


def test_one_click_in_ten_of_an_imperfect_user_has_the_wrong_sign() -> None:
    wrong = [
        not click.positive
        for draw in range(100)
        for click in clicked(IMPERFECT, draw=draw, count=10)[-1].clicks
    ]
    assert 0.07 < np.mean(wrong) < 0.13
    always = RobotUser("deepest", 1.0)
    assert clicked(always)[0].clicks == (Click(19, 19, False),)


def test_the_protocols_user_draws_nothing() -> None:
    assert not PROTOCOL.random
    assert clicked(PROTOCOL)[0].clicks == clicked(PROTOCOL, draw=1)[0].clicks
    with pytest.raises(ValueError, match="needs a generator"):
        simulate_clicks(
            lambda clicks, previous: np.zeros(WIDE.shape, np.float32),
            WIDE,
            count=1,
            threshold=0.5,
            user=JITTERED,
        )
