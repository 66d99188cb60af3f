"""DevNet: pictures are scored by their most deviating patches, learnt from which are defective."""

import numpy as np
import torch
from torch import Tensor, nn

from adclick.networks.checkpoints import seeded
from adclick.training.deviation import deviation_loss, patch_scorer, top_mean
from adclick.training.peer_pictures import Learnt, Pictures
from adclick.training.peer_training import (
    draw_peer_batch,
    parameters_of,
    scale_of,
    segmented,
    standardise,
    train_peer,
)
from adclick.training.resuming import Progress


def fit_peer(
    *,
    normal: Pictures,
    labelled: Pictures,
    seed: int,
    device: torch.device,
    progress: Progress,
    width: int = 128,
    top_share: float = 0.1,
    steps: int = 400,
    learning_rate: float = 1e-3,
    smoothing_px: float = 4.0,
) -> Learnt:
    """A score a patch, whose mean over the `top_share` highest is the picture's; the deviation loss
    asks that of normal pictures to be like a standard normal prior and that of defective ones to
    lie five deviations above. Of a label it reads only whether there is a defect.

    Source: Pang et al., "Explainable Deep Few-shot Anomaly Detection with Deviation Networks"
    (arXiv 2108.00462), Sec. 3: scores by multiple instances (the mean of the top tenth), Gaussian
    prior (5000 draws), deviation loss with margin 5. There the backbone is
    trained on; here it is frozen and a convolution of `width` channels is trained instead. The map
    is that of the patches' scores in place of the gradient at the input.
    """
    prepare = standardise(scale_of(normal))
    channels = normal[0].features.shape[-1]
    model = seeded(patch_scorer, seed, channels=channels, width=width).to(device)
    pools, counts = {"normal": normal, "labelled": labelled}, {"normal": 8, "labelled": 8}

    def loss_of(network: nn.Module, step: int) -> Tensor:
        batch = draw_peer_batch(pools, counts, prepare, seed=seed, step=step, device=device)
        scores = top_mean(network(batch.features), top_share)
        return deviation_loss(scores, batch.defective, np.random.default_rng((seed, step)))

    trained, losses = train_peer(
        model,
        loss_of,
        steps=steps,
        learning_rate=learning_rate,
        weight_decay=0.01,
        progress=progress,
    )
    map_of = segmented(trained, prepare, device, smoothing_px)
    return Learnt(map_of, parameters_of(trained), {"losses": losses})
