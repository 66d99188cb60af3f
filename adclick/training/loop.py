"""The training loop of both networks, written out: clicks, loss, step, moving average.

Sec. 3.4. One loop serves ADClick and ADClick-Seg; what differs is the plan: whether clicks are
simulated, where the first one falls, and which loss is used.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from adclick.clicks.click import Click
from adclick.clicks.sampling import sample_deepest_click, sample_first_clicks, sample_next_click
from adclick.clicks.spreading import PictureGraph, picture_graph
from adclick.networks.inputs import ResidualForm, click_maps, network_input
from adclick.networks.vision_language import normalise_image
from adclick.training.losses import focal_loss, normalized_focal_loss
from adclick.training.resuming import Progress, resume, save_progress
from adclick.training.samples import Batch, step_generator

CLICK_STREAM = 10_000  # keeps the click generators of a step apart from its sample generators


class Segmenter(Protocol):
    """What the loop needs of a network: the three parts that clicks are repeated over or not, and
    over how many cells clicks are diffused.
    """

    @property
    def click_cells(self) -> int | None:
        """Cells a side of the graphs that clicks are diffused over; None for disks alone."""
        ...

    def embed(self, residual: Tensor, image: Tensor) -> Tensor:
        """Tokens of the network's inputs: residual, normalised picture, or both."""
        ...

    def language_maps(self, image: Tensor, text: Tensor, text_mask: Tensor) -> list[Tensor]:
        """What the words say of the image, a map a stage; empty without a language branch."""
        ...

    def decode(self, tokens: Tensor, clicks: Tensor, maps: list[Tensor]) -> Tensor:
        """Logits at the clicks' resolution."""
        ...


@dataclass(frozen=True)
class Plan:
    """The settings of one training; lengths in steps, the disk radius in network pixels."""

    steps: int
    learning_rate: float
    fusion_learning_rate: float
    weight_decay: float
    warmup_steps: int
    clip_norm: float
    ema_decay: float
    click_rounds: int
    uncorrected_steps: float
    first_clicks: bool
    deepest_first_click: float
    iis: bool
    radius_px: float
    threshold: float
    residual: ResidualForm


def warmup_rate(step: int, rate: float, warmup_steps: int) -> float:
    """The learning rate of a step: rises linearly over the warm-up, then constant."""
    return rate if step >= warmup_steps else rate * (step + 1) / (warmup_steps + 1)


def ema_weight(step: int, decay: float) -> float:
    """The decay of the moving average at a step: small at first, so that early weights are
    forgotten.
    """
    return min(decay, (1 + step) / (10 + step))


def train(
    model: nn.Module,
    draw: Callable[[int], Batch],
    plan: Plan,
    *,
    seed: int,
    device: torch.device,
    progress: Progress | None = None,
) -> tuple[nn.Module, list[float]]:
    """The moving average of the trained weights as a module, and the loss of every step.

    `draw(step)` gives a step's batch; the next one is prepared while this one is computed.
    Everything random is a function of (seed, step), so equal inputs give equal weights on one CPU
    type. With `progress` the state is kept there now and then, and a training that was killed goes
    on from it, to the same weights as one that ran through.
    """
    model.to(device)
    average = AveragedModel(model, multi_avg_fn=_averager(plan.ema_decay))
    optimiser = optimiser_of(model, plan)
    losses = [] if progress is None else resume(progress, model, average, optimiser)
    start, saved = len(losses), time.monotonic()
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), ThreadPoolExecutor(1) as reader:
        waiting = reader.submit(draw, start) if start < plan.steps else None
        for step in range(start, plan.steps):
            assert waiting is not None
            batch = waiting.result()
            if step + 1 < plan.steps:
                waiting = reader.submit(draw, step + 1)
            torch.manual_seed(int(step_generator(seed, step, 2 * CLICK_STREAM).integers(2**62)))
            losses.append(
                _take_step(model, optimiser, batch, plan, step=step, seed=seed, device=device)
            )
            average.update_parameters(model)
            if progress is not None and time.monotonic() - saved >= progress.every_s:
                save_progress(progress, model, average, optimiser, losses)
                saved = time.monotonic()
    return average.module.eval(), losses


def _take_step(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    batch: Batch,
    plan: Plan,
    *,
    step: int,
    seed: int,
    device: torch.device,
) -> float:
    for group in optimiser.param_groups:
        group["lr"] = warmup_rate(step, group["peak_rate"], plan.warmup_steps)
    model.train()
    logits, labels = forward_with_clicks(model, batch, plan, step=step, seed=seed, device=device)
    loss = normalized_focal_loss(logits, labels) if plan.iis else focal_loss(logits, labels)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], plan.clip_norm)
    optimiser.step()
    return float(loss.detach())


def forward_with_clicks(
    model: nn.Module, batch: Batch, plan: Plan, *, step: int, seed: int, device: torch.device
) -> tuple[Float[Tensor, "batch 1 height width"], Float[Tensor, "batch 1 height width"]]:
    """Logits of a batch after its simulated clicks, and its labels.

    First clicks are drawn for every sample, then 0 to `click_rounds` rounds (none in a share
    `uncorrected_steps` of the steps) add the click that would correct the current mask (no
    gradient, evaluation mode); the last mask is an input of the final pass (SimpleClick's
    training). The language-vision maps are computed once and shared by all rounds.
    """
    segmenter: Segmenter = model  # type: ignore[assignment]
    labels = torch.from_numpy(batch.labels).to(device)
    images = normalise_image(torch.from_numpy(batch.images).to(device))
    residuals = network_input(batch.residuals, batch.scales, plan.residual, device)
    tokens = segmenter.embed(residuals, images)
    maps = segmenter.language_maps(
        images,
        torch.from_numpy(batch.texts).to(device),
        torch.from_numpy(batch.text_masks).to(device),
    )
    graphs = _graphs(batch, segmenter.click_cells if plan.iis else None)
    previous = torch.zeros_like(labels)
    clicks: list[list[Click]] = [[] for _ in range(len(labels))]
    if plan.iis:
        generators = [
            step_generator(seed, step, CLICK_STREAM + index) for index in range(len(labels))
        ]
        clicks = _first_clicks(batch.labels[:, 0], plan, generators)
        for _ in range(_rounds(plan, step_generator(seed, step, 3 * CLICK_STREAM))):
            previous = _predict(model, tokens, _click_input(clicks, previous, plan, graphs), maps)
            _add_next_clicks(clicks, batch.labels[:, 0], previous, plan.threshold, generators)
    given = _click_input(clicks, previous, plan, graphs)
    return segmenter.decode(tokens, given, maps), labels


def _graphs(batch: Batch, cells: int | None) -> list[PictureGraph | None]:
    return [None if cells is None else picture_graph(image, cells=cells) for image in batch.images]


def _rounds(plan: Plan, generator: np.random.Generator) -> int:
    rounds = int(generator.integers(plan.click_rounds + 1))
    return 0 if generator.random() < plan.uncorrected_steps else rounds


def _first_clicks(
    labels: Float[np.ndarray, "batch height width"],
    plan: Plan,
    generators: Sequence[np.random.Generator],
) -> list[list[Click]]:
    if not plan.first_clicks:
        return [[] for _ in labels]
    return [
        _first(label, plan, generator) for label, generator in zip(labels, generators, strict=True)
    ]


def _first(
    label: Float[np.ndarray, "height width"], plan: Plan, generator: np.random.Generator
) -> list[Click]:
    if generator.random() < plan.deepest_first_click:
        return sample_deepest_click(label == 1)
    return sample_first_clicks(label == 1, generator, ignore=label < 0)


def _add_next_clicks(
    clicks: list[list[Click]],
    labels: Float[np.ndarray, "batch height width"],
    previous: Float[Tensor, "batch 1 height width"],
    threshold: float,
    generators: Sequence[np.random.Generator],
) -> None:
    predictions = (previous[:, 0] > threshold).cpu().numpy()
    for taken, label, prediction, generator in zip(
        clicks, labels, predictions, generators, strict=True
    ):
        click = sample_next_click(label == 1, prediction, generator, ignore=label < 0)
        if click is not None:
            taken.append(click)


@torch.no_grad()
def _predict(
    model: nn.Module, tokens: Tensor, given: Tensor, maps: list[Tensor]
) -> Float[Tensor, "batch 1 height width"]:
    segmenter: Segmenter = model  # type: ignore[assignment]
    model.eval()
    logits = segmenter.decode(tokens, given, maps)
    model.train()
    return torch.sigmoid(logits)


def _click_input(
    clicks: list[list[Click]],
    previous: Float[Tensor, "batch 1 height width"],
    plan: Plan,
    graphs: Sequence[PictureGraph | None],
) -> Float[Tensor, "batch click_map height width"]:
    shape = (previous.shape[2], previous.shape[3])
    given = [
        click_maps(own, last, shape=shape, radius_px=plan.radius_px, graph=graph)
        for own, last, graph in zip(clicks, previous[:, 0].cpu().numpy(), graphs, strict=True)
    ]
    return torch.from_numpy(np.stack(given)).to(previous)


def optimiser_of(model: nn.Module, plan: Plan) -> torch.optim.AdamW:
    """AdamW over what is trained: the fusion of language at a rate of its own, and neither biases
    nor norms decay.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, value in model.named_parameters():
        if value.requires_grad:
            rate = plan.fusion_learning_rate if ".fusion." in name else plan.learning_rate
            decay = plan.weight_decay if value.ndim > 1 else 0.0
            groups.setdefault((rate, decay), []).append(value)
    return torch.optim.AdamW(
        {"params": values, "peak_rate": rate, "weight_decay": decay}
        for (rate, decay), values in groups.items()
    )


def _averager(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    def average(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
        weight = 1 - ema_weight(int(count), decay)
        for kept, new in zip(averaged, current, strict=True):
            kept.lerp_(new, weight)

    return average
