"""Arrays of a large picture's size that are empty almost everywhere, kept as tiles.

Of a picture of many megapixels a defect marks a few thousand pixels. A plane has only the tiles
that something is in; one that follows from another shares with it all tiles that did not change. So
what an edit costs grows with what it touches, in time and in every state of the history. A picture
of usual size is one tile.
"""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

WHOLE_PIXELS = 2**22  # a picture of at most so many pixels is one tile
TILE_PX = 512

Shape = tuple[int, int]


class Box(NamedTuple):
    """A part of a picture, in its pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Its rows and columns."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    def within(self, other: "Box") -> "Box":
        """What it shares with another; of no height or width where that is nothing."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom = min(self.top + self.height, other.top + other.height)
        right = min(self.left + self.width, other.left + other.width)
        return Box(top, left, max(0, bottom - top), max(0, right - left))

    def seen_from(self, other: "Box") -> tuple[slice, slice]:
        """Its rows and columns in the pixels of another, in which it lies."""
        return Box(self.top - other.top, self.left - other.left, self.height, self.width).slices

    @property
    def empty(self) -> bool:
        """Whether there is nothing in it."""
        return not (self.height and self.width)


def whole_box(shape: Shape) -> Box:
    """All of a picture."""
    return Box(0, 0, *shape)


@dataclass(frozen=True, eq=False)
class Plane:
    """An array of `shape` that is `blank` outside of its tiles, which are `side` pixels high and
    wide; never changed.
    """

    shape: Shape
    dtype: np.dtype[Any]
    blank: int
    side: int
    tiles: Mapping[Shape, Any] = field(default_factory=dict[Shape, Any])

    def box_of(self, tile: Shape) -> Box:
        """Where a tile lies."""
        at = Box(tile[0] * self.side, tile[1] * self.side, self.side, self.side)
        return at.within(whole_box(self.shape))

    @property
    def is_whole(self) -> bool:
        """Whether a tile is all of it."""
        return self.side >= max(self.shape)

    @property
    def extent(self) -> Box:
        """The smallest box around all tiles; a plane of one tile is all that, always."""
        if self.is_whole:
            return whole_box(self.shape)
        if not self.tiles:
            return Box(0, 0, 0, 0)
        rows, columns = zip(*self.tiles, strict=True)
        first, last = self.box_of((min(rows), min(columns))), self.box_of((max(rows), max(columns)))
        height, width = last.top + last.height - first.top, last.left + last.width - first.left
        return Box(first.top, first.left, height, width)


def blank_plane(shape: Shape, dtype: Any, *, blank: int = 0) -> Plane:
    """A plane with nothing in it."""
    side = max(shape) if shape[0] * shape[1] <= WHOLE_PIXELS else TILE_PX
    return Plane(shape, np.dtype(dtype), blank, side)


def plane_of(array: Shaped[np.ndarray, "height width"], *, blank: int = 0) -> Plane:
    """An array as a plane."""
    shape = (array.shape[0], array.shape[1])
    return written(blank_plane(shape, array.dtype, blank=blank), whole_box(shape), array)


def tiles_of(plane: Plane, box: Box) -> Iterator[Shape]:
    """The tiles that a box touches, whether there is anything in them or not."""
    if box.empty:
        return
    side = plane.side
    for row in range(box.top // side, (box.top + box.height - 1) // side + 1):
        for column in range(box.left // side, (box.left + box.width - 1) // side + 1):
            yield row, column


def part_of(plane: Plane, box: Box) -> Shaped[np.ndarray, "height width"]:
    """What is in a box, as an array of its own."""
    found = np.full((box.height, box.width), plane.blank, plane.dtype)
    for tile in tiles_of(plane, box):
        if tile in plane.tiles:
            own = plane.box_of(tile)
            shared = own.within(box)
            found[shared.seen_from(box)] = _opened(plane, tile)[shared.seen_from(own)]
    return found


def array_of(plane: Plane) -> Shaped[np.ndarray, "height width"]:
    """All of it."""
    return part_of(plane, whole_box(plane.shape))


def value_at(plane: Plane, row: int, column: int) -> Any:
    """One value."""
    return part_of(plane, Box(row, column, 1, 1))[0, 0]


def written(plane: Plane, box: Box, values: Shaped[np.ndarray, "height width"]) -> Plane:
    """The plane with other values in a box."""
    tiles = dict(plane.tiles)
    for tile in tiles_of(plane, box):
        own = plane.box_of(tile)
        shared = own.within(box)
        changed = part_of(plane, own)
        changed[shared.seen_from(own)] = values[shared.seen_from(box)]
        if (changed == plane.blank).all():
            tiles.pop(tile, None)
        else:
            tiles[tile] = _kept(changed)
    return replace(plane, tiles=tiles)


def count_of(mask: Plane) -> int:
    """How many pixels a mask has."""
    return sum(_counted(kept) for kept in mask.tiles.values())


def differing(plane: Plane | None, other: Plane | None) -> Iterator[Box]:
    """The tiles that are not the same in one of two planes of one shape and in the other."""
    one, two = ({} if each is None else each.tiles for each in (plane, other))
    for tile in {**one, **two}:
        if one.get(tile) is not two.get(tile):
            yield (plane or other).box_of(tile)  # pyright: ignore[reportOptionalMemberAccess]


@lru_cache(maxsize=1024)
def _counted(kept: bytes) -> int:
    return int(np.count_nonzero(np.frombuffer(zlib.decompress(kept), bool)))


def _kept(array: np.ndarray) -> bytes | np.ndarray:
    """A tile in memory: compressed where a value is a byte, and so few of them differ."""
    if array.itemsize > 1:
        return array
    return zlib.compress(np.ascontiguousarray(array).tobytes(), 1)


def _opened(plane: Plane, tile: Shape) -> np.ndarray:
    """A tile again, to be read only."""
    kept, box = plane.tiles[tile], plane.box_of(tile)
    if isinstance(kept, np.ndarray):
        return kept
    return np.frombuffer(zlib.decompress(kept), plane.dtype).reshape(box.height, box.width)
