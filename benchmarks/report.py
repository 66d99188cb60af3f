"""What was measured, as text, Markdown and JSON, with the facts about the machine."""

import json
import math
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from threadpoolctl import threadpool_info

from benchmarks.measure import Check, Outcome

LIBRARIES = ("torch", "numpy", "numba", "scikit-learn", "opencv-python-headless", "h5py", "timm")
HEADER = ("variant", "CPU s", "wall s", "CPU / ours", "extra MB")


def machine() -> dict[str, str]:
    """What the figures depend on beside the code."""
    pools = {f"{pool['user_api']} {pool['num_threads']}" for pool in threadpool_info()}
    return {
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": ", ".join(sorted(pools)),
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    }


def as_text(outcome: Outcome) -> str:
    """One task: a table, and below it what agrees and which goals are reached."""
    rows = _rows(outcome)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([_title(outcome), *(f"  {line}" for line in [*lines, *_notes(outcome)]), ""])


def as_markdown(outcomes: Sequence[Outcome], facts: dict[str, str]) -> str:
    """All tasks, and the machine."""
    sections = ["# Benchmark", "", "Medians over rounds; ratios are those of CPU times.", ""]
    for outcome in outcomes:
        header, *rows = _rows(outcome)
        table = [header, ("---", *("---:" for _ in header[1:])), *rows]
        sections += [f"## {_title(outcome)}", ""]
        sections += [f"| {' | '.join(row)} |" for row in table]
        sections += ["", *(f"* {note}" for note in _notes(outcome)), ""]
    sections += ["## Machine", "", *(f"* {name}: {fact}" for name, fact in facts.items())]
    return "\n".join(sections) + "\n"


def write(path: Path, outcomes: Sequence[Outcome], facts: dict[str, str]) -> None:
    """The JSON file `path`, and beside it the same as Markdown."""
    found = {"machine": facts, "tasks": [asdict(outcome) for outcome in outcomes]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(as_markdown(outcomes, facts), encoding="utf-8")


def _title(outcome: Outcome) -> str:
    return f"{outcome.part}: {outcome.task} (rounds: {outcome.timings[0].rounds})"


def _rows(outcome: Outcome) -> list[tuple[str, ...]]:
    """The table with its header; without the column of memory where none was measured."""
    rows = [
        (
            timing.name,
            f"{timing.cpu_s:.4f}",
            f"{timing.wall_s:.4f}",
            f"{timing.ratio:.2f}",
            "" if timing.extra_mb is None else f"{timing.extra_mb:.0f}",
        )
        for timing in outcome.timings
    ]
    columns = len(HEADER) if any(row[-1] for row in rows) else len(HEADER) - 1
    return [row[:columns] for row in (HEADER, *rows)]


def _notes(outcome: Outcome) -> list[str]:
    agreements = [_note(check, "agrees", "DIFFERS") for check in outcome.agreements]
    return agreements + [_note(check, "reached", "missed") for check in outcome.goals]


def _note(check: Check, passed: str, failed: str) -> str:
    bounds = [
        f"{word} {bound:g}"
        for word, bound in (("at least", check.least), ("at most", check.most))
        if math.isfinite(bound)
    ]
    verdict = f" ({' and '.join(bounds)}: {passed if check.passed else failed})" if bounds else ""
    return f"{check.what}: {check.value:.6g}{verdict}"


def _processor() -> str:
    """The processor's name where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
