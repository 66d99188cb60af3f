"""The ten-minute page, followed as it is typed: photographs of a drawn product, all small."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from adclick.annotate.store import save_label
from adclick.data.images import write_png
from adclick.run.artifacts import read_csv
from tests.project.photographs import normal_picture, write_photographs
from tests.test_documents import FENCE

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/ten_minutes.md"
INSTALLATION = ("git clone", "make setup", "source ")  # tests/test_setup.py
SMALL = {
    "size_px": 64,
    "features": {
        "backbone": "resnet18",
        "weights": {"source": "seeded", "seed": 0},
        "layers": [1, 2],
        "layer_dimensions": [32, 32],
        "dimension": 32,
    },
    "retrieval": {"neighbours": 3, "sample_pixels": 2000},
    "foreground": {"sample_pixels": 2000, "samples_per_class": 200, "neighbours": 2},
    "simulation": {"per_normal": 1},
    "expansion": {"copies": 1},
    "residual_input": {"groups": 8},
    "network": {"dim": 16, "depth": 1, "heads": 2, "neck_channels": [8, 8, 8], "head_hidden": 8},
    "training": {"steps": 3, "pretrain_steps": 3},
    "feature_network": {"width": 8, "upsampling_widths": [4]},
    "feature_training": {"steps": 4, "folds": 2, "held_normals": 2},
}


def typed_lines() -> list[str]:
    """What the page says to type, in order."""
    blocks = [text for said, text in FENCE.findall(PAGE.read_text("utf-8")) if said == ""]
    lines = [line for block in blocks for line in block.splitlines() if line]
    return [line for line in lines if not line.startswith(INSTALLATION)]


class Shell:
    """A terminal: it remembers its folder."""

    def __init__(self, folder: Path) -> None:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.folder = folder
        self.environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}

    def type(self, line: str) -> str:
        if line.startswith("cd "):
            self.folder = self.folder / line.removeprefix("cd ")
            return ""
        done = subprocess.run(
            line.replace("adclick ", f"{sys.executable} -m adclick.cli ", 1)
            if line.startswith("adclick ")
            else line,
            shell=True,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
        return done.stdout

    def serve(self, line: str) -> str:
        """A command that goes on until Ctrl-C: its first two lines."""
        words = [sys.executable, "-m", "adclick.cli", *line.split()[1:], "--no-open"]
        with subprocess.Popen(
            words, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, text=True
        ) as server:
            assert server.stdout is not None
            said = server.stdout.readline() + server.stdout.readline()
            server.terminate()
            server.wait(timeout=300)
        return said


def make_small(folder: Path) -> None:
    """The settings of tests, written into the project by hand."""
    from snakemake.utils import update_config

    overlay = folder / "adclick.yaml"
    values = yaml.safe_load(overlay.read_text("utf-8"))
    update_config(values, SMALL)
    overlay.write_text(yaml.safe_dump(values), encoding="utf-8")


def label_everything(category: Path) -> None:
    """Every defect of the run has a saved label, as the page would have it."""
    table = read_csv(category / "make_manifest/manifest.csv")
    for image_id, role, height, width in zip(
        table["image_id"], table["role"], table["height"], table["width"], strict=True
    ):
        if str(role).endswith("defect"):
            mask = np.zeros((int(height), int(width)), bool)
            mask[20:30, 24:40] = True
            save_label(category / "annotate/labels", image_id, {"state": "done"}, mask)


def test_it_leads_from_photographs_to_a_detector_without_torch(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    kinds = {"rust": 2, "scratch": 2}  # of another size than the network's
    write_photographs(tmp_path / "photos", "washer", normals=15, kinds=kinds, size_px=96)
    for number in range(2):
        picture = normal_picture("washer", 90 + number, 96)
        write_png(tmp_path / f"photos/new/{number}.png", picture)
    (tmp_path / "photos/new/1.png").rename(tmp_path / "photos/new/1.jpg")  # whatever it is called
    shell, said = Shell(tmp_path), {}
    for line in typed_lines():
        if line.startswith("adclick annotate"):
            said[line] = shell.serve(line)
            label_everything(tmp_path / "tiles/results/own/own/tiles")
        else:
            said[line] = shell.type(line)
        if line.startswith("adclick init"):
            make_small(tmp_path / "tiles")
    words = {line.split(" --")[0]: text for line, text in said.items()}
    assert (
        "15 normal photographs, 4 defective ones"
        in words["adclick init photos/good photos/defects"]
    )
    assert "4 images: http://127.0.0.1" in words["adclick annotate results/own/own/tiles"]
    assert "3 held-out normal pictures" in words["adclick predict"]
    assert words["python model-onnx/inspect_picture.py ../photos/new/1.jpg"].startswith("score ")
    check_results(tmp_path / "tiles")
    check_held_out(shell)


def check_held_out(shell: Shell) -> None:
    """The threshold is set with what `predict` says of the held-out pictures."""
    (shell.folder / "held").mkdir()
    with (shell.folder / "photographs/tiles.csv").open(encoding="utf-8") as file:
        held = [row["image_path"] for row in csv.DictReader(file) if row["split"] == "validation"]
    for path in held:
        shutil.copy(shell.folder / "photographs" / path, shell.folder / "held")
    shell.type("adclick predict --model model --images held --output checked --no-overlays")
    with (shell.folder / "checked/scores.csv").open(encoding="utf-8") as file:
        found = sorted(float(row["score"]) for row in csv.DictReader(file))
    detection = json.loads((shell.folder / "model/model.json").read_text())["detection"]
    assert found == pytest.approx(detection["held_out"]["scores"], rel=1e-4)


def check_results(folder: Path) -> None:
    """Held-out pictures were never trained on, the threshold is theirs, and all files are there."""
    table = read_csv(folder / "results/own/own/tiles/make_manifest/manifest.csv")
    roles = [str(role) for role in table["role"]]
    assert (roles.count("spare_normal"), roles.count("train_normal")) == (3, 12)
    detection = json.loads((folder / "model/model.json").read_text())["detection"]
    assert detection["held_out"]["pictures"] == "validation"
    assert len(detection["held_out"]["scores"]) == 3
    assert json.loads((folder / "model/model.json").read_text())["normal_images"] == 12
    with (folder / "found/scores.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["0.png", "1.jpg"]
    assert {row["defective"] for row in rows} <= {"yes", "no"}
    assert float(rows[0]["threshold"]) == pytest.approx(max(detection["held_out"]["scores"]), 1e-4)
    onnx = json.loads((folder / "model-onnx/model.json").read_text())
    assert onnx["threshold"] == pytest.approx(max(detection["held_out"]["scores"]), 1e-4)
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "detectors", "--dry-run"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert "Nothing to be done" in done.stdout + done.stderr
