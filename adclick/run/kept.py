"""Results that take long and are made once: a job that would make the same again takes them back.

Snakemake removes a job's files before it starts, also where only a date has changed, or something
that the job does not read.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from adclick.run.artifacts import read_json, replacing, write_json
from adclick.run.errors import InputError
from adclick.run.provenance import file_sha256

SPARE = "ADCLICK_SPARE_DISK"  # set by the workflow


def spares_disk() -> bool:
    """Whether nothing is kept that only saves time: a run with `spare_disk: all`."""
    return os.environ.get(SPARE) == "all"


def made_once(
    outputs: Mapping[str, Path], stamp: Mapping[str, Any], make: Callable[[], None]
) -> None:
    """`make` the outputs, or take back those that were made with an equal stamp and are undamaged.

    They are kept under second names beside them, which takes no space while both are there; where a
    file cannot have two names, or disk is spared, nothing is kept. What is kept of another stamp
    goes before anything is made.
    """
    sums = _sums_file(outputs)
    if _is_kept(outputs, stamp, sums):
        for path in outputs.values():
            with replacing(path) as temporary:
                temporary.hardlink_to(_second(path))
            os.utime(path)
        print("made before of the same: taken back")
        if spares_disk():
            _forget(outputs)
        return
    _forget(outputs)
    make()
    if spares_disk():
        return
    with suppress(OSError):
        for path in outputs.values():
            _second(path).hardlink_to(path)
        found = {name: file_sha256(path) for name, path in outputs.items()}
        write_json(sums, {"sha256": found}, stamp=stamp)


def _is_kept(outputs: Mapping[str, Path], stamp: Mapping[str, Any], sums: Path) -> bool:
    try:
        kept = read_json(sums)
        return kept["stamp"] == stamp and kept["sha256"] == {
            name: file_sha256(_second(path)) for name, path in outputs.items()
        }
    except (InputError, OSError, KeyError):
        return False


def _forget(outputs: Mapping[str, Path]) -> None:
    for path in (_sums_file(outputs), *map(_second, outputs.values())):
        path.unlink(missing_ok=True)


def _second(path: Path) -> Path:
    return path.with_name(f".{path.name}.kept")


def _sums_file(outputs: Mapping[str, Path]) -> Path:
    return _second(next(iter(outputs.values()))).with_suffix(".json")
