"""The residual of a picture against its matches, and its length (Eq. 4)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from adclick.residuals.matching.search import Array, Matches, as_tensor, bank_rows


def residual(
    query: Float[Array, "height width channel"],
    bank: Float[Any, "image height width channel"],
    matches: Matches,
    image_ids: Sequence[int] | Int[np.ndarray, " neighbour"] | Int[Tensor, " neighbour"],
) -> Float[Array, "height width channel"]:
    """The matched reference feature minus the query feature at every patch: signed, float32.

    `matches` and `image_ids` are those of `match_in_bank`. An HDF5 bank is read anew, one matched
    image at a time: whoever calls both should read the images once (`bank[ids]`) and use `range(K)`
    as ids.

    Source: paper Eq. 4; the sign of the authors' code. Networks see its square.
    """
    queries = as_tensor(query).float()
    neighbour, row, column = (
        as_tensor(field).to(queries.device)
        for field in (matches.neighbour, matches.row, matches.column)
    )
    rows = bank_rows(bank, image_ids)
    matched = torch.empty_like(queries)
    for rank in neighbour.unique().tolist():
        chosen = neighbour == rank
        image = as_tensor(bank[rows[rank]])
        place = (row[chosen].to(image.device), column[chosen].to(image.device))
        matched[chosen] = image[place].to(queries.device).float()
    difference: Any = matched - queries
    return difference if isinstance(query, Tensor) else difference.numpy()


def residual_length(
    residual: Float[np.ndarray, "height width channel"],
) -> Float[np.ndarray, "height width"]:
    """The length of the residual at every patch, in units of the features: how far each patch is
    from normal. Computed in float32, also of half-precision residuals.
    """
    return np.sqrt(np.square(residual.astype(np.float32)).sum(axis=2))
