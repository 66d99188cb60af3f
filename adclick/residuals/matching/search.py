"""Location-aware nearest patches (Eq. 3): exact and deterministic.

For every patch of a query, the most similar patch (least squared Euclidean distance) among all
patches of K reference images whose grid position is near the query's own. Distances are computed in
float32 first, with a proven error bound; whatever the bounds cannot rule out is compared again by
float64 differences. So the answer is that of float64 brute force over the stored values.

On the CPU compiled loops do it, one for a radius (`nearby`) and one for none (`everywhere`); on a
GPU matrix products (`matrix_products`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from adclick.residuals.matching.matrix_products import nearest_by_products, within_radius

Array = TypeVar("Array", np.ndarray, Tensor)


@dataclass(frozen=True)
class Matches:
    """The nearest reference patch of every query patch: its squared distance and where it is.

    `squared_distance` is float32, the other three are int64; all are [height width], numpy arrays
    or tensors as the query was. `neighbour` is a rank (an index into the references, or into
    `image_ids`), not a bank index; `row` and `column` are grid positions of the matched patch, not
    offsets.
    """

    squared_distance: Float[Any, "height width"]
    neighbour: Int[Any, "height width"]
    row: Int[Any, "height width"]
    column: Int[Any, "height width"]


def match_patches(
    query: Float[Array, "height width channel"],
    references: Float[Any, "neighbour height width channel"],
    radius: int | float | None,
) -> Matches:
    """The nearest reference patch of every query patch: `match_in_bank` of all of a bank."""
    return match_in_bank(query, references, range(len(references)), radius)


def match_in_bank(
    query: Float[Array, "height width channel"],
    bank: Float[Any, "image height width channel"],
    image_ids: Sequence[int] | Int[np.ndarray, " neighbour"] | Int[Tensor, " neighbour"],
    radius: int | float | None,
) -> Matches:
    """The nearest patch of every query patch among the patches of `image_ids`, images of a bank.

    Candidates lie inside the grid at a squared offset of at most radius² in grid units: 0 is the
    same position, None is everywhere. Ties go to the smallest rank in `image_ids`, then to the
    first position in raster order. The bank may be an array, a tensor on any device or an HDF5
    dataset, of half or single precision. It is read in place, except an HDF5 dataset, whose K
    images are held in memory; beyond the K images nothing grows with K but, on a GPU, a strip of
    one grid row. The work is done on the query's device, on the CPU in as many threads as torch
    has. Where very many candidates are equal within rounding (constant features), it is slow but
    exact.

    Raises ValueError for shapes that do not agree, ids that the bank lacks, a negative radius, and
    features that are not finite.

    Source: paper Eq. 3 (K = 50 images, radius 3.2 on a 64 x 64 grid).
    """
    queries = as_tensor(query).float().contiguous()
    references = _chosen_images(bank, image_ids)
    if radius is not None and not radius >= 0:
        raise ValueError(f"radius {radius} must not be negative (None: everywhere)")
    if (
        not references
        or queries.numel() == 0
        or any(image.shape != queries.shape for image in references)
    ):
        raise ValueError(
            f"need one or more references of the query's shape, not empty: {tuple(queries.shape)}"
        )
    with torch.no_grad(), _full_precision(queries.device):
        found = _match(queries, references, radius)
    fields = (found.squared_distance, found.neighbour, found.row, found.column)
    return found if isinstance(query, Tensor) else Matches(*(field.numpy() for field in fields))


def as_tensor(values: Any) -> Tensor:
    """A tensor over the same memory where possible (read-only arrays are copied)."""
    if isinstance(values, Tensor):
        return values
    return torch.from_numpy(np.require(values, requirements=["C", "W"]))


def bank_rows(bank: Any, image_ids: Any) -> list[int]:
    """Image ids as rows of the bank; ValueError when there is no such row."""
    rows = [int(row) for row in image_ids]
    if any(not 0 <= row < len(bank) for row in rows):
        raise ValueError(f"image ids must be 0 … {len(bank) - 1}, got {rows}")
    return rows


def _chosen_images(bank: Any, image_ids: Any) -> list[Tensor]:
    return [as_tensor(bank[row]) for row in bank_rows(bank, image_ids)]


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """Matrix products in true float32, whatever shortcuts training has switched on."""
    mkldnn: Any = torch.backends.mkldnn
    backends: tuple[Any, ...] = (torch.backends.cuda.matmul, mkldnn.matmul)
    before = [backend.fp32_precision for backend in backends]
    for backend in backends:
        backend.fp32_precision = "ieee"
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def _match(query: Tensor, references: list[Tensor], radius: int | float | None) -> Matches:
    height, width, _ = query.shape
    if not all(map(_suits_kernel, (query, *references))):
        distance, key = nearest_by_products(query, references, radius)
    elif radius is None:
        from adclick.residuals.matching.everywhere import nearest_patches_everywhere

        distance, key = nearest_patches_everywhere(query, references)
    else:
        from adclick.residuals.matching.nearby import nearest_patches

        distance, key = nearest_patches(query, references, _half_widths(height, width, radius))
    grid = (height, width)
    place = key % (height * width)
    return Matches(
        distance.float().reshape(grid),
        (key // (height * width)).reshape(grid),
        (place // width).reshape(grid),
        (place % width).reshape(grid),
    )


def _suits_kernel(features: Tensor) -> bool:
    plain = features.device.type == "cpu" and features.is_contiguous()
    return plain and features.dtype in (torch.float32, torch.float16)


def _half_widths(height: int, width: int, radius: int | float | None) -> Int[Tensor, " row"]:
    """How many columns to either side are candidates 0 … height rows away; -1: none at all."""
    within = within_radius(torch.arange(height + 1)[:, None], torch.arange(width), radius)
    return within.sum(dim=1) - 1
