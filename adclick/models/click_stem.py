"""Clicks as tokens: one convolution over the previous probability and the two disk maps."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

ClickInit = Literal["visible", "default"]

# One disk covers a part of one patch; the previous probability can fill it. With these weights both
# reach about the size of a layer-normalised residual token (measured on a small scale, patch 8).
DISK_STD = 1 / 12


class ClickStem(nn.Module):
    """Click tokens, added to the residual tokens: a convolution, kernel and stride the patch.

    `init="visible"` makes the weights of one (output channel, input channel) pair equal over the
    patch, of random sign and size, so that a single disk is seen from the first step; biases start
    at zero, and no click then adds nothing. `"default"` is torch's own.
    """

    def __init__(self, *, dim: int, patch: int, init: ClickInit) -> None:
        super().__init__()
        if init not in ("visible", "default"):
            raise ValueError(f"click init is {init!r}; choose visible or default")
        self.projection = nn.Conv2d(3, dim, patch, stride=patch)
        if init == "visible":
            self._make_visible()

    def forward(
        self, clicks: Float[Tensor, "batch 3 image_height image_width"]
    ) -> Float[Tensor, "batch dim height width"]:
        """Tokens of [previous probability, positive disks, negative disks], all in [0, 1]."""
        return self.projection(clicks)

    @torch.no_grad()
    def _make_visible(self) -> None:
        weight = self.projection.weight  # [dim, 3, patch, patch]
        previous_std = 1 / (weight.shape[2] * weight.shape[3])
        std = weight.new_tensor([previous_std, DISK_STD, DISK_STD]).view(1, 3, 1, 1)
        draws = torch.randn_like(weight[:, :, :1, :1])
        weight.copy_((draws * std).expand_as(weight))
        if self.projection.bias is not None:
            self.projection.bias.zero_()
