"""Snakemake in another working directory."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.workflow]


def plan(project: Path, directory: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--directory", str(directory)]
    command += ["--configfile", "config/demo.yaml"]
    return subprocess.run(command, cwd=project, capture_output=True, text=True)


def test_without_the_configuration_it_is_refused_in_one_line(project: Path, tmp_path: Path) -> None:
    done = plan(project, tmp_path)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if "error" in line]
    assert line.startswith(f"error: {tmp_path} has no config/config.yaml: run snakemake in the rep")
    assert "Field required" not in done.stderr


def test_with_a_copy_of_it_a_run_is_planned_there(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project / "config", tmp_path / "config")
    done = plan(project, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "results/demo/toy" in done.stdout + done.stderr
