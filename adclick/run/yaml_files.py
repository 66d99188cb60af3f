"""YAML files that people write: read strictly, with one line that says what is wrong."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from adclick.run.errors import InputError

# What PyYAML raises for a bad text; dates that are none and deep nesting are not among its own.
NOT_YAML = (yaml.YAMLError, ValueError, RecursionError)


class StrictLoader(yaml.SafeLoader):
    """YAML in which a key that is there twice is an error: its first value would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping, after a look at its keys."""
        names = sorted((key.value for key, _ in node.value), key=str)
        for key, following in pairwise(names):
            if key == following:
                problem = f"the key '{key}' is there twice"
                raise yaml.constructor.ConstructorError(
                    problem=problem, problem_mark=node.start_mark
                )
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, what: str) -> Any:
    """The content of a YAML file; an `InputError` calls the file `what` and says what is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"{what} {path} cannot be read ({reason}): check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{what} {path} is not UTF-8 text: save it as UTF-8") from error
    try:
        return yaml.load(text, Loader=StrictLoader)  # a SafeLoader
    except NOT_YAML as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = one_line(getattr(error, "problem", None) or str(error))
        raise InputError(f"{what} {path}{where}: not valid YAML: {problem}") from error


def one_line(text: str, limit: int = 200) -> str:
    """A text without line breaks, cut where it is longer than `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[:limit]}…"
