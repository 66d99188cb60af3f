"""The Segment Anything Model, off the shelf."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from adclick.clicks.click import Click
from adclick.models.prompted import load_prompted, open_prompted


def open_peer(
    image: UInt8[np.ndarray, "height width 3"],
    *,
    radius_px: float | int,
    device: torch.device,
    weights: str = "facebook/sam-vit-base",
) -> Callable[[Sequence[Click], object], Float32[np.ndarray, "height width"]]:
    """A function of clicks to the probability of what they are about: `open_prompted`. A click is a
    point here and has no radius.

    Source: Kirillov et al., "Segment Anything" (arXiv 2304.02643), the transformers library's.
    """
    from transformers import SamModel, SamProcessor

    network, prepare = load_prompted(SamModel, SamProcessor, weights, device)
    return open_prompted(image, network, prepare, device=device)
