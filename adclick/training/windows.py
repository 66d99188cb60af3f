"""What of a large picture a training step sees: a window of patches, often one with a defect."""

from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Real

from adclick.data.geometry import Shape, cells_in
from adclick.run.stored import Windowed

DEFECT_SHARE = 0.75  # of windows of pictures with a defect: so many show some of it for certain
NO_LOSS = -1  # the label beyond a picture


class View(NamedTuple):
    """A square window of `side` patches, `stride` pixels each, on a picture of `content` pixels; it
    may reach beyond.
    """

    top: int
    left: int
    side: int
    stride: int
    content: Shape

    def patches(self, grid: Windowed, *, zeros: bool) -> np.ndarray:
        """The window of a map of patches; beyond the picture are zeros, or its edge goes on."""
        inside = grid[self._spans(1, cells_in(self.content, self.stride))]
        return _filled(inside, self.side, {"mode": "constant"} if zeros else {"mode": "edge"})

    def pixels(self, plane: Windowed) -> np.ndarray:
        """The window of a map of pixels; beyond the picture its edge goes on."""
        inside = plane[self._spans(self.stride, self.content)]
        return _filled(inside, self.side * self.stride, {"mode": "edge"})

    def labels(self, label: np.ndarray) -> np.ndarray:
        """The window of a label; beyond the picture there is no loss."""
        inside = label[self._spans(self.stride, self.content)]
        beyond: dict[str, Any] = {"mode": "constant", "constant_values": NO_LOSS}
        return _filled(inside, self.side * self.stride, beyond)

    def _spans(self, scale: int, limit: Shape) -> tuple[slice, slice]:
        down, across = (
            slice(first * scale, min((first + self.side) * scale, length))
            for first, length in zip((self.top, self.left), limit, strict=True)
        )
        return down, across


def _filled(array: np.ndarray, side: int, how: dict[str, Any]) -> np.ndarray:
    missing = [(0, side - length) for length in array.shape[:2]]
    return np.pad(array, missing + [(0, 0)] * (array.ndim - 2), **how)


def draw_view(
    label: Real[np.ndarray, "height width"],
    content: Shape,
    *,
    side: int | None,
    stride: int,
    generator: np.random.Generator,
) -> View | None:
    """A window of `side` patches on a picture (None: always the whole); None where it is the whole,
    and nothing is drawn then.

    In `DEFECT_SHARE` of the draws on a picture whose label is 1 somewhere, a piece of the defect is
    drawn, each as likely whatever its size, then one of its patches, then a window around it; else
    any window.
    """
    if side is None or content == (side * stride, side * stride):
        return None
    grid = cells_in(content, stride)
    room = [max(0, length - side) for length in grid]
    top, left = (int(generator.integers(free + 1)) for free in room)
    wanted = generator.random() < DEFECT_SHARE
    cells = defect_cells(label, stride)
    if wanted and cells.any():
        row, column = _piece_cell(cells, generator)
        top, left = (
            int(generator.integers(max(0, place - side + 1), min(place, free) + 1))
            for place, free in zip((row, column), room, strict=True)
        )
    return View(top, left, side, stride, content)


def defect_cells(
    label: Real[np.ndarray, "height width"], stride: int
) -> Bool[np.ndarray, "row column"]:
    """The patches in which a label is 1 somewhere."""
    found = (label == 1).astype(np.uint8)
    missing = [(0, -length % stride) for length in found.shape]
    cells = np.pad(found, missing)
    rows, columns = cells.shape[0] // stride, cells.shape[1] // stride
    return cells.reshape(rows, stride, columns, stride).max(axis=(1, 3)) > 0


def _piece_cell(cells: np.ndarray, generator: np.random.Generator) -> tuple[int, int]:
    """A patch of a piece, each piece (8-connected) as likely."""
    count, pieces = cv2.connectedComponents(cells.astype(np.uint8), connectivity=8)
    rows, columns = np.nonzero(pieces == 1 + int(generator.integers(count - 1)))
    chosen = int(generator.integers(len(rows)))
    return int(rows[chosen]), int(columns[chosen])
