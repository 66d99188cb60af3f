"""Recipes of docs/neighbours.md as they stand there, each where the other tool is installed."""

import csv
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from adclick.annotate.store import run_lengths, save_label
from adclick.data.images import list_pictures, read_mask, write_png
from adclick.data.layouts.csv import read_rows
from adclick.data.toy import draw_defect, draw_normal
from adclick.metrics import pixel_metrics
from tests.test_documents import FENCE

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/neighbours.md"
ANOMALIB = ROOT / ".venv-anomalib/bin/python"
FIFTYONE = ROOT / ".venv-fiftyone/bin/python"
DATUMARO = ROOT / ".venv-datumaro/bin/python"
KINDS, SIZE_PX = ("rust", "scratch"), 64
anomalib = pytest.mark.skipif(not ANOMALIB.exists(), reason="no .venv-anomalib: make peers")
fiftyone = pytest.mark.skipif(
    not FIFTYONE.exists(), reason="no .venv-fiftyone: a venv with fiftyone and pycocotools"
)
datumaro = pytest.mark.skipif(
    not DATUMARO.exists(), reason="no .venv-datumaro: a venv with datumaro"
)
COLOURS = {"rust": (200, 30, 30), "scratch": (10, 90, 30)}  # of labels in CVAT


def recipes(title: str, language: str = "python") -> list[str]:
    """The blocks of a language below a heading."""
    section = re.split(r"^## ", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    (text,) = [part for part in section if part.startswith(f"{title}\n")]
    return [block for said, block in FENCE.findall(text) if said == language]


def recipe(title: str, language: str = "python") -> str:
    """The one block of a language below a heading."""
    (block,) = recipes(title, language)
    return block


def run(python: Path, code: str, folder: Path) -> str:
    """What a script prints last, in a folder and with another environment's Python."""
    done = subprocess.run([python, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip().splitlines()[-1]


def type_lines(block: str, folder: Path) -> str:
    """Type the commands of a block; what the last prints."""
    said = ""
    for line in block.splitlines():
        words = [sys.executable, "-m", "adclick.cli", *shlex.split(line)[1:]]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        said = done.stdout
    return said


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with `data/bracket`, and a label of every defect in `labels` with `photos`."""
    data = tmp_path / "data/bracket"
    for folder, count in (("good", 10), ("good_test", 2)):
        for number in range(count):
            rng = np.random.default_rng([len(folder), number])
            write_png(data / f"{folder}/{number:03}.png", draw_normal("washer", SIZE_PX, rng))
    for kind in KINDS:
        for number in range(2):
            rng = np.random.default_rng([8, number])
            image, mask = draw_defect("washer", kind, SIZE_PX, rng)
            write_png(data / f"defects/{kind}/{number:03}.png", image)
            write_png(data / f"masks/{kind}/{number:03}.png", mask)
            write_png(tmp_path / f"photos/{kind}/{number:03}.png", image)
            defect = {"id": 1, "type": kind, "threshold": 0.5, "mask": run_lengths(mask)}
            facts = {"state": "done", "objects": [{**defect, "clicks": []}]}
            save_label(tmp_path / "labels", f"{kind}/{number:03}", facts, mask)
    return tmp_path


def masks_of(rows: Sequence[dict[str, str]]) -> dict[str, str]:
    """Masks by picture, both as the ends of their paths."""
    return {end(row["image_path"]): end(row["mask_path"]) for row in rows}


def end(path: object) -> str:
    return "/".join(Path(str(path)).parts[-3:]) if path and str(path) != "nan" else ""


@anomalib
def test_the_folders_of_anomalib_make_a_project(place: Path) -> None:
    """Both take the same pictures for normal, defective and tests, with the same masks."""
    listed = """
import json
data.setup()
columns = ["image_path", "mask_path", "label_index"]
found = {
    name: json.loads(getattr(data, f"{name}_data").samples[columns].to_json(orient="records"))
    for name in ("train", "val", "test")
}
print(json.dumps({"train": found["train"], "test": found["test"] + found["val"]}))
"""
    theirs = json.loads(run(ANOMALIB, recipe("From anomalib: folders") + listed, place))
    type_lines(recipe("From anomalib: folders", ""), place)
    with (place / "bracket/photographs/bracket.csv").open(encoding="utf-8") as file:
        ours = [*csv.DictReader(file)]
    defects = [row for row in ours if row["label"] == "abnormal"]
    assert masks_of(defects) == masks_of([row for row in theirs["test"] if row["label_index"]])
    normal = {end(row["image_path"]) for row in ours if row["label"] == "normal" and row["split"]}
    trained = {one for one in normal if "/good/" in one}
    assert trained == {end(row["image_path"]) for row in theirs["train"]}
    assert len(defects) == 4 and len(trained) == 10


@anomalib
def test_a_table_of_anomalib_is_read_alike(place: Path) -> None:
    data = place / "data/bracket"
    columns = ("image_path", "label", "label_index", "split", "mask_path")
    lines: list[tuple[object, ...]] = []
    for folder, split, count in (("good", "train", 10), ("good_test", "test", 2)):
        lines += [(f"{folder}/{n:03}.png", "normal", 0, split, "") for n in range(count)]
    for kind in KINDS:
        for n in range(2):
            mask = f"masks/{kind}/{n:03}.png"
            lines.append((f"defects/{kind}/{n:03}.png", "abnormal", 1, "test", mask))
    with (data / "bracket.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *lines])
    code = """
import json, pandas
from anomalib.data.datasets.image.tabular import make_tabular_dataset
samples = pandas.read_csv("bracket.csv").astype({"image_path": object, "mask_path": object})
found = make_tabular_dataset(samples, root=".")
print(found[["image_path", "mask_path", "label_index", "split"]].to_json(orient="records"))
"""
    theirs = json.loads(run(ANOMALIB, code, data))
    ours = read_rows(data, "bracket")
    assert {(end(row["image_path"]), row["label_index"], row["split"]) for row in theirs} == {
        (end(data / row.path), int(not row.is_normal), row.split) for row in ours
    }
    assert {end(row["mask_path"]) for row in theirs} == {
        end(row.mask_path and data / row.mask_path) for row in ours
    }


@anomalib
def test_anomalib_reads_our_labels_and_measures_our_maps_as_we_do(place: Path) -> None:
    type_lines(recipe("To anomalib: labels", ""), place)
    code = """
from anomalib.data.datasets.image.tabular import TabularDataset
read = TabularDataset(name="bracket", samples=samples, root="bracket-anomalib", split="test")
print(len(read), sum(item.gt_mask.sum().item() > 0 for item in read))
"""
    assert run(ANOMALIB, recipe("To anomalib: labels") + code, place) == "4 4"
    rng, maps, masks = np.random.default_rng(0), [], []
    for kind in KINDS:
        for number in range(2):
            mask = read_mask(place / f"data/bracket/masks/{kind}/{number:03}.png")
            found = (0.6 * rng.random(mask.shape) + 0.3 * mask).astype(np.float32)
            path = place / f"found/maps/{kind}/{kind}-{number:03}.tiff"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), found)
            maps.append(found)
            masks.append(mask)
    theirs = json.loads(run(ANOMALIB, recipe("To anomalib: maps"), place).replace("'", '"'))
    ours = pixel_metrics(maps, masks)
    assert theirs == {
        "AUROC": pytest.approx(ours.auroc, abs=1e-3),
        "AUPRO": pytest.approx(ours.pro, abs=0.01),
    }


@anomalib
@pytest.mark.slow
def test_maps_of_a_model_of_anomalib_are_scored(place: Path) -> None:
    """Its weights are drawn here: there is no network."""
    code = recipe("From anomalib: maps").replace("Patchcore(", "Patchcore(\n    pre_trained=False,")
    run(ANOMALIB, code + "\nprint()", place)
    said = type_lines(recipe("From anomalib: maps", ""), place)
    assert len([*(place / "maps").rglob("*.tiff")]) == 6
    assert "6: 2 normal, 4 defective" in said


def test_masks_as_cvat_writes_them_are_started_from(place: Path) -> None:
    """A colour a label on black, in its layout of *Segmentation mask 1.1*."""
    out, back = recipes("CVAT", "")
    type_lines(out, place)
    for kind in KINDS:
        for number in range(2):
            mask = truth(place, kind, number)
            colours = np.where(mask[..., None], np.uint8(COLOURS[kind]), np.uint8(0))
            write_png(place / f"SegmentationClass/{kind}-{number:03}.png", colours)
    check_masks_come_back(back, place)


@datumaro
@pytest.mark.slow
def test_cvat_reads_our_labels_and_we_its_masks(place: Path) -> None:
    """By the library with which it imports a file or a whole folder, and exports masks."""
    out, back = recipes("CVAT", "")
    type_lines(out, place)
    code = f"""
import json, pathlib
from datumaro.components.dataset import Dataset
from datumaro.components.environment import Environment

(layout,) = Environment().detect_dataset("bracket-coco")
assert layout in ("coco", "coco_instances")
file = "bracket-coco/annotations/instances_default.json"
read = {{path: Dataset.import_from(path, "coco_instances") for path in (file, "bracket-coco")}}
found = [
    {{item.id: [int(one.image.sum()) for one in item.annotations if one.type.name == "mask"]
      for item in dataset}}
    for dataset in read.values()
]
label_map = {{name: [tuple(colour), [], []] for name, colour in {COLOURS!r}.items()}}
label_map = {{"background": [(0, 0, 0), [], []], **label_map}}
read[file].export("cvat", "voc_segmentation", apply_colormap=True, label_map=label_map)
pathlib.Path("cvat/SegmentationClass").rename("SegmentationClass")
print(json.dumps(found))
"""
    marked = {
        f"{kind}-{number:03}": [int(truth(place, kind, number).sum())]
        for kind in KINDS
        for number in range(2)
    }
    assert json.loads(run(DATUMARO, code, place)) == [marked, marked]
    check_masks_come_back(back, place)


def truth(place: Path, kind: str, number: int) -> np.ndarray:
    return read_mask(place / f"data/bracket/masks/{kind}/{number:03}.png")


def check_masks_come_back(command: str, place: Path) -> None:
    """The masks that the page starts from, by a command's options, are those that were drawn."""
    words = shlex.split(command)
    given = dict(zip(words[2::2], words[3::2], strict=True))
    pictures = list_pictures(place / given["--images"])
    assert len(pictures) == 2 * len(KINDS)
    for picture in pictures:
        kind, number = picture.stem.split("-")
        mask = place / given["--masks"] / f"{picture.stem}.png"
        found = read_mask(mask, mask_values=given["--mask-values"])
        assert np.array_equal(found, truth(place, kind, int(number)))


@fiftyone
@pytest.mark.slow
def test_fiftyone_reads_labels_and_maps(place: Path) -> None:
    """By the importer that the recipe's `Dataset.from_dir` takes, which needs no database."""
    type_lines(recipes("CVAT", "")[0], place)
    cv2.imwrite(str(place / "map.tiff"), np.full((SIZE_PX, SIZE_PX), 0.25, np.float32))
    code = """
import cv2, fiftyone, json
from fiftyone.utils.coco import COCODetectionDatasetImporter

importer = COCODetectionDatasetImporter(
    data_path="bracket-coco/images",
    labels_path="bracket-coco/annotations/instances_default.json",
    label_types=["segmentations"],
)
with importer:
    found = {
        path: [[one.label, int(one.mask.sum())] for one in labels.detections]
        for path, _, labels in importer
    }
heat = fiftyone.Heatmap(map=cv2.imread("map.tiff", cv2.IMREAD_UNCHANGED), range=[0, 1])
names = {path.split("/")[-1]: marks for path, marks in found.items()}
print(json.dumps([names, heat.map.mean().item()]))
"""
    found, level = json.loads(run(FIFTYONE, code, place))
    assert level == pytest.approx(0.25)
    masks = {
        f"{kind}-{number:03}.png": truth(place, kind, number)
        for kind in KINDS
        for number in range(2)
    }
    assert found == {name: [[name.split("-")[0], int(mask.sum())]] for name, mask in masks.items()}
