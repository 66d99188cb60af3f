"""`adclick <verb>`: plain help at once, one line for a mistake, every verb documented."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import get_args

import pytest
import typer.main

from adclick.cli import MaskValuesOption, app
from adclick.run.settings.data import MaskValues
from tests.typed import type_command

HEAVY = {"torch", "pandas", "sklearn", "cv2", "rich", "scipy", "matplotlib", "numba"}


def verbs(command=None, name: str = "adclick") -> dict[str, str]:
    """Every verb, as it is typed, with its help text."""
    command = command or typer.main.get_command(app)
    inner = getattr(command, "commands", {})
    if not inner:
        return {name: command.help or ""}
    return {
        typed: text
        for verb, child in inner.items()
        for typed, text in verbs(child, f"{name} {verb}").items()
    }


@pytest.mark.parametrize("verb", verbs())
def test_every_verb_is_documented_and_shows_an_example(verb: str, project: Path) -> None:
    pages = [project / "README.md", *(project / "docs").glob("*.md")]
    assert any(verb in page.read_text(encoding="utf-8") for page in pages)
    assert "Example" in verbs()[verb]
    assert f"  {verb} " in verbs()[verb]


@pytest.mark.parametrize("verb", verbs())
def test_help_is_plain_text(verb: str, monkeypatch, capsys) -> None:
    said = type_command([*verb.split()[1:], "--help"], monkeypatch, capsys)
    assert said.code == 0
    assert said.out.isascii()
    assert f"Usage: {verb}" in said.out
    assert "completion" not in said.out


def test_the_installed_command_starts_without_anything_heavy(project: Path) -> None:
    scripts = tomllib.loads((project / "pyproject.toml").read_text())["project"]["scripts"]
    module, function = scripts["adclick"].split(":")
    script = (
        f"import atexit, sys; from {module} import {function}\n"
        "atexit.register(lambda: print('loaded', *sys.modules, file=sys.stderr))\n"
        f"sys.argv = ['adclick', '--help']; {function}()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0
    assert all(verb.split()[1] in done.stdout for verb in verbs())
    assert done.stderr.startswith("loaded")
    assert not HEAVY & set(done.stderr.split())


def test_without_a_verb_there_is_help(monkeypatch, capsys) -> None:
    assert "Commands:" in type_command([], monkeypatch, capsys).out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["no-such-verb"], ["no-such-verb", "adclick --help"]),
        (["evaluate"], ["--maps", "adclick evaluate --help"]),
        (["evaluate", "--pro-limit", "hot"], ["--pro-limit", "adclick evaluate --help"]),
        (["evaluate", "--colour"], ["--colour", "adclick evaluate --help"]),
    ],
)
def test_a_mistyped_command_is_one_line(argv, words, monkeypatch, capsys) -> None:
    said = type_command(argv, monkeypatch, capsys)
    assert said.code == 2
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert not said.out
    for word in words:
        assert word in said.err


def test_the_option_for_values_of_masks_has_those_of_the_setting() -> None:
    """The command line repeats them: to load the settings would make help slow."""
    assert get_args(MaskValuesOption)[0] == MaskValues | None
