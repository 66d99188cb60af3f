"""The last stage after a click network: its answer drawn to the picture's edges, every click kept.

A network sees patches and takes a click as a hint. Here its probability is what a random walker on
the picture's pixels believes beforehand, and clicks are what he knows: where the picture has an
edge the answer changes, and a clicked pixel has the sign of its click, whatever the network says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from adclick.clicks.click import Click, scale_clicks
from adclick.clicks.lines import beside, lines_through, ridges
from adclick.clicks.robot import Predict
from adclick.run.settings.clicks import Edges, Lines

SURE = 1e6  # how much more than its neighbours a seed weighs
LEAST_AT_CLICKS, LEAST_BELIEVED = 1e-3, 1e-9  # probabilities by which others are divided
LEAST_STEP = 1e-2  # of the mean squared step: an even picture has no edges, not edges everywhere
SWEEPS = (12, 20, 40)  # at the whole, half and quarter of the resolution
RELAXATIONS = (1.4, 1.5, 1.6)  # of these sweeps; 1 would be Gauss-Seidel
TRUSTED_AT_PX = 128  # the side of the picture that `Edges.trust` is given for
MARGIN_PX = 96  # what of the picture is looked at around the clicks
LARGEST_WINDOW_PX = 384  # a window with a longer side is solved smaller


class Box(NamedTuple):
    """A part of a picture: rows `top` … `bottom` - 1 and columns `left` … `right` - 1."""

    top: int
    bottom: int
    left: int
    right: int


class Level(NamedTuple):
    """One resolution of a window: the weights of the steps from a pixel to its right, lower left,
    lower and lower right neighbour [4, height + 2, width + 2] (a frame of zeros around), and the
    sum of all eight weights of a pixel [height, width].
    """

    weights: np.ndarray
    degree: np.ndarray


@dataclass(frozen=True)
class Window:
    """A box of a picture ready to be solved: its colours and its levels, finest first."""

    colours: Float32[np.ndarray, "height width 3"]
    levels: tuple[Level, ...]

    @cached_property
    def ridges(self) -> Float32[np.ndarray, "kind height width"]:
        """Where thin lines are."""
        return ridges(self.colours)


@dataclass(frozen=True)
class PreparedPicture:
    """What of a picture no click changes: colours (CIE Lab), how much they differ from one pixel to
    the next, and how it is to be solved. The last window is kept.
    """

    colours: Float32[np.ndarray, "height width 3"]
    mean_squared_step: float
    settings: Edges
    radius_px: float
    opened: dict[Box, Window] = field(default_factory=dict, repr=False, compare=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.colours.shape[0], self.colours.shape[1]


# --- what others call ---------------------------------------------------------------------------


def prepare(
    image: UInt8[np.ndarray, "height width 3"], settings: Edges, *, radius_px: float
) -> PreparedPicture:
    """A picture of any size, ready for `solve`; the radius is in its pixels."""
    colours = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return PreparedPicture(colours, mean_squared_step(colours), settings, radius_px)


def follow_edges(predict: Predict, prepared: PreparedPicture) -> Predict:
    """A click method whose answers about a picture are drawn to its edges and keep every click."""

    def honoured(clicks: Sequence[Click], previous: np.ndarray | None) -> np.ndarray:
        return solve(prepared, predict(clicks, previous), clicks)

    return honoured


def solve(
    prepared: PreparedPicture,
    prior: Float[np.ndarray, "prior_height prior_width"],
    clicks: Sequence[Click],
    *,
    share: float = 1.0,
) -> Float32[np.ndarray, "height width"]:
    """The probability of a defect at every pixel of the picture, in [0, 1]: 1 at a positively and 0
    at a negatively clicked pixel, where a pixel was clicked twice its last click counting.

    Clicks are in pixels of the picture; one outside of it moves to its border. The prior, a
    probability of any size, is resized bilinearly. It stays as it is without clicks, and further
    than 96 px from the box around the clicks. A window of more than 384 px a side is solved at that
    size; what is returned has the picture's size all the same, and its clicks are kept.

    The solution minimises sum w_ij (x_i - x_j)² + sum g (x_i - p_i)² over the pixels and their
    eight neighbours, p being the prior, g its trust and w_ij = k exp(-b |c_i - c_j|² / (k² m)) +
    0.001 k with k = 1 for a straight and 1 / √2 for a diagonal step, b the sharpness, c colours in
    CIE Lab and m their mean squared difference over straight steps of the picture. `share` is that
    of the settings' trust which the prior has.

    Source: random walker with priors (Grady, CVPR 2005, "Multilabel random walker image
    segmentation using prior models").
    """
    answer = _of_size(prior, prepared.shape)
    if not clicks:
        return answer
    solved = _solve_around(prepared, answer, clicks, None, share)
    assert solved is not None
    return solved


def solve_along_lines(
    prepared: PreparedPicture,
    prior: Float[np.ndarray, "prior_height prior_width"],
    clicks: Sequence[Click],
) -> Float32[np.ndarray, "height width"] | None:
    """The same with the thin lines through positive clicks known to be positive, as far as
    `Lines.doubt` allows, and what lies beside them to be negative (`Edges.lines`); None where there
    is no such line.
    """
    lines = prepared.settings.lines
    if lines is None or not clicks:
        return None
    return _solve_around(prepared, _of_size(prior, prepared.shape), clicks, lines)


def _solve_around(
    prepared: PreparedPicture,
    answer: Float32[np.ndarray, "height width"],
    clicks: Sequence[Click],
    lines: Lines | None,
    share: float = 1.0,
) -> Float32[np.ndarray, "height width"] | None:
    """The answer, changed in place around the clicks; None if lines were asked for and none is."""
    clicked = clicked_pixels(clicks, prepared.shape)
    trust = share * trust_of(answer, clicked, prepared.shape, prepared.settings)
    box = window_around(clicked, prepared.shape)
    part = answer[box.top : box.bottom, box.left : box.right]
    solved = _solve_box(prepared, part, box, clicked, trust, lines)
    if solved is None:
        return None
    part[:] = solved
    return keep_clicks(answer, clicked)


def clicked_pixels(clicks: Sequence[Click], shape: tuple[int, int]) -> dict[tuple[int, int], bool]:
    """The sign of every clicked (row, column), the last click's where there were several; clicks
    outside a picture of `shape` are at its border.
    """
    inside = scale_clicks(clicks, shape=shape, original_shape=shape)
    return {(click.row, click.column): click.positive for click in inside}


def keep_clicks(
    probability: Float32[np.ndarray, "height width"], clicked: Mapping[tuple[int, int], bool]
) -> Float32[np.ndarray, "height width"]:
    """The probability, changed in place, with 1 at positive and 0 at negative clicked pixels."""
    for place, positive in clicked.items():
        probability[place] = positive
    return probability


def honoured_share(
    probability: Float[np.ndarray, "height width"], clicked: Mapping[tuple[int, int], bool]
) -> float:
    """The share of clicked pixels on whose side of one half a probability is."""
    right = [(probability[place] > 0.5) == positive for place, positive in clicked.items()]
    return sum(map(bool, right)) / len(right)


# --- what is believed, and where ----------------------------------------------------------------


def trust_of(
    prior: Float[np.ndarray, "height width"],
    clicked: Mapping[tuple[int, int], bool],
    shape: tuple[int, int],
    settings: Edges,
) -> float:
    """The weight of a prior at a pixel of a picture of `shape`; see `Edges`.

    It falls with the picture's area, so that the prior reaches equally far in parts of its side.
    """
    honoured = honoured_share(prior, clicked)
    early = 1 + settings.early_trust / len(clicked) ** 2
    share = max(settings.least_trust, honoured**2)
    return settings.trust * early * share * TRUSTED_AT_PX**2 / (shape[0] * shape[1])


def seeds_of(
    colours: Float32[np.ndarray, "height width 3"],
    clicked: Mapping[tuple[int, int], bool],
    *,
    radius_px: float,
    largest_difference: float,
) -> tuple[Bool[np.ndarray, "height width"], Bool[np.ndarray, "height width"]]:
    """Where the answer is known to be positive, and negative: at clicked pixels and at pixels of
    their colour (squared difference at most `largest_difference`) less than `radius_px` away.

    A pixel that is near several clicks goes to the nearest, the last of equally near ones.
    """
    height, width = colours.shape[:2]
    nearest = np.full((height, width), np.inf, np.float32)
    seeds = np.zeros((2, height, width), bool)
    reach = int(np.ceil(radius_px))
    for (row, column), positive in clicked.items():
        top, left = max(row - reach, 0), max(column - reach, 0)
        part = np.s_[top : row + reach + 1, left : column + reach + 1]
        rows, columns = np.ogrid[
            top : top + nearest[part].shape[0], left : left + nearest[part].shape[1]
        ]
        distance = (rows - row) ** 2 + (columns - column) ** 2
        difference = np.square(colours[part] - colours[row, column]).sum(axis=2)
        taken = (distance < radius_px**2) & (difference <= largest_difference)
        taken |= distance == 0
        taken &= distance <= nearest[part]
        nearest[part][taken] = distance[taken]
        seeds[0][part][taken] = positive
        seeds[1][part][taken] = not positive
    return seeds[0], seeds[1]


def window_around(clicked: Mapping[tuple[int, int], bool], shape: tuple[int, int]) -> Box:
    """The box around clicked pixels with a margin, inside a picture of `shape`; all of a picture
    that is no larger than the largest window.
    """
    if max(shape) <= LARGEST_WINDOW_PX:
        return Box(0, shape[0], 0, shape[1])
    rows, columns = zip(*clicked, strict=True)
    return Box(
        max(min(rows) - MARGIN_PX, 0),
        min(max(rows) + MARGIN_PX + 1, shape[0]),
        max(min(columns) - MARGIN_PX, 0),
        min(max(columns) + MARGIN_PX + 1, shape[1]),
    )


# --- the picture as a graph ---------------------------------------------------------------------


def mean_squared_step(colours: Float32[np.ndarray, "height width 3"]) -> float:
    """The mean squared difference of colour between pixels that share a side; 0 for one pixel."""
    total, count = 0.0, 0
    for axis in (0, 1):
        squared = np.square(np.diff(colours, axis=axis))
        total += float(squared.sum(dtype=np.float64))
        count += squared[..., 0].size
    return total / max(count, 1)


def _opened(prepared: PreparedPicture, box: Box) -> tuple[Window, float]:
    """The window of a box, made unless it is the last one, and its pixels per picture's pixel."""
    height, width = box.bottom - box.top, box.right - box.left
    scale = min(1.0, LARGEST_WINDOW_PX / max(height, width))
    if box not in prepared.opened:
        colours = prepared.colours[box.top : box.bottom, box.left : box.right]
        if scale < 1:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            colours = cv2.resize(colours, size, interpolation=cv2.INTER_AREA)
        prepared.opened.clear()
        prepared.opened[box] = open_window(
            colours,
            sharpness=prepared.settings.sharpness,
            mean_squared=prepared.mean_squared_step,
        )
    return prepared.opened[box], scale


def open_window(
    colours: Float32[np.ndarray, "height width 3"], *, sharpness: float, mean_squared: float
) -> Window:
    """The levels of a window of these colours: the whole, half and quarter of its resolution."""
    from adclick.clicks.edges_kernel import weigh_steps  # numba takes a second to load

    levels, at_level = [], np.ascontiguousarray(colours)
    own = mean_squared_step(at_level) if mean_squared == 0 else mean_squared
    for index in range(len(SWEEPS)):
        if index:
            height, width = at_level.shape[:2]
            size = (-(-width // 2), -(-height // 2))
            at_level = cv2.resize(at_level, size, interpolation=cv2.INTER_AREA)
        steps = np.zeros((4, at_level.shape[0] + 2, at_level.shape[1] + 2), np.float32)
        degree = np.zeros(at_level.shape[:2], np.float32)
        weigh_steps(at_level, np.float32(sharpness / max(own, LEAST_STEP)), steps, degree)
        levels.append(Level(steps, degree))
    return Window(colours, tuple(levels))


def _solve_box(
    prepared: PreparedPicture,
    prior: Float32[np.ndarray, "height width"],
    box: Box,
    clicked: Mapping[tuple[int, int], bool],
    trust: float,
    lines: Lines | None,
) -> Float32[np.ndarray, "height width"] | None:
    window, scale = _opened(prepared, box)
    settings = prepared.settings
    inside = {(row - box.top, column - box.left): sign for (row, column), sign in clicked.items()}
    if scale < 1:
        moved = scale_clicks(
            [Click(*place, sign) for place, sign in inside.items()],
            shape=window.colours.shape[:2],
            original_shape=prior.shape,
        )
        inside = {(click.row, click.column): click.positive for click in moved}
    positive, negative = seeds_of(
        window.colours,
        inside,
        radius_px=max(1.0, prepared.radius_px * scale),
        largest_difference=settings.likeness * prepared.mean_squared_step,
    )
    believed = sharpened(_of_size(prior, window.colours.shape[:2]), settings.prior_power)
    known = positive.astype(np.float32)
    if lines is not None:
        found = lines_through(window.ridges, inside, lines)
        if not found.any():
            return None
        known = np.maximum(known, _on_line(believed, inside, lines.doubt))
        positive = positive | (found & ~negative)
        negative = negative | (beside(found, lines) & ~positive)
    weight = np.full(believed.shape, trust / scale**2, np.float32)
    weight[_inner_border(box, prepared.shape, believed.shape)] = SURE
    weight[positive | negative] = SURE
    believed[positive], believed[negative] = known[positive], 0
    return _of_size(walk(window.levels, believed, weight), prior.shape)


def _on_line(
    believed: Float32[np.ndarray, "height width"],
    clicked: Mapping[tuple[int, int], bool],
    doubt: float,
) -> Float32[np.ndarray, "height width"]:
    """With what probability a pixel of a line through positive clicks is positive; see `Lines`."""
    at_clicks = [believed[place] for place, positive in clicked.items() if positive]
    doubted = doubt * max(float(np.mean(at_clicks)), LEAST_AT_CLICKS)
    return (1 / (1 + doubted / np.maximum(believed, LEAST_BELIEVED))).astype(np.float32)


def sharpened(
    probability: Float32[np.ndarray, "height width"], power: float
) -> Float32[np.ndarray, "height width"]:
    """Probabilities whose odds are those given to a power."""
    yes, no = probability**power, (1 - probability) ** power
    return (yes / (yes + no)).astype(np.float32)


def _inner_border(
    box: Box, picture: tuple[int, int], shape: tuple[int, int]
) -> Bool[np.ndarray, "height width"]:
    """The outermost pixels of a box where the picture goes on: there its prior stays."""
    border = np.zeros(shape, bool)
    border[0] |= box.top > 0
    border[-1] |= box.bottom < picture[0]
    border[:, 0] |= box.left > 0
    border[:, -1] |= box.right < picture[1]
    return border


def _of_size(
    plane: Float[np.ndarray, "height width"], shape: tuple[int, int]
) -> Float32[np.ndarray, "new_height new_width"]:
    """A copy of a plane resized bilinearly, in [0, 1]."""
    if plane.shape == shape:
        return plane.astype(np.float32)
    resized = cv2.resize(
        plane.astype(np.float32), (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR
    )
    return np.clip(np.asarray(resized), 0, 1)


# --- the solver ---------------------------------------------------------------------------------


def walk(
    levels: Sequence[Level],
    believed: Float32[np.ndarray, "height width"],
    weight: Float32[np.ndarray, "height width"],
) -> Float32[np.ndarray, "height width"]:
    """The solution of the finest level for what is believed with what weight, in [0, 1].

    Coarser levels give its start: there a cell weighs what its pixels weigh together, and believes
    their weighted mean.
    """
    from adclick.clicks.edges_kernel import sweep_rows

    problems = [(believed, weight)]
    for _ in levels[1:]:
        problems.append(_coarser(*problems[-1]))
    found: np.ndarray | None = None
    for index in range(len(levels) - 1, -1, -1):
        (plane, weights), level = problems[index], levels[index]
        start = plane if found is None else _finer(found, plane.shape)
        framed = np.pad(start.astype(np.float32), 1)
        inverse = 1 / (level.degree + weights)
        relaxation = np.float32(RELAXATIONS[index])
        sweep_rows(framed, level.weights, plane * weights, inverse, relaxation, SWEEPS[index])
        found = framed[1:-1, 1:-1]
    assert found is not None
    return np.clip(found, 0, 1)


def _coarser(believed: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What cells of two by two pixels believe, and the weight of it."""
    height, width = weight.shape
    padding = ((0, height % 2), (0, width % 2))
    together = [
        np.pad(plane, padding).reshape(-(-height // 2), 2, -(-width // 2), 2).sum(axis=(1, 3))
        for plane in (believed * weight, weight)
    ]
    return together[0] / np.maximum(together[1], 1e-12), together[1]


def _finer(coarse: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    height, width = coarse.shape
    doubled = cv2.resize(coarse, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(doubled)[: shape[0], : shape[1]]
