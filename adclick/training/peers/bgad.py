"""BGAD: a normalizing flow of normal patches, and a margin beyond which defective ones must lie."""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from adclick.networks.checkpoints import seeded
from adclick.residuals.maps import to_picture
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

LARGEST_LOG_SCALE = 2.0
POSITIONS = 32  # channels of the sines and cosines that say where a patch lies


def fit_peer(
    *,
    normal: Pictures,
    labelled: Pictures,
    seed: int,
    device: torch.device,
    progress: Progress,
    couplings: int = 4,
    width: int = 256,
    boundary_share: float = 0.05,
    margin: float = 0.1,
    push_pull: float = 1.0,
    steps: int = 400,
    learning_rate: float = 1e-3,
    smoothing_px: float = 4.0,
) -> Learnt:
    """The negative log-likelihood of every patch under a flow that knows where the patch lies.

    Normal patches are made likely. Their boundary is the log-likelihood that `boundary_share` of
    them fall below; those are pulled to it, and patches of defects pushed `margin` beyond it, in
    units in which the likeliest is 0 and the least likely of the batch's normal ones -1.

    Source: Yao et al., "Explicit Boundary Guided Semi-Push-Pull Contrastive Learning for Supervised
    Anomaly Detection" (arXiv 2207.01463), Sec. 3: conditional flow, explicit boundary, the loss
    that pulls normal and pushes abnormal features apart. Copies of defects are the run's
    expanded ones. A patch is a defect's where any of its pixels is.
    """
    prepare = standardise(scale_of(normal))
    channels = normal[0].features.shape[-1]
    model = seeded(_flow, seed, channels=channels, width=width, couplings=couplings).to(device)
    pools, counts = {"normal": normal, "labelled": labelled}, {"normal": 4, "labelled": 4}

    def loss_of(network: nn.Module, step: int) -> Tensor:
        batch = draw_peer_batch(pools, counts, prepare, seed=seed, step=step, device=device)
        return _loss(network(batch.features), batch, boundary_share, margin, push_pull)

    trained, losses = train_peer(
        model,
        loss_of,
        steps=steps,
        learning_rate=learning_rate,
        weight_decay=0.0,
        progress=progress,
    )

    @torch.no_grad()
    def map_of(picture: Picture) -> np.ndarray:
        read = torch.from_numpy(prepare(picture.features)).to(device).permute(2, 0, 1)[None]
        found = -trained(read)[0].float().cpu().numpy()
        return to_picture(found, picture.image.shape[:2], smoothing_px=smoothing_px)

    return Learnt(map_of, parameters_of(trained), {"losses": losses})


def _loss(
    likelihood: Float[Tensor, "batch row column"],
    batch: PeerBatch,
    share: float,
    margin: float,
    push_pull: float,
) -> Tensor:
    """Likely normal patches, and the two sides of the boundary."""
    size = likelihood.shape[1:]
    defective = nn.functional.adaptive_max_pool2d(batch.labels, size)[:, 0] > 0.5
    normal, abnormal = likelihood[~defective], likelihood[defective]
    unit = normal.detach().min().abs().clamp_min(1e-6)
    boundary = torch.quantile(normal.detach(), share) / unit
    pull = (boundary - normal / unit).clamp_min(0).mean()
    push = (abnormal / unit - boundary + margin).clamp_min(0)
    return -normal.mean() + push_pull * (pull + (push.mean() if len(push) else 0.0))


class _Flow(nn.Module):
    """Affine couplings over the channels of every patch by itself, each of a half that is shifted
    and scaled by what the other half and the patch's place say; log-likelihood a channel.
    """

    def __init__(self, *, channels: int, width: int, couplings: int) -> None:
        super().__init__()
        self.first = channels // 2
        self.networks = nn.ModuleList()
        for index in range(couplings):
            known = self.first if index % 2 == 0 else channels - self.first
            last = nn.Conv2d(width, 2 * (channels - known), 1)
            for values in last.parameters():  # an untrained flow leaves features as they are
                nn.init.zeros_(values)
            self.networks.append(
                nn.Sequential(nn.Conv2d(known + POSITIONS, width, 1), nn.ReLU(), last)
            )

    def forward(self, features: Tensor) -> Float[Tensor, "batch row column"]:
        first, second = features[:, : self.first], features[:, self.first :]
        places = positions(features.shape[2], features.shape[3]).to(features)
        places = places[None].expand(len(features), -1, -1, -1)
        stretched = torch.zeros_like(features[:, 0])
        for index, network in enumerate(self.networks):
            known, moved = (first, second) if index % 2 == 0 else (second, first)
            shift, scale = network(torch.cat([known, places], dim=1)).chunk(2, dim=1)
            scale = LARGEST_LOG_SCALE * torch.tanh(scale / LARGEST_LOG_SCALE)
            moved = moved * torch.exp(scale) + shift
            stretched = stretched + scale.sum(dim=1)
            first, second = (known, moved) if index % 2 == 0 else (moved, known)
        code = torch.cat([first, second], dim=1)
        constant = 0.5 * math.log(2 * math.pi)
        gaussian = -0.5 * code.square().sum(dim=1) - constant * code.shape[1]
        return (gaussian + stretched) / code.shape[1]


def positions(rows: int, columns: int) -> Float[Tensor, "position row column"]:
    """Sines and cosines of a patch's row and of its column, of rising frequency."""
    waves = POSITIONS // 4
    rates = 2.0 ** torch.arange(waves) * math.pi
    planes = []
    for axis, count in ((0, rows), (1, columns)):
        place = (torch.arange(count) + 0.5) / count
        angles = rates[:, None] * place
        plane = torch.cat([angles.sin(), angles.cos()])
        shaped = plane[:, :, None] if axis == 0 else plane[:, None, :]
        planes.append(shaped.expand(-1, rows, columns))
    return torch.cat(planes)


def _flow(*, channels: int, width: int, couplings: int) -> nn.Module:
    return _Flow(channels=channels, width=width, couplings=couplings)
