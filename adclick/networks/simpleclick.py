"""SimpleClick: a plain vision transformer that clicks the picture itself; sizes meet in
`build_simpleclick`.
"""

from collections.abc import Sequence
from typing import cast

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from adclick.networks.click_stem import ClickStem
from adclick.networks.head import PyramidHead
from adclick.networks.neck import NECK_STRIDES, SimplePyramid

KIND = "simpleclick"
TOKEN_STRIDE = 16


class SimpleClick(nn.Module):
    """The picture's patches and those of the clicks' maps, added, through a plain transformer.

    Most blocks attend within square windows of tokens; every `global_every`-th attends to all. A
    simple pyramid and an all-MLP head follow. `embed` is needed once a picture, `decode` once a
    click. It has the parts of an `ADClick` that reads the picture alone; pictures and clicks' maps
    of another size are resized bilinearly to the network's.

    Source: Liu et al., "SimpleClick" (ICCV 2023, arXiv 2210.11006), sections 3.1 and 3.2; the
    published weights' code attends globally in blocks 6 and 12 of 12, and has no norm after them.
    """

    def __init__(
        self,
        *,
        vit: nn.Module,
        click_stem: ClickStem,
        neck: SimplePyramid,
        head: PyramidHead,
        image_px: int,
        window: int,
        global_every: int,
    ) -> None:
        super().__init__()
        self.vit = vit
        self.click_stem = click_stem
        self.neck = neck
        self.head = head
        self.image_px = image_px
        self.window = window
        self.global_every = global_every

    @property
    def click_cells(self) -> None:
        """Clicks are disks, and diffused over no graph."""

    def embed(
        self, residual: object, image: Float[Tensor, "batch 3 image_height image_width"]
    ) -> Float[Tensor, "batch dim grid grid"]:
        """The tokens of a normalised picture, with their places in it; no residual is read."""
        tokens = cast(nn.Module, self.vit.patch_embed)(self._resized(image)) + self.vit.pos_embed
        side = self.image_px // self.click_stem.projection.kernel_size[0]
        return tokens.unflatten(1, (side, side)).permute(0, 3, 1, 2)

    def language_maps(self, image: object, text: object, text_mask: object) -> list[Tensor]:
        """None: it reads no words."""
        return []

    def decode(
        self,
        tokens: Float[Tensor, "#batch dim grid grid"],
        clicks: Float[Tensor, "#batch click_map image_height image_width"],
        maps: list[Tensor],
    ) -> Float[Tensor, "batch 1 image_height image_width"]:
        """Logits, at the clicks' resolution, of the previous probability and the disks of positive
        and negative clicks.
        """
        tokens = (tokens + self.click_stem(self._resized(clicks))).permute(0, 2, 3, 1)
        for number, block in enumerate(cast(nn.Sequential, self.vit.blocks), start=1):
            whole = number % self.global_every == 0
            tokens = _attend(block, tokens, tokens.shape[1] if whole else self.window)
        logits = self.head(self.neck(tokens.permute(0, 3, 1, 2)))
        return functional.interpolate(
            logits, size=clicks.shape[-2:], mode="bilinear", align_corners=True
        )

    def _resized(self, maps: Float[Tensor, "batch channel _ _"]) -> Tensor:
        size = (self.image_px, self.image_px)
        if maps.shape[-2:] == size:
            return maps
        return functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def _attend(
    block: nn.Module, tokens: Float[Tensor, "batch height width dim"], window: int
) -> Float[Tensor, "batch height width dim"]:
    """A block on every square window of tokens by itself."""
    batch, height, width, _ = tokens.shape
    grid = (height // window, width // window)
    parts = tokens.unflatten(1, (grid[0], window)).unflatten(3, (grid[1], window))
    found = block(parts.transpose(2, 3).flatten(3, 4).flatten(0, 2))  # [window, token, dim]
    parts = found.unflatten(0, (batch, *grid)).unflatten(3, (window, window))
    return parts.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def build_simpleclick(
    *,
    image_px: int,
    patch: int,
    dim: int,
    depth: int,
    heads: int,
    window: int,
    global_every: int,
    neck_channels: Sequence[int],
    head_hidden: int,
) -> SimpleClick:
    """An untrained SimpleClick, drawn from torch's global generator (see `checkpoints.seeded`).

    Published at 448 px, with patches of 16 px and windows of 14 tokens: dim 768, depth 12, heads
    12, global_every 6, neck 128, 256, 512, 1024, head_hidden 256. ValueError on sizes that do not
    fit together.
    """
    from timm.models.vision_transformer import VisionTransformer

    if image_px % (patch * window):
        raise ValueError(f"image_px {image_px} is no multiple of {window} patches of {patch} px")
    vit = VisionTransformer(
        img_size=image_px,
        patch_size=patch,
        embed_dim=dim,
        depth=depth,
        num_heads=heads,
        num_classes=0,
        global_pool="",
        class_token=False,
        final_norm=False,
    )
    return SimpleClick(
        vit=vit,
        click_stem=ClickStem(dim=dim, patch=patch, init="default"),
        neck=SimplePyramid(
            dim=dim, channels=neck_channels, strides=NECK_STRIDES, token_stride=TOKEN_STRIDE
        ),
        head=PyramidHead(channels=neck_channels, hidden=head_hidden),
        image_px=image_px,
        window=window,
        global_every=global_every,
    )
