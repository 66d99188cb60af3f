"""What takes long is made once."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from adclick.run.kept import SPARE, made_once

STAMP = {"code": "a", "inputs": {"images": ["1"]}}


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., bool]:
    """Makes two files as a job does whose outputs Snakemake has removed; whether it had to."""
    outputs = {"weights": tmp_path / "weights.safetensors", "record": tmp_path / "record.json"}

    def job(stamp: dict = STAMP, content: str = "trained") -> bool:
        made = []

        def train() -> None:
            made.append(True)
            for path in outputs.values():
                path.write_text(content)

        for path in outputs.values():
            path.unlink(missing_ok=True)
        made_once(outputs, stamp, train)
        assert {path.read_text() for path in outputs.values()} == {content}
        return bool(made)

    return job


def test_an_equal_job_takes_back_what_is_there_with_a_new_date(make, tmp_path: Path) -> None:
    assert make()
    os.utime(tmp_path / "weights.safetensors", (1, 1))
    assert not make()
    assert (tmp_path / "weights.safetensors").stat().st_mtime > 1
    assert not make()
    assert len(list(tmp_path.iterdir())) == 2 + 3


def test_another_job_makes_its_own_and_leaves_nothing_of_the_last(make, tmp_path: Path) -> None:
    assert make()
    other = {**STAMP, "inputs": {"images": ["2"]}}
    assert make(other, "trained anew")
    assert not make(other, "trained anew")
    assert len(list(tmp_path.iterdir())) == 2 + 3


def test_where_a_file_has_one_name_alone_it_is_made_each_time(make, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    assert make()
    assert make()


@pytest.mark.parametrize("name", [".weights.safetensors.kept", ".record.json.kept"])
@pytest.mark.parametrize("damage", [lambda path: path.write_text("?"), lambda path: path.unlink()])
def test_what_is_damaged_is_made_again(make, tmp_path: Path, name: str, damage: Callable) -> None:
    assert make()
    damage(tmp_path / name)
    assert make()
    assert not make()


def test_a_failure_keeps_nothing(make, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        made_once({"weights": tmp_path / "weights.safetensors"}, STAMP, lambda: 1 // 0)
    assert list(tmp_path.iterdir()) == []
    assert make()


def test_where_disk_is_spared_nothing_is_kept(make, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv(SPARE, "all")
    assert make()
    assert len(list(tmp_path.iterdir())) == 2
    assert make()
    monkeypatch.delenv(SPARE)
    assert make()
    monkeypatch.setenv(SPARE, "all")
    assert not make()  # what is there is taken back all the same
    assert len(list(tmp_path.iterdir())) == 2, "and goes when Snakemake lets it go"
