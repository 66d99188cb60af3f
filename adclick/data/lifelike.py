"""Kinds of simulated defect that look like real ones: cracks, pits and scratches (`engraving`) down
to three pixels, soft shades, missing material, where the background shows, and a structure out of
place.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from adclick.data.engraving import (
    CLEAR_CRACK,
    CLEAR_NOISE_MULTIPLE,
    CLEAR_SCRATCH,
    NOISE_MULTIPLE,
    crack_opacity,
    engrave,
    pit_opacity,
    scratch_opacity,
)
from adclick.data.pieces import visible
from adclick.data.shapes import Mask, Plane, draw_point, log_uniform, outline_depth, soft_region
from adclick.data.textures import Image, as_image, grey, is_grey

PART_AREAS = (0.001, 0.05)  # of the picture: missing and displaced parts
SHADE_GAINS = (0.08, 0.3)  # of the brightness
SHADE_EDGES = (0.015, 0.08)  # of the picture's side: how softly shades end, a standard deviation
SPECK = 0.03  # of the picture's side: narrower gaps in an estimated object are none
SIZE_SPREAD = 0.4  # of the logarithm: how far a size may stray from a labelled one
LEAST_BACKGROUND = 0.03  # of the picture: with less, no background can show where material is gone
HALO_PX = 3  # how far from the object background is taken: nearer, its edge glows


@dataclass(frozen=True, eq=False)
class Surface:
    """What a defect is drawn on; `areas_px` are the areas of labelled defects, maybe none."""

    image: Image
    foreground: Mask | None
    areas_px: Sequence[float] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image.shape[:2]


Drawer = Callable[[Surface, np.random.Generator], tuple[Image, Mask]]


def draw_lifelike(
    kind: str, surface: Surface, generator: np.random.Generator
) -> tuple[Image, Mask]:
    """The picture with a candidate for a defect of a kind of `LIFELIKE`, and where it can be seen.

    With areas of labelled defects cracks, pits, scratches (clear or not), missing and displaced
    parts are about as large as one of them. Without background, missing parts become displaced
    ones. The mask may be empty.
    """
    drawn, shape = LIFELIKE[kind](_closed(surface), generator)
    if is_grey(surface.image):
        changed = (drawn != surface.image).any(axis=2, keepdims=True)
        drawn = np.where(changed, grey(drawn), surface.image)
    return drawn, visible(surface.image, drawn, shape)


def areas_of(mask: Mask) -> list[float]:
    """The areas in pixels of all pieces (8-connected) of a mask: sizes to draw defects by."""
    _, _, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return [float(area) for area in statistics[1:, cv2.CC_STAT_AREA]]


def _draw_engraved(
    surface: Surface,
    generator: np.random.Generator,
    *,
    opacity_of: Callable[..., Plane],
    dark_share: float,
    lit_share: float,
    noise_multiple: float = NOISE_MULTIPLE,
) -> tuple[Image, Mask]:
    opacity = opacity_of(
        surface.size,
        generator,
        foreground=surface.foreground,
        area_px=_labelled_area(surface, generator),
    )
    opacity = _on_object(opacity, surface.foreground)
    return engrave(
        surface.image,
        opacity,
        generator,
        dark_share=dark_share,
        lit_share=lit_share,
        noise_multiple=noise_multiple,
    )


def _draw_shade(surface: Surface, generator: np.random.Generator) -> tuple[Image, Mask]:
    """A large region a little darker or lighter, its texture kept."""
    region = soft_region(surface.size, generator, foreground=surface.foreground)
    sigma = min(surface.size) * log_uniform(generator, *SHADE_EDGES)
    hard = region if surface.foreground is None else region * surface.foreground
    opacity = np.asarray(cv2.GaussianBlur(hard, (0, 0), sigma))
    gain = generator.choice([-1, 1]) * generator.uniform(*SHADE_GAINS)
    tint = 1 + generator.uniform(0, 0.3) * generator.uniform(-1, 1, 3)
    share = gain * opacity[:, :, None] * tint
    level = np.median(surface.image[opacity > 0.5]) if (opacity > 0.5).any() else 0.0
    return as_image(surface.image * (1 + share) + share * 0.1 * level), opacity >= 0.5


def _draw_missing(surface: Surface, generator: np.random.Generator) -> tuple[Image, Mask]:
    """A piece out of the object's edge: the background shows, mirrored at the edge."""
    if surface.foreground is None:
        return _draw_displaced(surface, generator)
    inside = _without_holes(surface.foreground)
    if min(inside.mean(), 1 - inside.mean()) < LEAST_BACKGROUND:
        return _draw_displaced(surface, generator)
    rim = inside & ~cv2.erode(inside.astype(np.uint8), _square(5)).astype(bool)
    centre = draw_point(surface.size, generator, rim)
    opacity = _on_object(_part_opacity(surface, generator, centre), inside)
    return _blended(surface.image, _background_alone(surface.image, inside), opacity)


def _draw_displaced(surface: Surface, generator: np.random.Generator) -> tuple[Image, Mask]:
    """A part of the picture itself, turned, put elsewhere: each patch is normal, not its place."""
    centre = draw_point(surface.size, generator, surface.foreground)
    origin = draw_point(surface.size, generator, surface.foreground)
    move = cv2.getRotationMatrix2D(origin[::-1], generator.uniform(-180, 180), 1.0)
    move[:, 2] += np.subtract(centre, origin)[::-1]
    moved = cv2.warpAffine(
        surface.image, move, surface.size[::-1], borderMode=cv2.BORDER_REFLECT_101
    )
    opacity = _on_object(_part_opacity(surface, generator, centre), surface.foreground)
    return _blended(surface.image, np.asarray(moved, np.float32), opacity)


_draw_crack = partial(_draw_engraved, opacity_of=crack_opacity, dark_share=0.9, lit_share=0.25)
_draw_scratch = partial(_draw_engraved, opacity_of=scratch_opacity, dark_share=0.45, lit_share=0.2)
LIFELIKE: Mapping[str, Drawer] = {
    "cracks": _draw_crack,
    "pits": partial(_draw_engraved, opacity_of=pit_opacity, dark_share=0.8, lit_share=0.4),
    "scratches": _draw_scratch,
    "shades": _draw_shade,
    "missing": _draw_missing,
    "displaced": _draw_displaced,
    "clear_cracks": partial(
        _draw_crack,
        opacity_of=partial(crack_opacity, thin=CLEAR_CRACK),
        noise_multiple=CLEAR_NOISE_MULTIPLE,
    ),
    "clear_scratches": partial(
        _draw_scratch,
        opacity_of=partial(scratch_opacity, thin=CLEAR_SCRATCH),
        noise_multiple=CLEAR_NOISE_MULTIPLE,
    ),
}


def _closed(surface: Surface) -> Surface:
    """The surface, its object without the specks that estimates have where it is dark or shiny."""
    if surface.foreground is None:
        return surface
    size = round(SPECK * min(surface.size)) | 1
    plane = surface.foreground.astype(np.uint8)
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    closed = cv2.morphologyEx(plane, cv2.MORPH_CLOSE, disk)
    return replace(surface, foreground=closed.astype(bool))


def _labelled_area(surface: Surface, generator: np.random.Generator) -> float | None:
    """About the area of a random labelled defect; None where none is known."""
    if not len(surface.areas_px):
        return None
    area = float(surface.areas_px[int(generator.integers(len(surface.areas_px)))])
    return area * float(np.exp(generator.normal(0, SIZE_SPREAD)))


def _part_opacity(
    surface: Surface, generator: np.random.Generator, centre: tuple[float, float]
) -> Plane:
    """Opacity of a part with a broken outline around `centre` (row, column), of a labelled area,
    else 0.1 to 5 % of the picture.
    """
    pixels = surface.size[0] * surface.size[1]
    area = _labelled_area(surface, generator) or pixels * log_uniform(generator, *PART_AREAS)
    stretch, roughness = log_uniform(generator, 1.0, 2.5), generator.uniform(0.1, 0.5)
    depth = outline_depth(surface.size, generator, centre, area, stretch, roughness)
    return np.clip(depth + 0.5, 0, 1).astype(np.float32)


def _blended(
    image: Image, source: Float32[np.ndarray, "height width 3"], opacity: Plane
) -> tuple[Image, Mask]:
    return as_image(image + opacity[:, :, None] * (source - image)), opacity >= 0.5


def _on_object(opacity: Plane, inside: Mask | None) -> Plane:
    """The opacity, gone where the object ends."""
    if inside is None:
        return opacity
    return opacity * np.asarray(cv2.blur(inside.astype(np.float32), (3, 3)))


def _without_holes(inside: Mask) -> Mask:
    """The object with everything that it encloses: what remains is background."""
    outlines, _ = cv2.findContours(
        inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    filled = np.zeros(inside.shape, np.uint8)
    cv2.drawContours(filled, outlines, -1, 1, cv2.FILLED)
    return filled.astype(bool)


def _background_alone(image: Image, inside: Mask) -> Float32[np.ndarray, "height width 3"]:
    """The picture without its object: what lies as far outside of the edge, else nearest to it."""
    covered = cv2.dilate(inside.astype(np.uint8), _square(2 * HALO_PX + 1))
    _, labels = cv2.distanceTransformWithLabels(
        covered, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    nearest_one = np.asarray(labels, np.int64)
    place = np.zeros((int(nearest_one.max()) + 1, 2), np.int64)
    place[nearest_one[covered == 0]] = np.argwhere(covered == 0)
    nearest = np.moveaxis(place[nearest_one], 2, 0)
    limits = np.array(inside.shape)[:, None, None] - 1
    mirrored = np.clip(2 * nearest - np.mgrid[0 : inside.shape[0], 0 : inside.shape[1]], 0, limits)
    rows, columns = np.where(covered[tuple(mirrored)] == 0, mirrored, nearest)
    return image[rows, columns].astype(np.float32)


def _square(size: int) -> UInt8[np.ndarray, "size size"]:
    return np.ones((size, size), np.uint8)
