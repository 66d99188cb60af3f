"""Simulated defects on normal pictures, and more training pictures made of a few labelled defects.

A simulated defect is a shape filled from a source. Shapes: streaks (Perlin noise, scratches),
solid blobs, and large soft regions. Sources: a foreign texture, the picture itself distorted and
shuffled, a plain fill, or a change of shade. Real defects are seldom streaks, nor are most shapes.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from adclick.data.images import read_image

SHAPE_SHARES: Mapping[str, float] = {"streaks": 0.25, "blobs": 0.5, "soft_regions": 0.25}
TEXTURE_SHARE = 0.5  # MemSeg: foreign texture or the picture itself, equally often
BLEND = (0.5, 1.0)  # MemSeg: how much of the source is blended in
PERLIN_THRESHOLD = 0.5
PERLIN_POWERS = 6  # cells per axis: 1, 2, ... 32
SHUFFLED_CELLS = 8
LARGEST_SHARE = 0.6  # of the picture: a defect that covers more is drawn again
VISIBLE = 8.0  # mean change in grey levels below which nobody could see, or click, the defect
ATTEMPTS = 40
TURN = 45.0  # degrees, of a pasted defect; reference implementation of the expansion
SCALE = (0.8, 1.2)

Image = UInt8[np.ndarray, "height width 3"]
Mask = Bool[np.ndarray, "height width"]
Plane = Float32[np.ndarray, "height width"]


@runtime_checkable
class Pictures(Protocol):
    """Pictures that are read one at a time: a list, an array, or an array in a file."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def __getitem__(self, index: int, /) -> np.ndarray:
        """The picture of that index, uint8 [height width 3]."""
        ...


# --- what the stages call -----------------------------------------------------------------------


def simulate_defect(
    image: Image,
    generator: np.random.Generator,
    *,
    foreground: Mask | None = None,
    textures: Sequence[Path] | None = None,
    shares: Mapping[str, float] = SHAPE_SHARES,
    texture_share: float = TEXTURE_SHARE,
    minimum_area_px: int = 16,
) -> tuple[Image, Mask]:
    """The picture with a made-up defect, and the defect's mask.

    `shares` weighs the kinds of shape (keys of `SHAPE_SHARES`; absent means never). `textures` are
    picture files to fill shapes with; without any, textures are made up. Each piece of the mask has
    at least `minimum_area_px` pixels, can be seen, and with a `foreground` lies in it by half;
    where a piece was refused the picture is as before. Soft edges reach beyond the mask, which is
    true where the defect's opacity is at least half of its highest.

    Source: MemSeg's simulation (arXiv 2205.00908) for streaks, textures and shuffling; the other
    shapes and sources are ours.
    """
    _check_shares(shares)
    if foreground is not None and not foreground.any():
        foreground = None
    for _ in range(ATTEMPTS):
        kind = _choose(generator, shares)
        opacity = _opacity(kind, image.shape[:2], generator, foreground)
        source, strength = _source(kind, image, generator, textures, texture_share)
        opacity *= strength
        candidate = _blend(image, source, opacity)
        shape = opacity >= 0.5 * strength
        mask = _keep_pieces(shape, _visible(image, candidate, shape), foreground, minimum_area_px)
        if minimum_area_px <= mask.sum() <= LARGEST_SHARE * mask.size:
            return _undo(image, candidate, mask, shape & ~mask), mask
    return _plain_spot(image, generator, foreground, minimum_area_px)


def drawing_generator(sha256: str, *numbers: int) -> np.random.Generator:
    """What defects are drawn from on a picture: a function of its file (the checksum, in hex) and
    of `numbers` alone, so that pictures of other categories do not get the same defects, and the
    simulated ones of a picture do not depend on its place or on other pictures.
    """
    return np.random.default_rng([*numbers, int(sha256[:16], 16)])


def expand_defect(
    image: Image,
    label: Plane,
    normal_images: Pictures,
    generator: np.random.Generator,
    *,
    textures: Sequence[Path] | None = None,
    shares: Mapping[str, float] = SHAPE_SHARES,
    texture_share: float = TEXTURE_SHARE,
    minimum_area_px: int = 16,
) -> tuple[Image, Plane, int | None]:
    """A training picture made of a labelled real defect, its label, and the normal picture used.

    `label` is the probability of being defective. Half of the time (always, when no pixel is above
    0.5) a simulated defect is added and its pixels labelled 1. Else the defect's pixels, turned by
    up to 45 degrees and scaled by 0.8 to 1.2 about their centre, are pasted on a random normal
    picture, whose index is returned; they keep their probabilities, and all others get 0.

    Source: the reference implementation's expansion; there a pasted defect's label is 0 or 1.
    """
    if (label > 0.5).any() and generator.random() < 0.5:
        index = int(generator.integers(len(normal_images)))
        normal = np.asarray(normal_images[index])
        enough = min(minimum_area_px, np.count_nonzero(label > 0.5) / 2)
        for _ in range(ATTEMPTS):
            pasted, pasted_label = _paste(image, label, normal, generator)
            if np.count_nonzero(pasted_label > 0.5) >= enough:
                return pasted, pasted_label, index
    simulated, mask = simulate_defect(
        image,
        generator,
        textures=textures,
        shares=shares,
        texture_share=texture_share,
        minimum_area_px=minimum_area_px,
    )
    return simulated, np.where(mask, np.float32(1), label), None


# --- shapes -------------------------------------------------------------------------------------


def perlin_noise(
    shape: tuple[int, int], resolution: tuple[int, int], generator: np.random.Generator
) -> Plane:
    """Gradient noise with `resolution` cells along each axis, in [-1, 1], 0 at the cells' corners.

    Source: Perlin, "Improving noise" (2002), fade 6t^5 - 15t^4 + 10t^3; scaled by the root of 2.
    """
    angles = generator.uniform(0, 2 * np.pi, (resolution[0] + 1, resolution[1] + 1))
    sines, cosines = np.sin(angles), np.cos(angles)
    row, down = _cells(shape[0], resolution[0])
    column, right = _cells(shape[1], resolution[1])

    def slope(row_step: int, column_step: int) -> np.ndarray:
        corner = np.ix_(row + row_step, column + column_step)
        rise = sines[corner] * (down - row_step)[:, None]
        return rise + cosines[corner] * (right - column_step)[None, :]

    fade_down, fade_right = _fade(down)[:, None], _fade(right)[None, :]
    top = slope(0, 0) + fade_right * (slope(0, 1) - slope(0, 0))
    bottom = slope(1, 0) + fade_right * (slope(1, 1) - slope(1, 0))
    return (np.sqrt(2) * (top + fade_down * (bottom - top))).astype(np.float32)


def perlin_mask(shape: tuple[int, int], generator: np.random.Generator) -> Mask:
    """Streaks: Perlin noise of random fineness along each axis, turned, above 0.5."""
    powers = generator.integers(0, PERLIN_POWERS, 2)
    noise = perlin_noise(shape, (int(2 ** powers[0]), int(2 ** powers[1])), generator)
    height, width = shape
    turn = cv2.getRotationMatrix2D(
        ((width - 1) / 2, (height - 1) / 2), generator.uniform(-90, 90), 1.0
    )
    turned = cv2.warpAffine(noise, turn, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(turned) > PERLIN_THRESHOLD


def scratch_mask(shape: tuple[int, int], generator: np.random.Generator) -> Mask:
    """One to three thin wandering lines, 0.4 to 1.2 % of the picture's side wide."""
    canvas = np.zeros(shape, np.uint8)
    side = min(shape)
    for _ in range(int(generator.integers(1, 4))):
        steps = int(generator.integers(6, 24))
        headings = generator.uniform(0, 2 * np.pi) + np.cumsum(
            generator.uniform(0.02, 0.5) * generator.standard_normal(steps)
        )
        stride = side * _log_uniform(generator, 0.08, 0.7) / steps
        points = np.cumsum(stride * np.column_stack([np.cos(headings), np.sin(headings)]), axis=0)
        points += generator.uniform(0, 1, 2) * shape[::-1] - points.mean(axis=0)
        thickness = max(1, round(side * generator.uniform(0.004, 0.012)))
        cv2.polylines(canvas, [np.rint(points).astype(np.int32)], False, 1, thickness)
    return canvas.astype(bool)


def blob_mask(
    shape: tuple[int, int],
    generator: np.random.Generator,
    *,
    foreground: Mask | None = None,
) -> Mask:
    """One to three solid spots with an irregular outline, each 0.05 to 8 % of the picture.

    Their centres fall on the foreground, when there is one.
    """
    mask = np.zeros(shape, bool)
    for _ in range(1 + int(generator.integers(0, 3)) * int(generator.random() < 0.35)):
        area = _log_uniform(generator, 0.0005, 0.08) * shape[0] * shape[1]
        centre = _point(shape, generator, foreground)
        roughness = generator.uniform(0.0, 0.35)
        stretch = _log_uniform(generator, 1.0, 3.0)
        mask |= _outline_depth(shape, generator, centre, area, stretch, roughness) > 0
    return mask


def soft_region(
    shape: tuple[int, int],
    generator: np.random.Generator,
    *,
    foreground: Mask | None = None,
) -> Plane:
    """Opacity of a large region, about 5 to 35 % of the picture, its edge sharp to very soft.

    An oval, a band along one border, a rounded rectangle, or a cloud.
    """
    share = generator.uniform(0.05, 0.35)
    draw = (_oval_depth, _band_depth, _patch_depth, _cloud_depth)[int(generator.integers(4))]
    depth = draw(shape, generator, share, foreground)
    softness = _log_uniform(generator, 0.004, 0.15) * min(shape)
    ramp = np.clip(depth / softness + 0.5, 0, 1)
    return (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)


def _oval_depth(
    shape: tuple[int, int], generator: np.random.Generator, share: float, foreground: Mask | None
) -> Plane:
    area = share * shape[0] * shape[1]
    centre = _point(shape, generator, foreground)
    return _outline_depth(shape, generator, centre, area, _log_uniform(generator, 1.0, 3.0), 0.15)


def _band_depth(
    shape: tuple[int, int], generator: np.random.Generator, share: float, _: Mask | None
) -> Plane:
    """A strip along a random border, its edge slanted and wavy."""
    height, width = shape
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    across, along = (rows, columns) if generator.random() < 0.5 else (columns, rows)
    length, extent = float(across.max()) + 1, float(along.max()) + 1
    if generator.random() < 0.5:
        across = length - 1 - across
    knots = generator.standard_normal(6) * generator.uniform(0, 0.03) * length
    waves = np.interp(np.arange(extent), np.linspace(0, extent - 1, 6), knots)
    slant = generator.uniform(-0.15, 0.15) * (along - extent / 2)
    edge = share * length + waves[along.astype(np.int64)] + slant
    return (edge - across).astype(np.float32)


def _patch_depth(
    shape: tuple[int, int], generator: np.random.Generator, share: float, foreground: Mask | None
) -> Plane:
    """A turned rectangle with rounded corners."""
    stretch = _log_uniform(generator, 1.0, 3.0)
    side = np.sqrt(share * shape[0] * shape[1] / stretch)
    half = np.array([side * stretch, side]) / 2
    centre = _point(shape, generator, foreground)
    along, across = _turned(shape, centre, generator.normal(0, 0.2) + _quarter(generator))
    corner = generator.uniform(0.02, 0.5) * side / 2
    beyond_x, beyond_y = np.abs(along) - half[0] + corner, np.abs(across) - half[1] + corner
    outside = np.hypot(np.maximum(beyond_x, 0), np.maximum(beyond_y, 0))
    inside = np.minimum(np.maximum(beyond_x, beyond_y), 0)
    return (corner - outside - inside).astype(np.float32)


def _cloud_depth(
    shape: tuple[int, int], generator: np.random.Generator, share: float, _: Mask | None
) -> Plane:
    """The highest parts of coarse noise, at most the two largest of them."""
    cells = int(generator.integers(1, 4))
    noise = perlin_noise(shape, (cells, cells), generator)
    high = (noise > np.quantile(noise, 1 - share)).astype(np.uint8)
    count, pieces = cv2.connectedComponents(high)
    areas = np.bincount(np.asarray(pieces).ravel(), minlength=count)[1:]
    largest = np.argsort(areas, kind="stable")[-2:] + 1
    cloud = np.isin(pieces, largest).astype(np.uint8)
    return np.asarray(_distance_inside(cloud) - _distance_inside(1 - cloud), np.float32)


def _outline_depth(
    shape: tuple[int, int],
    generator: np.random.Generator,
    centre: tuple[float, float],
    area: float,
    stretch: float,
    roughness: float,
) -> Plane:
    """Roughly how many pixels each point lies inside an irregular oval (negative outside)."""
    along, across = _turned(shape, centre, generator.uniform(0, np.pi))
    along, across = along / float(np.sqrt(stretch)), across * float(np.sqrt(stretch))
    angle = np.arctan2(across, along)
    outline = np.ones_like(angle)
    for harmonic in range(2, 9):
        amplitude = roughness * generator.standard_normal() / harmonic
        outline += amplitude * np.cos(harmonic * angle + generator.uniform(0, 2 * np.pi))
    radius = float(np.sqrt(area / np.pi)) * np.maximum(outline, 0.2)
    return radius - np.sqrt(along * along + across * across)


def _turned(
    shape: tuple[int, int], centre: tuple[float, float], angle: float
) -> tuple[Plane, Plane]:
    """Positions along and across an axis through `centre` (row, column), in pixels."""
    rows = np.arange(shape[0], dtype=np.float32)[:, None] - np.float32(centre[0])
    columns = np.arange(shape[1], dtype=np.float32)[None, :] - np.float32(centre[1])
    cosine, sine = float(np.cos(angle)), float(np.sin(angle))
    return columns * cosine + rows * sine, rows * cosine - columns * sine


# --- sources ------------------------------------------------------------------------------------


def synthetic_texture(shape: tuple[int, int], generator: np.random.Generator) -> Image:
    """A made-up texture of two colours: clouds, stripes, grains or a gradient, with noise."""
    draw = (_clouds, _stripes, _grains, _gradient)[int(generator.integers(4))]
    colours = [_colour(generator), _colour(generator)]
    share = draw(shape, generator)[:, :, None]
    noise = generator.uniform(0, 12) * generator.standard_normal((*shape, 1))
    return _as_image(colours[0] + share * (colours[1] - colours[0]) + noise)


def _clouds(shape: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    octaves = [
        perlin_noise(shape, (2**power, 2**power), generator) / 2**power for power in (1, 2, 3, 4)
    ]
    return np.clip(0.5 + np.sum(octaves, axis=0), 0, 1)


def _stripes(shape: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    along, _ = _turned(shape, (0.0, 0.0), generator.uniform(0, np.pi))
    period = min(shape) * _log_uniform(generator, 0.02, 0.2)
    return 0.5 + 0.5 * np.sin(2 * np.pi * along / period)


def _grains(shape: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    sigma = min(shape) * _log_uniform(generator, 0.003, 0.03)
    noise = cv2.GaussianBlur(generator.standard_normal(shape), (0, 0), sigma)
    return np.clip(0.5 + 0.35 * noise / noise.std(), 0, 1)


def _gradient(shape: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    along, _ = _turned(shape, (0.0, 0.0), generator.uniform(0, 2 * np.pi))
    return 0.3 * (along - along.min()) / (np.ptp(along) + 1)


def structural_source(image: Image, generator: np.random.Generator) -> Image:
    """The picture itself, through three different random operations, then shuffled on an 8x8 grid.

    Source: MemSeg's structural branch; the operations are those of the reference implementation.
    """
    for index in generator.choice(len(OPERATIONS), 3, replace=False):
        image = OPERATIONS[int(index)](image, generator)
    return shuffle_cells(image, generator)


def shuffle_cells(image: Image, generator: np.random.Generator) -> Image:
    """The picture cut into 8x8 equal cells in a random order; rows and columns left over stay."""
    height, width = (length // SHUFFLED_CELLS for length in image.shape[:2])
    cells = image[: height * SHUFFLED_CELLS, : width * SHUFFLED_CELLS].reshape(
        SHUFFLED_CELLS, height, SHUFFLED_CELLS, width, 3
    )
    order = generator.permutation(SHUFFLED_CELLS**2)
    flat = cells.swapaxes(1, 2).reshape(-1, height, width, 3)[order]
    whole = flat.reshape(SHUFFLED_CELLS, SHUFFLED_CELLS, height, width, 3).swapaxes(1, 2)
    shuffled = image.copy()
    shuffled[: height * SHUFFLED_CELLS, : width * SHUFFLED_CELLS] = whole.reshape(
        height * SHUFFLED_CELLS, width * SHUFFLED_CELLS, 3
    )
    return shuffled


def shade(image: Image, generator: np.random.Generator) -> Image:
    """The picture darker or lighter, tinted, flatter or crisper: wear, wetness, uneven finish."""
    gain = np.exp(generator.choice([-1, 1]) * generator.uniform(0.15, 0.7))
    tint = 1 + generator.uniform(0, 0.25) * generator.uniform(-1, 1, 3)
    offset = generator.uniform(-20, 20)
    smooth = cv2.GaussianBlur(image, (0, 0), min(image.shape[:2]) * generator.uniform(0.005, 0.03))
    contrast = generator.uniform(0.2, 1.5)
    textured = smooth + contrast * (image.astype(np.float32) - smooth)
    return _as_image(textured * gain * tint + offset)


def fill(image: Image, generator: np.random.Generator) -> Image:
    """A nearly plain surface: a dark pit, a light deposit, or any colour."""
    extremes = (generator.uniform(0, 45), generator.uniform(200, 255))
    extreme = np.full(3, extremes[int(generator.integers(2))])
    colour = extreme if generator.random() < 0.6 else _colour(generator)
    gradient = generator.uniform(-60, 60) * _gradient(image.shape[:2], generator)[:, :, None]
    noise = generator.uniform(0, 10) * generator.standard_normal((*image.shape[:2], 1))
    return _as_image(colour + gradient + noise)


def displace(image: Image, generator: np.random.Generator) -> Image:
    """The picture turned a little and moved by 2 to 8 % of its side: a part out of place."""
    height, width = image.shape[:2]
    angle = generator.uniform(0, 2 * np.pi)
    distance = generator.uniform(0.02, 0.08) * min(height, width)
    move = cv2.getRotationMatrix2D(
        ((width - 1) / 2, (height - 1) / 2), generator.uniform(-15, 15), 1.0
    )
    move[:, 2] += distance * np.array([np.cos(angle), np.sin(angle)])
    moved = cv2.warpAffine(image, move, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(moved, np.uint8)


def _source(
    kind: str,
    image: Image,
    generator: np.random.Generator,
    textures: Sequence[Path] | None,
    texture_share: float,
) -> tuple[Image, float]:
    """What a shape is filled with, and how strongly: a large region is mostly a change of shade."""
    is_large = kind == "soft_regions"
    if generator.random() < (0.7 if is_large else 0.4):
        draw = shade if is_large else (shade, fill, displace)[int(generator.integers(3))]
        source, strength = draw(image, generator), 1.0
    else:
        strength = generator.uniform(*BLEND)
        if generator.random() < texture_share:
            source = _texture(image.shape[:2], generator, textures)
        else:
            source = structural_source(image, generator)
    return (_grey(source) if _is_grey(image) else source), strength


def _texture(
    shape: tuple[int, int], generator: np.random.Generator, textures: Sequence[Path] | None
) -> Image:
    if not textures:
        return synthetic_texture(shape, generator)
    picture = read_image(textures[int(generator.integers(len(textures)))])
    return cv2.resize(picture, shape[::-1], interpolation=cv2.INTER_LINEAR)  # pyright: ignore


# --- operations on the picture itself -----------------------------------------------------------


def _gamma(image: Image, generator: np.random.Generator) -> Image:
    return _as_image(255 * (image / 255) ** generator.uniform(0.5, 2.0, 3))


def _brightness(image: Image, generator: np.random.Generator) -> Image:
    return _as_image(image * generator.uniform(0.8, 1.2) + generator.uniform(-30, 30))


def _sharpen(image: Image, generator: np.random.Generator) -> Image:
    smooth = cv2.GaussianBlur(image, (0, 0), 2.0).astype(np.float32)
    return _as_image(image + generator.uniform(0.5, 3.0) * (image - smooth))


def _hue_saturation(image: Image, generator: np.random.Generator) -> Image:
    hue, saturation, value = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV))
    turned = (hue.astype(np.int32) + int(generator.integers(-50, 51))) % 180
    stronger = np.clip(saturation.astype(np.int32) + int(generator.integers(-50, 51)), 0, 255)
    planes = [turned.astype(np.uint8), stronger.astype(np.uint8), value]
    return np.asarray(cv2.cvtColor(cv2.merge(planes), cv2.COLOR_HSV2RGB), np.uint8)


def _solarize(image: Image, generator: np.random.Generator) -> Image:
    return np.where(image >= generator.integers(32, 129), 255 - image, image).astype(np.uint8)


def _posterize(image: Image, generator: np.random.Generator) -> Image:
    step = 2 ** int(generator.integers(4, 8))
    return (image // step * step).astype(np.uint8)


def _invert(image: Image, _: np.random.Generator) -> Image:
    return 255 - image


def _stretch_contrast(image: Image, _: np.random.Generator) -> Image:
    low, high = image.min(axis=(0, 1)).astype(float), image.max(axis=(0, 1)).astype(float)
    return _as_image((image - low) * 255 / np.maximum(high - low, 1))


def _equalize(image: Image, _: np.random.Generator) -> Image:
    planes = [cv2.equalizeHist(plane) for plane in cv2.split(image)]
    return np.asarray(cv2.merge(planes), np.uint8)


def _rotate(image: Image, generator: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D(
        ((width - 1) / 2, (height - 1) / 2), generator.uniform(-45, 45), 1.0
    )
    turned = cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(turned, np.uint8)


OPERATIONS: tuple[Callable[[Image, np.random.Generator], Image], ...] = (
    _gamma,
    _brightness,
    _sharpen,
    _hue_saturation,
    _solarize,
    _posterize,
    _invert,
    _stretch_contrast,
    _equalize,
    _rotate,
)


# --- putting a defect in, and judging it --------------------------------------------------------


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
    area = _log_uniform(generator, 0.03, 1.0) * shape[0] * shape[1]
    centre = _point(shape, generator, foreground)
    near = _outline_depth(shape, generator, centre, area, 1.5, 0.1) > 0
    return _plane(perlin_mask(shape, generator) & near)


def _blend(image: Image, source: Image, opacity: Plane) -> Image:
    share = opacity[:, :, None]
    return _as_image(image + share * (source.astype(np.float32) - image))


def _visible(image: Image, candidate: Image, shape: Mask) -> Mask:
    """Where in a shape the picture changed enough to be seen, on average over a neighbourhood."""
    size = 2 * round(0.015 * min(shape.shape)) + 3
    red, green, blue = cv2.split(cv2.absdiff(candidate, image))
    change = np.maximum(np.maximum(red, green), blue).astype(np.float32) * shape
    around = cv2.blur(_plane(shape), (size, size))
    return shape & (np.asarray(cv2.blur(change, (size, size))) > VISIBLE * np.asarray(around))


def _keep_pieces(shape: Mask, visible: Mask, foreground: Mask | None, minimum_area_px: int) -> Mask:
    """The connected pieces that are large enough, visible by 3/4, and by half in the foreground."""
    count, labels = cv2.connectedComponents(shape.astype(np.uint8), connectivity=8)
    pieces = np.asarray(labels, np.int64)
    areas = np.bincount(pieces.ravel(), minlength=count)
    seen = np.bincount(pieces[visible], minlength=count)
    inside = areas if foreground is None else np.bincount(pieces[foreground], minlength=count)
    kept = (areas >= minimum_area_px) & (4 * seen >= 3 * areas) & (2 * inside >= areas)
    kept[0] = False
    return kept[pieces]


def _undo(image: Image, candidate: Image, kept: Mask, refused: Mask) -> Image:
    """The candidate, but as before wherever a refused piece, or its soft edge, is nearer."""
    if not refused.any():
        return candidate
    to_kept = _distance_inside((~kept).astype(np.uint8))
    to_refused = _distance_inside((~refused).astype(np.uint8))
    return np.where((to_refused < to_kept)[:, :, None], image, candidate)


def _plain_spot(
    image: Image, generator: np.random.Generator, foreground: Mask | None, minimum_area_px: int
) -> tuple[Image, Mask]:
    """A black or white disk where there is most room: what remains when every draw was refused."""
    room = np.ones(image.shape[:2], bool) if foreground is None else foreground
    depth = _distance_inside(np.pad(room, 1).astype(np.uint8))[1:-1, 1:-1]
    deep = np.argwhere(depth >= 0.7 * depth.max())
    row, column = deep[int(generator.integers(len(deep)))]
    radius = np.sqrt(minimum_area_px / np.pi) + 2
    rows, columns = np.ogrid[: image.shape[0], : image.shape[1]]
    mask = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    colour = 0 if image[mask].mean() > 127 else 255
    return np.where(mask[:, :, None], np.uint8(colour), image), mask


def _paste(
    image: Image, label: Plane, normal: Image, generator: np.random.Generator
) -> tuple[Image, Plane]:
    height, width = label.shape
    row, column = np.argwhere(label > 0.5).mean(axis=0)
    move = cv2.getRotationMatrix2D(
        (float(column), float(row)), generator.uniform(-TURN, TURN), generator.uniform(*SCALE)
    )
    turned = cv2.warpAffine(image, move, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    moved = np.asarray(cv2.warpAffine(label, move, (width, height)))
    defective = moved > 0.5
    return np.where(defective[:, :, None], turned, normal), np.where(
        defective, moved, np.float32(0)
    )


# --- small parts --------------------------------------------------------------------------------


def _check_shares(shares: Mapping[str, float]) -> None:
    unknown = set(shares) - set(SHAPE_SHARES)
    if unknown or min(shares.values(), default=0) < 0 or sum(shares.values()) <= 0:
        raise ValueError(f"shares {dict(shares)}: weights of {', '.join(SHAPE_SHARES)} needed")


def _choose(generator: np.random.Generator, shares: Mapping[str, float]) -> str:
    names = sorted(shares)
    weights = np.array([shares[name] for name in names], float)
    return names[int(generator.choice(len(names), p=weights / weights.sum()))]


def _point(
    shape: tuple[int, int], generator: np.random.Generator, foreground: Mask | None
) -> tuple[float, float]:
    """A random pixel, of the foreground when there is one."""
    if foreground is None:
        return generator.uniform(0, shape[0]), generator.uniform(0, shape[1])
    candidates = np.flatnonzero(foreground)
    row, column = divmod(int(candidates[int(generator.integers(len(candidates)))]), shape[1])
    return float(row), float(column)


def _distance_inside(region: UInt8[np.ndarray, "height width"]) -> Plane:
    """Distance in pixels from each point of a region to the nearest point outside of it."""
    distance = cv2.distanceTransform(region, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance, np.float32)


def _cells(length: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel, the cell its centre lies in and how far into it, as a share."""
    position = (np.arange(length) + 0.5) * count / length
    cell = np.floor(position).astype(np.int64)
    return cell, position - cell


def _fade(share: np.ndarray) -> np.ndarray:
    return share**3 * (share * (share * 6 - 15) + 10)


def _log_uniform(generator: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(generator.uniform(np.log(low), np.log(high))))


def _quarter(generator: np.random.Generator) -> float:
    return float(generator.integers(2)) * np.pi / 2


def _colour(generator: np.random.Generator) -> np.ndarray:
    """A colour as materials have them: mostly near grey, sometimes any."""
    if generator.random() < 0.3:
        return generator.uniform(0, 255, 3)
    return np.clip(generator.uniform(0, 255) + generator.normal(0, 25, 3), 0, 255)


def _is_grey(image: Image) -> bool:
    """Whether a sample of the pixels has hardly any colour: the camera was grey."""
    return bool(np.ptp(image[::4, ::4].astype(np.int16), axis=2).mean() < 3)


def _grey(image: Image) -> Image:
    return np.repeat(np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[:, :, None], 3, axis=2)


def _plane(mask: Mask) -> Plane:
    return mask.astype(np.float32)


def _as_image(values: np.ndarray) -> Image:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
