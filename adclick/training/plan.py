"""The settings of one training of either network, and the rates that follow from them."""

from dataclasses import dataclass

from adclick.networks.inputs import ResidualForm
from adclick.run.device import Precision


@dataclass(frozen=True)
class Plan:
    """The settings of one training; lengths in steps, the disk radius in network pixels.

    `precision` is that of the networks' forward and backward passes; losses, norms' statistics,
    weights and their moving average are float32. `disks` that are `fitted` are as wide as what is
    clicked, the radius at most.
    """

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
    precision: Precision = "float32"
    disks: str | None = None


def warmup_rate(step: int, rate: float, warmup_steps: int) -> float:
    """The learning rate of a step: rises linearly over the warm-up, then constant."""
    return rate if step >= warmup_steps else rate * (step + 1) / (warmup_steps + 1)


def ema_weight(step: int, decay: float) -> float:
    """The decay of the moving average at a step: small at first, so that early weights are
    forgotten.
    """
    return min(decay, (1 + step) / (10 + step))
