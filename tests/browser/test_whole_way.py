"""The whole way through the studio with photographs of Magnetic Tile as somebody's own."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SHARED
from tests.workflow.forks import ADDRESS, FORKED, forking
from tools.browser.products import TILE_KINDS, TILES_A_KIND, take_tiles
from tools.browser.record import Film
from tools.browser.record_studio import told, walk
from tools.browser.small_project import MICRO

pytestmark = [pytest.mark.workflow, pytest.mark.slow, pytest.mark.real_data]
ROOT = Path(__file__).parents[2]
NEW = 2 * len(TILE_KINDS) * TILES_A_KIND


def test_it_ends_with_a_detector_that_needs_no_adclick(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the micro run's sizes; the server is killed while it learns, and between two clicks."""
    pytest.importorskip("onnxscript")
    monkeypatch.setattr(Film, "frame", lambda _: None)
    product = take_tiles(SHARED / "data/magnetic_tile", tmp_path / "photographs", normals=14)
    with forking() as address:
        quick = {ADDRESS: address, "PYTHONPATH": f"{FORKED}{os.pathsep}{ROOT}"}
        way = walk(browser, product._replace(shrunk=MICRO), tmp_path, environment=quick)
    found = told(way)
    assert found["faults"] == []
    assert found["current_in_the_shell"]
    assert len(found["label_iou"]) == len(TILE_KINDS) * TILES_A_KIND
    check_verdicts(found["verdicts"], found["without_adclick"])


def check_verdicts(page: Mapping[str, str], script: Mapping[str, str]) -> None:
    """Page and script say the same of every new photograph."""
    assert len(page) == NEW and set(page) == set(script)
    for name, said in page.items():
        score, verdict = said.split()
        theirs, word = script[name].removeprefix("score ").split(": ")
        assert float(score) == pytest.approx(float(theirs), abs=2e-3), name
        assert verdict == word, name
