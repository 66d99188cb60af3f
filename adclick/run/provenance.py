"""What determines a result: the code that a command can reach, its settings, inputs, seed and
libraries.
"""

import ast
import hashlib
import json
import symtable
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGE_FOLDER = Path(__file__).parents[1]
# Settings travel as `params`, so a new key for one stage must not touch the code stamp of another.
SKIPPED_PREFIXES = (
    "adclick.run.config",
    "adclick.run.plan",
    "adclick.run.provenance",
    "adclick.run.settings",
)
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
    "skimage": "scikit-image",
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


@cache
def fingerprint(command: str) -> str:
    """A digest of all code of this package that `command` (a dotted module) can reach by name.

    It is made of definitions, not of files: of every statement at the top of a module that the
    command's own statements name, directly or through others, lazy imports included. Comments,
    docstrings, layout and the place of a definition do not count, so only a change that can alter a
    result changes it; moving or splitting a file does not. What a name means counts, so an import
    that is pointed elsewhere does. Settings, configuration, plan and this module are left out. The
    versions of the numeric libraries that are reached belong to it.
    """
    return code_with_libraries(command, library_versions(_libraries(_reached(command))))


def code_with_libraries(command: str, versions: Mapping[str, str]) -> str:
    """The `fingerprint` that a command would have with other versions of the libraries."""
    return digest({"code": _code_of(command), "libraries": dict(versions)})


@cache
def _code_of(command: str) -> list[str]:
    return sorted({canonical_json(_identity(piece)) for piece in _reached(command)})


def reachable_modules(command: str) -> frozenset[str]:
    """The modules of this package that hold a definition which `command` can reach, itself too."""
    return frozenset(piece.module for piece in _reached(command)) | {command}


def library_versions(libraries: list[str]) -> dict[str, str]:
    """Installed versions of those of the named import packages that can change numbers."""
    return {
        name: installed_version(PINNED_LIBRARIES[name])
        for name in libraries
        if name in PINNED_LIBRARIES
    }


def reachable_libraries(command: str) -> list[str]:
    """Import names of the numeric libraries that `command` can reach, sorted."""
    return _libraries(_reached(command))


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


@dataclass(frozen=True)
class _Piece:
    """A statement at the top of a module of this package, by its number there."""

    module: str
    number: int


@dataclass(frozen=True, eq=False)
class _Module:
    """A parsed module: its statements, which of them bind a name, what its imports name."""

    statements: tuple[ast.stmt, ...]
    texts: tuple[str, ...]
    bound: Mapping[str, tuple[int, ...]]
    imports: Mapping[str, str]
    effects: tuple[int, ...]


@cache
def _reached(command: str) -> frozenset[_Piece]:
    if _module_path(command) is None:
        raise ValueError(f"{command} is not a module of this package")
    found: set[_Piece] = set()
    waiting = _pieces_of_module(command)
    while waiting:
        piece = waiting.pop()
        if piece not in found:
            found.add(piece)
            targets = [target for _, target in _references(piece)]
            waiting += [target for target in targets if isinstance(target, _Piece)]
            waiting += [_Piece(piece.module, number) for number in _read(piece.module).effects]
    return frozenset(found)


def _libraries(pieces: Iterable[_Piece]) -> list[str]:
    """The numeric libraries that definitions name, sorted."""
    named = (target for piece in pieces for _, target in _references(piece))
    roots = {target.split(".")[0] for target in named if isinstance(target, str)}
    return sorted(root for root in roots if root in PINNED_LIBRARIES)


def _identity(piece: _Piece) -> list[Any]:
    """A definition's code, and the code or library that each name in it stands for."""
    meanings = (
        [name, target if isinstance(target, str) else digest(_code(target))]
        for name, target in _references(piece)
    )
    return [_code(piece), sorted(meanings)]


def _pieces_of_module(name: str) -> list[_Piece]:
    module = _read(name)
    numbers = [*(number for found in module.bound.values() for number in found), *module.effects]
    return [_Piece(name, number) for number in numbers]


@cache
def _references(piece: _Piece) -> tuple[tuple[str, "_Piece | str"], ...]:
    """What a definition's free names stand for: pieces of this package, dotted names of others."""
    module = _read(piece.module)
    statement = module.statements[piece.number]
    inside = dict(_imports(ast.walk(statement)))
    names = _free_names(module.texts[piece.number]) - set(inside)
    meanings = {name: path for name, path in module.imports.items() if name in names} | inside
    found: list[tuple[str, _Piece | str]] = [
        (name, _Piece(piece.module, number))
        for name in names
        for number in module.bound.get(name, ())
    ]
    for name, path in meanings.items():
        found += [(f"{name}{end}", target) for end, target in _meaning(statement, name, path)]
    return tuple(sorted(set(found), key=str))


def _meaning(statement: ast.stmt, name: str, path: str) -> Iterator[tuple[str, "_Piece | str"]]:
    """What an imported name stands for: itself, or what is taken from the module that it names."""
    if path.split(".")[0] != "adclick":
        yield "", path
    elif _module_path(path) is None:
        yield from (("", target) for target in _defined(path))
    else:
        taken = _attributes(statement, name)
        for attribute in taken:
            yield from ((f".{attribute}", target) for target in _defined(f"{path}.{attribute}"))
        if not taken:
            yield from (("", target) for target in _unskipped(_pieces_of_module(path)))


def _defined(path: str) -> list["_Piece | str"]:
    """The statements that define a dotted name of this package, through modules that hand it on."""
    owner, _, name = path.rpartition(".")
    if _module_path(owner) is None or owner.startswith(SKIPPED_PREFIXES):
        return []
    module = _read(owner)
    if name in module.bound:
        return [_Piece(owner, number) for number in module.bound[name]]
    handed_on = module.imports.get(name, "")
    if handed_on.split(".")[0] == "adclick":
        return _defined(handed_on)
    return [handed_on] if handed_on else []


def _unskipped(pieces: Iterable[_Piece]) -> Iterator[_Piece]:
    return (piece for piece in pieces if not piece.module.startswith(SKIPPED_PREFIXES))


def _module_path(name: str) -> Path | None:
    base = PACKAGE_FOLDER.joinpath(*name.split(".")[1:])
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


@cache
def _read(name: str) -> _Module:
    path = _module_path(name)
    assert path is not None
    text = path.read_text(encoding="utf-8")
    statements = tuple(ast.parse(text, filename=str(path)).body)
    bound: dict[str, tuple[int, ...]] = {}
    effects = []
    for number, statement in enumerate(statements):
        names = _bound_names(statement)
        for name in names:
            bound[name] = (*bound.get(name, ()), number)
        if not names and not _is_passive(statement):
            effects.append(number)
    texts = tuple(_source(text.splitlines(), statement) for statement in statements)
    return _Module(
        statements, texts, bound, dict(_imports(_top_imports(statements))), tuple(effects)
    )


def _source(lines: list[str], statement: ast.stmt) -> str:
    """The lines of a statement at the top of a module, decorators included."""
    starts = [statement, *getattr(statement, "decorator_list", [])]
    return "\n".join(lines[min(node.lineno for node in starts) - 1 : statement.end_lineno])


def _bound_names(statement: ast.stmt) -> list[str]:
    """The names that a definition or an assignment gives a meaning."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        nodes = [node for target in targets for node in ast.walk(target)]
        return [node.id for node in nodes if isinstance(node, ast.Name)]
    return []


def _is_passive(statement: ast.stmt) -> bool:
    """Whether a statement that binds nothing does nothing either: imports, docstrings."""
    if isinstance(statement, ast.If):
        return ast.unparse(statement.test) == "TYPE_CHECKING"
    return isinstance(statement, ast.Import | ast.ImportFrom) or _is_text(statement)


def _top_imports(statements: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in statements:
        yield from statement.body if isinstance(statement, ast.If) else [statement]


def _imports(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, str]]:
    """Every name that imports bind, and the dotted name that it stands for."""
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            yield from ((one.asname or one.name, f"{node.module}.{one.name}") for one in node.names)
        elif isinstance(node, ast.Import):
            for one in node.names:
                root = one.name.split(".")[0]
                yield (one.asname, one.name) if one.asname else (root, root)


def _free_names(statement: str) -> set[str]:
    """The names in a statement that are those of its module, or builtin."""
    waiting = [symtable.symtable(statement, "statement", "exec")]
    names: set[str] = set()
    while waiting:
        table = waiting.pop()
        waiting += table.get_children()
        top = table.get_type() == "module"
        names |= {
            symbol.get_name()
            for symbol in table.get_symbols()
            if (symbol.is_referenced() if top else symbol.is_global())
        }
    return names


def _attributes(statement: ast.stmt, name: str) -> set[str]:
    """What a statement takes from the module that it calls `name`."""
    return {
        node.attr
        for node in ast.walk(statement)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == name
    }


class _Stripped(ast.NodeTransformer):
    """Code without docstrings and without imports of this package, which other parts stand for."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        node = super().generic_visit(node)
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = 1 if node.body and _is_text(node.body[0]) else 0
            node.body = node.body[first:] or [ast.Pass()]
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:  # noqa: N802
        return None if (node.module or "").split(".")[0] == "adclick" else node


def _is_text(statement: ast.stmt) -> bool:
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


@cache
def _code(piece: _Piece) -> str:
    return ast.unparse(_Stripped().visit(ast.parse(_read(piece.module).texts[piece.number])))
