"""How much disk a run takes, counted from its plan."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.workflow.project import copy_project
from tools.count_disk import Job, counted, parsed, size_mb

PLACE = "results/paper/mvtec/toothbrush"
BANK, REAL = (
    f"{PLACE}/{name}" for name in ("extract_features/features.h5", "make_manifest/images.h5")
)
MAPS = f"{PLACE}/predict_maps/weak/seed0/maps.h5"
BANK_MB, REAL_MB, MAPS_MB = 60 * 16.8, 102 * 0.8, 42 * 1.05
JOBS = [
    Job("predict_maps", [BANK], [MAPS], 1),
    Job("make_manifest", [], [REAL], 0),
    Job("extract_features", [REAL], [BANK], 0),
    Job("evaluate_maps", [MAPS], [f"{PLACE}/evaluate_maps/weak/seed0/metrics.json"], 1),
]


def test_what_nothing_more_reads_goes() -> None:
    held = counted(JOBS, {BANK, MAPS})
    assert held.peak_mb == pytest.approx(REAL_MB + 2 * BANK_MB)  # once more in parts
    assert sum(held.by_stage.values()) == pytest.approx(REAL_MB)
    kept = counted(JOBS, set())
    assert sum(kept.by_stage.values()) == pytest.approx(REAL_MB + BANK_MB + MAPS_MB)


def test_the_greatest_priority_goes_first() -> None:
    other = BANK.replace("toothbrush", "grid")
    jobs = [
        Job("extract_features", [], [BANK], 3),
        Job("extract_features", [], [other], 1),
        Job("fit_retrieval", [BANK], ["a"], 4),
        Job("fit_retrieval", [other], ["b"], 2),
    ]
    one_after_the_other = counted(jobs, {BANK, other}).peak_mb
    jobs[2] = Job("fit_retrieval", [BANK], ["a"], 0)
    assert one_after_the_other == pytest.approx(2 * 264 * 16.8)
    assert counted(jobs, {BANK, other}).peak_mb == pytest.approx(one_after_the_other + BANK_MB)


def test_sizes_are_of_the_pictures_that_a_result_is_of() -> None:
    residuals = f"{PLACE}/compute_residuals"
    assert size_mb(f"{residuals}/location_aware/simulated.h5") == pytest.approx(120 * 8.4)
    assert size_mb(f"{residuals}/location_aware/expanded_full_seed0.h5") == pytest.approx(200 * 8.4)
    assert size_mb(f"{residuals}/image_to_image/real.h5") == pytest.approx(102 * 0.025)
    clicks = f"{PLACE}/simulate_clicks/threshold"
    assert size_mb(f"{clicks}/jittered/seed0/maps.h5") == 5 * size_mb(f"{clicks}/seed0/maps.h5")
    weights = f"{PLACE}/pretrain_adclick/a/b/seed0/weights.safetensors"
    for read, expected_mb in ((BANK, 332), ("results/paper/mvtec/encode_prompts/language.h5", 725)):
        assert Job("pretrain_adclick", [read], [weights]).sizes_mb() == {weights: expected_mb}
    assert size_mb(f"{PLACE}/train_adclick_seg/full/seed0/weights.safetensors") == 215
    assert size_mb("results/paper/tables/table1.csv") == 0


@pytest.mark.workflow
def test_what_goes_is_what_can_be_made_again_and_scores_and_finished_networks_stay(
    tmp_path: Path,
) -> None:
    project = copy_project(tmp_path / "project")
    (project.folder / "tests/config/data.yaml").write_text("{}\n", encoding="utf-8")
    gone: dict[str, set[str]] = {}
    for spared in ("true", "all"):
        overlay = {"spare_disk": yaml.safe_load(spared), "run_robots": []}
        done = project.snakemake("--dry-run", overlay=overlay)
        assert done.returncode == 0, done.stderr[-2000:]
        gone[spared] = {"/".join(kind_of(path)) for path in parsed(done.stdout)[1]}
    assert gone["true"] == {
        *("extract_features/features.h5", "compute_residuals/drawn.h5"),
        *("predict_maps/maps.h5", "simulate_clicks/maps.h5"),
    }
    assert gone["all"] - gone["true"] == {
        *("compute_residuals/real.h5", "expand_defects/images.h5"),
        *("simulate_defects/images.h5", "simulate_defects/lines.h5"),
        *("pretrain_adclick/weights.safetensors", "pretrain_adclick_seg/weights.safetensors"),
    }


def kind_of(path: str) -> tuple[str, str]:
    """The stage of a result and its file's name, or which pictures residuals are of."""
    parts = path.split("/")
    drawn = parts[4] == "compute_residuals" and parts[-1] != "real.h5"
    return parts[4], "drawn.h5" if drawn else parts[-1]


@pytest.mark.workflow
def test_the_papers_run_takes_less_than_200_gb(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    command = [sys.executable, "-m", "tools.count_disk", "--config", "spare_disk=all"]
    command += ["--directory", str(project.folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = re.search(r"at most +(\d+) GB", done.stdout)
    assert found is not None
    assert 150 < int(found[1]) < 200, done.stdout
