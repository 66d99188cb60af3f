"""What there are several kinds of, a file each: peers, layouts of data sets.

A kind is added by its file. The plan knows it by the file's name; the stage that works with it
loads it by that name, and the file's fingerprint is one of the stage's settings, so that an edit of
one kind makes no result of another stale.
"""

from importlib import import_module
from types import ModuleType

from adclick.run.provenance import PACKAGE_FOLDER


def kinds_of(room: str) -> list[str]:
    """The names of the files in a folder of this package (`clicks/peers`), sorted."""
    files = (PACKAGE_FOLDER / room).glob("*.py")
    return sorted(path.stem for path in files if not path.stem.startswith("_"))


def module_of(room: str, kind: str) -> str:
    """The dotted name of a kind's file."""
    return f"adclick.{room.replace('/', '.')}.{kind}"


def load_kind(room: str, kind: str) -> ModuleType:
    """A kind's file, imported."""
    return import_module(module_of(room, kind))
