"""What there are several kinds of, a file each: peers, layouts of data sets.

A kind is added by its file. The plan knows it by the file's name; the stage that works with it
loads it by that name, and the file's fingerprint is one of the stage's settings, so that an edit of
one kind makes no result of another stale.
"""

import ast
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

from adclick.run.provenance import PACKAGE_FOLDER


def kinds_of(room: str) -> list[str]:
    """The names of the files in a folder of this package (`models/peers`), sorted."""
    files = (PACKAGE_FOLDER / room).glob("*.py")
    return sorted(path.stem for path in files if not path.stem.startswith("_"))


def module_of(room: str, kind: str) -> str:
    """The dotted name of a kind's file."""
    return f"adclick.{room.replace('/', '.')}.{kind}"


def load_kind(room: str, kind: str) -> ModuleType:
    """A kind's file, imported."""
    return import_module(module_of(room, kind))


@cache
def settings_of(room: str, kind: str, function: str) -> dict[str, Any]:
    """The settings of a kind with their defaults: the keywords of a function of its file that have
    a plain value there. The file is read, not run, so that its libraries may be absent.
    """
    return {
        name: ast.literal_eval(default)
        for name, default in _keywords(room, kind, function).items()
        if default is not None
    }


@cache
def wanted_by(room: str, kind: str, function: str) -> list[str]:
    """What a kind asks for: the keywords of a function of its file that have no value there."""
    keywords = _keywords(room, kind, function)
    return [name for name, default in keywords.items() if default is None]


def _keywords(room: str, kind: str, function: str) -> dict[str, ast.expr | None]:
    text = (PACKAGE_FOLDER / room / f"{kind}.py").read_text(encoding="utf-8")
    (found,) = (
        one
        for one in ast.parse(text).body
        if isinstance(one, ast.FunctionDef) and one.name == function
    )
    pairs = zip(found.args.kwonlyargs, found.args.kw_defaults, strict=True)
    return {keyword.arg: default for keyword, default in pairs}
