"""DRAEM with SSPCAB, by anomalib."""

import torch

from adclick.training.anomalib_peer import learn
from adclick.training.peer_pictures import Learnt, Pictures


def fit_peer(
    *,
    normal: Pictures,
    textures: str | None,
    python: str,
    seed: int,
    device: torch.device,
    epochs: int = 700,
    batch: int = 8,
    most_steps: int = 0,
) -> Learnt:
    """As `draem`, with a masked convolution whose reconstruction of its own input is trained too.

    Source: Ristea et al. (arXiv 2111.09099) on arXiv 2108.07610; anomalib 2.7.
    """
    return learn(
        "Draem",
        {"enable_sspcab": True},
        normal=normal,
        backbone=None,
        textures=textures,
        python=python,
        seed=seed,
        device=device,
        epochs=epochs,
        batch=batch,
        most_steps=most_steps,
    )
