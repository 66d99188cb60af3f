"""The nearest reference patches wherever they are, on the CPU (Eq. 3 without its radius).

A patch becomes a point: its coordinates along the directions in which features vary most, and the
length of what remains. Points are never farther apart than their patches, so only candidates whose
points are near enough are compared in full. The answer does not depend on the directions; the time
does. Where too many candidates are left, all are compared, as those within a radius are
(`nearby`).
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from adclick.residuals.matching.nearby import (
    UNIT_ROUNDOFF,
    Search,
    bits_of,
    compare_all,
    exact_distance,
    found_by,
    limit_of,
    not_finite,
    read_patches,
    start_search,
)
from adclick.run.compiled import compiled

UNEXPLAINED = 0.1  # share of the variance that may be left to the remainder
MOST_DIRECTIONS = 0.25  # of the channels: with more, too little is saved
MOST_COMPARED = 0.02  # of all pairs: when more were compared in full, comparing all is as fast
SAMPLE = 4  # patches a channel that tell the directions
BLOCK = 256  # patches projected at once, so that they stay in the cache
TOGETHER = 4  # queries whose bounds are computed at once …
CHUNK = 1024  # … to so many candidates


def nearest_patches_everywhere(
    query: Float[Tensor, "height width channel"], references: Sequence[Tensor]
) -> tuple[Float[Tensor, " position"], Int[Tensor, " position"]]:
    """What `nearby.nearest_patches` finds where every position is a candidate."""
    height, width, _ = query.shape
    search = start_search(query, torch.full((height + 1,), width - 1))
    images = [bits_of(image) for image in references]
    axes = _leading_directions(query, references[0])
    done = 0 if axes is None else _compare_near_points(search, images, *axes)
    compare_all(search, images, done)
    return found_by(search)


def _leading_directions(
    query: Tensor, reference: Tensor
) -> tuple[Float[Tensor, " channel"], Float[Tensor, "channel direction"]] | None:
    """The mean of a sample of both images' patches, and the directions that explain most of its
    variance (orthonormal, float64, an odd number). None if they are too many to be of use.
    """
    height, width, channels = query.shape
    step = max(1, 2 * height * width // (SAMPLE * channels))
    both = (image.flatten(0, 1)[::step].double() for image in (query, reference))
    sample = torch.cat([*both])
    mean = sample.mean(dim=0)
    products = (sample - mean).T @ (sample - mean)
    if not torch.isfinite(products).all():
        return None
    variances, directions = torch.linalg.eigh(products)  # the least first
    unexplained = variances.clamp(min=0).cumsum(dim=0) / variances.clamp(min=0).sum()
    count = int((unexplained > UNEXPLAINED).sum()) | 1  # odd: with the remainder, pairs
    return (mean, directions[:, -count:]) if count <= MOST_DIRECTIONS * channels else None


def _compare_near_points(
    search: Search,
    images: Sequence[np.ndarray],
    mean: Float[Tensor, " channel"],
    directions: Float[Tensor, "channel direction"],
) -> int:
    """Search the references in turn, as long as few pairs are compared in full; how many it was.

    Threads share the queries of one reference after the other.
    """
    height, width, channels = search.query.shape
    positions, threads = height * width, torch.get_num_threads()
    own = _points(torch.from_numpy(search.query).flatten(0, 1), mean, directions)
    lengths = own.double().norm(dim=1)
    own = torch.nn.functional.pad(own, (0, 0, 0, -positions % TOGETHER)).numpy()
    patches = torch.empty(positions, channels)
    part = TOGETHER * math.ceil(positions / (TOGETHER * threads))
    compared = 0
    with ThreadPoolExecutor(threads) as pool:
        for rank, image in enumerate(images):
            if not read_patches(image.reshape(positions, channels), patches.numpy()):
                raise not_finite(rank)
            others = _points(patches, mean, directions)
            slack = (_slack(channels) * (lengths + others.double().norm(dim=1).max())).numpy()
            if not np.isfinite(slack).all():
                return rank
            job = search, own, _chunks(others), patches.numpy(), slack, rank * positions
            parts = [(first, min(positions, first + part)) for first in range(0, positions, part)]
            compared += sum(pool.map(lambda span, job=job: _match_part(*job, *span), parts))
            if compared > MOST_COMPARED * len(images) * positions**2:
                return rank + 1
    return len(images)


def _points(
    patches: Float[Tensor, "patch channel"],
    mean: Float[Tensor, " channel"],
    directions: Float[Tensor, "channel direction"],
) -> Float[Tensor, "patch coordinate"]:
    """Patches less the mean, by coordinates along the directions and the length of the remainder;
    computed in float64, then rounded to float32.
    """
    points = torch.empty(len(patches), directions.shape[1] + 1)
    for some, block in zip(points.split(BLOCK), patches.split(BLOCK), strict=True):
        centred = block.double() - mean
        some[:, :-1] = coordinates = centred @ directions
        squares = centred.square().sum(dim=1) - coordinates.square().sum(dim=1)
        some[:, -1] = squares.clamp(min=0).sqrt()
    return points


def _slack(channels: int) -> float:
    """How much farther apart than their patches two points may be, as a share of their lengths.

    Coordinates are rounded to float32. The square of the remainder, a difference in float64, is off
    by a few roundings a channel of the square of the length, and the root makes that larger.
    """
    return 2 * (UNIT_ROUNDOFF + math.sqrt(8 * channels * 2.0**-53))


def _chunks(points: Float[Tensor, "candidate coordinate"]) -> np.ndarray:
    """Chunk by chunk, coordinates one after the other; zeros at the end."""
    size = min(CHUNK, len(points))
    padded = torch.nn.functional.pad(points, (0, 0, 0, -len(points) % size))
    return padded.unflatten(0, (-1, size)).transpose(1, 2).contiguous().numpy()


@compiled
@no_type_check
def _match_part(search, own, others, patches, slack, key, first, last):
    """Search one reference for the queries `first` … `last` - 1; how many pairs were compared.

    `key` is that of the reference's first patch.
    """
    size = others.shape[2]
    bounds = np.empty((TOGETHER, size), np.float32)
    compared = 0
    for position in range(first, last, TOGETHER):
        for chunk in range(others.shape[0]):
            _bound_distances(own[position : position + TOGETHER], others[chunk], bounds)
            for index in range(min(TOGETHER, last - position)):
                compared += _compare(
                    search,
                    position + index,
                    bounds[index, : min(size, len(patches) - chunk * size)],
                    patches[chunk * size :],
                    slack[position + index],
                    key + chunk * size,
                    others.shape[1],
                )
    return compared


@compiled
@no_type_check
def _bound_distances(own, others, bounds):
    """Squared distances of four points to others, in float32; coordinates come in pairs."""
    bounds[:] = 0
    for coordinate in range(0, others.shape[0], 2):
        a, b = own[0, coordinate], own[1, coordinate]
        c, d = own[2, coordinate], own[3, coordinate]
        e, f = own[0, coordinate + 1], own[1, coordinate + 1]
        g, h = own[2, coordinate + 1], own[3, coordinate + 1]
        for index in range(others.shape[1]):
            one, other = others[coordinate, index], others[coordinate + 1, index]
            bounds[0, index] += (a - one) ** 2 + (e - other) ** 2
            bounds[1, index] += (b - one) ** 2 + (f - other) ** 2
            bounds[2, index] += (c - one) ** 2 + (g - other) ** 2
            bounds[3, index] += (d - one) ** 2 + (h - other) ** 2


@compiled
@no_type_check
def _compare(search, position, bounds, patches, slack, key, coordinates):
    """Compare in full what may be nearest, the candidate with the least bound first; how many."""
    width, channels = search.query.shape[1:]
    row, column = position // width, position % width
    limit = _bound_limit(search.distance[row, column], slack, coordinates)
    within = 0
    for index in range(bounds.size):
        within += bounds[index] <= limit
    if within == 0:
        return 0
    compared, first = 0, np.argmin(bounds)
    for index in range(-1, bounds.size):
        candidate = first if index < 0 else index
        if bounds[candidate] > limit:
            continue
        compared += 1
        if (
            _squared_distance(search.query[row, column], patches[candidate])
            > search.limit[row, column]
        ):
            continue
        distance = exact_distance(search.query[row, column], patches[candidate])
        nearest, found = search.distance[row, column], key + candidate
        if distance < nearest or (distance == nearest and found < search.key[row, column]):
            search.distance[row, column] = distance
            search.key[row, column] = found
            search.limit[row, column] = limit_of(distance, channels)
            limit = _bound_limit(distance, slack, coordinates)
    return compared


@compiled
@no_type_check
def _squared_distance(own, other):
    total = np.float32(0)
    for channel in range(own.size):
        total += (own[channel] - other[channel]) ** 2
    return total


@compiled
@no_type_check
def _bound_limit(distance, slack, coordinates):
    """The largest float32 sum of squares that the points of two patches may have that are no
    farther apart than `distance` (squared).
    """
    return limit_of((np.sqrt(distance) + slack) ** 2, coordinates)
