import numpy as np
import pytest

from adclick.annotate import planes
from adclick.annotate.planes import (
    Box,
    array_of,
    blank_plane,
    count_of,
    part_of,
    plane_of,
    value_at,
    written,
)

SHAPE = (70, 45)


@pytest.fixture(params=[1 << 22, 100], ids=["one tile", "many"])
def tiled(request, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(planes, "WHOLE_PIXELS", request.param)
    monkeypatch.setattr(planes, "TILE_PX", 16)
    return request.param == 100


@pytest.mark.parametrize(("dtype", "blank"), [(bool, 0), (np.int8, -1), (np.float16, 0)])
def test_boxes_are_written_and_read_as_in_an_array(tiled: bool, dtype: type, blank: int) -> None:
    generator = np.random.default_rng(0)
    plane, array = blank_plane(SHAPE, dtype, blank=blank), np.full(SHAPE, blank, dtype)
    for _ in range(30):
        top, left = (int(generator.integers(length)) for length in SHAPE)
        box = Box(top, left, *(int(generator.integers(1, 30)) for _ in SHAPE)).within(
            planes.whole_box(SHAPE)
        )
        values = generator.integers(blank, 2, (box.height, box.width)).astype(dtype)
        before, was = plane, array_of(plane)
        plane = written(plane, box, values)
        array[box.slices] = values
        assert np.array_equal(array_of(plane), array)
        assert np.array_equal(array_of(before), was)  # never changed
        assert np.array_equal(part_of(plane, box), values)
        assert value_at(plane, top, left) == array[top, left]
        if dtype is bool:
            assert count_of(plane) == array.sum()


def test_tiles_are_there_only_where_something_is_and_are_shared(tiled: bool) -> None:
    mask = np.zeros(SHAPE, bool)
    mask[33:35, 20] = True
    plane = plane_of(mask)
    assert len(plane.tiles) == 1
    assert plane.extent == (Box(32, 16, 16, 16) if tiled else Box(0, 0, *SHAPE))
    other = written(plane, Box(0, 0, 2, 2), np.ones((2, 2), bool))
    if tiled:
        assert len(other.tiles) == 2
        assert other.tiles[2, 1] is plane.tiles[2, 1]
    emptied = written(plane, Box(30, 18, 10, 10), np.zeros((10, 10), bool))
    assert not emptied.tiles
    assert not array_of(emptied).any()


def test_what_differs_between_two_planes_is_found_by_its_tiles(tiled: bool) -> None:
    mask = np.zeros(SHAPE, bool)
    mask[33:35, 20] = True
    plane = plane_of(mask)
    other = written(plane, Box(0, 0, 2, 2), np.ones((2, 2), bool))
    expected = [Box(0, 0, 16, 16)] if tiled else [Box(0, 0, *SHAPE)]
    assert list(planes.differing(plane, other)) == expected
    assert list(planes.differing(other, plane)) == expected
    assert not list(planes.differing(plane, plane))
    assert [*planes.differing(None, plane)] == [*planes.differing(plane, None)] != []
