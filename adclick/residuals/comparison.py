"""One picture against the bank: the normal images most like it, and its residual against these.

The workflow compares all pictures of a source, a model folder one: both do it here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float16, Float32, Float64, Int
from torch import Tensor

from adclick.data.geometry import blank_beyond, edge_repeated, padded
from adclick.residuals.bank_rows import lines_of, stacked
from adclick.residuals.foreground import Foreground, joined_map
from adclick.residuals.matching.search import match_in_bank
from adclick.residuals.residual import residual, residual_length
from adclick.residuals.retrieval import histogram_distances, nearest_images
from adclick.run.artifacts import read_json
from adclick.run.settings.residuals import Matching

MATCHED_BYTES = 2**28  # of the matched images' patches that are in memory at once
LEAST_STRIP = 8  # rows of patches


@dataclass(frozen=True, eq=False)
class Bank:
    """Patch features of the normal images, an array or `BankRows`, and their foreground maps, an
    array or an HDF5 dataset, read an image at a time; and what the maps were made with, as it is
    stored.
    """

    patches: Float[Any, "image row column channel"]
    foreground: Float[Any, "image height width"]
    weight: Float[Any, " layer1_channel"]
    numbers: Float[Any, " number"]


class Compared(NamedTuple):
    """A picture's features, its signed residual, the residual's lengths and the foreground, rounded
    as they are stored; and the mean square of the residual before it was rounded.
    """

    patches: Float16[np.ndarray, "row column channel"]
    residuals: Float16[np.ndarray, "row column channel"]
    lengths: Float32[np.ndarray, "row column"]
    foreground: Float16[np.ndarray, "row column"]
    mean_square: Float64[np.ndarray, " channel"]


def chosen_matching(choice: Path) -> Matching:
    """What `choose_matching` chose for a category."""
    return Matching.model_validate(read_json(choice)["matching"])


def neighbours(
    histograms: Float[np.ndarray, "query block word"],
    retrieval: Any,
    *,
    kept_blocks: int,
    count: int,
    sources: Sequence[str],
    bank_ids: Sequence[str],
) -> Int[np.ndarray, "query neighbour"]:
    """Rows of the bank, most similar first, of pictures with these sources (see `nearest_images`).

    `retrieval` holds the `histograms` of the bank.
    """
    distances = histogram_distances(histograms, retrieval["histograms"][:], kept_blocks)
    return nearest_images(distances, count=count, query_sources=sources, reference_ids=bank_ids)


def compare(
    patches: Float32[np.ndarray, "row column channel"],
    layer1: Float32[np.ndarray, "height width layer1_channel"],
    bank: Bank,
    *,
    content: tuple[int, int] | None = None,
    matched: Int[np.ndarray, " matched"],
    joined: Int[np.ndarray, " joined"],
    radius: float | None,
    device: torch.device,
) -> Compared:
    """The residual against the nearest patches of the `matched` rows of the bank (Eq. 3-4), and the
    larger of the picture's own foreground and that of the `joined` rows.

    `content` counts the rows and columns of patches that are no padding (None: all); beyond them
    all is zero. A place that a smaller normal picture does not have is matched with its nearest
    edge. The bank is read in strips of rows, or some images at a time, where all of them would fill
    the memory.
    """
    grid = (patches.shape[0], patches.shape[1])
    own = content or grid
    found = Compared(
        edge_repeated(patches, own, grid).astype(np.float16),
        np.empty(patches.shape, np.float16),
        np.empty(grid, np.float32),
        _foreground(layer1, bank, joined, own, grid),
        np.zeros(patches.shape[2], np.float64),
    )
    del layer1  # before the matching: of a large picture hundreds of megabytes, if it is passed on
    total = found.mean_square
    for rows, signed in _signed_residuals(patches, bank.patches, matched, radius, device):
        signed[max(0, own[0] - rows.start) :], signed[:, own[1] :] = 0, 0
        halves, lengths, squares = _summed(signed) if signed.is_cuda else _summed_here(signed)
        found.residuals[rows], found.lengths[rows] = halves, lengths
        total += squares
    return found._replace(mean_square=total / (own[0] * own[1]))


def _foreground(
    layer1: Float32[np.ndarray, "height width layer1_channel"],
    bank: Bank,
    joined: Int[np.ndarray, " joined"],
    content: tuple[int, int],
    grid: tuple[int, int],
) -> Float16[np.ndarray, "row column"]:
    classifier = Foreground(bank.weight[:], *(float(number) for number in bank.numbers[:]))
    shape = (layer1.shape[0], layer1.shape[1])
    own = edge_repeated(layer1, content, grid)
    maps = [padded(bank.foreground[row], shape) for row in joined]
    return blank_beyond(joined_map(own, classifier, maps, grid).astype(np.float16), content)


def _signed_residuals(
    patches: Float32[np.ndarray, "row column channel"],
    bank: Any,
    matched: Int[np.ndarray, " matched"],
    radius: float | None,
    device: torch.device,
) -> Iterator[tuple[slice, Float32[Tensor, "strip column channel"]]]:
    """Rows of the grid, and their residual: a strip after the other, all of them where they fit."""
    rows, columns, channels = patches.shape
    row_bytes = columns * channels * bank.dtype.itemsize
    if radius is None:
        together = max(1, MATCHED_BYTES // (rows * row_bytes))
        yield slice(0, rows), _residual_everywhere(patches, bank, matched, together, device)
        return
    halo = int(radius)
    strip = max(LEAST_STRIP, MATCHED_BYTES // (len(matched) * row_bytes) - 2 * halo)
    if strip + 2 * halo >= rows:
        strip = rows
    most = min(rows, strip + 2 * halo)
    room = np.empty((len(matched), most, columns, channels), bank.dtype) if strip < rows else None
    for top in range(0, rows, strip):
        bottom = min(rows, top + strip)
        start, stop = max(0, top - halo), min(rows, bottom + halo)
        query = torch.from_numpy(patches[start:stop]).to(device)
        known = _references(bank, matched, slice(start, stop), columns, device, room)
        signed = _residual(query, known, radius)
        yield slice(top, bottom), signed[top - start : bottom - start]


def _residual_everywhere(
    patches: Float32[np.ndarray, "row column channel"],
    bank: Any,
    matched: Int[np.ndarray, " matched"],
    together: int,
    device: torch.device,
) -> Float32[Tensor, "row column channel"]:
    """The residual against all places of the matched images, so many of these at once."""
    query, (rows, columns) = torch.from_numpy(patches).to(device), patches.shape[:2]
    parts = [matched[first : first + together] for first in range(0, len(matched), together)]
    lines = slice(0, rows)
    signed = _residual(query, _references(bank, parts[0], lines, columns, device), None)
    for part in parts[1:]:
        other = _residual(query, _references(bank, part, lines, columns, device), None)
        nearer = other.square().sum(dim=2) < signed.square().sum(dim=2)
        signed[nearer] = other[nearer]
    return signed


def _residual(query: Tensor, known: Tensor, radius: float | None) -> Tensor:
    ranks = range(len(known))
    return residual(query, known, match_in_bank(query, known, ranks, radius), ranks)


def _references(
    bank: Any,
    matched: Int[np.ndarray, " matched"],
    lines: slice,
    columns: int,
    device: torch.device,
    room: Float[np.ndarray, "matched line column channel"] | None = None,
) -> Float[Tensor, "matched strip columns channel"]:
    """Lines of the grid of images of the bank, which may be smaller: then their edges. They are put
    into the `room` that there was for those of the strip before.
    """
    start, stop, rows = lines.start, lines.stop, bank.shape[1]
    if (start, stop, columns) == (0, rows, bank.shape[2]):
        return stacked(bank, matched, device)
    shape = (len(matched), stop - start, columns, bank.shape[3])
    found = np.empty(shape, bank.dtype) if room is None else room[:, : stop - start]
    first, last = min(start, rows - 1), min(stop, rows)
    for own, row in zip(found, matched, strict=True):
        known = lines_of(bank, int(row), first, last)
        own[:] = padded(known, (stop - first, columns))[start - first :]
    return torch.from_numpy(found).to(device)


def _summed_here(signed: Float[Tensor, "row column channel"]) -> tuple[np.ndarray, ...]:
    """A signed residual in half precision, its lengths, and its squares' sum in every channel."""
    values = signed.numpy()
    squares = np.square(values.astype(np.float64)).sum(axis=(0, 1))
    return values.astype(np.float16), residual_length(values), squares


def _summed(signed: Float[Tensor, "row column channel"]) -> tuple[np.ndarray, ...]:
    """The same, on the device: a processor takes longer for it than a GPU for the matching."""
    lengths = torch.linalg.vector_norm(signed, dim=2)
    squares = signed.double().square().sum(dim=(0, 1))
    return tuple(values.cpu().numpy() for values in (signed.half(), lengths, squares))
