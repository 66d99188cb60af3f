"""Rows of stored arrays, read by many threads at once.

HDF5 reads one row at a time, whoever asks, and sums up bytes slowly. A chunk of an artifact is a
row as it lies in memory, or a band of lines of a large one, and behind it its sum: here it is read
straight from the file, in a third of the time, and by as many threads as ask.
"""

import math
import os
import weakref
from typing import Any, Protocol, runtime_checkable

import numpy as np

CHECKSUM_BYTES = 4
LARGE_BYTES = 2**24  # of a larger row only what is asked for is read
FLETCHER32 = 3  # HDF5's number of this filter


@runtime_checkable
class Windowed(Protocol):
    """What has windows of its first two axes, without having to be in memory."""

    def __getitem__(self, window: tuple[slice, slice], /) -> np.ndarray:
        """A window, without steps."""
        ...


class StoredRows:
    """An array of an artifact, row by row, from any thread; what it answers is what h5py would.

    Arrays that are not stored as `create_array` stores them are read by h5py.
    """

    def __init__(self, array: Any) -> None:
        """Rows of an open HDF5 dataset, whose file must stay where it is."""
        self.array = array
        self.shape, self.dtype = tuple(array.shape), array.dtype
        self._descriptor = -1
        self._intact: set[tuple[int, int]] = set()  # bands whose sum was right, by row and line
        if _is_plain(array):
            self._descriptor = os.open(array.file.filename, os.O_RDONLY)
            weakref.finalize(self, os.close, self._descriptor)
            self._band = int(array.chunks[1])
            self._line_bytes = self.dtype.itemsize * math.prod(self.shape[2:])

    def __len__(self) -> int:
        """How many rows there are."""
        return self.shape[0]

    def __getitem__(self, row: int) -> np.ndarray:
        """One row; OSError where its bytes are not those that were written."""
        return self.read_lines(row, 0, self.shape[1]) if len(self.shape) > 1 else self.array[row]

    def lazily(self, row: int) -> "np.ndarray | LargeRow":
        """One row; a large one is read when its parts are asked for."""
        large = self.dtype.itemsize * math.prod(self.shape[1:]) > LARGE_BYTES
        return LargeRow(self, row) if large else self[row]

    def read_lines(self, row: int, first: int, last: int) -> np.ndarray:
        """Of a row lines `first` … `last` - 1 of its first axis.

        Where a band's sum was looked at before, no more of it is read than that; OSError as for a
        row.
        """
        index = range(len(self))[row]
        if not self._is_written(index, first, last):
            return self.array[row, first:last]
        values = np.empty((last - first) * self._line_bytes, np.uint8)
        for start in range(first - first % self._band, last, self._band):
            top, bottom = max(first, start), min(last, start + self._band)
            into = values[(top - first) * self._line_bytes : (bottom - first) * self._line_bytes]
            self._read_band(index, start, top, into)
        return values.view(self.dtype).reshape(last - first, *self.shape[2:])

    def _read_band(self, row: int, start: int, top: int, into: np.ndarray) -> None:
        """Lines from `top` on of the band that starts at a line, as many as there is room for."""
        place, skipped = self._place(row, start), (top - start) * self._line_bytes
        size = self._band * self._line_bytes
        if (row, start) in self._intact and len(into) < size:
            intact = _read_into([into], self._descriptor, place + skipped)
        else:
            stored = into if len(into) == size else np.empty(size, np.uint8)
            checksum = np.empty(CHECKSUM_BYTES, np.uint8)
            whole = _read_into([stored, checksum], self._descriptor, place)
            intact = whole and int(checksum.view("<u4")[0]) == fletcher32(stored)
            if stored is not into:
                into[:] = stored[skipped : skipped + len(into)]
        if not intact:
            raise OSError(
                f"{self.array.file.filename}: row {row} of {self.array.name} is damaged;"
                " delete the file and run its stage again"
            )
        self._intact.add((row, start))

    def _is_written(self, row: int, first: int, last: int) -> bool:
        """Whether lines can be read past HDF5: what was never written has no place in the file."""
        return self._descriptor >= 0 and all(
            self._place(row, start) is not None
            for start in range(first - first % self._band, last, self._band)
        )

    def _place(self, row: int, line: int) -> Any:
        """Where the chunk that begins with a line of a row begins in the file."""
        beyond = [0] * (len(self.shape) - 2)
        return self.array.id.get_chunk_info_by_coord((row, line, *beyond)).byte_offset


class LargeRow:
    """A row in its file: a window of its first two axes reads the lines that it lies in."""

    def __init__(self, rows: StoredRows, row: int) -> None:
        """The row of an array."""
        self._rows, self._row = rows, row
        self.shape = rows.shape[1:]

    def __len__(self) -> int:
        """How many lines it has."""
        return self.shape[0]

    def __getitem__(self, window: tuple[slice, slice]) -> np.ndarray:
        """A window, without steps."""
        down, across = window
        first, last, _ = down.indices(self.shape[0])
        return self._rows.read_lines(self._row, first, max(first, last))[:, across]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of it."""
        return np.asarray(self._rows[self._row], dtype)


def lazily(rows: Any, row: int) -> Any:
    """A row of an array of any kind, or what reads its parts: `np.asarray` gives all of it."""
    own = getattr(rows, "lazily", None)
    return rows[row] if own is None else own(row)


def fletcher32(data: np.ndarray) -> int:
    """The sum that HDF5's filter of this name writes behind a chunk of bytes."""
    even = len(data) // 2 * 2
    from adclick.run.checksum_kernel import fletcher32_of_words

    last = int(data[even]) << 8 if len(data) > even else -1
    return int(fletcher32_of_words(data[:even].view(np.uint16), last))


def _is_plain(array: Any) -> bool:
    """Whether a chunk is whole lines of one row and their sum, and nothing else is done to it."""
    shape = tuple(array.shape)
    listed = array.id.get_create_plist()
    filters = [listed.get_filter(index)[0] for index in range(listed.get_nfilters())]
    return (
        len(shape) > 1
        and array.chunks is not None
        and (array.chunks[0], *array.chunks[2:]) == (1, *shape[2:])
        and filters == [FLETCHER32]
        and array.dtype.isnative
        and array.file.driver == "sec2"
        and array.file.mode == "r"
    )


def _read_into(buffers: list[np.ndarray], descriptor: int, place: int) -> bool:
    """Whether the file had as many bytes from `place` on as the buffers take, one by one."""
    for buffer in buffers:
        done = 0
        while done < len(buffer):
            read = os.preadv(descriptor, [buffer.data[done:]], place + done)
            if not read:
                return False
            done += read
        place += len(buffer)
    return True
