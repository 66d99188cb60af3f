"""Patch features of a frozen backbone: what every later stage compares images by.

A backbone turns photographs into one feature map a layer; `extract` pools each map over small
neighbourhoods, brings all of them to one grid and joins them. To add another kind of network (a
vision transformer, say), give `Backbone` any module that answers a list of maps [image channel row
column]; nothing else needs to know.
"""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, UInt8
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from adclick.errors import InputError

Array = TypeVar("Array", np.ndarray, Tensor)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Backbone(nn.Module):
    """A frozen network that turns photographs into feature maps, one a layer, finest first.

    Takes uint8 RGB images as they come from disk; ImageNet's mean and standard deviation are
    applied inside. It stays in evaluation mode, whatever `train()` is called on around it.
    `channels` counts each map's channels.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, *, channels: Sequence[int]) -> None:
        """Freeze a network that answers a list of maps with these numbers of channels."""
        super().__init__()
        self.network = network.requires_grad_(False)
        self.network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.channels = tuple(channels)
        mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        self.register_buffer("scale", 1 / (255 * std), persistent=False)
        self.register_buffer("shift", mean / std, persistent=False)
        self.eval()

    def train(self, mode: bool = True) -> "Backbone":
        """Stay in evaluation mode: a frozen network's batch statistics never move."""
        return super().train(False)

    def forward(
        self, images: UInt8[Tensor, "image height width 3"]
    ) -> list[Float[Tensor, "image _ _ _"]]:
        """Feature maps [image channel row column] of every layer."""
        return self.network((images * self.scale - self.shift).permute(0, 3, 1, 2))


def load_backbone(
    name: str,
    *,
    layers: Sequence[int],
    source: Literal["hub", "file", "seeded"],
    file: Path | None = None,
    sha256: str | None = None,
    seed: int = 0,
) -> Backbone:
    """A frozen timm network that answers with the maps of `layers` (a ResNet's layer1 is 1).

    `hub` takes timm's pretrained weights, from its cache or the network; a name without a tag means
    timm's default weights, so name the paper's as `wide_resnet50_2.tv_in1k`. `file` takes a
    safetensors file in timm's key names that holds all that the layers need, whose deeper layers
    and classifier, if it has any, are left out. `seeded` draws untrained weights from `seed` alone,
    for demonstrations without a download. None stands in for another.

    Raises InputError for an unknown network or layer, weights that cannot be fetched, a file that
    is missing, differs from `sha256` or does not fit (its first such key is named).
    """
    network = _build_network(name, layers, pretrained=source == "hub")
    if source == "file":
        if file is None:
            raise InputError(f"backbone {name}: source 'file' needs the path of a safetensors file")
        network.load_state_dict(_read_weights(name, network, file, sha256))
    if source == "seeded":
        _draw_weights(network, seed)
    return Backbone(network, channels=_feature_channels(network))


def extract(
    backbone: Backbone,
    images: UInt8[Array, "image height width 3"],
    *,
    grid: int,
    layer_dimensions: Sequence[int],
    dimension: int,
    patch: int = 3,
) -> tuple[
    Float[Array, "image row column dimension"], Float[Array, "image layer_row layer_column channel"]
]:
    """Patch features on a grid x grid lattice, and the first layer's map, channels last.

    Every layer's vectors of a `patch` x `patch` neighbourhood (zeros beyond the border) are
    averaged down to its `layer_dimensions`, resized bilinearly (no antialiasing) to the grid,
    joined, and averaged down to `dimension` where they are more: adaptive average pooling over
    values ordered by channel, then row and column of the neighbourhood. Pooling comes before
    resizing, which gives the same numbers for a ninth of the memory. The answer is float32, numpy
    arrays for an array and tensors on the backbone's device for a tensor. All images are one batch,
    so the caller bounds the memory.

    Raises InputError where a dimension exceeds what it is pooled from: features are never pooled
    up.

    Source: paper Sec. 3.5 (layers 1-3 resized, pooled and joined); PatchCore (arXiv 2106.08265) for
    the recipe.
    """
    _check_dimensions(backbone.channels, layer_dimensions, dimension, patch)
    pixels = images if isinstance(images, Tensor) else torch.tensor(images)
    with torch.no_grad():
        maps = backbone(pixels.to(backbone.scale.device))
        pooled = [
            _to_grid(plane, size, patch, grid)
            for plane, size in zip(maps, layer_dimensions, strict=True)
        ]
        patches = torch.cat(pooled, dim=3)
        if dimension < patches.shape[3]:
            patches = F.adaptive_avg_pool1d(patches.flatten(0, 2), dimension).unflatten(
                0, patches.shape[:3]
            )
    first = maps[0].permute(0, 2, 3, 1).contiguous()
    return _as_given(patches, images), _as_given(first, images)


def _as_given(values: Tensor, given: Any) -> Any:
    """A tensor for a tensor, an array for an array."""
    return values if isinstance(given, Tensor) else values.cpu().numpy()


def _check_dimensions(
    channels: Sequence[int], layer_dimensions: Sequence[int], dimension: int, patch: int
) -> None:
    if patch < 1 or patch % 2 == 0:
        raise ValueError(f"patch {patch} must be odd")
    if len(layer_dimensions) != len(channels):
        raise ValueError(f"{len(layer_dimensions)} layer dimensions for {len(channels)} layers")
    for size, available in zip(layer_dimensions, channels, strict=True):
        if size > available * patch**2:
            raise InputError(
                f"layer dimension {size} exceeds the {available * patch**2} values of a"
                f" {patch} x {patch}"
                f" neighbourhood of {available} channels; set it to that or less"
            )
    if dimension > sum(layer_dimensions):
        raise InputError(
            f"dimension {dimension} exceeds the {sum(layer_dimensions)} values of all layers;"
            " set it to that or less"
        )


def _to_grid(
    plane: Float[Tensor, "image channel height width"], size: int, patch: int, grid: int
) -> Float[Tensor, "image row column size"]:
    """Neighbourhoods pooled to `size` values, resized to the grid, channels last."""
    pooled = _pool_neighbourhoods(plane, size, patch)
    if pooled.shape[2:] != (grid, grid):
        pooled = F.interpolate(pooled, size=(grid, grid), mode="bilinear", align_corners=False)
    return pooled.permute(0, 2, 3, 1)


def _pool_neighbourhoods(
    plane: Float[Tensor, "image channel height width"], size: int, patch: int
) -> Float[Tensor, "image size height width"]:
    """Adaptive average pooling of every neighbourhood's values, as one grouped convolution.

    Pooling windows repeat with every `channel / group` channels, so each group of channels makes
    its own share of the values, with one small kernel that is itself the pooling of the unit
    vectors.
    """
    channels = plane.shape[1]
    groups = math.gcd(channels, size)
    values = channels // groups * patch**2
    windows = F.adaptive_avg_pool1d(torch.eye(values, device=plane.device), size // groups).T
    kernel = windows.reshape(size // groups, channels // groups, patch, patch).repeat(
        groups, 1, 1, 1
    )
    return F.conv2d(plane, kernel, padding=patch // 2, groups=groups)


def _build_network(name: str, layers: Sequence[int], *, pretrained: bool) -> nn.Module:
    """The network up to its last needed layer; the global random state is left as it was."""
    import timm

    if not timm.is_model(name) or ("." in name and not timm.list_pretrained(name)):
        raise InputError(
            f"backbone {name}: timm has no such network or weights; see timm.list_pretrained()"
        )
    create = _fetch if pretrained else timm.create_model
    try:
        with torch.random.fork_rng(devices=[]):
            return create(name, features_only=True, out_indices=tuple(layers))
    except IndexError as error:
        raise InputError(f"backbone {name}: has no layers {list(layers)}") from error


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
    except IndexError:
        raise
    except Exception as error:
        reason = next(iter(str(error).rstrip(".").splitlines()), type(error).__name__)
        raise InputError(
            f"backbone {name}: the network could not be reached for its pretrained"
            f" weights ({reason});"
            " go online once, or give its safetensors file, downloaded elsewhere from"
            f" https://huggingface.co/timm/{name}, as source 'file'; nothing was substituted"
        ) from error


def _feature_channels(network: nn.Module) -> list[int]:
    """Channels of every map, by timm's own account."""
    info: Any = network.feature_info
    return list(info.channels())


def _read_weights(
    name: str, network: nn.Module, file: Path, sha256: str | None
) -> dict[str, Tensor]:
    """The file's weights for this network, every key and shape checked."""
    if not file.is_file():
        raise InputError(f"backbone {name}: no weights file {file}")
    if sha256 is not None:
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != sha256.lower():
            raise InputError(
                f"{file}: sha256 is {found}, not {sha256}; it is not the file that was meant"
            )
    try:
        weights = load_file(file)
    except SafetensorError as error:
        raise InputError(f"{file}: not a safetensors file ({error})") from error
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
    _check_surplus(name, file, weights.keys() - needed.keys())
    return needed | {key: weights[key] for key in needed.keys() & weights.keys()}


def _check_surplus(name: str, file: Path, surplus: set[str]) -> None:
    """Keys beyond the layers' must be the complete network's, as in the files timm publishes."""
    if not surplus:
        return
    import timm

    with torch.device("meta"):
        complete = timm.create_model(name).state_dict()
    strange = sorted(surplus - complete.keys())
    if strange:
        raise InputError(
            f"{file}: {strange[0]} is no part of {name}; its keys must be timm's for {name}"
        )


def _draw_weights(network: nn.Module, seed: int) -> None:
    """Untrained weights from `seed` alone: random convolutions, and batch norms to match.

    Batch norms take the statistics of a few smooth random pictures, as training on real ones would
    give them. Otherwise values grow from block to block, and the last layer drowns the others.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
            module.momentum = None  # the plain average of all batches, here of one
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
