"""What simulated defects are filled with: a foreign texture, the picture itself distorted and
shuffled, a plain fill, or a change of shade.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from adclick.data.images import read_image
from adclick.data.shapes import log_uniform, perlin_noise, turned_by

TEXTURE_SHARE = 0.5  # MemSeg: foreign texture or the picture itself, equally often
BLEND = (0.5, 1.0)  # MemSeg: how much of the source is blended in
SHUFFLED_CELLS = 8
Image = UInt8[np.ndarray, "height width 3"]


def synthetic_texture(shape: tuple[int, int], generator: np.random.Generator) -> Image:
    """A made-up texture of two colours: clouds, stripes, grains or a gradient, with noise."""
    draw = (_clouds, _stripes, _grains, _gradient)[int(generator.integers(4))]
    colours = [_colour(generator), _colour(generator)]
    share = draw(shape, generator)[:, :, None]
    noise = generator.uniform(0, 12) * generator.standard_normal((*shape, 1))
    return as_image(colours[0] + share * (colours[1] - colours[0]) + noise)


def _clouds(shape: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    octaves = [
        perlin_noise(shape, (2**power, 2**power), generator) / 2**power for power in (1, 2, 3, 4)
    ]
    return np.clip(0.5 + np.sum(octaves, axis=0), 0, 1)


def _stripes(shape: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    along, _ = turned_by(shape, (0.0, 0.0), generator.uniform(0, np.pi))
    period = min(shape) * log_uniform(generator, 0.02, 0.2)
    return 0.5 + 0.5 * np.sin(2 * np.pi * along / period)


def _grains(shape: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    sigma = min(shape) * log_uniform(generator, 0.003, 0.03)
    noise = cv2.GaussianBlur(generator.standard_normal(shape), (0, 0), sigma)
    return np.clip(0.5 + 0.35 * noise / noise.std(), 0, 1)


def _gradient(shape: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    along, _ = turned_by(shape, (0.0, 0.0), generator.uniform(0, 2 * np.pi))
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
    return as_image(textured * gain * tint + offset)


def fill(image: Image, generator: np.random.Generator) -> Image:
    """A nearly plain surface: a dark pit, a light deposit, or any colour."""
    extremes = (generator.uniform(0, 45), generator.uniform(200, 255))
    extreme = np.full(3, extremes[int(generator.integers(2))])
    colour = extreme if generator.random() < 0.6 else _colour(generator)
    gradient = generator.uniform(-60, 60) * _gradient(image.shape[:2], generator)[:, :, None]
    noise = generator.uniform(0, 10) * generator.standard_normal((*image.shape[:2], 1))
    return as_image(colour + gradient + noise)


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


def draw_source(
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
    return (grey(source) if is_grey(image) else source), strength


def _texture(
    shape: tuple[int, int], generator: np.random.Generator, textures: Sequence[Path] | None
) -> Image:
    if not textures:
        return synthetic_texture(shape, generator)
    picture = read_image(textures[int(generator.integers(len(textures)))])
    return cv2.resize(picture, shape[::-1], interpolation=cv2.INTER_LINEAR)  # pyright: ignore


def _gamma(image: Image, generator: np.random.Generator) -> Image:
    return as_image(255 * (image / 255) ** generator.uniform(0.5, 2.0, 3))


def _brightness(image: Image, generator: np.random.Generator) -> Image:
    return as_image(image * generator.uniform(0.8, 1.2) + generator.uniform(-30, 30))


def _sharpen(image: Image, generator: np.random.Generator) -> Image:
    smooth = cv2.GaussianBlur(image, (0, 0), 2.0).astype(np.float32)
    return as_image(image + generator.uniform(0.5, 3.0) * (image - smooth))


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
    return as_image((image - low) * 255 / np.maximum(high - low, 1))


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


def _colour(generator: np.random.Generator) -> np.ndarray:
    """A colour as materials have them: mostly near grey, sometimes any."""
    if generator.random() < 0.3:
        return generator.uniform(0, 255, 3)
    return np.clip(generator.uniform(0, 255) + generator.normal(0, 25, 3), 0, 255)


def is_grey(image: Image) -> bool:
    """Whether a sample of the pixels has hardly any colour: the camera was grey."""
    return bool(np.ptp(image[::4, ::4].astype(np.int16), axis=2).mean() < 3)


def grey(image: Image) -> Image:
    """The picture without its colour, in three equal planes."""
    return np.repeat(np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[:, :, None], 3, axis=2)


def as_image(values: np.ndarray) -> Image:
    """Values rounded and cut to 0 … 255."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
