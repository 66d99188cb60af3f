"""Stored residuals and clicks in the form that a network sees, for training and inference alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from adclick.clicks import Click, click_disks
from adclick.diffusion import PictureGraph, diffuse_clicks
from adclick.models.residual_input import residual_tokens


@dataclass(frozen=True)
class ResidualForm:
    """How a signed residual becomes the network's input."""

    normalise: Literal["channel", "group"] | None
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
    `form.normalise` is not None.
    """
    signed = torch.from_numpy(np.asarray(residuals, np.float32)).to(device)
    return residual_tokens(
        signed,
        None if form.normalise is None else torch.from_numpy(scales).to(device),
        normalise=form.normalise or "channel",
        groups=form.groups,
        clamp=form.clamp,
        log=form.log,
    )


def click_maps(
    clicks: Sequence[Click],
    previous: Float[np.ndarray, "height width"] | None,
    *,
    shape: tuple[int, int],
    radius_px: float,
    graph: PictureGraph | None,
) -> Float32[np.ndarray, "click_map height width"]:
    """What a click stem sees: the previous probability (None: nowhere), positive disks and negative
    disks, and with a graph the clicks diffused over the picture.

    Clicks and the disks' radius are in the network's pixels.
    """
    last = np.zeros(shape, np.float32) if previous is None else np.asarray(previous, np.float32)
    maps = [last[None], click_disks(clicks, shape=shape, radius_px=radius_px)]
    if graph is not None:
        maps.append(diffuse_clicks(graph, clicks))
    return np.concatenate(maps)
