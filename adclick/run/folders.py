"""Folders as everything walks them: hidden names left out, links followed, no folder in itself.

Names may be of any bytes; `shown` writes them so that every file and terminal takes them.
"""

import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

NAMED = 5
LONGEST_NAME = 255  # bytes, on the file systems of Linux
LONGEST_TYPE = 100
FILE, FOLDER = "files", "folders"
DANGLING, LOOP = "links to nothing", "folders that lead back to themselves"
AGAIN = "folders reached through another link"
CLOSED, SPECIAL = "not readable", "neither files nor folders"
_Place = tuple[int, int]  # device and inode


@dataclass(frozen=True)
class Walk:
    """The files below a folder by name; and what is there and leads to none, by what is wrong."""

    files: list[Path] = field(default_factory=list)
    lost: dict[str, list[Path]] = field(default_factory=dict)


class _Visit(NamedTuple):
    """A folder that is to be looked into, and whether a link led to it or to one above it."""

    folder: Path
    above: tuple[_Place, ...]
    linked: bool


def walk(folder: Path, *, apart_from: Path | None = None) -> Walk:
    """All files below a folder. Left out are names that start with a dot, and what lies below
    `apart_from`. Links are followed, but not into a folder that they lie in, and each folder is
    visited through links once at most: folders that link to each other have endless paths.
    """
    found = Walk()
    outside = None if apart_from is None else apart_from.resolve()
    through_links: set[_Place] = set()
    waiting = [_Visit(folder, (), linked=False)]
    while waiting:
        visit = waiting.pop()
        if outside is None or visit.folder.resolve() != outside:
            waiting += reversed(_folders_in(visit, found, through_links))
    for paths in (found.files, *found.lost.values()):
        paths.sort()
    return found


def _folders_in(visit: _Visit, found: Walk, through_links: set[_Place]) -> list[_Visit]:
    """The folders in a folder, by name; its files, and what leads to none, are added to `found`."""
    folder, above, linked = visit
    try:
        state = folder.stat()
        with os.scandir(folder) as entries:
            inside = sorted((entry.name, _kind(entry), entry.is_symlink()) for entry in entries)
    except OSError:
        found.lost.setdefault(CLOSED, []).append(folder)
        return []
    place = (state.st_dev, state.st_ino)
    if place in above or (linked and place in through_links):
        found.lost.setdefault(LOOP if place in above else AGAIN, []).append(folder)
        return []
    if linked:
        through_links.add(place)
    folders = []
    for name, kind, is_link in inside:
        path = folder / name
        if name.startswith("."):
            continue
        if kind == FOLDER:
            folders.append(_Visit(path, (*above, place), linked or is_link))
        elif kind == FILE:
            found.files.append(path)
        else:
            found.lost.setdefault(kind, []).append(path)
    return folders


def _kind(entry: os.DirEntry[str]) -> str:
    try:
        if entry.is_dir():
            return FOLDER
        return FILE if entry.is_file() else DANGLING if entry.is_symlink() else SPECIAL
    except OSError:
        return DANGLING if entry.is_symlink() else CLOSED  # also one that leads back to itself


def passed_over(folder: Path, lost: Mapping[str, Sequence[Path]]) -> Iterator[str]:
    """A line for each kind of what is passed over: how much, and the first few by name."""
    for line in named(folder, lost):
        yield f"{shown(folder)}: passed over, {line}"


def named(folder: Path, lost: Mapping[str, Sequence[Path]]) -> Iterator[str]:
    """The same without the folder."""
    for kind, paths in lost.items():
        if paths:
            names = [shown(path.relative_to(folder)) for path in paths[:NAMED]]
            more = f" and {len(paths) - NAMED} more" if paths[NAMED:] else ""
            yield f"{kind}: {', '.join(names)}{more}"


def ends_in(path: str, end: str) -> bool:
    """Whether a path is `end`, or that below some folders."""
    return path == end or path.endswith(f"/{end}")


def shown(name: str | Path) -> str:
    """A name as it is printed and written, on one line: bytes that are no UTF-8, and characters
    that cannot be printed, become text like `\\xe4` and `\\n`.
    """
    return "".join(one if one.isprintable() else _escaped(one) for one in str(name))


def writable(name: str) -> bool:
    """Whether text files and tables can hold a name: it is UTF-8, without control characters."""
    return not any(unicodedata.category(one) in ("Cs", "Cc") for one in name)


def _escaped(character: str) -> str:
    """In Python's names a byte that is no UTF-8 is a character from U+DC80 on."""
    byte = ord(character) - 0xDC00
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else ascii(character)[1:-1]


def fault_of_type(name: str) -> str | None:
    """What keeps a name from being that of a kind of defect, or None: it is a folder's name in data
    sets and exports, a key in prompt banks, and a word in the annotation tool.
    """
    if not name.strip() or name != name.strip():
        return "is empty, or begins or ends with a space"
    if name.startswith((".", "-")):
        return f"begins with {name[0]}"
    if any(mark in name for mark in '/\\:"<>|?*') or not writable(name):
        return 'has one of / \\ : " < > | ? * or a control character, or is no UTF-8'
    if len(name.encode()) > LONGEST_TYPE:
        return f"is longer than {LONGEST_TYPE} bytes"
    return None
