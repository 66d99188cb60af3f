"""Results on disk: written under a temporary name and renamed, stamped, and checked when opened."""

import errno
import hashlib
import json
import math
import os
import re
import shutil
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from adclick.run.errors import InputError
from adclick.run.folders import LONGEST_NAME, shown
from adclick.run.provenance import canonical_json, digest, file_sha256

if TYPE_CHECKING:
    import pandas as pd


TRAINING = "training"
LARGE_ENTRY, LARGE_CHUNK = 2**25, 2**23  # bytes: above the first, chunks are of the second
CHECKSUM = "checksum"
NO_CHECKSUM = "0" * 64
CHECKED = (".h5", ".csv", ".json", ".safetensors")  # the kinds of results that carry a checksum
MAKE_AGAIN = "delete it and run its stage again"
DAMAGED = f"damaged (its checksum is another); {MAKE_AGAIN}"
# What is wrong with a disk, not with what is written.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)
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

    Its name is always the same, so that what a killed job leaves is overwritten by the next. What
    is wrong with the disk is raised as an OSError that names `path`.
    """
    temporary = path.with_name(_part_name(path.name))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _synchronise(temporary)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        number = disk_error(error)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error
    finally:
        with suppress(FileNotFoundError, NotADirectoryError):
            temporary.unlink()


def disk_error(error: BaseException) -> int | None:
    """Which of `DISK_ERRORS` an exception is, or one that it came of, also where HDF5 has only
    written it down; None where it is none, or where a file of another stage could not be read.
    """
    if "file read failed" in str(error):
        return None
    said = re.search(r"errno = (\d+)", str(error))
    number = int(said[1]) if said else getattr(error, "errno", None)
    if number in DISK_ERRORS:
        return number
    return None if error.__context__ is None else disk_error(error.__context__)


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

    Chunks carry a Fletcher-32 checksum, so that a flipped bit raises when it is read; texts and
    attributes have one together. Image ids lie in `image_ids`, the stamp in an attribute. The
    `complete` attribute is written last; the file appears under its name only when the block ends
    without an exception.
    """
    with replacing(path) as temporary, _new_file(temporary) as file:
        write_texts(file, "image_ids", image_ids)
        for name, spec in specs.items():
            create_array(file, name, (len(image_ids), *spec.shape), spec.dtype)
        set_text(file, "stamp", canonical_json(stamp))
        yield file
        set_text(file, CHECKSUM, _unguarded(file))
        file.attrs["complete"] = True


@contextmanager
def _new_file(path: Path) -> Iterator[ArrayFile]:
    """A new HDF5 file that writes every chunk at once, and the rest when the block ends.

    What it kept in memory would be written when an array is let go of, where h5py drops errors: of
    a full disk nothing would be heard, and zeros be read. For the same reason there is
    `write_values` for what has no chunks.
    """
    import h5py

    with h5py.File(path, "w", libver="latest", rdcc_nbytes=0) as file:
        try:
            yield file
            file.flush()
        except (OSError, RuntimeError):
            os.truncate(path, 0)  # closing takes some room, and crashes where there is none
            raise


def _unguarded(file: ArrayFile) -> str:
    """A digest of what HDF5 itself does not guard: attributes, and arrays without a checksum."""
    names: list[str] = []
    file.visit(names.append)
    parts = [(name, file[name]) for name in sorted(names)]
    texts = [
        [name, str(one.dtype), list(one.shape), str(one[()].tolist())]
        for name, one in parts
        if hasattr(one, "fletcher32") and not one.fletcher32
    ]
    attributes = {name: _attributes(one) for name, one in [("", file), *parts] if len(one.attrs)}
    return digest([texts, attributes])


def _attributes(part: ArrayFile) -> dict[str, str]:
    said = {name: str(np.asarray(value).tolist()) for name, value in part.attrs.items()}
    return {name: said[name] for name in said.keys() - {CHECKSUM, "complete"}}


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
    write_texts(file, "types", types)
    write_texts(file, "source_ids", sources)


def write_texts(group: ArrayFile, name: str, values: Sequence[str]) -> None:
    """An array of texts, each as long as the longest.

    HDF5 keeps texts of any length in a heap that it does not guard, and a flipped bit in that can
    keep it busy for ever.
    """
    import h5py

    encoded = [value.encode() for value in values]
    longest = max((len(value) for value in encoded), default=1) or 1
    kind = h5py.string_dtype("utf-8", longest)
    write_values(group, name, np.array(encoded, kind))


def write_values(group: ArrayFile, name: str, values: np.ndarray) -> None:
    """A small array in one piece, written at once."""
    group.create_dataset(name, data=values).flush()


def set_text(file: ArrayFile, name: str, text: str) -> None:
    """Write a text as an attribute, of its own length for the same reason."""
    import h5py

    encoded = text.encode()
    file.attrs.create(name, encoded, dtype=h5py.string_dtype("utf-8", len(encoded) or 1))


def text_of(file: ArrayFile, name: str) -> str | None:
    """An attribute that is a text, or None without it."""
    value = file.attrs.get(name)
    return value.decode() if isinstance(value, bytes) else value


def open_arrays(path: Path) -> ArrayFile:
    """An artifact opened for reading, without a lock; InputError when absent, unfinished, or
    damaged in its texts and attributes.
    """
    import h5py

    try:
        file = h5py.File(path, "r", locking=False)
    except FileNotFoundError:
        raise InputError(f"{path}: not found; run the stage that makes it") from None
    except OSError as error:
        raise InputError(f"{path}: not a readable HDF5 file ({error}); {MAKE_AGAIN}") from None
    fault = _fault(file)
    if fault is not None:
        file.close()
        raise InputError(f"{path}: {fault}")
    return file


def _fault(file: ArrayFile) -> str | None:
    """What is wrong with an open file, apart from its checksummed arrays; files of before have no
    checksum of the rest.
    """
    try:
        if not file.attrs.get("complete", False):
            return f"unfinished; {MAKE_AGAIN}"
        known = text_of(file, CHECKSUM)
        return DAMAGED if known is not None and known != _unguarded(file) else None
    except (OSError, RuntimeError, KeyError, ValueError):  # ValueError: no UTF-8
        return DAMAGED


def image_ids(file: ArrayFile) -> list[str]:
    """The ids along the image axis of an artifact's arrays."""
    return [value.decode() for value in file["image_ids"][:]]


def write_json(
    path: Path, payload: Mapping[str, Any], *, stamp: Mapping[str, Any], sealed: bool = True
) -> None:
    """Write a JSON result with its stamp under the key `stamp`, and, where it is `sealed`, its
    checksum; floats keep all their digits. What people may edit is not sealed.
    """
    write_text(path, json_text(payload, stamp=stamp, sealed=sealed))


def json_text(payload: Mapping[str, Any], *, stamp: Mapping[str, Any], sealed: bool = False) -> str:
    """What `write_json` writes."""
    content = json.loads(json.dumps({**payload, "stamp": stamp}, default=_plain))
    if sealed:
        content[CHECKSUM] = _json_sum(content)
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def _json_sum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON result without its checksum; InputError when it is absent, damaged or not JSON."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: not found; run the stage that makes it") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}); {MAKE_AGAIN}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a JSON object; {MAKE_AGAIN}")
    known = content.pop(CHECKSUM, None)
    if known is not None and known != _json_sum(content):
        raise InputError(f"{path}: {DAMAGED}")
    return content


def write_csv(path: Path, frame: "pd.DataFrame", *, stamp: Mapping[str, Any]) -> None:
    """Write a table as CSV and its stamp beside it as `<name>.stamp.json`."""
    write_text(
        _stamp_path(path),
        canonical_json({**stamp, "sha256": digest(frame.to_csv(index=False))}) + "\n",
    )
    write_text(path, frame.to_csv(index=False, lineterminator="\n"))


def read_csv(path: Path) -> "pd.DataFrame":
    """A table as written by `write_csv`, every cell text, empty cells as empty text; InputError
    when it is absent, or not as its stamp says.
    """
    import pandas as pd

    check_csv(path)
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def check_csv(path: Path) -> None:
    """InputError for a table that is absent, or not as the stamp beside it says."""
    if not path.is_file():
        raise InputError(f"{path}: not found; run the stage that makes it")
    known = (read_stamp(path) or {}).get("sha256")
    if known is not None and known != _text_digest(path):
        raise InputError(f"{path}: {DAMAGED}")


def _text_digest(path: Path) -> str | None:
    try:
        return digest(path.read_bytes().decode("utf-8"))
    except UnicodeDecodeError:
        return None


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
            return json.loads(text_of(file, "stamp") or "null")
    if path.suffix == ".json":
        return read_json(path).get("stamp")
    if path.suffix == ".safetensors":
        with open_tensors(path, framework="numpy") as file:
            text = (file.metadata() or {}).get("stamp")
        return json.loads(text) if text else None
    beside = _stamp_path(path)
    return read_json(beside) if beside.is_file() else None


def damage(path: Path) -> str | None:
    """What is wrong with a result, read whole, in a line that names it; None when nothing is, or
    when it is of a kind that has no checksum.
    """
    try:
        read_stamp(path)
        if path.suffix == ".csv":
            check_csv(path)
        if path.suffix == ".h5":
            with open_arrays(path) as file:
                file.visititems(lambda name, one: _read_through(path, name, one))
    except InputError as error:
        return str(error)
    return None


def _read_through(path: Path, name: str, one: Any) -> None:
    for index in range(len(one) if getattr(one, "chunks", None) else 0):
        try:
            one[index]
        except (OSError, RuntimeError):
            raise InputError(
                f"{path}: damaged (entry {index} of `{name}` cannot be read); {MAKE_AGAIN}"
            ) from None


def open_tensors(path: Path, *, framework: str) -> Any:
    """A safetensors file opened for reading; InputError when it is absent, damaged, or only stands
    for one.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"{path}: no such model file; train the model or give another path")
    refuse_pointer(path)
    try:
        file = safe_open(path, framework=framework)  # pyright: ignore[reportUnknownVariableType]
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path}: not a readable safetensors file ({error}); fetch or make it again"
        ) from None
    state = path.stat()
    if not _is_sound(path, state.st_size, state.st_mtime_ns):
        raise InputError(f"{path}: {DAMAGED}")
    return file


def seal_tensors(path: Path) -> None:
    """Sort the metadata in a safetensors file's header, the library's order being random, and write
    the file's checksum in place of the `NO_CHECKSUM` that they have.

    A header is JSON of a length that the file's first eight bytes give, padded with spaces at its
    end.
    """
    with path.open("r+b") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = _header_text(header)
        if len(text) > length:
            raise ValueError(
                f"{path}: safetensors header grew from {length} to {len(text)} bytes when sorted"
            )
        header["__metadata__"][CHECKSUM] = _sum_of(text, file)
        file.seek(8)
        file.write(_header_text(header).ljust(length))


@cache
def _is_sound(path: Path, size: int, modified_ns: int) -> bool:
    """Whether a safetensors file has the checksum that it says, or says none; a file of that size
    and time is read once.
    """
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        known = header.get("__metadata__", {}).get(CHECKSUM)
        if known is None:
            return True
        header["__metadata__"][CHECKSUM] = NO_CHECKSUM
        return known == _sum_of(_header_text(header), file)


def _header_text(header: Mapping[str, Any]) -> bytes:
    return json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()


def _sum_of(header: bytes, rest: IO[bytes]) -> str:
    """The sha256 of a header and of what is left of a file, in as many digits as `NO_CHECKSUM`."""
    found = hashlib.sha256(header)
    while part := rest.read(2**24):
        found.update(part)
    return found.hexdigest()


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
