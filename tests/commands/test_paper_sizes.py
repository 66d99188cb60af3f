"""The paper's configuration at its real sizes, on a processor: every kind of stage once.

512 px, WideResNet-50, a grid of 64 x 64 and 1024 channels, networks of up to 181 million
parameters, float32, seeded weights, a handful of drawn pictures, one step a training, one picture a
batch. Every stage is a process of its own; how long it took and how much memory it held at most is
printed. It takes ten minutes: `make sizes`.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import pytest

from adclick.networks.checkpoints import read_metadata, save_tensors, seeded
from adclick.networks.vision_language import VisionLanguageSwin
from adclick.run.config import Config, load_config
from tests.chain import Step, steps
from tests.run.test_config import merged, read
from tests.workflow.forks import ADDRESS, FORKED, PEAK, forking
from tests.workflow.project import ROOT

DATA = (
    *("make_manifest", "extract_features", "fit_retrieval", "fit_foreground", "simulate_defects"),
    *("find_neighbours real", "compute_residuals real"),
    *("find_neighbours simulated", "compute_residuals simulated"),
)
EXPANDED = "expanded_weak_location_aware_seed0"
STAGES = (
    *("generate_prompts", "encode_prompts"),
    *(f"washer {name}" for name in DATA),
    *DATA,
    *("pretrain_adclick", "train_adclick"),
    *("simulate_clicks finetuned_lang", "evaluate_clicks finetuned_lang"),
    *("label_defects weak", "expand_defects weak"),
    *(f"find_neighbours {EXPANDED}", f"compute_residuals {EXPANDED}"),
    *("pretrain_adclick_seg", "train_adclick_seg weak"),
    *("predict_maps weak", "evaluate_maps weak"),
)
MILLIONS = {"pretrain_adclick": 181, "train_adclick": 181, "train_adclick_seg weak": 55}
ONE_REAL = {"normal": 0, "simulated": 0, "real": 1}
ONE_SIMULATED = {"normal": 0, "simulated": 1, "real": 0}
UNSUPERVISED_AUTO = {  # the chain of stages names it
    **{"supervision": "unsupervised", "matching": "auto", "pretrain": False},
    **{"iis": True, "language": False, "abandon": False},
}
# Not of the paper: how many pictures and steps, and where weights come from.
CUT: dict[str, Any] = {
    "run": "paper_sizes",
    "run_datasets": ["toy"],
    "compute_threads": 1,
    "datasets": {"toy": {"categories": ["cloth", "washer"], "training_defects": 1}},
    "toy": {"normals": 2, "test_normals": 1, "defects_per_type": 2},
    "features": {"weights": {"source": "seeded"}},
    "prompts": {"phrases": 4},
    "language": {"weights": {"source": "seeded"}},
    "retrieval": {"neighbours": 1},
    "foreground": {"neighbours": 1},
    "simulation": {"per_normal": 1},
    "expansion": {"copies": 1},
    "training": {"pretrain_steps": 1, "steps": 1},
    "adclick_training": {"pretrain_batch": ONE_REAL, "batch": ONE_SIMULATED},
    "adclick_seg_training": {"pretrain_batch": ONE_REAL, "batch": ONE_REAL},
    "clicks": {"counts": [1], "label_clicks": 1},
    "run_adclick": ["pretrained_lang", "finetuned_lang"],
    "run_plain": ["finetuned_lang"],
    "run_click_peers": ["threshold", "random_walker"],
    "robots": {"jittered": {"draws": 1}},
    "run_robots": ["jittered"],
    "robot_methods": ["random_walker", "finetuned_lang"],
    "adclick_seg_variants": {"unsupervised_auto": UNSUPERVISED_AUTO},
    "run_adclick_seg": ["unsupervised", "unsupervised_auto", "weak", "full", "weak_features"],
    "run_sliding": ["weak"],
    "run_map_peers": ["training_free"],
    "tables": {number: [] for number in range(1, 9)},
}


@pytest.mark.slow
@pytest.mark.skipif("ADCLICK_PAPER_SIZES" not in os.environ, reason="make sizes: ten minutes")
def test_every_stage_runs_with_one_step_at_real_sizes(tmp_path: Path) -> None:
    config = _config(tmp_path)
    listed = steps(config)
    _draw(config, tmp_path)
    with forking() as forks:
        peaks_mb = {name: _peak_mb(name, listed[name], config, tmp_path, forks) for name in STAGES}
    assert max(peaks_mb.values()) < 10_000
    assert max(peak for name, peak in peaks_mb.items() if "train" not in name) < 4_000
    for name, millions in MILLIONS.items():
        files = {kind: tmp_path / path for kind, path in listed[name].outputs.items()}
        record, metadata = json.loads(files["record"].read_text()), read_metadata(files["weights"])
        assert len(record["losses"]) == 1 and 0 <= record["losses"][0] < 10
        assert round(record["parameters"] / 1e6) == millions
        sizes = metadata.sizes
        assert (sizes["image_px"], sizes["grid"], sizes["residual_channels"]) == (512, 64, 1024)
    residuals = tmp_path / listed["compute_residuals real"].outputs["residuals"]
    maps = tmp_path / listed["predict_maps weak"].outputs["maps"]
    with h5py.File(residuals) as file, h5py.File(maps) as drawn:
        assert file["residuals"].shape[1:] == (64, 64, 1024)
        assert drawn["maps"].shape[1:] == (512, 512)


def _config(folder: Path) -> Config:
    """The paper's configuration, cut; its frozen language branch gets seeded weights."""
    values = merged(read(), CUT)
    sizes = {key: one for key, one in values["vision_language"].items() if key != "weights"}
    branch = seeded(
        VisionLanguageSwin,
        0,
        **sizes,
        image_px=values["size_px"],
        text_channels=values["language"]["channels"],
        stages=len(sizes["depths"]),
    )
    weights = folder / "branch.safetensors"
    save_tensors(weights, branch.state_dict(), {})
    return load_config(merged(values, {"vision_language": {"weights": str(weights)}}))


def _draw(config: Config, folder: Path) -> None:
    """The pictures, half as large as they are read, of one type of defect a category."""
    step = steps(config)["draw_toy"]
    step.run(config.model_copy(update={"size_px": 256}), folder)
    for category in (folder / step.outputs["folder"]).iterdir():
        _, *others = sorted(path for path in (category / "test").iterdir() if path.name != "good")
        for other in others:
            shutil.rmtree(other)
            shutil.rmtree(category / "ground_truth" / other.name)


def _peak_mb(name: str, step: Step, config: Config, folder: Path, forks: str) -> float:
    """Run a stage; the most memory that its process held."""
    peak = folder / "peak"
    paths = f"{FORKED}{os.pathsep}{ROOT}"
    environment = {**os.environ, "PYTHONPATH": paths, ADDRESS: forks, PEAK: str(peak)}
    command = [sys.executable, "-m", f"adclick.commands.{step.command}"]
    began = time.monotonic()
    done = subprocess.run(
        [*command, *step.argv(config, folder)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{name}: {done.stdout[-1000:]}{done.stderr[-3000:]}"
    peak_mb = int(peak.read_text("ascii")) * 1024 / 1e6
    print(f"{name}: {time.monotonic() - began:.1f} s, {peak_mb:.0f} MB", flush=True)
    return peak_mb
