"""A project is a folder of plain files that the workflow runs."""

import csv
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from adclick.data.images import write_png
from adclick.data.layouts.csv import read_rows
from adclick.project import scales
from adclick.project.masks import mask_lines, pair_masks
from adclick.project.sheet import left_out_before, sheet_lines
from adclick.project.starting import next_steps
from adclick.project.survey import Survey, survey_photographs, without
from adclick.project.writing import Project, open_project, project_of, write_project
from adclick.run.config import read_configuration
from adclick.run.errors import InputError
from tests.project.photographs import write_photographs
from tests.typed import type_command

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("photographs")
    return write_photographs(folder, "washer", normals=30, kinds={"rust": 2, "scratch": 2})


@pytest.fixture(scope="module")
def survey(photographs: tuple[Path, Path]) -> Survey:
    return survey_photographs(*photographs)


def rows(project: Project) -> list[dict[str, str]]:
    with project.sheet.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def held_out(project: Project) -> set[str]:
    return {row["image_path"] for row in rows(project) if row["split"] == "validation"}


def test_its_settings_are_a_whole_configuration(survey: Survey, tmp_path: Path) -> None:
    project = write_project(tmp_path / "ring", survey)
    config = read_configuration([project.overlay], base=ROOT / "config/config.yaml")
    assert config.run_datasets == ["own"]
    assert config.datasets["own"].categories == ["ring"]
    assert config.datasets["own"].textures == []
    assert config.size_px == survey.scale.size_px
    assert config.run_adclick_seg == ["human"]
    assert "mvtec" not in yaml.safe_load(project.overlay.read_text())["datasets"]


def test_a_run_of_a_project_is_known_by_its_folder(survey: Survey, tmp_path: Path) -> None:
    """By which `adclick annotate` shows its photographs at their own size, as the studio does."""
    project = write_project(tmp_path / "washers", survey)
    assert project_of(project.category) == project
    assert project_of(project.category.parent / "another") is None
    assert project_of(tmp_path / "results/own/own/washers") is None


def test_what_is_said_goes_before_what_was_proposed(survey: Survey, tmp_path: Path) -> None:
    weights = tmp_path / "resnet18.safetensors"
    project = write_project(
        tmp_path / "p", survey, name="ring", size_px=128, texture=True, backbone=weights
    )
    config = read_configuration([project.overlay], base=ROOT / "config/config.yaml")
    assert config.size_px == 128
    assert config.matchings["location_aware"].radius == 0.8
    assert config.clicks.radius_px == 2
    assert config.datasets["own"].textures == ["ring"]
    assert config.features.weights.file == str(weights)


def test_a_fifth_of_the_normal_ones_is_held_out_and_no_defect(
    survey: Survey, tmp_path: Path
) -> None:
    project = write_project(tmp_path / "ring", survey)
    splits = [(row["label"], row["split"]) for row in rows(project)]
    assert splits.count(("normal", "validation")) == 6
    assert splits.count(("normal", "train")) == 24
    assert splits.count(("abnormal", "train")) == 4
    assert len(splits) == 34


def test_who_was_held_out_stays_so_when_pictures_are_added(tmp_path: Path) -> None:
    good, defects = write_photographs(tmp_path, "washer", normals=20, kinds={"rust": 2})
    project = write_project(tmp_path / "ring", survey_photographs(good, defects))
    before, trained = held_out(project), {row["image_path"] for row in rows(project)}
    write_photographs(tmp_path, "washer", normals=40, kinds={"rust": 4})
    write_project(tmp_path / "ring", survey_photographs(good, defects))
    assert before < held_out(project)
    assert len(held_out(project)) == 8
    assert held_out(project).isdisjoint(trained - before)


def test_settings_that_were_written_by_hand_stay(survey: Survey, tmp_path: Path) -> None:
    project = write_project(tmp_path / "ring", survey)
    values = yaml.safe_load(project.overlay.read_text())
    values["training"]["steps"] = 77
    values["run_robots"] = ["jittered"]
    project.overlay.write_text(yaml.safe_dump(values))
    write_project(tmp_path / "ring", survey, texture=True)
    again = yaml.safe_load(project.overlay.read_text())
    assert again["training"]["steps"] == 77
    assert again["run_robots"] == ["jittered"]
    assert again["datasets"]["own"]["textures"] == ["ring"]


def test_photographs_in_the_project_are_named_from_there(tmp_path: Path) -> None:
    inside = tmp_path / "ring/photographs/ring"
    good, defects = write_photographs(inside, "washer", normals=12, kinds={"rust": 2})
    project = write_project(tmp_path / "ring", survey_photographs(good, defects))
    assert {row["image_path"].split("/")[0] for row in rows(project)} == {"ring"}
    outside = write_photographs(tmp_path / "out", "washer", normals=12, kinds={"rust": 2})
    project = write_project(tmp_path / "other", survey_photographs(*outside))
    assert all(Path(row["image_path"]).is_absolute() for row in rows(project))


def test_it_is_opened_again(survey: Survey, tmp_path: Path) -> None:
    made = write_project(tmp_path / "ring", survey)
    assert open_project(tmp_path / "ring") == made
    with pytest.raises(InputError, match=r"no adclick\.yaml in it; make a project with"):
        open_project(tmp_path)
    made.overlay.write_text("datasets: {own: {categories: []}}")
    with pytest.raises(InputError, match="must have one name"):
        open_project(tmp_path / "ring")


@pytest.mark.parametrize("name", ["a b", "", "ü", "../x"])
def test_a_name_that_is_none_is_refused(survey: Survey, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="a product's name has the letters"):
        write_project(tmp_path / "ring", survey, name=name)
    assert not (tmp_path / "ring").exists()


def test_a_folder_with_any_name_gives_a_product_with_one(survey: Survey, tmp_path: Path) -> None:
    assert write_project(tmp_path / "Träger 7", survey).name == "Tr-ger-7"


def test_all_held_out_is_refused(survey: Survey, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none is left"):
        write_project(tmp_path / "ring", survey, held_out=30)


def test_the_command_says_what_it_found_and_what_comes_next(
    photographs: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    target = tmp_path / "ring"
    words = ["init", *map(str, photographs), "--output", str(target)]
    said = type_command(words, monkeypatch, capsys)
    assert said.code == 0, said.err
    assert "30 normal photographs, 4 defective ones" in said.out
    assert "snakemake click_models --configfile adclick.yaml" in said.out
    assert (target / "adclick.yaml").is_file()


def test_the_command_refuses_in_one_line(
    photographs: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["init", str(photographs[0]), str(tmp_path / "no"), "--output", str(tmp_path / "ring")]
    said = type_command(words, monkeypatch, capsys)
    assert (said.code, len(said.err.splitlines())) == (2, 1)
    assert "no such folder" in said.err


@pytest.mark.workflow
@pytest.mark.parametrize("named", [[], ["--configfile", "adclick.yaml"]])
def test_snakemake_plans_it_where_it_lies(survey: Survey, tmp_path: Path, named: list[str]) -> None:
    project = write_project(tmp_path / "ring", survey)
    command = [sys.executable, "-m", "snakemake", "click_models", "detectors", "--dry-run", *named]
    done = subprocess.run(command, cwd=project.folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "results/own/own/ring/make_manifest/manifest.csv" in done.stdout + done.stderr


def test_masks_are_paired_by_name_and_learned_from(tmp_path: Path) -> None:
    good, defects = write_photographs(
        tmp_path, "washer", normals=12, kinds={"rust": 3, "scratch": 2}
    )
    for name in ("rust/000.png", "rust/001_mask.png", "scratch/001.png", "scratch/777.png"):
        write_png(tmp_path / "masks" / name, np.ones((64, 64), bool))
    survey = survey_photographs(good, defects)
    masks = pair_masks(survey, tmp_path / "masks")
    paired = {p.relative_to(defects): m.relative_to(tmp_path / "masks") for p, m in masks.items()}
    assert paired == {
        Path("rust/000.png"): Path("rust/000.png"),
        Path("rust/001.png"): Path("rust/001_mask.png"),
        Path("scratch/001.png"): Path("scratch/001.png"),
    }
    said = "\n".join(mask_lines(survey, masks, tmp_path / "masks"))
    assert "3 of 5" in said
    assert "rust/002.png" in said
    assert "masks without a photograph: scratch/777.png" in said
    project = write_project(tmp_path / "ring", survey, masks=masks)
    assert project.variant == "masks"
    assert open_project(tmp_path / "ring") == project
    defective = [row for row in rows(project) if row["label"] == "abnormal"]
    assert len(defective) == 3
    assert all(Path(row["mask_path"]).is_file() for row in defective)
    config = read_configuration([project.overlay], base=ROOT / "config/config.yaml")
    assert config.datasets["own"].training_defects == 3
    assert config.adclick_seg_variants["masks"].supervision == "full"


def test_masks_of_one_folder_are_found_by_their_names(tmp_path: Path) -> None:
    good, defects = write_photographs(tmp_path, "washer", normals=12, kinds={"rust": 2})
    write_png(tmp_path / "masks/001_mask.png", np.ones((64, 64), bool))
    survey = survey_photographs(good, defects)
    assert list(pair_masks(survey, tmp_path / "masks")) == [defects / "rust/001.png"]
    (tmp_path / "masks/001_mask.png").rename(tmp_path / "masks/other.png")
    with pytest.raises(InputError, match="no mask of a defective photograph"):
        pair_masks(survey, tmp_path / "masks")


def test_normal_photographs_for_tests_are_tests(tmp_path: Path) -> None:
    good, defects = write_photographs(tmp_path, "washer", normals=12, kinds={"rust": 2})
    more, _ = write_photographs(tmp_path / "more", "washer", normals=14, kinds={})
    survey = survey_photographs(good, defects, normal_test_dir=more)
    assert len(survey.tests) == 2  # the first 12 are the training's
    assert len(survey.passed_over["among the other photographs, too"]) == 12
    project = write_project(tmp_path / "ring", survey)
    tests = [row for row in rows(project) if row["split"] == "test"]
    assert [row["label"] for row in tests] == ["normal_test", "normal_test"]


def test_what_is_as_it_was_is_not_written_again(tmp_path: Path) -> None:
    good, defects = write_photographs(tmp_path, "washer", normals=12, kinds={"rust": 2})
    project = write_project(tmp_path / "ring", survey_photographs(good, defects))
    files = [path for path in project.folder.rglob("*") if path.is_file()]
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}
    write_project(tmp_path / "ring", survey_photographs(good, defects))
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files} == before
    write_png(good / "003.png", np.full((64, 64, 3), 7, np.uint8))
    write_project(tmp_path / "ring", survey_photographs(good, defects))
    assert project.sheet.read_bytes() != before[project.sheet][1]


@pytest.fixture
def several(tmp_path: Path) -> tuple[Path, Path]:
    return write_photographs(tmp_path / "photos", "washer", normals=12, kinds={"rust": 2})


def again(folder: Path, photographs: tuple[Path, Path], **options: Any) -> Project:
    return write_project(folder, survey_photographs(*photographs), **options)


def ids(project: Project) -> dict[str, str]:
    """The ids of a project's photographs by their paths below the photographs' folder."""
    return {
        row.path.as_posix().partition("/photos/")[2]: row.image_id
        for row in read_rows(project.sheet.parent, project.name)
    }


def test_what_was_proposed_or_set_is_not_proposed_again(
    several: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = again(tmp_path / "ring", several, size_px=128, texture=True)
    values = yaml.safe_load(project.overlay.read_text())
    values["matchings"]["location_aware"]["radius"] = 2.5
    project.overlay.write_text("# mine\n" + yaml.safe_dump(values))
    monkeypatch.setattr(scales, "machine_speed", lambda: 100.0)  # a faster machine, larger pictures
    survey = replace(survey_photographs(*several), scale=scales.propose(9, 2, [(900, 900)]))
    assert survey.scale.size_px == 512
    write_project(tmp_path / "ring", survey)
    assert project.overlay.read_text() == "# mine\n" + yaml.safe_dump(values)
    write_project(tmp_path / "ring", survey, size_px=512, texture=False)
    changed = yaml.safe_load(project.overlay.read_text())
    assert changed["size_px"] == 512
    assert changed["matchings"]["location_aware"]["radius"] == 3.2
    assert changed["datasets"]["own"]["textures"] == []


def test_a_projects_name_stays(several: tuple[Path, Path], tmp_path: Path) -> None:
    again(tmp_path / "p", several, name="ring")
    assert again(tmp_path / "p", several).name == "ring"
    with pytest.raises(InputError, match="the project of ring"):
        again(tmp_path / "p", several, name="bolt")


def test_what_was_left_out_stays_so_until_it_is_taken_back(
    several: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    gone = [several[0] / "003.png", several[1] / "rust/000.png"]
    words = ["init", *map(str, several), "--output", str(tmp_path / "ring")]
    options = [word for path in gone for word in ("--leave-out", str(path))]

    def used(*more: str) -> set[str]:
        said = type_command([*words, *more], monkeypatch, capsys)
        assert said.code == 0, said.err
        if more[:1] != ("--use",):
            assert f"left out: {gone[1]}, {gone[0]}\n" in said.out
            assert "2 left out; --use FILE takes one back" in said.out
        return set(ids(open_project(tmp_path / "ring")))

    first = used(*options)
    assert len(first) == 12 and not first & {"good/003.png", "defects/rust/000.png"}
    assert used() == first
    assert used("--use", os.path.relpath(gone[1])) == first | {"defects/rust/000.png"}
    said = type_command([*words, "--use", str(gone[1])], monkeypatch, capsys)
    assert (said.code, "was not left out" in said.err) == (2, True)


def test_what_the_page_leaves_out_is_remembered_as_well(
    several: tuple[Path, Path], tmp_path: Path
) -> None:
    survey = survey_photographs(*several)
    project = write_project(tmp_path / "ring", without(survey, [several[0] / "003.png"]))
    assert left_out_before(project.sheet) == [several[0] / "003.png"]
    write_project(tmp_path / "ring", survey)  # it has it again, so it is used
    assert left_out_before(project.sheet) == []


def test_pictures_for_tests_stay_when_their_folder_is_not_given(
    several: tuple[Path, Path], tmp_path: Path
) -> None:
    more, _ = write_photographs(tmp_path / "more", "washer", normals=14, kinds={})
    project = again(tmp_path / "ring", (*several,))
    survey = survey_photographs(*several, normal_test_dir=more)
    write_project(tmp_path / "ring", survey)
    before = project.sheet.read_text()
    assert before.count(",normal_test,test,") == 2
    assert again(tmp_path / "ring", several).sheet.read_text() == before


def test_an_id_never_changes_when_photographs_are_added(
    several: tuple[Path, Path], tmp_path: Path
) -> None:
    rusty = several[1] / "rust"
    (rusty / "day1").mkdir()
    (rusty / "000.png").rename(rusty / "day1/000.png")
    project = again(tmp_path / "ring", several)
    before = ids(project)
    assert before["defects/rust/day1/000.png"] == "train/rust/day1-000"
    for number, name in enumerate(("000.png", "day2/000.png", "day1/000x.png", "day1-000.png")):
        write_png(rusty / name, np.full((64, 64, 3), number, np.uint8))
    (rusty / "day1/000x.png").rename(rusty / "day1/000.bmp")
    again(tmp_path / "ring", several)
    after = ids(project)
    assert {path: after[path] for path in before} == before
    assert len(set(after.values())) == len(after) == len(before) + 4
    project.sheet.unlink()  # names tell where a picture lies, whatever was there before
    again(tmp_path / "ring", several)
    assert ids(project)["defects/rust/day2/000.png"] == "train/rust/day2-000"


def test_a_project_of_an_earlier_version_keeps_its_ids(
    several: tuple[Path, Path], tmp_path: Path
) -> None:
    for day in ("day1", "day2"):
        for number, value in (("007", 5), ("008" if day == "day1" else "009", 9)):
            picture = np.full((64, 64, 3), value + len(day) + (day == "day2"), np.uint8)
            write_png(several[1] / f"rust/{day}/{number}.png", picture)
    project = again(tmp_path / "ring", several)
    lines = [line.rpartition(",")[0] for line in project.sheet.read_text().splitlines()]
    project.sheet.write_text("\n".join(lines) + "\n")  # as it was before names were kept
    before = ids(project)
    assert before["defects/rust/day1/008.png"] == "train/rust/008"
    assert before["defects/rust/day1/007.png"].endswith("-day1-007")
    write_png(several[1] / "rust/day2/008.png", np.full((64, 64, 3), 99, np.uint8))
    again(tmp_path / "ring", several)
    after = ids(project)
    assert {path: after[path] for path in before} == before
    assert after["defects/rust/day2/008.png"] == "train/rust/day2-008"


def test_pictures_that_differ_in_suffix_have_two_ids(
    several: tuple[Path, Path], tmp_path: Path
) -> None:
    for number, suffix in enumerate((".bmp", ".JPG", ".tiff")):
        write_png(several[1] / "rust/001x.png", np.full((64, 64, 3), 50 + number, np.uint8))
        (several[1] / "rust/001x.png").rename(several[1] / f"rust/001{suffix}")
    found = ids(again(tmp_path / "ring", several))
    assert {name for name in found.values() if "rust" in name} == {
        "train/rust/000",
        *(f"train/rust/001{ending}" for ending in ("", "-bmp", "-png", "-tiff")),
    }


def test_the_number_held_out_can_be_changed(several: tuple[Path, Path], tmp_path: Path) -> None:
    project = again(tmp_path / "ring", several)
    first = held_out(project)
    assert len(first) == 2
    again(tmp_path / "ring", several, held_out=6)
    assert first < held_out(project) and len(held_out(project)) == 6
    assert "12 normal" not in "\n".join(sheet_lines(project.sheet))
    assert "6 normal photographs to learn from, 6 held out" in "\n".join(sheet_lines(project.sheet))
    again(tmp_path / "ring", several)
    assert len(held_out(project)) == 6
    again(tmp_path / "ring", several, held_out=0)
    assert not held_out(project)
    with pytest.raises(InputError, match="must be 0 or more"):
        again(tmp_path / "ring", several, held_out=-1)


@pytest.mark.parametrize("size_px", [300, 0, -8])
def test_a_size_that_the_workflow_refuses_is_refused_before_anything_is_written(
    several: tuple[Path, Path], tmp_path: Path, size_px: int
) -> None:
    with pytest.raises(InputError, match="size"):
        again(tmp_path / "ring", several, size_px=size_px)
    assert not (tmp_path / "ring").exists()
    project = again(tmp_path / "ring", several)
    before = project.sheet.read_bytes(), project.overlay.read_bytes()
    write_png(several[0] / "new.png", np.full((64, 64, 3), 7, np.uint8))
    with pytest.raises(InputError, match="size"):
        again(tmp_path / "ring", several, size_px=size_px)
    assert (project.sheet.read_bytes(), project.overlay.read_bytes()) == before


def test_settings_that_are_broken_or_none(several: tuple[Path, Path], tmp_path: Path) -> None:
    project = again(tmp_path / "ring", several)
    text = project.overlay.read_text()
    project.overlay.write_text("# nothing\n")
    assert again(tmp_path / "ring", several).overlay.read_text() == text
    for broken in ("- a list", "datasets: [", "steps: 3"):
        project.overlay.write_text(broken)
        with pytest.raises(InputError):
            again(tmp_path / "ring", several, held_out=5)
        assert project.overlay.read_text() == broken
        assert len(held_out(project)) == 2


def test_files_of_the_users_own_are_left(several: tuple[Path, Path], tmp_path: Path) -> None:
    project = again(tmp_path / "ring", several)
    profile = project.folder / "profiles/default/config.yaml"
    profile.write_text("cores: 7\n")
    again(tmp_path / "ring", several)
    assert profile.read_text() == "cores: 7\n"
    (tmp_path / "other").mkdir()
    (tmp_path / "other/Snakefile").write_text("rule all:\n")
    with pytest.raises(InputError, match="not of a project of adclick"):
        again(tmp_path / "other", several)
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["Snakefile"]


def test_without_masks_it_learns_from_labels_again(
    several: tuple[Path, Path], tmp_path: Path
) -> None:
    write_png(tmp_path / "masks/rust/000.png", np.ones((64, 64), bool))
    survey = survey_photographs(*several)
    masks = pair_masks(survey, tmp_path / "masks")
    write_project(tmp_path / "ring", survey, masks=masks)
    project = write_project(tmp_path / "ring", survey)
    assert project.variant == "human"
    assert open_project(tmp_path / "ring") == project
    config = read_configuration([project.overlay], base=ROOT / "config/config.yaml")
    assert config.datasets["own"].training_defects == 0


def test_without_a_defective_photograph_the_next_step_is_to_give_some(
    several: tuple[Path, Path], tmp_path: Path
) -> None:
    project = write_project(tmp_path / "ring", survey_photographs(several[0]))
    said = "\n".join(next_steps(project))
    assert "no defective photograph yet" in said
    assert "snakemake" not in said
