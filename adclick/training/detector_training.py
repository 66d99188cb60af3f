"""The training of a detector on features: what is added to the training-free map."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from adclick.networks.detector_inputs import to_size
from adclick.training.detector_samples import DetectorBatch
from adclick.training.plan import ema_weight
from adclick.training.region_losses import region_loss
from adclick.training.telling import Teller


@dataclass(frozen=True)
class DetectorPlan:
    """The settings of one training; `warm_share` of the steps raise the rate, the others lower it
    to nothing (half a cosine).
    """

    steps: int
    learning_rate: float
    weight_decay: float
    warm_share: float
    clip_norm: float
    ema_decay: float
    defect_weight: float
    dice_weight: float


def cycle_rate(step: int, plan: DetectorPlan) -> float:
    """The learning rate of a step: up linearly, then down along half a cosine."""
    warm = max(1, round(plan.warm_share * plan.steps))
    if step < warm:
        return plan.learning_rate * (step + 1) / warm
    share = (step - warm) / max(1, plan.steps - warm)
    return plan.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def train_detector(
    model: nn.Module, draw: Callable[[int], DetectorBatch], plan: DetectorPlan, *, seed: int
) -> tuple[nn.Module, list[float]]:
    """The moving average of the trained weights, for use, and the loss of every step.

    The loss is that of base and addition together, so what the base already knows need not be
    learnt. Equal seeds and batches give equal weights on one CPU type.
    """
    average = AveragedModel(model, multi_avg_fn=_averager(plan.ema_decay))
    optimiser = _optimiser(model, plan)
    losses, teller = [], Teller(plan.steps)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model.train()
        for step in range(plan.steps):
            losses.append(_take_step(model, optimiser, draw(step), plan, step))
            average.update_parameters(model)
            teller.tell(step + 1, losses[-1])
    return average.module.eval(), losses


def _take_step(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    batch: DetectorBatch,
    plan: DetectorPlan,
    step: int,
) -> float:
    for group in optimiser.param_groups:
        group["lr"] = cycle_rate(step, plan)
    added = model(batch.features, batch.residual, batch.picture)
    logits = batch.base + to_size(added, batch.base.shape[-2:])
    loss = region_loss(
        logits,
        batch.labels,
        batch.weights,
        defect_weight=plan.defect_weight,
        dice_weight=plan.dice_weight,
    )
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), plan.clip_norm)
    optimiser.step()
    return float(loss.detach())


def _optimiser(model: nn.Module, plan: DetectorPlan) -> torch.optim.AdamW:
    """AdamW; neither biases nor norms decay."""
    groups: Mapping[bool, list[nn.Parameter]] = {True: [], False: []}
    for value in model.parameters():
        groups[value.ndim > 1].append(value)
    return torch.optim.AdamW(
        [
            {"params": values, "weight_decay": plan.weight_decay if decays else 0.0}
            for decays, values in groups.items()
        ],
        lr=plan.learning_rate,
    )


def _averager(decay: float) -> Callable[..., None]:
    def average(averaged: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        weight = 1 - ema_weight(int(count), decay)
        for kept, new in zip(averaged, current, strict=True):
            kept.lerp_(new, weight)

    return average
