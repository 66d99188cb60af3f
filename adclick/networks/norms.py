"""The norm of a whole map, computed so that a GPU is kept busy by few pictures."""

from typing import Any, ClassVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn


class WholeNorm(nn.GroupNorm):
    """GroupNorm with one group: a map's values are normalised by the mean and the variance of all
    of them, then scaled and shifted by channel. Weights have the names of `nn.GroupNorm`.

    Torch computes the moments of a group in one block of threads, so six pictures keep six of a
    GPU's hundred multiprocessors busy. `spread` computes them by a reduction that takes as many
    blocks as there is work for; None does so on GPUs alone, since sums in another order are other
    sums in their last digit.
    """

    spread: ClassVar[bool | None] = None

    def __init__(self, channels: int) -> None:
        super().__init__(1, channels)

    def forward(
        self, input: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch channel height width"]:
        """The maps, normalised; on a GPU in float32 also under autocast, as torch does there."""
        spread = input.device.type == "cuda" if self.spread is None else self.spread
        if not spread:
            return super().forward(input)
        given = input.float().contiguous()
        return cast("Tensor", _Spread.apply(given, self.weight, self.bias, self.eps))


class _Spread(torch.autograd.Function):
    """Moments by `torch.var_mean`; the gradient, whose sums are by channel, is torch's own."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        variance, mean = torch.var_mean(maps, dim=(1, 2, 3), correction=0)
        inverse_deviation = (variance + eps).rsqrt()
        ctx.save_for_backward(maps, weight, mean, inverse_deviation)
        scale = inverse_deviation[:, None] * weight
        shift = bias - mean[:, None] * scale
        return torch.addcmul(shift[..., None, None], maps, scale[..., None, None])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        maps, weight, mean, inverse_deviation = ctx.saved_tensors
        batch, channels, height, width = maps.shape
        found = torch.ops.aten.native_group_norm_backward(
            gradients[0].contiguous(),
            maps,
            mean[:, None],
            inverse_deviation[:, None],
            weight,
            batch,
            channels,
            height * width,
            1,
            list(ctx.needs_input_grad[:3]),
        )
        return *found, None
