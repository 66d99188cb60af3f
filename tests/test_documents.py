"""What the documentation says can be typed, followed and imported as it stands there."""

import ast
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import typer.main

from adclick.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "config/README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    return [text for said, text in FENCE.findall(page.read_text("utf-8")) if said == language]


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub's links name them."""
    outside = FENCE.sub("", page.read_text("utf-8"))
    titles = re.findall(r"^#+ (.*)$", outside, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def typed(page: Path) -> list[str]:
    """The command lines of a page, continued lines joined, comments left out."""
    text = "\n".join(blocks(page, "")).replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


COMMANDS = sorted({line for page in PAGES for line in typed(page)})


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text("utf-8")) if "://" not in link]
    for link in links:
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_and_names_of_the_code_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    for path in re.findall(
        r"(?<![\w./])(?:adclick|workflow|config|docs|tools|tests)/[\w./-]*\w", text
    ):
        if not path.startswith(("config/prompts/mine", "adclick/commands/verb_noun")):
            assert (ROOT / path).exists() or (ROOT / "results" / path).exists(), path
    for dotted in set(re.findall(r"(?<![\w/.])adclick(?:\.\w+)+", text)):
        assert dotted == "adclick.yaml" or named(dotted), dotted


def named(dotted: str) -> bool:
    """Whether a dotted name is a module of ours, or is defined or handed on in one.

    Read from the source: an import of torch takes longer than all other tests here.
    """
    parts = dotted.split(".")
    for module in (ROOT.joinpath(*parts), ROOT.joinpath(*parts[:-1])):
        for file in (module.with_suffix(".py"), module / "__init__.py"):
            if file.is_file():
                return module == ROOT.joinpath(*parts) or parts[-1] in names_in(file)
    return False


def names_in(file: Path) -> set[str]:
    """The names at a module's top level."""
    found: set[str] = set()
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("adclick ")])
def test_a_command_of_the_package_is_typed_with_options_that_it_has(line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    command = typer.main.get_command(app)
    while inner := getattr(command, "commands", {}):
        command, words = inner[words[0]], words[1:]
    command.make_context("adclick", words)


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("make ")])
def test_a_make_target_exists(line: str) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([\w ]+):", makefile, re.MULTILINE))
    for command in shlex.split(line, comments=True)[1:]:
        if "=" not in command and command not in {"&&", "make", "source", ".venv/bin/activate"}:
            assert any(command in names.split() for names in targets), command


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("snakemake ")])
def test_a_run_names_overlays_that_are_there(line: str) -> None:
    for overlay in re.findall(r"config/[\w/]+\.yaml", line):
        assert (ROOT / overlay).is_file()


def test_the_readme_shows_what_to_type_before_anything_else() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## Two commands",
        "## From photographs to a detector, on one page",
        "## Label",
        "## Detect",
        "## Score",
        "## On real data",
        "## More",
        "## Licence",
    ]
    assert text.index("docs/method.png") < text.index("## Two commands")
    assert len(blocks(ROOT / "README.md", "")[0].splitlines()) == 2
    assert "snakemake --cores all --configfile config/small.yaml" in text


def test_every_page_is_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        paths = [link.partition("#")[0] for link in LINK.findall(page.read_text("utf-8"))]
        linked = {(page.parent / path).resolve() for path in paths if path.endswith(".md")}
        waiting += linked - reached
    assert set(PAGES) <= reached


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_snippets_import_what_there_is(page: Path) -> None:
    for snippet in blocks(page, "python"):
        for node in ast.walk(ast.parse(snippet)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("adclick"):
                assert all(named(f"{node.module}.{alias.name}") for alias in node.names)


def test_the_snippet_that_scores_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    mask = np.zeros((24, 32), bool)
    mask[3:9, 4:12] = True
    np.save("good.npy", np.linspace(0, 0.4, mask.size, dtype=np.float32).reshape(mask.shape))
    np.save("dent.npy", np.where(mask, np.float32(0.9), np.float32(0.1)))
    np.save("dent_mask.npy", mask)
    (snippet,) = (one for one in blocks(ROOT / "README.md", "python") if "pixel_metrics" in one)
    exec(compile(snippet, "README.md", "exec"), {})
    printed = [float(value) for value in capsys.readouterr().out.split()]
    assert printed == pytest.approx([1, 1, 1, 1])


def test_the_architecture_names_every_room() -> None:
    table = (ROOT / "docs/architecture.md").read_text("utf-8").split("## The rooms")[1]
    named_rooms = re.findall(r"^\| `adclick/([\w.]+)` \|", table, re.MULTILINE)
    entries = [path.name for path in (ROOT / "adclick").iterdir() if path.suffix in {"", ".py"}]
    assert sorted(named_rooms) == sorted(set(entries) - {"__init__.py", "__pycache__"})
