"""Features of a picture too large to pass the backbone at once, in tiles that agree with it.

A convolutional network sees so far around a place and no further. So a tile with a margin of that
width has, within, the features of the whole picture; only rounding differs. A transformer looks
everywhere, and takes a picture whole.
"""

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
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

    def own(self, places: int, rate: Fraction) -> slice:
        """Its own part of a map that has so many places for the span with its margins, `rate` of
        them a pixel; the last ones, where the picture ends, are rounded.
        """
        end = places if self.last == self.stop else int((self.last - self.start) * rate)
        return slice(int((self.first - self.start) * rate), end)

    def whole(self, places: int, rate: Fraction) -> slice:
        """Where that part lies in the map of the whole picture."""
        own, before = self.own(places, rate), int(self.start * rate)
        return slice(before + own.start, before + own.stop)


def is_cut(backbone: Backbone, shape: tuple[int, ...]) -> bool:
    """Whether a picture of this shape passes the backbone in tiles."""
    return backbone.patch == 1 and shape[0] * shape[1] > MOST_PIXELS


def in_tiles(
    backbone: Backbone, image: UInt8[np.ndarray, "height width 3"], compute: Pass[Maps]
) -> list[Float32[np.ndarray, "_ _ _"]]:
    """The maps that `compute` makes of a picture as a batch of one, put together of its tiles.

    Every map shows all of what it is given, at some resolution.
    """
    step = _step(backbone)
    probe = np.zeros((1, step, COARSEST, 3), np.uint8)
    rates = [Fraction(maps.shape[1], step) for maps in compute(probe)]
    wholes: list[np.ndarray] = []
    # The last tile comes first: it says how large the maps of the whole picture are.
    for rows, columns in reversed([*_tiles((image.shape[0], image.shape[1]), backbone)]):
        for index, maps in enumerate(compute(image[rows.pixels, columns.pixels][None])):
            (height, width, channels), rate = maps.shape[1:], rates[index]
            down, across = rows.whole(height, rate), columns.whole(width, rate)
            if index == len(wholes):
                wholes.append(np.empty((down.stop, across.stop, channels), np.float32))
            own = maps[0, rows.own(height, rate), columns.own(width, rate)]
            wholes[index][down, across] = own
    return wholes


def _step(backbone: Backbone) -> int:
    """Pixels after which every map is at a place again, whatever the backbone enlarges."""
    return COARSEST * backbone.enlargement.denominator


def _tiles(shape: tuple[int, int], backbone: Backbone) -> Iterator[tuple[Span, Span]]:
    scale = backbone.enlargement
    step = _step(backbone)
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
