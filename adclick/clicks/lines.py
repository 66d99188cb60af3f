"""Thin lines through positive clicks: cracks, scratches and threads, followed as far as they go on.

A random walker spreads from a click alike in all directions, so of a line two pixels wide and two
hundred long he finds a spot. What is darker or brighter than both of its sides, as the clicked
pixel is, and hangs together with it is found here, in the window of the picture that is solved and
in its pixels: of a window with a side of more than 384 px, which is solved smaller, in those of the
smaller one, where a line that is too thin for it is not seen. The surface has such lines too, and
noise: whether an answer that follows one is better than one that does not is for the trained
estimate of `adclick.clicks.levels` to say.
"""

from collections.abc import Mapping

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from adclick.run.settings.clicks import Lines

SMOOTHED_PX = 0.8
SIDES_PX = (3, 5)  # how far from a line its sides are looked at
DIRECTIONS = 8  # of half a turn
SURFACE_PX = 40  # how far around a click the surface's own lines are looked at
SHARPEST_PX = 1  # a click meets a line's middle so well
SAME_LINE_PX = 3  # a click so near to a line follows no other
BLOCKED_PX = 1  # around a negative click no line goes on; a wider one may pass it
LEAST_RIDGE = 1e-3  # in CIE Lab


def ridges(
    colours: Float32[np.ndarray, "height width 3"],
) -> Float32[np.ndarray, "kind height width"]:
    """How far a pixel is above both of its sides, in the direction and at the distance where that
    is most, for each channel of CIE Lab and, the next three, for its negative.
    """
    plane = cv2.GaussianBlur(colours, (0, 0), SMOOTHED_PX)
    height, width = plane.shape[:2]
    reach = max(SIDES_PX)
    padded = np.pad(plane, ((reach, reach), (reach, reach), (0, 0)), mode="edge")

    def moved(down: int, right: int) -> np.ndarray:
        return padded[reach + down : reach + down + height, reach + right : reach + right + width]

    above = np.full((2, *plane.shape), -np.inf, np.float32)
    for down, right in _sides():
        first, second = plane - moved(down, right), plane - moved(-down, -right)
        np.maximum(above[0], np.minimum(first, second), out=above[0])
        np.maximum(above[1], -np.maximum(first, second), out=above[1])
    return np.ascontiguousarray(above.transpose(0, 3, 1, 2)).reshape(6, height, width)


def lines_through(
    heights: Float32[np.ndarray, "kind height width"],
    clicked: Mapping[tuple[int, int], bool],
    settings: Lines,
) -> Bool[np.ndarray, "height width"]:
    """The pixels of the lines that positively clicked (row, column) lie on, `heights` being what
    `ridges` gives; see `Lines`.

    The clearest come first: what is clicked next to one of them is of the same.
    """
    found = np.zeros(heights.shape[1:], bool)
    barred = np.zeros(heights.shape[1:], bool)
    for place, positive in clicked.items():
        if not positive:
            barred[_around(place, BLOCKED_PX)] = True
    known = [(*_contrast(heights, place), place) for place, positive in clicked.items() if positive]
    for contrast, kind, place in sorted(known, reverse=True):
        on_it = found[_around(place, SAME_LINE_PX)].any()
        if contrast >= settings.contrast and not on_it:
            found |= _line_through(heights[kind], place, barred, settings)
    return found


def beside(
    lines: Bool[np.ndarray, "height width"], settings: Lines
) -> Bool[np.ndarray, "height width"]:
    """What lies beside lines, near and not next to them."""
    distance = cv2.distanceTransform((~lines).astype(np.uint8), cv2.DIST_L2, 5)
    return (distance > settings.edge_px) & (distance <= settings.side_px)


def _sides() -> list[tuple[int, int]]:
    angles = np.arange(DIRECTIONS) * np.pi / DIRECTIONS
    return [
        (round(distance * float(np.sin(angle))), round(distance * float(np.cos(angle))))
        for distance in SIDES_PX
        for angle in angles
    ]


def _around(place: tuple[int, int], reach: int) -> tuple[slice, slice]:
    row, column = place
    return (
        slice(max(row - reach, 0), row + reach + 1),
        slice(max(column - reach, 0), column + reach + 1),
    )


def _contrast(heights: np.ndarray, place: tuple[int, int]) -> tuple[float, int]:
    """How many times what the surface around has a place is above its sides, and in which kind."""
    here = heights[:, *_around(place, SHARPEST_PX)].max(axis=(1, 2))
    surface = np.maximum(heights[:, *_around(place, SURFACE_PX)], 0).mean(axis=(1, 2))
    contrast = here / np.maximum(surface, LEAST_RIDGE)
    kind = int(contrast.argmax())
    return float(contrast[kind]), kind


def _line_through(
    ridge: np.ndarray, place: tuple[int, int], barred: np.ndarray, settings: Lines
) -> np.ndarray:
    """What is alike and hangs together with a place; nothing if that is no thin line."""
    near = _around(place, SHARPEST_PX)
    here = float(ridge[near].max())
    alike = (ridge > settings.likeness * here) & ~barred
    kernel = np.ones((2 * settings.gap_px + 1,) * 2, np.uint8)
    joined = (cv2.morphologyEx(alike.astype(np.uint8), cv2.MORPH_CLOSE, kernel) > 0) & ~barred
    _, parts = cv2.connectedComponents(joined.astype(np.uint8), connectivity=8)
    part = int(parts[near].ravel()[ridge[near].argmax()])
    line = alike & (parts == part)
    return line if part and _is_thin(line, settings) else np.zeros_like(line)


def _is_thin(line: np.ndarray, settings: Lines) -> bool:
    inside = cv2.distanceTransform(np.pad(line, 1).astype(np.uint8), cv2.DIST_L2, 5)
    half_width = max(float(inside.max()), 1.0)
    return float(line.sum()) >= settings.elongation * half_width**2
