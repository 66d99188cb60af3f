"""One picture against the bank: the normal images most like it, and its residual against these.

The workflow compares all pictures of a source, a model folder one: both do it here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float16, Float32, Float64, Int
from torch import Tensor

from adclick.residuals.bank_rows import stacked
from adclick.residuals.foreground import Foreground, joined_map
from adclick.residuals.matching.search import match_in_bank
from adclick.residuals.residual import residual, residual_length
from adclick.residuals.retrieval import histogram_distances, nearest_images
from adclick.run.artifacts import read_json
from adclick.run.settings.residuals import Matching


@dataclass(frozen=True, eq=False)
class Bank:
    """Patch features and foreground maps of the normal images, as arrays or HDF5 datasets, which
    are read an image at a time; and what the maps were made with, as it is stored.
    """

    patches: Float[Any, "image grid grid channel"]
    foreground: Float[Any, "image height width"]
    weight: Float[Any, " layer1_channel"]
    numbers: Float[Any, " number"]


class Compared(NamedTuple):
    """A picture's features, its signed residual, the residual's lengths and the foreground, rounded
    as they are stored; and the mean square of the residual before it was rounded.
    """

    patches: Float16[np.ndarray, "grid grid channel"]
    residuals: Float16[np.ndarray, "grid grid channel"]
    lengths: Float32[np.ndarray, "grid grid"]
    foreground: Float16[np.ndarray, "grid grid"]
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
    patches: Float32[np.ndarray, "grid grid channel"],
    layer1: Float32[np.ndarray, "height width layer1_channel"],
    bank: Bank,
    *,
    matched: Int[np.ndarray, " matched"],
    joined: Int[np.ndarray, " joined"],
    radius: float | None,
    device: torch.device,
) -> Compared:
    """The residual against the nearest patches of the `matched` rows of the bank (Eq. 3-4), and the
    larger of the picture's own foreground and that of the `joined` rows.
    """
    query = torch.from_numpy(patches).to(device)
    references = stacked(bank.patches, matched, device)
    ranks = range(len(references))
    found = match_in_bank(query, references, ranks, radius)
    signed = residual(query, references, found, ranks)
    halves, lengths, mean_square = _summed(signed) if signed.is_cuda else _summed_here(signed)
    classifier = Foreground(bank.weight[:], *(float(number) for number in bank.numbers[:]))
    maps = [bank.foreground[row] for row in joined]
    return Compared(
        patches.astype(np.float16),
        halves,
        lengths,
        joined_map(layer1, classifier, maps, len(signed)).astype(np.float16),
        mean_square,
    )


def _summed_here(signed: Float[Tensor, "grid grid channel"]) -> tuple[np.ndarray, ...]:
    """A signed residual in half precision, its lengths, and its mean square in every channel."""
    values = signed.numpy()
    mean_square = np.square(values.astype(np.float64)).mean(axis=(0, 1))
    return values.astype(np.float16), residual_length(values), mean_square


def _summed(signed: Float[Tensor, "grid grid channel"]) -> tuple[np.ndarray, ...]:
    """The same, on the device: a processor takes longer for it than a GPU for the matching."""
    lengths = torch.linalg.vector_norm(signed, dim=2)
    mean_square = signed.double().square().mean(dim=(0, 1))
    return tuple(values.cpu().numpy() for values in (signed.half(), lengths, mean_square))
