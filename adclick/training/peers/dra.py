"""DRA: seen, pseudo and residual anomalies are learnt apart, and normality beside them."""

import numpy as np
import torch
from torch import Tensor, nn

from adclick.networks.checkpoints import seeded
from adclick.residuals.maps import to_picture
from adclick.training.deviation import deviation_loss, patch_scorer, top_mean
from adclick.training.peer_pictures import Learnt, Picture, Pictures
from adclick.training.peer_training import (
    PeerBatch,
    draw_peer_batch,
    parameters_of,
    scale_of,
    standardise,
    train_peer,
)
from adclick.training.resuming import Progress

COUNTS = {"normal": 8, "simulated": 4, "labelled": 4}
REFERENCES = 5


def fit_peer(
    *,
    normal: Pictures,
    simulated: Pictures,
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
    """Three patch scorers and a score of the whole picture, each with the deviation loss: of seen
    anomalies (labelled against normal), pseudo anomalies (simulated against normal) and residual
    anomalies (all of them, on what features differ from the mean of a few normal pictures); the
    whole picture's score is high where it is normal. The map is the sum of the three, less the
    picture's normality.

    Source: Ding, Pang, Shen, "Catching Both Gray and Black Swans" (arXiv 2203.14506), Sec. 3:
    heads of seen, pseudo and latent residual anomalies with top-k scores, one of normality,
    deviation loss, sum of the heads at inference. There the backbone is trained on and pseudo
    anomalies are CutMix or other pictures; here the backbone is frozen and they are the run's
    simulated defects.
    """
    prepare = standardise(scale_of(normal))
    chosen = np.random.default_rng(seed).choice(
        len(normal), min(REFERENCES, len(normal)), replace=False
    )
    mean = np.mean([prepare(normal[int(index)].features) for index in chosen], axis=0)
    reference = torch.from_numpy(mean).to(device).permute(2, 0, 1)[None]
    channels = normal[0].features.shape[-1]
    model = seeded(_heads, seed, channels=channels, width=width).to(device)
    pools = {"normal": normal, "simulated": simulated, "labelled": labelled}

    def loss_of(network: nn.Module, step: int) -> Tensor:
        batch = draw_peer_batch(pools, COUNTS, prepare, seed=seed, step=step, device=device)
        return _loss(network, batch, reference, top_share, (seed, step))

    trained, losses = train_peer(
        model,
        loss_of,
        steps=steps,
        learning_rate=learning_rate,
        weight_decay=0.01,
        progress=progress,
    )

    @torch.no_grad()
    def map_of(picture: Picture) -> np.ndarray:
        read = torch.from_numpy(prepare(picture.features)).to(device).permute(2, 0, 1)[None]
        heads = trained(read, reference)
        scores = heads["seen"] + heads["pseudo"] + heads["residual"] - heads["normality"]
        found = scores[0, 0].float().cpu().numpy()
        return to_picture(found, picture.image.shape[:2], smoothing_px=smoothing_px)

    return Learnt(map_of, parameters_of(trained) + mean.size, {"losses": losses})


def _loss(
    network: nn.Module, batch: PeerBatch, reference: Tensor, share: float, seeds: tuple[int, int]
) -> Tensor:
    """The sum of the heads' losses, each on the pictures that it is for."""
    heads, defective = network(batch.features, reference), batch.defective
    kinds = np.repeat(list(COUNTS), list(COUNTS.values()))
    known = {"seen": kinds != "simulated", "pseudo": kinds != "labelled"}
    generator = np.random.default_rng(seeds)
    total = deviation_loss(heads["normality"].flatten(), 1 - defective, generator)
    for name in ("seen", "pseudo", "residual"):
        rows = torch.from_numpy(np.flatnonzero(known.get(name, np.ones(len(kinds), bool))))
        scores = top_mean(heads[name][rows], share)
        total = total + deviation_loss(scores, defective[rows], generator)
    return total


class _Heads(nn.Module):
    """The four heads of `fit_peer`."""

    def __init__(self, *, channels: int, width: int) -> None:
        super().__init__()
        names = ("seen", "pseudo", "residual")
        self.patches = nn.ModuleDict(
            {name: patch_scorer(channels=channels, width=width) for name in names}
        )
        self.normality = nn.Sequential(nn.Linear(channels, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, features: Tensor, reference: Tensor) -> dict[str, Tensor]:
        inputs = {"seen": features, "pseudo": features, "residual": features - reference}
        scores = {name: self.patches[name](one) for name, one in inputs.items()}
        whole = self.normality(features.mean(dim=(2, 3)))
        return {**scores, "normality": whole[:, :, None, None]}


def _heads(*, channels: int, width: int) -> nn.Module:
    return _Heads(channels=channels, width=width)
