"""The clicks that one step simulates: first ones, and those that correct the mask so far (Sec.
3.4).

They are drawn on the processor, picture by picture, from labels that are turned as the pictures
are; the first ones, and all else that no prediction decides, ahead of the step.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int8, UInt8
from torch import Tensor

from adclick.clicks.click import Click, draw_disk
from adclick.clicks.disks import Fitting, fitted_disks, fitting
from adclick.clicks.sampling import sample_deepest_click, sample_first_clicks, sample_next_click
from adclick.clicks.spreading import PictureGraph, diffuse_clicks, picture_graph
from adclick.training.plan import Plan
from adclick.training.samples import Batch, step_generator, turned

CLICK_STREAM = 10_000  # keeps the click generators of a step apart from its sample generators

Spread = Callable[[Callable[..., Any], Iterable[Any]], Iterable[Any]]  # `map`, or that of a pool


@dataclass(frozen=True)
class StepClicks:
    """A step's clicks so far and what further ones are drawn from; labels and disks lie as the
    turned pictures do.

    `rounds` says how many corrective clicks each picture gets, `graphs` what clicks are diffused
    over, None where they are disks alone, and `fits` the pictures that disks are fitted in.
    """

    labels: Int8[np.ndarray, "batch height width"]
    clicks: Sequence[list[Click]]
    disks: UInt8[np.ndarray, "batch 2 height width"]
    generators: Sequence[np.random.Generator]
    graphs: Sequence[PictureGraph | None]
    rounds: int
    radius_px: float
    fits: Sequence[Fitting | None]


def start_clicks(
    batch: Batch, plan: Plan, *, cells: int | None, seed: int, step: int
) -> StepClicks:
    """The first clicks of a batch, if the plan has any; a function of seed and step alone.

    Corrective ones follow in 0 to `click_rounds` rounds, none in a share `uncorrected_steps` of the
    steps. `cells` are a side's in the graphs that clicks are diffused over.
    """
    labels = turned(batch.labels, batch.turns)
    indices = range(len(labels))
    generators = [step_generator(seed, step, CLICK_STREAM + index) for index in indices]
    started = StepClicks(
        labels,
        [[] for _ in indices],
        np.zeros((len(labels), 2, *labels.shape[1:]), np.uint8),
        generators,
        _graphs(batch, cells) if plan.iis and cells is not None else [None for _ in indices],
        _rounds(plan, step_generator(seed, step, 3 * CLICK_STREAM)) if plan.iis else 0,
        plan.radius_px,
        _fits(batch) if plan.iis and plan.disks == "fitted" else [None for _ in indices],
    )
    if plan.iis and plan.first_clicks:
        for index, label in enumerate(labels):
            _add(started, index, _first(label, plan, generators[index]))
    return started


def add_next_clicks(
    clicks: StepClicks, predictions: Bool[np.ndarray, "batch height width"], spread: Spread
) -> None:
    """One more click on every picture where its prediction is most wrong, if it is wrong."""

    def correct(index: int) -> None:
        label = clicks.labels[index]
        found = sample_next_click(
            label == 1, predictions[index], clicks.generators[index], ignore=label < 0
        )
        _add(clicks, index, [] if found is None else [found])

    for _ in spread(correct, range(len(clicks.labels))):
        pass


def click_input(
    clicks: StepClicks, previous: Float[Tensor, "batch 1 height width"], spread: Spread
) -> Float[Tensor, "batch click_map height width"]:
    """What a click stem sees (see `click_maps`), on the device of the previous probabilities."""
    parts = [previous, torch.from_numpy(clicks.disks).to(previous.device).to(previous.dtype)]
    if clicks.graphs[0] is not None:
        parts.append(torch.from_numpy(_diffused(clicks, spread)).to(previous))
    return torch.cat(parts, dim=1)


def _diffused(clicks: StepClicks, spread: Spread) -> Float32[np.ndarray, "batch 2 height width"]:
    def diffuse(index: int) -> np.ndarray:
        graph = clicks.graphs[index]
        assert graph is not None
        return diffuse_clicks(graph, clicks.clicks[index])

    return np.stack(list(spread(diffuse, range(len(clicks.clicks)))))


def _graphs(batch: Batch, cells: int) -> list[PictureGraph]:
    return [picture_graph(image, cells=cells) for image in turned(batch.images, batch.turns)]


def _fits(batch: Batch) -> list[Fitting | None]:
    return [fitting(image) for image in turned(batch.images, batch.turns)]


def _rounds(plan: Plan, generator: np.random.Generator) -> int:
    rounds = int(generator.integers(plan.click_rounds + 1))
    return 0 if generator.random() < plan.uncorrected_steps else rounds


def _first(
    label: Int8[np.ndarray, "height width"], plan: Plan, generator: np.random.Generator
) -> list[Click]:
    if generator.random() < plan.deepest_first_click:
        return sample_deepest_click(label == 1)
    return sample_first_clicks(label == 1, generator, ignore=label < 0)


def _add(clicks: StepClicks, index: int, new: Iterable[Click]) -> None:
    for click in new:
        clicks.clicks[index].append(click)
        draw_disk(clicks.disks[index, 0 if click.positive else 1], click, clicks.radius_px)
    fit = clicks.fits[index]
    if fit is not None:  # a new click makes the disks of those of the other sign smaller
        given = clicks.clicks[index]
        clicks.disks[index] = fitted_disks(fit, given, radius_px=clicks.radius_px)
