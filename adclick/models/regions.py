"""The places of a map that lie above a threshold."""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float


class Region(NamedTuple):
    """A connected part of a picture above the threshold (pixels that touch by a corner are
    connected), in pixels of the picture.

    `row` and `column` are of the highest score in it; the box holds rows from `top` to `bottom` - 1
    and columns from `left` to `right` - 1.
    """

    score: float
    area_px: int
    area_share: float
    row: int
    column: int
    top: int
    left: int
    bottom: int
    right: int


def find_regions(scores: Float[np.ndarray, "height width"], level: float) -> list[Region]:
    """The regions of a map above a level, the highest score first."""
    above = (scores > level).astype(np.uint8)
    count, marks, boxes, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
    found = [_region(scores, marks, boxes[mark], mark) for mark in range(1, count)]
    return sorted(found, key=lambda one: (-one.score, one.row, one.column))


def _region(scores: np.ndarray, marks: np.ndarray, box: np.ndarray, mark: int) -> Region:
    left, top, width, height, area = (int(value) for value in box)
    inside = np.s_[top : top + height, left : left + width]
    own = np.where(marks[inside] == mark, scores[inside], -np.inf)
    row, column = divmod(int(own.argmax()), width)
    return Region(
        score=float(own.max()),
        area_px=area,
        area_share=area / scores.size,
        row=top + row,
        column=left + column,
        top=top,
        left=left,
        bottom=top + height,
        right=left + width,
    )
