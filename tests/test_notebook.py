"""The notebook runs from its first cell to its last; what it shows was made by these very cells."""

import os
from pathlib import Path

import nbformat
import pytest

from tests.workflow.forks import ADDRESS, FORKED, forking
from tests.workflow.test_ten_minutes import SMALL
from tools.notebook import execute
from tools.site_pages import notebook_page

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs/notebook.ipynb"


@pytest.mark.workflow
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:No contour levels")  # of what learns in three steps
def test_every_cell_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxscript")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    small = {"NORMALS": 15, "OF_EACH_KIND": 3, "KINDS": ("rust", "scratch"), "CLICKS": 2}
    with forking() as address:
        monkeypatch.setenv(ADDRESS, address)
        monkeypatch.setenv("PYTHONPATH", f"{FORKED}{os.pathsep}{ROOT}")
        names = execute(notebook, {**small, "SETTINGS": SMALL})
    drawn = [one for cell in notebook.cells for one in cell.get("outputs", [])]
    assert sum("image/png" in one.get("data", {}) for one in drawn) == 2
    assert len([*names["project"].labels.rglob("*.png")]) == 4
    assert len(names["maps"]) == 3 and all(one.shape == (256, 256) for one in names["maps"])
    assert (names["work"] / "detector-onnx/inspect_picture.py").is_file()


def test_what_it_shows_is_kept_in_it() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
    page = notebook_page(notebook)
    assert page.count("data:image/png;base64,") == 2
    assert "after 5 clicks" in page
