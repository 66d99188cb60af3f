"""From one token map to a pyramid, and where language enters it."""

from collections.abc import Sequence
from typing import Literal, cast

from jaxtyping import Float
from torch import Tensor, nn

from adclick.networks.norms import WholeNorm
from adclick.networks.resizing import resized

TOKEN_STRIDE = 8
NECK_STRIDES = (4, 8, 16, 32)

LanguageInit = Literal["default", "silent"]


class SimplePyramid(nn.Module):
    """Maps at several strides, each made from the tokens alone, which have stride 8 or 16.

    Up: transposed 2x2 convolutions; down: 2x2 convolutions of stride 2; then 1x1 to the level's
    channels, GroupNorm with one group, GELU. Strides are any of 4, 8, 16, 32, ascending.

    Source: SimpleClick's simple feature pyramid (arXiv 2210.11006), whose tokens have stride 16.
    """

    def __init__(
        self,
        *,
        dim: int,
        channels: Sequence[int],
        strides: Sequence[int],
        token_stride: int = TOKEN_STRIDE,
    ) -> None:
        super().__init__()
        if len(channels) != len(strides):
            raise ValueError(f"{len(channels)} neck channels for {len(strides)} neck strides")
        if list(strides) != sorted(set(strides)) or not set(strides) <= set(NECK_STRIDES):
            raise ValueError(
                f"neck strides are {list(strides)}; choose ascending from {NECK_STRIDES}"
            )
        self.levels = nn.ModuleList(
            _level(dim, width, stride / token_stride)
            for width, stride in zip(channels, strides, strict=True)
        )

    def forward(
        self, tokens: Float[Tensor, "batch dim height width"]
    ) -> list[Float[Tensor, "batch _ _ _"]]:
        """One map a stride, finest first."""
        return [level(tokens) for level in self.levels]


def _level(dim: int, channels: int, reduction: float) -> nn.Sequential:
    resample, width = _resample(dim, reduction)
    return nn.Sequential(*resample, nn.Conv2d(width, channels, 1), WholeNorm(channels), nn.GELU())


def _resample(dim: int, reduction: float) -> tuple[list[nn.Module], int]:
    """The layers to a map smaller by `reduction`, 1/4 to 4, and how many channels they end with."""
    if reduction == 1:
        return [], dim
    if reduction < 1:
        up = [nn.ConvTranspose2d(dim, dim // 2, 2, stride=2), WholeNorm(dim // 2)]
        if reduction == 1 / 2:
            return up, dim // 2
        again, width = _resample(dim // 2, 2 * reduction)
        return [*up, nn.GELU(), *again], width
    last = [nn.Conv2d(dim, 2 * dim, 2, stride=2), WholeNorm(2 * dim)]
    if reduction == 2:
        return last, 2 * dim
    first = [nn.Conv2d(dim, dim, 2, stride=2), WholeNorm(dim), nn.GELU()]
    return [*first, *last], 2 * dim


class LanguageInjection(nn.Module):
    """A pyramid with language added: each map += GELU(GroupNorm(1x1 convolution of language)).

    A language map of another resolution is resized bilinearly first. Batches of one broadcast, so
    one image can meet many prompts. With `init="silent"` the norms' weights start at zero: an
    untrained branch adds nothing, where noise of the maps' own size would be in the way of all else
    in a short training. `"default"` is torch's own.
    """

    def __init__(
        self,
        *,
        language_channels: Sequence[int],
        neck_channels: Sequence[int],
        init: LanguageInit = "default",
    ) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Sequential(nn.Conv2d(language, neck, 1), WholeNorm(neck), nn.GELU())
            for language, neck in zip(language_channels, neck_channels, strict=True)
        )
        if init == "silent":
            for level in self.levels:
                nn.init.zeros_(cast("Tensor", cast("nn.Sequential", level)[1].weight))

    def forward(
        self, pyramid: list[Float[Tensor, "_ _ _ _"]], maps: list[Float[Tensor, "_ _ _ _"]]
    ) -> list[Float[Tensor, "_ _ _ _"]]:
        """The pyramid's maps, each with its language map added."""
        return [
            level + injection(resized(language, (level.shape[-2], level.shape[-1])))
            for level, language, injection in zip(pyramid, maps, self.levels, strict=True)
        ]
