import numpy as np
import pytest

from adclick.training.windows import View, defect_cells, draw_view

STRIDE, SIDE = 4, 8


def seen(label: np.ndarray, content: tuple[int, int], seed: int) -> View:
    view = draw_view(
        label, content, side=SIDE, stride=STRIDE, generator=np.random.default_rng(seed)
    )
    assert view is not None
    return view


def test_nothing_is_drawn_where_a_window_is_the_whole() -> None:
    generator = np.random.default_rng(0)
    before = generator.bit_generator.state
    label = np.zeros((32, 32), np.float32)
    assert draw_view(label, (32, 32), side=SIDE, stride=STRIDE, generator=generator) is None
    assert draw_view(label, (99, 9), side=None, stride=STRIDE, generator=generator) is None
    assert generator.bit_generator.state == before


def test_maps_are_cut_alike() -> None:
    content, frame = (100, 60), (100, 60)
    plane = np.arange(frame[0] * frame[1]).reshape(frame)
    grid = plane[::STRIDE, ::STRIDE]
    for seed in range(20):
        view = seen(np.zeros(frame, np.float32), content, seed)
        pixels, patches = view.pixels(plane), view.patches(grid, zeros=True)
        assert pixels.shape == (32, 32)
        assert np.array_equal(pixels[::STRIDE, ::STRIDE], patches)


def test_beyond_a_small_picture_there_is_no_loss() -> None:
    content, frame = (21, 200), (24, 200)
    label = np.ones(frame, np.float32)
    view = seen(label, content, 3)
    cut = view.labels(label)
    assert (cut[:21] == 1).all()
    assert (cut[21:] == -1).all()
    residual = np.ones((6, 50, 2), np.float32)
    assert (view.patches(residual, zeros=True)[6:] == 0).all()
    picture = np.arange(24)[:, None, None] * np.ones((1, 200, 3))
    assert (view.pixels(picture)[21:] == 20).all()


def test_a_speck_is_found_as_often_as_a_large_defect() -> None:
    label = np.zeros((400, 400), np.float32)
    label[10:200, 10:200] = 1
    label[350, 350] = 1
    found = [seen(label, (400, 400), seed).labels(label) for seed in range(300)]
    with_speck = np.mean([cut.sum() == 1 for cut in found])
    assert 0.75 / 2 - 0.1 < with_speck < 0.75 / 2 + 0.1
    assert np.mean([cut.any() for cut in found]) >= 0.75


def test_a_defect_lies_anywhere_in_its_window() -> None:
    label = np.zeros((400, 400), np.float32)
    label[200, 200] = 1
    places = [np.argwhere(seen(label, (400, 400), seed).labels(label)) for seed in range(200)]
    rows = {int(place[0][0]) // STRIDE for place in places if len(place)}
    assert rows == set(range(SIDE))


@pytest.mark.parametrize("shape", [(8, 8), (9, 13)])
def test_cells_are_those_with_a_labelled_pixel(shape) -> None:
    label = np.zeros(shape, np.float32)
    label[shape[0] - 1, 5] = 1
    label[0, 0] = 0.5  # uncertain
    label[0, 1] = -1
    cells = defect_cells(label, STRIDE)
    assert np.argwhere(cells).tolist() == [[(shape[0] - 1) // STRIDE, 1]]
