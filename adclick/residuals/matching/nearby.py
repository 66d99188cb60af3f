"""The nearest reference patches on the CPU (Eq. 3), compiled by numba, without a copy of the bank.

Differences of two by two query patches and two reference patches are squared and added in float32
at once: what is read is used often. The relative error of such a sum is small, since nothing is
subtracted after a rounding. Where it is not above the least distance so far by more than that, the
distance is computed again in float64, which decides.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, no_type_check

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from adclick.run.compiled import compiled

UNIT_ROUNDOFF = 2.0**-24  # of float32
SMALLEST = 2.0**-126  # least normal float32: what one square may lose by underflow


class Search(NamedTuple):
    """A query and its nearest patches so far, shared by threads that each have rows of their own.

    `limit` is the largest float32 sum that a distance below `distance` may have.
    """

    query: np.ndarray  # height width channel, float32
    half_widths: np.ndarray  # row
    reach: int  # rows
    distance: np.ndarray  # height width, float64
    key: np.ndarray  # height width
    limit: np.ndarray  # height width, float32


def nearest_patches(
    query: Float[Tensor, "height width channel"],
    references: Sequence[Tensor],
    half_widths: Int[Tensor, " row"],
) -> tuple[Float[Tensor, " position"], Int[Tensor, " position"]]:
    """Every query patch's least squared distance, in float64, and the least key with it.

    The key orders all reference patches by rank, then in raster order. The query is float32, the
    references are float32 or float16; all are contiguous and in main memory. `half_widths` tells
    for row distances 0 … height how many columns to either side are candidates, -1 being none at
    all. Works in as many threads as torch does, with the same result for any number.

    Raises ValueError for features that are not finite.
    """
    search = start_search(query, half_widths)
    compare_all(search, [bits_of(image) for image in references])
    return found_by(search)


def start_search(
    query: Float[Tensor, "height width channel"], half_widths: Int[Tensor, " row"]
) -> Search:
    """A search that has met no reference yet. ValueError for a query that is not finite."""
    if not torch.stack(query.aminmax()).isfinite().all():
        raise ValueError("features must be finite; those of the query are not")
    height, width, _ = query.shape
    return Search(
        query.detach().numpy(),
        half_widths.numpy(),
        int((half_widths >= 0).sum()) - 1,
        np.full((height, width), np.inf),
        np.zeros((height, width), np.int64),
        np.full((height, width), np.inf, np.float32),
    )


def compare_all(search: Search, images: Sequence[np.ndarray], first: int = 0) -> None:
    """Compare the query with the references from `first` on, every candidate in full."""
    height, width, channels = search.query.shape
    threads = torch.get_num_threads()
    rows = 2 * -(-height // (2 * threads))  # whole pairs of rows

    def match_rows(top: int) -> None:
        patches = torch.empty(width, channels).numpy()  # torch begins at a cache line
        for rank in range(first, len(images)):
            if not _match_rows(search, images[rank], rank, top, min(height, top + rows), patches):
                raise not_finite(rank)

    if rows < height:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(match_rows, range(0, height, rows)))
    else:
        match_rows(0)


def found_by(search: Search) -> tuple[Float[Tensor, " position"], Int[Tensor, " position"]]:
    """The least distances that a search has met, and their keys."""
    return torch.from_numpy(search.distance.ravel()), torch.from_numpy(search.key.ravel())


def not_finite(rank: int) -> ValueError:
    """The error for a reference whose features are not."""
    return ValueError(f"features must be finite; those of reference {rank} are not")


def bits_of(image: Tensor) -> np.ndarray:
    """The same memory as whole numbers: numba has no half precision on the CPU."""
    return image.detach().numpy().view(np.uint16 if image.dtype == torch.float16 else np.uint32)


@compiled
@no_type_check
def _match_rows(search, image, rank, top, bottom, patches):
    """Compare query rows `top` … `bottom` - 1 with a reference; false if that is not finite."""
    half_widths = search.half_widths
    height, width, _ = image.shape
    for row in range(max(0, top - search.reach), min(height, bottom + search.reach)):
        if not read_patches(image[row], patches):
            return False
        key = (rank * height + row) * width
        for above in range(top, bottom, 2):
            half_width = max(half_widths[abs(above - row)], half_widths[abs(above + 1 - row)])
            if half_width >= 0:
                _match_two_rows(search, patches, key, row, above, half_width)
    return True


@compiled
@no_type_check
def read_patches(row, patches):
    """Turn the bits of half or single precision into float32, exactly; false if not all finite.

    The exponent of half precision is 112 larger than float32 takes its bits for.
    """
    half = row.itemsize == 2
    largest = np.uint32(0)
    for column in range(row.shape[0]):
        for channel in range(row.shape[1]):
            bits = np.uint32(row[column, channel])
            if half:
                magnitude = np.uint32((bits & np.uint32(0x7FFF)) << 13)
                shifted = np.uint32(magnitude | (bits & np.uint32(0x8000)) << 16)
                patches[column, channel] = shifted.view(np.float32) * np.float32(2.0**112)
            else:
                magnitude = np.uint32(bits & np.uint32(0x7FFFFFFF))
                patches[column, channel] = bits.view(np.float32)
            largest = max(largest, magnitude)
    return largest < np.uint32((0x1F if half else 0xFF) << 23)


@compiled
@no_type_check
def _match_two_rows(search, patches, key, row, above, half_width):
    """Compare query rows `above` and `above` + 1 with a row of reference patches.

    Candidates come in the order of their keys. Beyond the grid's edge the last row or column stands
    in, which `_decide` leaves out.
    """
    query, limit = search.query, search.limit
    height, width, _ = query.shape
    below = min(above + 1, height - 1)
    for left in range(0, width, 2):
        right = min(left + 1, width - 1)
        for column in range(max(0, left - half_width), min(width, left + 2 + half_width), 2):
            places = (above, below, left, right, column, min(column + 1, width - 1))
            squares = _squared_distances(query, patches, places)
            if _any_within(limit, places, squares):
                _decide(search, patches, key, row, above, left, column, squares)


@compiled
@no_type_check
def _squared_distances(query, patches, places):
    """Of each of four query patches to each of two reference patches, in float32."""
    above, below, left, right, one, other = places
    a1 = a2 = b1 = b2 = c1 = c2 = d1 = d2 = np.float32(0)
    for channel in range(patches.shape[1]):
        first, second = patches[one, channel], patches[other, channel]
        a, b = query[above, left, channel], query[above, right, channel]
        c, d = query[below, left, channel], query[below, right, channel]
        a1 += (a - first) ** 2
        a2 += (a - second) ** 2
        b1 += (b - first) ** 2
        b2 += (b - second) ** 2
        c1 += (c - first) ** 2
        c2 += (c - second) ** 2
        d1 += (d - first) ** 2
        d2 += (d - second) ** 2
    return a1, a2, b1, b2, c1, c2, d1, d2


@compiled
@no_type_check
def _any_within(limit, places, squares):
    above, below, left, right, _, _ = places
    return (
        min(squares[0], squares[1]) <= limit[above, left]
        or min(squares[2], squares[3]) <= limit[above, right]
        or min(squares[4], squares[5]) <= limit[below, left]
        or min(squares[6], squares[7]) <= limit[below, right]
    )


@compiled
@no_type_check
def _decide(search, patches, key, row, above, left, column, squares):
    """Compute in float64 the distances that may be the least so far, and keep those that are."""
    height, width, channels = search.query.shape
    for index in range(8):
        own_row, own_column = above + index // 4, left + index // 2 % 2
        other = column + index % 2
        if own_row == height or max(own_column, other) >= width:
            continue
        if abs(own_column - other) > search.half_widths[abs(own_row - row)]:
            continue
        if squares[index] > search.limit[own_row, own_column]:
            continue
        distance = exact_distance(search.query[own_row, own_column], patches[other])
        if distance < search.distance[own_row, own_column]:
            search.distance[own_row, own_column] = distance
            search.key[own_row, own_column] = key + other
            search.limit[own_row, own_column] = limit_of(distance, channels)


@partial(compiled, in_any_order=False)
@no_type_check
def exact_distance(own, other):
    """In float64, rounded in the same way wherever it is called: equal patches must tie."""
    a = b = c = d = 0.0
    whole = own.size - own.size % 4
    for channel in range(0, whole, 4):
        a += (np.float64(own[channel]) - np.float64(other[channel])) ** 2
        b += (np.float64(own[channel + 1]) - np.float64(other[channel + 1])) ** 2
        c += (np.float64(own[channel + 2]) - np.float64(other[channel + 2])) ** 2
        d += (np.float64(own[channel + 3]) - np.float64(other[channel + 3])) ** 2
    for channel in range(whole, own.size):
        a += (np.float64(own[channel]) - np.float64(other[channel])) ** 2
    return (a + b) + (c + d)


@compiled
@no_type_check
def limit_of(distance, channels):
    """The largest float32 sum of squares that a distance, or a smaller one, may have.

    Every difference, square and addition is off by at most the unit roundoff u of its result,
    relatively. In whatever order n squares are added, the sum is off by at most (n + 2) u; the
    limit's own rounding and second orders are in the rest. What overflows is above any limit.
    """
    error = 1.01 * (channels + 8) * UNIT_ROUNDOFF
    return np.float32(distance * (1 + error) + 8 * channels * SMALLEST)
