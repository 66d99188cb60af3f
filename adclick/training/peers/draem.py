"""DRAEM, by anomalib."""

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
    """Reconstruction of drawn defects, and their segmentation; 700 epochs are the paper's. Without
    `simulation.texture_folder` defects are filled with noise. It has no pretrained backbone.

    Source: Zavrtanik, Kristan, Skočaj (arXiv 2108.07610); anomalib 2.7.
    """
    return learn(
        "Draem",
        {},
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
