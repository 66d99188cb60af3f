"""Anomaly maps without clicks: the training-free one, how a raw one is finished, thresholds."""

from collections.abc import Iterable

import cv2
import numpy as np
from jaxtyping import Float, Float32


def training_free_map(
    lengths: Float[np.ndarray, "grid grid"],
    foreground: Float[np.ndarray, "grid grid"],
    *,
    size_px: int,
    smoothing_px: float,
    foreground_exponent: float,
) -> Float32[np.ndarray, "size size"]:
    """A map that nothing was trained for: the length of the residual at every patch
    (`matching.residual_length`), resized bilinearly to the image, then finished as `finish_map`
    does.

    In units of the features; only its order means something.
    """
    raw = cv2.resize(lengths, (size_px, size_px), interpolation=cv2.INTER_LINEAR)
    return finish_map(
        raw, foreground, smoothing_px=smoothing_px, foreground_exponent=foreground_exponent
    )


def finish_map(
    raw: Float[np.ndarray, "height width"],
    foreground: Float[np.ndarray, "grid grid"],
    *,
    smoothing_px: float,
    foreground_exponent: float,
) -> Float32[np.ndarray, "height width"]:
    """A raw map weighted by the object's foreground (objects only: else all one) and smoothed.

    The foreground is resized bilinearly to the map and raised to `foreground_exponent` before it
    multiplies; the Gaussian has `smoothing_px` as standard deviation (0 = none) and reflects at the
    border.
    """
    height, width = raw.shape
    weight = cv2.resize(
        foreground.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR
    )
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


def exceeded_by(share: float, maps: Iterable[np.ndarray], *, count: int) -> float:
    """The value, to four digits, that a share of all pixels of `count` maps of one size exceed; no
    more than those pixels and one map are kept in memory.
    """
    highest = np.empty(0, np.float32)
    for one in maps:
        kept = int(share * count * one.size) + 1
        highest = np.append(highest, one)
        highest = highest if highest.size <= kept else np.partition(highest, -kept)[-kept:]
    return float(f"{highest.min():.4g}")
