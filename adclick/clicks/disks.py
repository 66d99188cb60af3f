"""Click disks as wide as what was clicked. Not in the paper, whose disks all have one radius.

A disk that is wider than a defect tells a network that the surface beside it is defective too. How
wide a defect is nobody knows when it is clicked; what is seen is where the picture changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from adclick.clicks.click import Click, draw_disk
from adclick.clicks.edges import mean_squared_step

LIKENESS = 4.0  # times the picture's mean squared step a colour differs at most that is alike
ALIKE_SHARE = 0.8  # of a ring: below it the disk ends


@dataclass(frozen=True)
class Fitting:
    """A picture's colours (CIE Lab), and the largest squared difference between like ones."""

    colours: Float32[np.ndarray, "height width 3"]
    largest_difference: float


def fitting(image: UInt8[np.ndarray, "height width 3"]) -> Fitting:
    """A picture, ready for `fitted_radius`."""
    colours = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return Fitting(colours, LIKENESS * mean_squared_step(colours))


def fitted_radius(
    picture: Fitting, click: Click, clicks: Sequence[Click], *, radius_px: float | int
) -> float:
    """The radius of a click's disk in pixels of the picture, 0 (the clicked pixel) to `radius_px`.

    The disk grows ring by ring while four of five pixels of a ring have the clicked one's
    colour, and no further than half the way to any of `clicks` of the other sign.
    """
    reach = int(radius_px)
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    inside = (
        (rows + click.row >= 0)
        & (rows + click.row < picture.colours.shape[0])
        & (columns + click.column >= 0)
        & (columns + click.column < picture.colours.shape[1])
    )
    rows, columns = rows[inside], columns[inside]
    own = picture.colours[click.row, click.column]
    colours = picture.colours[click.row + rows, click.column + columns]
    alike = np.square(colours - own).sum(axis=1) <= picture.largest_difference
    ring = np.ceil(np.hypot(rows, columns)).astype(np.int64)
    radius = 0
    while radius < reach and _share(alike[ring == radius + 1]) >= ALIKE_SHARE:
        radius += 1
    apart = [
        np.hypot(one.row - click.row, one.column - click.column)
        for one in clicks
        if one.positive != click.positive
    ]
    return max(0.0, min([float(radius), *((distance - 1) / 2 for distance in apart)]))


def _share(alike: np.ndarray) -> float:
    return float(alike.sum() / max(1, alike.size))


def fitted_disks(
    picture: Fitting, clicks: Sequence[Click], *, radius_px: float | int
) -> Float32[np.ndarray, "2 height width"]:
    """`click_disks` of clicks in a picture's pixels, each disk of its own radius."""
    disks = np.zeros((2, *picture.colours.shape[:2]), np.float32)
    for click in clicks:
        radius = fitted_radius(picture, click, clicks, radius_px=radius_px)
        draw_disk(disks[0 if click.positive else 1], click, radius)
    return disks
