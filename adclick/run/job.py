"""How every command of the workflow starts and ends: arguments, settings, stamp, one line for a
mistake.
"""

import argparse
import errno
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from adclick.run.artifacts import CHECKED, DISK_ERRORS, TRAINING, damage, input_digest
from adclick.run.errors import InputError
from adclick.run.folders import shown
from adclick.run.provenance import digest, make_stamp
from adclick.run.settings.section import validation_line

FAILED, BAD_INPUT = 1, 2
SettingsT = TypeVar("SettingsT", bound=BaseModel)


@dataclass(frozen=True)
class Job(Generic[SettingsT]):
    """One run of a stage: its files by name, validated settings, seed, and the stamp of its
    results.
    """

    inputs: dict[str, Path]
    lists: dict[str, list[Path]]
    outputs: dict[str, Path]
    settings: SettingsT
    seed: int
    data_root: Path
    texts: dict[str, str]
    stamp: dict[str, Any]


class _DescribedError(Exception):
    """Ends a command at the job that its command line describes."""

    def __init__(self, job: Job[Any]) -> None:
        self.job = job


# What stands for `input_digest` while a command line is only described.
_digest_of: ContextVar[Callable[..., str] | None] = ContextVar("digest_of", default=None)


def describe_job(command: str, argv: Sequence[str], digest_of: Callable[..., str]) -> Job[Any]:
    """The job that a command line describes, without running it.

    `digest_of` stands for `input_digest`, since its inputs need not be there.
    """
    known = _digest_of.set(digest_of)
    try:
        import_module(command).main(argv)
    except _DescribedError as described:
        return described.job
    finally:
        _digest_of.reset(known)
    raise ValueError(f"{command} did something before it knew its job")


def parse_job(
    command: str,
    settings: type[SettingsT],
    argv: Sequence[str] | None,
    *,
    doc: str | None,
    inputs: Sequence[str] = (),
    optional: Sequence[str] = (),
    lists: Sequence[str] = (),
    outputs: Sequence[str] = (),
    texts: Sequence[str] = (),
    seeded: bool = False,
    data_root: bool = False,
    trains: Callable[[SettingsT], bool] = lambda _: False,
) -> Job[SettingsT]:
    """The job that a command line describes.

    Every name becomes a flag: `inputs` one file each, `optional` none or one, `lists` any number of
    files, `outputs` one each, `texts` a word each that determines nothing. `--settings` is a JSON
    object that must fit the `settings` model. `trains` says of settings whether the job reads of no
    input what is for testing alone: such pictures then do not determine its results.
    Raises InputError when it does not, and when an input cannot be read.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {command}", description=doc)
    for name in [*inputs, *outputs]:
        parser.add_argument(_flag(name), type=Path, required=True)
    for name in optional:
        parser.add_argument(_flag(name), type=Path)
    for name in lists:
        parser.add_argument(_flag(name), type=Path, nargs="*", default=[])
    for name in texts:
        parser.add_argument(_flag(name), required=True)
    parser.add_argument("--settings", required=True, help="a JSON object")
    if seeded:
        parser.add_argument("--seed", type=int, required=True)
    if data_root:
        parser.add_argument("--data-root", type=Path, required=True)
    values = vars(parser.parse_args(argv))
    given = {name: values[name] for name in [*inputs, *optional] if values[name] is not None}
    many = {name: list(values[name]) for name in lists}
    valid = read_settings(settings, values["settings"])
    seed = values.get("seed")
    said = valid.model_dump(mode="json")
    stamped = partial(make_stamp, command, settings=said, seed=seed)
    seen = stamp = stamped(inputs=_digests(given, many, training=True))
    if not trains(valid):
        stamp = with_training(stamped(inputs=_digests(given, many, training=False)), seen)
    job = Job(
        inputs=given,
        lists=many,
        outputs={name: values[name] for name in outputs},
        settings=valid,
        seed=seed or 0,
        data_root=values.get("data_root") or Path(),
        texts={name: values[name] for name in texts},
        stamp=stamp,
    )
    if _digest_of.get() is not None:
        raise _DescribedError(job)
    return job


def _digests(
    given: Mapping[str, Path], many: Mapping[str, Sequence[Path]], *, training: bool
) -> dict[str, Any]:
    """What stands for the inputs in a stamp; with `training`, for what trainings see of them."""
    digest_of = _digest_of.get() or input_digest
    single = {name: digest_of(path, training=training) for name, path in given.items()}
    lists = {
        name: [digest_of(path, training=training) for path in paths] for name, paths in many.items()
    }
    return {**single, **lists}


def with_training(stamp: dict[str, Any], seen: Mapping[str, Any]) -> dict[str, Any]:
    """A stamp, and beside it, where it differs, the digest of the stamp of what trainings see."""
    return stamp if stamp == seen else {**stamp, TRAINING: digest(seen)}


def read_settings(model: type[SettingsT], text: str) -> SettingsT:
    """Settings from JSON text; InputError with the key, the value and what is allowed."""
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise InputError(validation_line("--settings", error)) from None


def run(main: Callable[[], object]) -> None:
    """Run a command: exit 0 when done, 2 with one line for a user's mistake, 1 with a traceback
    otherwise.

    A full or failing disk, and an input that turns out to be damaged, are a line too, with exit 1.
    Being asked to stop (SIGTERM) ends it in order, so that nothing half-written stays.
    """
    signal.signal(signal.SIGTERM, _stop)
    try:
        main()
    except InputError as error:
        print(f"error: {shown(' '.join(str(error).split()))}", file=sys.stderr)
        raise SystemExit(BAD_INPUT) from None
    except OSError as error:
        lines = _told(error)
        if not lines:
            raise
        for line in lines:
            print(f"error: {shown(line)}", file=sys.stderr)
        raise SystemExit(FAILED) from None


def _told(error: OSError) -> list[str]:
    """What to say instead of a traceback: of the disk, or of the files of the command line."""
    if error.errno in DISK_ERRORS:
        place = error.filename or "results"
        what = "read or written" if error.errno == errno.EIO else "written"
        return [
            f"{place}: cannot be {what} ({error.strerror}); see to the disk, then type the same"
            " command again: what is finished stays"
        ]
    named = [Path(word) for word in sys.argv[1:] if word.endswith(CHECKED)]
    found = [damage(path) for path in named if path.is_file()]
    return [line for line in found if line is not None]


def _stop(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
