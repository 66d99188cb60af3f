"""Whether results are what the workflow would make now: the stamps that they carry against those
that the jobs planned for them would write.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from adclick.run.artifacts import TRAINING, damage, input_digest, read_json, read_stamp
from adclick.run.errors import InputError
from adclick.run.job import Job, describe_job
from adclick.run.planned import PlannedJob
from adclick.run.provenance import code_with_libraries, digest

CURRENT, STALE, DAMAGED, ABSENT = "current", "stale", "damaged", "not there"
FILES = "files"  # of a manifest's record: the digest of the files on disk that it was made of
SHOWN = 60  # characters of a value


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
    _stamps: dict[Path, dict[str, Any] | InputError | None] = field(default_factory=dict)
    _described: dict[PlannedJob, Job[Any]] = field(default_factory=dict)
    _verdicts: dict[PlannedJob, Verdict] = field(default_factory=dict)

    @cached_property
    def makers(self) -> dict[Path, PlannedJob]:
        """Which job makes a file."""
        return {path: job for job in self.jobs for path in job.outputs}

    def stamp(self, path: Path) -> dict[str, Any] | None:
        """The stamp of a file that is there; InputError when it is damaged."""
        if path not in self._stamps:
            self._stamps[path] = self._read_stamp(path)
        found = self._stamps[path]
        if isinstance(found, InputError):
            raise found
        return found

    def _read_stamp(self, path: Path) -> dict[str, Any] | InputError | None:
        said = damage(path) if self.thorough else None
        if said is not None:
            return InputError(said)
        try:
            return None if path.is_dir() else read_stamp(path)
        except InputError as error:
            return error

    def _is_damaged(self, path: Path) -> bool:
        try:
            self.stamp(path)
        except InputError:
            return True
        return False

    def describe(self, job: PlannedJob) -> Job[Any]:
        """The job as its command understands it, with the stamp that its results would get."""
        if job not in self._described:
            self._described[job] = describe_job(job.command, job.argv, self._digest)
        return self._described[job]

    def obstacle(self, job: PlannedJob) -> str | None:
        """Why a job's results cannot be made now, if they cannot."""
        try:
            self.describe(job)
        except InputError as error:
            return f"cannot be made now: {error}"
        return None

    def _digest(self, path: Path, *, training: bool = False) -> str:
        """What stands for an input now; of one that is not kept, or damaged, what would stand for
        it once it is made again.
        """
        maker = self.makers.get(path)
        if maker is None or (path.exists() and not self._is_damaged(path)):
            return input_digest(path, training=training)
        stamp = self.describe(maker).stamp
        return stamp[TRAINING] if training and TRAINING in stamp else digest(stamp)

    def verdict(self, job: PlannedJob) -> Verdict:
        """The state of a job's results; those that it is made of are judged first."""
        if job not in self._verdicts:
            self._verdicts[job] = self._judge(job)
        return self._verdicts[job]

    def inputs(self, job: PlannedJob) -> list[tuple[str, Path]]:
        """A job's inputs by name; of one that cannot be made now they are not known."""
        if self.obstacle(job) is not None:
            return []
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
        obstacle = self.obstacle(job)
        if obstacle is not None:
            return Verdict(STALE, (*lacking, obstacle))
        wanted = self.describe(job)
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
    gone = before.keys() - now["inputs"].keys() - OF_THEIR_OWN
    yield from (f"input {name} then, none now" for name in sorted(gone))


# What stages add to their inputs themselves: files that are no artifacts.
OF_THEIR_OWN = {"data", "folder", "textures"}


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
