"""PaDiM, by anomalib."""

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
    """Mahalanobis distances from a Gaussian of each place of the picture, over some of the channels
    (100 of a ResNet-18's), drawn at random. Not among the paper's; it needs no training, as
    PatchCore, and next to no time.

    Source: Defard et al. (arXiv 2011.08785), layers 1 to 3; anomalib 2.7.
    """
    return learn(
        "Padim",
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
