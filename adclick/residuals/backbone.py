"""The frozen backbone: what turns photographs into one feature map a layer.

Networks come from timm, convolutional ones and vision transformers alike. To add another kind, give
`Backbone` any module that answers a list of maps [image channel row column]; nothing else needs to
know.
"""

import hashlib
import math
from collections.abc import Sequence
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, UInt8
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from adclick.data.images import IMAGENET_MEAN, IMAGENET_STD
from adclick.residuals.folding import fold_batch_norms
from adclick.run.artifacts import refuse_pointer
from adclick.run.errors import InputError


class Backbone(nn.Module):
    """A frozen network that turns photographs into feature maps, one a layer, finest first.

    Takes uint8 RGB images as they come from disk; the mean and standard deviation that the network
    was trained with are applied inside. `channels` counts each map's channels. It stays in
    evaluation mode, whatever `train()` is called on around it. Where `halved` is set, the network
    computes in float16 (its maps are float32 all the same).

    Pictures are enlarged bilinearly where `input_px` is given: what of them has `size_px` pixels
    gets so many (without `size_px`, each side does). For a network that cuts them into patches of
    `patch` pixels, sides are rounded up to the next multiple of that.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        channels: Sequence[int],
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        patch: int = 1,
        input_px: int | None = None,
        size_px: int | None = None,
    ) -> None:
        """Freeze a network that answers a list of maps with these numbers of channels."""
        super().__init__()
        self.network = network.requires_grad_(False)
        self.network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.channels = tuple(channels)
        self.patch, self.input_px, self.size_px = patch, input_px, size_px
        self.halved = False
        deviation = torch.tensor(std)
        self.register_buffer("scale", 1 / (255 * deviation), persistent=False)
        self.register_buffer("shift", torch.tensor(mean) / deviation, persistent=False)
        self.eval()

    def train(self, mode: bool = True) -> "Backbone":
        """Stay in evaluation mode: a frozen network's batch statistics never move."""
        return super().train(False)

    def forward(
        self, images: UInt8[Tensor, "image height width 3"]
    ) -> list[Float[Tensor, "image _ _ _"]]:
        """Feature maps [image channel row column] of every layer."""
        pictures = (images * self.scale - self.shift).permute(0, 3, 1, 2)
        size = [self._input_length(length) for length in pictures.shape[2:]]
        if list(pictures.shape[2:]) != size:
            pictures = F.interpolate(pictures, size=size, mode="bilinear", antialias=True)
        halved = torch.autocast(pictures.device.type, torch.float16) if self.halved else None
        with halved or nullcontext():
            maps = self.network(pictures)
        return [plane.float() for plane in maps]

    def _input_length(self, length: int) -> int:
        """What a side of a picture is resized to."""
        if self.input_px is not None:
            length = round(self.input_px * length / (self.size_px or length))
        return math.ceil(length / self.patch) * self.patch

    @property
    def enlargement(self) -> Fraction:
        """By how much pictures are enlarged for the network, where it is the same for all."""
        return Fraction(self.input_px or 1, self.size_px or 1) if self.input_px else Fraction(1)


class LayerMaps(nn.Module):
    """A timm network, cut after the last of `layers`, that answers with their maps.

    A vision transformer's maps are its patch tokens after those blocks, through the network's last
    normalisation, as DINOv2 has them read; class and register tokens are left out.
    """

    def __init__(self, network: nn.Module, layers: Sequence[int]) -> None:
        """Cut `network`; an AssertionError says that it has no such layer."""
        super().__init__()
        self.network: Any = network
        self.layers = list(layers)
        self.network.prune_intermediate_layers(self.layers, prune_norm=False, prune_head=True)
        self.channels = [self.network.feature_info[layer]["num_chs"] for layer in self.layers]

    def forward(
        self, pictures: Float[Tensor, "image 3 height width"]
    ) -> list[Float[Tensor, "image _ _ _"]]:
        """Feature maps [image channel row column] of every layer."""
        return self.network.forward_intermediates(
            pictures, indices=self.layers, norm=True, output_fmt="NCHW", intermediates_only=True
        )


def load_backbone(
    name: str,
    *,
    layers: Sequence[int],
    source: Literal["hub", "file", "seeded"],
    file: Path | None = None,
    sha256: str | None = None,
    seed: int = 0,
    input_px: int | None = None,
    size_px: int | None = None,
    first_only: bool = False,
) -> Backbone:
    """A frozen timm network that answers with the maps of `layers`, given in ascending order.

    With `first_only` it answers with the first of these maps alone, the same as otherwise, and
    computes nothing beyond it.

    Layers are counted as timm does: a ResNet's layer1 is 1 (0 is its stem), a vision transformer's
    first block is 0. Pictures are standardised as timm says that the network's were.

    `hub` takes timm's pretrained weights, from its cache or the network; a name without a tag means
    timm's default weights, so name the paper's as `wide_resnet50_2.tv_in1k`. `file` takes a
    safetensors file in timm's key names that holds all that the layers need, whose deeper layers
    and classifier, if it has any, are left out. `seeded` draws untrained weights from `seed` alone,
    for demonstrations without a download. None stands in for another.

    A vision transformer takes pictures of any size (see `Backbone` for `input_px` and `size_px`):
    its position embedding, of whatever size it is stored, is resampled as timm does.
    Batch norms are folded into their convolutions, which changes maps by rounding alone.

    Raises InputError for an unknown network or layer, a size that the network cannot take, weights
    that cannot be fetched, a file that is missing, differs from `sha256` or does not fit (its first
    such key is named).
    """
    outline = _outline(name)
    patch = _patch_px(name, outline, input_px)
    maps = _build(name, layers, outline, pretrained=source == "hub", seed=seed)
    if source == "file":
        if file is None:
            raise InputError(f"backbone {name}: source 'file' needs the path of a safetensors file")
        _load_file(name, maps.network, outline, file, sha256)
    if source == "seeded":
        _draw_weights(maps, seed)
    sample = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    form = maps.network.pretrained_cfg
    folded: Any = fold_batch_norms(maps.eval(), sample)
    if first_only:
        folded = LayerMaps(folded.network, folded.layers[:1])
    return Backbone(
        folded,
        channels=folded.channels,
        mean=form["mean"],
        std=form["std"],
        patch=patch,
        input_px=input_px,
        size_px=size_px,
    )


def _outline(name: str) -> nn.Module:
    """The complete network without weights, which costs next to nothing."""
    import timm

    if not timm.is_model(name) or ("." in name and not timm.list_pretrained(name)):
        raise InputError(
            f"backbone {name}: timm has no such network or weights; see timm.list_pretrained()"
        )
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return timm.create_model(name)


def _takes_any_size(outline: nn.Module) -> bool:
    """Whether it is a transformer that timm lets resample its position embedding as it runs."""
    return hasattr(outline, "dynamic_img_size")


def _build(
    name: str, layers: Sequence[int], outline: nn.Module, *, pretrained: bool, seed: int
) -> LayerMaps:
    """The network up to its last needed layer; the global random state is left as it was."""
    import timm

    settings: dict[str, Any] = {"dynamic_img_size": True} if _takes_any_size(outline) else {}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        create = _fetch if pretrained else timm.create_model
        network = create(name, **settings)
    try:
        return LayerMaps(network, layers)
    except (AssertionError, IndexError) as error:
        raise InputError(f"backbone {name}: has no layers {list(layers)}") from error
    except AttributeError as error:
        raise InputError(f"backbone {name}: timm cannot give its layers' maps") from error


def _fetch(name: str, **settings: Any) -> nn.Module:
    """timm's pretrained network, or one line about why it could not be had."""
    import timm

    if not timm.is_model_pretrained(name):
        raise InputError(
            f"backbone {name}: timm has no pretrained weights for it;"
            " choose another or a local file"
        )
    try:
        return timm.create_model(name, pretrained=True, **settings)
    except Exception as error:
        reason = next(iter(str(error).rstrip(".").splitlines()), type(error).__name__)
        raise InputError(
            f"backbone {name}: the network could not be reached for its pretrained"
            f" weights ({reason});"
            " go online once, or give its safetensors file, downloaded elsewhere from"
            f" https://huggingface.co/timm/{name}, as source 'file'; nothing was substituted"
        ) from error


def _patch_px(name: str, outline: Any, input_px: int | None) -> int:
    """What the sides of a picture must be multiples of."""
    if not _takes_any_size(outline):
        form = outline.pretrained_cfg
        if form.get("fixed_input_size"):
            raise InputError(
                f"backbone {name}: takes pictures of {form['input_size'][1]} px only;"
                " choose a network that takes any size"
            )
        return 1
    patch = outline.patch_embed.feat_ratio()
    if input_px is not None and input_px % patch:
        above = math.ceil(input_px / patch) * patch
        raise InputError(
            f"backbone {name}: input_px = {input_px} is no multiple of its patches' {patch} px;"
            f" the next one is {above}"
        )
    return patch


def _load_file(name: str, network: Any, outline: nn.Module, file: Path, sha256: str | None) -> None:
    """Give the network the file's weights, every key and shape checked."""
    weights = _read_weights(name, file, sha256)
    _match_positions(network, weights)
    needed = network.state_dict()
    for key, value in needed.items():
        if key not in weights and not key.endswith("num_batches_tracked"):
            raise InputError(
                f"{file}: lacks {key}, which {name} needs; its keys must be timm's for {name}"
            )
        if key in weights and weights[key].shape != value.shape:
            raise InputError(
                f"{file}: {key} is {tuple(weights[key].shape)}, {name} needs {tuple(value.shape)}"
            )
    # Surplus keys must be the complete network's, as in the files that timm publishes.
    strange = sorted(weights.keys() - needed.keys() - outline.state_dict().keys())
    if strange:
        raise InputError(
            f"{file}: {strange[0]} is no part of {name}; its keys must be timm's for {name}"
        )
    network.load_state_dict(needed | {key: weights[key] for key in needed.keys() & weights.keys()})


def _read_weights(name: str, file: Path, sha256: str | None) -> dict[str, Tensor]:
    if not file.is_file():
        raise InputError(f"backbone {name}: no weights file {file}")
    refuse_pointer(file)
    if sha256 is not None:
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != sha256.lower():
            raise InputError(
                f"{file}: sha256 is {found}, not {sha256}; it is not the file that was meant"
            )
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file}: not a safetensors file ({error})") from error


def _match_positions(network: Any, weights: dict[str, Tensor]) -> None:
    """Set a transformer to the picture size that the weights' position embedding was made for.

    As it runs, it resamples the embedding from there to the size that it is given.
    """
    stored, own = weights.get("pos_embed"), getattr(network, "pos_embed", None)
    if stored is None or own is None or stored.shape == own.shape:
        return
    others = own.shape[1] - network.patch_embed.num_patches  # of class and register tokens
    side = math.isqrt(max(0, stored.shape[1] - others))
    if side > 0 and side**2 + others == stored.shape[1]:
        px = side * network.patch_embed.feat_ratio()
        network.set_input_size(img_size=(px, px))


def _draw_weights(network: nn.Module, seed: int) -> None:
    """Untrained weights from `seed` alone: random convolutions, and batch norms to match.

    Batch norms take the statistics of a few smooth random pictures, as training on real ones would
    give them. Otherwise values grow from block to block, and the last layer drowns the others.
    What else there is, such as position embeddings, stays as timm drew it.
    """
    generator = torch.Generator().manual_seed(seed)
    normalised = False
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
            module.momentum = None  # the plain average of all batches, here of one
            normalised = True
    if normalised:
        network.train()
        with torch.no_grad():
            network(_random_pictures(generator))
        network.eval()


def _random_pictures(generator: torch.Generator) -> Float[Tensor, "8 3 128 128"]:
    """Smooth colour blotches with some noise on them, standardised as the backbone's input is."""
    blotches = F.interpolate(
        torch.randn(8, 3, 16, 16, generator=generator), size=128, mode="bicubic"
    )
    return blotches + 0.3 * torch.randn(8, 3, 128, 128, generator=generator)
