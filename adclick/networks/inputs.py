"""Stored residuals and clicks in the form that a network sees, for training and inference alike.

Of a residual it sees the square, on demand normalised, pooled, compressed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch.nn import functional

from adclick.clicks.click import Click, click_disks
from adclick.clicks.disks import Fitting, fitted_disks
from adclick.clicks.spreading import PictureGraph, diffuse_clicks


@dataclass(frozen=True)
class ResidualForm:
    """How a signed residual becomes the network's input."""

    normalise: Literal["channel", "group"] | None
    clamp: float | None
    groups: int | None
    log: bool


def network_input(
    residuals: Float[np.ndarray, "batch row column channel"],
    scales: Float[np.ndarray, "batch channel"],
    form: ResidualForm,
    device: torch.device,
) -> Float[Tensor, "batch group row column"]:
    """Signed residuals (reference minus query) squared once and normalised as `form` says.

    `scales` holds each image's mean square residual of normal images, per channel; read only when
    `form.normalise` is not None.
    """
    signed = torch.from_numpy(np.asarray(residuals, np.float32)).to(device)
    return formed(signed, torch.from_numpy(scales).to(device), form)


def formed(
    signed: Float[Tensor, "batch height width channel"],
    scales: Float[Tensor, "*batch channel"],
    form: ResidualForm,
) -> Float[Tensor, "batch group height width"]:
    """`residual_tokens` as a form says; `scales` are read only when it normalises."""
    return residual_tokens(
        signed,
        None if form.normalise is None else scales,
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
    fit: Fitting | None = None,
) -> Float32[np.ndarray, "click_map height width"]:
    """What a click stem sees: the previous probability (None: nowhere), positive disks and negative
    disks, and with a graph the clicks diffused over the picture.

    Clicks and the disks' radius are in the network's pixels; with `fit` the disks are as wide as
    what was clicked, that radius at most.
    """
    last = np.zeros(shape, np.float32) if previous is None else np.asarray(previous, np.float32)
    if fit is None:
        disks = click_disks(clicks, shape=shape, radius_px=radius_px)
    else:
        disks = fitted_disks(fit, clicks, radius_px=radius_px)
    maps = [last[None], disks]
    if graph is not None:
        maps.append(diffuse_clicks(graph, clicks))
    return np.concatenate(maps)


# A channel that is constant on normal images would divide by zero.
SMALLEST_SCALE = 1e-6


def residual_tokens(
    residual: Float[Tensor, "batch height width channel"],
    scale: Float[Tensor, "*batch channel"] | None = None,
    *,
    normalise: Literal["channel", "group"] = "channel",
    groups: int | None = None,
    clamp: float | None = None,
    log: bool = False,
) -> Float[Tensor, "batch group height width"]:
    """Squared residuals as float32 tokens, channel axis first.

    `residual` is signed (nearest normal patch minus patch) and may be float16: it becomes float32
    before it is squared, and it is squared here and nowhere else. Then, each only where asked for:
    division by `scale`, the mean square of normal images per channel (one for all images, or one an
    image); `clamp` as an upper bound; the mean over `groups` neighbouring channels' groups; log(1 +
    x). `normalise="group"` takes the mean of residuals and of scales over the groups first and
    divides those: channels that hardly vary on normal images, whose quotients are huge, then do not
    drown the rest of their group. With all of them left out this is the paper's input. ValueError
    when `groups` exceeds the channels, or is None with `normalise="group"`.

    Source: squared residual, section 3.2 with SemiREST; the rest serves short trainings at small
    scale.
    """
    squared = residual.float().square()
    per_image = None  # [1 or batch, 1, 1, channel or group]
    if scale is not None:
        per_image = scale.float().reshape(-1, 1, 1, scale.shape[-1])
    if normalise == "group":
        if groups is None:
            raise ValueError("normalisation by groups needs their number")
        squared = _channel_groups(squared, groups)
        per_image = None if per_image is None else _channel_groups(per_image, groups)
    if per_image is not None:
        squared = squared / per_image.clamp_min(SMALLEST_SCALE)
    if clamp is not None:
        squared = squared.clamp_max(clamp)
    if groups is not None and normalise == "channel":
        squared = _channel_groups(squared, groups)
    if log:
        squared = torch.log1p(squared)
    return squared.permute(0, 3, 1, 2).contiguous()


def _channel_groups(
    squared: Float[Tensor, "batch height width channel"], groups: int
) -> Float[Tensor, "batch height width group"]:
    if groups > squared.shape[-1]:
        raise ValueError(
            f"groups is {groups}, more than the {squared.shape[-1]} channels of the residual"
        )
    rows = squared.flatten(1, 2)  # [batch, height * width, channel]
    return functional.adaptive_avg_pool1d(rows, groups).unflatten(1, squared.shape[1:3])
