"""The bank's patches as comparisons read them: many rows a picture, most of them often."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adclick.residuals.matching.search import as_tensor
from adclick.run.stored import StoredRows

GPU_SHARE = 0.5  # of the memory that is free when the bank is opened


class BankRows:
    """Rows of stored patches; on a GPU they stay there once they are read, while memory for them
    lasts, and the one that was asked for longest ago goes first.
    """

    def __init__(self, array: Any, device: torch.device, *, most_bytes: int | None = None) -> None:
        """Rows of an open HDF5 dataset, `array`; `most_bytes` are kept (None: on a GPU half of what
        is free, on a processor none).
        """
        self._rows = StoredRows(array)
        self._device = device
        self.shape, self.dtype = self._rows.shape, self._rows.dtype
        self._most_bytes = _free_bytes(device) if most_bytes is None else most_bytes
        self._kept: OrderedDict[int, Tensor] = OrderedDict()

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._rows)

    def __getitem__(self, row: int) -> Tensor:
        """One row, on the device."""
        if row in self._kept:
            self._kept.move_to_end(row)
            return self._kept[row]
        patches = as_tensor(self._rows[row]).to(self._device)
        room = self._most_bytes // max(1, patches.nbytes)
        if room:
            while len(self._kept) >= room:
                self._kept.popitem(last=False)
            self._kept[row] = patches
        return patches

    def lines(self, row: int, first: int, last: int) -> np.ndarray:
        """Lines `first` … `last` - 1 of the grid of one row: of a large one, no more is read."""
        return np.asarray(self._rows.lazily(row)[first:last, :])


def lines_of(patches: Any, row: int, first: int, last: int) -> np.ndarray:
    """Lines `first` … `last` - 1 of a row of a bank [row grid grid channel]."""
    if isinstance(patches, BankRows):
        return patches.lines(row, first, last)
    return patches[row, first:last]


def stacked(patches: Any, rows: Iterable[Any], device: torch.device) -> Tensor:
    """Rows of a bank [row grid grid channel] on a device, read one by one: h5py's reading of listed
    rows at once is ten times slower.
    """
    return torch.stack([as_tensor(patches[int(row)]).to(device) for row in rows])


def _free_bytes(device: torch.device) -> int:
    return int(GPU_SHARE * torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else 0
