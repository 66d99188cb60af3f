"""What was computed of a large picture lies in files, and goes from process to process as their
names: it is several hundred megabytes, of which a click needs a few.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

SPOOLED_BYTES = 32_000_000  # an array of more goes to a file


@contextlib.contextmanager
def spool_in(folder: Path) -> Iterator[Path]:
    """A folder for them in another, empty at first and gone at the end."""
    spool = folder / "spool"
    shutil.rmtree(spool, ignore_errors=True)
    spool.mkdir(parents=True)
    try:
        yield spool
    finally:
        shutil.rmtree(spool, ignore_errors=True)


@dataclass(frozen=True)
class Spooled:
    """An array in a file of its own."""

    path: Path
    nbytes: int

    def opened(self) -> np.ndarray:
        """The array, of which nothing is read before it is needed."""
        return np.load(self.path, mmap_mode="r")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The array in memory."""
        return np.array(self.opened(), dtype=dtype)


def spooled(encoding: Any, folder: Path | None) -> Any:
    """An encoding whose large arrays lie in files of a folder; as it is without one."""
    if folder is None:
        return encoding
    arrays = {one.name: getattr(encoding, one.name) for one in fields(encoding)}
    large = {
        name: _written(array, folder)
        for name, array in arrays.items()
        if isinstance(array, np.ndarray) and array.nbytes > SPOOLED_BYTES
    }
    return replace(encoding, **large) if large else encoding


def _written(array: np.ndarray, folder: Path) -> Spooled:
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".npy", delete=False) as file:
        try:
            np.save(file, array)
        except OSError:  # a full disk: half of it would fill it further
            Path(file.name).unlink()
            raise
    return Spooled(Path(file.name), array.nbytes)


def unspooled(encoding: Any) -> Any:
    """The encoding with all its arrays, those in files opened."""
    large = {name: one.opened() for name, one in vars(encoding).items() if isinstance(one, Spooled)}
    return replace(encoding, **large) if large else encoding


def spooled_bytes(encoding: Any) -> int:
    """How much of the disk an encoding takes."""
    return sum(one.nbytes for one in vars(encoding).values() if isinstance(one, Spooled))


def discard(encoding: Any) -> None:
    """Delete an encoding's files; where they are in use they stay readable until they are not."""
    for one in vars(encoding).values():
        if isinstance(one, Spooled):
            with contextlib.suppress(OSError):
                one.path.unlink()
