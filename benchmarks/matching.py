"""Location-aware matching (Eq. 3) of one image with K references, and matching everywhere."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from adclick.residuals.matching.nearby import nearest_patches
from adclick.residuals.matching.search import Matches, match_in_bank
from benchmarks.measure import Check, Results, Task, Variant

HALF = "ours, float16 bank"
LOOP = "loop over offsets"
PRODUCTS = "matrix products alone"
FULL = "every candidate in full, compiled"
NEAR_TIE = 1e-6  # of a distance: nearer than this two patches count as equally near


@dataclass(frozen=True)
class Size:
    """Grid, references, channels and radius; all distances are computed to `part` references."""

    grid: int
    neighbours: int
    channels: int
    radius: float
    part: int
    goals: bool = False


SIZES = {
    "tiny": [Size(9, 4, 16, 1.6, 2)],
    "quick": [Size(32, 30, 448, 1.6, 5)],
    "normal": [Size(64, 50, 1024, 3.2, 5, goals=True), Size(32, 30, 448, 1.6, 30)],
    "full": [Size(64, 50, 1024, 3.2, 50, goals=True), Size(32, 30, 448, 1.6, 30)],
}


EVERYWHERE = {
    "tiny": (9, 4, 64),
    "quick": (32, 10, 448),
    "normal": (64, 10, 448),
    "full": (64, 50, 448),
}  # grid, references, channels


def tasks(scale: str) -> Iterator[Task]:
    """The paper's size (64 x 64 patches, 50 references, radius 3.2), and a quarter of it; last,
    without a radius, features that vary along few directions.
    """
    yield from (_task(size) for size in SIZES[scale])
    yield _everywhere(*EVERYWHERE[scale])


def _task(size: Size) -> Task:
    query, bank = _features(size)
    half = bank.half()
    everyone = range(size.neighbours)
    some = size.neighbours // size.part
    far = f"all distances, masked{f' (K = {size.part}, x {some})' if some > 1 else ''}"
    ours = partial(match_in_bank, query, bank, everyone, size.radius)

    def agreement(results: Results) -> list[Check]:
        loop, found = results[LOOP], _keys(results["ours"])
        part = _keys(match_in_bank(query, bank, range(size.part), size.radius))
        return [
            Check("as near as the loop's match", _same(query, bank, found, loop), least=1.0),
            Check("as near as all distances' match", _same(query, bank, part, results[far]), 0.999),
            Check(
                "float16 bank: as near, within its rounding",
                _same(query, bank, _keys(results[HALF]), loop, tie=2e-3),
                least=1.0,
            ),
            Check("float16 bank: the same match", _share(_keys(results[HALF]) == loop)),
        ]

    return Task(
        name=f"{size.grid} x {size.grid}, K = {size.neighbours}, D = {size.channels},"
        f" radius {size.radius:g}",
        variants=[
            Variant("ours", ours),
            Variant(HALF, partial(match_in_bank, query, half, everyone, size.radius)),
            Variant(far, partial(_all_distances, query, bank[: size.part], size.radius), some),
            Variant(LOOP, partial(_offset_loop, query, bank, size.radius)),
            _products_alone(size.grid, size.channels, len(_offsets(size.radius)) * size.neighbours),
        ],
        agreement=agreement,
        goals={far: 25, LOOP: 5, PRODUCTS: 0.2} if size.goals else {},
        memory=["ours", HALF, far, LOOP],
        most_extra_mb=bank.nbytes / 1e6,
    )


def _features(size: Size) -> tuple[Tensor, Tensor]:
    """A query and references that share an object, each with noise of its own."""
    generator = torch.Generator().manual_seed(0)
    shape = (size.grid, size.grid, size.channels)
    shared = torch.randn(shape, generator=generator)
    bank = torch.randn((size.neighbours, *shape), generator=generator).mul_(0.7).add_(shared)
    return torch.randn(shape, generator=generator).mul_(0.7).add_(shared), bank


def _offsets(radius: float) -> list[tuple[int, int]]:
    reach = range(-int(radius), int(radius) + 1)
    return [(down, right) for down in reach for right in reach if down**2 + right**2 <= radius**2]


def _all_distances(query: Tensor, bank: Tensor, radius: float) -> Tensor:
    """Every patch against every patch; those too far away count as infinitely different."""
    grid = query.shape[0]
    places = torch.cartesian_prod(torch.arange(grid), torch.arange(grid)).float()
    outside = torch.cdist(places, places) > radius
    distances = torch.cdist(query.flatten(0, 1), bank.flatten(0, 2)) ** 2
    return distances.masked_fill(outside.repeat(1, len(bank)), torch.inf).argmin(dim=1)


def _offset_loop(query: Tensor, bank: Tensor, radius: float) -> Tensor:
    """Differences of the query and each reference, shifted by each offset in turn."""
    grid = query.shape[0]
    raster = torch.arange(grid * grid).reshape(grid, grid)
    least = torch.full((grid, grid), torch.inf)
    match = torch.zeros((grid, grid), dtype=torch.int64)
    for neighbour, image in enumerate(bank):
        for down, right in _offsets(radius):
            own = _overlap(grid, -down), _overlap(grid, -right)
            other = _overlap(grid, down), _overlap(grid, right)
            distance = (image[other] - query[own]).square().sum(dim=2)
            nearer = distance < least[own]
            least[own] = torch.where(nearer, distance, least[own])
            match[own] = torch.where(nearer, raster[other] + neighbour * grid**2, match[own])
    return match.flatten()


def _overlap(length: int, shift: int) -> slice:
    return slice(max(0, shift), length + min(0, shift))


def _products_alone(grid: int, channels: int, candidates: int) -> Variant:
    """A large matrix product, multiplied to the inner products of all queries and candidates."""
    rows = min(2048, grid**2)
    one, other = torch.randn(rows, channels), torch.randn(channels, rows)
    products = torch.empty(rows, rows)
    multiply = partial(torch.mm, one, other, out=products)
    return Variant(PRODUCTS, multiply, grid**2 * candidates / rows**2)


def _everywhere(grid: int, neighbours: int, channels: int) -> Task:
    """Every patch of the references is a candidate; features vary as those of networks do."""
    query, bank = _steep_features(grid, neighbours, channels)
    whole = torch.full((grid + 1,), grid - 1)
    ours = partial(match_in_bank, query, bank, range(neighbours), None)

    def agreement(results: Results) -> list[Check]:
        distances, keys = results[FULL]
        found = results["ours"]
        return [
            Check("the same match", _share(_keys(found) == keys), least=1.0),
            Check(
                "the same distance",
                _share(found.squared_distance.flatten() == distances.float()),
                least=1.0,
            ),
        ]

    return Task(
        name=f"{grid} x {grid}, K = {neighbours}, D = {channels}, everywhere",
        variants=[
            Variant("ours", ours),
            Variant(FULL, partial(nearest_patches, query, list(bank), whole)),
            _products_alone(grid, channels, neighbours * grid**2),
        ],
        agreement=agreement,
        goals={FULL: 3} if grid == 64 else {},
        memory=["ours", FULL],
        most_extra_mb=64,
    )


def _steep_features(grid: int, neighbours: int, channels: int) -> tuple[Tensor, Tensor]:
    """An object and noise; variances along turned axes fall as measured of ResNet-18 on bottles:
    32 of 448 hold nine tenths.
    """
    generator = torch.Generator().manual_seed(0)
    spread = 1 / torch.arange(5.0, channels + 5)
    turn, _ = torch.linalg.qr(torch.randn(channels, channels, generator=generator))
    shape = (grid, grid, channels)
    values = torch.randn((neighbours + 1, *shape), generator=generator).mul_(0.15)
    values = 1 + values.add_(torch.randn(shape, generator=generator)).mul_(spread) @ turn
    return values[0], values[1:]


def _keys(found: Matches) -> Tensor:
    """Matched patches as flat indices into the bank."""
    height, width = found.row.shape
    return ((found.neighbour * height + found.row) * width + found.column).flatten()


def _same(query: Tensor, bank: Tensor, one: Tensor, other: Tensor, tie: float = NEAR_TIE) -> float:
    """The share of queries whose two matches are equally near (float64), ties included."""
    near, far = (
        (query.flatten(0, 1).double() - bank.flatten(0, 2)[key].double()).square().sum(dim=1)
        for key in (one, other)
    )
    return _share((near - far).abs() <= tie * torch.maximum(near, far))


def _share(chosen: Tensor) -> float:
    return float(chosen.double().mean())
