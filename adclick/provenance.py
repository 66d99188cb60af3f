"""What determines a result: the code that a command can reach, its settings, inputs, seed and
libraries.
"""

import ast
import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGE_FOLDER = Path(__file__).parent
# Settings travel as `params`, so a new key for one stage must not touch the code stamp of another.
SKIPPED_MODULES = frozenset({"adclick.config", "adclick.provenance"})
# Libraries whose version can change numbers; a stage that never imports one is not bound to it.
# Import name -> distribution name.
PINNED_LIBRARIES = {
    "torch": "torch",
    "timm": "timm",
    "transformers": "transformers",
    "numpy": "numpy",
    "numba": "numba",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
}


def canonical_json(value: Any) -> str:
    """One text for equal values: sorted keys, no spaces; the form that is hashed everywhere."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(value: Any) -> str:
    """The first 16 hexadecimal digits of the sha256 of a JSON value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


def file_sha256(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache
def fingerprint(command: str) -> str:
    """A digest of all code of this package that `command` (a dotted module) can reach by import.

    Comments, docstrings and layout do not count, so only a change that can alter a result changes
    it. Follows static absolute imports from the module down, lazy ones included; skips `config` and
    `provenance`; adds the versions of the numeric libraries that the closure imports.
    """
    modules = _closure(command)
    sources = {name: _code_of(name) for name in sorted(modules)}
    libraries = sorted({root for name in modules for root in _foreign_imports(name)})
    return digest({"code": sources, "libraries": library_versions(libraries)})


def reachable_modules(command: str) -> frozenset[str]:
    """The modules of this package that `command` can import, itself included."""
    return frozenset(_closure(command))


def library_versions(libraries: list[str]) -> dict[str, str]:
    """Installed versions of those of the named import packages that can change numbers."""
    return {
        name: installed_version(PINNED_LIBRARIES[name])
        for name in libraries
        if name in PINNED_LIBRARIES
    }


def reachable_libraries(command: str) -> list[str]:
    """Import names of the numeric libraries that `command` can reach, sorted."""
    roots = {root for name in _closure(command) for root in _foreign_imports(name)}
    return sorted(root for root in roots if root in PINNED_LIBRARIES)


def make_stamp(
    command: str, *, settings: Mapping[str, Any], inputs: Mapping[str, Any], seed: int | None
) -> dict[str, Any]:
    """What determines a result of `command`, and nothing else: equal inputs give equal stamps.

    `inputs` maps an input's name to the digest of what made it (a list for several files).
    """
    return {
        "command": command,
        "code": fingerprint(command),
        "settings": dict(settings),
        "inputs": dict(inputs),
        "seed": seed,
        "libraries": library_versions(reachable_libraries(command)),
    }


def installed_version(distribution: str) -> str:
    """The version of an installed distribution, or `absent`."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "absent"


def _closure(command: str) -> set[str]:
    found: set[str] = set()
    waiting = [command]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(_own_imports(name) - found)
    return found


def _module_path(name: str) -> Path | None:
    base = PACKAGE_FOLDER.joinpath(*name.split(".")[1:])
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


@lru_cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _parsed(name: str) -> ast.Module:
    path = _module_path(name)
    if path is None:
        raise ValueError(f"{name} is not a module of this package")
    return _tree(path)


def _imported_names(name: str) -> Iterator[str]:
    for node in ast.walk(_parsed(name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _own_imports(name: str) -> set[str]:
    names = {found for found in _imported_names(name) if found.split(".")[0] == "adclick"}
    return {found for found in names - SKIPPED_MODULES if _module_path(found) is not None}


def _foreign_imports(name: str) -> set[str]:
    return {found.split(".")[0] for found in _imported_names(name)} - {"adclick"}


@lru_cache
def _code_of(name: str) -> str:
    tree = ast.parse(ast.unparse(_parsed(name)))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and body
        ):
            first = body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = body[1:] or [ast.Pass()]
    return ast.dump(tree)
