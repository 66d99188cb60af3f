import numpy as np

from adclick.clicks import Click
from adclick.robot import simulate_clicks

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
