"""What only people run is loaded here, so that a name that moved is missed."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "tools").rglob("*.py"))
    if path.name not in ("__init__.py", "usable_python.py")  # the last runs where nothing is set up
]


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_can_be_loaded(name: str) -> None:
    importlib.import_module(name)
