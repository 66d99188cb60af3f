"""Images seen in the light of a text: a Swin transformer with pixel-word attention a stage."""

import re
from collections.abc import Iterable, Sequence
from typing import Literal, NotRequired, TypedDict, cast

import torch
from jaxtyping import Bool, Float, UInt8
from timm.models.swin_transformer import PatchMerging
from torch import Tensor, nn
from torch.nn import functional

from adclick.data.images import IMAGENET_MEAN, IMAGENET_STD
from adclick.networks.trunk import rising_rates, swin_blocks

Trainable = Literal["pwam", "language", "all"]

IMAGE_PATCH = 4
PADDING_LOGIT = 1e4
LANGUAGE_PART = r"stages\.\d+\.(fusion|gate|norm)\..+"


class LanguageSizes(TypedDict):
    """The keys of a model's `language` sizes."""

    embed_dim: int
    depths: Sequence[int]
    heads: Sequence[int]
    window: int
    text_channels: int
    trainable: Trainable
    drop_path: NotRequired[float]


def normalise_image(
    images: UInt8[Tensor, "batch height width 3"],
) -> Float[Tensor, "batch 3 height width"]:
    """RGB images as backbones want them: float32, channels first, ImageNet mean 0, deviation 1."""
    mean = torch.tensor(IMAGENET_MEAN, device=images.device)
    std = torch.tensor(IMAGENET_STD, device=images.device)
    return ((images.float() / 255 - mean) / std).permute(0, 3, 1, 2).contiguous()


class PixelWordAttention(nn.Module):
    """PWAM: each pixel attends to the words, and what it reads gates what it shows.

    With pixels x [N d], text L [Z Q] and mask m [Z]:
      V = GELU(Wv x), Q = IN(Wq x), K = (Wk L) m, U = (Wu L) m
      A = softmax over words of (Q K' / sqrt(d) + 1e4 (m - 1))
      G = IN(Ww (A U)), F = GELU(Wo (V * G))
    IN is an instance norm over the positions, without parameters, with the image's own statistics
    also in evaluation; sqrt(d) is over all heads' channels together. A text with a single word
    gives the same reading at every pixel, hence G = 0 and no language at all: keep at least two
    words.

    Source: section 3.3 and figure 4, after LAVT (arXiv 2112.02244).
    """

    def __init__(self, *, dim: int, text_channels: int, heads: int = 1) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim {dim} is not a multiple of fusion heads {heads}")
        self.heads = heads
        self.visual = nn.Linear(dim, dim)
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(text_channels, dim)
        self.value = nn.Linear(text_channels, dim)
        self.reading = nn.Linear(dim, dim)
        self.output = nn.Linear(dim, dim)

    def forward(
        self,
        pixels: Float[Tensor, "batch position dim"],
        text: Float[Tensor, "batch text_channel token"],
        text_mask: Float[Tensor, "batch token"],
    ) -> Float[Tensor, "batch position dim"]:
        """The multi-modal feature F of every pixel; `text_mask` is 1 at words and 0 at padding."""
        gate = self.read(pixels, text, text_mask)
        return functional.gelu(self.output(functional.gelu(self.visual(pixels)) * gate))

    def read(
        self,
        pixels: Float[Tensor, "batch position dim"],
        text: Float[Tensor, "batch text_channel token"],
        text_mask: Float[Tensor, "batch token"],
    ) -> Float[Tensor, "batch position dim"]:
        """G: what each pixel reads from the text, zero-mean over the positions in every channel."""
        words = text.transpose(1, 2)
        query = self._split(_position_norm(self.query(pixels)))
        key = self._split(self.key(words) * text_mask[..., None])
        value = self._split(self.value(words) * text_mask[..., None])
        logits = query @ key.transpose(-2, -1) * pixels.shape[-1] ** -0.5
        logits = logits + PADDING_LOGIT * (text_mask[:, None, None, :] - 1)
        attended = logits.softmax(dim=-1) @ value  # [batch, head, position, channel]
        return _position_norm(self.reading(attended.transpose(1, 2).flatten(2)))

    def _split(
        self, features: Float[Tensor, "batch item dim"]
    ) -> Float[Tensor, "batch head item channel"]:
        return features.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def _position_norm(
    features: Float[Tensor, "batch position dim"],
) -> Float[Tensor, "batch position dim"]:
    """Over the positions, with statistics of float32 whatever is given."""
    return functional.instance_norm(features.float().transpose(1, 2)).transpose(1, 2)


class LanguageGate(nn.Module):
    """How much of a multi-modal feature enters the next stage: tanh(W2 relu(W1 F)) * F, no biases.

    Source: LAVT (arXiv 2112.02244), its language gate.
    """

    def __init__(self, *, dim: int) -> None:
        super().__init__()
        self.first = nn.Linear(dim, dim, bias=False)
        self.second = nn.Linear(dim, dim, bias=False)

    def forward(
        self, fused: Float[Tensor, "batch position dim"]
    ) -> Float[Tensor, "batch position dim"]:
        """The gated feature, to be added to the stage's own tokens."""
        return torch.tanh(self.second(functional.relu(self.first(fused)))) * fused


class LanguageStage(nn.Module):
    """One Swin stage with its pixel-word attention, output norm and (before another stage) gate."""

    def __init__(
        self,
        *,
        dim: int,
        grid: int,
        heads: int,
        window: int,
        drop_path: Sequence[float],
        text_channels: int,
        first: bool,
        last: bool,
    ) -> None:
        super().__init__()
        self.merge = nn.Identity() if first else PatchMerging(dim // 2, dim)
        self.blocks = swin_blocks(
            dim=dim, grid=grid, heads=heads, window=window, drop_path=drop_path
        )
        self.fusion = PixelWordAttention(dim=dim, text_channels=text_channels)
        self.norm = nn.LayerNorm(dim)
        self.gate = None if last else LanguageGate(dim=dim)

    def see(self, tokens: Float[Tensor, "batch _ _ _"]) -> Float[Tensor, "batch height width dim"]:
        """The stage's own tokens V, before any text."""
        return self.blocks(self.merge(tokens))

    def fuse(
        self,
        tokens: Float[Tensor, "batch height width dim"],
        text: Float[Tensor, "batch text_channel token"],
        text_mask: Float[Tensor, "batch token"],
    ) -> tuple[Float[Tensor, "batch dim height width"], Float[Tensor, "batch height width dim"]]:
        """The stage's output map O = LayerNorm(F), and the tokens V + G(F) F for the next stage."""
        size = tokens.shape[1:3]
        fused = self.fusion(tokens.flatten(1, 2), text, text_mask)
        output = self.norm(fused).unflatten(1, size).permute(0, 3, 1, 2)
        if self.gate is not None:
            tokens = tokens + self.gate(fused).unflatten(1, size)
        return output, tokens


class VisionLanguageSwin(nn.Module):
    """The language branch: one multi-modal map a stage, at strides 4, 8, 16, 32.

    Only the first `stages` stages are built and computed. `trainable="pwam"` freezes all but the
    pixel-word attentions (gates and norms too): frozen parts stay in evaluation mode, and gradients
    pass through them. `"language"` trains gates and output norms as well, for pretrained weights of
    a Swin alone; `"all"` trains everything, for a branch that starts from no weights.

    Source: section 3.3, figure 4, LAVT (arXiv 2112.02244). At the paper's scale a pretrained Swin-B
    with window 12, PWAM alone trained.
    """

    def __init__(
        self,
        *,
        image_px: int,
        embed_dim: int,
        depths: Sequence[int],
        heads: Sequence[int],
        window: int,
        text_channels: int,
        trainable: Trainable,
        stages: int,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        _check_stages(image_px, depths, heads, stages, trainable)
        self.trainable = trainable
        self.dims = [embed_dim * 2**index for index in range(stages)]
        self.patch_embed = nn.Conv2d(3, embed_dim, IMAGE_PATCH, stride=IMAGE_PATCH)
        self.patch_norm = nn.LayerNorm(embed_dim)
        rates = rising_rates(drop_path, sum(depths))
        self.stages = nn.ModuleList(
            LanguageStage(
                dim=self.dims[index],
                grid=image_px // (IMAGE_PATCH * 2**index),
                heads=heads[index],
                window=window,
                drop_path=rates[sum(depths[:index]) : sum(depths[: index + 1])],
                text_channels=text_channels,
                first=index == 0,
                last=index == stages - 1,
            )
            for index in range(stages)
        )
        if trainable != "all":
            self._freeze_the_rest()

    def forward(
        self,
        image: Float[Tensor, "#batch 3 height width"],
        text: Float[Tensor, "batch text_channel token"],
        text_mask: Float[Tensor, "batch token"] | Bool[Tensor, "batch token"],
    ) -> list[Float[Tensor, "batch _ _ _"]]:
        """The maps O of all stages, finest first, channels first.

        `image` is normalised (`normalise_image`). One image may come with many texts: its first
        stage, which no text reaches, is then computed once.
        """
        mask = text_mask.to(text.dtype)
        tokens = self.patch_norm(self.patch_embed(image).permute(0, 2, 3, 1))
        maps: list[Tensor] = []
        for stage in self._each_stage():
            seen = stage.see(tokens)
            output, tokens = stage.fuse(seen.expand(len(text), -1, -1, -1), text, mask)
            maps.append(output)
        return maps

    def train(self, mode: bool = True) -> "VisionLanguageSwin":
        """Training mode, except that frozen parts stay in evaluation mode."""
        return super().train(mode and self.trainable == "all")

    def _freeze_the_rest(self) -> None:
        language = language_parts(name for name, _ in self.named_parameters())
        for name, parameter in self.named_parameters():
            fusion = ".fusion." in name
            parameter.requires_grad_(fusion if self.trainable == "pwam" else name in language)
        self.train()

    def _each_stage(self) -> list[LanguageStage]:
        return cast("list[LanguageStage]", list(self.stages))


def language_maps(
    branch: VisionLanguageSwin | None,
    image: Float[Tensor, "#batch 3 height width"] | None,
    text: Float[Tensor, "batch text_channel token"] | None,
    text_mask: Float[Tensor, "batch token"] | Bool[Tensor, "batch token"] | None,
) -> list[Float[Tensor, "batch _ _ _"]]:
    """The maps of a network's language branch, finest first; empty for a network without one.

    ValueError when there is a branch and an input is missing.
    """
    if branch is None:
        return []
    if image is None or text is None or text_mask is None:
        raise ValueError("a model with a language branch needs image, text and text_mask")
    return branch(image, text, text_mask)


def language_parts(names: Iterable[str]) -> frozenset[str]:
    """Those of a branch's parameter names that a Swin without language does not have."""
    return frozenset(name for name in names if re.fullmatch(LANGUAGE_PART, name))


def _check_stages(
    image_px: int, depths: Sequence[int], heads: Sequence[int], stages: int, trainable: str
) -> None:
    if trainable not in ("pwam", "language", "all"):
        raise ValueError(f"trainable is {trainable!r}; choose pwam, language or all")
    if not 1 <= stages <= min(len(depths), len(heads)):
        raise ValueError(
            f"{stages} language stages asked for, {len(depths)} depths and {len(heads)} heads given"
        )
    coarsest = IMAGE_PATCH * 2 ** (stages - 1)
    if image_px % coarsest or image_px // coarsest < 2:
        raise ValueError(
            f"image_px {image_px} is no multiple, two or more, of the coarsest stride {coarsest}"
        )
