"""A detector that reads frozen features beside the residual; see `build_feature_detector`."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from adclick.networks.norms import WholeNorm

BODY_DILATIONS = (1, 2, 4, 1)  # a patch sees 17 patches across
PICTURE_CHANNELS = 3


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of every position by itself; channels first."""

    def forward(self, input: Float[Tensor, "batch channel height width"]) -> Tensor:
        """The map, normalised; what an anomaly does to one position does not reach others."""
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class BodyBlock(nn.Module):
    """A residual block: norm, GELU, one dilated 3x3 convolution that starts at zero."""

    def __init__(self, *, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(width)
        self.convolution = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)
        nn.init.zeros_(self.convolution.weight)
        nn.init.zeros_(self.convolution.bias)  # pyright: ignore[reportArgumentType]

    def forward(
        self, hidden: Float[Tensor, "batch width height width_px"]
    ) -> Float[Tensor, "batch width height width_px"]:
        """What comes in, and what the block adds."""
        return hidden + self.convolution(functional.gelu(self.norm(hidden)))


class PictureLevel(nn.Module):
    """Half the resolution of a picture or of a finer level: a 3x3 convolution of stride 2, norm,
    GELU.
    """

    def __init__(self, *, inputs: int, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, width, 3, stride=2, padding=1)
        self.norm = WholeNorm(width)

    def forward(self, finer: Float[Tensor, "batch _ _ _"]) -> Float[Tensor, "batch _ _ _"]:
        """The coarser level."""
        return functional.gelu(self.norm(self.convolution(finer)))


class Upsampling(nn.Module):
    """Twice the resolution: bilinear, a 3x3 convolution, GELU; a picture's level may be joined."""

    def __init__(self, *, inputs: int, width: int, picture: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(inputs, width, 1)
        self.convolution = nn.Conv2d(width + picture, width, 3, padding=1)

    def forward(
        self, coarse: Float[Tensor, "batch _ _ _"], level: Float[Tensor, "batch _ _ _"] | None
    ) -> Float[Tensor, "batch _ _ _"]:
        """The finer map; `level` has its resolution, and is None without a picture."""
        fine = functional.interpolate(
            self.narrow(coarse), scale_factor=2, mode="bilinear", align_corners=False
        )
        joined = fine if level is None else torch.cat([fine, level], dim=1)
        return functional.gelu(self.convolution(joined))


class FeatureDetector(nn.Module):
    """What is to be added to the training-free map's logit, at every second pixel or so.

    Reads standardised features of the picture (`standardised`), whose channels are dropped at
    random as whole maps in training, and the residual's tokens (`residual_tokens`). Both go through
    a 1x1 convolution each, are summed, and pass a body of residual blocks of rising dilation, then
    upsamplings; where `picture` levels exist, the picture at full resolution joins these. The last
    convolution starts at zero: an untrained detector adds nothing.

    Not in the paper, whose detector reads the squared residual alone: large soft regions are in the
    features and not in the residual.
    """

    def __init__(
        self,
        *,
        features: nn.Module,
        residual: nn.Module,
        body: nn.Module,
        picture: nn.ModuleList,
        upsamplings: nn.ModuleList,
        logit: nn.Conv2d,
    ) -> None:
        super().__init__()
        self.features = features
        self.residual = residual
        self.body = body
        self.picture = picture
        self.upsamplings = upsamplings
        self.logit = logit

    def forward(
        self,
        features: Float[Tensor, "batch feature_channel row column"],
        residual: Float[Tensor, "batch residual_channel row column"],
        picture: Float[Tensor, "batch 3 height width"],
    ) -> Float[Tensor, "batch 1 _ _"]:
        """What is added to the logits, at the grid's resolution times two for each upsampling."""
        hidden = self.body(self.features(features) + self.residual(residual))
        levels: list[Tensor | None] = [None] * len(self.upsamplings)
        for index, level in enumerate(self.picture):
            picture = level(picture)
            levels[len(self.picture) - 1 - index] = picture
        for upsampling, level in zip(self.upsamplings, levels, strict=True):
            hidden = upsampling(hidden, level)
        return self.logit(hidden)


class FoldedDetector(nn.Module):
    """Several detectors of equal sizes as one: the mean of what they add.

    They are those that cross-validation trained on a part of the labels each; held-out pictures say
    what the few that did not see them reach together, and all of them are no worse. With them stay
    the scales by which stored features and residuals became inputs.
    """

    feature_mean: Tensor
    feature_deviation: Tensor
    residual_scale: Tensor

    def __init__(
        self,
        detectors: Sequence[FeatureDetector],
        *,
        feature_mean: Float[Tensor, " channel"],
        feature_deviation: Float[Tensor, " channel"],
        residual_scale: Float[Tensor, " channel"],
    ) -> None:
        super().__init__()
        self.detectors = nn.ModuleList(detectors)
        self.register_buffer("feature_mean", feature_mean)
        self.register_buffer("feature_deviation", feature_deviation)
        self.register_buffer("residual_scale", residual_scale)

    def forward(
        self,
        features: Float[Tensor, "batch feature_channel row column"],
        residual: Float[Tensor, "batch residual_channel row column"],
        picture: Float[Tensor, "batch 3 height width"],
    ) -> Float[Tensor, "batch 1 _ _"]:
        """The mean of the detectors' answers."""
        answers = [detector(features, residual, picture) for detector in self.detectors]
        return torch.stack(answers).mean(dim=0)


def build_folded_detector(*, folds: int, patch_channels: int, **sizes: Any) -> FoldedDetector:
    """`folds` untrained detectors of the sizes of `build_feature_detector`, for weights to be
    loaded into; stored patches have `patch_channels`.
    """
    return FoldedDetector(
        [build_feature_detector(**sizes) for _ in range(folds)],
        feature_mean=torch.zeros(patch_channels),
        feature_deviation=torch.ones(patch_channels),
        residual_scale=torch.ones(patch_channels),
    )


def build_feature_detector(
    *,
    feature_channels: int,
    residual_channels: int,
    width: int,
    upsampling_widths: Sequence[int],
    picture_widths: Sequence[int],
    channel_dropout: float,
    dropout: float,
) -> FeatureDetector:
    """An untrained detector, drawn from torch's global generator (see `checkpoints.seeded`).

    `upsampling_widths` are those of the upsamplings, coarse to fine, and `picture_widths` those of
    the picture's levels, fine to coarse; either as many as upsamplings, or none for a detector that
    does not read the picture. With a grid of stride 8, two upsamplings end at stride 2, and the
    picture's levels are those of strides 2 and 4. ValueError when the numbers do not fit.
    """
    if picture_widths and len(picture_widths) != len(upsampling_widths):
        raise ValueError(
            f"{len(picture_widths)} levels of the picture for {len(upsampling_widths)} upsamplings"
        )
    joined = list(reversed(picture_widths)) or [0] * len(upsampling_widths)
    coarse = [width, *upsampling_widths]
    logit = nn.Conv2d(coarse[-1], 1, 1)
    nn.init.zeros_(logit.weight)
    nn.init.zeros_(logit.bias)  # pyright: ignore[reportArgumentType]
    return FeatureDetector(
        features=nn.Sequential(
            nn.Dropout2d(channel_dropout), nn.Conv2d(feature_channels, width, 1)
        ),
        residual=nn.Conv2d(residual_channels, width, 1),
        body=nn.Sequential(
            *(BodyBlock(width=width, dilation=dilation) for dilation in BODY_DILATIONS),
            nn.Dropout2d(dropout),
        ),
        picture=nn.ModuleList(
            PictureLevel(inputs=inputs, width=level)
            for inputs, level in zip(
                [PICTURE_CHANNELS, *picture_widths], picture_widths, strict=False
            )
        ),
        upsamplings=nn.ModuleList(
            Upsampling(inputs=inputs, width=fine, picture=level)
            for inputs, fine, level in zip(coarse, upsampling_widths, joined, strict=False)
        ),
        logit=logit,
    )
