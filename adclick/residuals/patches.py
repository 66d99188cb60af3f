"""Patch features of pictures: each map of a backbone pooled over small neighbourhoods, all brought
to one grid and joined.
"""

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, UInt8
from torch import Tensor

from adclick.residuals.backbone import Backbone
from adclick.run.errors import InputError

Array = TypeVar("Array", np.ndarray, Tensor)


def extract(
    backbone: Backbone,
    images: UInt8[Array, "image height width 3"],
    *,
    grid: tuple[int, int],
    layer_dimensions: Sequence[int],
    dimension: int,
    patch: int = 3,
) -> tuple[
    Float[Array, "image row column dimension"], Float[Array, "image layer_row layer_column channel"]
]:
    """Patch features on a grid of (rows, columns), and the first layer's map, channels last.

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


def first_map(
    backbone: Backbone, images: UInt8[Array, "image height width 3"]
) -> Float[Array, "image layer_row layer_column channel"]:
    """The first layer's map, channels last: the second answer of `extract` alone."""
    pixels = images if isinstance(images, Tensor) else torch.tensor(images)
    with torch.no_grad():
        first = backbone(pixels.to(backbone.scale.device))[0]
    return _as_given(first.permute(0, 2, 3, 1).contiguous(), images)


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
    plane: Float[Tensor, "image channel height width"], size: int, patch: int, grid: tuple[int, int]
) -> Float[Tensor, "image row column size"]:
    """Neighbourhoods pooled to `size` values, resized to the grid, channels last."""
    pooled = _pool_neighbourhoods(plane, size, patch)
    if pooled.shape[2:] != grid:
        pooled = F.interpolate(pooled, size=grid, mode="bilinear", align_corners=False)
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
