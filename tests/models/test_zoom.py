import numpy as np
import pytest

from adclick.clicks.click import Click
from adclick.models.zoom import Window, crop_inputs, zoom_in, zoom_window

SIDE, STRIDE = 64, 8
SETTINGS = {"stride": STRIDE, "margin": 1.5, "least_side": 0.25}


def mask(top: int, left: int, height: int, width: int) -> np.ndarray:
    drawn = np.zeros((SIDE, SIDE), bool)
    drawn[top : top + height, left : left + width] = True
    return drawn


@pytest.mark.parametrize(
    ("drawn", "clicks", "expected"),
    [
        (mask(16, 24, 16, 8), [], Window(2, 2, 3)),  # 1.5 x 16 px = 3 cells
        (mask(30, 30, 2, 2), [], Window(3, 3, 2)),  # at least a quarter of 8 cells
        (mask(0, 60, 4, 4), [], Window(0, 6, 2)),  # moved inside
        (mask(16, 16, 8, 8), [Click(16, 31, True)], Window(1, 2, 3)),
        (mask(16, 16, 8, 8), [Click(60, 60, False)], Window(2, 2, 2)),
        (mask(4, 4, 50, 8), [], None),  # as large as the picture
        (np.zeros((SIDE, SIDE), bool), [Click(5, 5, False)], None),
    ],
)
def test_the_window_lies_around_mask_and_positive_clicks(drawn, clicks, expected) -> None:
    assert zoom_window(drawn, clicks, **SETTINGS) == expected


def test_picture_and_residual_are_cropped_alike() -> None:
    residual = np.zeros((8, 8, 600), np.float16)
    residual[3, 4] = 1
    image = residual[:, :, :3].repeat(STRIDE, 0).repeat(STRIDE, 1).astype(np.uint8) * 255
    picture, larger = crop_inputs(image, residual, Window(2, 3, 4))
    assert picture.shape == image.shape
    assert larger.shape == residual.shape
    assert larger.dtype == np.float32
    # Cell (1, 1) of 4 becomes the cells 2 and 3 of 8.
    middle = np.argwhere(larger[..., 0] > 0.5).mean(0)
    assert middle.tolist() == [2.5, 2.5]
    assert np.argwhere(picture[..., 0] > 127).mean(0).tolist() == [23.5, 23.5]


def test_the_second_look_sees_the_window_and_answers_inside_it() -> None:
    asked: list[tuple[Window, list[Click], np.ndarray]] = []

    def predict(clicks, previous):
        return np.where(mask(24, 24, 8, 8), 0.8, 0.1).astype(np.float32)

    def open_window(window):
        def look(clicks, previous):
            asked.append((window, list(clicks), previous))
            return np.full((SIDE, SIDE), 0.6, np.float32)

        return look

    look_twice = zoom_in(predict, open_window, threshold=0.5, **SETTINGS)
    clicks = [Click(28, 30, True), Click(2, 2, False)]
    answer = look_twice(clicks, None)
    (window, given, before) = asked[0]
    assert window == Window(2, 2, 2)
    # A window of 16 px at (16, 16) becomes 64 px: four times as large.
    assert given == [Click(50, 58, True)]
    assert before.shape == (SIDE, SIDE)
    assert before[10, 10] == pytest.approx(0.1)
    assert before[50, 50] == pytest.approx(0.8)
    inside = mask(16, 16, 16, 16)
    assert np.allclose(answer[inside], 0.6)
    assert np.allclose(answer[~inside], 0.1)
    assert np.array_equal(look_twice(clicks, None), answer)


def test_a_window_is_opened_once_and_an_answer_of_nothing_is_left_as_it_is() -> None:
    opened: list[Window] = []

    def open_window(window):
        opened.append(window)
        return lambda clicks, previous: np.zeros((SIDE, SIDE), np.float32)

    answers = iter([mask(24, 24, 8, 8), mask(24, 24, 8, 8), mask(0, 0, 0, 0)])
    look_twice = zoom_in(
        lambda clicks, previous: next(answers).astype(np.float32),
        open_window,
        threshold=0.5,
        **SETTINGS,
    )
    for _ in range(2):
        look_twice([], None)
    assert opened == [Window(2, 2, 2)]
    assert not look_twice([], None).any()
    assert len(opened) == 1
