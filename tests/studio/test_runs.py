"""Runs of a workflow of three rules, watched, killed, cancelled and taken up again."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adclick.run.errors import InputError
from adclick.studio.progress import progress
from adclick.studio.runs import ASKED, Runs, identity, is_alive

pytestmark = [pytest.mark.workflow, pytest.mark.slow]
PATIENCE_S = 600
SNAKEFILE = """
rule all:
    default_target: True
    input:
        "second.txt"

rule train_first:
    output:
        "first.txt"
    log:
        "first.log"
    shell:
        "echo 'step 3 of 8: loss 0.25' > {log}; touch began;"
        " while [ -e hold ]; do sleep 0.1; done;"
        " if [ -e fail ]; then echo 'error: the lamp is broken; change it' >> {log}; exit 2; fi;"
        " echo done >> count; touch {output}"

rule second:
    input:
        "first.txt"
    output:
        "second.txt"
    shell:
        "touch {output}"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    return tmp_path


@pytest.fixture
def runs(folder: Path) -> Iterator[Runs]:
    found = open_runs(folder)
    yield found
    last = found.latest()
    if last is not None and last.state == "running":
        os.killpg(last.facts["pid"], signal.SIGKILL)
    wait_for(lambda: last is None or not is_alive(last.facts))


def open_runs(folder: Path) -> Runs:
    return Runs(folder / ".adclick/runs", working=folder, arguments=["--cores", "1"])


def wait_for(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def state_of(runs: Runs) -> str:
    last = runs.latest()
    assert last is not None
    return last.state


def test_a_run_is_watched_by_a_server_that_did_not_begin_it(folder: Path, runs: Runs) -> None:
    (folder / "hold").touch()
    runs.start(["all"])
    with pytest.raises(InputError, match="goes on already"):
        runs.start(["all"])
    wait_for((folder / "began").exists)
    later = open_runs(folder)  # a server that was killed and started anew knows files alone
    run = later.latest()
    assert run is not None and run.state == "running"
    wait_for(lambda: progress(run, working=folder)["training"] is not None)
    told = progress(run, working=folder)
    place = {"network": 1, "networks": 1}
    assert told["training"] == {"step": 3, "steps": 8, "loss": 0.25, **place}
    assert [(one["name"], one["done"], one["begun"]) for one in told["stages"]] == [
        ("train_first", 0, 1),
        ("second", 0, 0),
    ]
    (folder / "hold").unlink()
    wait_for(lambda: state_of(later) == "done")
    told = progress(run, working=folder)
    assert (told["share"], told["seconds_left"]) == (1.0, None)
    assert [one["done"] for one in told["stages"]] == [1, 1]


def test_a_killed_run_is_interrupted_and_goes_on(folder: Path, runs: Runs) -> None:
    (folder / "hold").touch()
    run = runs.start(["all"])
    wait_for((folder / "began").exists)
    os.killpg(run.facts["pid"], signal.SIGKILL)
    wait_for(lambda: state_of(runs) == "interrupted")
    (folder / "hold").unlink()
    runs.start(["all"])  # which unlocks the folder that the killed one had locked
    wait_for(lambda: state_of(runs) == "done")
    assert (folder / "second.txt").exists()


def test_jobs_that_outlive_their_snakemake_end_before_it_goes_on(folder: Path, runs: Runs) -> None:
    (folder / "hold").touch()
    run = runs.start(["all"])
    wait_for((folder / "began").exists)
    os.kill(run.facts["pid"], signal.SIGKILL)  # this one alone, as by hand: its job lives on
    wait_for(lambda: state_of(runs) == "interrupted")
    runs.start(["all"])
    (folder / "hold").unlink()
    wait_for(lambda: state_of(runs) == "done")
    assert (folder / "count").read_text() == "done\n"


def test_a_cancelled_run_ends_with_its_jobs_and_goes_on(folder: Path, runs: Runs) -> None:
    (folder / "hold").touch()
    runs.start(["all"])
    wait_for((folder / "began").exists)
    runs.cancel()
    wait_for(lambda: state_of(runs) == "cancelled")
    with pytest.raises(InputError, match="nothing to cancel"):
        runs.cancel()
    (folder / "hold").unlink()
    runs.start(["all"])
    wait_for(lambda: state_of(runs) == "done")
    assert (folder / "count").read_text() == "done\n"


def test_a_failure_is_one_line_from_the_jobs_log(folder: Path, runs: Runs) -> None:
    (folder / "fail").touch()
    run = runs.start(["all"])
    wait_for(lambda: state_of(runs) == "failed")
    error = progress(run, working=folder)["error"]
    assert error["line"] == "the lamp is broken; change it"
    assert error["log"] == str(folder / "first.log")


def test_a_lock_of_somebody_elses_run_is_told_and_not_broken(folder: Path, runs: Runs) -> None:
    (folder / ".snakemake/locks").mkdir(parents=True)
    (folder / ".snakemake/locks/0.output.lock").write_text("second.txt\nfirst.txt\n")
    killed = folder / ".adclick/runs/1"  # some time before: the lock is not its own
    killed.mkdir(parents=True)
    facts = {"pid": 1, "targets": ["all"], "time": time.time() - 100}
    (killed / "run.json").write_text(json.dumps(facts))
    assert state_of(runs) == "interrupted"
    run = runs.start(["all"])
    wait_for(lambda: state_of(runs) == "failed")
    error = progress(run, working=folder)["error"]
    assert error["locked"] and "another Snakemake" in error["line"]
    runs.start(["all"], unlock=True)
    wait_for(lambda: state_of(runs) == "done")


def test_a_run_whose_server_died_at_once_notes_itself(folder: Path, runs: Runs) -> None:
    run = runs.start(["all"])
    wait_for(lambda: state_of(runs) == "done")
    place = run.folder.parent / "2"
    place.mkdir()
    (place / ASKED).write_text((run.folder / ASKED).read_text())
    command = [sys.executable, "-m", "adclick.studio.child", str(place), "-", "all", "--cores", "1"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    last = runs.latest()
    assert last is not None and (last.number, last.state) == (2, "done")
    assert last.facts["targets"] == ["all"]


def test_a_process_is_known_by_more_than_its_number() -> None:
    own = identity(os.getpid())
    assert is_alive(own)
    assert not is_alive({**own, "ticks": own["ticks"] + 1})  # the number was given anew
    assert not is_alive({**own, "boot": "before the reboot"})
