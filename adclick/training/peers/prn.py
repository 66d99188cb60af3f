"""PRN: what differs from the nearest of some prototypes of normal pictures, and a network on it."""

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn

from adclick.networks.checkpoints import seeded
from adclick.networks.feature_detector import Upsampling
from adclick.training.losses import focal_loss
from adclick.training.peer_pictures import Learnt, Pictures
from adclick.training.peer_training import (
    Prepare,
    draw_peer_batch,
    parameters_of,
    scale_of,
    segmented,
    standardise,
    train_peer,
)
from adclick.training.resuming import Progress

CLUSTER_CELLS = 8  # a side: pictures are clustered by their features averaged to so many cells
ROUNDS = 10
WINDOWS = (2, 4, 8)  # patches a side within which attention looks
COUNTS = {"normal": 2, "simulated": 3, "labelled": 3}


def fit_peer(
    *,
    normal: Pictures,
    simulated: Pictures,
    labelled: Pictures,
    seed: int,
    device: torch.device,
    progress: Progress,
    prototype_share: float = 0.1,
    width: int = 96,
    steps: int = 400,
    learning_rate: float = 1e-3,
    smoothing_px: float = 4.0,
) -> Learnt:
    """A segmentation of the features and of their squared difference from those of the nearest
    prototype, place by place, through self-attention in windows of several sizes.

    Prototypes are the means of clusters of normal pictures, a tenth as many as these. Loss: focal
    and smooth L1.

    Source: Zhang et al., "Prototypical Residual Networks for Anomaly Detection and Localization"
    (arXiv 2212.02031), Sec. 3: multi-scale prototypes (by K-means) and residual representations,
    multi-size self-attention, anomaly generation (real ones extended, and simulated), focal and
    smooth L1 loss. There every scale of the backbone has prototypes and fusion blocks; here the
    scales are joined in the run's features.
    """
    standard = standardise(scale_of(normal))
    prototypes = _prototypes(normal, standard, max(1, round(prototype_share * len(normal))), seed)
    prepare = _with_residual(standard, prototypes)
    channels = normal[0].features.shape[-1]
    model = seeded(_network, seed, channels=channels, width=width).to(device)
    pools = {"normal": normal, "simulated": simulated, "labelled": labelled}

    def loss_of(network: nn.Module, step: int) -> Tensor:
        batch = draw_peer_batch(pools, COUNTS, prepare, seed=seed, step=step, device=device)
        logits = nn.functional.interpolate(
            network(batch.features), size=batch.labels.shape[-2:], mode="bilinear"
        )
        smooth = nn.functional.smooth_l1_loss(torch.sigmoid(logits), batch.labels)
        return 10 * focal_loss(logits, batch.labels) + smooth

    trained, losses = train_peer(
        model,
        loss_of,
        steps=steps,
        learning_rate=learning_rate,
        weight_decay=0.01,
        progress=progress,
    )
    numbers = parameters_of(trained) + prototypes.size
    facts = {"losses": losses, "prototypes": len(prototypes)}
    return Learnt(segmented(trained, prepare, device, smoothing_px), numbers, facts)


def _prototypes(
    normal: Pictures, standard: Prepare, count: int, seed: int
) -> Float32[np.ndarray, "prototype row column channel"]:
    """The means of the members of clusters of pictures (K-means on coarse features)."""
    coarse = np.stack([_coarse(standard(normal[index].features)) for index in range(len(normal))])
    generator = np.random.default_rng(seed)
    centres = coarse[generator.choice(len(coarse), min(count, len(coarse)), replace=False)]
    nearest = np.zeros(len(coarse), np.intp)
    for _ in range(ROUNDS):
        nearest = np.argmin(_distances(coarse, centres), axis=1)
        members = [coarse[nearest == index] for index in range(len(centres))]
        pairs = zip(members, centres, strict=True)
        centres = np.stack([own.mean(axis=0) if len(own) else old for own, old in pairs])
    used = [index for index in range(len(centres)) if (nearest == index).any()]
    sums = np.zeros((len(used), *normal[0].features.shape), np.float32)
    for index in range(len(normal)):
        sums[used.index(int(nearest[index]))] += standard(normal[index].features)
    counts = np.array([(nearest == index).sum() for index in used], np.float32)
    return sums / counts[:, None, None, None]


def _coarse(features: np.ndarray) -> np.ndarray:
    tensor = torch.from_numpy(features).permute(2, 0, 1)
    return nn.functional.adaptive_avg_pool2d(tensor, CLUSTER_CELLS).flatten().numpy()


def _distances(ones: np.ndarray, others: np.ndarray) -> np.ndarray:
    squares = np.square(ones).sum(axis=1)[:, None] + np.square(others).sum(axis=1)
    return squares - 2 * ones @ others.T


def _with_residual(standard: Prepare, prototypes: np.ndarray) -> Prepare:
    """Standardised features and, after them, their squared difference from the nearest prototype's
    (by the whole picture), as log(1 + difference).
    """
    coarse = np.stack([_coarse(one) for one in prototypes])

    def prepare(features: np.ndarray) -> np.ndarray:
        own = standard(features)
        nearest = int(np.argmin(_distances(_coarse(own)[None], coarse)[0]))
        residual = np.log1p(np.square(own - prototypes[nearest]))
        return np.concatenate([own, residual], axis=2)

    return prepare


class _WindowAttention(nn.Module):
    """Self-attention of the patches within windows of one size; smaller windows at the edges are
    filled up with zeros.
    """

    def __init__(self, *, width: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)

    def forward(self, hidden: Tensor) -> Tensor:
        """What every patch gathers of its window."""
        side = self.window
        batch, width, rows, columns = hidden.shape
        padded = nn.functional.pad(hidden, (0, -columns % side, 0, -rows % side))
        high, wide = padded.shape[2] // side, padded.shape[3] // side
        tokens = padded.reshape(batch, width, high, side, wide, side).permute(0, 2, 4, 3, 5, 1)
        tokens = self.norm(tokens.reshape(-1, side * side, width))
        mixed = self.attention(tokens, tokens, tokens, need_weights=False)[0]
        mixed = mixed.reshape(batch, high, wide, side, side, width).permute(0, 5, 1, 3, 2, 4)
        return mixed.reshape(batch, width, high * side, wide * side)[:, :, :rows, :columns]


class _Network(nn.Module):
    """The layers of `fit_peer`."""

    def __init__(self, *, channels: int, width: int) -> None:
        super().__init__()
        self.fused = nn.Sequential(
            nn.Conv2d(2 * channels, width, 1), nn.GELU(), nn.Conv2d(width, width, 3, padding=1)
        )
        self.windows = nn.ModuleList(_WindowAttention(width=width, window=one) for one in WINDOWS)
        self.joined = nn.Conv2d(width * (1 + len(WINDOWS)), width, 1)
        self.upsamplings = nn.ModuleList(
            Upsampling(inputs=inputs, width=inputs // 2, picture=0)
            for inputs in (width, width // 2)
        )
        self.logit = nn.Conv2d(width // 4, 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        fused = self.fused(features)
        hidden = self.joined(torch.cat([fused, *(one(fused) for one in self.windows)], dim=1))
        for upsampling in self.upsamplings:
            hidden = upsampling(hidden, None)
        return self.logit(hidden)


def _network(*, channels: int, width: int) -> nn.Module:
    return _Network(channels=channels, width=width)
