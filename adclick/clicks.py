"""Clicks: the robot user's next one, their disks, and the clicks that training draws.

Positions are (row, column) in pixels. Depth is the Euclidean distance from a pixel's centre to the
nearest pixel centre outside its region; outside the image counts as outside the region.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32

# The initial clicks of training. Source: RITM (arXiv 2102.06583), multi-point sampler.
ERODED_SHARE = 0.9
EROSION_PX = 3
SMALLEST_CORE_PX = 10
BORDER_SHARE = 0.5
BORDER_WIDTH = 0.1


@dataclass(frozen=True)
class Click:
    """One click at a pixel: positive on a defect, negative where there is none."""

    row: int
    column: int
    positive: bool


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
    region = _larger_error(truth, prediction, taken, least_share=1.0)
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
    region = _larger_error(truth, prediction, taken, least_share=0.5)
    if region.deepest_squared == 0:
        raise ValueError("there is no untaken error pixel to click")
    return _drawn_inside(region, generator)


def sample_next_click(
    truth: Bool[np.ndarray, "height width"],
    prediction: Bool[np.ndarray, "height width"],
    generator: np.random.Generator,
    *,
    ignore: Bool[np.ndarray, "height width"] | None = None,
) -> Click | None:
    """A training click on the larger error of `prediction`; None where there is no error.

    Uniform over the pixels of more than half the largest depth. Pixels in `ignore` are never
    errors, so they are never clicked, and depth is measured to them too.

    Source: RITM's iterative sampling (arXiv 2102.06583, Sec. 3.2), which SimpleClick and the paper
    use.
    """
    allowed = np.ones_like(truth) if ignore is None else ~ignore
    nothing = np.zeros_like(truth)
    region = _larger_error(truth & allowed, prediction & allowed, nothing, least_share=0.5)
    return None if region.deepest_squared == 0 else _drawn_inside(region, generator)


def sample_deepest_click(truth: Bool[np.ndarray, "height width"]) -> list[Click]:
    """The robot user's first click, deepest inside the truth, in a list; [] for an empty truth."""
    nothing = np.zeros_like(truth)
    return [next_click(truth, nothing, nothing)] if truth.any() else []


def sample_first_clicks(
    truth: Bool[np.ndarray, "height width"],
    generator: np.random.Generator,
    *,
    ignore: Bool[np.ndarray, "height width"] | None = None,
    maximum: int = 24,
    decay: float | int = 0.8,
) -> list[Click]:
    """The clicks that a training image starts from: positives, then negatives.

    Drawn with replacement: 1 to `maximum` positives and 0 to `maximum` negatives, each further
    click `decay` times as likely. In nine of ten draws positives stay 3 px inside the truth (the
    image's border not counting as its edge) where more than 10 px are left. A negative falls, half
    and half, anywhere outside the truth or on a border around it of a tenth of the square root of
    its area, and is skipped where there is no such pixel. An empty truth has negatives only,
    possibly none. Pixels in `ignore` are never clicked.

    Source: RITM (arXiv 2102.06583), its multi-point sampler.
    """
    allowed = np.ones_like(truth) if ignore is None else ~ignore
    positives = _draw_count(generator, 1, maximum, decay)
    negatives = _draw_count(generator, 0, maximum, decay)
    inside = np.flatnonzero(_core(truth, generator) & allowed)
    drawn = [_draw_pixel(inside, generator) for _ in range(positives)]
    outside = np.flatnonzero(~truth & allowed)
    border = np.flatnonzero(_border(truth) & allowed) if truth.any() else outside
    for _ in range(negatives):
        near = generator.random() < BORDER_SHARE
        drawn.append(_draw_pixel(border if near else outside, generator))
    places = [divmod(index, truth.shape[1]) for index in drawn if index is not None]
    return [Click(row, column, bool(truth[row, column])) for row, column in places]


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
        _draw_disk(disks[0 if click.positive else 1], click, radius_px)
    return disks


def _larger_error(
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
    left, top, width, height = cv2.boundingRect(_as_bytes(error))
    box = np.s_[top : top + height, left : left + width]
    depth = _depths(error[box], cv2.DIST_C, cv2.DIST_MASK_3)
    depth[taken[box]] = 0
    return _ErrorKind(
        error[box], taken[box], depth, float(depth.max(initial=0)), top, left, positive
    )


def _deep_part(kind: _ErrorKind, least_share: float) -> _ErrorRegion:
    """Where an error is deep, with as much around as the nearest pixel outside it can be away."""
    deep = kind.chessboard >= least_share * kind.deepest / math.sqrt(2)
    left, top, width, height = cv2.boundingRect(_as_bytes(deep))
    margin = math.ceil(math.sqrt(2) * kind.deepest)
    top, bottom = max(0, top - margin), top + height + margin
    left, right = max(0, left - margin), left + width + margin
    box = np.s_[top:bottom, left:right]
    depth = _depths(kind.error[box], cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    depth[kind.taken[box]] = 0
    squared = round(float(depth.max(initial=0)) ** 2)
    return _ErrorRegion(depth, squared, kind.row + top, kind.column + left, kind.positive)


def _depths(region: np.ndarray, metric: int, mask_size: int) -> np.ndarray:
    """Distances to the nearest pixel outside a region, or its array."""
    if region.size == 0:
        return np.zeros(region.shape, np.float32)
    ringed = cv2.copyMakeBorder(_as_bytes(region), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    return cv2.distanceTransform(ringed, metric, mask_size)[1:-1, 1:-1]


def _drawn_inside(region: _ErrorRegion, generator: np.random.Generator) -> Click:
    candidates = np.flatnonzero(region.at_least(region.deepest_squared // 4 + 1))
    return region.click(int(generator.choice(candidates)))


def _draw_count(
    generator: np.random.Generator, smallest: int, largest: int, decay: float | int
) -> int:
    weights = decay ** np.arange(largest - smallest + 1)
    return smallest + int(generator.choice(weights.size, p=weights / weights.sum()))


def _draw_pixel(candidates: np.ndarray, generator: np.random.Generator) -> int | None:
    return int(generator.choice(candidates)) if candidates.size else None


def _core(truth: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The truth, mostly without its outermost pixels."""
    if generator.random() >= ERODED_SHARE:
        return truth
    square = np.ones((3, 3), dtype=np.uint8)
    eroded = cv2.erode(_as_bytes(truth), square, iterations=EROSION_PX).view(bool)
    return eroded if np.count_nonzero(eroded) > SMALLEST_CORE_PX else truth


def _border(truth: np.ndarray) -> np.ndarray:
    """A band around the truth, as wide as a tenth of the side of a square of its area."""
    width_px = math.ceil(BORDER_WIDTH * math.sqrt(np.count_nonzero(truth)))
    square = np.ones((3, 3), dtype=np.uint8)
    return cv2.dilate(_as_bytes(truth), square, iterations=width_px).view(bool) & ~truth


def _as_bytes(mask: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(mask).view(np.uint8)


def _scaled(position: int, length: int, original_length: int) -> int:
    """floor((position + 1/2) * length / original_length), kept inside the image."""
    return min(max((2 * position + 1) * length // (2 * original_length), 0), length - 1)


def _draw_disk(disk_map: np.ndarray, click: Click, radius_px: float | int) -> None:
    reach = math.floor(radius_px)
    top, left = max(click.row - reach, 0), max(click.column - reach, 0)
    window = disk_map[top : click.row + reach + 1, left : click.column + reach + 1]
    rows = np.arange(window.shape[0])[:, None] + top - click.row
    columns = np.arange(window.shape[1])[None, :] + left - click.column
    window[rows**2 + columns**2 <= radius_px**2] = 1.0
