"""Zero-click maps from windows of an opened image, averaged where they overlap."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from adclick.models.session import Session
from adclick.networks.click_stem import DISK_CHANNELS
from adclick.run.device import reduced
from adclick.run.settings.networks import Sliding

Span = tuple[int, int]  # the first place along an axis of the grid, and one past the last


def window_starts(length: int, *, window: int, step: int) -> list[int]:
    """Where windows along an axis begin: every `step` places, and one that ends with the axis.

    ValueError for a window longer than the axis, or a window or step below one.
    """
    if not 1 <= window <= length or step < 1:
        raise ValueError(f"window {window}, step {step}: not within an axis of {length}")
    return sorted({*range(0, length - window + 1, step), length - window})


def zero_click_map(
    session: Session, *, sliding: Sliding | None, stride: int
) -> Float[np.ndarray, "height width"]:
    """The probability of a defect at every pixel without clicks: of the whole image (None), or from
    windows (`predict_in_windows`).
    """
    if sliding is None:
        return session.predict([])
    return predict_in_windows(session, window=sliding.window, step=sliding.step, stride=stride)


@torch.no_grad()
def predict_in_windows(
    session: Session, *, window: float, step: float, stride: int
) -> Float[np.ndarray, "height width"]:
    """The probability of a defect at every pixel without clicks, from windows of an image that is
    opened with a detector.

    Residual tokens and language-vision maps are those of the whole image, cropped; each window
    passes the trunk alone, so that a small defect fills more of what attention sees. A pixel has
    the mean of the probabilities of the windows that cover it, then the maximum over texts (Eq.
    7). `window` is a share of the grid's side, `step` one of the window's, both rounded to whole
    places, at least one; a token covers `stride` pixels a side. One window that covers all is the
    plain pass.

    Source: the sliding windows of SemiREST (arXiv 2306.03492), 32 of 64 places, a quarter apart.
    """
    height, width = session.tokens.shape[-2:]
    side = (_places(window, height), _places(window, width))
    places = [
        (rows, columns)
        for rows in _windows(height, side[0], step)
        for columns in _windows(width, side[1], step)
    ]
    found = [_in_window(session, rows, columns, stride) for rows, columns in places]
    total = found[0].new_zeros((len(found[0]), *session.shape))
    covered = found[0].new_zeros(session.shape)
    for (rows, columns), probabilities in zip(places, found, strict=True):
        down, across = (slice(first * stride, last * stride) for first, last in (rows, columns))
        total[:, down, across] += probabilities
        covered[down, across] += 1
    return (total / covered).amax(0).cpu().numpy()


def _places(share: float, length: int) -> int:
    return max(1, round(share * length))


def _windows(length: int, side: int, step: float) -> Iterator[Span]:
    for start in window_starts(length, window=side, step=_places(step, side)):
        yield start, start + side


def _in_window(
    session: Session, rows: Span, columns: Span, stride: int
) -> Float[Tensor, "text height width"]:
    """The probabilities of one window, in pixels, for each text."""
    grid = session.tokens.shape[-2:]
    tokens = _crop(session.tokens, grid, rows, columns)
    maps = [_crop(stage, grid, rows, columns) for stage in session.maps]
    shape = ((rows[1] - rows[0]) * stride, (columns[1] - columns[0]) * stride)
    clicks = tokens.new_zeros((1, DISK_CHANNELS, *shape), dtype=torch.float32)
    with reduced(clicks.device, session.precision):
        logits = session.model.decode(tokens, clicks, maps)
    return torch.sigmoid(logits[:, 0].float())


def _crop(array: Tensor, grid: torch.Size, rows: Span, columns: Span) -> Tensor:
    """The window of a map whose sides are a multiple, or a fraction, of the grid's."""
    height, width = array.shape[-2:]
    top, bottom = (place * height // grid[0] for place in rows)
    left, right = (place * width // grid[1] for place in columns)
    return array[..., top:bottom, left:right]
