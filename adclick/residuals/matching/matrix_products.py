"""Nearest patches by matrix products, as a GPU likes it.

One row of references against a tile of queries at a time, features shifted to near zero so that
float32 suffices.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

TILE = 8  # query columns matched together: 4 and 8 are faster than 2 and 16
PRODUCT_CHANNELS = 512  # channels of one matrix product: shorter sums have smaller rounding bounds
SHORTLIST = 64  # candidates a query may keep; with more it is compared with all
BLOCK_VALUES = 2**21  # float64 values compared at once: 16 MB
UNIT_ROUNDOFF = 2.0**-24  # of float32
SMALLEST = 2.0**-126  # least normal float32: what one product may lose by underflow


@dataclass(frozen=True)
class _Candidates:
    """Pairs of a query and a reference patch; `key` orders these by rank, then raster order."""

    query: Int[Tensor, " candidate"]
    key: Int[Tensor, " candidate"]
    lower_bound: Float[Tensor, " candidate"]


@dataclass(frozen=True)
class _Tiling:
    """How a grid row is cut: tiles of `tile` query columns, each against `span` columns.

    Channels, zeros added, come in parts of `part`. The first of a tile's reference columns lies
    `margin` left of its first query column; columns beyond the grid hold zeros. `outside` is 0
    within the radius and infinity elsewhere, for query rows from `reach` above the references' row
    to `reach` below it.
    """

    grid: tuple[int, int]
    part: int
    reach: int
    tile: int
    margin: int
    outside: Float[Tensor, "row query column"]

    @property
    def tiles(self) -> int:
        return math.ceil(self.grid[1] / self.tile)

    @property
    def span(self) -> int:
        return self.tile + 2 * self.margin


def nearest_by_products(
    query: Tensor, references: list[Tensor], radius: int | float | None
) -> tuple[Float[Tensor, " position"], Int[Tensor, " position"]]:
    """Each query's least exact distance and the least key with it, by matrix products."""
    candidates, undecided = _shortlist(query, references, radius)
    distance, key = _nearest(query, references, candidates)
    for position in undecided.flatten().nonzero().flatten().tolist():
        distance[position], key[position] = _nearest_of_all(query, references, radius, position)
    return distance, key


def _shortlist(
    query: Tensor, references: list[Tensor], radius: int | float | None
) -> tuple[_Candidates, Bool[Tensor, "height width"]]:
    """Candidates that may be nearest, and queries with too many of them or no usable bound.

    `upper` is the least upper bound of a distance met so far; a candidate is kept while its lower
    bound is not above it. `upper` is -inf for a query with too many candidates, which keeps no more
    of them.
    """
    height, width, channels = query.shape
    tiling = _tiling(query, radius)
    padded = tiling.tiles * tiling.tile
    padded_channels = math.ceil(channels / tiling.part) * tiling.part
    queries = nn.functional.pad(query, (0, padded_channels - channels, 0, padded - width))
    patches = query.new_zeros(padded + 2 * tiling.margin, len(references), padded_channels)
    upper = query.new_full((height, padded), math.inf)
    upper[:, width:] = -math.inf
    count = torch.zeros_like(upper, dtype=torch.int64)
    kept: list[_Candidates] = []
    for row in range(height):
        centre = _read_row(references, row, patches[tiling.margin : tiling.margin + width])
        top, bottom = max(0, row - tiling.reach), min(height, row + tiling.reach + 1)
        distances, error = _distance_bounds(
            queries[top:bottom] - centre, patches, tiling, top - row
        )
        state = (_by_tile(values[top:bottom], tiling) for values in (upper, count))
        near, lower_bound = _near(distances, error, *state)
        kept.append(_named(near, lower_bound, tiling, row, top, len(references)))
    return _possible(kept, upper[:, :width]), ~torch.isfinite(upper[:, :width])


def _tiling(query: Float[Tensor, "height width channel"], radius: int | float | None) -> _Tiling:
    """Tiles of `TILE` columns, or one of the whole width where the radius spans most of it."""
    height, width, channels = query.shape
    part = math.ceil(channels / math.ceil(channels / PRODUCT_CHANNELS))
    farthest = max(height, width) - 1
    reach = farthest if radius is None else min(int(radius), farthest)
    tile, margin = (TILE, reach) if TILE + 2 * reach < width else (width, 0)
    rows = torch.arange(-reach, reach + 1)[:, None, None]
    columns = torch.arange(-margin, tile + margin) - torch.arange(tile)[:, None]
    outside = torch.where(within_radius(rows, columns, radius), 0.0, math.inf).to(query.device)
    return _Tiling((height, width), part, reach, tile, margin, outside)


def _by_tile(
    values: Shaped[Tensor, "row padded_width *rest"], tiling: _Tiling
) -> Shaped[Tensor, "tile row query *rest"]:
    """The same values, tile by tile (a view)."""
    return values.unflatten(1, (tiling.tiles, tiling.tile)).transpose(0, 1)


def within_radius(
    rows: Tensor, columns: Tensor, radius: int | float | None
) -> Bool[Tensor, "*offset"]:
    """Whether offsets (of rows, of columns; broadcast) are candidates."""
    squares = (rows.square() + columns.square()).double()
    return squares <= (math.inf if radius is None else radius**2)


def _read_row(
    references: list[Tensor], row: int, patches: Float[Tensor, "column neighbour channel"]
) -> Float[Tensor, " channel"]:
    """The mean of the first reference's grid row; all references' row less it goes to `patches`.

    A shift leaves distances as they are; norms, and with them rounding errors, become small.
    """
    channels = references[0].shape[2]
    centre = patches.new_zeros(patches.shape[2])
    centre[:channels] = references[0][row].to(patches.device).float().mean(dim=0)
    rows = torch.stack([image[row].to(patches.device) for image in references], dim=1)
    torch.sub(rows, centre[:channels], out=patches[:, :, :channels])
    return centre


def _distance_bounds(
    queries: Float[Tensor, "row padded_width channel"],
    patches: Float[Tensor, "padded_column neighbour channel"],
    tiling: _Tiling,
    first: int,
) -> tuple[Float[Tensor, "tile row query candidate"], Float[Tensor, "tile row query"]]:
    """Approximate squared distances of queries to their tile's candidates, and bounds of the error.

    Distances come from matrix products. Candidates (column, then neighbour) outside the radius or
    the grid are infinitely far. `first` is the first query row less the references' row. In n
    additions, each off by at most the unit roundoff u of its result, |a|² + |b|² - 2ab loses at
    most n u (|a| + |b|)²; shift, norms and product parts add a few to n.
    """
    own = _by_tile(queries, tiling)
    own_squares, squares = _square_norms(own, tiling.part), _square_norms(patches, tiling.part)
    norms = own_squares.sqrt() + squares.max().sqrt()
    squares[: tiling.margin] = math.inf
    squares[tiling.margin + tiling.grid[1] :] = math.inf
    windows = squares.unfold(0, tiling.span, tiling.tile).transpose(1, 2)
    outside = tiling.outside[tiling.reach + first : tiling.reach + first + len(queries)]
    distances = ((outside + own_squares[..., None])[..., None] + windows[:, None, None]).flatten(3)
    for index in range(tiling.tiles):
        others = patches[index * tiling.tile : index * tiling.tile + tiling.span]
        _subtract_products(
            distances[index].flatten(0, 1),
            own[index].flatten(0, 1),
            others.flatten(0, 1),
            tiling.part,
        )
    channels = queries.shape[2]
    additions = tiling.part + 2 * (channels // tiling.part) + 16
    return distances, 1.01 * additions * UNIT_ROUNDOFF * norms.square() + 8 * channels * SMALLEST


def _subtract_products(
    distances: Float[Tensor, "query candidate"],
    queries: Float[Tensor, "query channel"],
    candidates: Float[Tensor, "candidate channel"],
    part: int,
) -> None:
    """Take twice the inner products from the distances, in place, `part` channels at a time."""
    for some, others in zip(queries.split(part, dim=1), candidates.split(part, dim=1), strict=True):
        distances.sub_(some @ others.T, alpha=2)


def _square_norms(vectors: Float[Tensor, "*vector channel"], part: int) -> Float[Tensor, "*vector"]:
    """Squared norms, summed in parts as the products are, so that the same rounding bound holds."""
    return torch.linalg.vector_norm(vectors.unflatten(-1, (-1, part)), dim=-1).square().sum(dim=-1)


def _near(
    distances: Float[Tensor, "tile row query candidate"],
    error: Float[Tensor, "tile row query"],
    upper: Float[Tensor, "tile row query"],
    count: Int[Tensor, "tile row query"],
) -> tuple[Int[Tensor, "4 near"], Float[Tensor, " near"]]:
    """Tile, row, query and candidate of whatever may be nearest so far, and its lower bound.

    Lowers `upper` and raises `count` in place.
    """
    lowest = distances.amin(dim=3)
    best = torch.where(torch.isfinite(error), torch.minimum(upper, lowest + error), -math.inf)
    places = (lowest - error <= best).nonzero(as_tuple=True)
    bounds = distances[places] - error[places][:, None]
    possible = bounds <= best[places][:, None]
    count[places] += possible.sum(dim=1)
    full = count > SHORTLIST
    upper.copy_(torch.where(full, -math.inf, best))
    possible &= ~full[places][:, None]
    which, candidate = possible.nonzero(as_tuple=True)
    return torch.stack([*(place[which] for place in places), candidate]), bounds[which, candidate]


def _named(
    near: Int[Tensor, "4 near"],
    lower_bound: Float[Tensor, " near"],
    tiling: _Tiling,
    row: int,
    top: int,
    neighbours: int,
) -> _Candidates:
    """Near candidates of reference row `row` by grid position; query rows begin at `top`."""
    tile, query_row, query, candidate = near
    height, width = tiling.grid
    column = tile * tiling.tile - tiling.margin + candidate // neighbours
    return _Candidates(
        (top + query_row) * width + tile * tiling.tile + query,
        candidate % neighbours * (height * width) + row * width + column,
        lower_bound,
    )


def _possible(kept: list[_Candidates], upper: Float[Tensor, "height width"]) -> _Candidates:
    """All rows' candidates that the final upper bounds do not rule out."""
    query, key, lower = (
        torch.cat([getattr(part, field) for part in kept])
        for field in ("query", "key", "lower_bound")
    )
    possible = lower <= upper.flatten()[query]
    return _Candidates(query[possible], key[possible], lower[possible])


def _nearest(
    query: Tensor, references: list[Tensor], candidates: _Candidates
) -> tuple[Float[Tensor, " position"], Int[Tensor, " position"]]:
    """Each query's least exact distance and the least key with it; infinity without candidates."""
    positions = query.shape[0] * query.shape[1]
    distance = _exact_distances(query, references, candidates)
    least = torch.full((positions,), math.inf, dtype=torch.float64, device=query.device)
    least.scatter_reduce_(0, candidates.query, distance, "amin")
    tied = distance == least[candidates.query]
    key = torch.full((positions,), positions * len(references), device=query.device)
    key.scatter_reduce_(0, candidates.query[tied], candidates.key[tied], "amin")
    return least, key


def _exact_distances(
    query: Tensor, references: list[Tensor], candidates: _Candidates
) -> Float[Tensor, " candidate"]:
    height, width, channels = query.shape
    rank, place = candidates.key // (height * width), candidates.key % (height * width)
    distance = torch.empty(len(rank), dtype=torch.float64, device=query.device)
    for neighbour, image in enumerate(references):
        chosen = (rank == neighbour).nonzero().flatten()
        for part in chosen.split(max(1, BLOCK_VALUES // channels)):
            row, column = place[part] // width, place[part] % width
            others = image[row.to(image.device), column.to(image.device)].to(query.device)
            own = query.flatten(0, 1)[candidates.query[part]]
            distance[part] = (own.double() - others.double()).square().sum(dim=1)
    return distance


def _nearest_of_all(
    query: Tensor, references: list[Tensor], radius: int | float | None, position: int
) -> tuple[Float[Tensor, ""], int]:
    """One query's least exact distance and its key, from every candidate in tie order.

    References are compared some at a time, twice as many each time; one at distance 0 ends the
    search.
    """
    height, width, channels = query.shape
    row, column = divmod(position, width)
    reach = max(height, width) if radius is None else int(radius)
    rows = torch.arange(max(0, row - reach), min(height, row + reach + 1), device=query.device)
    columns = torch.arange(
        max(0, column - reach), min(width, column + reach + 1), device=query.device
    )
    within = within_radius(rows[:, None] - row, columns - column, radius)
    most = max(1, BLOCK_VALUES // (within.numel() * channels))
    least, key, done = torch.tensor(math.inf, dtype=torch.float64), 0, 0
    while done < len(references) and least > 0:
        some = references[done : done + min(max(1, done), most)]
        windows = torch.stack(
            [image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] for image in some]
        )
        distances = (
            (windows.to(query.device).double() - query[row, column].double()).square().sum(dim=3)
        )
        if not torch.isfinite(distances).all():
            raise ValueError(
                f"features must be finite; near row {row}, column {column} they are not"
            )
        index = int(distances.where(within, math.inf).argmin())
        rank, down, right = np.unravel_index(index, distances.shape)
        if distances[rank, down, right] < least:
            least = distances[rank, down, right]
            key = (
                (done + int(rank)) * height * width + int(rows[down]) * width + int(columns[right])
            )
        done += len(some)
    return least, key
