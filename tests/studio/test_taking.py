"""What is taken away, made in the background."""

import threading
import time
from pathlib import Path

import pytest

from adclick.project.writing import Project
from adclick.run.errors import InputError
from adclick.studio.taking import Taking, place_of


def wait(taking: Taking, project: Project, what: str) -> dict:
    end = time.monotonic() + 60
    while (found := {one["what"]: one for one in taking.state(project)}[what])["making"]:
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)
    return found


def test_what_cannot_be_made_again_leaves_what_was_there(tmp_path: Path) -> None:
    project, works = Project(tmp_path, "washer", "human"), [True]

    def make(_: Project, output: Path) -> None:
        output.write_text("half")
        if not works[0]:
            raise RuntimeError("the lamp\nis broken")
        output.write_text("whole")

    taking = Taking({"report": make})
    taking.begin(project, "report")
    assert wait(taking, project, "report")["error"] is None
    works[0] = False
    taking.begin(project, "report")
    assert wait(taking, project, "report")["error"] == "the lamp is broken"
    assert place_of(project, "report").read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_one_is_made_at_a_time(tmp_path: Path) -> None:
    project, go_on = Project(tmp_path, "washer", "human"), threading.Event()

    def make(_: Project, output: Path) -> None:
        go_on.wait(60)
        output.write_text("made")

    taking = Taking({"model": make, "report": make})
    taking.begin(project, "model")
    with pytest.raises(InputError, match="another one is being made"):
        taking.begin(project, "report")
    with pytest.raises(InputError, match="nothing of that name"):
        taking.begin(project, "moon")
    go_on.set()
    assert wait(taking, project, "model")["made"]
