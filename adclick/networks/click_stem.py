"""Clicks as tokens: one convolution over the previous probability and the clicks' maps."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

ClickInit = Literal["visible", "default"]
DISK_CHANNELS = 3  # previous probability, positive disks, negative disks
DIFFUSED_CHANNELS = 2

# One disk covers a part of one patch; the previous probability, or a diffused click, can fill it.
# With these weights both reach about the size of a layer-normalised residual token (measured on a
# small scale, patch 8).
DISK_STD = 1 / 12


class ClickStem(nn.Module):
    """Click tokens, added to the residual tokens: a convolution, kernel and stride the patch.

    `init="visible"` makes the weights of one (output channel, input channel) pair equal over the
    patch, of random sign and size, so that a single disk is seen from the first step; biases start
    at zero, and no click then adds nothing. `"default"` is torch's own.

    With `cells`, clicks also come diffused over a graph of so many cells a side of the picture
    (`diffusion.diffuse_clicks`), as two further maps; None is the paper's disks alone.
    """

    def __init__(self, *, dim: int, patch: int, init: ClickInit, cells: int | None = None) -> None:
        super().__init__()
        if init not in ("visible", "default"):
            raise ValueError(f"click init is {init!r}; choose visible or default")
        self.cells = cells
        channels = DISK_CHANNELS + (0 if cells is None else DIFFUSED_CHANNELS)
        self.projection = nn.Conv2d(channels, dim, patch, stride=patch)
        if init == "visible":
            self._make_visible()

    def forward(
        self, clicks: Float[Tensor, "batch click_map image_height image_width"]
    ) -> Float[Tensor, "batch dim height width"]:
        """Tokens of [previous probability, positive disks, negative disks], all in [0, 1], then of
        the positive and negative clicks diffused, where there are `cells`.
        """
        return self.projection(clicks)

    @torch.no_grad()
    def _make_visible(self) -> None:
        weight = self.projection.weight  # [dim, click map, patch, patch]
        filling_std = 1 / (weight.shape[2] * weight.shape[3])
        diffused = [filling_std] * (weight.shape[1] - DISK_CHANNELS)
        std = weight.new_tensor([filling_std, DISK_STD, DISK_STD, *diffused]).view(1, -1, 1, 1)
        draws = torch.randn_like(weight[:, :, :1, :1])
        weight.copy_((draws * std).expand_as(weight))
        if self.projection.bias is not None:
            self.projection.bias.zero_()
