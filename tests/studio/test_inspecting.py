import time
from collections.abc import Iterator
from html import escape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from adclick.data.images import write_png
from adclick.models.decisions import level_of
from adclick.models.description import HeldOut, MapUse
from adclick.project.writing import Project
from adclick.residuals.maps import resize_map
from adclick.run.errors import InputError
from adclick.run.settings.data import Geometry
from adclick.studio import inspecting
from adclick.studio.inspecting import (
    GONE,
    LEVELS,
    NEW,
    SMALL_PX,
    Inspection,
    Inspector,
    defect_peaks,
    detector_of,
    small_map,
)
from adclick.studio.report import MARK, histogram, overlaid, write_report

DETECTION = MapUse(
    sliding=None,
    smoothing_px=1.0,
    foreground_exponent=1.0,
    threshold=0.2,
    held_out=HeldOut(pictures="validation", scores=(0.1, 0.3, 0.41)),
)
ROLES = {"train/good/0": "train_normal", "validation/good/1": "spare_normal"}
ROLES |= {"test/good/2": "test_normal", "train/rust/3": "train_defect"}


class FakeWorker:
    """In place of the process: a map whose highest value is not the picture's score."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def call(self, _: str, path: Path) -> tuple[np.ndarray, float]:
        if not path.is_file():
            raise InputError("no such file")
        return np.full((8, 8), 0.9, np.float32), float(path.stem) / 10

    def close(self) -> None: ...


@pytest.fixture
def inspection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Inspection]:
    project = Project(tmp_path, "washer", "human")
    manifest = project.category / "make_manifest/manifest.csv"
    manifest.parent.mkdir(parents=True)
    lines = ["image_id,path,role,defect_type"]
    for name, role in ROLES.items():
        write_png(tmp_path / f"photographs/{name[-1]}.png", np.zeros((4, 6, 3), np.uint8))
        lines.append(f"{name},{name[-1]}.png,{role},{name.split('/')[1]}")
    manifest.write_text("\n".join(lines) + "\n")
    described = SimpleNamespace(
        title="d",
        identity="abc",
        geometry=Geometry(scale=1),
        detection=DETECTION,
        pictures=SimpleNamespace(bits=None),
    )
    monkeypatch.setattr(inspecting, "read_description", lambda _: described)
    monkeypatch.setattr(inspecting, "Worker", FakeWorker)
    made = Inspection(project, tmp_path / "model")
    yield made
    made.close()


def rows_of(inspection: Inspection) -> dict[str, dict[str, Any]]:
    """The rows, once nothing is waited for."""
    end = time.monotonic() + 60
    while (state := inspection.state())["waiting"]:
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)
    return {row["key"]: row for row in state["pictures"]}


def test_the_threshold_is_the_detectors_own(inspection: Inspection) -> None:
    """Neither from what the page has seen, nor from pictures that are for tests alone."""
    rows = rows_of(inspection)
    state = inspection.state()
    level = level_of(DETECTION)
    assert state["seen_at"] == "the photographs' own pixels"
    assert (state["threshold"], state["advice"]) == (level.value, level.line)
    assert state["decides"] and level.value == 0.41
    groups = {key: (row["group"], row["score"]) for key, row in rows.items()}
    assert groups == {
        "validation/good/1": ("normal", 0.1),
        "test/good/2": ("test", 0.2),
        "train/rust/3": ("defective", 0.3),
    }


@pytest.mark.parametrize("shape", [(8, 8), (5, 8)])
def test_a_score_is_of_the_picture_at_its_own_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int]
) -> None:
    found = np.random.default_rng(0).random(shape, np.float32)
    monkeypatch.setattr("adclick.models.folder.detect", lambda *_: found)
    write_png(tmp_path / "a.png", np.zeros((13, 21, 3), np.uint8))
    inspector = Inspector.__new__(Inspector)
    inspector.model = SimpleNamespace(description=SimpleNamespace(pictures=SimpleNamespace(bits=8)))  # pyright: ignore
    made, score = inspector.look_at(tmp_path / "a.png")
    assert made.shape == (8, 8) and (shape != (8, 8) or (made == found).all())
    assert score == pytest.approx(float(resize_map(found, (13, 21)).max()), rel=1e-5)
    assert abs(score - found.max()) > 1e-4


def test_photographs_come_and_go_by_hand(inspection: Inspection) -> None:
    new = inspection.project.folder / NEW
    new.mkdir()
    assert set(rows_of(inspection)) == set(ROLES) - {"train/good/0"}  # an empty folder is none
    write_png(new / "7.png", np.zeros((4, 4, 3), np.uint8))
    (new / "notes.txt").touch()
    row = rows_of(inspection)[f"{NEW}/7.png"]
    assert (row["group"], row["score"], row["broken"]) == ("new", 0.7, None)
    held_out = inspection.pictures["validation/good/1"].path
    held_out.unlink()
    assert rows_of(inspection)["validation/good/1"]["broken"] == GONE
    write_png(held_out, np.ones((4, 4, 3), np.uint8))
    assert rows_of(inspection)["validation/good/1"]["score"] == 0.1


def test_a_report_says_what_the_page_says(inspection: Inspection, tmp_path: Path) -> None:
    rows_of(inspection)
    write_report(inspection, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "<b>0.410</b>" in text and escape(level_of(DETECTION).line) in text
    assert "0 of 1 normal photographs that were held out" in text
    assert "0 of 1 normal photographs that are for tests alone" in text
    assert "of 1 defective photographs that it was not trained on" in text
    assert text.count("<figure>") == 3


def test_a_damaged_label_hides_nothing_else(inspection: Inspection) -> None:
    label = inspection.project.labels / "train/rust/3.json"
    label.parent.mkdir(parents=True)
    label.write_text("{")
    assert rows_of(inspection)["train/rust/3"]["labelled"] is None


def test_a_detector_that_is_made_again_is_used_until_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project(tmp_path, "washer", "human")
    with pytest.raises(InputError, match="no detector yet"):
        detector_of(project)
    monkeypatch.setattr("adclick.models.export.is_current", lambda *_, **__: False)
    monkeypatch.setattr("adclick.models.export.export_model", write_model)
    (project.category / "predict_maps/human/seed0").mkdir(parents=True)
    (project.category / "predict_maps/human/seed0/maps.h5").touch()
    folder = detector_of(project)
    assert (folder / "model.json").read_text() == "1"
    (project.category / "predict_maps/human/seed0/maps.h5").unlink()

    def fails(*_: Any, **__: Any) -> None:
        raise InputError("no weights")

    monkeypatch.setattr("adclick.models.export.export_model", fails)
    assert (detector_of(project) / "model.json").read_text() == "1"
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def write_model(*_: Any, output: Path, **__: Any) -> None:
    output.mkdir(parents=True)
    (output / "model.json").write_text("1")


def test_a_small_map_loses_no_peak() -> None:
    steps = np.zeros((200, 200), np.uint16)
    steps[199, 2] = LEVELS
    steps[101, 77] = 40_000
    small = small_map(steps)
    assert small.shape == (SMALL_PX, SMALL_PX)
    assert small[-1, 0] == LEVELS  # the last row, at the left
    assert sorted(small[small > 0].tolist()) == [40_000, LEVELS]


def test_a_map_that_is_small_already_stays() -> None:
    steps = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32)
    assert (small_map(steps) == steps).all()


def test_each_labelled_defect_has_the_highest_value_in_it() -> None:
    """At the picture's own size, which is not the map's: 4 x 8 pixels a value here."""
    scores = np.zeros((8, 8), np.float32)
    scores[1, 1], scores[1, 2], scores[6, 6] = 0.4, 0.9, 0.7
    mask = np.zeros((32, 64), bool)
    mask[4:8, 8:16] = True  # exactly the pixels of scores[1, 1]
    mask[24:28, 40:60] = True
    assert defect_peaks(scores, mask) == pytest.approx([0.4, 0.7])
    mask[4:8, 16] = True  # one pixel more, of scores[1, 2]
    assert defect_peaks(scores, mask) == pytest.approx([0.9, 0.7])
    assert defect_peaks(scores, np.zeros((5, 5), bool)) == []


def test_a_picture_of_the_report_is_marked_where_its_map_is_above_the_level() -> None:
    scores = np.zeros((64, 64), np.float32)
    scores[20:40, 20:40] = 0.8
    image = np.full((640, 320, 3), 90, np.uint8)
    shown = overlaid(image, scores, 0.5)
    assert shown.shape == (320, 160, 3)
    assert (shown == MARK).all(axis=2).any()
    assert (shown[:60] == 90).all()
    assert not (overlaid(image, scores, 0.9) == MARK).all(axis=2).any()


def test_the_reports_threshold_stands_among_its_scores() -> None:
    rows = [
        {"group": "normal", "score": 0.01},
        {"group": "normal", "score": 0.02},
        {"group": "defective", "score": 0.05},
        {"group": "new", "score": None},
    ]
    shown = histogram(rows, 0.03)
    end = 1.2 * 0.05
    assert f'<line x1="{600 * 0.03 / end:.1f}"' in shown
    assert shown.count('class="normal" x=') == 60  # a bar a bin
