"""The residual trunk: a one-stage Swin transformer over residual tokens."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Float
from timm.models.swin_transformer import (
    SwinTransformerBlock,
    window_partition,
    window_reverse,
)
from torch import Tensor, nn
from torch.nn import functional

MLP_RATIO = 4.0
UNATTENDED = -100.0

Pair = tuple[int, int]  # height, width


class SwinBlock(SwinTransformerBlock):
    """A Swin block that pads to whole windows before it shifts, as the original and LAVT do.

    timm shifts first, and its shift mask is then off by the padding. Where the map is a multiple of
    the window both are equal. Takes maps of any size, so that a part of a map can pass through.
    Attention is one kernel on a GPU, or where `fused` says so.
    """

    fused: bool | None = None  # None: on a GPU

    def _attn(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        rows, columns = self.window_size
        down, right = -height % rows, -width % columns
        if down or right:
            x = functional.pad(x, (0, 0, 0, right, 0, down))
        size = (x.shape[1], x.shape[2])
        if any(self.shift_size):
            x = x.roll((-self.shift_size[0], -self.shift_size[1]), (1, 2))
        mask = _shift_mask(size, self.window_size, self.shift_size, x.device)
        fused = x.is_cuda if self.fused is None else self.fused
        if self.attn.fused_attn != fused:
            self.attn.fused_attn = fused
        attended = self.attn(window_partition(x, self.window_size).flatten(1, 2), mask=mask)
        x = window_reverse(attended.unflatten(1, self.window_size), self.window_size, *size)
        if any(self.shift_size):
            x = x.roll(self.shift_size, (1, 2))
        return x[:, :height, :width]


def _shift_mask(
    size: Pair, window: Pair, shift: Pair, device: torch.device
) -> Float[Tensor, "window token token"] | None:
    """Between which tokens of which shifted window there is no attention: -100 where two were not
    neighbours before the shift, else 0; None without a shift. Made once for a size.
    """
    if not any(shift):
        return None
    made = _made_mask.__wrapped__ if torch.compiler.is_compiling() else _made_mask
    return made(size, window, shift, device)


@lru_cache(maxsize=64)
def _made_mask(size: Pair, window: Pair, shift: Pair, device: torch.device) -> Tensor:
    def zones(axis: int) -> Tensor:
        """Which of three parts of an axis a place lay in before the shift."""
        places = torch.arange(size[axis], device=device)
        return (places >= size[axis] - window[axis]).float() + (places >= size[axis] - shift[axis])

    with torch.inference_mode(False):  # else no training could read what a prediction made
        zone = 3 * zones(0)[:, None] + zones(1)
        parts = window_partition(zone[None, :, :, None], window).flatten(1)  # [window, token]
        return torch.where(parts[:, None] == parts[:, :, None], 0.0, UNATTENDED)


def swin_blocks(
    *, dim: int, grid: int, heads: int, window: int, drop_path: Sequence[float]
) -> nn.Sequential:
    """Swin blocks with shift 0 and half a window in turn, one for each rate in `drop_path`.

    Tokens are [batch height width channel]. The window clamps to `grid`, and nothing shifts then.
    Linear layers keep torch's initialisation: at dim 1024 about Swin's own deviation of 0.02, at
    small dims larger, where 0.02 learnt more slowly.
    """
    if dim % heads:
        raise ValueError(f"dim {dim} is not a multiple of heads {heads}")
    return nn.Sequential(
        *(
            SwinBlock(
                dim,
                (grid, grid),
                num_heads=heads,
                window_size=window,
                shift_size=window // 2 if index % 2 else 0,
                dynamic_mask=True,
                mlp_ratio=MLP_RATIO,
                qkv_bias=True,
                drop_path=rate,
            )
            for index, rate in enumerate(drop_path)
        )
    )


def rising_rates(last: float, depth: int) -> list[float]:
    """Drop-path rates that rise evenly from 0 at the first block to `last` at the last."""
    return [last * index / max(1, depth - 1) for index in range(depth)]


class ResidualTrunk(nn.Module):
    """Residual tokens in, context-aware tokens out, on the same grid.

    `embed` and `forward` are apart because clicks (and, in ADClick-Seg, language) are added between
    them, and because an image is embedded once however many clicks follow.

    Without `residual_channels` it has nothing to embed, and its tokens are made elsewhere.

    Source: section 3.2. The paper states no sizes; its first code has depth 4, dim 1024, 32 heads,
    window 8.
    """

    def __init__(
        self,
        *,
        residual_channels: int | None,
        dim: int,
        depth: int,
        heads: int,
        window: int,
        grid: int,
        drop_path: float,
    ) -> None:
        super().__init__()
        if residual_channels is not None:
            self.patch_embed = nn.Conv2d(residual_channels, dim, 1)
            self.patch_norm = nn.LayerNorm(dim)
        self.blocks = swin_blocks(
            dim=dim, grid=grid, heads=heads, window=window, drop_path=rising_rates(drop_path, depth)
        )
        self.norm = nn.LayerNorm(dim)

    def embed(
        self, residual: Float[Tensor, "batch residual_channel height width"]
    ) -> Float[Tensor, "batch dim height width"]:
        """Layer-normalised tokens of a squared residual (`residual_tokens`), before any block."""
        tokens = self.patch_embed(residual).permute(0, 2, 3, 1)
        return self.patch_norm(tokens).permute(0, 3, 1, 2)

    def forward(
        self, tokens: Float[Tensor, "batch dim height width"]
    ) -> Float[Tensor, "batch dim height width"]:
        """Tokens after all blocks and the last LayerNorm; any height and width will do."""
        return self.norm(self.blocks(tokens.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
