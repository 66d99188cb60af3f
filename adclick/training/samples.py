"""Training samples: residual, picture, label and words of one image, drawn as a pure function of
(seed, step).

A `Pool` is one kind of image of one category (normal, simulated, real). Batches mix kinds; within a
kind the category is drawn first, then the image, both uniformly.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from adclick.clicks.labels import abandon
from adclick.language.words import Texts, draw_text, text_of

LARGEST_DELTA = 0.1  # Sec. 3.4: delta is drawn from [0, 0.1]


@dataclass(frozen=True)
class Pool:
    """Images of one kind of one category, as arrays that are read one image at a time.

    `residuals` [image height width channel] signed and `images` uint8 [image height width 3] are
    indexed by `residual_rows` and `image_rows`; `labels` [image height width] in [0, 1] by
    `label_rows`, None for normal images. `scale` [channel] is the mean square residual of the
    category's normal images.
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


@dataclass(frozen=True)
class Batch:
    """Samples of one step, stacked. Labels are 0, 1, or -1 where the loss is off."""

    residuals: Float[np.ndarray, "batch grid grid channel"]
    scales: Float[np.ndarray, "batch channel"]
    images: UInt8[np.ndarray, "batch height width 3"]
    labels: Float[np.ndarray, "batch 1 height width"]
    texts: Float[np.ndarray, "batch text_channel token"]
    text_masks: Float[np.ndarray, "batch token"]


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
    columns = [np.stack(column) for column in zip(*drawn, strict=True)]
    return Batch(*columns)


def _draw(
    pools: Sequence[Pool], augmentation: Augmentation, generator: np.random.Generator
) -> tuple[np.ndarray, ...]:
    pool = pools[int(generator.integers(len(pools)))]
    index = int(generator.integers(len(pool.residual_rows)))
    residual = pool.residuals[pool.residual_rows[index]].astype(np.float32)
    image = pool.images[pool.image_rows[index]]
    label = _label(pool, index, image.shape[:2], augmentation, generator)
    if augmentation.turn:
        turns, mirrored = int(generator.integers(4)), bool(generator.integers(2))
        residual, image, label = (
            turn(array, turns, mirrored) for array in (residual, image, label)
        )
    if augmentation.gain:
        residual = residual * np.float32(np.exp(generator.uniform(-0.5, 0.5) * augmentation.gain))
    text, mask = draw_text(text_of(pool.texts, pool.types[index]), generator)
    return residual, pool.scale, image, label[None], text, mask


def _label(
    pool: Pool,
    index: int,
    shape: tuple[int, ...],
    augmentation: Augmentation,
    generator: np.random.Generator,
) -> Float[np.ndarray, "height width"]:
    if pool.labels is None:
        return np.zeros(shape, np.float32)
    probability = np.asarray(pool.labels[pool.label_rows[index]], np.float32)
    if augmentation.abandon:
        return abandon(probability, float(generator.uniform(0, LARGEST_DELTA))).astype(np.float32)
    return (probability > 0.5).astype(np.float32)


def turn(array: np.ndarray, turns: int, mirrored: bool) -> np.ndarray:
    """`array` [height width …] turned by quarter turns and then mirrored left to right, as a new
    array.
    """
    turned = np.rot90(array, turns, axes=(0, 1))
    return np.ascontiguousarray(turned[:, ::-1] if mirrored else turned)
