"""`adclick explain`: what made a result, of what, whether it is current, and what makes it anew."""

import json
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from adclick.run.errors import InputError
from adclick.run.folders import shown
from adclick.run.judging import (
    ABSENT,
    CURRENT,
    DAMAGED,
    OF_THEIR_OWN,
    STALE,
    Judge,
    Verdict,
    forced,
    roots,
)
from adclick.run.planned import PlannedJob, plan_jobs
from adclick.run.yaml_files import read_yaml


def explain(judge: Judge, path: Path) -> Iterator[str]:
    """Lines that say what made a result, of what, and whether it is current."""
    job = judge.makers[path]
    verdict = judge.verdict(job)
    yield str(path)
    yield f"made by: {job.rule} (python -m {job.command})"
    stamp = _stamp_of(judge, job)
    if stamp is not None:
        yield from _made_with(stamp)
    yield "of:"
    for name, one in judge.inputs(job):
        yield f"  {name} {one} ({_state_of(judge, one)})"
    for name, value in sorted((stamp or {}).get("inputs", {}).items()):
        if name in OF_THEIR_OWN:
            yield f"  {name} of its own (digest {value})"
    yield from _conclusion(judge, verdict)
    obstacle = judge.obstacle(job) if verdict.state == ABSENT else None
    if obstacle is not None:
        yield f"it {obstacle}"


def _made_with(stamp: Mapping[str, Any]) -> Iterator[str]:
    used, settings, seed = (stamp.get(name) for name in ("libraries", "settings", "seed"))
    libraries = ", ".join(f"{name} {one}" for name, one in sorted((used or {}).items()))
    yield f"code: {stamp.get('code', 'unknown')}, with {libraries or 'no numeric library'}"
    yield f"seed: {'none' if seed is None else seed}"
    yield "settings:"
    yield from (f"  {name}: {json.dumps(one)}" for name, one in sorted((settings or {}).items()))


def _stamp_of(judge: Judge, job: PlannedJob) -> dict[str, Any] | None:
    """The stamp of the first of a job's files that is there, whole, and carries one."""
    for path in job.outputs:
        try:
            stamp = judge.stamp(path) if path.exists() else None
        except InputError:
            continue
        if stamp is not None:
            return stamp
    return None


def _state_of(judge: Judge, path: Path) -> str:
    if path in judge.makers:
        return judge.verdict(judge.makers[path]).state
    return "not made by the run" if path.exists() else ABSENT


def _conclusion(judge: Judge, verdict: Verdict) -> Iterator[str]:
    yield f"it is {verdict.state}{':' if verdict.reasons or verdict.follows else ''}"
    yield from (f"  {reason}" for reason in verdict.reasons)
    for path in verdict.follows:
        yield f"  made of {path}, which is {judge.verdict(judge.makers[path]).state}"


def explain_all(judge: Judge) -> Iterator[str]:
    """Lines on all results of a run: how many of each rule are in which state, and the reasons."""
    states: dict[str, Counter[str]] = defaultdict(Counter)
    for job in judge.jobs:
        states[job.rule][judge.verdict(job).state] += 1
    for rule, counts in states.items():
        yield f"{rule}: {', '.join(f'{counts[one]} {one}' for one in _STATES if counts[one])}"
    yield from _grouped(judge, roots(judge))


_STATES = (CURRENT, STALE, DAMAGED, ABSENT)


def _grouped(judge: Judge, stale: Iterable[PlannedJob]) -> Iterator[str]:
    """Every reason once, and which results it holds for."""
    holding: dict[str, list[str]] = defaultdict(list)
    for job in stale:
        for reason in judge.verdict(job).reasons:
            holding[reason].append(str(job.outputs[0]))
    for reason, paths in holding.items():
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        yield f"{reason} ({paths[0]}{more})"


def main(
    result: Path,
    *,
    whole_run: bool,
    overlays: Sequence[Path],
    values: Sequence[str],
    thorough: bool,
) -> int:
    """Print what is said of a result, or of all of a run, and how to make anew what is stale: 1
    when something is, else 0.
    """
    path = _in_project(result)
    named = list(overlays) or _overlay_of(path.parts[1])
    options = [*_option("--configfile", named), *_option("--config", values)]
    judge = Judge(plan_jobs([] if whole_run else [str(path)], options), thorough)
    if whole_run:
        _require_run(judge, path)
        lines, found = explain_all(judge), roots(judge)
    else:
        wanted = judge.makers.get(path)
        if wanted is None:
            raise InputError(f"{path} is no result of a stage; name a file that a rule makes")
        lines, found = explain(judge, path), roots(judge)
    for line in lines:
        print(shown(line))
    if found:
        print("to make anew what is stale, and what follows from it:")
        targets = [] if whole_run else [str(path)]
        print("  " + shlex.join(["snakemake", *targets, *options, "--forcerun", *forced(judge)]))
    return int(bool(found))


def _in_project(result: Path) -> Path:
    """A path as rules write it: relative to the folder in which Snakemake is run."""
    here = Path.cwd()
    path = result.absolute()
    below = path.relative_to(here) if path.is_relative_to(here) else result
    if len(below.parts) < 2 or below.parts[0] != "results" or ".." in below.parts:
        raise InputError(
            f"{result} is not below {here / 'results'}: run this in the project's folder, and put"
            " results that come from elsewhere under results/<run> there"
        )
    return below


def _overlay_of(run: str) -> list[Path]:
    """The overlays in `config` that are of a run, by the name that they give it."""
    base, *others = [Path("config/config.yaml"), *sorted(Path("config").glob("*.yaml"))]
    if not base.is_file():
        raise InputError(
            f"{Path.cwd()} has no config/config.yaml: run this in the project's folder"
        )
    if _run_of(base) == run:
        return []
    found = [path for path in others if _run_of(path) == run]
    if len(found) != 1:
        raise InputError(
            f"results/{run}: {len(found) or 'no'} files of config have `run: {run}`; give those"
            " that it was made with, in their order, with --configfile"
        )
    return found


def _run_of(overlay: Path) -> str | None:
    content = read_yaml(overlay, "configuration")
    return content.get("run") if isinstance(content, dict) else None


def _option(name: str, values: Sequence[object]) -> list[str]:
    return [name, *map(str, values)] if values else []


def _require_run(judge: Judge, path: Path) -> None:
    """InputError when the configuration is of another run than the folder is of."""
    of_run = {job.outputs[0].parts[1] for job in judge.jobs}
    if of_run != {path.parts[1]}:
        raise InputError(
            f"{path}: the configuration is of the run {', '.join(sorted(of_run))}; give its own"
            " with --configfile"
        )
