"""What `adclick init` says of photographs is what lies there."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adclick.data.images import read_image, write_png
from adclick.data.manifest import camera_bits
from adclick.project.likeness import describe, view_of
from adclick.project.survey import (
    Survey,
    size_line,
    survey_lines,
    survey_photographs,
    without,
)
from adclick.run.errors import InputError
from tests.project.photographs import scratched, write_photographs

KINDS = {"rust": 2, "scratch": 1}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return write_photographs(tmp_path, "washer", normals=12, kinds=KINDS)


def lines(survey: Survey) -> str:
    return "\n".join(survey_lines(survey))


def test_photographs_are_counted_by_kind_and_size(folders: tuple[Path, Path]) -> None:
    good, defects = folders
    write_png(defects / "loose.png", np.zeros((40, 60, 3), np.uint8))
    found = survey_photographs(good, defects)
    assert len(found.normals) == 12
    assert found.kinds == {"defect": 1, **KINDS}
    assert found.sizes == {(64, 64): 15, (40, 60): 1}
    assert "12 normal photographs, 4 defective ones (1 defect, 2 rust, 1 scratch)" in lines(found)
    assert "64 x 64 (15), 60 x 40 (1)" in lines(found)


def test_of_many_sizes_the_span_is_told() -> None:
    many = {(200, 300): 5, (100, 300): 1, (150, 320): 1, (151, 290): 1}
    assert size_line(many) == "290-320 x 100-200, 4 different ones; most are 300 x 200"
    alike = dict.fromkeys([(64, 10), (64, 11), (64, 12), (64, 13)], 1)
    assert size_line(alike) == "10-13 x 64, 4 different ones"


def test_progress_is_told_file_by_file(folders: tuple[Path, Path]) -> None:
    told: list[tuple[int, int]] = []
    survey_photographs(*folders, progress=lambda done, of: told.append((done, of)))
    assert told == [(done, 15) for done in range(1, 16)]


def test_what_cannot_be_used_is_named_and_stops_nothing(folders: tuple[Path, Path]) -> None:
    good, defects = folders
    (good / "note.txt").write_text("no picture")
    (good / "broken.png").write_bytes(b"\x89PNG broken")
    (good / "gone.png").symlink_to("nowhere.png")
    (defects / "good").mkdir()
    shutil.copy(defects / "rust/000.png", defects / "good/lost.png")
    (good / ".hidden.png").write_bytes(b"")
    found = survey_photographs(good, defects)
    named = {what: [path.name for path in paths] for what, paths in found.passed_over.items()}
    assert named.pop("no pictures") == ["note.txt"]
    assert named.pop("broken, or cannot be read") == ["broken.png"]
    assert named.pop("links to nothing") == ["gone.png"]
    ((what, paths),) = named.items()
    assert "'good' is what normal ones are called" in what
    assert paths == ["lost.png"]
    assert len(found.normals) == 12
    for name in ("note.txt", "broken.png", "gone.png", "lost.png"):
        assert name in lines(found)


def test_a_picture_that_is_there_twice_is_used_once(folders: tuple[Path, Path]) -> None:
    good, defects = folders
    write_png(good / "again.png", read_image(good / "003.png"))
    found = survey_photographs(good, defects)
    assert [[one.path.name for one in group] for group in found.duplicates] == [
        ["003.png", "again.png"]
    ]
    assert len(found.normals) == 12
    assert "used once" in lines(found)


def test_a_picture_that_is_normal_and_defective_is_not_used(folders: tuple[Path, Path]) -> None:
    good, defects = folders
    shutil.copy(defects / "rust/001.png", good / "strange.png")
    found = survey_photographs(good, defects)
    assert [sorted(one.path.name for one in group) for group in found.contradictory] == [
        ["001.png", "strange.png"]
    ]
    assert found.kinds == {"rust": 1, "scratch": 1}
    assert len(found.normals) == 12
    assert "not used" in lines(found)


@pytest.mark.parametrize("category", ["cloth", "washer"])
def test_a_defect_among_normal_ones_stands_out(tmp_path: Path, category: str) -> None:
    good, _ = write_photographs(tmp_path, category, normals=24, kinds={})
    assert len(survey_photographs(good).odd) <= 1
    write_png(good / "odd.png", scratched(read_image(good / "005.png")))
    found = survey_photographs(good)
    assert found.odd[0].photograph.path.name == "odd.png"
    assert 0.2 < found.odd[0].row < 0.7
    assert 0.25 < found.odd[0].column < 0.6
    assert "odd.png: unlike the other normal ones" in lines(found)


@pytest.mark.parametrize(("category", "texture"), [("cloth", True), ("washer", False)])
def test_a_texture_is_told_from_an_object(tmp_path: Path, category: str, texture: bool) -> None:
    good, _ = write_photographs(tmp_path, category, normals=16, kinds={})
    view = survey_photographs(good).view
    assert view.texture == texture
    assert view.aligned != texture


def test_a_product_that_moves_about_is_not_aligned(tmp_path: Path) -> None:
    good, _ = write_photographs(tmp_path, "washer", normals=16, kinds={})
    random = np.random.default_rng(0)
    for path in good.iterdir():
        shifted = np.roll(read_image(path), tuple(random.integers(0, 64, 2)), axis=(0, 1))
        write_png(path, shifted)
    assert not survey_photographs(good).view.aligned


def test_some_can_be_left_out_and_others_cannot(folders: tuple[Path, Path]) -> None:
    good, defects = folders
    found = without(survey_photographs(good, defects), [good / "001.png", defects / "rust/000.png"])
    assert len(found.normals) == 11
    assert found.kinds == {"rust": 1, "scratch": 1}
    assert without(found, [good / "001.png"]) == found
    with pytest.raises(InputError, match="none of the photographs"):
        without(found, [good / "nowhere.png"])


def test_folders_that_are_none_are_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    good, defects = folders
    with pytest.raises(InputError, match="no such folder"):
        survey_photographs(tmp_path / "nowhere", defects)
    with pytest.raises(InputError, match="as normal and as defective"):
        survey_photographs(good, good)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no normal photograph"):
        survey_photographs(tmp_path / "empty", defects)


def test_a_folder_of_defects_inside_the_normal_ones_is_no_normal_one(tmp_path: Path) -> None:
    good, defects = write_photographs(tmp_path, "washer", normals=12, kinds={"rust": 2})
    inside = good / "bad"
    defects.rename(inside)
    found = survey_photographs(good, inside)
    assert (len(found.normals), found.kinds) == (12, {"rust": 2})


def test_too_few_are_said_to_be_so(tmp_path: Path) -> None:
    good, defects = write_photographs(tmp_path, "washer", normals=3, kinds={"rust": 1})
    said = lines(survey_photographs(good, defects))
    assert "too few normal photographs" in said
    assert "too few defective ones" in said


def deep_picture(path: Path, seed: int, largest: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    Image.fromarray(random.integers(largest // 3, largest + 1, (64, 64)).astype(np.uint16)).save(
        path
    )


@pytest.mark.parametrize("largest", [119, 1023, 4095])
def test_pictures_of_more_bits_are_seen_as_the_workflow_sees_them(
    tmp_path: Path, largest: int
) -> None:
    for number in range(12):
        deep_picture(tmp_path / f"good/{number}.png", number, largest)
    found = survey_photographs(tmp_path / "good")
    assert len(found.normals) == 12
    assert not found.duplicates
    bits = camera_bits(one.path for one in found.normals)
    seen = np.stack([describe(read_image(one.path, bits=bits)) for one in found.normals])
    assert found.view == view_of(seen)
    assert seen[..., 0].mean() > 5  # not almost black


@pytest.mark.filterwarnings("error")
def test_a_black_picture_has_a_view(tmp_path: Path) -> None:
    write_png(tmp_path / "good/black.png", np.zeros((64, 64, 3), np.uint8))
    assert survey_photographs(tmp_path / "good").view.same_place == 0


def test_what_cannot_be_used_for_tests_is_named(folders: tuple[Path, Path], tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    shutil.copy(folders[0] / "003.png", more / "known.png")
    (more / "broken.png").write_bytes(b"\x89PNG broken")
    said = lines(survey_photographs(*folders, normal_test_dir=more))
    assert "among the other photographs, too: known.png" in said
    assert "broken, or cannot be read: broken.png" in said


def test_what_is_left_out_may_be_spelled_in_any_way(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    good, defects = folders
    shutil.copy(good / "003.png", good / "twin.png")
    shutil.copy(defects / "rust/001.png", good / "strange.png")
    monkeypatch.chdir(good.parent)
    found = survey_photographs(Path("good"), Path("defects"))
    left = without(found, [good / "twin.png", Path("good/../good/strange.png")])
    assert len(left.normals) == 11  # both twins have what one of them has
    assert left.kinds == KINDS
    assert not left.contradictory
    assert {one.path.name for one in left.left_out} == {"003.png", "twin.png", "strange.png"}


def test_a_project_among_the_photographs_is_none(folders: tuple[Path, Path]) -> None:
    good, defects = folders
    write_png(good / "ring/results/map.png", np.full((64, 64, 3), 3, np.uint8))
    assert len(survey_photographs(good, defects, apart_from=good / "ring").normals) == 12
    assert len(survey_photographs(good, defects, apart_from=good.parent).normals) == 13
