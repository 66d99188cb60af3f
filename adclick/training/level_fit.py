"""The training of `LevelChoice`: seconds, on what was seen of answers to a robot user."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch.nn import functional

from adclick.networks.checkpoints import seeded
from adclick.networks.level_choice import LevelChoice
from adclick.run.settings.clicks import Levels

BATCH = 512
WARM_SHARE = 0.3


def fit_levels(
    features: Float[np.ndarray, "answer level feature"],
    ious: Float[np.ndarray, "answer level"],
    settings: Levels,
    *,
    steady: Sequence[int],
    seed: int,
) -> LevelChoice:
    """A choice of level from answers whose masks' IoUs are known, on the CPU; `steady` are the
    columns that half of its members read.

    Each member by itself: cross entropy against the IoU, AdamW with one cycle of the rate,
    features with Gaussian noise. Equal arguments give equal weights. ValueError without answers.
    """
    if not len(features):
        raise ValueError("no answer to learn levels from")
    rows = torch.from_numpy(features.reshape(-1, features.shape[-1])).float()
    known = torch.from_numpy(ious.reshape(-1)).float()
    choice = seeded(
        LevelChoice, seed, features=rows.shape[1], hidden=settings.hidden, steady=steady
    )
    choice.set_scale(rows)
    given = choice.standardised(rows)
    for index, member in enumerate(choice.members):
        generator = torch.Generator().manual_seed(1000 * seed + index)
        _fit_member(member, given, known, settings, generator)
    return choice.eval()


def _fit_member(
    member: torch.nn.Module,
    given: torch.Tensor,
    known: torch.Tensor,
    settings: Levels,
    generator: torch.Generator,
) -> None:
    rate = settings.learning_rate
    optimiser = torch.optim.AdamW(member.parameters(), rate, weight_decay=settings.weight_decay)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rate, settings.steps, pct_start=WARM_SHARE
    )
    for _ in range(settings.steps):
        drawn = torch.randint(len(given), (BATCH,), generator=generator)
        noise = settings.noise * torch.randn((BATCH, given.shape[1]), generator=generator)
        logits = member(given[drawn] + noise)[:, 0]
        loss = functional.binary_cross_entropy_with_logits(logits, known[drawn])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        cycle.step()
