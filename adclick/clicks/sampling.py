"""The clicks that training draws."""

import math

import cv2
import numpy as np
from jaxtyping import Bool

from adclick.clicks.click import Click
from adclick.clicks.deepest import as_bytes, drawn_inside, larger_error, next_click

# The initial clicks of training. Source: RITM (arXiv 2102.06583), multi-point sampler.
ERODED_SHARE = 0.9
EROSION_PX = 3
SMALLEST_CORE_PX = 10
BORDER_SHARE = 0.5
BORDER_WIDTH = 0.1


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
    region = larger_error(truth & allowed, prediction & allowed, nothing, least_share=0.5)
    return None if region.deepest_squared == 0 else drawn_inside(region, generator)


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
    eroded = cv2.erode(as_bytes(truth), square, iterations=EROSION_PX).view(bool)
    return eroded if np.count_nonzero(eroded) > SMALLEST_CORE_PX else truth


def _border(truth: np.ndarray) -> np.ndarray:
    """A band around the truth, as wide as a tenth of the side of a square of its area."""
    width_px = math.ceil(BORDER_WIDTH * math.sqrt(np.count_nonzero(truth)))
    square = np.ones((3, 3), dtype=np.uint8)
    return cv2.dilate(as_bytes(truth), square, iterations=width_px).view(bool) & ~truth
