"""The configuration outside Snakemake, for commands that a person types."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from adclick.config import Config, load_config
from adclick.errors import InputError

BASE = Path("config/config.yaml")


def read_configuration(overlays: Sequence[Path], *, base: Path = BASE) -> Config:
    """`base` with overlays laid over it, as Snakemake does: mappings merge, lists are replaced."""
    values: dict[str, Any] = {}
    for path in (base, *overlays):
        values = _laid_over(values, _read(path))
    return load_config(values)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(
            f"configuration {path} cannot be read ({reason}): run this in the project's folder"
        ) from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        line = " ".join(str(error).split())[:200]
        raise InputError(f"configuration {path} is not valid YAML: {line}") from error
    if not isinstance(content, dict):
        raise InputError(f"configuration {path} must be a mapping of keys to values")
    return content


def _laid_over(below: Mapping[Any, Any], above: Mapping[Any, Any]) -> dict[Any, Any]:
    both = dict(below)
    for key, value in above.items():
        old = both.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            both[key] = _laid_over(old, value)
        else:
            both[key] = value
    return both
