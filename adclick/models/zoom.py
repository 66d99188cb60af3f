"""A second look at the part of a picture that the clicks are about, enlarged to the network's size.

The paper has no such pass and names it as what could improve it (Sec. 4.2); SimpleClick evaluates
with one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from torch.nn import functional

from adclick.clicks.click import Click, scale_clicks
from adclick.clicks.robot import Predict


@dataclass(frozen=True)
class Window:
    """A square part of a picture, in cells of the residual's grid."""

    top: int
    left: int
    side: int


def zoom_window(
    mask: Bool[np.ndarray, "height width"],
    clicks: Sequence[Click],
    *,
    stride: int,
    margin: float,
    least_side: float,
) -> Window | None:
    """The square around a mask and the positive clicks; None where that is all that a picture is
    high or wide.

    Its side is `margin` times the larger extent, at least `least_side` of the picture's shorter
    side, in whole cells of `stride` pixels; it is moved, not cut, to lie inside the picture.
    """
    rows, columns = (places.tolist() for places in np.nonzero(mask))
    rows += [click.row for click in clicks if click.positive]
    columns += [click.column for click in clicks if click.positive]
    if not rows:
        return None
    cells = [length // stride for length in mask.shape]
    extent = max(max(rows) - min(rows), max(columns) - min(columns)) + 1
    side = int(np.ceil(max(margin * extent / stride, least_side * min(cells))))
    if side >= min(cells):
        return None
    corners = [
        round((min(places) + max(places) + 1) / (2 * stride) - side / 2)
        for places in (rows, columns)
    ]
    top, left = (
        min(max(corner, 0), length - side) for corner, length in zip(corners, cells, strict=True)
    )
    return Window(top, left, side)


def crop_inputs(
    image: UInt8[np.ndarray, "height width 3"],
    residual: Float[np.ndarray, "row column channel"],
    window: Window,
) -> tuple[UInt8[np.ndarray, "side side 3"], Float32[np.ndarray, "grid grid channel"]]:
    """The window of a picture and of its residual, resized bilinearly to the size of the whole (of
    its shorter side).
    """
    grid, stride = min(residual.shape[:2]), image.shape[0] // residual.shape[0]
    part = residual[_cells(window)].astype(np.float32)
    channels_first = torch.from_numpy(part).permute(2, 0, 1)[None]
    larger = functional.interpolate(channels_first, (grid, grid), mode="bilinear")
    size = (grid * stride, grid * stride)
    picture = cv2.resize(image[_pixels(window, stride)], size, interpolation=cv2.INTER_LINEAR)
    return picture, larger[0].permute(1, 2, 0).contiguous().numpy()


def zoom_in(
    predict: Predict,
    open_window: Callable[[Window], Predict],
    *,
    stride: int,
    threshold: float,
    margin: float,
    least_side: float,
) -> Predict:
    """A method that looks twice: at the whole picture, then at the window of its answer.

    `predict` is the method on the whole; `open_window` opens a part of the same picture for it, as
    large as the whole. The second look is given the first one's answer as previous probability, and
    the clicks in the window; outside of it the first answer stays. `zoom_window` explains the rest.
    """
    opened: dict[Window, Predict] = {}

    def look_twice(clicks: Sequence[Click], previous: np.ndarray | None) -> np.ndarray:
        """The probability [height width] after clicks; a window that was opened is used again."""
        whole = predict(clicks, previous)
        window = zoom_window(
            whole > threshold, clicks, stride=stride, margin=margin, least_side=least_side
        )
        if window is None:
            return whole
        if window not in opened:
            opened[window] = open_window(window)
        box = _pixels(window, stride)
        shape = (min(whole.shape), min(whole.shape))
        before = cv2.resize(whole[box], shape, interpolation=cv2.INTER_LINEAR)
        answer = opened[window](_inside(clicks, window, stride, shape), before)
        side_px = window.side * stride
        result = whole.copy()
        result[box] = cv2.resize(answer, (side_px, side_px), interpolation=cv2.INTER_AREA)
        return result

    return look_twice


def _inside(
    clicks: Sequence[Click], window: Window, stride: int, shape: tuple[int, int]
) -> list[Click]:
    """The clicks in a window, in pixels of the enlarged window."""
    top, left, side = window.top * stride, window.left * stride, window.side * stride
    moved = [Click(one.row - top, one.column - left, one.positive) for one in clicks]
    kept = [one for one in moved if 0 <= one.row < side and 0 <= one.column < side]
    return scale_clicks(kept, shape=shape, original_shape=(side, side))


def _cells(window: Window) -> tuple[slice, slice]:
    return _pixels(window, 1)


def _pixels(window: Window, stride: int) -> tuple[slice, slice]:
    top, left, side = window.top * stride, window.left * stride, window.side * stride
    return slice(top, top + side), slice(left, left + side)
