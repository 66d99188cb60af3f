"""A project is a folder of plain files that the workflow runs."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from adclick.data.images import write_png
from adclick.project.masks import mask_lines, pair_masks
from adclick.project.survey import Survey, survey_photographs
from adclick.project.writing import Project, open_project, write_project
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
    with pytest.raises(InputError, match="a product's name has letters"):
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
    said = "\n".join(mask_lines(survey, masks))
    assert "3 of 5" in said
    assert "rust/002.png" in said
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
