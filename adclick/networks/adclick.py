"""ADClick: residual, clicks and language to a logit a pixel; sizes meet in `build_adclick`.

What it reads besides clicks is a choice, `Inputs`: the residual as in the paper, the picture in its
place, or both.
"""

from collections.abc import Sequence
from typing import Literal

from jaxtyping import Bool, Float
from torch import Tensor, nn

from adclick.clicks.levels import LEVEL_FEATURES
from adclick.networks.click_stem import ClickInit, ClickStem
from adclick.networks.head import PyramidHead
from adclick.networks.image_stem import ImageStem, build_image_stem
from adclick.networks.level_choice import LevelChoice, LevelSizes
from adclick.networks.neck import (
    NECK_STRIDES,
    TOKEN_STRIDE,
    LanguageInit,
    LanguageInjection,
    SimplePyramid,
)
from adclick.networks.resizing import resized
from adclick.networks.trunk import ResidualTrunk
from adclick.networks.vision_language import LanguageSizes, VisionLanguageSwin, language_maps

Inputs = Literal["residual", "image", "both"]


class ADClick(nn.Module):
    """The click model: clicks enter before the trunk, language after the neck.

    Work is split by how often it is needed: `embed` and `language_maps` once an image, `decode`
    once a click. A batch of one broadcasts against many prompts. Parameters of the
    language branch are those whose name begins with `vision_language.`.

    Source: sections 3.1 and 3.2, figure 2. What the paper leaves open follows its first code, but
    logits are resized with corners not aligned.
    """

    def __init__(
        self,
        *,
        trunk: ResidualTrunk,
        click_stem: ClickStem,
        neck: SimplePyramid,
        head: PyramidHead,
        inputs: Inputs = "residual",
        image_stem: ImageStem | None = None,
        vision_language: VisionLanguageSwin | None = None,
        injection: LanguageInjection | None = None,
        language_stages: Sequence[int] = (),
        levels: LevelChoice | None = None,
        line_levels: LevelChoice | None = None,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.click_stem = click_stem
        self.neck = neck
        self.head = head
        self.inputs = inputs
        self.image_stem = image_stem
        self.vision_language = vision_language
        self.injection = injection
        self.language_stages = tuple(language_stages)
        self.levels = levels
        self.line_levels = line_levels

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
    ) -> Float[Tensor, "batch dim row column"]:
        """Tokens of a squared residual (as `residual_tokens` makes it), of a normalised picture, or
        the sum of both: of what the model reads.

        ValueError when it reads the picture and there is none.
        """
        if self.image_stem is None:
            return self.trunk.embed(residual)
        if image is None:
            raise ValueError(f"a model with inputs {self.inputs!r} needs an image")
        tokens = self.image_stem(image)
        return tokens if self.inputs == "image" else self.trunk.embed(residual) + tokens

    def language_maps(
        self,
        image: Float[Tensor, "#batch 3 image_height image_width"] | None,
        text: Float[Tensor, "batch text_channel token"] | None,
        text_mask: Float[Tensor, "batch token"] | Bool[Tensor, "batch token"] | None,
    ) -> list[Float[Tensor, "batch _ _ _"]]:
        """One language map for each level of the neck, finest first; none without a branch.

        `image` is normalised (`normalise_image`). ValueError when the branch exists and an input
        does not.
        """
        maps = language_maps(self.vision_language, image, text, text_mask)
        return [maps[stage] for stage in self.language_stages]

    def decode(
        self,
        tokens: Float[Tensor, "#batch dim height width"],
        clicks: Float[Tensor, "#batch click_map image_height image_width"],
        maps: list[Float[Tensor, "#batch _ _ _"]],
    ) -> Float[Tensor, "batch 1 image_height image_width"]:
        """Logits at the clicks' resolution.

        `clicks` holds the maps that the click stem reads (`network_input.click_maps`). Tokens,
        clicks and maps may all be the same window of a larger image.
        """
        pyramid = self.neck(self.trunk(tokens + self.click_stem(clicks)))
        if self.injection is not None:
            pyramid = self.injection(pyramid, maps)
        return resized(self.head(pyramid), (clicks.shape[-2], clicks.shape[-1]))

    def forward(
        self,
        residual: Float[Tensor, "#batch residual_channel row column"],
        clicks: Float[Tensor, "#batch click_map image_height image_width"],
        image: Float[Tensor, "#batch 3 image_height image_width"] | None = None,
        text: Float[Tensor, "#batch text_channel token"] | None = None,
        text_mask: Float[Tensor, "#batch token"] | Bool[Tensor, "#batch token"] | None = None,
    ) -> Float[Tensor, "batch 1 image_height image_width"]:
        """Logits [batch 1 height width] of the three steps in a row."""
        maps = self.language_maps(image, text, text_mask)
        return self.decode(self.embed(residual, image), clicks, maps)


def build_adclick(
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
    click_cells: int | None,
    language_init: LanguageInit,
    neck_channels: Sequence[int],
    neck_strides: Sequence[int],
    head_hidden: int,
    language: LanguageSizes | None,
    inputs: Inputs = "residual",
    image_channels: Sequence[int] = (),
    levels: LevelSizes | None = None,
    line_levels: LevelSizes | None = None,
) -> ADClick:
    """An untrained ADClick, drawn from torch's global generator (see `checkpoints.seeded`).

    The paper's scale (not stated there but for the image; from its first code): grid 64, image_px
    512, residual_channels 1024, dim 1024, depth 4, heads 32, window 8, drop_path 0.1,
    click_cells None, neck 240, 480, 960, 1920 at strides 4, 8, 16, 32, head_hidden 256, and for
    language embed_dim 128, depths 2 2 18 2, heads 4 8 16 32, window 12, text_channels 768,
    trainable pwam. `language=None` leaves the branch out. `image_channels` are the widths of the
    image stem's three levels, read unless `inputs` is `residual`; `levels` are the sizes of an
    estimate of which level of an answer is its mask, `line_levels` those of one that says
    whether a line is followed. ValueError on sizes that do not fit together.
    """
    if image_px != TOKEN_STRIDE * grid:
        raise ValueError(f"image_px {image_px} is not {TOKEN_STRIDE} x grid {grid}")
    trunk = ResidualTrunk(
        residual_channels=None if inputs == "image" else residual_channels,
        dim=dim,
        depth=depth,
        heads=heads,
        window=window,
        grid=grid,
        drop_path=drop_path,
    )
    click_stem = ClickStem(dim=dim, patch=TOKEN_STRIDE, init=click_init, cells=click_cells)
    neck = SimplePyramid(dim=dim, channels=neck_channels, strides=neck_strides)
    head = PyramidHead(channels=neck_channels, hidden=head_hidden)
    image_stem = None
    if inputs != "residual":
        image_stem = build_image_stem(dim=dim, channels=image_channels, stride=TOKEN_STRIDE)
    stages = [NECK_STRIDES.index(stride) for stride in neck_strides]
    vision_language, injection = _language_branch(
        language, image_px=image_px, stages=stages, channels=neck_channels, init=language_init
    )
    return ADClick(
        trunk=trunk,
        click_stem=click_stem,
        neck=neck,
        head=head,
        inputs=inputs,
        image_stem=image_stem,
        vision_language=vision_language,
        injection=injection,
        language_stages=stages if language else (),
        levels=_estimate_of_levels(levels),
        line_levels=_estimate_of_levels(line_levels),
    )


def _estimate_of_levels(sizes: LevelSizes | None) -> LevelChoice | None:
    if sizes is not None and sizes["features"] != len(LEVEL_FEATURES):
        raise ValueError(
            f"an estimate of levels that reads {sizes['features']} features, not"
            f" {len(LEVEL_FEATURES)}"
        )
    return None if sizes is None else LevelChoice(**sizes)


def _language_branch(
    sizes: LanguageSizes | None,
    *,
    image_px: int,
    stages: Sequence[int],
    channels: Sequence[int],
    init: LanguageInit,
) -> tuple[VisionLanguageSwin | None, LanguageInjection | None]:
    """The branch and what brings its `stages` into the neck's levels of `channels`, or neither."""
    if sizes is None:
        return None, None
    branch = VisionLanguageSwin(image_px=image_px, stages=max(stages) + 1, **sizes)
    dims = [branch.dims[stage] for stage in stages]
    return branch, LanguageInjection(language_channels=dims, neck_channels=channels, init=init)
