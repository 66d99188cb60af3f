"""`adclick predict`: a folder of photographs in, maps, overlays and scores out."""

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from adclick.data.images import read_image, write_png
from adclick.models.export import export_model
from adclick.run.artifacts import image_ids, open_arrays
from tests.typed import Said, type_command

pytestmark = pytest.mark.slow

CATEGORY = "results/micro/toy/cloth"


@pytest.fixture
def run(finished_run: Path) -> Path:
    return finished_run


@pytest.fixture(scope="module")
def models(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    target = tmp_path_factory.mktemp("models")
    for name, variant in (("detector", "weak"), ("clicks", "finetuned_lang")):
        export_model(finished_run / CATEGORY, variant, seed=0, output=target / name)
    return {name: target / name for name in ("detector", "clicks")}


@pytest.fixture
def photos(run: Path, tmp_path: Path) -> Path:
    """The drawn test pictures, at their own size."""
    folder = tmp_path / "photos"
    shutil.copytree(run / "results/micro/toy/draw_toy/data/cloth/test", folder)
    return folder


@pytest.fixture
def typed(models: dict[str, Path], tmp_path: Path, monkeypatch, capsys):
    def predict(
        photos: Path, *more: str, model: str = "detector", output: Path | None = None
    ) -> Said:
        argv = ["predict", "--model", str(models[model]), "--images", str(photos)]
        argv += ["--output", str(output or tmp_path / "found"), *more]
        return type_command(argv, monkeypatch, capsys)

    return predict


def table(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "scores.csv").open(encoding="utf-8") as file:
        return {row["image"]: row for row in csv.DictReader(file)}


def read_map(path: Path) -> np.ndarray:
    scores = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert scores is not None
    return scores


def test_maps_are_those_of_the_workflow(
    run: Path, models: dict[str, Path], photos: Path, typed, tmp_path: Path
) -> None:
    said = typed(photos)
    assert said.code == 0
    with open_arrays(run / CATEGORY / "predict_maps/weak/seed0/maps.h5") as file:
        maps = dict(zip(image_ids(file), file["maps"][:], strict=True))
    held_out = json.loads((models["detector"] / "model.json").read_text())["detection"]["held_out"]
    own = max(held_out["scores"])
    assert "so the threshold is their highest score; they are the test's" in said.out
    rows = table(tmp_path / "found")
    assert len(rows) == len(maps) == 8
    for image_id, expected in maps.items():
        name = image_id.removeprefix("test/")
        scores = read_map(tmp_path / f"found/maps/{name}.tiff")
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, expected, atol=1e-3)
        row = rows[f"{name}.png"]
        assert float(row["score"]) == pytest.approx(scores.max(), abs=1e-6)
        assert float(row["threshold"]) == pytest.approx(own, abs=1e-6)
        assert row["defective"] == ("yes" if (scores > own).any() else "no")
        assert int(row["area_px"]) == (scores > own).sum()
        assert float(row["area_share"]) == pytest.approx((scores > own).mean(), abs=1e-6)
    assert any(int(row["area_px"]) for row in rows.values())


def test_pictures_of_twelve_bits_are_those_of_eight(
    models: dict[str, Path], photos: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    model = shutil.copytree(models["detector"], tmp_path / "model")
    said = json.loads((model / "model.json").read_text())
    said["pictures"]["bits"] = 12
    (model / "model.json").write_text(json.dumps(said))
    grey = read_image(photos / "hole/000.png")[:, :, 0]
    write_png(tmp_path / "new/eight.png", grey)
    deep = (grey.astype(np.int32) * 4095 + 127) // 255
    Image.fromarray(deep.astype(np.uint16)).save(tmp_path / "new/twelve.png")
    argv = ["predict", "--model", str(model), "--images", str(tmp_path / "new")]
    argv += ["--output", str(tmp_path / "found"), "--no-overlays"]
    assert type_command(argv, monkeypatch, capsys).code == 0
    rows = table(tmp_path / "found")
    assert rows["eight.png"]["score"] == rows["twelve.png"]["score"]


def test_maps_have_the_pictures_own_size_and_folder(photos: Path, typed, tmp_path: Path) -> None:
    picture = cv2.resize(read_image(photos / "hole/000.png"), (150, 90))
    deep = tmp_path / "deep"
    write_png(deep / "line 3/monday/a.png", picture)
    write_png(deep / "b.png", picture)
    typed(deep, "--threshold", "0.1")
    for name in ("line 3/monday/a", "b"):
        assert read_map(tmp_path / f"found/maps/{name}.tiff").shape == (90, 150)
        assert read_image(tmp_path / f"found/overlays/{name}.png").shape[1] > 1000
    assert list(table(tmp_path / "found")) == ["b.png", "line 3/monday/a.png"]
    assert table(tmp_path / "found")["b.png"]["threshold"] == "0.1"


def test_regions_and_decisions_are_told_alike_everywhere(photos: Path, typed, tmp_path) -> None:
    typed(photos, "--no-overlays", "--false-alarms", "0.7")
    found = tmp_path / "found"
    results = json.loads((found / "results.json").read_text())
    assert results["decides"]
    with (found / "regions.csv").open(encoding="utf-8") as file:
        regions = list(csv.DictReader(file))
    rows = table(found)
    assert any(row["defective"] == "yes" for row in rows.values())
    for image in results["images"]:
        own = [one for one in regions if one["image"] == image["image"]]
        row = rows[image["image"]]
        assert len(own) == len(image["regions"]) == int(row["regions"])
        assert sum(int(one["area_px"]) for one in own) == int(row["area_px"]) == image["area_px"]
        assert row["defective"] == ("yes" if own else "no")
        assert image["defective"] == bool(own)
        if own:
            assert float(own[0]["score"]) == pytest.approx(float(row["score"]), abs=1e-6)


def test_without_held_out_pictures_nothing_is_called_defective(
    models: dict[str, Path], photos: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    model = shutil.copytree(models["detector"], tmp_path / "model")
    said = json.loads((model / "model.json").read_text())
    del said["detection"]["held_out"]
    (model / "model.json").write_text(json.dumps(said))
    words = ["predict", "--model", str(model), "--images", str(photos), "--no-overlays"]
    told = type_command([*words, "--output", str(tmp_path / "found")], monkeypatch, capsys)
    assert "no picture is called defective" in told.out
    rows = table(tmp_path / "found")
    assert {row["defective"] for row in rows.values()} == {""}
    assert float(rows["good/000.png"]["threshold"]) == pytest.approx(
        said["detection"]["threshold"], abs=1e-6
    )
    refused = [*words, "--output", str(tmp_path / "other"), "--false-alarms", "0.1"]
    assert type_command(refused, monkeypatch, capsys).code == 2


def test_maps_can_be_scored(
    run: Path, photos: Path, typed, tmp_path: Path, monkeypatch, capsys
) -> None:
    typed(photos, "--no-overlays")
    assert not (tmp_path / "found/overlays").exists()
    masks = run / "results/micro/toy/draw_toy/data/cloth"
    argv = ["evaluate", "--maps", str(tmp_path / "found/maps"), "--masks", str(masks), "--json"]
    said = type_command(argv, monkeypatch, capsys)
    assert said.code == 0
    assert json.loads(said.out)["images"] == 8


def test_broken_pictures_are_named_and_skipped(photos: Path, typed, tmp_path: Path) -> None:
    (photos / "hole/000.png").write_bytes(b"no picture")
    (photos / "hole/.hidden.png").write_bytes(b"not looked at")
    said = typed(photos)
    assert said.code == 1
    assert said.err.startswith("error: 1 skipped: ")
    assert "hole/000.png" in said.err
    assert said.err.count("\n") == 1
    assert len(table(tmp_path / "found")) == 7
    assert not (tmp_path / "found/maps/hole/000.tiff").exists()


def test_what_was_written_into_the_images_folder_is_no_image(photos: Path, typed) -> None:
    first = typed(photos, output=photos / "found")
    (photos / "found/scores.csv").unlink()
    again = typed(photos, output=photos / "found")
    assert first == again
    assert len(table(photos / "found")) == 8


def test_a_click_model_needs_clicks(photos: Path, typed, tmp_path: Path) -> None:
    said = typed(photos, model="clicks")
    assert said.code == 2
    assert "needs clicks; use adclick annotate" in said.err
    assert said.err.count("\n") == 1
    assert not (tmp_path / "found").exists()


def test_a_finished_prediction_is_not_overwritten(photos: Path, typed) -> None:
    typed(photos)
    said = typed(photos)
    assert said.code == 2
    assert "is there already" in said.err


def test_mistakes_are_one_line(photos: Path, typed, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    shutil.copy(photos / "hole/000.png", photos / "hole/000.jpg")
    cases = [
        (typed(tmp_path / "nowhere"), "no such folder"),
        (typed(tmp_path / "empty"), "no picture"),
        (typed(photos), "hole/000.png: 000.jpg has the same name"),
        (typed(photos / "good", "--threshold", "49"), "from 0 to 1"),
        (typed(photos / "good", "--false-alarms", "-1"), "from 0 to 1"),
        (typed(photos / "good", "--threshold", "0", "--false-alarms", "0"), "give one of both"),
    ]
    for said, words in cases:
        assert said.code == 2
        assert words in said.err
        assert said.err.count("\n") == 1
    assert not (tmp_path / "found").exists()
