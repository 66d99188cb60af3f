"""Rows of stored arrays, read by many threads at once.

HDF5 reads one row at a time, whoever asks, and sums up bytes slowly. A chunk of an artifact is a
row as it lies in memory, and behind it its sum: here it is read straight from the file, in a third
of the time, and by as many threads as ask.
"""

import math
import os
import weakref
from typing import Any

import numpy as np

CHECKSUM_BYTES = 4
LARGE_BYTES = 2**24  # of a larger row only what is asked for is read
FLETCHER32 = 3  # HDF5's number of this filter


class StoredRows:
    """An array of an artifact, row by row, from any thread; what it answers is what h5py would.

    Arrays that are not stored as `create_array` stores them are read by h5py.
    """

    def __init__(self, array: Any) -> None:
        """Rows of an open HDF5 dataset, whose file must stay where it is."""
        self.array = array
        self.shape, self.dtype = tuple(array.shape), array.dtype
        self._descriptor = -1
        self._seen_whole: set[int] = set()
        if _is_plain(array):
            self._descriptor = os.open(array.file.filename, os.O_RDONLY)
            weakref.finalize(self, os.close, self._descriptor)

    def __len__(self) -> int:
        """How many rows there are."""
        return self.shape[0]

    def __getitem__(self, row: int) -> np.ndarray:
        """One row; OSError where its bytes are not those that were written."""
        place = None if self._descriptor < 0 else self._place(row)
        if place is None:
            return self.array[row]
        size = self.dtype.itemsize * math.prod(self.shape[1:])
        stored = np.empty(size + CHECKSUM_BYTES, np.uint8)
        values, checksum = stored[:size], stored[size:].view("<u4")
        whole = _read_into(stored, self._descriptor, place)
        if not whole or int(checksum[0]) != fletcher32(values):
            raise OSError(
                f"{self.array.file.filename}: row {row} of {self.array.name} is damaged;"
                " delete the file and run its stage again"
            )
        return values.view(self.dtype).reshape(self.shape[1:])

    def lazily(self, row: int) -> "np.ndarray | LargeRow":
        """One row; a large one that is stored plainly is read when its parts are asked for. Its sum
        is that of all of it, so it is read whole the first time: OSError as for any row.
        """
        place = None if self._descriptor < 0 else self._place(row)
        if place is None or self.dtype.itemsize * math.prod(self.shape[1:]) <= LARGE_BYTES:
            return self[row]
        if row not in self._seen_whole:
            _ = self[row]
            self._seen_whole.add(row)
        return LargeRow(self, row, place)

    def read_lines(self, place: int, first: int, last: int) -> np.ndarray:
        """Of a row that begins at a place of the file, lines `first` … `last` - 1 of its first
        axis.
        """
        line = self.dtype.itemsize * math.prod(self.shape[2:])
        values = np.empty((last - first) * line, np.uint8)
        if not _read_into(values, self._descriptor, place + first * line):
            raise OSError(f"{self.array.file.filename}: cut off; delete it and run its stage again")
        return values.view(self.dtype).reshape(last - first, *self.shape[2:])

    def _place(self, row: int) -> int | None:
        """Where a row's chunk begins in the file; None where it was never written."""
        index = range(len(self))[row]
        found = self.array.id.get_chunk_info_by_coord((index, *[0] * (len(self.shape) - 1)))
        return found.byte_offset


class LargeRow:
    """A row in its file: a window of its first two axes reads the lines that it lies in."""

    def __init__(self, rows: StoredRows, row: int, place: int) -> None:
        """The row of an array whose bytes begin at a place of its file."""
        self._rows, self._row, self._place = rows, row, place
        self.shape = rows.shape[1:]

    def __len__(self) -> int:
        """How many lines it has."""
        return self.shape[0]

    def __getitem__(self, window: tuple[slice, slice]) -> np.ndarray:
        """A window, without steps."""
        down, across = window
        first, last, _ = down.indices(self.shape[0])
        return self._rows.read_lines(self._place, first, max(first, last))[:, across]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of it."""
        return np.asarray(self._rows[self._row], dtype)


def lazily(rows: Any, row: int) -> Any:
    """A row of an array of any kind, or what reads its parts: `np.asarray` gives all of it."""
    return rows.lazily(row) if isinstance(rows, StoredRows) else rows[row]


def fletcher32(data: np.ndarray) -> int:
    """The sum that HDF5's filter of this name writes behind a chunk of bytes."""
    even = len(data) // 2 * 2
    from adclick.run.checksum_kernel import fletcher32_of_words

    last = int(data[even]) << 8 if len(data) > even else -1
    return int(fletcher32_of_words(data[:even].view(np.uint16), last))


def _is_plain(array: Any) -> bool:
    """Whether a chunk is one row and its sum, and nothing else is done to it."""
    shape = tuple(array.shape)
    listed = array.id.get_create_plist()
    filters = [listed.get_filter(index)[0] for index in range(listed.get_nfilters())]
    return (
        len(shape) > 1
        and array.chunks == (1, *shape[1:])
        and filters == [FLETCHER32]
        and array.dtype.isnative
        and array.file.driver == "sec2"
        and array.file.mode == "r"
    )


def _read_into(buffer: np.ndarray, descriptor: int, place: int) -> bool:
    """Whether the file had as many bytes from `place` on as the buffer takes."""
    done = 0
    while done < len(buffer):
        read = os.preadv(descriptor, [buffer.data[done:]], place + done)
        if not read:
            return False
        done += read
    return True
