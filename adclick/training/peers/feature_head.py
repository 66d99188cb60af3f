"""What a user would try first: a convolutional head on frozen features, trained on the labels."""

import torch
from torch import Tensor, nn

from adclick.networks.checkpoints import seeded
from adclick.networks.feature_detector import BODY_DILATIONS, BodyBlock, Upsampling
from adclick.training.peer_pictures import Learnt, Pictures
from adclick.training.peer_training import (
    draw_peer_batch,
    parameters_of,
    scale_of,
    segmented,
    standardise,
    train_peer,
)
from adclick.training.region_losses import region_loss
from adclick.training.resuming import Progress


def fit_peer(
    *,
    normal: Pictures,
    labelled: Pictures,
    seed: int,
    device: torch.device,
    progress: Progress,
    width: int = 96,
    steps: int = 400,
    learning_rate: float = 2e-3,
    smoothing_px: float = 0.0,
) -> Learnt:
    """A segmentation of the standardised features: 1x1 convolution, residual blocks of rising
    dilation, two upsamplings, a logit; cross entropy and Dice (`region_loss`) on as many normal as
    labelled pictures.
    """
    prepare = standardise(scale_of(normal))
    channels = normal[0].features.shape[-1]
    model = seeded(_head, seed, channels=channels, width=width).to(device)
    pools, counts = {"normal": normal, "labelled": labelled}, {"normal": 4, "labelled": 4}

    def loss_of(network: nn.Module, step: int) -> Tensor:
        batch = draw_peer_batch(pools, counts, prepare, seed=seed, step=step, device=device)
        logits = nn.functional.interpolate(
            network(batch.features), size=batch.labels.shape[-2:], mode="bilinear"
        )
        weights = torch.ones_like(batch.labels)
        return region_loss(logits, batch.labels, weights, defect_weight=1.0, dice_weight=1.0)

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


class _Head(nn.Module):
    """The layers of `fit_peer`."""

    def __init__(self, *, channels: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 1),
            *(BodyBlock(width=width, dilation=dilation) for dilation in BODY_DILATIONS),
        )
        self.upsamplings = nn.ModuleList(
            Upsampling(inputs=inputs, width=inputs // 2, picture=0)
            for inputs in (width, width // 2)
        )
        self.logit = nn.Conv2d(width // 4, 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        hidden = self.body(features)
        for upsampling in self.upsamplings:
            hidden = upsampling(hidden, None)
        return self.logit(hidden)


def _head(*, channels: int, width: int) -> nn.Module:
    return _Head(channels=channels, width=width)
