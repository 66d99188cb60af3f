"""Long results made in parts, so that a killed job goes on instead of starting from nothing."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from adclick.run.artifacts import ArraySpec, create_arrays, image_ids, open_arrays, text_of
from adclick.run.errors import InputError
from adclick.run.kept import spares_disk

IMAGES = 32  # a part: what a killed job loses at most

Arrays = dict[str, np.ndarray]
Compute = Callable[[int, int], Iterator[Arrays]]


@contextmanager
def made_in_parts(
    path: Path,
    *,
    ids: Sequence[str],
    specs: Mapping[str, ArraySpec],
    stamp: Mapping[str, Any],
    compute: Compute,
) -> Iterator[Iterator[Arrays]]:
    """Every image's arrays in the order of `ids`, as `compute(start, stop)` yields them.

    They are kept beside `path` while the block runs, `IMAGES` of them a file; a job that was killed
    before finds them and computes only what lacks. A part counts only when it is finished, of the
    same stamp and images, and undamaged; anything else is computed anew. The arrays that come out
    are always those of the file, so a job that goes on, on the same kind of machine, makes the same
    bytes as one that ran through. The parts vanish when the block ends well, or with an InputError,
    which would come again; anything else leaves them.

    Meanwhile they take as much disk as the arrays themselves; where disk is spared, each goes as
    soon as it was read, and a killed job begins anew.
    """
    folder = path.with_name(f".{path.name}.parts")
    try:
        yield _arrays(folder, ids, specs, stamp, compute)
    except InputError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _arrays(
    folder: Path,
    ids: Sequence[str],
    specs: Mapping[str, ArraySpec],
    stamp: Mapping[str, Any],
    compute: Compute,
) -> Iterator[Arrays]:
    for start in range(0, len(ids), IMAGES):
        part, chosen = folder / f"{start}.h5", list(ids[start : start + IMAGES])
        if not _is_whole(part, chosen, specs, stamp):
            with create_arrays(part, image_ids=chosen, specs=specs, stamp=stamp) as file:
                made = 0
                for arrays in compute(start, start + len(chosen)):
                    for name in specs:
                        file[name][made] = arrays[name]
                    made += 1
                    del arrays  # before the next, as large, are computed
                if made < len(chosen):
                    raise ValueError(f"arrays of {made} images are computed, not of {len(chosen)}")
        with open_arrays(part) as file:
            for index in range(len(chosen)):
                yield {name: file[name][index] for name in specs}
        if spares_disk():
            part.unlink()


def _is_whole(
    part: Path, ids: list[str], specs: Mapping[str, ArraySpec], stamp: Mapping[str, Any]
) -> bool:
    """Whether a part is there, of these images and stamp, with every checksum right."""
    try:
        with open_arrays(part) as file:
            if image_ids(file) != ids or json.loads(text_of(file, "stamp") or "null") != stamp:
                return False
            for name in specs:
                for index in range(len(ids)):
                    file[name][index]
    except (InputError, OSError, KeyError, ValueError, RuntimeError):
        return False
    return True
