"""ADClick-Seg: residual, language and clicks to an anomaly map; see `build_adclick_seg`."""

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from adclick.networks.click_stem import ClickInit, ClickStem
from adclick.networks.image_stem import ImageStem, build_image_stem
from adclick.networks.neck import LanguageInit
from adclick.networks.resizing import resized
from adclick.networks.trunk import ResidualTrunk
from adclick.networks.vision_language import LanguageSizes, VisionLanguageSwin, language_maps

LANGUAGE_STAGES = 2  # not in the paper's figure; its first code concatenates the first two


class LanguageStem(nn.Module):
    """Language tokens: the maps resized to the tokens' grid, concatenated, one 1x1 convolution.

    With `init="silent"` the convolution starts at zero: an untrained branch adds nothing.
    """

    def __init__(self, *, language_channels: int, dim: int, init: LanguageInit = "default") -> None:
        super().__init__()
        self.projection = nn.Conv2d(language_channels, dim, 1)
        if init == "silent":
            nn.init.zeros_(self.projection.weight)
            nn.init.zeros_(cast("Tensor", self.projection.bias))

    def forward(
        self, maps: list[Float[Tensor, "batch _ _ _"]], size: tuple[int, int]
    ) -> Float[Tensor, "batch dim height width"]:
        """Tokens of `size` (height, width) from maps of any resolution."""
        return self.projection(torch.cat([resized(stage, size) for stage in maps], dim=1))


class ResidualShortcut(nn.Module):
    """A map of the residual's size alone: one weight a channel, equal at first.

    Added to the logits, it makes an untrained detector rank pixels as the training-free map does,
    which a short training of the trunk (whose tokens are layer-normalised: they have lost the size
    of large residuals) may else not reach.
    """

    def __init__(self, *, residual_channels: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(residual_channels, 1, 1)
        nn.init.constant_(self.projection.weight, 1 / residual_channels)
        nn.init.zeros_(self.projection.bias)  # pyright: ignore[reportArgumentType]

    def forward(
        self, residual: Float[Tensor, "batch residual_channel height width"]
    ) -> Float[Tensor, "batch 1 height width"]:
        """A weighted sum of the residual's channels."""
        return self.projection(residual)


class ADClickSeg(nn.Module):
    """The detector: residual, click and language tokens summed, the trunk, a linear head; with an
    `image_stem`, the picture's tokens are summed too, and with a `shortcut` the residual reaches
    the logits also past the trunk.

    The same methods as `ADClick`, so that one training loop serves both. Zero click maps are its
    ordinary input. Parameters of the language branch begin with `vision_language.`.

    Source: section 3.1 and figure 2; no segmentation head, output stride 8. Image stem and shortcut
    are ours.
    """

    def __init__(
        self,
        *,
        trunk: ResidualTrunk,
        click_stem: ClickStem,
        logit: nn.Conv2d,
        vision_language: VisionLanguageSwin | None = None,
        language_stem: LanguageStem | None = None,
        shortcut: ResidualShortcut | None = None,
        image_stem: ImageStem | None = None,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.click_stem = click_stem
        self.logit = logit
        self.vision_language = vision_language
        self.language_stem = language_stem
        self.shortcut = shortcut
        self.image_stem = image_stem

    @property
    def language(self) -> bool:
        """Whether the model reads an image and a text."""
        return self.vision_language is not None

    @property
    def click_cells(self) -> int | None:
        """Cells a side of the graphs that clicks are diffused over; None for disks alone."""
        return self.click_stem.cells

    def embed(
        self,
        residual: Float[Tensor, "#batch residual_channel row column"],
        image: Float[Tensor, "#batch 3 image_height image_width"] | None = None,
    ) -> Float[Tensor, "batch dim_or_one_more row column"]:
        """Tokens of a squared residual, as `residual_tokens` makes it; with an image stem, the sum
        of those and of the normalised picture's; with a shortcut, its map is one more channel.

        ValueError when the model reads the picture and there is none.
        """
        tokens = self.trunk.embed(residual)
        if self.image_stem is not None:
            if image is None:
                raise ValueError("a detector with an image stem needs an image")
            tokens = tokens + self.image_stem(image)
        if self.shortcut is None:
            return tokens
        return torch.cat([tokens, self.shortcut(residual)], dim=1)

    def language_maps(
        self,
        image: Float[Tensor, "#batch 3 image_height image_width"] | None,
        text: Float[Tensor, "batch text_channel token"] | None,
        text_mask: Float[Tensor, "batch token"] | Bool[Tensor, "batch token"] | None,
    ) -> list[Float[Tensor, "batch _ _ _"]]:
        """The language maps of stages 1 and 2, finest first; empty without a language branch.

        `image` is normalised (`normalise_image`). ValueError when the branch exists and an input
        does not.
        """
        return language_maps(self.vision_language, image, text, text_mask)

    def decode(
        self,
        tokens: Float[Tensor, "#batch dim_or_one_more height width"],
        clicks: Float[Tensor, "#batch 3 image_height image_width"],
        maps: list[Float[Tensor, "#batch _ _ _"]],
    ) -> Float[Tensor, "batch 1 image_height image_width"]:
        """Logits at the clicks' resolution, computed at the tokens' and resized bilinearly.

        `clicks` holds [previous probability, positive disks, negative disks]. Tokens, clicks and
        maps may all be the same window of a larger image.
        """
        clicked = self.click_stem(clicks)
        summed = tokens[:, : clicked.shape[1]] + clicked
        if self.language_stem is not None:
            summed = summed + self.language_stem(maps, (tokens.shape[2], tokens.shape[3]))
        logits = self.logit(self.trunk(summed))
        if self.shortcut is not None:
            logits = logits + tokens[:, clicked.shape[1] :]
        return resized(logits, (clicks.shape[-2], clicks.shape[-1]))

    def forward(
        self,
        residual: Float[Tensor, "#batch residual_channel row column"],
        clicks: Float[Tensor, "#batch 3 image_height image_width"],
        image: Float[Tensor, "#batch 3 image_height image_width"] | None = None,
        text: Float[Tensor, "#batch text_channel token"] | None = None,
        text_mask: Float[Tensor, "#batch token"] | Bool[Tensor, "#batch token"] | None = None,
    ) -> Float[Tensor, "batch 1 image_height image_width"]:
        """Logits [batch 1 height width] of the three steps in a row."""
        maps = self.language_maps(image, text, text_mask)
        return self.decode(self.embed(residual, image), clicks, maps)


def build_adclick_seg(
    *,
    grid: int,
    image_px: int,
    residual_channels: int,
    dim: int,
    depth: int,
    heads: int,
    window: int,
    drop_path: float,
    click_init: ClickInit,
    language_init: LanguageInit,
    shortcut: bool,
    image_channels: Sequence[int] | None,
    language: LanguageSizes | None,
) -> ADClickSeg:
    """An untrained ADClick-Seg, drawn from torch's global generator (see `checkpoints.seeded`).

    The paper's scale is that of `build_adclick`, which see; there is no neck and no pyramid head
    here, no `shortcut` and no image stem (`image_channels` None; else its levels' widths).
    `language=None` leaves the branch out. ValueError on sizes that do not fit together.
    """
    if image_px % grid:
        raise ValueError(f"image_px {image_px} is not a multiple of grid {grid}")
    trunk = ResidualTrunk(
        residual_channels=residual_channels,
        dim=dim,
        depth=depth,
        heads=heads,
        window=window,
        grid=grid,
        drop_path=drop_path,
    )
    click_stem = ClickStem(dim=dim, patch=image_px // grid, init=click_init)
    logit = nn.Conv2d(dim, 1, 1)
    past = ResidualShortcut(residual_channels=residual_channels) if shortcut else None
    image_stem = None
    if image_channels is not None:
        image_stem = build_image_stem(dim=dim, channels=image_channels, stride=image_px // grid)
    vision_language, language_stem = None, None
    if language is not None:
        vision_language = VisionLanguageSwin(image_px=image_px, stages=LANGUAGE_STAGES, **language)
        language_stem = LanguageStem(
            language_channels=sum(vision_language.dims), dim=dim, init=language_init
        )
    return ADClickSeg(
        trunk=trunk,
        click_stem=click_stem,
        logit=logit,
        vision_language=vision_language,
        language_stem=language_stem,
        shortcut=past,
        image_stem=image_stem,
    )
