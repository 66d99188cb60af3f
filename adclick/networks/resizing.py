"""Maps resized bilinearly."""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def resized(
    maps: Float[Tensor, "batch channel _ _"], size: tuple[int, int]
) -> Float[Tensor, "batch channel height width"]:
    """Maps at another size, bilinearly, corners not aligned; as they are where it is theirs.

    On a GPU by two matrix products: its own kernel has a gradient that adds in any order, and what
    replaces that where results must repeat is many times slower.
    """
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    if maps.is_cuda:
        return by_products(maps, size)
    return functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def by_products(
    maps: Float[Tensor, "batch channel _ _"], size: tuple[int, int]
) -> Float[Tensor, "batch channel height width"]:
    """The same as products with the weights of rows and of columns."""
    rows, columns = (
        linear_weights(old, new, maps.device).to(maps.dtype)
        for old, new in zip(maps.shape[-2:], size, strict=True)
    )
    return rows @ maps @ columns.T


@lru_cache(maxsize=64)
def linear_weights(old: int, new: int, device: torch.device) -> Float[Tensor, "new old"]:
    """What each of `new` places takes of `old` ones along an axis."""
    with torch.inference_mode(False), torch.no_grad():
        units = torch.eye(old)[None]
        weights = functional.interpolate(units, size=new, mode="linear", align_corners=False)[0].T
        return weights.contiguous().to(device)
