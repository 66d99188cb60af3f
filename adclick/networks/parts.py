"""Large pictures through a network's window: how they are cut, and one map put together again.

A network is trained on windows of so many patches a side (`size_px`). A picture that one window
covers is seen whole. A larger one is seen in windows, so that neither memory nor what a network
sees of a defect depends on the picture's size.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from adclick.data.geometry import Shape

OVERLAP = 0.25  # of a window: how much two windows that lie side by side share


@dataclass(frozen=True, order=True)
class Part:
    """A part of a picture, in patches."""

    top: int
    left: int
    height: int
    width: int

    def cells(self) -> tuple[slice, slice]:
        """Rows and columns of the grid."""
        return self.pixels(1)

    def pixels(self, stride: int) -> tuple[slice, slice]:
        """Rows and columns of the picture."""
        return (
            slice(self.top * stride, (self.top + self.height) * stride),
            slice(self.left * stride, (self.left + self.width) * stride),
        )


def window_of(settings: Mapping[str, Any]) -> int:
    """The side in patches of the windows that a network is trained on, from its job's settings."""
    return int(settings["size_px"]) // int(settings["stride"])


def parts_of(grid: Shape, window: int) -> list[Part]:
    """Windows that cover a grid, evenly spread; neighbours share a quarter of a window or more."""
    sides = [min(window, length) for length in grid]
    starts = [_starts(length, side) for length, side in zip(grid, sides, strict=True)]
    return [Part(top, left, *sides) for top, left in product(*starts)]


def _starts(length: int, side: int) -> list[int]:
    step = max(1, side - round(OVERLAP * side))
    count = 1 + -(-(length - side) // step)
    return [round(place) for place in np.linspace(0, length - side, count)]


def map_in_parts(
    found: Iterable[tuple[Part, Float[np.ndarray, "_ _"]]], grid: Shape, stride: int
) -> Float32[np.ndarray, "height width"]:
    """One map of the whole grid from its parts' maps; where they overlap it goes over smoothly from
    one to the next.
    """
    total = np.zeros((grid[0] * stride, grid[1] * stride), np.float32)
    weights = np.zeros_like(total)
    for part, own in found:
        if (part.height, part.width) == grid:
            return own
        weight = weight_of(part, grid, round(OVERLAP * max(part.height, part.width)), stride)
        total[part.pixels(stride)] += weight * own
        weights[part.pixels(stride)] += weight
    return total / weights


def weight_of(
    part: Part, grid: Shape, reach: int, stride: int
) -> Float32[np.ndarray, "height width"]:
    """How much a part counts at its pixels: from 1 down to nearly 0 within `reach` patches of an
    edge where the picture goes on.
    """
    down = _ramp(part.top, part.height, grid[0], reach, stride)
    across = _ramp(part.left, part.width, grid[1], reach, stride)
    return down[:, None] * across[None, :]


def _ramp(first: int, side: int, length: int, reach: int, stride: int) -> np.ndarray:
    ends = (np.arange(side * stride, dtype=np.float32) + 0.5) / max(1, reach * stride)
    before = ends if first > 0 else np.ones_like(ends)
    after = ends[::-1] if first + side < length else np.ones_like(ends)
    return np.minimum(1, np.minimum(before, after))
