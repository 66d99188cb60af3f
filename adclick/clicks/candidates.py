"""The answers to clicks among which the mask is chosen (`adclick.clicks.levels`)."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from adclick.clicks.click import Click
from adclick.clicks.edges import PreparedPicture, clicked_pixels, solve, solve_along_lines
from adclick.clicks.levels import LEVELS, Seen

LOWEST, HIGHEST = LEVELS[0], LEVELS[-1]
# A value that is above so many levels.
ABOVE_LEVELS = np.concatenate([[0], (LEVELS[:-1] + LEVELS[1:]) / 2, [1]]).astype(np.float32)


def candidates(
    prepared: PreparedPicture,
    prior: Float32[np.ndarray, "height width"],
    clicks: Sequence[Click],
    *,
    lengths: Float32[np.ndarray, "height width"],
    before: Bool[np.ndarray, "height width"] | None,
) -> list[Seen]:
    """What a picture's edges make of a network's probability: first `solve`, then the others that
    `Edges` asks for and the clicks allow.

    While there is no mask, `before`, an answer with less trust in the network (`Edges.loose`),
    which after one click may know no more than about where the defect is; as soon as there is one,
    what the first answer changes of it at the last click (`Edges.local`). Then that along lines.
    `lengths` are those of the residual, for who judges the answers.
    """
    settings = prepared.settings
    first = Seen(
        answer=solve(prepared, prior, clicks),
        prior=prior,
        colours=prepared.colours,
        mean_squared_step=prepared.mean_squared_step,
        lengths=lengths,
        before=before,
    )
    found = [first]
    if before is None or not before.any():
        if settings.loose is not None:
            loose = solve(prepared, prior, clicks, share=settings.loose)
            found.append(first._replace(answer=loose, loose=True))
    elif settings.local:
        local = local_change(first.answer, before, clicks[-1])
        found.append(first._replace(answer=local, local=True))
    along = solve_along_lines(prepared, prior, clicks)
    if along is not None:
        found.append(first._replace(answer=along, along_lines=True))
    return found


def local_change(
    answer: Float32[np.ndarray, "height width"],
    before: Bool[np.ndarray, "height width"],
    click: Click,
) -> Float32[np.ndarray, "height width"]:
    """A probability whose mask at each of `LEVELS` is the mask before, changed where the answer's
    mask differs from it and that hangs together with the click (eight neighbours).

    A positive click only adds, a negative one only takes away. What no level changes stays above or
    below all of them, and ranks there as in the answer. A click outside of the picture is at its
    border.

    Source: FocalClick (Chen et al., CVPR 2022), "progressive merge", there of one mask.
    """
    height, width = answer.shape
    (place,) = clicked_pixels([click], (height, width))
    above = np.searchsorted(LEVELS, answer).astype(np.uint8)  # of how many levels' masks it is part
    kept = np.where(before, (1 + HIGHEST + (1 - HIGHEST) * answer) / 2, LOWEST * answer / 2)
    if click.positive:
        reached = _reached(above, ~before, place)
        changed = ABOVE_LEVELS[reached]
    else:
        reached = _reached((len(LEVELS) - above).astype(np.uint8), before, place)
        changed = ABOVE_LEVELS[len(LEVELS) - reached]
    return np.where(reached > 0, changed, kept).astype(np.float32)


def _reached(
    heights: UInt8[np.ndarray, "height width"],
    region: Bool[np.ndarray, "height width"],
    place: tuple[int, int],
) -> UInt8[np.ndarray, "height width"]:
    """Up to which height each pixel of a region hangs together with a place in it; 0 where it does
    not, and everywhere where the place is outside.
    """
    reached = np.zeros_like(heights)
    if not region[place]:
        return reached
    top = len(LEVELS)
    ground = heights.copy()
    ground[place] = top
    blocked = np.pad(~region, 1, constant_values=True).astype(np.uint8)  # floodFill's frame
    flags = 8 | (1 << 8) | cv2.FLOODFILL_FIXED_RANGE | cv2.FLOODFILL_MASK_ONLY
    for height in range(1, top + 1):
        filled = blocked.copy()
        cv2.floodFill(ground, filled, place[::-1], 0, top - height, 0, flags)
        component = filled - blocked
        reached += component[1:-1, 1:-1]
        blocked = 1 - component  # what is higher hangs together within it
    return reached
