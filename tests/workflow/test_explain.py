"""What is said of results: after an edit, and where they were copied to."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.workflow.forks import forking
from tests.workflow.project import Project, copy_project, parse_jobs

pytestmark = [pytest.mark.workflow, pytest.mark.slow]
PLACE = "results/micro/toy/cloth"
SCORES = f"{PLACE}/evaluate_maps/training_free/seed0/metrics.json"
MAPS = f"{PLACE}/predict_maps/training_free/seed0/maps.h5"
FILES = ["config/demo.yaml", "tests/config/micro.yaml", "tests/config/data.yaml"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    copied = copy_project(tmp_path_factory.mktemp("explain") / "project")
    (copied.folder / "tests/config/data.yaml").write_text("{}\n")
    with forking() as forks:
        project = replace(copied, forks=forks)
        project.run(SCORES)
        yield project


@pytest.fixture
def copied(made: Project, tmp_path: Path) -> Project:
    """The results on another machine, by a copy that forgot all dates."""
    project = copy_project(tmp_path / "elsewhere")
    (project.folder / "tests/config/data.yaml").write_text("{}\n")
    shutil.copytree(made.folder / "results", project.folder / "results", copy_function=shutil.copy)
    return replace(project, forks=made.forks)


def explain(project: Project, *words: str) -> tuple[int, str]:
    options = [one for file in FILES for one in ("--configfile", file)]
    command = "import sys; from adclick.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", command, "explain", *words, *options],
        cwd=project.folder,
        env={**os.environ, "PYTHONPATH": str(project.folder)},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_current_result_says_what_made_it(made: Project) -> None:
    code, text = explain(made, SCORES)
    assert code == 0
    assert text.splitlines()[:2] == [
        SCORES,
        "made by: evaluate_maps (python -m adclick.commands.evaluate_maps)",
    ]
    stamp = json.loads((made.folder / SCORES).read_text())["stamp"]
    assert f"code: {stamp['code']}, with " in text
    assert f"  maps {MAPS} (current)" in text
    assert '  method: "training_free"' in text
    assert text.splitlines()[-1] == "it is current"


def test_what_changed_is_said_and_the_last_line_makes_it_anew(copied: Project) -> None:
    """An edit of what maps are finished by, and one of what scores them, in a copy of the results
    that Snakemake knows nothing of.
    """
    edit(copied, "adclick/residuals/maps.py", "if smoothing_px > 0:", "if smoothing_px > 0.5:")
    edit(
        copied,
        "tests/config/micro.yaml",
        "size_px: 64",
        "size_px: 64\ndetection: {smoothing_px: 3}",
    )
    code, text = explain(copied, SCORES)
    assert code == 1
    lines = text.splitlines()
    assert f"  maps {MAPS} (stale)" in lines
    assert f"  made of {MAPS}, which is stale" in lines
    code, text = explain(copied, MAPS)
    lines = text.splitlines()
    assert "  the code of adclick.commands.predict_maps is another" in lines
    assert any(line.startswith("  setting detection.smoothing_px: ") for line in lines)
    assert f"  residuals {PLACE}/compute_residuals/location_aware/real.h5 (current)" in lines
    before = (copied.folder / SCORES).stat().st_mtime_ns
    words = shlex.split(explain(copied, SCORES)[1].splitlines()[-1])
    assert words[0] == "snakemake"
    assert copied.snakemake(SCORES, "--cores", "1", "--touch").returncode == 0  # gives dates back
    assert set(redone(copied, words[1:])) == {"predict_maps", "evaluate_maps"}
    assert (copied.folder / SCORES).stat().st_mtime_ns > before
    assert explain(copied, SCORES)[1].splitlines()[-1] == "it is current"
    assert copied.planned(SCORES) == []


def redone(project: Project, words: list[str]) -> list[str]:
    """The rules that a command line runs."""
    command = [sys.executable, "-m", "snakemake", *words]
    done = subprocess.run(
        command,
        cwd=project.folder,
        env=project.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [job.rule for job in parse_jobs(done.stdout + done.stderr)]


def edit(project: Project, name: str, old: str, new: str) -> None:
    path = project.folder / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_all_of_a_run_is_judged(copied: Project) -> None:
    code, text = explain(copied, "--all", "--check", "results/micro")
    assert code == 0, text
    assert "predict_maps: 1 current" in text
    assert "train_adclick: " in text and "not there" in text
    path = copied.folder / MAPS
    content = bytearray(path.read_bytes())
    content[-200_000 if len(content) > 400_000 else len(content) // 2] ^= 1
    path.write_bytes(content)
    code, text = explain(copied, "--all", "--check", "results/micro")
    assert code == 1
    assert "predict_maps: 1 damaged" in text
    assert text.splitlines()[-1].endswith(f"--forcerun {MAPS}")


def test_a_result_that_cannot_be_opened_stops_no_other(copied: Project) -> None:
    path = copied.folder / MAPS
    path.write_bytes(path.read_bytes()[:1000])
    code, text = explain(copied, "--all", "results/micro")
    assert code == 1, text
    assert "predict_maps: 1 damaged" in text
    assert "evaluate_maps: 1 stale" in text
    assert text.splitlines()[-1].endswith(f"--forcerun {MAPS}")
    code, text = explain(copied, SCORES)
    assert code == 1, text
    assert f"  maps {MAPS} (damaged)" in text.splitlines()
    assert f"  made of {MAPS}, which is damaged" in text.splitlines()


def test_a_result_that_cannot_be_made_stops_no_other(copied: Project) -> None:
    weights = "{features: {weights: {source: file, file: broken.safetensors}}}"
    (copied.folder / "tests/config/data.yaml").write_text(weights)
    (copied.folder / "broken.safetensors").write_bytes(b"no tensors")
    code, text = explain(copied, "--all", "results/micro")
    assert code == 1, text
    assert "make_manifest: 1 current" in text
    assert "extract_features: 1 stale" in text
    assert "cannot be made now: broken.safetensors: not a readable safetensors file" in text


def test_what_is_asked_for_wrongly_is_one_line(made: Project, tmp_path: Path) -> None:
    for words, says in (
        ((f"{PLACE}/nothing.h5",), "nothing.h5"),
        ((str(tmp_path / "results/micro/x.json"),), "is not below"),
        (("--all", "results/other"), "the configuration is of the run micro"),
    ):
        code, text = explain(made, *words)
        assert code == 2, text
        (line,) = text.splitlines()
        assert line.startswith("error: ")
        assert says in line
