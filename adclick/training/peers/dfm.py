"""DFM, by anomalib."""

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
    epochs: int = 1,
    batch: int = 32,
    most_steps: int = 0,
) -> Learnt:
    """What a principal-component model of whole pictures' features cannot rebuild: 97 % of the
    variance of the third layer, pooled by four, so its maps are coarse. Not among the paper's; it
    needs no training and takes seconds.

    Source: Ahuja et al. (arXiv 1909.11786); anomalib 2.7.
    """
    return learn(
        "Dfm",
        {},
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
