"""Photographs that are dropped on a page, kept in the project's folder."""

import threading
from pathlib import Path

from adclick.data.images import IMAGE_SUFFIXES
from adclick.run.artifacts import replacing
from adclick.run.errors import InputError
from adclick.run.folders import shown, writable

_KEEPING = threading.Lock()


def keep_file(folder: Path, name: str, content: bytes) -> Path:
    """Keep a photograph in a folder, whole or not at all; gives its path.

    One of the same name and content is kept once; another of the same name gets a number.
    InputError for a name that no picture has.
    """
    plain = plain_name(name)
    with _KEEPING:
        path, number = folder / plain, 1
        while path.exists() and path.read_bytes() != content:
            number += 1
            path = folder / f"{Path(plain).stem}-{number}{Path(plain).suffix}"
        if not path.exists():
            with replacing(path) as temporary:
                temporary.write_bytes(content)
    return path


def plain_name(name: str) -> str:
    """A file's name without folders. InputError where it is no picture's."""
    plain = Path(name).name
    if not plain or plain.startswith(".") or not writable(plain):
        raise InputError(f"{shown(name)!r}: a name that no picture can have; rename it")
    if Path(plain).suffix.lower() not in IMAGE_SUFFIXES:
        raise InputError(f"{shown(plain)}: no picture ({', '.join(IMAGE_SUFFIXES)})")
    return plain
