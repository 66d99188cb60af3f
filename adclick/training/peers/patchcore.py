"""PatchCore, by anomalib."""

import torch

from adclick.run.settings.residuals import Features
from adclick.training.anomalib_peer import learn
from adclick.training.peer_pictures import Learnt, Pictures


def fit_peer(
    *,
    normal: Pictures,
    backbone: Features,
    textures: str | None,
    python: str,
    seed: int,
    device: torch.device,
    coreset: float = 0.1,
    epochs: int = 1,
    batch: int = 32,
    most_steps: int = 0,
) -> Learnt:
    """Distances from a `coreset`, a share, of all normal patches; ten per cent are the library's.

    Source: Roth et al. (arXiv 2106.08265), layers 2 and 3; anomalib 2.7.
    """
    return learn(
        "Patchcore",
        {"coreset_sampling_ratio": coreset},
        normal=normal,
        backbone=backbone,
        textures=textures,
        python=python,
        seed=seed,
        device=device,
        epochs=epochs,
        batch=batch,
        most_steps=most_steps,
    )
