"""Reverse Distillation, by anomalib."""

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
    epochs: int = 200,
    batch: int = 32,
    most_steps: int = 0,
) -> Learnt:
    """A student that decodes what the backbone encodes, trained on normal pictures; 200 epochs are
    the paper's, the optimiser is the library's.

    Source: Deng, Li (arXiv 2201.10703), layers 1 to 3; anomalib 2.7.
    """
    return learn(
        "ReverseDistillation",
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
