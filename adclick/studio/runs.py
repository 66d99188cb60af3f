"""Runs of Snakemake in a project's folder: begun, watched, cancelled, and taken up again.

A run is a session of its own, so it outlives the server that began it. What is known of it
lies in `<folder>/.adclick/runs/<number>/`: who it is (`run.json`), its events, what it printed, and
how it ended (`ended.json`, which a killed one never writes).
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from adclick.run.artifacts import write_text
from adclick.run.errors import InputError
from adclick.studio.events import read_events

KEPT_RUNS = 5
ASKED = "asked.json"
MARK = "ADCLICK_RUN"  # in the environment of all that a run begins: the run's folder
PATIENCE_S = 20.0  # for a cancelled run's jobs to end in order
REST_S = 5.0  # for jobs whose Snakemake was killed
LOCKS = ".snakemake/locks"
BOOT = Path("/proc/sys/kernel/random/boot_id")

State = Literal["running", "done", "failed", "cancelled", "interrupted"]


@dataclass(frozen=True)
class Run:
    """One run: its folder, and what `run.json` says."""

    folder: Path
    facts: Mapping[str, Any]

    @property
    def number(self) -> int:
        """Its place among the project's runs, from 1."""
        return int(self.folder.name)

    @property
    def state(self) -> State:
        """Whether it goes on, or how it ended."""
        ended = self.ended
        if ended is None:
            if is_alive(self.facts):
                return "running"
            return "cancelled" if self.is_cancelled else "interrupted"
        if ended["code"] == 0:
            return "done"
        return "cancelled" if self.is_cancelled else "failed"

    @property
    def ended(self) -> dict[str, Any] | None:
        """How and when it ended; None for one that goes on or was killed."""
        path = self.folder / "ended.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    @property
    def is_cancelled(self) -> bool:
        """Whether a person ended it."""
        return (self.folder / "cancelled").exists()

    @property
    def is_ending(self) -> bool:
        """Whether a person has ended it so lately that its jobs may still be ending in order."""
        path = self.folder / "cancelled"
        return path.exists() and time.time() - path.stat().st_mtime < 2 * PATIENCE_S

    def events(self) -> list[dict[str, Any]]:
        """Its events so far."""
        return list(read_events(self.folder / "events.jsonl"))

    def printed(self) -> str:
        """What Snakemake printed."""
        path = self.folder / "output.txt"
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


class Runs:
    """The runs of one project, one at a time. `working` is the folder that Snakemake works in;
    `arguments` are what every call of it gets.
    """

    def __init__(self, folder: Path, *, working: Path, arguments: Sequence[str]) -> None:
        """Nothing is begun here; what an earlier server left is found."""
        self.folder, self.working, self.arguments = folder, working, list(arguments)
        self._lock = threading.Lock()

    def latest(self) -> Run | None:
        """The last run; None before the first."""
        with self._lock:
            return self._latest()

    def start(self, targets: Sequence[str], *, unlock: bool = False, **facts: Any) -> Run:
        """Begin a run; what an earlier one was in the middle of is done anew. `facts` are kept with
        it. Jobs that outlived the Snakemake that began them are ended first.

        `unlock` frees the folder from the lock of a Snakemake that was killed; one that was begun
        here is freed without. InputError while another runs.
        """
        with self._lock:
            last = self._latest()
            if last is not None and last.state == "running":
                raise InputError("a run goes on already; wait for it, or cancel it")
            if last is not None:
                _end_rest(last)
            own = last is not None and last.ended is None and self._is_locked_by(last)
            run = self._begun(targets, facts, unlock=unlock or own)
            self._forget_old(run.number)
            return run

    def cancel(self) -> None:
        """End the run that goes on, its jobs first; they go on from there when it is begun anew."""
        run = self.latest()
        if run is None or run.state != "running":
            raise InputError("nothing to cancel: no run goes on")
        (run.folder / "cancelled").touch()
        _signal(run, signal.SIGTERM)
        threading.Thread(target=self._kill_later, args=(run,), daemon=True).start()

    def _kill_later(self, run: Run) -> None:
        end = time.monotonic() + PATIENCE_S
        while _processes(run) and time.monotonic() < end:
            time.sleep(0.2)
        _signal(run, signal.SIGKILL)

    def _is_locked_by(self, run: Run) -> bool:
        """Whether the folder is locked, and by nobody since the last that this run said."""
        events = run.events()
        said = max([float(run.facts["time"]), *(one["time"] for one in events)])
        locked = [path.stat().st_mtime for path in (self.working / LOCKS).glob("*")]
        return bool(locked) and max(locked) <= said

    def _latest(self) -> Run | None:
        numbers = [int(path.name) for path in self.folder.glob("[0-9]*") if path.name.isdigit()]
        for number in sorted(numbers, reverse=True):
            path = self.folder / str(number) / "run.json"
            if path.is_file():  # else its server was killed before the process was begun
                return Run(path.parent, json.loads(path.read_text(encoding="utf-8")))
        return None

    def _begun(self, targets: Sequence[str], more: Mapping[str, Any], *, unlock: bool) -> Run:
        numbers = [int(path.name) for path in self.folder.glob("[0-9]*") if path.name.isdigit()]
        folder = self.folder / str(max(numbers, default=0) + 1)
        folder.mkdir(parents=True)
        logger = ["--logger", "adclick", "--logger-adclick-file", str(folder / "events.jsonl")]
        asked = [*targets, *self.arguments, "--rerun-incomplete", *logger]
        note = [str(folder), "unlock" if unlock else "-"]
        began = {**more, "targets": list(targets), "time": time.time()}
        write_text(folder / ASKED, json.dumps(began) + "\n")
        with (folder / "output.txt").open("wb") as output:
            child = subprocess.Popen(
                [sys.executable, "-m", "adclick.studio.child", *note, *asked],
                cwd=self.working,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, MARK: str(folder.absolute())},
            )
        # Waited for, or it would stay as a zombie when it has ended.
        threading.Thread(target=child.wait, daemon=True).start()
        return Run(folder, note_identity(folder, child.pid))

    def _forget_old(self, newest: int) -> None:
        for path in self.folder.glob("[0-9]*"):
            if path.name.isdigit() and int(path.name) <= newest - KEPT_RUNS:
                for file in path.iterdir():
                    file.unlink(missing_ok=True)
                path.rmdir()


def note_identity(folder: Path, pid: int) -> dict[str, Any]:
    """Write down which process a run is. Its server does so, and the process itself, in case that
    the server is killed before.
    """
    facts = {**json.loads((folder / ASKED).read_text(encoding="utf-8")), **identity(pid)}
    part = folder / f".run.{os.getpid()}.part"  # both may write at once, the same
    part.write_text(json.dumps(facts) + "\n", encoding="utf-8")
    part.replace(folder / "run.json")
    return facts


def identity(pid: int) -> dict[str, Any]:
    """Which process this is: a number is given anew after some time, and after a reboot."""
    return {"pid": pid, "ticks": _ticks(pid), "boot": BOOT.read_text().strip()}


def is_alive(facts: Mapping[str, Any]) -> bool:
    """Whether the process of such an identity still runs."""
    if facts.get("boot") != BOOT.read_text().strip():
        return False
    ticks = _ticks(int(facts["pid"]))
    return ticks is not None and ticks == facts.get("ticks")


def _ticks(pid: int) -> int | None:
    """When a process began, in clock ticks since the machine did; None when it has ended."""
    fields = _stat(Path(f"/proc/{pid}"))
    return None if fields is None else int(fields[19])


def _stat(process: Path) -> list[str] | None:
    """What the kernel says of a process from its state on; None when it has ended."""
    try:
        text = (process / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else fields


def _processes(run: Run) -> list[int]:
    """All processes of a run that live, whether the first of them still does or not: of its
    session, and with its mark, since a session's number is given anew as well.
    """
    if run.facts.get("boot") != BOOT.read_text().strip():
        return []
    session, mark = str(run.facts["pid"]), f"{MARK}={run.folder.absolute()}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        fields = _stat(process)
        if fields is None or fields[3] != session:
            continue
        with suppress(OSError):
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


def _signal(run: Run, number: signal.Signals) -> None:
    """Send a signal to a run and to all that it began."""
    with suppress(ProcessLookupError):
        if is_alive(run.facts):
            os.killpg(int(run.facts["pid"]), number)
            return
    for pid in _processes(run):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _end_rest(run: Run) -> None:
    """End what lives on of a run whose Snakemake was killed: it would write the files that the next
    run writes. InputError when it does not end.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        _signal(run, number)
        end = time.monotonic() + REST_S
        while _processes(run) and time.monotonic() < end:
            time.sleep(0.1)
    if left := _processes(run):
        raise InputError(
            f"jobs of the last run do not end (processes {left}); end them, then go on"
        )
