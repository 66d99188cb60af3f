"""Pages of the documentation's site that are made from the code: a hook of MkDocs (mkdocs.yml).

The README becomes the home page, config/README.md the reference of the configuration, the notebook
a page with what its cells show; the commands and the Python interface are read from the code. Links
are turned accordingly.
"""

import ast
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import typer.main
from mkdocs.structure.files import File, Files

from adclick.cli import app

ROOT = Path(__file__).parents[1]
# Where files of the repository are in the site; others in docs/ keep their places.
PAGES = {"README.md": "index.md", "config/README.md": "reference/configuration.md"}
NOTEBOOK = "docs/notebook.ipynb"
LINK = re.compile(r"(?<=\]\()([^)\s#]+\.(?:md|ipynb|png|gif))(?=[#)])")
INTERFACE = {
    "Pictures and models": {
        "adclick/data/images.py": ["read_image", "read_mask"],
        "adclick/models/folder.py": ["open_model", "encode", "open_session", "detect"],
        "adclick/models/refining.py": ["RefinedSession"],
        "adclick/clicks/click.py": ["Click", "scale_clicks"],
    },
    "From photographs to a project": {
        "adclick/project/survey.py": ["survey_photographs", "Survey", "survey_lines", "without"],
        "adclick/project/writing.py": ["write_project", "open_project", "Project"],
    },
    "Models, decisions, ONNX": {
        "adclick/models/export.py": ["export_model"],
        "adclick/models/onnx_folder.py": ["export_onnx", "open_onnx"],
        "adclick/models/inspecting.py": ["open_inspector", "Inspector"],
        "adclick/models/decisions.py": ["level_of", "Level"],
        "adclick/metrics/false_alarms.py": ["threshold_at", "Threshold", "false_alarms"],
        "adclick/models/regions.py": ["find_regions", "Region"],
    },
    "Scores": {
        "adclick/metrics/pixels.py": ["pixel_metrics", "image_results", "component_results"],
        "adclick/metrics/streaming.py": ["StreamingMetrics"],
    },
}


def on_files(files: Files, config: Any) -> Files:
    """Add the made pages."""
    made = {target: (ROOT / source).read_text("utf-8") for source, target in PAGES.items()}
    made |= {"reference/commands.md": commands_page(), "reference/python.md": python_page()}
    made["notebook.md"] = notebook_page(nbformat.read(ROOT / NOTEBOOK, as_version=4))
    for path, content in made.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn the links of a page that were written for the repository."""
    return turned(markdown, page.file.src_uri)


def turned(markdown: str, place: str) -> str:
    """A page's Markdown with its links as the site has them; `place` is the page's."""
    source = next((one for one, target in PAGES.items() if target == place), f"docs/{place}")

    def turn(match: re.Match[str]) -> str:
        link = match.group(1)
        if "://" in link:
            return link
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
        target = PAGES.get(path, path.removeprefix("docs/")).replace(".ipynb", ".md")
        return posixpath.relpath(target, posixpath.dirname(place) or ".")

    return LINK.sub(turn, markdown)


def notebook_page(notebook: Any) -> str:
    """A notebook's cells as Markdown, with what they print and draw below them."""
    parts = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            parts += [f"```python\n{cell.source}\n```", *map(_shown, cell.outputs)]
        else:
            parts.append(cell.source)
    return "\n\n".join(parts) + "\n"


def _shown(output: Any) -> str:
    if output.output_type == "stream":
        return f"```text\n{output.text.rstrip()}\n```"
    picture = output.data["image/png"].replace("\n", "")
    return f'<img alt="What the cell above draws" src="data:image/png;base64,{picture}">'


def commands_page() -> str:
    """Every command with its help, as `--help` prints it."""
    parts = ["# Commands\n\n`adclick <command> --help` says the same.\n"]
    for name, command in _commands(typer.main.get_command(app), "adclick"):
        context = command.context_class(command, info_name=name, terminal_width=78)
        parts.append(f"## {name}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", {})
    if not inner:
        yield name, command
    for verb, child in inner.items():
        yield from _commands(child, f"{name} {verb}")


def python_page() -> str:
    """The signatures and docstrings of the Python interface."""
    parts = ["# Python\n\nArrays are numpy's; their shapes stand in the annotations (jaxtyping).\n"]
    for title, modules in INTERFACE.items():
        parts.append(f"## {title}\n")
        for path, names in modules.items():
            tree = ast.parse((ROOT / path).read_text("utf-8"))
            module = path.removesuffix(".py").replace("/", ".")
            found = {node.name: node for node in tree.body if hasattr(node, "name")}
            parts += [_entry(module, found[name]) for name in names]
    return "\n".join(parts)


def _entry(module: str, node: Any) -> str:
    text = ast.get_docstring(node) or ""
    shown = _signature(node) if isinstance(node, ast.FunctionDef) else _fields(node)
    imported = f"from {module} import {node.name}"
    return f"### {node.name}\n\n```python\n{imported}\n\n{shown}\n```\n\n{text}\n"


def _signature(node: ast.FunctionDef) -> str:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    flat = f"{node.name}({ast.unparse(node.args)}){returns}"
    if len(flat) <= 78:
        return flat
    arguments = ",\n    ".join(_split(ast.unparse(node.args)))
    return f"{node.name}(\n    {arguments},\n){returns}"


def _split(arguments: str) -> Iterator[str]:
    """Arguments one by one: at commas outside all brackets and quotes."""
    depth, quoted, start = 0, False, 0
    for index, character in enumerate(arguments):
        quoted ^= character == "'"
        depth += (character in "([{") - (character in ")]}") if not quoted else 0
        if character == "," and not depth and not quoted:
            yield arguments[start:index].strip()
            start = index + 1
    yield arguments[start:].strip()


def _fields(node: ast.ClassDef) -> str:
    """A class with its fields, and the signatures of its public methods."""
    lines = [f"class {node.name}:"]
    for part in node.body:
        if isinstance(part, ast.AnnAssign):
            lines.append(f"    {ast.unparse(part)}")
        elif isinstance(part, ast.FunctionDef) and not part.name.startswith("_"):
            lines.append(f"    {_signature(part)}")
    return "\n".join(lines)
