"""SimpleClick with published weights, off the shelf."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float32, UInt8

from adclick.clicks.click import Click, scale_clicks
from adclick.models.zoom import Window, zoom_in
from adclick.networks.inputs import click_maps
from adclick.networks.loading import load_model
from adclick.networks.simpleclick import KIND
from adclick.networks.vision_language import normalise_image

DISK_RADIUS_PX = 5.0  # of its training, in the network's pixels
THRESHOLD = 0.49  # of its evaluation
MARGIN, LEAST_SIDE = 1.4, 200 / 448  # its second look: see `zoom_window`

Answer = Float32[np.ndarray, "height width"]


def open_peer(
    image: UInt8[np.ndarray, "height width 3"],
    *,
    radius_px: float | int,
    device: torch.device,
    weights: str = "weights/simpleclick.safetensors",
) -> Callable[[Sequence[Click], Answer | None], Answer]:
    """A function of clicks and the previous probability to the probability of what they are about.

    The picture is resized to the network's size, which has disks of a radius of its own. As in its
    evaluation the answer is the mean over the picture and its mirror image, and a part of the
    picture around mask and positive clicks is looked at a second time, enlarged. `weights` is a
    file that `adclick convert-weights` wrote. The picture must be square.

    Source: Liu et al., "SimpleClick" (ICCV 2023, arXiv 2210.11006).
    """
    network = _load(weights, device)

    def open_window(window: Window) -> Callable[[Sequence[Click], Answer | None], Answer]:
        down, across = (slice(at, at + window.side) for at in (window.top, window.left))
        return _look(network, _resized(image[down, across], image.shape[:2]), device)

    return zoom_in(
        _look(network, image, device),
        open_window,
        stride=1,
        threshold=THRESHOLD,
        margin=MARGIN,
        least_side=LEAST_SIDE,
    )


@cache
def _load(weights: str, device: torch.device) -> Any:
    return load_model(Path(weights), kind=KIND)[0].to(device)


@torch.no_grad()
def _look(
    network: Any, image: UInt8[np.ndarray, "height width 3"], device: torch.device
) -> Callable[[Sequence[Click], Answer | None], Answer]:
    """One look at a picture: what no click changes is computed once."""
    shape, own = image.shape[:2], (network.image_px, network.image_px)
    picture = torch.from_numpy(_resized(image, own)[None]).to(device)
    seen = normalise_image(torch.cat([picture, picture.flip(2)]))
    tokens = network.embed(None, seen)

    @torch.no_grad()
    def predict(clicks: Sequence[Click], previous: Answer | None) -> Answer:
        before = None if previous is None else _resized(previous, own)
        placed = scale_clicks(clicks, shape=own, original_shape=(shape[0], shape[1]))
        given = click_maps(placed, before, shape=own, radius_px=DISK_RADIUS_PX, graph=None)
        maps = torch.from_numpy(given[None]).to(device)
        both = torch.sigmoid(network.decode(tokens, torch.cat([maps, maps.flip(3)]), []))[:, 0]
        return _resized((both[0] + both[1].flip(1)).cpu().numpy() / 2, shape)

    return predict


def _resized(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return cv2.resize(array, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
