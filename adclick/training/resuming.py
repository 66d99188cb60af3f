"""A long training's progress on disk: a killed job goes on instead of starting from nothing.

All that a step reads is kept: weights, their moving average, the optimiser's moments and step
counts, by name, and the losses so far. Nothing random needs keeping: what a step draws is a
function of seed and step.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from adclick.networks.checkpoints import save_tensors
from adclick.run.artifacts import open_tensors
from adclick.run.errors import InputError
from adclick.run.provenance import canonical_json

EVERY_S = 600.0  # between two savings: what a killed training loses at most
MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Progress:
    """Where a training keeps its progress, how often, and what determines it (`stamp`): that of
    another training is of no use.
    """

    path: Path
    stamp: Mapping[str, Any]
    every_s: float


def progress_of(weights: Path, stamp: Mapping[str, Any], device: torch.device) -> Progress:
    """The progress of the training that writes `weights`, on this kind of device."""
    path = weights.with_name(f"{weights.stem}.resume.safetensors")
    return Progress(path, {**stamp, "device": device.type}, EVERY_S)


def save_progress(
    progress: Progress,
    model: nn.Module,
    average: AveragedModel,
    optimiser: torch.optim.Optimizer,
    losses: list[float],
) -> None:
    """Write the state after `len(losses)` steps, whole or not at all."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.state_dict().items()}
    for name, parameter in model.named_parameters():
        state = optimiser.state.get(parameter, {})
        tensors |= {f"{moment}.{name}": state[moment] for moment in MOMENTS if moment in state}
    tensors["losses"] = torch.tensor(losses, dtype=torch.float64)
    save_tensors(progress.path, tensors, {"stamp": canonical_json(progress.stamp)})


def resume(
    progress: Progress,
    model: nn.Module,
    average: AveragedModel,
    optimiser: torch.optim.Optimizer,
) -> list[float]:
    """Put a kept state into the model, its average and the optimiser; the losses of its steps.

    Without progress, or with that of other settings, code or inputs, all is left as it is and no
    loss is given.
    """
    tensors = _read(progress)
    if tensors is None:
        return []
    model.load_state_dict(_named(tensors, "model"))
    average.load_state_dict(_named(tensors, "average"))
    moments = {moment: _named(tensors, moment) for moment in MOMENTS}
    for name, parameter in model.named_parameters():
        if name in moments["step"]:
            optimiser.state[parameter] = {
                moment: moments[moment][name].to(_place_of(moment, parameter, optimiser))
                for moment in MOMENTS
            }
    return tensors["losses"].tolist()


def _place_of(
    moment: str, parameter: nn.Parameter, optimiser: torch.optim.Optimizer
) -> torch.device:
    """Where an optimiser keeps what it counts: steps on the processor, unless it is one kernel."""
    counted_here = moment == "step" and not optimiser.defaults.get("fused")
    return torch.device("cpu") if counted_here else parameter.device


def _read(progress: Progress) -> dict[str, Tensor] | None:
    """The kept tensors; None when there are none of this training."""
    if not progress.path.is_file():
        return None
    try:
        with open_tensors(progress.path, framework="pt") as file:
            stamp = json.loads((file.metadata() or {}).get("stamp", "null"))
            if stamp != json.loads(canonical_json(progress.stamp)):
                return None
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (InputError, SafetensorError, OSError, json.JSONDecodeError):
        return None


def _named(tensors: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    """The tensors of a kind by their names."""
    return {
        name.removeprefix(f"{kind}."): value
        for name, value in tensors.items()
        if name.startswith(f"{kind}.")
    }
