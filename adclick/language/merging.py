"""Adding phrases to a prompt bank's file without touching what stands in it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from adclick.language.bank import Bank, plain, read_bank
from adclick.run.artifacts import write_text
from adclick.run.errors import InputError
from adclick.run.yaml_files import StrictLoader

Addition = tuple[str, str]  # a phrase, and where it comes from


def merge_into_bank(path: Path, category: str, kind: str, additions: Sequence[Addition]) -> int:
    """Append phrases to one type in a bank's file; how many were new.

    New lines come after the type's last phrase, each with its origin as a comment, and the rest of
    the file stays as it is, letter by letter. A type, category or file that is not there is made.
    Phrases that the type has (letter case and spaces aside) are left out. The file is replaced
    whole or not at all.

    InputError when the file is no bank, or is written so that lines cannot be added (lists in
    brackets, anchors).
    """
    bank = read_bank(path) if path.is_file() else {}
    have = {plain(phrase) for phrase in bank.get(category, {}).get(kind, ())}
    first: dict[str, Addition] = {}
    for addition in additions:
        first.setdefault(plain(addition[0]), addition)
    chosen = [addition for phrase, addition in first.items() if phrase not in have]
    if not chosen:
        return 0
    text = path.read_bytes().decode("utf-8") if path.is_file() else ""
    merged = _inserted(text, category, kind, chosen)
    if _parsed(merged) != _expected(bank, category, kind, chosen):
        raise InputError(
            f"prompt bank {path}: cannot add lines to {category} / {kind} as it is written:"
            " put its phrases in a list with one `- phrase` a line"
        )
    write_text(path, merged)
    return len(chosen)


def _expected(
    bank: Bank, category: str, kind: str, additions: Sequence[Addition]
) -> dict[str, dict[str, list[str]]]:
    """What the bank must hold after the addition."""
    content = {
        name: {one: list(phrases) for one, phrases in types.items()} for name, types in bank.items()
    }
    phrases = content.setdefault(category, {}).setdefault(kind, [])
    phrases += [phrase for phrase, _ in additions]
    return content


def _parsed(text: str) -> Any:
    try:
        return yaml.load(text, Loader=StrictLoader)
    except yaml.YAMLError:
        return None


def _inserted(text: str, category: str, kind: str, additions: Sequence[Addition]) -> str:
    """The bank's text with lines for the additions after the last one that they belong to; they end
    as its first line does.
    """
    lines = text.splitlines(keepends=True)
    end_of_line = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += end_of_line
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    types = _value(root, category)
    phrases = _value(types, kind)
    indent = _indent(phrases, types, root)
    new = [f"{' ' * indent[2]}- {_scalar(phrase)}  # {origin}" for phrase, origin in additions]
    if phrases is None:
        new.insert(0, f"{' ' * indent[1]}{_scalar(kind)}:")
    if types is None:
        new.insert(0, f"{_scalar(category)}:")
    new = [line + end_of_line for line in new]
    holder = next((node for node in (phrases, types, root) if node is not None), None)
    end = len(lines) if holder is None else _last_line(holder)
    return "".join([*lines[:end], *new, *lines[end:]])


def _value(node: Any, key: str) -> Any:
    """The value of a key in a YAML mapping's node; None where there is none."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next((value for name, value in pairs if name.value == key), None)


def _indent(phrases: Any, types: Any, root: Any) -> tuple[int, int, int]:
    """Columns of categories, types and phrases: as they are nearby, else two more a level."""
    categories = root.value if root is not None else []
    beside = types or next((value for _, value in categories), None)
    kinds = beside.value if isinstance(beside, yaml.MappingNode) else []
    kind = kinds[0][0].start_mark.column if kinds else 2
    near = phrases or next((value for _, value in kinds), None)
    return 0, kind, near.start_mark.column if near is not None else kind + 2


def _last_line(node: Any) -> int:
    """How many lines there are up to a node's last one."""
    while isinstance(node, yaml.CollectionNode) and node.value:
        node = node.value[-1]
        node = node[1] if isinstance(node, tuple) else node
    mark = node.end_mark
    return mark.line if mark.column == 0 else mark.line + 1


def _scalar(text: str) -> str:
    """A text as YAML writes it on one line, in quotes where it needs them."""
    return yaml.safe_dump(text, allow_unicode=True, width=10**6).removesuffix("...\n").strip()
