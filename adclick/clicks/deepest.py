"""The robot user's next click: in the middle of the larger error.

Depth is the Euclidean distance from a pixel's centre to the nearest pixel centre outside its
region; outside the image counts as outside the region.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool

from adclick.clicks.click import Click


@dataclass(frozen=True)
class _ErrorKind:
    """Missed defects or false alarms in their bounding box, and how deep in them pixels lie.

    `chessboard` is the larger of the row and the column distance to the nearest pixel outside, 0
    where nothing can be clicked; `deepest` is its maximum.
    """

    error: np.ndarray
    taken: np.ndarray
    chessboard: np.ndarray
    deepest: float
    row: int
    column: int
    positive: bool


@dataclass(frozen=True)
class _ErrorRegion:
    """Depths in a part of an image, 0 where nothing can be clicked.

    Squared distances are whole numbers: comparing them, not the rounded roots, makes ties exact.
    """

    depth: np.ndarray
    deepest_squared: int
    row: int
    column: int
    positive: bool

    def at_least(self, squared_depth: int) -> np.ndarray:
        """The pixels of this squared depth or more."""
        return self.depth >= np.float32(math.sqrt(squared_depth - 0.5))

    def click(self, index: int) -> Click:
        """A click at a pixel, by its row-major index in the box."""
        row, column = divmod(index, self.depth.shape[1])
        return Click(self.row + row, self.column + column, self.positive)


def next_click(
    truth: Bool[np.ndarray, "height width"],
    prediction: Bool[np.ndarray, "height width"],
    taken: Bool[np.ndarray, "height width"],
) -> Click:
    """Where a perfect annotator would click next.

    The click falls at the pixel deepest inside the larger error region (missed defect: positive;
    false alarm: negative), depth being Euclidean distance in pixels to the region's edge, image
    border included. Pixels in `taken` are never chosen again. Ties go to the first pixel in
    row-major order, and to a negative click between regions of equal depth; this affects NoC, so it
    is fixed here. Exact up to depths of 1600.

    Raises ValueError when no error is left, or every erroneous pixel is taken.

    Source: robot-user protocol of RITM (arXiv 2102.06583); same order as its `clicker.py`.
    """
    region = larger_error(truth, prediction, taken, least_share=1.0)
    if region.deepest_squared == 0:
        raise ValueError("there is no untaken error pixel to click")
    return region.click(int(region.at_least(region.deepest_squared).argmax()))


def next_jittered_click(
    truth: Bool[np.ndarray, "height width"],
    prediction: Bool[np.ndarray, "height width"],
    taken: Bool[np.ndarray, "height width"],
    generator: np.random.Generator,
) -> Click:
    """Where a less than perfect annotator would click next: in the same region, less deep.

    Uniform over the untaken pixels of more than half the largest depth. Raises ValueError as
    `next_click` does.
    """
    region = larger_error(truth, prediction, taken, least_share=0.5)
    if region.deepest_squared == 0:
        raise ValueError("there is no untaken error pixel to click")
    return drawn_inside(region, generator)


def larger_error(
    truth: np.ndarray, prediction: np.ndarray, taken: np.ndarray, *, least_share: float
) -> _ErrorRegion:
    """The deeper kind of error; alarms where both are equally deep.

    Its depths are exact from `least_share` of the largest upwards, and never too large below. A
    pixel's depth is its chessboard depth, which costs a tenth to compute, up to √2 times that:
    exact depths are computed only where these bounds leave anything open.
    """
    kinds = (
        _error_kind(prediction > truth, taken, positive=False),
        _error_kind(truth > prediction, taken, positive=True),
    )
    deepest = max(kind.deepest for kind in kinds)
    possible = [kind for kind in kinds if kind.deepest * math.sqrt(2) >= deepest]
    regions = [_deep_part(kind, least_share) for kind in possible]
    return max(regions, key=lambda region: region.deepest_squared)


def _error_kind(error: np.ndarray, taken: np.ndarray, *, positive: bool) -> _ErrorKind:
    left, top, width, height = cv2.boundingRect(as_bytes(error))
    box = np.s_[top : top + height, left : left + width]
    depth = depths(error[box], cv2.DIST_C, cv2.DIST_MASK_3)
    depth[taken[box]] = 0
    return _ErrorKind(
        error[box], taken[box], depth, float(depth.max(initial=0)), top, left, positive
    )


def _deep_part(kind: _ErrorKind, least_share: float) -> _ErrorRegion:
    """Where an error is deep, with as much around as the nearest pixel outside it can be away."""
    deep = kind.chessboard >= least_share * kind.deepest / math.sqrt(2)
    left, top, width, height = cv2.boundingRect(as_bytes(deep))
    margin = math.ceil(math.sqrt(2) * kind.deepest)
    top, bottom = max(0, top - margin), top + height + margin
    left, right = max(0, left - margin), left + width + margin
    box = np.s_[top:bottom, left:right]
    depth = depths(kind.error[box], cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    depth[kind.taken[box]] = 0
    squared = round(float(depth.max(initial=0)) ** 2)
    return _ErrorRegion(depth, squared, kind.row + top, kind.column + left, kind.positive)


def depths(
    region: np.ndarray, metric: int = cv2.DIST_L2, mask_size: int = cv2.DIST_MASK_5
) -> np.ndarray:
    """Distances to the nearest pixel outside a region, or its array; Euclidean ones, to some
    2 %, unless asked for otherwise.
    """
    if region.size == 0:
        return np.zeros(region.shape, np.float32)
    ringed = cv2.copyMakeBorder(as_bytes(region), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    return cv2.distanceTransform(ringed, metric, mask_size)[1:-1, 1:-1]


def drawn_inside(region: _ErrorRegion, generator: np.random.Generator) -> Click:
    """A click anywhere in the inner half of an error region."""
    candidates = np.flatnonzero(region.at_least(region.deepest_squared // 4 + 1))
    return region.click(int(generator.choice(candidates)))


def as_bytes(mask: np.ndarray) -> np.ndarray:
    """A mask as 0 and 1, for OpenCV."""
    return np.ascontiguousarray(mask).view(np.uint8)
