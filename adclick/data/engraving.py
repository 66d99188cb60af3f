"""Hairline cracks, scratches and pits: thin opacities, and how they darken or light up a surface.

Lengths and widths are in pixels of the picture, whatever its size.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float64

from adclick.data.pieces import VISIBLE
from adclick.data.shapes import Mask, Plane, draw_point, log_uniform, outline_depth, perlin_noise
from adclick.data.textures import Image, as_image

EDGE = 0.25  # of the highest opacity: where the mask of a thin defect ends
NOISE_MULTIPLE = 2.5  # a thin defect changes at least so many deviations of the surface around it
PIT_AREAS = (3.0, 300.0)  # px: 2 to 20 px across
SUPERSAMPLING = 4
STEP = 2.0  # px between points of a line

Points = Float64[np.ndarray, "_ 2"]


class Thin(NamedTuple):
    """How wide, in pixels, and how long, in parts of the picture's side, a kind of line may be."""

    widths: tuple[float, float]
    lengths: tuple[float, float]


CRACK, SCRATCH = Thin((0.6, 2.6), (0.05, 0.8)), Thin((0.6, 3.0), (0.05, 0.8))
# Lines that anybody sees who looks for them.
CLEAR_CRACK, CLEAR_SCRATCH = Thin((0.96, 3.12), (0.15, 0.8)), Thin((0.96, 3.6), (0.15, 0.8))
CLEAR_NOISE_MULTIPLE = 10.0


def crack_opacity(
    shape: tuple[int, int],
    generator: np.random.Generator,
    *,
    foreground: Mask | None = None,
    area_px: float | None = None,
    thin: Thin = CRACK,
) -> Plane:
    """Opacity of a hairline crack: it meanders about one direction, kinks, branches, thins out.

    As long as makes `area_px`, else as `thin` says (0.6 to 2.6 px wide, 5 to 80 % of the picture's
    side long).
    """
    width = log_uniform(generator, *thin.widths)
    length = _line_length(shape, generator, area_px, width, thin.lengths)
    main = generator.uniform(0, 2 * np.pi)
    trunk = _walk(draw_point(shape, generator, foreground), main, length, generator, wander=0.5)
    trunk -= trunk.mean(axis=0) - trunk[0]  # the drawn pixel becomes the middle
    lines = [(trunk, width)]
    for _ in range(min(4, int(generator.poisson(0.9)))):
        column, row = trunk[int(generator.integers(len(trunk)))]
        heading = main + generator.choice([-1, 1]) * generator.uniform(0.35, 1.2)
        part = length * generator.uniform(0.12, 0.45)
        branch = _walk((row, column), heading, part, generator, wander=0.6)
        lines.append((branch, width * generator.uniform(0.5, 0.9)))
    return _drawn_lines(shape, lines, generator, faint=0.5)


def scratch_opacity(
    shape: tuple[int, int],
    generator: np.random.Generator,
    *,
    foreground: Mask | None = None,
    area_px: float | None = None,
    thin: Thin = SCRATCH,
) -> Plane:
    """Opacity of a scratch, straight or evenly bent, its ends thin; at times two or three abreast.

    As long as makes `area_px`, else as `thin` says (0.6 to 3 px wide, 5 to 80 % of the picture's
    side long).
    """
    width = log_uniform(generator, *thin.widths)
    length = _line_length(shape, generator, area_px, width, thin.lengths)
    steps = max(3, round(length / STEP))
    bend = generator.normal(0, 0.8) * (generator.random() < 0.6)
    headings = generator.uniform(0, 2 * np.pi) + bend * np.linspace(-0.5, 0.5, steps)
    points = length / steps * np.cumsum(np.column_stack([np.cos(headings), np.sin(headings)]), 0)
    row, column = draw_point(shape, generator, foreground)
    points += (column, row) - points[len(points) // 2]
    normals = np.column_stack([-np.sin(headings), np.cos(headings)])
    lines = []
    for index in range(1 if generator.random() < 0.75 else int(generator.integers(2, 4))):
        beside = points + index * generator.uniform(2.5, 7) * normals
        first, last = np.sort(generator.uniform(0, 1, 2)) if index else (0.0, 1.0)
        part = slice(int(first * (steps - 3)), int(last * (steps - 3)) + 3)
        lines.append((beside[part], width * generator.uniform(0.6, 1.0)))
    return _drawn_lines(shape, lines, generator, faint=0.35)


def pit_opacity(
    shape: tuple[int, int],
    generator: np.random.Generator,
    *,
    foreground: Mask | None = None,
    area_px: float | None = None,
) -> Plane:
    """Opacity of a pit, or of a cluster of up to twelve (two in five times): irregular, solid.

    The largest has `area_px`, else 3 to 300 px.
    """
    area = log_uniform(generator, *PIT_AREAS) if area_px is None else area_px
    centre = draw_point(shape, generator, foreground)
    count = 1 if generator.random() < 0.6 else int(generator.integers(2, 13))
    spread = np.sqrt(area) * generator.uniform(1.0, 4.0) + 2
    opacity = np.zeros(shape, np.float32)
    for index in range(count):
        row, column = np.array(centre) + (index > 0) * generator.normal(0, spread, 2)
        own = area * (1.0 if index == 0 else generator.uniform(0.15, 1.0))
        stretch = log_uniform(generator, 1.0, 2.2)
        roughness = generator.uniform(0.05, 0.4)
        depth = outline_depth(shape, generator, (row, column), own, stretch, roughness)
        opacity = np.maximum(opacity, np.clip(depth + 0.5, 0, 1))
    return opacity.astype(np.float32)


def engrave(
    image: Image,
    opacity: Plane,
    generator: np.random.Generator,
    *,
    dark_share: float,
    lit_share: float,
    noise_multiple: float = NOISE_MULTIPLE,
) -> tuple[Image, Mask]:
    """The picture with a dark or bright engraving, and where that is strong; with the probability
    `lit_share` light catches its rim on one side.

    It changes at least `noise_multiple` deviations of the surface around it, as far as grey levels
    allow that. It is dark with the probability `dark_share`, where the surface is bright enough for
    that. The mask is empty where the opacity is nowhere 0.25 or more.
    """
    strong = opacity >= EDGE
    if not strong.any():
        return image, strong
    opacity = opacity * cv2.dilate(strong.astype(np.uint8), np.ones((3, 3), np.uint8))
    level, noise = _level_and_noise(image, strong)
    change = _contrast(image, level, noise_multiple * noise, generator, dark_share)
    tint = 1 + generator.uniform(0, 0.25) * generator.uniform(-1, 1, 3)
    grain = 1 + 0.15 * perlin_noise(opacity.shape, (32, 32), generator)
    share = (opacity * grain)[:, :, None]
    engraved = image + share * (change * tint)
    if change < 0:  # what is dark also hides the surface's own grain
        engraved += 0.6 * share * (level * tint - image)
    if generator.random() < lit_share:
        lit = np.clip(_shifted(opacity, generator) - opacity, 0, 1)
        engraved -= 0.6 * lit[:, :, None] * change
        strong = strong | (lit >= EDGE)
    return as_image(engraved), strong


def _line_length(
    shape: tuple[int, int],
    generator: np.random.Generator,
    area_px: float | None,
    width: float,
    lengths: tuple[float, float],
) -> float:
    side = min(shape)
    if area_px is None:
        return side * log_uniform(generator, *lengths)
    across = 0.5 * width + 0.4  # what of a faint, tapering line is opaque enough, measured
    return float(np.clip(area_px / across, 4, lengths[1] * side))


def _walk(
    start: tuple[float, float],
    heading: float,
    length: float,
    generator: np.random.Generator,
    *,
    wander: float,
) -> Points:
    """Points (column, row) of a path from `start` (row, column) that strays from its heading (in
    radians) and returns to it, with a sudden kink now and then.
    """
    steps = max(3, round(length / STEP))
    noise = generator.standard_normal(steps) * wander * generator.uniform(0.5, 1.2)
    kinks = generator.normal(0, 1.0, steps) * (generator.random(steps) < 0.05)
    stray = np.zeros(steps)
    for index in range(1, steps):
        stray[index] = 0.75 * stray[index - 1] + 0.6 * noise[index] + kinks[index]
    slow = np.interp(np.arange(steps), np.linspace(0, steps, 5), generator.normal(0, 0.3, 5))
    headings = heading + stray + slow
    strides = length / steps * np.column_stack([np.cos(headings), np.sin(headings)])
    return np.array([start[1], start[0]]) + np.cumsum(strides, axis=0)


def _drawn_lines(
    shape: tuple[int, int],
    lines: Sequence[tuple[Points, float]],
    generator: np.random.Generator,
    *,
    faint: float,
) -> Plane:
    """How much of each pixel the lines cover; their width and opacity (down to `faint`) vary."""
    fine = np.zeros([SUPERSAMPLING * length for length in shape], np.uint8)
    for points, width in lines:
        count = len(points)
        widths = width * _slow_noise(count, generator, 0.6, 1.3)
        to_end = np.minimum(np.arange(count) + 1, np.arange(count, 0, -1))
        taper = np.minimum(1, to_end / min(6, count / 2))
        levels = 255 * _slow_noise(count, generator, faint, 1.0)
        fine_points = SUPERSAMPLING * (points + 0.5) - 0.5
        places = np.rint(16 * fine_points).astype(np.int64)  # in sixteenths, as cv2 reads them
        for index in range(count - 1):
            thickness = max(1, round(SUPERSAMPLING * widths[index] * taper[index]))
            start, stop = places[index].tolist(), places[index + 1].tolist()
            cv2.line(fine, start, stop, int(levels[index]), thickness, cv2.LINE_8, 4)
    covered = cv2.resize(fine, shape[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(covered, np.float32) / 255


def _slow_noise(
    count: int, generator: np.random.Generator, low: float, high: float
) -> Float64[np.ndarray, " point"]:
    knots = generator.uniform(low, high, max(2, count // 8))
    return np.interp(np.arange(count), np.linspace(0, count - 1, len(knots)), knots)


def _contrast(
    image: Image, level: float, seen: float, generator: np.random.Generator, dark_share: float
) -> float:
    """By how many grey levels an engraving differs from its surface, at least so that it is `seen`;
    negative: darker.
    """
    brightest = min(255.0, float(np.quantile(image[::2, ::2], 0.98)) + 25)
    least = max(2 * VISIBLE, seen)
    down, up = level, max(brightest - level, 0.0)
    is_dark = generator.random() < dark_share
    if (down if is_dark else up) < 1.2 * least:
        is_dark = down > up
    room = down if is_dark else up
    size = min(max(least, room * generator.uniform(0.3, 0.85)), max(room, least))
    return -size if is_dark else size


def _level_and_noise(image: Image, shape: Mask) -> tuple[float, float]:
    """Mean grey level, and deviation from the smoothed surface, under a shape."""
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32)
    rough = grey - np.asarray(cv2.GaussianBlur(grey, (0, 0), 3.0))
    return float(grey[shape].mean()), float(rough[shape].std())


def _shifted(opacity: Plane, generator: np.random.Generator) -> Plane:
    angle = generator.uniform(0, 2 * np.pi)
    reach = generator.uniform(0.8, 1.5)
    move = np.array([[1, 0, reach * np.cos(angle)], [0, 1, reach * np.sin(angle)]])
    return np.asarray(cv2.warpAffine(opacity, move, opacity.shape[::-1]), np.float32)
