"""Results on disk: written under a temporary name and renamed, stamped, and checked when opened."""

import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adclick.run.errors import InputError
from adclick.run.folders import LONGEST_NAME, shown
from adclick.run.provenance import canonical_json, digest, file_sha256

if TYPE_CHECKING:
    import pandas as pd


TRAINING = "training"
LARGE_ENTRY, LARGE_CHUNK = 2**25, 2**23  # bytes: above the first, chunks are of the second
POINTER = b"version https://git-lfs"
# An h5py.File or Group whose entries are arrays, which its own types cannot say.
ArrayFile = Any


@dataclass(frozen=True)
class ArraySpec:
    """Shape and type of one image's part of an array, without the image axis."""

    shape: tuple[int, ...]
    dtype: str


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, else vanishes.

    Its name is always the same, so that what a killed job leaves is overwritten by the next.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(_part_name(path.name))
    try:
        yield temporary
        _synchronise(temporary)
        temporary.replace(path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def _part_name(name: str) -> str:
    """What a file is called while it is written; short where `name` is as long as names may be."""
    part = f".{name}.part"
    return part if len(os.fsencode(part)) <= LONGEST_NAME else f".{digest(shown(name))}.part"


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def create_arrays(
    path: Path,
    *,
    image_ids: Sequence[str],
    specs: Mapping[str, ArraySpec],
    stamp: Mapping[str, Any],
) -> Iterator[ArrayFile]:
    """A new HDF5 file with one array per spec, first axis the image, one chunk an image.

    Chunks carry a Fletcher-32 checksum, so that a flipped bit raises when it is read. Image ids lie
    in `image_ids`, the stamp in an attribute. The `complete` attribute is written last; the file
    appears under its name only when the block ends without an exception.
    """
    import h5py

    with replacing(path) as temporary, h5py.File(temporary, "w", libver="latest") as file:
        file.create_dataset("image_ids", data=list(image_ids), dtype=h5py.string_dtype())
        for name, spec in specs.items():
            create_array(file, name, (len(image_ids), *spec.shape), spec.dtype)
        file.attrs["stamp"] = canonical_json(stamp)
        yield file
        file.attrs["complete"] = True


def create_array(group: ArrayFile, name: str, shape: tuple[int, ...], dtype: str) -> Any:
    """An array whose chunk is one entry of the first axis, or so many rows of a large one,
    checksummed; empty arrays are stored whole.
    """
    if 0 in shape:
        return group.create_dataset(name, shape=shape, dtype=dtype)
    chunk = (1, *shape[1:])
    if len(shape) > 2 and math.prod(chunk) * np.dtype(dtype).itemsize > LARGE_ENTRY:
        row = math.prod(shape[2:]) * np.dtype(dtype).itemsize
        chunk = (1, min(shape[1], max(1, LARGE_CHUNK // row)), *shape[2:])
    return group.create_dataset(name, shape=shape, dtype=dtype, chunks=chunk, fletcher32=True)


def write_names(file: ArrayFile, types: Sequence[str], sources: Sequence[str]) -> None:
    """The defect type of every image, and the id of the image whose pixels it holds."""
    import h5py

    for name, values in (("types", types), ("source_ids", sources)):
        file.create_dataset(name, data=list(values), dtype=h5py.string_dtype())


def open_arrays(path: Path) -> ArrayFile:
    """An artifact opened for reading, without a lock; InputError when absent or unfinished."""
    import h5py

    try:
        file = h5py.File(path, "r", locking=False)
    except FileNotFoundError:
        raise InputError(f"{path}: not found; run the stage that makes it") from None
    except OSError as error:
        raise InputError(
            f"{path}: not a readable HDF5 file ({error}); delete it and run its stage again"
        ) from None
    if not file.attrs.get("complete", False):
        file.close()
        raise InputError(f"{path}: unfinished; delete it and run its stage again")
    return file


def image_ids(file: ArrayFile) -> list[str]:
    """The ids along the image axis of an artifact's arrays."""
    return [value.decode() for value in file["image_ids"][:]]


def write_json(path: Path, payload: Mapping[str, Any], *, stamp: Mapping[str, Any]) -> None:
    """Write a JSON result with its stamp under the key `stamp`; floats keep all their digits."""
    write_text(path, json_text(payload, stamp=stamp))


def json_text(payload: Mapping[str, Any], *, stamp: Mapping[str, Any]) -> str:
    """What `write_json` writes."""
    return json.dumps({**payload, "stamp": stamp}, indent=1, sort_keys=True, default=_plain) + "\n"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON result; InputError when it is absent or not JSON."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: not found; run the stage that makes it") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}); delete it and run its stage again") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a JSON object; delete it and run its stage again")
    return content


def write_csv(path: Path, frame: "pd.DataFrame", *, stamp: Mapping[str, Any]) -> None:
    """Write a table as CSV and its stamp beside it as `<name>.stamp.json`."""
    write_text(
        _stamp_path(path),
        canonical_json({**stamp, "sha256": digest(frame.to_csv(index=False))}) + "\n",
    )
    write_text(path, frame.to_csv(index=False, lineterminator="\n"))


def read_csv(path: Path) -> "pd.DataFrame":
    """A table as written by `write_csv`, every cell text, empty cells as empty text."""
    import pandas as pd

    if not path.is_file():
        raise InputError(f"{path}: not found; run the stage that makes it")
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def input_digest(path: Path, *, training: bool = False) -> str:
    """What stands for an input in a stamp: the digest of its own stamp, else its content's.
    InputError when it cannot be read.

    With `training` it is that of what trainings see of it: where an artifact also holds pictures
    that are for testing alone, its stamp has a digest of its own for the others.
    """
    try:
        stamp = read_stamp(path)
        if stamp is None:
            return file_sha256(path)[:16]
        return stamp[TRAINING] if training and TRAINING in stamp else digest(stamp)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"{path}: cannot be read ({reason}); check the path") from None


def read_stamp(path: Path) -> dict[str, Any] | None:
    """The stamp that an artifact carries; None for a file that carries none. InputError for a
    damaged one.
    """
    if path.suffix == ".h5":
        with open_arrays(path) as file:
            return json.loads(str(file.attrs["stamp"]))
    if path.suffix == ".json":
        return read_json(path).get("stamp")
    if path.suffix == ".safetensors":
        with open_tensors(path, framework="numpy") as file:
            text = (file.metadata() or {}).get("stamp")
        return json.loads(text) if text else None
    beside = _stamp_path(path)
    return read_json(beside) if beside.is_file() else None


def open_tensors(path: Path, *, framework: str) -> Any:
    """A safetensors file opened for reading; InputError when it is absent, damaged, or only stands
    for one.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"{path}: no such model file; train the model or give another path")
    refuse_pointer(path)
    try:
        return safe_open(path, framework=framework)  # pyright: ignore[reportUnknownVariableType]
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path}: not a readable safetensors file ({error}); fetch or make it again"
        ) from None


def refuse_pointer(path: Path) -> None:
    """InputError for a file in whose place git-lfs has left a note of where it is."""
    with path.open("rb") as file:
        if file.read(len(POINTER)) == POINTER:
            raise InputError(f"{path}: a pointer of git-lfs, not the file; run `git lfs pull`")


def _stamp_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.stamp.json")


def _synchronise(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")


@contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """A folder that takes its name when the block ends well, else vanishes."""
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".{output.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        temporary.rename(output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
