import json
import os
from pathlib import Path

import numpy as np
import pytest

from adclick.annotate import planes
from adclick.annotate.store import (
    Journal,
    find_pictures,
    mask_of,
    only_server,
    plane_run_lengths,
    read_label,
    run_lengths,
    save_label,
    saved_labels,
    saved_mask,
)
from adclick.data.images import write_png
from adclick.run.errors import InputError


def test_pictures_are_found_by_key_and_broken_ones_said(images: Path) -> None:
    found = find_pictures(images)
    assert [one.key for one in found] == ["broken", "crack/000", "crack/001", "zz", "ü b/ä"]
    assert [one.broken is None for one in found] == [False, True, True, True, True]
    assert found[1].shape == (40, 60)


def test_a_name_with_a_narrow_space_can_be_labelled(tmp_path: Path) -> None:
    write_png(tmp_path / "at 9.41\u202fAM.png", np.zeros((2, 3), np.uint8))
    (found,) = find_pictures(tmp_path)
    assert (found.key, found.broken) == ("at 9.41\u202fAM", None)


def test_two_files_of_one_name_and_no_file_are_errors(images: Path, tmp_path: Path) -> None:
    (images / "zz.jpg").write_bytes((images / "zz.png").read_bytes())
    with pytest.raises(InputError, match="zz.png: zz.jpg has the same name"):
        find_pictures(images)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="no picture in it"):
        find_pictures(tmp_path / "none")
    with pytest.raises(InputError, match="no such folder"):
        find_pictures(tmp_path / "missing")


def test_a_journal_gives_back_what_was_appended(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "a/b ü")
    assert journal.read() == []
    journal.append({"n": 1, "text": "ä\n"})
    journal.append({"n": 2})
    assert Journal(tmp_path, "a/b ü").read() == [{"n": 1, "text": "ä\n"}, {"n": 2}]


def test_a_torn_last_line_is_cut_and_what_follows_is_whole(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "a")
    journal.append({"n": 1})
    with journal.path.open("ab") as file:
        file.write(b'{"n": 2, "te')
    assert journal.read() == [{"n": 1}]
    journal.append({"n": 3})
    assert journal.read() == [{"n": 1}, {"n": 3}]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "a")
    journal.append({"n": 1})
    journal.path.write_bytes(b"garbage\n" + journal.path.read_bytes())
    with pytest.raises(InputError, match="line 1 is damaged"):
        journal.read()


@pytest.mark.parametrize("key", ["../out", "a/../../out", "/etc/passwd"])
def test_keys_do_not_lead_out(tmp_path: Path, key: str) -> None:
    labels = tmp_path / "labels"
    with pytest.raises(InputError, match="outside"):
        Journal(labels, key)
    with pytest.raises(InputError, match="outside"):
        save_label(labels, key, {}, None)


def test_labels_are_files_that_people_can_read(tmp_path: Path) -> None:
    mask = np.zeros((5, 7), bool)
    mask[2, 3] = True
    save_label(tmp_path, "x/y", {"state": "done"}, mask)
    assert np.array_equal(saved_mask(tmp_path, "x/y"), mask)
    assert json.loads((tmp_path / "x/y.json").read_text()) == {"state": "done"}
    assert saved_labels(tmp_path) == {"x/y": {"state": "done"}}
    save_label(tmp_path, "x/y", {"state": "skipped"}, None)
    assert saved_mask(tmp_path, "x/y") is None
    assert read_label(tmp_path, "nothing") is None


def test_labels_that_cannot_be_reached_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_label(tmp_path, "x/y", {"state": "done"}, None)
    (tmp_path / "x/again").symlink_to(tmp_path)
    assert list(saved_labels(tmp_path)) == ["x/y"]
    assert capsys.readouterr().err.endswith("lead back to themselves: x/again\n")
    (tmp_path / "disk").symlink_to(tmp_path / "not mounted")
    (tmp_path / "x/z.json").symlink_to("gone.json")
    with pytest.raises(InputError, match=r"may be missing, links to nothing: disk, x/z\.json; rep"):
        saved_labels(tmp_path)


def test_a_folder_of_labels_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch) -> None:
    for key in ("a/1", "b/2"):
        save_label(tmp_path, key, {"state": "done"}, None)
    scan = os.scandir

    def scandir(path: Path):
        if Path(path).name == "a":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InputError, match="labels may be missing, not readable: a; repair"):
        saved_labels(tmp_path)


def test_no_labels_are_told(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="no labels in it; label images"):
            saved_labels(folder)


def test_run_lengths_go_down_the_columns_and_back() -> None:
    mask = np.array([[0, 1], [1, 1]], bool)
    assert run_lengths(mask) == {"size": [2, 2], "counts": [1, 3]}
    assert run_lengths(np.ones((1, 2), bool))["counts"] == [0, 2]
    generator = np.random.default_rng(0)
    for _ in range(20):
        mask = generator.random((9, 13)) < 0.4
        assert np.array_equal(mask_of(run_lengths(mask)), mask)
    with pytest.raises(InputError, match="do not fill"):
        mask_of({"size": [2, 2], "counts": [1, 2]})


def test_an_entry_that_could_not_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path, "a")
    journal.append({"n": 1})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("adclick.annotate.store.os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            journal.append({"n": 2})
    assert journal.read() == [{"n": 1}]
    journal.append({"n": 3})
    assert journal.read() == [{"n": 1}, {"n": 3}]


def test_a_folder_has_one_server(tmp_path: Path) -> None:
    with only_server(tmp_path):
        second = only_server(tmp_path)
        with pytest.raises(InputError, match="another `adclick annotate`"):
            second.__enter__()
    with only_server(tmp_path):
        pass


def test_a_label_that_was_painted_over_with_a_soft_brush_is_what_is_bright(tmp_path: Path) -> None:
    write_png(tmp_path / "x.png", np.array([[0, 60, 255]], np.uint8))
    mask = saved_mask(tmp_path, "x")
    assert mask is not None
    assert mask.tolist() == [[False, False, True]]


@pytest.mark.parametrize("tile_px", [4, 16, 1 << 22])
def test_run_lengths_of_planes_are_those_of_masks(
    tile_px: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planes, "WHOLE_PIXELS", 0)
    monkeypatch.setattr(planes, "TILE_PX", tile_px)
    generator = np.random.default_rng(0)
    for _ in range(60):
        height, width = (int(length) for length in generator.integers(1, 30, 2))
        mask = generator.random((height, width)) < generator.choice([0.0, 0.1, 0.5, 0.97, 1.0])
        mask[int(generator.integers(30)) :] = False
        assert plane_run_lengths(planes.plane_of(mask)) == run_lengths(mask)
