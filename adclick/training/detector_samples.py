"""What a detector on features is trained on: pools of pictures, and batches."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from adclick.clicks.labels import abandon
from adclick.data.geometry import Shape
from adclick.networks.detector_inputs import DetectorForm, detector_inputs
from adclick.residuals.calibration import base_logits
from adclick.run.stored import lazily
from adclick.training.region_losses import component_weights
from adclick.training.samples import LARGEST_DELTA, draw_turn, step_generator, turned
from adclick.training.windows import draw_view


@dataclass(frozen=True)
class DetectorPool:
    """Pictures of one kind (normal, simulated, real), as arrays that are read one row at a time.

    `features` and signed `residuals` (normal minus picture) are [image row column channel],
    `images` uint8 [image height width 3], `contents` how much of each is picture, `maps` finished
    training-free maps of that size, `labels` [image height width] in [0, 1], None for normal
    pictures. `rows` says which rows are in the pool, and `sources` for each of these which picture
    it goes back to (the labelled defect, or the normal picture that a defect was simulated on):
    parts hold these together. `backgrounds` says which picture each shows beside the defect, where
    that is another.
    """

    features: Any
    residuals: Any
    images: Any
    maps: Any
    labels: Any | None
    rows: Sequence[int]
    sources: Sequence[str]
    contents: Sequence[Shape] | None = None
    window: int | None = None
    backgrounds: Sequence[str] | None = None

    def content(self, row: int) -> Shape:
        """How much of a row's picture counts."""
        return np.shape(self.maps[row]) if self.contents is None else self.contents[row]

    @property
    def window_px(self) -> int | None:
        """The side in pixels of what a sample shows of a larger picture."""
        if self.window is None:
            return None
        return self.window * (self.images.shape[1] // self.residuals.shape[1])

    def is_large(self, row: int) -> bool:
        """Whether a row's picture is larger than a window."""
        return self.window_px is not None and max(self.content(row)) > self.window_px

    def sparser(self, row: int, step: int) -> int:
        """At which step of rows and columns a large picture gives no more pixels than a window does
        at `step`, which it is for others.
        """
        if self.window_px is None or not self.is_large(row):
            return step
        return step * max(1, math.ceil((math.prod(self.content(row))) ** 0.5 / self.window_px))

    def restricted(self, sources: set[str]) -> "DetectorPool":
        """The pool of those rows alone that go back to one of `sources`."""
        return self._kept([source in sources for source in self.sources])

    def without(self, pictures: set[str]) -> "DetectorPool":
        """The pool of those rows alone that neither go back to one of `pictures` nor show it."""
        shown = self.sources if self.backgrounds is None else self.backgrounds
        return self._kept(
            [
                not {source, background} & pictures
                for source, background in zip(self.sources, shown, strict=True)
            ]
        )

    def _kept(self, is_kept: Sequence[bool]) -> "DetectorPool":
        def of(values: Sequence[Any]) -> list[Any]:
            return [value for value, kept in zip(values, is_kept, strict=True) if kept]

        return replace(
            self,
            rows=of(self.rows),
            sources=of(self.sources),
            backgrounds=None if self.backgrounds is None else of(self.backgrounds),
        )


@dataclass(frozen=True)
class DetectorBatch:
    """A batch as tensors: a detector's three inputs, the base's logits, labels (-1: no loss) and
    weights.
    """

    features: Float[Tensor, "batch feature_channel grid grid"]
    residual: Float[Tensor, "batch residual_channel grid grid"]
    picture: Float[Tensor, "batch 3 size size"]
    base: Float[Tensor, "batch 1 size size"]
    labels: Float[Tensor, "batch 1 size size"]
    weights: Float[Tensor, "batch 1 size size"]


def draw_detector_batch(
    pools: Mapping[str, DetectorPool],
    counts: Mapping[str, int],
    form: DetectorForm,
    *,
    abandoned: bool,
    size_exponent: float,
    seed: int,
    step: int,
    device: torch.device,
    simulated_share: float = 1.0,
) -> DetectorBatch:
    """The batch of a step: `counts[kind]` pictures of every kind, turned and mirrored at random; of
    larger ones than `window` patches a side, a window. A function of seed and step alone.

    `abandoned` leaves uncertain pixels of soft labels out of the loss (Eq. 9); `size_exponent` is
    that of `component_weights`. Of the simulated defects so many are drawn as `simulated_share`
    says, real ones in place of the others.
    """
    kinds = [kind for kind, count in counts.items() for _ in range(count)]
    drawn = []
    for index, kind in enumerate(kinds):
        generator = step_generator(seed, step, index)
        if kind == "simulated" and simulated_share < 1 and generator.random() >= simulated_share:
            kind = "real"
        drawn.append(_draw(pools[kind], form, generator, abandoned, size_exponent))
    features, residuals, images, *planes = (np.stack(part) for part in zip(*drawn, strict=True))
    base, labels, weights = (torch.from_numpy(plane[:, None]).to(device) for plane in planes)
    return DetectorBatch(
        *detector_inputs(features, residuals, images, form, device), base, labels, weights
    )


def _draw(
    pool: DetectorPool,
    form: DetectorForm,
    generator: np.random.Generator,
    abandoned: bool,
    size_exponent: float,
) -> tuple[np.ndarray, ...]:
    row = pool.rows[int(generator.integers(len(pool.rows)))]
    features, residual, image, scores = (
        lazily(rows, row) for rows in (pool.features, pool.residuals, pool.images, pool.maps)
    )
    label = _label(pool, row, image.shape[:2], abandoned, generator)
    view = draw_view(
        label,
        pool.content(row),
        side=pool.window,
        stride=image.shape[0] // len(residual),
        generator=generator,
    )
    if view is None:
        whole = (features, residual, image, scores)
        features, residual, image, scores = (np.asarray(one) for one in whole)
    else:
        features = view.patches(features, zeros=False)
        residual = view.patches(residual, zeros=True)
        image, scores, label = view.pixels(image), view.pixels(scores), view.labels(label)
    base = base_logits(scores, form.calibration)
    weights = component_weights(label, exponent=size_exponent)
    arrays = (features, residual, image, base, label, weights)
    turn = draw_turn(generator, image.shape[:2])
    return tuple(turned(array[None], [turn])[0] for array in arrays)


def _label(
    pool: DetectorPool,
    row: int,
    shape: tuple[int, ...],
    abandoned: bool,
    generator: np.random.Generator,
) -> Float32[np.ndarray, "height width"]:
    if pool.labels is None:
        return np.zeros(shape, np.float32)
    probability = np.asarray(pool.labels[row], np.float32)
    if abandoned:
        return abandon(probability, float(generator.uniform(0, LARGEST_DELTA))).astype(np.float32)
    return (probability > 0.5).astype(np.float32)
