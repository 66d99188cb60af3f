"""Anomaly maps without clicks: the training-free one, how a raw one is finished, thresholds."""

from collections.abc import Iterable

import cv2
import numpy as np
from jaxtyping import Float, Float32

from adclick.data.geometry import cells_in, cropped


def training_free_map(
    lengths: Float[np.ndarray, "row column"],
    foreground: Float[np.ndarray, "row column"],
    *,
    content: tuple[int, int],
    stride: int,
    smoothing_px: float,
    foreground_exponent: float,
) -> Float32[np.ndarray, "height width"]:
    """A map that nothing was trained for: the length of the residual at every patch
    (`residual_length`), resized bilinearly to the image, then finished as `finish_map` does.

    The map has the picture's `content` (height, width), whatever the grids hold beyond it. In units
    of the features; only its order means something.
    """
    return finish_map(
        in_pixels(lengths, content, stride),
        foreground,
        stride=stride,
        smoothing_px=smoothing_px,
        foreground_exponent=foreground_exponent,
    )


def in_pixels(
    grid: Float[np.ndarray, "row column"], content: tuple[int, int], stride: int
) -> Float32[np.ndarray, "height width"]:
    """What a grid of patches says of a picture's pixels, bilinearly."""
    cells = cells_in(content, stride)
    shape = (cells[0] * stride, cells[1] * stride)
    own = np.ascontiguousarray(cropped(grid, cells), np.float32)
    return cropped(cv2.resize(own, shape[::-1], interpolation=cv2.INTER_LINEAR), content)


def finish_map(
    raw: Float[np.ndarray, "height width"],
    foreground: Float[np.ndarray, "row column"],
    *,
    stride: int,
    smoothing_px: float,
    foreground_exponent: float,
) -> Float32[np.ndarray, "height width"]:
    """A raw map weighted by the object's foreground (objects only: else all one) and smoothed.

    The foreground is resized bilinearly to the map and raised to `foreground_exponent` before it
    multiplies; the Gaussian has `smoothing_px` as standard deviation (0 = none) and reflects at the
    border.
    """
    weight = in_pixels(foreground, (raw.shape[0], raw.shape[1]), stride)
    pixels = raw.astype(np.float32) * weight ** np.float32(foreground_exponent)
    if smoothing_px > 0:
        pixels = cv2.GaussianBlur(pixels, (0, 0), smoothing_px, borderType=cv2.BORDER_REFLECT)
    return pixels


def resize_map(scores: Float[np.ndarray, "height width"], shape: tuple[int, int]) -> np.ndarray:
    """A map stretched bilinearly to (height, width)."""
    return cv2.resize(scores, shape[::-1], interpolation=cv2.INTER_LINEAR)


def to_picture(
    scores: Float[np.ndarray, "row column"], size: tuple[int, int], *, smoothing_px: float
) -> Float32[np.ndarray, "height width"]:
    """Scores of patches, or of coarse pixels, bilinearly at a picture's `size` (height, width),
    then smoothed as `finish_map` does.
    """
    pixels = resize_map(scores, size)
    if smoothing_px > 0:
        pixels = cv2.GaussianBlur(pixels, (0, 0), smoothing_px, borderType=cv2.BORDER_REFLECT)
    return pixels.astype(np.float32)


def exceeded_by(share: float, maps: Iterable[np.ndarray], *, pixels: int) -> float:
    """The value, to four digits, that a share of all pixels of maps, `pixels` altogether, exceed;
    no more than those and one map are kept in memory.
    """
    highest = np.empty(0, np.float32)
    kept = int(share * pixels) + 1
    for one in maps:
        highest = np.append(highest, one)
        highest = highest if highest.size <= kept else np.partition(highest, -kept)[-kept:]
    return float(f"{highest.min():.4g}")
