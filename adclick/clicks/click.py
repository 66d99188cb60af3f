"""A click, its disks, and clicks scaled to another size of the picture.

Positions are (row, column) in pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Real


@dataclass(frozen=True)
class Click:
    """One click at a pixel: positive on a defect, negative where there is none."""

    row: int
    column: int
    positive: bool


def scale_clicks(
    clicks: Sequence[Click], *, shape: tuple[int, int], original_shape: tuple[int, int]
) -> list[Click]:
    """The same clicks in an image resized from `original_shape` to `shape` (both height, width).

    A click moves to the pixel in which its pixel's centre falls; one outside the image moves to the
    border.
    """
    return [
        Click(
            _scaled(click.row, shape[0], original_shape[0]),
            _scaled(click.column, shape[1], original_shape[1]),
            click.positive,
        )
        for click in clicks
    ]


def click_disks(
    clicks: Sequence[Click],
    *,
    shape: tuple[int, int],
    radius_px: float | int = 5.0,
    original_shape: tuple[int, int] | None = None,
) -> Float32[np.ndarray, "2 height width"]:
    """The clicks as a network sees them: 1 within `radius_px` of a click, 0 elsewhere.

    The first map is of the positive clicks, the second of the negative ones.
    `shape` is that of the maps, and `radius_px`, which still counts as within, is in their pixels.
    With `original_shape` the clicks are in an image of that shape and are scaled here
    (`scale_clicks`); without, they are in the maps' own pixels. Clicks outside the image move to
    its border.
    """
    disks = np.zeros((2, *shape), dtype=np.float32)
    for click in scale_clicks(clicks, shape=shape, original_shape=original_shape or shape):
        draw_disk(disks[0 if click.positive else 1], click, radius_px)
    return disks


def draw_disk(
    disk_map: Real[np.ndarray, "height width"], click: Click, radius_px: float | int
) -> None:
    """Set a map to 1 within `radius_px` of a click inside it, in place."""
    reach = math.floor(radius_px)
    top, left = max(click.row - reach, 0), max(click.column - reach, 0)
    window = disk_map[top : click.row + reach + 1, left : click.column + reach + 1]
    rows = np.arange(window.shape[0])[:, None] + top - click.row
    columns = np.arange(window.shape[1])[None, :] + left - click.column
    window[rows**2 + columns**2 <= radius_px**2] = 1.0


def _scaled(position: int, length: int, original_length: int) -> int:
    """floor((position + 1/2) * length / original_length), kept inside the image."""
    return min(max((2 * position + 1) * length // (2 * original_length), 0), length - 1)
