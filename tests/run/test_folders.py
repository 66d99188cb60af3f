"""Walks over folders, and names of any bytes."""

import inspect
import os
import sys
from pathlib import Path

import pytest

from adclick.run.artifacts import write_text
from adclick.run.folders import fault_of_type, passed_over, shown, walk, writable


def names(root: Path, paths: list[Path]) -> list[str]:
    return [path.relative_to(root).as_posix() for path in paths]


def test_links_are_followed_but_not_into_themselves(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in ("a/1", "b/2", "b/.hidden", ".git/3"):
        write_text(root / name, "")
    (root / "a/b").symlink_to(root / "b")
    (root / "b/a").symlink_to(root / "a")
    (root / "self").symlink_to("self")
    found = walk(root)
    assert names(root, found.files) == ["a/1", "a/b/2", "b/2", "b/a/1"]
    lost = {kind: names(root, paths) for kind, paths in found.lost.items()}
    assert lost == {
        "folders that lead back to themselves": ["a/b/a", "b/a/b"],
        "links to nothing": ["self"],
    }
    assert names(root, walk(root, apart_from=root / "b").files) == ["a/1"]


def test_folders_that_link_to_each_other_are_walked_twice_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight of them have 109,600 paths that do not lead back."""
    for name in "abcdefgh":
        write_text(tmp_path / name / "deeper/1", "")
        for other in "abcdefgh".replace(name, ""):
            (tmp_path / name / other).symlink_to(tmp_path / other)
    scan, scanned = os.scandir, []

    def scandir(path: Path):
        scanned.append(path)
        assert len(scanned) < 200
        return scan(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", scandir)
        found = walk(tmp_path)
    real = [path.resolve() for path in found.files]
    assert {real.count(path) for path in real} == {2}
    assert set(found.lost) == {
        "folders that lead back to themselves",
        "folders reached through another link",
    }


def test_one_folder_that_two_links_lead_to_is_walked_by_the_first(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write_text(tmp_path / "elsewhere/1", "")
    root.mkdir()
    for name in ("b", "a"):
        (root / name).symlink_to(tmp_path / "elsewhere")
    found = walk(root)
    assert names(root, found.files) == ["a/1"]
    assert list(passed_over(root, found.lost)) == [
        f"{root}: passed over, folders reached through another link: b"
    ]


def test_folders_may_be_nested_deeper_than_calls(tmp_path: Path) -> None:
    deepest = tmp_path.joinpath(*["a"] * 300)
    write_text(deepest / "1", "")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 200)
    try:
        found = walk(tmp_path)
    finally:
        sys.setrecursionlimit(limit)
    assert found.files == [deepest / "1"]


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch) -> None:
    """As when a machine is short of open files: nothing may be missing without a word."""
    for name in ("a/1", "b/2"):
        write_text(tmp_path / name, "")
    scan = os.scandir

    def scandir(path):
        if Path(path).name == "a":
            raise OSError(24, "Too many open files")
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = walk(tmp_path)
    assert names(tmp_path, found.files) == ["b/2"]
    assert list(passed_over(tmp_path, found.lost)) == [f"{tmp_path}: passed over, not readable: a"]


def test_what_is_passed_over_is_counted(tmp_path: Path) -> None:
    lost = {"odd": [tmp_path / f"{number}" for number in range(7)], "even": []}
    (line,) = passed_over(tmp_path, lost)
    assert line.endswith("odd: 0, 1, 2, 3, 4 and 2 more")


def test_a_name_of_any_bytes_is_shown() -> None:
    assert shown(os.fsdecode(b"na\xefve/\xc3\xa4")) == "na\\xefve/ä"
    assert shown(Path("ä 数据 'x'")) == "ä 数据 'x'"


def test_what_a_file_cannot_hold_is_not_writable() -> None:
    assert writable("9.41\u202fAM \u00a0\u3000 x\u200dy \U0001f600")
    assert not any(map(writable, ["\udce4", "a\nb", "a\x1bb", "a\x85b"]))


@pytest.mark.parametrize(
    "name",
    ["scratch (deep)", "R&D", "a,b", "Öl'fleck", "50 % #2", "a" * 100, "a\u00a0b", "a\u3000b"],
)
def test_what_a_folder_may_be_called_a_defect_may(name: str) -> None:
    assert fault_of_type(name) is None


@pytest.mark.parametrize(
    "name",
    ["", " ", "a ", ".x", "-x", "a/b", "..", "a\nb", "a\\b", "a:b", "a?", "\udce4", "ä" * 51],
)
def test_what_some_file_system_or_file_cannot_hold_is_refused(name: str) -> None:
    assert fault_of_type(name) is not None
