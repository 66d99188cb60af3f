"""How a peer's network is trained on frozen features: batches of pictures, and one plain loop."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from adclick.networks.detector_inputs import FeatureScale, fit_feature_scale, standardised
from adclick.residuals.maps import to_picture
from adclick.training.peer_pictures import SCALE_PICTURES, Picture, Pictures
from adclick.training.plan import ema_weight
from adclick.training.resuming import Progress, resume, save_progress
from adclick.training.samples import draw_turn, step_generator, turned

CLIP_NORM = 1.0
EMA_DECAY = 0.98
WARM_SHARE = 0.1
Prepare = Callable[[np.ndarray], np.ndarray]  # [row column channel] to what a network reads


class PeerBatch(NamedTuple):
    """Features of some pictures, channels first, and where they are defective."""

    features: Float[Tensor, "batch channel row column"]
    labels: Float[Tensor, "batch 1 height width"]

    @property
    def defective(self) -> Float[Tensor, " batch"]:
        """1 for pictures with a defect, 0 for the others."""
        return self.labels.flatten(1).amax(dim=1)


def scale_of(normal: Pictures) -> FeatureScale:
    """Mean and standard deviation of the features of normal pictures, of not too many of them."""
    rows = list(normal.rows)
    return fit_feature_scale(_Shaped(normal), rows[:: max(1, len(rows) // SCALE_PICTURES)])


def standardise(scale: FeatureScale) -> Prepare:
    """Features in standard deviations from the mean normal patch."""
    return lambda features: standardised(features[None], scale)[0]


def draw_peer_batch(
    pools: Mapping[str, Pictures],
    counts: Mapping[str, int],
    prepare: Prepare,
    *,
    seed: int,
    step: int,
    device: torch.device,
) -> PeerBatch:
    """The batch of a step: `counts[kind]` pictures of every kind in that order, mirrored and, where
    pictures are square, turned at random; a function of seed and step alone.
    """
    kinds = [kind for kind, count in counts.items() for _ in range(count)]
    drawn = []
    for index, kind in enumerate(kinds):
        generator, pool = step_generator(seed, step, index), pools[kind]
        chosen = int(generator.integers(len(pool)))
        mask = pool.mask(chosen).astype(np.float32)
        turn = draw_turn(generator, mask.shape)
        arrays = (prepare(pool[chosen].features), mask)
        drawn.append([turned(array[None], [turn])[0] for array in arrays])
    features, masks = (np.stack(part) for part in zip(*drawn, strict=True))
    return PeerBatch(
        torch.from_numpy(features).to(device).permute(0, 3, 1, 2).contiguous(),
        torch.from_numpy(masks[:, None]).to(device),
    )


def train_peer(
    model: nn.Module,
    loss_of: Callable[[nn.Module, int], Float32[Tensor, ""]],
    *,
    steps: int,
    learning_rate: float,
    weight_decay: float,
    progress: Progress,
) -> tuple[nn.Module, list[float]]:
    """The moving average of the trained weights, for use, and the loss of every step.

    `loss_of` gives the loss of a step and draws nothing but by seed and step. AdamW; the rate rises
    over the first tenth of the steps and falls to nothing along half a cosine. The state is kept
    in `progress` now and then, and a training that was killed goes on from it, to the same weights.
    """
    average = AveragedModel(model, multi_avg_fn=_averager)
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=weight_decay)
    losses = resume(progress, model, average, optimiser)
    saved = time.monotonic()
    model.train()
    for step in range(len(losses), steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * _rate(step / max(1, steps))
        loss = loss_of(model, step)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimiser.step()
        average.update_parameters(model)
        losses.append(float(loss.detach()))
        if time.monotonic() - saved > progress.every_s:
            save_progress(progress, model, average, optimiser, losses)
            saved = time.monotonic()
    progress.path.unlink(missing_ok=True)
    return average.module.eval(), losses


def segmented(
    model: nn.Module,
    prepare: Prepare,
    device: torch.device,
    smoothing_px: float,
) -> Callable[[Picture], np.ndarray]:
    """A picture's map from a network's logits at some resolution."""

    @torch.no_grad()
    def map_of(picture: Picture) -> np.ndarray:
        read = torch.from_numpy(prepare(picture.features)).to(device).permute(2, 0, 1)
        scores = model(read[None])[0, 0].float().cpu().numpy()
        return to_picture(scores, picture.image.shape[:2], smoothing_px=smoothing_px)

    return map_of


def parameters_of(*models: nn.Module) -> int:
    """How many numbers some networks hold, buffers among them."""
    return sum(value.numel() for model in models for value in model.state_dict().values())


class _Shaped:
    """Normal pictures as an array of features that is read by row."""

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures
        self.shape = (len(pictures), *pictures[0].features.shape)

    def __getitem__(self, row: int) -> np.ndarray:
        assert self._pictures.features is not None
        return self._pictures.features[row]


def _rate(share: float) -> float:
    if share < WARM_SHARE:
        return (share + 1e-3) / (WARM_SHARE + 1e-3)
    return 0.5 * (1 + float(np.cos(np.pi * (share - WARM_SHARE) / (1 - WARM_SHARE))))


def _averager(averaged: Any, current: Any, count: Tensor | int) -> None:
    weight = 1 - ema_weight(int(count), EMA_DECAY)
    for kept, new in zip(averaged, current, strict=True):
        kept.lerp_(new, weight)
