"""Which answer to clicks, at which level, is the mask: a small network that estimates IoUs."""

from collections.abc import Sequence
from typing import TypedDict

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

MEMBERS = 3  # that read all features, and as many that read the steady ones
LEAST_DEVIATION = 1e-6
FARTHEST = 4.0  # standard deviations: what is stranger than anything trained on is cut there


class LevelSizes(TypedDict):
    """The sizes of a `LevelChoice`."""

    features: int
    hidden: int
    steady: list[int]


class LevelChoice(nn.Module):
    """The estimated IoU of an answer's mask at each level, the mean of a few networks: half of them
    read all features, the others the `steady` ones, by their columns.

    Not in the paper. An estimate of a mask's IoU chooses among masks in SAM (Kirillov et al., arXiv
    2304.02643, Sec. 3), too; there among three of a decoder, here among the levels of a few
    answers.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, *, features: int, hidden: int, steady: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))
        read = [*[range(features)] * MEMBERS, *[steady] * MEMBERS]
        self.members = nn.ModuleList(_member(features, own, hidden) for own in read)

    def set_scale(self, features: Float[Tensor, "sample feature"]) -> None:
        """Standardise by these features from now on."""
        self.mean.copy_(features.mean(dim=0))
        deviation = features.std(dim=0)
        never_seen_to_differ = deviation < LEAST_DEVIATION  # nothing was learnt of it
        self.deviation.copy_((deviation + 1e-3).masked_fill(never_seen_to_differ, torch.inf))

    def standardised(
        self, features: Float[Tensor, "*batch feature"]
    ) -> Float[Tensor, "*batch feature"]:
        """Features less their mean, in standard deviations, cut at four of them."""
        return ((features - self.mean) / self.deviation).clamp(-FARTHEST, FARTHEST)

    def forward(self, features: Float[Tensor, "*batch feature"]) -> Float[Tensor, "*batch"]:
        """The logit of the IoU of each row of features."""
        given = self.standardised(features)
        return torch.stack([own(given)[..., 0] for own in self.members]).mean(dim=0)

    @torch.no_grad()
    def best(
        self,
        features: Float[Tensor, "answer level feature"],
        allowed: Bool[Tensor, "answer level"] | None = None,
    ) -> tuple[int, int]:
        """The answer and its level of the highest estimate, each taken with its two neighbours, of
        those that are `allowed`.
        """
        iou = torch.sigmoid(self(features))
        padded = torch.cat([iou[:, :1], iou, iou[:, -1:]], dim=1)
        smooth = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
        if allowed is not None:
            smooth = smooth.masked_fill(~allowed, -1)
        return divmod(int(smooth.argmax()), iou.shape[1])


class _Some(nn.Module):
    """Some columns as they are, all others 0."""

    read: Tensor

    def __init__(self, features: int, columns: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("read", torch.zeros(features))
        self.read[list(columns)] = 1

    def forward(self, given: Float[Tensor, "*batch feature"]) -> Float[Tensor, "*batch feature"]:
        return given * self.read


def _member(features: int, columns: Sequence[int], hidden: int) -> nn.Sequential:
    return nn.Sequential(
        _Some(features, columns),
        nn.Linear(features, hidden),
        nn.GELU(),
        nn.Linear(hidden, hidden),
        nn.GELU(),
        nn.Linear(hidden, 1),
    )
