"""Simulated defects on normal pictures, and more training pictures made of a few labelled defects.

A simulated defect is a shape (`shapes`) filled from a source (`textures`), or it is drawn like a
real one (`lifelike`).
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from adclick.data.lifelike import LIFELIKE, Surface, draw_lifelike
from adclick.data.pieces import keep_pieces, undo, visible
from adclick.data.shapes import (
    Mask,
    Plane,
    blob_mask,
    distance_inside,
    draw_point,
    log_uniform,
    outline_depth,
    perlin_mask,
    scratch_mask,
    soft_region,
)
from adclick.data.textures import TEXTURE_SHARE, Image, as_image, draw_source

SHAPE_SHARES: Mapping[str, float] = {"streaks": 0.25, "blobs": 0.5, "soft_regions": 0.25}
LARGEST_SHARE = 0.6  # of the picture: a defect that covers more is drawn again
LEAST_AREA_PX = 3  # of a lifelike defect
ATTEMPTS = 40
Paste = Callable[[Image, Plane, Image, np.random.Generator], tuple[Image, Plane]]
Simulate = Callable[[Image, np.random.Generator], tuple[Image, Mask]]


def simulate_defect(
    image: Image,
    generator: np.random.Generator,
    *,
    foreground: Mask | None = None,
    textures: Sequence[Path] | None = None,
    shares: Mapping[str, float] = SHAPE_SHARES,
    texture_share: float = TEXTURE_SHARE,
    areas_px: Sequence[float] = (),
    minimum_area_px: int = 16,
) -> tuple[Image, Mask]:
    """The picture with a made-up defect, and the defect's mask.

    `shares` weighs the kinds (keys of `SHAPE_SHARES` and of `lifelike.LIFELIKE`; absent means
    never). `textures` are picture files to fill shapes with; without any, textures are made up.
    `areas_px`, areas of labelled defects, give lifelike ones their sizes. Each piece of the mask
    has at least `minimum_area_px` pixels (three are enough for a lifelike one), can be seen, and
    with a `foreground` lies in it by half; where a piece was refused the picture is as before. Soft
    edges reach beyond the mask, which is true where the defect's opacity is at least half of its
    highest (a quarter for thin ones).

    Source: MemSeg's simulation (arXiv 2205.00908) for streaks, textures and shuffling; the other
    kinds and sources are ours.
    """
    _check_shares(shares)
    if foreground is not None and not foreground.any():
        foreground = None
    surface = Surface(image, foreground, areas_px)
    for _ in range(ATTEMPTS):
        kind = _choose(generator, shares)
        if kind in LIFELIKE:
            least = min(minimum_area_px, LEAST_AREA_PX)
            candidate, shape = draw_lifelike(kind, surface, generator)
        else:
            least = minimum_area_px
            candidate, shape = _draw_filled(kind, surface, generator, textures, texture_share)
        mask = keep_pieces(shape, visible(image, candidate, shape), foreground, least)
        if least <= mask.sum() <= LARGEST_SHARE * mask.size:
            return undo(image, candidate, mask, shape & ~mask), mask
    return _plain_spot(image, generator, foreground, minimum_area_px)


def simulate_in_window(
    image: Image,
    generator: np.random.Generator,
    *,
    window_px: int,
    minimum_area: float,
    foreground: Mask | None = None,
    **how: Any,
) -> tuple[Image, Mask]:
    """`simulate_defect` in a square part of the picture around a random pixel of the foreground, or
    in all of a picture that `window_px` covers; `minimum_area` is a share of the part. Half of the
    time the part has that side, else one between that and the picture's longer side, its logarithm
    uniform.

    What is simulated has sizes in parts of what it is drawn on. A network is trained on windows of
    a large picture, so it is the window that most have to be parts of: drawn on all of it, the
    smallest would be larger than most of what such photographs are taken for. Some are larger than
    a window, as real ones may be.
    """
    height, width = image.shape[:2]
    if window_px >= max(height, width):
        box = (slice(0, height), slice(0, width))
    else:
        if foreground is not None and not foreground.any():
            foreground = None
        side = window_px
        if generator.random() < 0.5:
            side = round(log_uniform(generator, float(window_px), float(max(height, width))))
        box = _box_around(draw_point((height, width), generator, foreground), image, side)
    part, drawn = simulate_defect(
        image[box],
        generator,
        foreground=None if foreground is None else foreground[box],
        minimum_area_px=minimum_area_px(minimum_area, image[box].shape[:2]),
        **how,
    )
    whole, mask = image.copy(), np.zeros((height, width), bool)
    whole[box], mask[box] = part, drawn
    return whole, mask


def minimum_area_px(share: float, shape: tuple[int, int]) -> int:
    """The smallest area of a simulated defect in pixels, at least one; `share` is of the shape."""
    return max(1, round(share * shape[0] * shape[1]))


def drawing_generator(sha256: str, *numbers: int) -> np.random.Generator:
    """What defects are drawn from on a picture: a function of its file (the checksum, in hex) and
    of `numbers` alone, so that pictures of other categories do not get the same defects, and the
    simulated ones of a picture do not depend on its place or on other pictures.
    """
    return np.random.default_rng([*numbers, int(sha256[:16], 16)])


def expand_defect(
    image: Image,
    label: Plane,
    normal: Image,
    generator: np.random.Generator,
    *,
    paste: Paste,
    simulate: Simulate,
    minimum_area_px: int = 16,
) -> tuple[Image, Plane, bool]:
    """A training picture made of a labelled real defect, its label, and whether it is the normal
    picture with the defect pasted.

    `label` is the probability of being defective. Half of the time (always, when no pixel is above
    0.5) a simulated defect is added and its pixels labelled 1; else the defect is pasted.

    Source: the reference implementation's expansion.
    """
    if (label > 0.5).any() and generator.random() < 0.5:
        enough = min(minimum_area_px, np.count_nonzero(label > 0.5) / 2)
        for _ in range(ATTEMPTS):
            pasted, pasted_label = paste(image, label, normal, generator)
            if np.count_nonzero(pasted_label > 0.5) >= enough:
                return pasted, pasted_label, True
    simulated, mask = simulate(image, generator)
    return simulated, np.where(mask, np.float32(1), label), False


def _draw_filled(
    kind: str,
    surface: Surface,
    generator: np.random.Generator,
    textures: Sequence[Path] | None,
    texture_share: float,
) -> tuple[Image, Mask]:
    opacity = _opacity(kind, surface.size, generator, surface.foreground)
    source, strength = draw_source(kind, surface.image, generator, textures, texture_share)
    opacity *= strength
    return _blend(surface.image, source, opacity), opacity >= 0.5 * strength


def _opacity(
    kind: str, shape: tuple[int, int], generator: np.random.Generator, foreground: Mask | None
) -> Plane:
    """A shape of the kind; Perlin's streaks, which would lie all over, within a random oval."""
    if kind == "soft_regions":
        return soft_region(shape, generator, foreground=foreground)
    if kind == "blobs":
        mask = _plane(blob_mask(shape, generator, foreground=foreground))
        sigma = min(shape) * generator.uniform(0, 0.008) * (generator.random() < 0.6)
        return mask if sigma < 0.3 else np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma))
    if generator.random() < 0.4:
        return _plane(scratch_mask(shape, generator))
    area = log_uniform(generator, 0.03, 1.0) * shape[0] * shape[1]
    centre = draw_point(shape, generator, foreground)
    near = outline_depth(shape, generator, centre, area, 1.5, 0.1) > 0
    return _plane(perlin_mask(shape, generator) & near)


def _blend(image: Image, source: Image, opacity: Plane) -> Image:
    share = opacity[:, :, None]
    return as_image(image + share * (source.astype(np.float32) - image))


def _plain_spot(
    image: Image, generator: np.random.Generator, foreground: Mask | None, minimum_area_px: int
) -> tuple[Image, Mask]:
    """A black or white disk where there is most room: what remains when every draw was refused."""
    room = np.ones(image.shape[:2], bool) if foreground is None else foreground
    depth = distance_inside(np.pad(room, 1).astype(np.uint8))[1:-1, 1:-1]
    deep = np.argwhere(depth >= 0.7 * depth.max())
    row, column = deep[int(generator.integers(len(deep)))]
    radius = np.sqrt(minimum_area_px / np.pi) + 2
    rows, columns = np.ogrid[: image.shape[0], : image.shape[1]]
    mask = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    colour = 0 if image[mask].mean() > 127 else 255
    return np.where(mask[:, :, None], np.uint8(colour), image), mask


def _check_shares(shares: Mapping[str, float]) -> None:
    known = [*SHAPE_SHARES, *LIFELIKE]
    unknown = set(shares) - set(known)
    if unknown or min(shares.values(), default=0) < 0 or sum(shares.values()) <= 0:
        raise ValueError(f"shares {dict(shares)}: weights of {', '.join(known)} needed")


def _choose(generator: np.random.Generator, shares: Mapping[str, float]) -> str:
    names = sorted(shares)
    weights = np.array([shares[name] for name in names], float)
    return names[int(generator.choice(len(names), p=weights / weights.sum()))]


def _box_around(point: tuple[float, float], image: Image, side: int) -> tuple[slice, slice]:
    """So long a square around a point, moved to lie inside the picture and cut where that has no
    room.
    """
    down, across = (
        slice(first, min(first + side, length))
        for place, length in zip(point, image.shape[:2], strict=True)
        for first in [max(0, min(int(place) - side // 2, length - side))]
    )
    return down, across


def _plane(mask: Mask) -> Plane:
    return mask.astype(np.float32)
