"""What made a result, and whether the same would be made now: its stamp against the job that the
workflow plans for it.
"""

import json
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from adclick.run.artifacts import TRAINING, damage, input_digest, read_json, read_stamp
from adclick.run.errors import InputError
from adclick.run.folders import shown
from adclick.run.job import Job, describe_job
from adclick.run.planned import PlannedJob, plan_jobs
from adclick.run.provenance import code_with_libraries, digest
from adclick.run.yaml_files import read_yaml

CURRENT, STALE, DAMAGED, ABSENT = "current", "stale", "damaged", "not there"
FILES = "files"  # of a manifest's record: the digest of the files on disk that it was made of
SHOWN = 60  # characters of a value
# Copies may have forgotten dates, and nothing is known of what made them but by their stamps.
WHATEVER_DATES_SAY = ("--rerun-triggers", "code")


@dataclass(frozen=True)
class Verdict:
    """What is said of a job's results: one of the four states, why, and which inputs are not
    current either.
    """

    state: str
    reasons: tuple[str, ...] = ()
    follows: tuple[Path, ...] = ()


@dataclass
class Judge:
    """Judges the jobs of a plan by the stamps of their results; each job and file is read once.

    With `thorough`, every result is read whole, and its checksums compared.
    """

    jobs: Sequence[PlannedJob]
    thorough: bool = False
    _stamps: dict[Path, dict[str, Any] | None] = field(default_factory=dict)
    _described: dict[PlannedJob, Job[Any]] = field(default_factory=dict)
    _verdicts: dict[PlannedJob, Verdict] = field(default_factory=dict)

    @cached_property
    def makers(self) -> dict[Path, PlannedJob]:
        """Which job makes a file."""
        return {path: job for job in self.jobs for path in job.outputs}

    def stamp(self, path: Path) -> dict[str, Any] | None:
        """The stamp of a file that is there; InputError when it is damaged."""
        if path not in self._stamps:
            said = damage(path) if self.thorough else None
            if said is not None:
                raise InputError(said)
            self._stamps[path] = None if path.is_dir() else read_stamp(path)
        return self._stamps[path]

    def describe(self, job: PlannedJob) -> Job[Any]:
        """The job as its command understands it, with the stamp that its results would get."""
        if job not in self._described:
            self._described[job] = describe_job(job.command, job.argv, self._digest)
        return self._described[job]

    def _digest(self, path: Path, *, training: bool = False) -> str:
        """What stands for an input now; of one that is not kept, what would stand for it."""
        if path.exists() or path not in self.makers:
            return input_digest(path, training=training)
        stamp = self.describe(self.makers[path]).stamp
        return stamp[TRAINING] if training and TRAINING in stamp else digest(stamp)

    def verdict(self, job: PlannedJob) -> Verdict:
        """The state of a job's results; those that it is made of are judged first."""
        if job not in self._verdicts:
            self._verdicts[job] = self._judge(job)
        return self._verdicts[job]

    def inputs(self, job: PlannedJob) -> list[tuple[str, Path]]:
        """A job's inputs by name."""
        described = self.describe(job)
        lists = [(name, path) for name, paths in described.lists.items() for path in paths]
        return [*described.inputs.items(), *lists]

    def _judge(self, job: PlannedJob) -> Verdict:
        there = [path for path in job.outputs if path.exists()]
        if not there:
            return Verdict(ABSENT)
        try:
            stamps = [stamp for stamp in map(self.stamp, there) if stamp is not None]
        except InputError as error:
            return Verdict(DAMAGED, (str(error),))
        lacking = [f"{path} is not there" for path in job.outputs if not path.exists()]
        try:
            wanted = self.describe(job)
        except InputError as error:
            return Verdict(STALE, (*lacking, f"cannot be made now: {error}"))
        reasons = [*lacking, *_differences(stamps[0], wanted)] if stamps else lacking
        reasons += _of_other_files(wanted)
        follows = [path for _, path in self.inputs(job) if self._outdated(path)]
        state = STALE if reasons or follows else CURRENT
        return Verdict(state, tuple(reasons), tuple(dict.fromkeys(follows)))

    def _outdated(self, path: Path) -> bool:
        """Whether an input is stale or damaged; one that is not kept does not count."""
        maker = self.makers.get(path)
        return maker is not None and self.verdict(maker).state in (STALE, DAMAGED)


def _differences(stamp: Mapping[str, Any], wanted: Job[Any]) -> Iterator[str]:
    """What of a stamp is not what it would be now."""
    now = wanted.stamp
    yield from _of_code(stamp, now)
    yield from _of_values("setting", stamp.get("settings") or {}, now["settings"])
    if stamp.get("seed") != now["seed"]:
        yield f"seed {stamp.get('seed')} then, {now['seed']} now"
    before = stamp.get("inputs") or {}
    paths = {name: [path] for name, path in wanted.inputs.items()} | wanted.lists
    for name, found in now["inputs"].items():
        yield from _of_input(name, before.get(name), found, paths[name])
    gone = before.keys() - now["inputs"].keys() - _OWN
    yield from (f"input {name} then, none now" for name in sorted(gone))


# What stages add to their inputs themselves: files that are no artifacts.
_OWN = {"data", "folder", "textures"}


def _of_code(stamp: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    before, after = stamp.get("libraries") or {}, now["libraries"]
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield f"{name} {before.get(name, 'not used')} then, {after.get(name, 'not used')} now"
    if stamp.get("code") not in (now["code"], code_with_libraries(now["command"], before)):
        yield f"the code of {now['command']} is another"


def _of_values(what: str, before: Any, after: Any, place: str = "") -> Iterator[str]:
    """The leaves in which two JSON values differ."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in sorted(before.keys() | after.keys()):
            below = f"{place}.{name}" if place else str(name)
            yield from _of_values(what, before.get(name), after.get(name), below)
    elif before != after:
        yield f"{what} {place}: {_short(before)} then, {_short(after)} now"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _of_input(name: str, before: Any, after: Any, paths: Sequence[Path]) -> Iterator[str]:
    then, now = ([one] if isinstance(one, str) else list(one or []) for one in (before, after))
    if len(then) != len(now):
        yield f"input {name}: {len(then)} files then, {len(now)} now"
        return
    for path, one, other in zip(paths, then, now, strict=True):
        if one != other:
            yield f"input {name} is another than when this was made: {path}"


def _of_other_files(wanted: Job[Any]) -> Iterator[str]:
    """Whether a manifest was made of other files than there are now."""
    record = wanted.outputs.get("record")
    if FILES not in wanted.texts or record is None or not record.exists():
        return
    if read_json(record).get(FILES) not in (None, wanted.texts[FILES]):
        yield "pictures, masks or lists on disk are others than when this was made"


def roots(judge: Judge) -> list[PlannedJob]:
    """The jobs that must run again for a reason of their own: those after them follow."""
    found = ((job, judge.verdict(job)) for job in judge.jobs)
    return [job for job, one in found if one.reasons and one.state in (STALE, DAMAGED)]


def forced(judge: Judge) -> list[str]:
    """What to force so that all that is stale is made anew: what is after nothing else that is;
    rules where that is all of the rule that is there, else files.
    """
    stale = set(roots(judge))
    first = [job for job in judge.jobs if job in stale and not _follows(judge, job, stale)]
    counts = Counter(job.rule for job in first)
    there = Counter(job.rule for job in judge.jobs if judge.verdict(job).state != ABSENT)
    whole = [rule for rule in counts if 1 < counts[rule] == there[rule]]
    return [*whole, *(str(job.outputs[0]) for job in first if job.rule not in whole)]


def _follows(judge: Judge, job: PlannedJob, others: set[PlannedJob]) -> bool:
    """Whether a job reads, also through others, what one of `others` makes."""
    waiting, seen = [job], {job}
    while waiting:
        paths = [path for _, path in judge.inputs(waiting.pop()) if path in judge.makers]
        read = {judge.makers[path] for path in paths} - seen
        if read & others:
            return True
        seen |= read
        waiting += read
    return False


def explain(judge: Judge, path: Path) -> Iterator[str]:
    """Lines that say what made a result, of what, and whether it is current."""
    job = judge.makers[path]
    wanted, verdict = judge.describe(job), judge.verdict(job)
    yield str(path)
    yield f"made by: {job.rule} (python -m {job.command})"
    stamp = _stamp_of(judge, job)
    if stamp is not None:
        yield from _made_with(stamp)
    yield "of:"
    for name, one in judge.inputs(job):
        yield f"  {name} {one} ({_state_of(judge, one)})"
    for name, value in sorted((stamp or {}).get("inputs", {}).items()):
        if name in _OWN:
            yield f"  {name} of its own (digest {value})"
    if wanted.seed and stamp is None:
        yield f"seed: {wanted.seed}"
    yield from _conclusion(judge, verdict)


def _made_with(stamp: Mapping[str, Any]) -> Iterator[str]:
    libraries = ", ".join(f"{name} {one}" for name, one in sorted(stamp["libraries"].items()))
    yield f"code: {stamp['code']}, with {libraries or 'no numeric library'}"
    yield f"seed: {'none' if stamp['seed'] is None else stamp['seed']}"
    yield "settings:"
    yield from (f"  {name}: {json.dumps(one)}" for name, one in sorted(stamp["settings"].items()))


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
        command = ["snakemake", *targets, *options, *WHATEVER_DATES_SAY, "--forcerun"]
        print("  " + shlex.join([*command, *forced(judge)]))
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
