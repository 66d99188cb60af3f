import numpy as np
import pytest

from adclick.clicks.click import Click
from adclick.models import windows
from adclick.models.windows import answer_in_parts, click_parts, opened_once
from adclick.networks.parts import Part

STRIDE, WINDOW = 8, 32


class Asked:
    """A method on parts: 1 within 6 px of every positive click of its part; it notes its calls."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.calls: list[tuple[Part, list[Click], np.ndarray | None]] = []

    def open(self, part: Part):
        self.parts.append(part)

        def predict(clicks, previous):
            self.calls.append((part, list(clicks), previous))
            shape = (part.height * STRIDE, part.width * STRIDE)
            rows, columns = np.ogrid[: shape[0], : shape[1]]
            found = np.zeros(shape, np.float32)
            for click in clicks:
                if click.positive:
                    near = (rows - click.row) ** 2 + (columns - click.column) ** 2 <= 36
                    found[near] = 1
            return found

        return predict


def test_what_one_window_covers_is_asked_as_a_whole() -> None:
    asked = Asked()
    predict = answer_in_parts(asked.open, content=(250, 201), window=WINDOW, stride=STRIDE)
    previous = np.random.default_rng(0).random((250, 201)).astype(np.float32)
    found = predict([Click(3, 4, True)], previous)
    assert found.shape == (250, 201)
    assert asked.parts == [Part(0, 0, 32, 26)]
    (_, clicks, before) = asked.calls[0]
    assert clicks == [Click(3, 4, True)]
    assert before is not None and np.array_equal(before[:250, :201], previous)
    assert predict([], None).sum() == 0


def test_a_click_costs_one_window_and_leaves_the_rest_as_it_was() -> None:
    asked = Asked()
    predict = answer_in_parts(asked.open, content=(4000, 6000), window=WINDOW, stride=STRIDE)
    first = predict([Click(2000, 3000, True)], None)
    assert first[2000, 3000] == 1
    assert first.sum() == pytest.approx(113, abs=2)
    (part, clicks, before) = asked.calls[0]
    assert clicks == [Click(2000 - 8 * part.top, 3000 - 8 * part.left, True)]
    assert before is None
    first[10, 10] = 0.25
    far = [Click(2000, 3000, True), Click(300, 5900, True)]
    second = predict(far, first)
    assert len(asked.calls) == 2  # the first window was not asked again
    assert second[10, 10] == 0.25
    assert second[2000, 3000] == second[300, 5900] == 1


def test_a_click_well_inside_an_open_window_moves_nothing() -> None:
    near = [Click(2000, 3000, True), Click(2040, 3030, False), Click(1950, 2960, True)]
    grid = (500, 750)
    parts = [click_parts(near[:count], grid, WINDOW, STRIDE) for count in (1, 2, 3)]
    assert parts[0] == parts[1] == parts[2]
    further = [*near, Click(2000, 3120, True)]  # inside, but so near to its edge that it is cut off
    assert click_parts(further, grid, WINDOW, STRIDE)[:1] == parts[0]
    assert len(click_parts(further, grid, WINDOW, STRIDE)) == 2


@pytest.mark.parametrize("place", [(0, 0), (3999, 5999), (0, 5999)])
def test_windows_stay_inside_and_see_clicks_at_the_very_edge(place) -> None:
    asked = Asked()
    predict = answer_in_parts(asked.open, content=(4000, 6000), window=WINDOW, stride=STRIDE)
    assert predict([Click(*place, True)], None)[place] == 1
    part = asked.parts[0]
    assert part.top >= 0 and part.top + part.height <= 500
    assert part.left >= 0 and part.left + part.width <= 750


def test_a_windows_answer_fades_into_what_was_known() -> None:
    def open_full(part: Part):
        return lambda clicks, previous: np.ones((256, 256), np.float32)

    predict = answer_in_parts(open_full, content=(1024, 1024), window=WINDOW, stride=STRIDE)
    found = predict([Click(512, 512, True)], None)
    assert found[512, 512] == 1
    for axis in (0, 1):
        assert np.abs(np.diff(found, axis=axis)).max() < 0.05


def test_no_window_sees_what_another_answers_to_the_same_click() -> None:
    asked = Asked()
    predict = answer_in_parts(asked.open, content=(1024, 1024), window=WINDOW, stride=STRIDE)
    first = [Click(512, 512, True)]
    before = predict(first, None)
    both = [*first, Click(512, 600, True)]
    asked.calls.clear()
    predict(both, before)
    assert len(asked.calls) == 2, "it lies in the first window, near its edge, and opens another"
    for part, _, known in asked.calls:
        assert known is not None
        np.testing.assert_array_equal(known, before[part.pixels(STRIDE)])


def test_replaying_clicks_at_once_opens_the_same_windows() -> None:
    clicks = [Click(100, 100, True), Click(3000, 200, True), Click(120, 110, False)]
    asked = Asked()
    predict = answer_in_parts(asked.open, content=(4000, 600), window=WINDOW, stride=STRIDE)
    found = predict(clicks, None)
    assert asked.parts == click_parts(clicks, (500, 75), WINDOW, STRIDE)
    assert found[100, 100] == found[3000, 200] == 1


def test_parts_are_opened_once_until_many_others_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "MOST_OPENED", 2)
    asked = Asked()
    kept = opened_once(asked.open)
    first, second, third = (Part(place, 0, 4, 4) for place in (0, 8, 16))
    for part in (first, second, first, third, first, second):
        kept(part)
    assert asked.parts == [first, second, third, second]
