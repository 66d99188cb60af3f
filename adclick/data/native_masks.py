"""True masks at the photographs' own pixels, kept beside those at the network's size."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

GROUP = "native"


def write_native_masks(file: Any, masks: Sequence[Bool[np.ndarray, "_ _"] | None]) -> None:
    """Keep masks, as bits, in an artifact by their rows; None where the row's own mask is one."""
    for row, mask in enumerate(masks):
        if mask is None:
            continue
        bits = np.packbits(mask, axis=1)
        stored = file.require_group(GROUP).create_dataset(
            str(row),
            data=bits,
            chunks=bits.shape,
            compression="gzip",
            compression_opts=1,
            fletcher32=True,
        )
        stored.attrs["width"] = mask.shape[1]


def native_mask(file: Any, row: int) -> Bool[np.ndarray, "height width"] | None:
    """The mask of a row at the photograph's pixels; None where none is kept."""
    if GROUP not in file or str(row) not in file[GROUP]:
        return None
    stored = file[GROUP][str(row)]
    return np.unpackbits(stored[:], axis=1, count=int(stored.attrs["width"])).astype(bool)


def has_native_masks(file: Any) -> bool:
    """Whether any is kept: then scores are to be those at the photographs' pixels."""
    return GROUP in file
