"""What determines a job's results."""

import json
from pathlib import Path

import pytest

from adclick.run.artifacts import write_json
from adclick.run.errors import InputError
from adclick.run.job import parse_job
from adclick.run.settings.section import Section


class Settings(Section):
    size_px: int


def stamp(path: Path, *, trains: bool) -> dict:
    argv = ["--images", str(path), "--settings", json.dumps({"size_px": 8})]
    return parse_job(
        "adclick.commands.make_table",
        Settings,
        argv,
        doc=None,
        inputs=["images"],
        trains=lambda _: trains,
    ).stamp


def write(path: Path, everything: str, seen: str | None) -> Path:
    write_json(path, {}, stamp={"data": everything} | ({} if seen is None else {"training": seen}))
    return path


def test_what_is_for_testing_alone_determines_no_training(tmp_path: Path) -> None:
    before, more_tests, more_normals, whole = (
        write(tmp_path / f"{number}.json", *stamped)
        for number, stamped in enumerate([("a", "x"), ("b", "x"), ("c", "y"), ("a", None)])
    )
    assert stamp(before, trains=True) == stamp(more_tests, trains=True)
    assert stamp(before, trains=True) != stamp(more_normals, trains=True)
    assert "training" not in stamp(before, trains=True)
    assert stamp(before, trains=False) != stamp(more_tests, trains=False)
    passed_on = [stamp(path, trains=False)["training"] for path in (before, more_tests)]
    assert passed_on[0] == passed_on[1] != stamp(more_normals, trains=False)["training"]
    assert "training" not in stamp(whole, trains=False)
    assert stamp(whole, trains=True) == stamp(whole, trains=False)


def test_an_input_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing.bin: cannot be read"):
        stamp(tmp_path / "nothing.bin", trains=False)
