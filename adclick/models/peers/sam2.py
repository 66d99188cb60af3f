"""SAM 2 on single pictures, off the shelf."""

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
    weights: str = "facebook/sam2.1-hiera-base-plus",
) -> Callable[[Sequence[Click], object], Float32[np.ndarray, "height width"]]:
    """A function of clicks to the probability of what they are about: `open_prompted`. A click is a
    point here and has no radius.

    Source: Ravi et al., "SAM 2: Segment Anything in Images and Videos" (arXiv 2408.00714), the
    transformers library's.
    """
    from transformers import Sam2Model, Sam2Processor

    network, prepare = load_prompted(Sam2Model, Sam2Processor, weights, device)
    return open_prompted(image, network, prepare, device=device)
