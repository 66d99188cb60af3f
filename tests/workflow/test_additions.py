"""What it takes to add a data set, a peer and a table: each is added to a copy and run."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml

from adclick.data.images import write_png
from adclick.run.artifacts import read_csv
from tests.workflow.project import Project, copy_project

pytestmark = [pytest.mark.workflow]

READER = '''
"""Pictures side by side: `<category>/<name>.png`, defective where there is `<name>.mask.png`."""

from adclick.data.reading import GOOD, Row, checked


def read_rows(root, category, *, training_normals=()):
    """The rows; normal pictures whose name begins with `train` are for training."""
    rows = []
    for path in sorted((root / category).glob("*.png")):
        mask = path.with_suffix(".mask.png")
        if not path.name.endswith(".mask.png"):
            split = "train" if path.name.startswith("train") else "test"
            kind = "dent" if mask.is_file() else GOOD
            found = mask.relative_to(root) if mask.is_file() else None
            name = f"{split}/{kind}/{path.stem}"
            rows.append(Row(name, path.relative_to(root), split, kind, found))
    return checked(root, category, rows, [])
'''
PEER = '''
"""The peer that takes a click's disk for the whole defect."""

from adclick.clicks.click import click_disks


def open_peer(image, *, radius_px, device):
    """A function of clicks to the disks of the positive ones."""
    return lambda clicks, _: click_disks(clicks, shape=image.shape[:2], radius_px=radius_px)[0]
'''
DETECTOR = '''
"""The detector that takes a pixel's difference from the mean normal picture."""

import numpy as np

from adclick.training.peer_pictures import Learnt


def fit_peer(*, normal, power: float = 1.0):
    """It learns the mean picture."""
    mean = np.mean([normal[index].image for index in range(len(normal))], axis=0)

    def map_of(picture):
        return (np.abs(picture.image - mean).sum(axis=2) ** power).astype(np.float32)

    return Learnt(map_of, mean.size, {})
'''
TABLE = """    TableLayout(
        number=9,
        title="A table more",
        kind="clicks",
        metrics=("miou",),
        clicks=(1,),
    ),
"""
OVERLAY = {
    "run": "added",
    "datasets": {
        "shed": {
            **{"layout": "beside", "root": "shed", "categories": ["bolt"], "textures": []},
            **{"prompts": "config/prompts/shed.yaml", "split": "sorted"},
            **{"training_defects": 0, "empty_masks": "error"},
        }
    },
    **{"run_datasets": ["shed"], "pretrain_on": {"shed/bolt": []}},
    **{"run_adclick": [], "run_adclick_seg": [], "run_robots": []},
    **{"run_map_peers": ["mean", "padim"], "anomalib_python": "nowhere"},
    **{"run_plain": [], "run_sliding": []},
    "run_click_peers": ["disks", "grabcut", "sam"],
    "click_peers": {"sam": {"weights": "nowhere"}},
    "tables": {**{number: [] for number in range(3, 9)}, **{n: ["shed"] for n in (1, 2, 9)}},
    "titles": {"shed": "The shed", "disks": "disks alone", "mean": "the mean picture"},
}


def draw_shed(folder: Path) -> None:
    picture = np.full((40, 60, 3), 120, np.uint8)
    for name in ("train1", "train2", "test1", "test2"):
        write_png(folder / f"{name}.png", picture)
    mask = np.zeros((40, 60), bool)
    mask[10:20, 20:30] = True
    write_png(folder / "test2.png", np.where(mask[..., None], 250, picture).astype(np.uint8))
    write_png(folder / "test2.mask.png", mask)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the project with a reader, a peer and a table more, and nothing else changed."""
    copied = copy_project(tmp_path_factory.mktemp("additions") / "project")
    folder = copied.folder
    draw_shed(folder.parent / "data/shed/bolt")
    (folder / "adclick/data/layouts/beside.py").write_text(READER, encoding="utf-8")
    (folder / "adclick/models/peers/disks.py").write_text(PEER, encoding="utf-8")
    (folder / "adclick/training/peers/mean.py").write_text(DETECTOR, encoding="utf-8")
    specification = folder / "adclick/run/settings/tables.py"
    text = specification.read_text(encoding="utf-8")
    assert text.count("\n)\nTABLES = ") == 1
    specification.write_text(text.replace("\n)\nTABLES = ", f"\n{TABLE})\nTABLES = "))
    phrases = {kind: [kind] for kind in ("good", "contamination", "dent")}
    (folder / "config/prompts/shed.yaml").write_text(yaml.safe_dump({"bolt": phrases}))
    (folder / "tests/config/data.yaml").write_text(f"data_root: '{folder.parent / 'data'}'\n")
    copied.run("tables", overlay=OVERLAY)
    return copied


def test_a_data_set_is_a_reader_an_entry_and_prompts(project: Project) -> None:
    manifest = read_csv(project.folder / "results/added/shed/bolt/make_manifest/manifest.csv")
    assert dict(zip(manifest["image_id"], manifest["role"], strict=True)) == {
        "test/dent/test2": "test_defect",
        "test/good/test1": "test_normal",
        "train/good/train1": "train_normal",
        "train/good/train2": "train_normal",
    }


def test_words_are_asked_for_where_they_are_read_before_the_first_job(project: Project) -> None:
    """Nothing in the run above reads words, so it has none."""
    assert not (project.folder / "results/added/shed/generate_prompts").exists()
    reader = {"language": True, "pretrain": False, "finetune": True, "inputs": "residual"}
    reading = {"adclick_variants": {"reader": reader}, "run_adclick": ["reader"]}
    (project.folder / "config/prompts/shed.yaml").write_text("nut: {good: [a nut]}\n")
    overlay = OVERLAY | reading | {"label_with": "reader"}
    asked = project.snakemake("click_models", "--cores", "1", overlay=overlay)
    assert asked.returncode == 2
    assert "error: config/prompts/shed.yaml: no category 'bolt'; add it" in asked.stderr
    assert "Finished job" not in asked.stderr


def test_a_peer_is_a_file_and_a_title(project: Project) -> None:
    table = (project.folder / "results/added/tables/table1.csv").read_text()
    assert "The shed,bolt,disks alone,this run" in table


def test_a_peer_without_its_weights_is_a_line_and_an_empty_row(project: Project) -> None:
    tables = project.folder / "results/added/tables"
    assert "The shed,bolt,SAM,this run,not run,not run" in (tables / "table1.csv").read_text()
    assert "The shed,,SAM,not run,not run" in (tables / "click_costs.csv").read_text()
    (tables / "table9.csv").unlink()
    done = project.snakemake("table9", "--cores", "1", overlay=OVERLAY)
    assert done.returncode == 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("sam:")]
    assert line.startswith("sam: no weights at nowhere, so its rows stay empty; name ")


def test_a_detector_is_a_file_and_a_title(project: Project) -> None:
    tables = project.folder / "results/added/tables"
    rows = read_csv(tables / "table2.csv").set_index("Method")
    assert rows.loc["the mean picture", ["AP", "P-AUROC"]].tolist() == ["100.0", "100.0"]
    costs = read_csv(tables / "map_costs.csv").set_index("Method")
    assert costs.loc["the mean picture", "Device"] == "cpu"
    assert float(costs.loc["the mean picture", "s a picture"]) > 0


def test_a_detector_whose_library_is_missing_is_a_line_and_an_empty_row(project: Project) -> None:
    tables = project.folder / "results/added/tables"
    assert "PaDiM (anomalib),this run,not run" in (tables / "table2.csv").read_text()
    assert "The shed,,PaDiM (anomalib),not run" in (tables / "map_costs.csv").read_text()
    (tables / "table2.csv").unlink()
    done = project.snakemake("table2", "--cores", "1", overlay=OVERLAY)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("padim:")]
    assert line.startswith(
        "padim: no anomalib by nowhere, so its rows stay empty; run `make peers`"
    )


def test_an_edit_of_a_detector_reruns_its_maps_alone(project: Project) -> None:
    path = project.folder / "adclick/training/peers/mean.py"
    path.write_text(DETECTOR.replace("axis=2) **", "axis=2) * 1 **"), encoding="utf-8")
    again = project.planned("tables", overlay=OVERLAY)
    path.write_text(DETECTOR, encoding="utf-8")
    rules = {job.rule for job in again}
    assert rules == {"fit_map_peer", "evaluate_maps", "make_table", "make_map_cost_table", "tables"}


def test_an_edit_of_a_peer_reruns_its_clicks_alone(project: Project) -> None:
    path = project.folder / "adclick/models/peers/disks.py"
    path.write_text(PEER.replace("[0]\n", "[0] * 1\n"), encoding="utf-8")
    again = project.planned("tables", overlay=OVERLAY)
    path.write_text(PEER, encoding="utf-8")
    clicked = [job.outputs for job in again if job.rule in ("simulate_clicks", "evaluate_clicks")]
    assert len(clicked) == 2
    assert all("/disks/" in outputs for outputs in clicked)
    others = {job.rule for job in again} - {"simulate_clicks", "evaluate_clicks"}
    assert others == {"make_table", "make_cost_table", "tables"}


def test_a_table_is_its_specification(project: Project) -> None:
    table = (project.folder / "results/added/tables/table9.csv").read_text()
    assert "mIoU@1" in table.splitlines()[0]
    assert "disks alone" in table
    asked = ["make", "--dry-run", "--old-file", ".venv/.done", "table9"]
    shown = subprocess.run(asked, cwd=project.folder, capture_output=True, text=True, check=True)
    assert "results/demo/tables/table9.txt" in shown.stdout
