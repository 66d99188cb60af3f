"""Features of a picture too large to pass the backbone at once, in strips that agree with it.

A convolutional network sees so far around a place and no further. So a strip with a margin of that
width has, within, the features of the whole picture; only rounding differs. A transformer looks
everywhere, and takes a picture whole.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float32, UInt8

from adclick.residuals.backbone import Backbone

LARGE_PIXELS = 2**21  # above so many pixels a picture is cut
STRIP_PIXELS = 2**20  # of a strip without its margins
MARGIN_PX = 160  # how far a place of a ResNet's third layer sees, and a little
COARSEST = 32  # pixels a place of the coarsest map: where strips begin is a multiple
Maps = TypeVar("Maps", bound=tuple[np.ndarray, ...])
Pass = Callable[[UInt8[np.ndarray, "1 height width 3"]], Maps]


class Strip(NamedTuple):
    """Pixels `first` … `last` - 1 along an axis, and with margins `start` … `stop` - 1."""

    start: int
    first: int
    last: int
    stop: int


def is_cut(backbone: Backbone, shape: tuple[int, ...]) -> bool:
    """Whether a picture of this shape passes the backbone in strips."""
    return backbone.patch == 1 and shape[0] * shape[1] > LARGE_PIXELS


def in_strips(
    backbone: Backbone, image: UInt8[np.ndarray, "height width 3"], compute: Pass[Maps]
) -> list[Float32[np.ndarray, "_ _ _"]]:
    """The maps that `compute` makes of a picture as a batch of one, put together of its strips.

    Every map shows all of what it is given, at some resolution. Strips lie across the longer side.
    """
    axis = int(image.shape[1] > image.shape[0])
    length = image.shape[axis]
    wholes: list[np.ndarray] = []
    for strip in _strips(length, image.shape[1 - axis], backbone):
        part = image.take(range(strip.start, strip.stop), axis=axis)
        for index, own in enumerate(compute(part[None])):
            within = own[0].swapaxes(0, axis)
            pixels, places = strip.stop - strip.start, len(within)
            if index == len(wholes):
                shape = [*own[0].shape]
                shape[axis] = length * places // pixels
                wholes.append(np.empty(shape, np.float32))
            first, last, start = (
                place * places // pixels for place in (strip.first, strip.last, strip.start)
            )
            whole = wholes[index].swapaxes(0, axis)
            whole[first:last] = within[first - start : last - start]
    return wholes


def _strips(length: int, across: int, backbone: Backbone) -> Iterator[Strip]:
    scale = backbone.enlargement
    step = COARSEST * scale.denominator
    margin = -(-MARGIN_PX * scale.denominator // min(scale.numerator, scale.denominator))
    margin = -(-margin // step) * step
    rows = max(step, STRIP_PIXELS // across // step * step)
    for first in range(0, length, rows):
        last = min(length, first + rows)
        yield Strip(max(0, first - margin), first, last, min(length, last + margin))
