"""From probabilities to training labels: confidence discs and label abandon; boxes of masks."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int8

from adclick.clicks.click import Click

IGNORED = -1


def strengthen(
    probability: Float[np.ndarray, "height width"],
    clicks: Sequence[Click],
    radius_px: float | int = 5.0,
) -> Float[np.ndarray, "height width"]:
    """The probability with certainty around the clicks: 1 near a positive, 0 near a negative one.

    Near is less than `radius_px` away, strictly; where both are near, the positive click wins.
    Clicks are in the map's own pixels. The input is left alone.

    Source: paper Eq. 8, which lists the positive case first and gives no radius (5 px: our click
    disk).
    """
    strengthened = probability.copy()
    strengthened[_near(probability.shape, clicks, radius_px, positive=False)] = 0
    strengthened[_near(probability.shape, clicks, radius_px, positive=True)] = 1
    return strengthened


def abandon(
    probability: Float[np.ndarray, "height width"], delta: float | int
) -> Int8[np.ndarray, "height width"]:
    """Training labels: 1 above 0.5 + delta, 0 below 0.5 - delta, and -1 for the uncertain pixels.

    -1 is ignored in training. The bounds themselves are ignored too: they are rounded to the map's
    own precision before comparing, so that a float32 0.6 is not above 0.5 + 0.1. Training draws
    `delta` anew from [0, 0.1] at each step. Raises ValueError for a NaN, or `delta` outside [0,
    0.5].

    Source: paper Eq. 9 (whose 0.5 for an ignored pixel is -1 here).
    """
    if not 0 <= delta <= 0.5:
        raise ValueError(f"delta is {delta}; it lies in [0, 0.5]")
    if np.isnan(probability).any():
        raise ValueError("the probability map holds a NaN")
    as_stored = probability.dtype.type
    labels = np.full(probability.shape, IGNORED, dtype=np.int8)
    labels[probability > as_stored(0.5 + delta)] = 1
    labels[probability < as_stored(0.5 - delta)] = 0
    return labels


def boxes(truth: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """The upright bounding boxes of a mask's connected pieces (corners connect), filled: the label
    of someone who draws boxes. Every pixel of a box counts as defective.

    Source: the kind of weak label that SemiREST (arXiv 2306.03492) proposes; its semi-supervised
    loss for the pixels inside is not repeated.
    """
    _, _, stats, _ = cv2.connectedComponentsWithStats(truth.astype(np.uint8), connectivity=8)
    filled = np.zeros(truth.shape, bool)
    for left, top, width, height, _ in np.asarray(stats)[1:]:
        filled[top : top + height, left : left + width] = True
    return filled


def _near(
    shape: tuple[int, ...], clicks: Sequence[Click], radius_px: float | int, *, positive: bool
) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    near = np.zeros(shape, dtype=bool)
    for click in clicks:
        if click.positive == positive:
            near |= (rows - click.row) ** 2 + (columns - click.column) ** 2 < radius_px**2
    return near
