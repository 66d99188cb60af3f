"""Scores of whole pictures by their patches, and how far they may deviate from a prior: what DevNet
and DRA share.
"""

import numpy as np
from jaxtyping import Float, Float32
from torch import Tensor, nn

MARGIN = 5.0  # deviations from the prior that a defective picture must reach
PRIOR_DRAWS = 5000


def top_mean(scores: Float[Tensor, "batch 1 row column"], share: float) -> Float[Tensor, " batch"]:
    """The mean of a picture's highest patch scores, `share` of all of them and at least one."""
    flat = scores.flatten(1)
    return flat.topk(max(1, int(share * flat.shape[1])), dim=1).values.mean(dim=1)


def deviation_loss(
    scores: Float[Tensor, " batch"],
    defective: Float[Tensor, " batch"],
    generator: np.random.Generator,
) -> Float32[Tensor, ""]:
    """The size of a normal picture's deviation, and what a defective one's lacks to `MARGIN`; mean
    over the batch.

    A deviation is the score's distance from the mean of `PRIOR_DRAWS` standard normal numbers in
    units of their standard deviation. Source: DevNet (arXiv 2108.00462), Sec. 3, deviation loss.
    """
    prior = generator.standard_normal(PRIOR_DRAWS)
    deviation = (scores - float(prior.mean())) / float(prior.std())
    normal = (1 - defective) * deviation.abs()
    return (normal + defective * (MARGIN - deviation).clamp_min(0)).mean()


def patch_scorer(*, channels: int, width: int) -> nn.Module:
    """An untrained 1x1 convolution, ReLU, and a score a patch."""
    return nn.Sequential(nn.Conv2d(channels, width, 1), nn.ReLU(), nn.Conv2d(width, 1, 1))
