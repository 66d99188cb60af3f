"""Features of a picture too large to pass the backbone at once, in tiles that agree with it.

A convolutional network sees so far around a place and no further. So a tile with a margin of that
width has, within, the features of the whole picture; only rounding differs. A transformer looks
everywhere, and takes a picture whole.
"""

import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float32, UInt8

from adclick.residuals.backbone import Backbone

MOST_PIXELS = 2**22  # of a picture that passes whole, and of a tile with its margins
MARGIN_PX = 160  # how far a place of a ResNet's third layer sees, and a little
COARSEST = 32  # pixels a place of the coarsest map: where tiles begin is a multiple
Maps = TypeVar("Maps", bound=tuple[np.ndarray, ...])
Pass = Callable[[UInt8[np.ndarray, "1 height width 3"]], Maps]


class Span(NamedTuple):
    """Pixels `first` … `last` - 1 along an axis, and with margins `start` … `stop` - 1."""

    start: int
    first: int
    last: int
    stop: int

    @property
    def pixels(self) -> slice:
        """Its pixels and its margins'."""
        return slice(self.start, self.stop)

    def own(self, places: int) -> slice:
        """Its own part of a map that has so many places for the span with its margins."""
        return slice(*self._places((self.first - self.start, self.last - self.start), places))

    def whole(self, places: int) -> slice:
        """Where that part lies in the map of the whole picture."""
        return slice(*self._places((self.first, self.last), places))

    def _places(self, pixels: tuple[int, int], places: int) -> Iterator[int]:
        return (pixel * places // (self.stop - self.start) for pixel in pixels)


def is_cut(backbone: Backbone, shape: tuple[int, ...]) -> bool:
    """Whether a picture of this shape passes the backbone in tiles."""
    return backbone.patch == 1 and shape[0] * shape[1] > MOST_PIXELS


def in_tiles(
    backbone: Backbone, image: UInt8[np.ndarray, "height width 3"], compute: Pass[Maps]
) -> list[Float32[np.ndarray, "_ _ _"]]:
    """The maps that `compute` makes of a picture as a batch of one, put together of its tiles.

    Every map shows all of what it is given, at some resolution.
    """
    shape = (image.shape[0], image.shape[1])
    wholes: list[np.ndarray] = []
    for rows, columns in _tiles(shape, backbone):
        for index, maps in enumerate(compute(image[rows.pixels, columns.pixels][None])):
            height, width, channels = maps.shape[1:]
            if index == len(wholes):
                size = (
                    length * places // (span.stop - span.start)
                    for length, places, span in zip(
                        shape, (height, width), (rows, columns), strict=True
                    )
                )
                wholes.append(np.empty((*size, channels), np.float32))
            own = maps[0, rows.own(height), columns.own(width)]
            wholes[index][rows.whole(height), columns.whole(width)] = own
    return wholes


def _tiles(shape: tuple[int, int], backbone: Backbone) -> Iterator[tuple[Span, Span]]:
    scale = backbone.enlargement
    step = COARSEST * scale.denominator
    margin = -(-MARGIN_PX * scale.denominator // min(scale.numerator, scale.denominator))
    margin = -(-margin // step) * step
    height, width = _least_work(shape, margin, step)
    yield from product(_spans(shape[0], height, margin), _spans(shape[1], width, margin))


def _spans(length: int, own: int, margin: int) -> list[Span]:
    ends = [(first, min(length, first + own)) for first in range(0, length, own)]
    return [
        Span(max(0, first - margin), first, last, min(length, last + margin))
        for first, last in ends
    ]


def _least_work(shape: tuple[int, int], margin: int, step: int) -> tuple[int, int]:
    """The height and width of tiles, without margins, that have the fewest pixels with them."""

    def evenly(length: int, parts: int) -> int:
        return math.ceil(length / parts / step) * step

    def largest(tile: tuple[int, int]) -> int:
        return math.prod(
            min(length, own + 2 * margin) for length, own in zip(shape, tile, strict=True)
        )

    def computed(tile: tuple[int, int]) -> int:
        return math.prod(
            length + 2 * margin * (math.ceil(length / own) - 1)
            for length, own in zip(shape, tile, strict=True)
        )

    tiles = []
    for parts in range(1, math.ceil(shape[0] / step) + 1):
        height = evenly(shape[0], parts)
        room = MOST_PIXELS // min(shape[0], height + 2 * margin)
        most = shape[1] if shape[1] <= room else max(step, (room - 2 * margin) // step * step)
        tiles.append((height, evenly(shape[1], math.ceil(shape[1] / most))))
    fitting = [tile for tile in tiles if largest(tile) <= MOST_PIXELS]
    return min(fitting, key=computed) if fitting else min(tiles, key=largest)
