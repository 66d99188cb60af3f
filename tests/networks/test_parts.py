import numpy as np
import pytest

from adclick.networks.parts import Part, map_in_parts, parts_of

STRIDE = 2


@pytest.mark.parametrize("window", [1, 2, 7, 12])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (12, 13), (60, 3), (25, 49)])
def test_windows_cover_everything_and_share_what_lies_between(height, width, window) -> None:
    seen = np.zeros((height, width), int)
    for part in parts_of((height, width), window):
        assert part.top >= 0 and part.top + part.height <= height
        assert (part.height, part.width) == (min(window, height), min(window, width))
        seen[part.cells()] += 1
    assert seen.min() >= 1


def test_what_one_window_covers_is_one_part() -> None:
    assert parts_of((5, 8), 8) == [Part(0, 0, 5, 8)]


def test_neighbours_share_a_quarter() -> None:
    starts = sorted({part.top for part in parts_of((100, 8), 32)})
    assert starts[0] == 0
    assert starts[-1] == 68
    assert max(np.diff(starts)) <= 24


def test_one_part_is_the_map_itself() -> None:
    own = np.random.default_rng(0).random((10, 16)).astype(np.float32)
    assert map_in_parts([(Part(0, 0, 5, 8), own)], (5, 8), STRIDE) is own


@pytest.mark.parametrize("grid", [(40, 9), (9, 40), (30, 30)])
def test_parts_of_one_map_give_that_map(grid) -> None:
    whole = np.random.default_rng(1).random((grid[0] * STRIDE, grid[1] * STRIDE))
    found = [(part, whole[part.pixels(STRIDE)]) for part in parts_of(grid, 12)]
    np.testing.assert_allclose(map_in_parts(found, grid, STRIDE), whole, atol=1e-6)


def test_there_are_no_seams_between_parts_that_disagree() -> None:
    grid, window = (12, 60), 12
    parts = parts_of(grid, window)
    found = [
        (part, np.full((24, 24), float(index % 2), np.float32)) for index, part in enumerate(parts)
    ]
    steps = np.abs(np.diff(map_in_parts(found, grid, STRIDE), axis=1))
    assert steps.max() <= 1.5 / (0.25 * window * STRIDE)  # spread over what they share
