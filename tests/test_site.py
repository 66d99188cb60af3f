"""The documentation is a site that builds without a warning, and its reference is the code's."""

import importlib.util
import logging
import re
import tomllib
from pathlib import Path

import pytest
import typer.main

from adclick.cli import app
from adclick.run.config import Config

pytest.importorskip("mkdocs")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    heard = _Heard(logging.WARNING)
    logger = logging.getLogger("mkdocs")
    logger.addHandler(heard)
    target = tmp_path_factory.mktemp("site")
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(target), strict=True))
    logger.removeHandler(heard)
    assert heard.lines == []
    return target


class _Heard(logging.Handler):
    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def test_every_page_of_the_documentation_is_in_it(site: Path) -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").with_suffix(".html").as_posix()
        assert (site / name.replace("README.html", "index.html")).is_file(), name
    home = (site / "index.html").read_text("utf-8")
    assert "Mark a defect with a few clicks" in home
    assert 'href="ten_minutes.html"' in home


def test_every_command_is_in_the_reference(site: Path) -> None:
    page = (site / "reference/commands.html").read_text("utf-8")
    command = typer.main.get_command(app)
    for verb in getattr(command, "commands", {}):
        assert f"adclick {verb}" in page


def test_every_setting_is_in_the_reference(site: Path) -> None:
    page = (site / "reference/configuration.html").read_text("utf-8")
    assert all(f"<code>{key}</code>" in page for key in Config.model_fields)


def test_the_python_reference_has_signatures_and_docstrings(site: Path) -> None:
    page = (site / "reference/python.html").read_text("utf-8")
    for name in ("survey_photographs", "threshold_at", "open_model", "pixel_metrics"):
        assert name in page
    assert "The threshold that normal pictures exceed at a rate" in page


def test_no_link_leads_out_of_it(site: Path) -> None:
    for page in site.rglob("*.html"):
        for link in re.findall(r'(?:href|src)="([^"#?]+)', page.read_text("utf-8")):
            inside = "://" not in link and not link.startswith("data:")
            if inside and page.name != "404.html":
                assert (page.parent / link).resolve().exists(), (page.name, link)


def test_links_are_turned_from_the_repository_to_the_site() -> None:
    spec = importlib.util.find_spec("tools.site_pages")
    assert spec is not None
    from tools.site_pages import turned

    assert turned("[a](docs/faq.md#x)", "index.md") == "[a](faq.md#x)"
    assert turned("[a](../README.md#label)", "models.md") == "[a](index.md#label)"
    assert turned("[a](../config/README.md)", "models.md") == "[a](reference/configuration.md)"
    assert turned("[a](https://b.org/c.md)", "models.md") == "[a](https://b.org/c.md)"
    assert turned("[a](../docs/faq.md)", "reference/configuration.md") == "[a](../faq.md)"


def test_make_check_builds_it() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    (check,) = re.findall(r"^check: setup\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert "mkdocs build --strict" in check
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (installed,) = re.findall(r'--editable "\.\[(.*)\]"', makefile)
    assert set(installed.split(",")) <= extras["optional-dependencies"].keys()
