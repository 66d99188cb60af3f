"""The picture as tokens: a small convolution pyramid from RGB to the residual's grid."""

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from adclick.networks.norms import WholeNorm

IMAGE_CHANNELS = 3


class ImageStem(nn.Module):
    """Tokens of an RGB picture, layer-normalised as the residual's are, so that both may be added.

    Every level halves the resolution: a 3x3 convolution of stride 2, GroupNorm with one group,
    GELU. `channels` are the levels' widths, three for tokens of stride 8; a 1x1 convolution brings
    the last to `dim`. Nothing in it depends on clicks, so it runs once an image.

    Not in the paper, whose networks see the picture through words alone.
    """

    def __init__(self, *, dim: int, channels: Sequence[int]) -> None:
        super().__init__()
        if not channels:
            raise ValueError("an image stem needs the channels of at least one level")
        self.levels = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(narrow, wide, 3, stride=2, padding=1), WholeNorm(wide), nn.GELU()
            )
            for narrow, wide in pairwise([IMAGE_CHANNELS, *channels])
        )
        self.projection = nn.Conv2d(channels[-1], dim, 1)
        self.norm = nn.LayerNorm(dim)

    @property
    def stride(self) -> int:
        """Pixels a token."""
        return 2 ** len(self.levels)

    def maps(
        self, image: Float[Tensor, "batch 3 image_height image_width"]
    ) -> list[Float[Tensor, "batch _ _ _"]]:
        """One map a level, finest first: strides 2, 4, 8. `image` is normalised
        (`normalise_image`).
        """
        found: list[Tensor] = []
        for level in self.levels:
            image = level(image)
            found.append(image)
        return found

    def tokens(
        self, coarsest: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch dim height width"]:
        """Tokens of the last of `maps`, for those who need both."""
        projected = self.projection(coarsest).permute(0, 2, 3, 1)
        return self.norm(projected).permute(0, 3, 1, 2)

    def forward(
        self, image: Float[Tensor, "batch 3 image_height image_width"]
    ) -> Float[Tensor, "batch dim height width"]:
        """Tokens of a normalised picture."""
        return self.tokens(self.maps(image)[-1])


def build_image_stem(*, dim: int, channels: Sequence[int], stride: int) -> ImageStem:
    """An untrained stem whose tokens lie on those of the residual, `stride` pixels a token.

    ValueError when the levels make another stride.
    """
    stem = ImageStem(dim=dim, channels=channels)
    if stem.stride != stride:
        raise ValueError(
            f"image_channels has {len(channels)} levels, so a stride of {stem.stride};"
            f" tokens have {stride}"
        )
    return stem
