"""SuperSimpleNet, by anomalib."""

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
    epochs: int = 300,
    batch: int = 32,
    most_steps: int = 0,
) -> Learnt:
    """SimpleNet's successor: features with noise on them are told from normal ones, by a
    segmentation and a classification head; 300 epochs are the paper's. Here without labels.

    Source: Rolih, Fučka, Skočaj (arXiv 2408.03143), layers 2 and 3; anomalib 2.7.
    """
    return learn(
        "Supersimplenet",
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
