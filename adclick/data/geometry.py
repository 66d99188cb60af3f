"""How large pictures are for the networks: shapes kept or not, padding told from picture.

A picture takes its own size in network pixels, its content, in the upper left of a frame that all
pictures of a category share and whose sides are whole patches. What is beyond the content repeats
its edge, so that it looks like nothing new; it counts nowhere.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np

from adclick.run.artifacts import write_values
from adclick.run.settings.data import Geometry

Shape = tuple[int, int]
CONTENTS = "contents"  # of an artifact whose pictures do not all fill their frame


def content_of(shape: Shape, geometry: Geometry) -> Shape:
    """The size (height, width) in network pixels of a picture of `shape`, at least one pixel."""
    if geometry.stretch is not None:
        return geometry.stretch, geometry.stretch
    if geometry.height is not None and geometry.width is not None:
        return geometry.height, geometry.width
    scale = geometry.scale
    if geometry.longest is not None:
        scale = geometry.longest / max(shape)
    assert scale is not None
    return _scaled(shape[0], scale), _scaled(shape[1], scale)


def _scaled(length: int, scale: float) -> int:
    return max(1, round(length * scale))


def frame_of(contents: Iterable[Shape], stride: int, geometry: Geometry) -> Shape:
    """The smallest frame of whole patches, `stride` pixels a side, that holds all contents.

    Where pictures have shapes of their own it is pairs of patches, so that the coarser maps of a
    backbone lie alike in frames of all sizes.
    """
    heights, widths = zip(*contents, strict=True)
    unit = stride if geometry.stretch is not None else 2 * stride
    return cells_of(max(heights), unit) * unit, cells_of(max(widths), unit) * unit


def cells_of(length: int, stride: int) -> int:
    """How many patches it takes to cover a length."""
    return -(-length // stride)


def covered(content: Shape, whole: Shape, shape: Shape) -> Shape:
    """How much of a map of `shape`, which shows a map of `whole`, shows any of its content."""
    rows, columns = (
        -(-own * places // all_of)
        for own, all_of, places in zip(content, whole, shape, strict=True)
    )
    return rows, columns


def padded(array: np.ndarray, shape: Shape) -> np.ndarray:
    """A map [height width …] in the upper left of `shape`; beyond it, its last row and column."""
    missing = [(0, whole - own) for own, whole in zip(array.shape, shape, strict=False)]
    if not any(after for _, after in missing):
        return array
    return np.pad(array, missing + [(0, 0)] * (array.ndim - 2), mode="edge")


def cells_in(content: Shape, stride: int) -> Shape:
    """The patches that have any of the content in them."""
    return cells_of(content[0], stride), cells_of(content[1], stride)


def edge_repeated(array: np.ndarray, content: Shape, whole: Shape) -> np.ndarray:
    """A map of `whole` at any resolution, its content's last row and column wherever there is
    none.
    """
    shape = (array.shape[0], array.shape[1])
    return padded(cropped(array, covered(content, whole, shape)), shape)


def blank_beyond(array: np.ndarray, content: Shape) -> np.ndarray:
    """The map with zeros beyond its content, changed in place."""
    array[content[0] :] = 0
    array[:, content[1] :] = 0
    return array


def cropped(array: np.ndarray, content: Shape) -> np.ndarray:
    """The content of a map."""
    return array[: content[0], : content[1]]


def in_frame(array: np.ndarray, frame: Shape) -> np.ndarray:
    """A map in the upper left of a frame of zeros; the same array where it fills the frame."""
    if array.shape[:2] == frame:
        return array
    framed = np.zeros((*frame, *array.shape[2:]), array.dtype)
    framed[: array.shape[0], : array.shape[1]] = array
    return framed


def contents_of(file: Any, name: str) -> list[Shape]:
    """The content of every entry of the array `name` of an artifact."""
    array = file[name]
    if CONTENTS not in file:
        return [(int(array.shape[1]), int(array.shape[2]))] * len(array)
    return [(int(height), int(width)) for height, width in file[CONTENTS][:]]


def first_map_contents(features: Any) -> list[Shape]:
    """The contents of the `layer1` maps of a features artifact."""
    if CONTENTS not in features:
        return contents_of(features, "layer1")
    grid, shape = features["patches"].shape[1:3], features["layer1"].shape[1:3]
    return [covered(cells, grid, shape) for cells in contents_of(features, "patches")]


def first_map_content(layer1: np.ndarray, content: Shape, frame: Shape, stride: int) -> np.ndarray:
    """What a picture's `layer1` map shows of its content, as much as a bank has of its own."""
    whole = cells_in(frame, stride)
    return cropped(layer1, covered(cells_in(content, stride), whole, layer1.shape[:2]))


def write_contents(file: Any, contents: Sequence[Shape], frame: Shape) -> None:
    """Keep the contents of an artifact's pictures in it, unless all fill the frame."""
    if any(content != frame for content in contents):
        values = np.array(contents, np.int32).reshape(-1, 2)
        write_values(file, CONTENTS, values)


def resized(plane: np.ndarray, shape: Shape, interpolation: int = cv2.INTER_LINEAR) -> np.ndarray:
    """`cv2.resize` to (height, width); the same array where it has that size."""
    if plane.shape[:2] == shape:
        return plane
    return cv2.resize(plane, shape[::-1], interpolation=interpolation)
