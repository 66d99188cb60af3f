"""Ways of solving one task, measured in turns: time, memory, and whether they agree."""

import ctypes
import gc
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MOST_ROUNDS = 15

Results = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """One way of solving a task, or a part of it: time and memory are multiplied by `times`."""

    name: str
    call: Callable[[], Any]
    times: float = 1.0


@dataclass(frozen=True)
class Check:
    """A figure and the bounds that it must keep."""

    what: str
    value: float
    least: float = -math.inf
    most: float = math.inf

    @property
    def passed(self) -> bool:
        return self.least <= self.value <= self.most


@dataclass(frozen=True)
class Task:
    """Variants of one computation, ours first.

    `agreement` compares their results, which it finds by name. `goals` are the least ratios of
    variants' CPU times to ours. `memory` names the variants whose extra memory is measured; ours
    should keep to `most_extra_mb`.
    """

    name: str
    variants: Sequence[Variant]
    agreement: Callable[[Results], list[Check]]
    goals: dict[str, float] = field(default_factory=dict)
    memory: Sequence[str] = ()
    most_extra_mb: float = math.inf


@dataclass(frozen=True)
class Timing:
    """Medians over rounds of one variant; `ratio` is that of its CPU time to ours, by round."""

    name: str
    cpu_s: float
    wall_s: float
    ratio: float
    extra_mb: float | None
    rounds: int


@dataclass(frozen=True)
class Outcome:
    """What was measured of one task; agreements must pass, goals are aims."""

    part: str
    task: str
    timings: list[Timing]
    agreements: list[Check]
    goals: list[Check]


@dataclass(frozen=True)
class _Spent:
    """What one call took; `extra_mb` is None where it was not measured."""

    cpu_s: float
    wall_s: float
    extra_mb: float | None


def run(part: str, task: Task, *, least_rounds: int = 3, least_s: float = 2.0) -> Outcome:
    """Measure a task's variants in turns, so that a busy machine disturbs all of them alike.

    There are `least_rounds` of them, or more until they have taken `least_s` of CPU time. Memory is
    measured in the second, when everything is loaded and compiled.
    """
    spent: dict[str, list[_Spent]] = {variant.name: [] for variant in task.variants}
    results: Results = {}
    started = time.process_time()
    for done in range(MOST_ROUNDS):
        if done >= least_rounds and time.process_time() - started > least_s:
            break
        for variant in task.variants:
            memory = variant.name in task.memory and done == min(1, least_rounds - 1)
            results[variant.name], own = _measured(variant, memory=memory)
            spent[variant.name].append(own)
    ours = spent[task.variants[0].name]
    timings = [_timing(name, rounds, ours) for name, rounds in spent.items()]
    return Outcome(part, task.name, timings, task.agreement(results), _goals(task, timings))


def _measured(variant: Variant, *, memory: bool) -> tuple[Any, _Spent]:
    """What a variant answers, and what that took."""
    before_mb = held_mb() if memory else None
    cpu, wall = time.process_time(), time.perf_counter()
    result = variant.call()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    extra_mb = None if before_mb is None else (peak_mb() - before_mb) * variant.times
    return result, _Spent(cpu * variant.times, wall * variant.times, extra_mb)


def _timing(name: str, rounds: Sequence[_Spent], ours: Sequence[_Spent]) -> Timing:
    ratios = [spent.cpu_s / own.cpu_s for spent, own in zip(rounds, ours, strict=True)]
    extra_mb = [spent.extra_mb for spent in rounds if spent.extra_mb is not None]
    return Timing(
        name=name,
        cpu_s=statistics.median(spent.cpu_s for spent in rounds),
        wall_s=statistics.median(spent.wall_s for spent in rounds),
        ratio=statistics.median(ratios),
        extra_mb=extra_mb[0] if extra_mb else None,
        rounds=len(rounds),
    )


def _goals(task: Task, timings: Sequence[Timing]) -> list[Check]:
    ours, *others = timings
    goals = [
        Check(f"CPU time of {timing.name} / ours", timing.ratio, least=task.goals[timing.name])
        for timing in others
        if timing.name in task.goals
    ]
    if ours.extra_mb is not None and math.isfinite(task.most_extra_mb):
        goals.append(Check("extra memory of ours, MB", ours.extra_mb, most=task.most_extra_mb))
    return goals


def held_mb() -> float | None:
    """What the process holds now, from where its peak is counted anew; None without Linux's /proc.

    The kernel's account sees every library's memory. What was freed but not returned would hide a
    part of the next peak, so it is returned first.
    """
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except (OSError, AttributeError):
        return None
    return peak_mb()


def peak_mb() -> float:
    """The most that the process held since it was last counted anew."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    peak_kb = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    return peak_kb * 1024 / 1e6
