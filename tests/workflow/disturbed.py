"""Runs that are killed: every process of them at once, or the driver alone, whose jobs live on.

Snakemake, and what it starts, is one process group; only that is ever killed.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

from tests.workflow.project import Project

LOCKED = "Directory cannot be locked"


def start(project: Project, *targets: str, overlay: dict | None = None) -> subprocess.Popen:
    """A run in a process group of its own; what it says goes to `driver.log`."""
    with (project.folder / "driver.log").open("wb") as log:
        return subprocess.Popen(
            project.command(*targets, "--cores", "2", overlay=overlay),
            cwd=project.folder,
            env=project.environment(),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def said(project: Project) -> str:
    """What the last run that was started has said."""
    return (project.folder / "driver.log").read_text(encoding="utf-8", errors="replace")


def kill_after(seconds: float, run: subprocess.Popen, *, driver_alone: bool = False) -> bool:
    """Kill a run after a while; False when it had ended before."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and run.poll() is None:
        time.sleep(0.01)
    if run.poll() is not None:
        return False
    run.kill() if driver_alone else os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    return True


def unlock(project: Project) -> None:
    """The documented command after a kill, where the folder is left locked."""
    if not list((project.folder / ".snakemake").glob("locks/*")):
        return
    done = project.snakemake("--unlock")
    assert done.returncode == 0, done.stderr[-2000:]


def wait_for_orphans(run: subprocess.Popen, limit_s: float = 120) -> None:
    """Wait until nothing of a run's process group is left."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        try:
            os.killpg(run.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("jobs of a killed run never ended")


def leftovers(folder: Path) -> list[Path]:
    """What is half-written or only of use to a job that goes on."""
    ends = (".part", ".parts", ".resume.safetensors")
    return [path for path in folder.rglob("*") if path.name.endswith(ends)]
