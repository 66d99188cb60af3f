"""The segmentation head: from a pyramid to one logit map at its finest stride."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from adclick.networks.resizing import resized

DROPOUT = 0.1
LOGIT_STD = 0.01


class PyramidHead(nn.Module):
    """An all-MLP head: a 1x1 convolution a level, all resized to the finest, mixed, one logit.

    Source: SegFormer (arXiv 2105.15203) in SimpleClick's form, without normalisation.
    """

    def __init__(self, *, channels: Sequence[int], hidden: int) -> None:
        super().__init__()
        self.project = nn.ModuleList(nn.Conv2d(width, hidden, 1) for width in channels)
        self.mix = nn.Conv2d(len(channels) * hidden, hidden, 1)
        self.dropout = nn.Dropout2d(DROPOUT)
        self.logit = nn.Conv2d(hidden, 1, 1)
        nn.init.normal_(self.logit.weight, std=LOGIT_STD)
        nn.init.zeros_(self.logit.bias)  # pyright: ignore[reportArgumentType]

    def forward(
        self, pyramid: list[Float[Tensor, "batch _ _ _"]]
    ) -> Float[Tensor, "batch 1 height width"]:
        """Logits at the size of the pyramid's first, finest map."""
        hidden = [
            functional.relu(project(level))
            for project, level in zip(self.project, pyramid, strict=True)
        ]
        return self.logit(self.dropout(functional.relu(self._mixed(hidden))))

    def _mixed(
        self, hidden: list[Float[Tensor, "batch hidden _ _"]]
    ) -> Float[Tensor, "batch hidden height width"]:
        """`mix` of the resized and concatenated levels.

        Both are linear, so each level is multiplied by its part of the weights while it is small
        and resized after; bilinear weights sum to one, so the bias may be added at the finest
        level.
        """
        parts = self.mix.weight.chunk(len(hidden), dim=1)
        mixed = functional.conv2d(hidden[0], parts[0], self.mix.bias)
        for level, weight in zip(hidden[1:], parts[1:], strict=True):
            part = functional.conv2d(level, weight)
            mixed = mixed + resized(part, (mixed.shape[-2], mixed.shape[-1]))
        return mixed
