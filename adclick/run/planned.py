"""The jobs of a workflow as Snakemake plans them: from what it says in a dry run, where every job
has its rule, its files and its command line.
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adclick.run.errors import InputError

COMMAND = re.compile(r"^(?:Shell command:\s*|\s+)?python -m (adclick\.commands\.\w+) (.*)$", re.M)
FIELD = re.compile(r"^    (\w+): (.*)$", re.M)
FAULT = re.compile(r"(Exception|Error)\b")
START = re.compile(r"^(?:local)?(?:rule|checkpoint) (\w+):$", re.M)


@dataclass(frozen=True)
class PlannedJob:
    """A job: its rule, the command with its arguments, and which of these are its outputs."""

    rule: str
    command: str
    argv: tuple[str, ...]
    outputs: tuple[Path, ...]


def plan_jobs(targets: Sequence[str], options: Sequence[str]) -> list[PlannedJob]:
    """Every job that the targets are made by, done or not, without running any; no target means the
    whole run. `options` are those of the run, its configuration before all.

    InputError with Snakemake's own line when it cannot plan them.
    """
    command = [sys.executable, "-m", "snakemake", *targets, "--dry-run", "--forceall"]
    command += ["--printshellcmds", "--nocolor", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise InputError(_complaint(done.stdout + done.stderr))
    return parse_plan(done.stdout + done.stderr)


def parse_plan(text: str) -> list[PlannedJob]:
    """The jobs in what a dry run prints; those without a command of ours make nothing."""
    blocks = START.split(text)
    found = [_job(rule, body) for rule, body in zip(blocks[1::2], blocks[2::2], strict=True)]
    return [job for job in found if job is not None]


def _job(rule: str, body: str) -> PlannedJob | None:
    command = COMMAND.search(body)
    listed = dict(FIELD.findall(body)).get("output", "").split(", ")
    if command is None:
        return None
    words = shlex.split(command[2])
    argv = words[: words.index(">")]
    return PlannedJob(rule, command[1], tuple(argv), tuple(Path(word) for word in listed))


def _complaint(text: str) -> str:
    """The line that says why, of all that Snakemake prints."""
    lines = [line.strip() for line in text.splitlines()]
    ours = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    starts = [number for number, line in enumerate(lines) if FAULT.search(line)]
    theirs = " ".join(lines[starts[0] :]) if starts else " ".join(lines[-3:])
    return ours[0] if ours else f"Snakemake cannot plan this: {theirs[:400]}"
