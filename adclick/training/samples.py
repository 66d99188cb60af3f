"""Training samples: residual, picture, label and words of one image, drawn as a pure function of
(seed, step).

A `Pool` is one kind of image of one category (normal, simulated, real). Batches mix kinds; within a
kind the category is drawn first, then the image, both uniformly.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Float32, Int8, UInt8
from torch import Tensor

from adclick.clicks.labels import abandon
from adclick.data.geometry import Shape
from adclick.language.words import Texts, draw_text, text_of
from adclick.run.stored import lazily
from adclick.training.windows import draw_view

Array = TypeVar("Array", np.ndarray, Tensor)

LARGEST_DELTA = 0.1  # Sec. 3.4: delta is drawn from [0, 0.1]


@dataclass(frozen=True)
class Pool:
    """Images of one kind of one category, as arrays that are read one image at a time.

    `residuals` [image height width channel] signed and `images` uint8 [image height width 3] are
    indexed by `residual_rows` and `image_rows`; `labels` [image height width] in [0, 1] by
    `label_rows`, None for normal images. `scale` [channel] is the mean square residual of the
    category's normal images. `contents` (by image row) has the sizes of pictures, and `window` the
    side in patches of what a sample shows of one; None: all pictures whole.
    """

    residuals: Any
    images: Any
    labels: Any | None
    residual_rows: Sequence[int]
    image_rows: Sequence[int]
    label_rows: Sequence[int]
    types: Sequence[str]
    texts: Texts
    scale: Float[np.ndarray, " channel"]
    contents: Sequence[Shape] | None = None
    window: int | None = None


class Turn(NamedTuple):
    """Quarter turns against the clock, and whether the result is mirrored left to right."""

    quarters: int
    mirrored: bool


@dataclass(frozen=True)
class Batch:
    """Samples of one step, stacked as they are stored: nothing is turned or scaled yet, so that a
    device can do both.

    Residuals are of the precision in which they are kept, `gains` their factors; labels are 0, 1,
    or -1 where the loss is off. `turns` says how a sample's residual, picture and label are to be
    turned together.
    """

    residuals: Float[np.ndarray, "batch grid_height grid_width channel"]
    gains: Float32[np.ndarray, " batch"]
    scales: Float[np.ndarray, "batch channel"]
    images: UInt8[np.ndarray, "batch height width 3"]
    labels: Int8[np.ndarray, "batch height width"]
    texts: Float[np.ndarray, "batch text_channel token"]
    text_masks: Float[np.ndarray, "batch token"]
    turns: Sequence[Turn]


@dataclass(frozen=True)
class Augmentation:
    """How samples vary: joint flips and quarter turns, log gain of the residual, label abandon (Eq.
    9).
    """

    turn: bool
    gain: float
    abandon: bool


def step_generator(seed: int, step: int, index: int) -> np.random.Generator:
    """The generator of sample `index` of `step`: depends on nothing else, so a resumed run draws
    the same.
    """
    return np.random.default_rng(np.random.SeedSequence([seed, step, index]))


def draw_batch(
    pools: Mapping[str, Sequence[Pool]],
    counts: Mapping[str, int],
    augmentation: Augmentation,
    *,
    seed: int,
    step: int,
) -> Batch:
    """The batch of one step: `counts[kind]` samples of each kind, in the order of `counts`."""
    kinds = [kind for kind, count in counts.items() for _ in range(count)]
    drawn = [
        _draw(pools[kind], augmentation, step_generator(seed, step, index))
        for index, kind in enumerate(kinds)
    ]
    *columns, turns = zip(*drawn, strict=True)
    return Batch(*(np.stack(column) for column in columns), turns=turns)


def _draw(
    pools: Sequence[Pool], augmentation: Augmentation, generator: np.random.Generator
) -> tuple[Any, ...]:
    pool = pools[int(generator.integers(len(pools)))]
    index = int(generator.integers(len(pool.residual_rows)))
    residual = lazily(pool.residuals, pool.residual_rows[index])
    image = lazily(pool.images, pool.image_rows[index])
    label = _label(pool, index, image.shape[:2], augmentation, generator)
    view = draw_view(
        label,
        image.shape[:2] if pool.contents is None else pool.contents[pool.image_rows[index]],
        side=pool.window,
        stride=image.shape[0] // len(residual),
        generator=generator,
    )
    if view is None:
        residual, image = np.asarray(residual), np.asarray(image)
    else:
        residual = view.patches(residual, zeros=True)
        image, label = view.pixels(image), view.labels(label)
    turn = Turn(0, False)
    if augmentation.turn:
        turn = draw_turn(generator, image.shape[:2])
    gain = 1.0
    if augmentation.gain:
        gain = np.exp(generator.uniform(-0.5, 0.5) * augmentation.gain)
    text, mask = draw_text(text_of(pool.texts, pool.types[index]), generator)
    return residual, np.float32(gain), pool.scale, image, label, text, mask, turn


def draw_turn(generator: np.random.Generator, shape: tuple[int, ...]) -> Turn:
    """One of eight turns of a square picture, or of the four that leave another its shape."""
    quarters, mirrored = int(generator.integers(4)), bool(generator.integers(2))
    square = shape[0] == shape[1]
    return Turn(quarters if square else quarters // 2 * 2, mirrored)


def _label(
    pool: Pool,
    index: int,
    shape: tuple[int, ...],
    augmentation: Augmentation,
    generator: np.random.Generator,
) -> Int8[np.ndarray, "height width"]:
    if pool.labels is None:
        return np.zeros(shape, np.int8)
    probability = np.asarray(pool.labels[pool.label_rows[index]], np.float32)
    if augmentation.abandon:
        return abandon(probability, float(generator.uniform(0, LARGEST_DELTA)))
    return (probability > 0.5).astype(np.int8)


def turned(arrays: Array, turns: Sequence[Turn]) -> Array:
    """Every array of a stack [batch height width …] turned as its own turn says, wherever it lies:
    the one warp of all that is turned together.
    """
    parts = [_turned(array, *turn) for array, turn in zip(arrays, turns, strict=True)]
    stacked: Any = torch.stack(parts) if isinstance(arrays, Tensor) else np.stack(parts)
    return stacked


def _turned(array: Any, quarters: int, mirrored: bool) -> Any:
    if isinstance(array, Tensor):
        rotated = array.rot90(quarters, (0, 1))
        return rotated.flip(1) if mirrored else rotated
    rotated = np.rot90(array, quarters, axes=(0, 1))
    return rotated[:, ::-1] if mirrored else rotated
