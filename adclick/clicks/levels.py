"""At which level an answer is cut: what can be seen of each mask that a probability map holds.

A random walker with a prior ranks pixels well and says little of how far a defect reaches: after
one click the best mask of its answer may lie at a fifth or at four fifths. `level_features` tells
of every level what a trained estimate of its IoU reads (`adclick.networks.level_choice`);
`at_level` moves the chosen level to the threshold at which all who read the answer cut it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from adclick.clicks.click import Click
from adclick.clicks.deepest import as_bytes, depths
from adclick.clicks.edges import clicked_pixels, honoured_share, keep_clicks

LEVELS = np.array(
    [0.04, 0.07, 0.1, 0.14, 0.18, 0.22, 0.26, 0.3, 0.34, 0.38, 0.42]
    + [0.46, 0.5, 0.54, 0.58, 0.62, 0.66, 0.7, 0.75, 0.8, 0.86, 0.92],
    np.float32,
)
HALF = int(np.flatnonzero(np.float32(0.5) == LEVELS)[0])
# What `level_features` tells, in its order.
LEVEL_FEATURES = (
    *("level", "clicks", "positive", "negative", "honoured", "shrinking"),
    *("answer_steps", "colour_steps", "lengths_inside", "lengths_around", "residual"),
    *("prior_inside", "prior_around", "mean_answer", "colours_apart"),
    *("relative_answer_steps", "relative_colour_steps", "relative_residual", "log_area"),
    *("as_clicked", "along_lines", "loose", "local"),
)
# The columns of what means much the same of simulated defects and of real ones (docs/results).
STEADY_COLUMNS = [
    LEVEL_FEATURES.index(name)
    for name in (
        *("level", "clicks", "positive", "negative", "shrinking", "colour_steps"),
        *("as_clicked", "along_lines", "loose", "local"),
    )
]
RING_PX = 4  # how far around a mask its surroundings reach
STEEPEST = 50.0  # where a mask all but vanishes between two levels
LEAST_AS_CLICKED = 0.75  # of the most: a mask that one who clicked so may want (docs/results)
LEAST_STEP = 1e-2  # of the mean squared step of colour, as for the picture's edges


class Seen(NamedTuple):
    """What levels of an answer are judged by.

    `answer` and `prior` are probabilities after and before the picture's edges were followed,
    `colours` CIE Lab with `mean_squared_step` between neighbours, `lengths` the residual's length
    in [0, 1] (`shown_lengths`); `before`, the mask that the last click found, if there was one. How
    the answer came about: it follows thin lines (`along_lines`), trusts the network less (`loose`),
    changes what was there before at the last click alone (`local`).
    """

    answer: Float32[np.ndarray, "height width"]
    prior: Float32[np.ndarray, "height width"]
    colours: Float32[np.ndarray, "height width 3"]
    mean_squared_step: float
    lengths: Float32[np.ndarray, "height width"]
    before: Bool[np.ndarray, "height width"] | None = None
    along_lines: bool = False
    loose: bool = False
    local: bool = False


def shown_lengths(
    residual: Float[np.ndarray, "row column channel"],
    scale: Float[np.ndarray, " channel"],
    shape: tuple[int, int],
) -> Float32[np.ndarray, "height width"]:
    """tanh(l / 4) at a picture's size, l being a patch's length as a multiple of the root mean
    square of normal ones.
    """
    squared = np.square(residual.astype(np.float32)) / np.maximum(scale, 1e-12)
    lengths = np.tanh(np.sqrt(squared.mean(axis=2)) / 4)
    resized = cv2.resize(lengths, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    return resized.astype(np.float32)


def level_features(
    seen: Seen, clicks: Sequence[Click]
) -> Float32[np.ndarray, "level level_feature"]:
    """What is seen of the mask at each of `LEVELS`, in the order of `LEVEL_FEATURES`; none of it is
    a size in pixels, so that small defects are judged as large ones are.

    The level; clicks, positive and negative ones, the share that the prior honours; how fast the
    mask shrinks there; the answer's and the picture's steps across its outline; residual, prior
    and colour inside against the ring around it; its mean probability; three of these relative to
    the other levels; its area against that at one half; whether one who wants this mask would have
    clicked there (`_as_clicked`); and how the answer came about.
    """
    as_clicked, told = _as_clicked(seen, clicks), _told(seen, clicks)
    seen = _around_masks(seen)
    index = np.searchsorted(LEVELS, seen.answer)  # a pixel is in the masks of all levels below
    count, answer = _above(index), _above(index, seen.answer)
    area = np.maximum(count, 1)
    grown = cv2.dilate(seen.answer, np.ones((2 * RING_PX + 1,) * 2, np.uint8))
    ring_index = np.searchsorted(LEVELS, grown)
    ring_area = np.maximum(_above(ring_index) - count, 1)

    def means(plane: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inside each mask, and in the ring around it."""
        within = _above(index, plane)
        return within / area, (_above(ring_index, plane) - within) / ring_area

    answer_steps, colour_steps = _outline_steps(seen, index)
    lengths_inside, lengths_around = means(seen.lengths)
    residual = lengths_inside - lengths_around
    away = np.stack([np.subtract(*means(own)) for own in np.moveaxis(seen.colours, 2, 0)])
    shrinking = (area[_neighbour(-1)] - area[_neighbour(1)]) / area
    columns = [
        LEVELS,
        *told,
        np.minimum(shrinking / (LEVELS[_neighbour(1)] - LEVELS[_neighbour(-1)]), STEEPEST),
        answer_steps,
        colour_steps,
        lengths_inside,
        lengths_around,
        residual,
        *means(seen.prior),
        answer / area,
        np.sqrt(np.square(away).sum(axis=0)) / _root_step(seen),
        *(_relative(own) for own in (answer_steps, colour_steps, residual)),
        np.log(area / area[HALF]),
        as_clicked,
        *map(float, (seen.along_lines, seen.loose, seen.local)),
    ]
    return np.stack([np.broadcast_to(own, LEVELS.shape) for own in columns], axis=1).astype(
        np.float32
    )


def worth_the_click(
    features: Float32[np.ndarray, "answer level level_feature"],
) -> Bool[np.ndarray, "answer level"]:
    """Which masks of answers to the same clicks one may want who clicked where the last click is:
    those that it changes nearly as deep inside (`as_clicked`) as that of them where it does most.
    All, where the click changes nothing.
    """
    as_clicked = features[:, :, LEVEL_FEATURES.index("as_clicked")]
    return as_clicked >= LEAST_AS_CLICKED * as_clicked.max()


def level_ious(
    answer: Float32[np.ndarray, "height width"], truth: Bool[np.ndarray, "height width"]
) -> Float[np.ndarray, " level"]:
    """The IoU of an answer's mask at each of `LEVELS` with the truth, 0 for two empty masks."""
    index = np.searchsorted(LEVELS, answer)
    return _agreement(index, _above(index), truth)


def at_level(
    answer: Float32[np.ndarray, "height width"],
    level: float,
    clicks: Sequence[Click],
    *,
    threshold: float,
) -> Float32[np.ndarray, "height width"]:
    """The answer with what was the level at the threshold, odds being multiplied by the same;
    clicked pixels stay 0 or 1.
    """
    yes, no = answer * ((1 - level) * threshold), (1 - answer) * (level * (1 - threshold))
    moved = (yes / np.maximum(yes + no, 1e-12)).astype(np.float32)
    return keep_clicks(moved, clicked_pixels(clicks, (answer.shape[0], answer.shape[1])))


# --- sums over the masks of all levels at once --------------------------------------------------


def _above(
    index: Int[np.ndarray, " *shape"], weights: np.ndarray | None = None
) -> Float[np.ndarray, " level"]:
    """The sum of weights (of ones) over the pixels in the mask of each level."""
    from adclick.clicks.levels_kernel import add_by_level  # numba takes a second to load

    sums = np.zeros(len(LEVELS) + 1)
    if weights is not None and weights.shape != index.shape:
        raise ValueError(f"weights of {weights.shape} for pixels of {index.shape}")
    if weights is None:
        sums += np.bincount(index.ravel(), minlength=len(sums))
    else:
        add_by_level(index.ravel(), weights.ravel(), sums)
    return sums[::-1].cumsum()[::-1][1:]


def _agreement(
    index: Int[np.ndarray, "height width"],
    count: Float[np.ndarray, " level"],
    mask: Bool[np.ndarray, "height width"],
) -> Float[np.ndarray, " level"]:
    """The IoU of the mask of each level, so many pixels, with another."""
    common = _above(index, mask.astype(np.float32))
    return common / np.maximum(count + mask.sum() - common, 1)


def _outline_steps(
    seen: Seen, index: Int[np.ndarray, "height width"]
) -> tuple[np.ndarray, np.ndarray]:
    """The mean steps of answer and colour (in root mean square steps) across each level's outline,
    0 where there is none.
    """
    length, answer, colour = (np.zeros(len(LEVELS)) for _ in range(3))
    for axis in (0, 1):
        along = np.moveaxis(index, axis, 0)
        first, second = (np.moveaxis(part, 0, axis) for part in (along[:-1], along[1:]))
        low, high = np.minimum(first, second), np.maximum(first, second)
        steps = np.abs(np.diff(seen.answer, axis=axis))
        squared = np.square(np.diff(seen.colours, axis=axis))
        colours = np.sqrt(squared[..., 0] + squared[..., 1] + squared[..., 2])  # sum() is slow
        length += _above(high) - _above(low)
        answer += _above(high, steps) - _above(low, steps)
        colour += _above(high, colours) - _above(low, colours)
    return answer / np.maximum(length, 1), colour / np.maximum(length, 1) / _root_step(seen)


def _around_masks(seen: Seen) -> Seen:
    """What is seen in the box around the largest mask and its ring, but for the mask before; all of
    it without a mask.
    """
    mask = as_bytes(seen.answer > LEVELS[0])
    if not mask.any():
        return seen
    left, top, width, height = cv2.boundingRect(mask)
    rows = slice(max(top - RING_PX, 0), top + height + RING_PX)
    columns = slice(max(left - RING_PX, 0), left + width + RING_PX)
    return seen._replace(
        **{
            name: np.ascontiguousarray(getattr(seen, name)[rows, columns])
            for name in ("answer", "prior", "colours", "lengths")
        },
        before=None,
    )


def _as_clicked(seen: Seen, clicks: Sequence[Click]) -> Float[np.ndarray, " level"]:
    """How deep the last click lies in what each level's mask would change of the mask before, as a
    share of the deepest that it would change: 1 where a user who wants that mask clicks in the
    middle of the larger error (`next_click`), 0 where the click changes nothing there.
    """
    *earlier, last = clicks
    shape = (seen.answer.shape[0], seen.answer.shape[1])
    before = np.zeros(shape, bool) if seen.before is None else seen.before
    left, top, width, height = cv2.boundingRect(as_bytes((seen.answer > LEVELS[0]) | before))
    box = np.s_[top : top + height, left : left + width]
    answer, known = seen.answer[box], before[box]
    ((last_row, last_column),) = clicked_pixels([last], shape)
    row, column = last_row - top, last_column - left
    shares = np.zeros(len(LEVELS))
    if not (0 <= row < height and 0 <= column < width):
        return shares
    taken = [
        (one_row - top, one_column - left)
        for one_row, one_column in clicked_pixels(earlier, shape)
        if 0 <= one_row - top < height and 0 <= one_column - left < width
    ]
    for index, level in enumerate(LEVELS):
        mask = answer > level
        missed, alarms = mask & ~known, known & ~mask
        own, other = (missed, alarms) if last.positive else (alarms, missed)
        if not own[row, column]:
            continue
        both = np.stack([depths(own), depths(other)])
        here = both[0, row, column]
        for place in taken:
            both[:, *place] = 0
        shares[index] = min(here / max(float(both.max()), 1.0), 1.0)
    return shares


def _told(seen: Seen, clicks: Sequence[Click]) -> tuple[int, int, int, float]:
    positive = sum(click.positive for click in clicks)
    clicked = clicked_pixels(clicks, (seen.prior.shape[0], seen.prior.shape[1]))
    honoured = honoured_share(seen.prior, clicked)
    return len(clicks), positive, len(clicks) - positive, honoured


def _root_step(seen: Seen) -> float:
    return float(np.sqrt(max(seen.mean_squared_step, LEAST_STEP)))


def _neighbour(step: int) -> Int[np.ndarray, " level"]:
    return np.clip(np.arange(len(LEVELS)) + step, 0, len(LEVELS) - 1)


def _relative(values: Float[np.ndarray, " level"]) -> Float[np.ndarray, " level"]:
    return values / max(float(np.abs(values).max()), 1e-6)
