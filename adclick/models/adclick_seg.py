"""ADClick-Seg: residual, language and clicks to an anomaly map; see `build_adclick_seg`."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from adclick.models.click_stem import ClickInit, ClickStem
from adclick.models.trunk import ResidualTrunk
from adclick.models.vision_language import LanguageSizes, VisionLanguageSwin

LANGUAGE_STAGES = 2  # not in the paper's figure; its first code concatenates the first two


class LanguageStem(nn.Module):
    """Language tokens: the maps resized to the tokens' grid, concatenated, one 1x1 convolution."""

    def __init__(self, *, language_channels: int, dim: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(language_channels, dim, 1)

    def forward(
        self, maps: list[Float[Tensor, "batch _ _ _"]], size: tuple[int, int]
    ) -> Float[Tensor, "batch dim height width"]:
        """Tokens of `size` (height, width) from maps of any resolution."""
        resized = [
            functional.interpolate(stage, size=size, mode="bilinear", align_corners=False)
            for stage in maps
        ]
        return self.projection(torch.cat(resized, dim=1))


class ADClickSeg(nn.Module):
    """The detector: residual, click and language tokens summed, the trunk, a linear head.

    The same methods as `ADClick`, so that one training loop serves both. Zero click maps are its
    ordinary input. Parameters of the language branch begin with `vision_language.`.

    Source: section 3.1 and figure 2; no segmentation head, output stride 8.
    """

    def __init__(
        self,
        *,
        trunk: ResidualTrunk,
        click_stem: ClickStem,
        logit: nn.Conv2d,
        vision_language: VisionLanguageSwin | None = None,
        language_stem: LanguageStem | None = None,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.click_stem = click_stem
        self.logit = logit
        self.vision_language = vision_language
        self.language_stem = language_stem

    @property
    def language(self) -> bool:
        """Whether the model reads an image and a text."""
        return self.vision_language is not None

    @property
    def click_cells(self) -> int | None:
        """Cells a side of the graphs that clicks are diffused over; None for disks alone."""
        return self.click_stem.cells

    def embed_residual(
        self, residual: Float[Tensor, "batch residual_channel grid grid"]
    ) -> Float[Tensor, "batch dim grid grid"]:
        """Tokens of a squared residual, as `residual_tokens` makes it."""
        return self.trunk.embed(residual)

    def embed(
        self,
        residual: Float[Tensor, "#batch residual_channel grid grid"],
        image: Float[Tensor, "#batch 3 image_height image_width"] | None = None,
    ) -> Float[Tensor, "batch dim grid grid"]:
        """As `ADClick.embed`; the detector sees the picture through words alone."""
        return self.embed_residual(residual)

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
        if self.vision_language is None:
            return []
        if image is None or text is None or text_mask is None:
            raise ValueError("a model with a language branch needs image, text and text_mask")
        return self.vision_language(image, text, text_mask)

    def decode(
        self,
        tokens: Float[Tensor, "#batch dim height width"],
        clicks: Float[Tensor, "#batch 3 image_height image_width"],
        maps: list[Float[Tensor, "#batch _ _ _"]],
    ) -> Float[Tensor, "batch 1 image_height image_width"]:
        """Logits at the clicks' resolution, computed at the tokens' and resized bilinearly.

        `clicks` holds [previous probability, positive disks, negative disks]. Tokens, clicks and
        maps may all be the same window of a larger image.
        """
        summed = tokens + self.click_stem(clicks)
        if self.language_stem is not None:
            summed = summed + self.language_stem(maps, (tokens.shape[2], tokens.shape[3]))
        logits = self.logit(self.trunk(summed))
        return functional.interpolate(
            logits, size=clicks.shape[-2:], mode="bilinear", align_corners=False
        )

    def forward(
        self,
        residual: Float[Tensor, "#batch residual_channel grid grid"],
        clicks: Float[Tensor, "#batch 3 image_height image_width"],
        image: Float[Tensor, "#batch 3 image_height image_width"] | None = None,
        text: Float[Tensor, "#batch text_channel token"] | None = None,
        text_mask: Float[Tensor, "#batch token"] | Bool[Tensor, "#batch token"] | None = None,
    ) -> Float[Tensor, "batch 1 image_height image_width"]:
        """Logits [batch 1 height width] of the three steps in a row."""
        maps = self.language_maps(image, text, text_mask)
        return self.decode(self.embed_residual(residual), clicks, maps)


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
    language: LanguageSizes | None,
) -> ADClickSeg:
    """An untrained ADClick-Seg, drawn from torch's global generator (see `checkpoints.seeded`).

    The paper's scale is that of `build_adclick`, which see; there is no neck and no pyramid head
    here. `language=None` leaves the branch out. ValueError on sizes that do not fit together.
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
    if language is None:
        return ADClickSeg(trunk=trunk, click_stem=click_stem, logit=logit)
    vision_language = VisionLanguageSwin(image_px=image_px, stages=LANGUAGE_STAGES, **language)
    language_stem = LanguageStem(language_channels=sum(vision_language.dims), dim=dim)
    return ADClickSeg(
        trunk=trunk,
        click_stem=click_stem,
        logit=logit,
        vision_language=vision_language,
        language_stem=language_stem,
    )
