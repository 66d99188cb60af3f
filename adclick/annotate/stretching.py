"""From the network's size to the image's and back, a box of a plane at a time.

A picture of usual size is resized by OpenCV, as a whole. Of a larger one a box is computed from
what it depends on alone, the same values whichever box a pixel is asked in.
"""

import cv2
import numpy as np
from jaxtyping import Float32

from adclick.annotate.planes import Box, Plane, Shape, array_of, part_of, whole_box


def stretched(
    probability: Plane, shape: Shape, box: Box
) -> Float32[np.ndarray, "box_height box_width"]:
    """A box of what a probability is at another shape, bilinearly, pixel centres aligned."""
    if probability.shape == shape:
        return part_of(probability, box).astype(np.float32)
    if box == whole_box(shape):
        whole = array_of(probability).astype(np.float32)
        return cv2.resize(whole, shape[::-1], interpolation=cv2.INTER_LINEAR)
    rows = _places(box.top, box.height, probability.shape[0], shape[0])
    columns = _places(box.left, box.width, probability.shape[1], shape[1])
    first = [places[0][0] for places in (rows, columns)]
    last = [places[1][-1] for places in (rows, columns)]
    needed = Box(first[0], first[1], last[0] - first[0] + 1, last[1] - first[1] + 1)
    known = part_of(probability, needed).astype(np.float32)
    above, below, share = rows[0] - first[0], rows[1] - first[0], rows[2][:, None]
    lines = known[above] * (1 - share) + known[below] * share
    left, right, share = columns[0] - first[1], columns[1] - first[1], columns[2][None, :]
    return lines[:, left] * (1 - share) + lines[:, right] * share


def stretched_box(box: Box, shape: Shape, stretched_shape: Shape) -> Box:
    """What a box of a map of `shape` has any part in, once the map is stretched."""
    (top, bottom), (left, right) = (
        (
            max(0, (first - 1) * longer // length),
            min(longer, -(-(first + side + 1) * longer // length)),
        )
        for first, side, length, longer in zip(
            box[:2], box[2:], shape, stretched_shape, strict=True
        )
    )
    return Box(top, left, bottom - top, right - left)


def _places(
    first: int, count: int, length: int, stretched_length: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For pixels of a stretched line the places they lie between, and the second one's share."""
    pixels = np.arange(first, first + count) + 0.5
    place = np.clip(pixels * length / stretched_length - 0.5, 0, length - 1)
    before = np.floor(place).astype(np.int64)
    return before, np.minimum(before + 1, length - 1), (place - before).astype(np.float32)


def area_shares(
    plane: Plane, seen: Shape, box: Box, *, value: int = 1
) -> Float32[np.ndarray, "box_height box_width"]:
    """Of a box at another shape, the share of each pixel where a plane has a value, no blank."""
    if plane.shape == seen:
        return (part_of(plane, box) == value).astype(np.float32)
    if plane.is_whole and box == whole_box(seen):
        whole = (array_of(plane) == value).astype(np.float32)
        return cv2.resize(whole, seen[::-1], interpolation=cv2.INTER_AREA)
    shares = np.zeros((box.height, box.width), np.float32)
    marked = shrunk_box(plane, seen).within(box)
    if not marked.empty:
        top, bottom, down = _overlaps(marked.top, marked.height, seen[0], plane.shape[0])
        left, right, across = _overlaps(marked.left, marked.width, seen[1], plane.shape[1])
        own = part_of(plane, Box(top, left, bottom - top, right - left)) == value
        if own.any():
            shares[marked.seen_from(box)] = down @ own.astype(np.float32) @ across.T
    return shares


def shrunk_box(plane: Plane, seen: Shape) -> Box:
    """The box at another shape that holds whatever a plane has in it."""
    extent = plane.extent
    if extent.empty:
        return extent
    (top, bottom), (left, right) = (
        (first * length // own, -(-(first + side) * length // own))
        for first, side, length, own in zip(extent[:2], extent[2:], seen, plane.shape, strict=True)
    )
    return Box(top, left, bottom - top, right - left)


def _overlaps(first: int, count: int, length: int, original: int) -> tuple[int, int, np.ndarray]:
    """Which pixels of a line places of a shorter (or longer) one lie over, from … to, and how much
    of each place each of them is [place, pixel].
    """
    size = original / length
    start, stop = int(first * size), min(original, int(np.ceil((first + count) * size)))
    pixels = np.arange(start, stop)[None, :]
    begins = (first + np.arange(count))[:, None] * size
    shared = np.minimum(pixels + 1, begins + size) - np.maximum(pixels, begins)
    return start, stop, (np.clip(shared, 0, None) / size).astype(np.float32)
