"""What is rerun after a change: on the micro configuration, with data in a folder of an awkward
name.
"""

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from adclick.annotate.store import save_label
from adclick.data.images import read_image, write_png
from adclick.run.artifacts import image_ids, open_arrays, read_csv
from tests.workflow.awkward import AWKWARD, draw_awkward
from tests.workflow.forks import forking
from tests.workflow.project import ROOT, Job, Project, copy_project

pytestmark = [pytest.mark.workflow]
AFTER_SEG = {
    "train_adclick_seg",
    "predict_maps",
    "evaluate_maps",
    "make_table",
    "make_map_cost_table",
    "make_map_figures",
    "make_training_figure",
    "everything",
}

TRAININGS = {"pretrain_adclick", "train_adclick", "pretrain_adclick_seg", "train_adclick_seg"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    copied = copy_project(tmp_path_factory.mktemp("staleness") / "project")
    data = copied.folder.parent / AWKWARD
    draw_awkward(data / "toy set")
    settings = {"data_root": str(data), "datasets": {"toy": {"layout": "mvtec", "root": "toy set"}}}
    (copied.folder / "tests/config/data.yaml").write_text(
        yaml.safe_dump(settings, allow_unicode=True), encoding="utf-8"
    )
    with forking() as forks:
        forked = replace(copied, forks=forks)
        forked.run()
        assert not list(copied.folder.parent.rglob("pwned")) + list(Path.cwd().glob("pwned"))
        yield forked


def rules(jobs: list[Job]) -> set[str]:
    return {job.rule for job in jobs}


@contextmanager
def edited(path: Path, old: str, new: str) -> Iterator[None]:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    yield
    path.write_text(text, encoding="utf-8")


def test_a_second_run_has_nothing_to_do(project: Project) -> None:
    assert project.planned() == []


def test_a_newer_date_alone_reruns_nothing(project: Project) -> None:
    os.utime(project.folder / "results/micro/toy/cloth/extract_features/features.h5")
    assert project.planned() == []
    # Larger files are compared by date, and Snakemake's own limit is 1 MB.
    assert rules(project.planned("--max-checksum-file-size", "1KB")) >= {"fit_retrieval"}


def test_every_table_and_figure_is_there(project: Project) -> None:
    tables = project.results("micro/tables/*.csv")
    partly = {f"results/micro/tables/table{number}.csv" for number in (7, 8)}
    assert len(tables) == 8 + 3  # honest clicks, costs of clicks and of maps
    assert {name for name, text in tables.items() if b"not run" in text} == partly
    assert len(project.results("micro/figures/toy/*/*.png")) == 2 * 5


def test_a_table_alone_needs_only_what_it_is_made_of(project: Project) -> None:
    clicks, detectors = {"pretrain_adclick", "train_adclick"}, {"train_adclick_seg"}
    trained = {1: clicks, 2: detectors, 3: detectors, 7: clicks}
    # Planned in an empty place, which works without the data.
    elsewhere = {"run": "elsewhere", "data_root": "nowhere"}
    needed = project.needed(*(f"table{number}" for number in range(1, 9)), overlay=elsewhere)
    for number in range(1, 9):
        found = needed[f"table{number}"]
        assert {"make_manifest", "make_table"} <= found
        assert found & TRAININGS == trained.get(number, TRAININGS)
        assert not found & {"make_click_figures", "make_map_figures", "make_training_figure"}


def test_make_asks_for_one_table(project: Project) -> None:
    def made(target: str) -> subprocess.CompletedProcess[str]:
        options = ["--directory", str(project.folder), "--old-file", ".venv/.done", "RUN=demo"]
        command = ["make", *options, f"BIN={Path(sys.executable).parent}", target]
        shown = subprocess.run([*command, "--dry-run"], capture_output=True, text=True, check=True)
        (line,) = [line for line in shown.stdout.splitlines() if "snakemake" in line]
        environment = {**os.environ, "PYTHONPATH": str(project.folder)}
        return subprocess.run(
            f"{line} --dry-run",
            shell=True,
            cwd=project.folder,
            env=environment,
            capture_output=True,
            text=True,
        )

    table = made("table4")
    assert table.returncode == 0, table.stderr
    assert "rule table4:" in table.stdout + table.stderr
    none = made("table6")
    assert none.returncode == 2
    assert [line for line in none.stderr.splitlines() if line.startswith("error")] == [
        "error: table 6: this run makes none; name its data sets under tables.6"
    ]


def test_raw_maps_are_kept(project: Project) -> None:
    kept = project.results("micro/toy/*/predict_maps/*/seed0/maps.h5")
    assert len(kept) == 2 * 5


def test_right_and_wrong_words_are_compared_on_a_finished_run(project: Project) -> None:
    command = [sys.executable, "-m", "benchmarks.words", "--methods", "finetuned_lang"]
    folder = project.folder / "results/micro/toy/washer"
    done = subprocess.run(
        [*command, "--per-type", "1", "--", folder], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    words = {
        "average of its type",
        "one random phrase",
        "another type",
        "normal image",
        "shuffled words",
    }
    cells = [line.split("|") for line in done.stdout.splitlines() if line.startswith("| finetuned")]
    assert {row[3].strip() for row in cells} == words
    moved = {row[3].strip(): float(row[6]) for row in cells}
    assert moved.pop("average of its type") == 0.0
    assert any(moved.values())


def test_a_changed_learning_rate_reruns_its_training_and_what_follows(project: Project) -> None:
    overlay = {"adclick_seg_training": {"learning_rate": 0.001}}
    found = project.planned(overlay=overlay)
    assert rules(found) == AFTER_SEG | {"pretrain_adclick_seg"}


def test_a_changed_matching_reruns_what_reads_its_residuals(project: Project) -> None:
    found = project.planned(overlay={"matchings": {"image_to_image": {"radius": 1}}})
    shared = {"make_table", "make_map_cost_table", "make_training_figure", "everything"}
    own = [job for job in found if job.rule not in shared]
    drawn = {"make_map_figures", "make_training_figure"}
    assert rules(found) == AFTER_SEG - drawn | {"compute_residuals"}
    assert all("image_to_image" in job.outputs for job in own)
    assert len([job for job in found if job.rule == "make_table"]) == 5


def test_labels_of_another_matching_are_made_by_an_adclick_with_it(project: Project) -> None:
    clicked = {"language": True, "pretrain": True, "finetune": True, "inputs": "residual"}
    clicked |= {"matching": "patch_to_patch"}
    detector = {"supervision": "weak", "pretrain": True, "iis": True}
    detector |= {"language": True, "abandon": True, "matching": "patch_to_patch"}
    overlay = {
        "adclick_variants": {"clicked": clicked},
        "adclick_seg_variants": {"detector": detector},
        "run_adclick_seg": ["unsupervised_image_to_image", "weak", "detector"],
    }
    found = project.planned(overlay=overlay)
    planned = Counter(job.rule for job in found)
    assert not {"simulate_clicks", "make_click_figures", "make_map_figures"} & {*planned}
    # Per category: residuals of the real, the simulated (thin ones, too) and the expanded images.
    assert planned["compute_residuals"] == 8
    one_each = ("pretrain_adclick", "train_adclick", "label_defects", "expand_defects")
    assert [planned[rule] for rule in one_each] == [2] * 4
    shared = {"make_table", "make_map_cost_table", "make_training_figure", "everything"}
    made = [job.outputs for job in found if job.rule not in shared]
    assert all(
        any(name in path for name in ("patch_to_patch", "/clicked/", "/detector/")) for path in made
    )


def test_a_detector_is_trained_on_a_persons_labels(project: Project) -> None:
    place, desk = "results/micro/toy/cloth", project.folder.parent / AWKWARD / "desk"
    scores = f"{place}/evaluate_maps/human/seed0/metrics.json"
    lacking = project.snakemake(scores, "--cores", "2")
    assert lacking.returncode == 2
    assert f"error: {place}/annotate/labels: no labels of toy/cloth; label" in lacking.stderr

    named = {"datasets": {"toy": {"labels": str(desk)}}}
    table = read_csv(project.folder / place / "make_manifest/manifest.csv")
    roles = dict(zip(table["image_id"], table["role"], strict=True))
    trained_on = [str(image_id) for image_id, role in roles.items() if role == "train_defect"]
    clicks = [{"row": 5, "column": 6, "positive": True}]
    facts = {"state": "done", "objects": [{"clicks": clicks}]}
    mask = np.zeros((64, 64), bool)
    mask[4:9, 4:9] = True
    for image_id in trained_on[:2]:
        save_label(desk / "cloth", image_id, facts, mask)
    made_anew = {"collect_labels", "expand_defects", "find_neighbours", "compute_residuals"}
    made_anew |= {"train_adclick_seg", "predict_maps", "evaluate_maps"}
    assert rules(project.planned(scores, overlay=named)) == made_anew
    labels = f"{place}/collect_labels/labels.h5"
    project.run(labels, overlay=named)
    with open_arrays(project.folder / labels) as file:
        assert image_ids(file) == sorted(trained_on[:2])
        np.testing.assert_array_equal(file["probabilities"][0], mask)
        assert file["clicks"][:].tolist() == [[[5, 6, 1]]] * 2
    (desk / "cloth/.journal").mkdir()
    (desk / "cloth/.journal/later.jsonl").write_text("{}\n")
    assert project.planned(labels, overlay=named) == []
    save_label(desk / "cloth", trained_on[2], facts, mask)
    assert rules(project.planned(labels, overlay=named)) == {"collect_labels"}


def test_an_edit_of_tables_or_figures_draws_them_again_and_nothing_else(project: Project) -> None:
    tables = (project.folder / "adclick/reporting/table_forms.py", "def to_csv(table: Table)")
    figures = (project.folder / "adclick/reporting/style.py", "RESOLUTION_DPI = 150")
    with edited(*tables, "def to_csv(table: Any)"), edited(*figures, "RESOLUTION_DPI = 151"):
        found = Counter(job.rule for job in project.planned())
    drawn = ("make_click_figures", "make_map_figures", "make_training_figure")
    made = {"make_table": 8, "make_robot_table": 1, "make_cost_table": 1}
    made |= {"make_map_cost_table": 1, "everything": 1}
    assert found == made | dict.fromkeys(drawn, 2)


def test_an_edit_of_the_metrics_scores_again_without_predicting(project: Project) -> None:
    folder = project.folder / "adclick/metrics"
    clicks = (folder / "clicks.py", "if union else 1.0", "if union else 0.0")
    maps = (folder / "curves.py", "slices + 1) ** 2", "slices + 1) ** 3")
    with edited(*clicks), edited(*maps):
        found = rules(project.planned())
    figures = {"make_click_figures", "make_map_figures"}
    again = {"simulate_robot_clicks", "evaluate_robot_clicks", "make_robot_table"}  # not kept
    scored = {"evaluate_clicks", "evaluate_maps", "make_table", "everything"}
    assert found == scored | again | figures


def test_comments_and_data_that_moved_make_nothing_stale(project: Project) -> None:
    moved = project.folder.parent / "moved"
    (project.folder.parent / AWKWARD).rename(moved)
    for name in ("training/loop.py", "reporting/paper_tables.py", "networks/trunk.py"):
        path = project.folder / "adclick" / name
        path.write_text(path.read_text(encoding="utf-8") + "\n# a comment\n", encoding="utf-8")
    found = project.planned(overlay={"data_root": str(moved)})
    moved.rename(project.folder.parent / AWKWARD)
    assert found == []


def test_results_may_be_taken_where_the_data_are_not(project: Project) -> None:
    assert project.planned(overlay={"data_root": "nowhere"}) == []


def test_what_was_deleted_is_made_anew_and_nothing_else(project: Project) -> None:
    before = project.results("micro/tables/*")
    for name in project.results("micro/tables/table6.*"):
        (project.folder / name).unlink()
    assert {job.rule for job in project.planned("table6")} == {"make_table", "table6"}
    victim = next(
        (project.folder / "results/micro/toy/cloth").glob("evaluate_maps/weak/*/metrics.json")
    )
    victim.unlink()
    after = {"evaluate_maps", "make_table", "make_map_figures", "everything"}
    assert rules(project.planned()) <= after
    project.run()
    assert project.results("micro/tables/*") == before
    assert project.planned() == []


def forget_trainings(project: Project) -> None:
    """Make trainings train that would take back what they made."""
    for path in (project.folder / "results").rglob(".*.kept*"):
        path.unlink()


def test_the_same_seed_gives_the_same_scores_and_weights(project: Project) -> None:
    """Of the longest chains: a detector on labels that clicks gave, and clicks that look twice."""
    place = "results/micro/toy/cloth"
    scores = [
        f"{place}/{name}/seed0/metrics.json"
        for name in ("evaluate_maps/weak_sliding", "evaluate_clicks/finetuned_lang_plain")
    ]
    kept = [*scores, f"{place}/train_adclick_seg/weak/seed0/weights.safetensors"]
    kept += [f"{place}/train_adclick/finetuned_lang/seed0/weights.safetensors"]
    before = {name: (project.folder / name).read_bytes() for name in kept}
    forget_trainings(project)
    project.run(*scores, "--forcerun", "make_manifest", "encode_prompts")
    assert {name: (project.folder / name).read_bytes() for name in kept} == before


def test_a_new_normal_image_of_one_category_reruns_no_data_stage_of_another(
    project: Project,
) -> None:
    good = project.folder.parent / AWKWARD / "toy set/cloth/train/good"
    write_png(good / "new.png", read_image(good / "000.png")[::-1].copy())
    found = project.planned()
    (good / "new.png").unlink()
    data_stages = {
        "make_manifest",
        "extract_features",
        "fit_retrieval",
        "find_neighbours",
        "compute_residuals",
    }
    # Labelled defects are made by a network that was pretrained on the other category.
    data_jobs = [job for job in found if job.rule in data_stages and "expanded" not in job.outputs]
    touched = {job.outputs.split("/")[3] for job in data_jobs}
    assert touched == {"cloth"}
    retrained = {
        (job.rule, job.outputs.split("/")[3]) for job in found if job.rule.startswith("pretrain")
    }
    assert retrained == {("pretrain_adclick", "washer"), ("pretrain_adclick_seg", "washer")}


def test_training_runs_after_the_truth_is_gone(project: Project) -> None:
    for truth in (project.folder.parent / AWKWARD).rglob("ground_truth"):
        shutil.rmtree(truth)
    for category in ("cloth", "washer"):
        (project.folder / f"results/micro/toy/{category}/make_manifest/masks.h5").unlink()
    weights = "results/micro/toy/cloth/train_adclick_seg/weak/seed0/weights.safetensors"
    before = (project.folder / weights).read_bytes()
    forget_trainings(project)
    project.run(weights, "--forcerun", "train_adclick_seg", "--rerun-triggers", "mtime")
    assert (project.folder / weights).read_bytes() == before
