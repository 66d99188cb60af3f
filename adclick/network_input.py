"""Stored residuals in the form that a network sees, for training and for inference alike."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from adclick.models.residual_input import residual_tokens


@dataclass(frozen=True)
class ResidualForm:
    """How a signed residual becomes the network's input."""

    normalise: bool
    clamp: float | None
    groups: int | None
    log: bool


def network_input(
    residuals: Float[np.ndarray, "batch grid grid channel"],
    scales: Float[np.ndarray, "batch channel"],
    form: ResidualForm,
    device: torch.device,
) -> Float[Tensor, "batch group grid grid"]:
    """Signed residuals (reference minus query) squared once and normalised as `form` says.

    `scales` holds each image's mean square residual of normal images, per channel; read only when
    `form.normalise` is true.
    """
    signed = torch.from_numpy(np.asarray(residuals, np.float32)).to(device)
    scale = torch.from_numpy(scales).to(device) if form.normalise else None
    return residual_tokens(signed, scale, groups=form.groups, clamp=form.clamp, log=form.log)
