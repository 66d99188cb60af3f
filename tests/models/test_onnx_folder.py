"""A folder for ONNX Runtime gives the maps that torch gives, without torch."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from adclick.data.images import read_image, resize_image, write_png
from adclick.models import onnx_folder
from adclick.models.export import export_model
from adclick.models.folder import OpenedModel, detect, open_model
from adclick.models.inspecting import open_inspector
from adclick.models.onnx_folder import export_onnx, open_onnx, read_onnx_description
from adclick.models.whole import Averaged, Sampled, bilinear, whole_detector
from adclick.residuals.maps import resize_map
from adclick.run.artifacts import open_arrays
from adclick.run.errors import InputError
from tests.typed import type_command

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow

CATEGORY = "results/micro/toy/cloth"


@pytest.fixture(scope="module")
def models(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    target = tmp_path_factory.mktemp("models")
    for name in ("weak_features", "weak", "weak_sliding", "finetuned_lang"):
        export_model(finished_run / CATEGORY, name, seed=0, output=target / name)
    return {path.name: path for path in target.iterdir()}


@pytest.fixture(scope="module")
def exported(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("onnx") / "weak_features"
    export_onnx(models["weak_features"], target)
    return target


@pytest.fixture(scope="module")
def pictures(finished_run: Path) -> list[np.ndarray]:
    """Pictures of several shapes, larger and smaller than the network's."""
    with open_arrays(finished_run / CATEGORY / "make_manifest/images.h5") as file:
        images = list(file["images"][:])
    shapes = [(150, 90), (64, 64), (40, 51), (257, 64)]
    return [cv2.resize(image, shape) for image, shape in zip(images[-4:], shapes, strict=True)]


def of_torch(model: OpenedModel, picture: np.ndarray) -> np.ndarray:
    return resize_map(detect(model, picture), picture.shape[:2])


@pytest.mark.parametrize("variant", ["weak_features", "weak"])
def test_the_module_gives_the_maps_of_the_model_folder(
    variant: str, models: dict[str, Path], pictures: list[np.ndarray]
) -> None:
    model = open_model(models[variant], device="cpu")
    module = whole_detector(model)
    for picture in pictures:
        with torch.no_grad():
            found, score = module(torch.from_numpy(picture))
        expected = of_torch(model, picture)
        assert found.shape == picture.shape[:2]
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
        assert float(score) == pytest.approx(expected.max(), abs=1e-5)


def test_other_radii_foregrounds_and_ways_to_shrink_are_the_same_too(
    models: dict[str, Path], pictures: list[np.ndarray], tmp_path: Path
) -> None:
    folder = shutil.copytree(models["weak_features"], tmp_path / "model")
    said = json.loads((folder / "model.json").read_text())
    said["comparison"] |= {"radius": None, "matched_neighbours": 2}
    said["pictures"]["resize"] = "area"
    said["detection"] |= {"foreground_exponent": 0.5, "smoothing_px": 0.0}
    (folder / "model.json").write_text(json.dumps(said))
    model = open_model(folder, device="cpu")
    bank = {name: model.bank[name][:] for name in model.bank}
    random = np.random.default_rng(0)
    side = bank["foreground"].shape[1]
    bank["foreground"] = random.random(bank["foreground"].shape).astype(np.float16)
    bank["foreground_weight"] = random.normal(size=len(bank["codebook"][0])).astype(np.float32)
    bank["foreground_numbers"] = np.array([0.1, -1.0, 1.5], np.float32)
    object.__setattr__(model, "bank", bank)
    assert side > 1
    module = whole_detector(model)
    for picture in pictures:
        with torch.no_grad():
            found, _ = module(torch.from_numpy(picture))
        np.testing.assert_allclose(found.numpy(), of_torch(model, picture), atol=1e-3)


@pytest.mark.parametrize("shape", [(301, 200), (64, 64), (20, 33), (128, 65), (63, 64)])
def test_pictures_shrink_and_grow_as_the_workflows_do(shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    given = torch.from_numpy(picture)
    assert np.array_equal(
        Sampled((64, 64))(given).numpy(), resize_image(picture, (64, 64), "published")
    )
    averaged = Averaged((64, 64))(given).numpy().astype(int)
    assert np.abs(averaged - resize_image(picture, (64, 64), "area").astype(int)).max() <= 1


def test_maps_are_stretched_as_opencv_does() -> None:
    scores = np.random.default_rng(0).random((32, 32)).astype(np.float32)
    for shape in ((100, 37), (32, 32), (16, 90)):
        found = bilinear(torch.from_numpy(scores), *shape).numpy()
        np.testing.assert_allclose(found, resize_map(scores, shape), atol=1e-5)


def test_the_graph_gives_the_maps_of_torch(
    exported: Path, models: dict[str, Path], pictures: list[np.ndarray]
) -> None:
    model = open_model(models["weak_features"], device="cpu")
    with open_onnx(exported) as map_of:
        for picture in pictures:
            np.testing.assert_allclose(map_of(picture), of_torch(model, picture), atol=1e-3)


ODD = {
    "everywhere": {"comparison": {"radius": None, "matched_neighbours": 1}},
    "one place": {"comparison": {"radius": 0.0, "foreground_neighbours": 1}},
    "unfinished": {"detection": {"smoothing_px": 0.0, "foreground_exponent": 2.0}},
}
# One grey level that OpenCV rounds otherwise moves a map by a little more than 1e-3.
AVERAGED = {"pictures": {"resize": "area"}, "detection": {"foreground_exponent": 2.0}}


@pytest.mark.parametrize(
    ("variant", "settings"),
    [
        *(pytest.param("weak_features", how, id=f"features, {name}") for name, how in ODD.items()),
        *(pytest.param("weak", how, id=f"trunk, {name}") for name, how in ODD.items()),
        pytest.param("weak_features", AVERAGED, id="features, averaged"),
    ],
)
def test_graphs_of_odd_settings_give_the_maps_of_torch(
    variant: str,
    settings: dict[str, dict[str, object]],
    models: dict[str, Path],
    pictures: list[np.ndarray],
    tmp_path: Path,
) -> None:
    off = 2e-3 if settings is AVERAGED else 1e-3
    folder = shutil.copytree(models[variant], tmp_path / "model")
    said = json.loads((folder / "model.json").read_text())
    for part, values in settings.items():
        said[part] |= values
    (folder / "model.json").write_text(json.dumps(said))
    export_onnx(folder, tmp_path / "onnx")
    model = open_model(folder, device="cpu")
    usual = of_torch(open_model(models[variant], device="cpu"), pictures[0])
    assert np.abs(of_torch(model, pictures[0]) - usual).max() > 1e-3  # the settings do something
    tiny = np.full((8, 9, 3), 127, np.uint8)
    with open_onnx(tmp_path / "onnx") as map_of:
        for picture in (*pictures, tiny):
            np.testing.assert_allclose(map_of(picture), of_torch(model, picture), atol=off)


def test_a_rate_is_refused_where_nothing_was_held_out(
    models: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(models["weak_features"], tmp_path / "model")
    said = json.loads((folder / "model.json").read_text())
    said["detection"]["held_out"] = None
    (folder / "model.json").write_text(json.dumps(said))
    with pytest.raises(InputError, match="without held-out normal pictures"):
        export_onnx(folder, tmp_path / "onnx", false_alarms=0.05)
    assert not (tmp_path / "onnx").exists()


def test_the_papers_detector_is_exported_as_well(
    models: dict[str, Path], pictures: list[np.ndarray], tmp_path: Path
) -> None:
    export_onnx(models["weak"], tmp_path / "onnx")
    model = open_model(models["weak"], device="cpu")
    with open_onnx(tmp_path / "onnx") as map_of:
        np.testing.assert_allclose(map_of(pictures[0]), of_torch(model, pictures[0]), atol=1e-3)


def test_its_script_runs_where_there_is_neither_torch_nor_adclick(
    exported: Path, models: dict[str, Path], pictures: list[np.ndarray], tmp_path: Path
) -> None:
    moved = shutil.copytree(exported, tmp_path / "elsewhere/model")
    write_png(tmp_path / "new.png", pictures[0])
    said = script_says(moved, tmp_path / "new.png")
    score = of_torch(open_model(models["weak_features"], device="cpu"), pictures[0]).max()
    threshold = json.loads((moved / "model.json").read_text())["threshold"]
    verdict = "defective" if score > threshold else "normal"
    assert said == f"score {score:.3f}: {verdict}\n"


def script_says(folder: Path, picture: Path) -> str:
    """What the folder's script prints where there is neither torch nor adclick."""
    blocked = "import sys; sys.modules.update(dict.fromkeys(['torch', 'adclick', 'cv2']));"
    run = f"{blocked} sys.argv[1:] = [{str(picture)!r}]; import runpy;"
    run += f" runpy.run_path({str(folder / 'inspect_picture.py')!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, cwd="/")
    return done.stdout if done.returncode == 0 else done.stderr


@pytest.mark.parametrize("bits", [None, 12])
def test_its_script_reads_deep_pictures_as_the_workflow_does(
    exported: Path, pictures: list[np.ndarray], tmp_path: Path, bits: int | None
) -> None:
    folder = shutil.copytree(exported, tmp_path / "model")
    facts = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**facts, "bits": bits}))
    deep = pictures[0][:, :, 0].astype(np.uint16) * (16 if bits else 257)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    cv2.imwrite(str(tmp_path / "colours.png"), np.repeat(deep[:, :, None], 3, axis=2))
    seen = read_image(tmp_path / "deep.png", bits=bits, clipped=True)
    assert seen.std() > 5
    with open_onnx(folder) as map_of:
        assert script_says(folder, tmp_path / "deep.png").startswith(
            f"score {map_of(seen).max():.3f}: "
        )
    assert "save the picture with 8 bits" in script_says(folder, tmp_path / "colours.png")


def test_its_script_decides_nothing_where_nothing_was_held_out(
    exported: Path, pictures: list[np.ndarray], tmp_path: Path
) -> None:
    folder = shutil.copytree(exported, tmp_path / "model")
    facts = json.loads((folder / "model.json").read_text())
    facts |= {"threshold": 0.0, "decides": False}
    (folder / "model.json").write_text(json.dumps(facts))
    write_png(tmp_path / "new.png", pictures[0])
    assert re.fullmatch(r"score \d\.\d{3}\n", script_says(folder, tmp_path / "new.png"))


def test_the_page_shows_the_script() -> None:
    page = (Path(__file__).parents[2] / "docs/onnx.md").read_text("utf-8")
    assert f"```python\n{onnx_folder.SCRIPT}```" in page


def test_predict_takes_the_rate_that_was_exported(
    models: dict[str, Path], pictures: list[np.ndarray], tmp_path: Path
) -> None:
    folder = shutil.copytree(models["weak_features"], tmp_path / "model")
    facts = json.loads((folder / "model.json").read_text())
    scores = [0.1 * number for number in range(1, 10)]
    facts["detection"]["held_out"] = {"pictures": "validation", "scores": scores}
    (folder / "model.json").write_text(json.dumps(facts))
    export_onnx(folder, tmp_path / "onnx", false_alarms=0.3)
    with open_inspector(tmp_path / "onnx") as inspector:
        assert inspector.level().value == pytest.approx(0.7)
        assert inspector.level().value == read_onnx_description(tmp_path / "onnx").threshold
        assert "30 % of normal pictures" in inspector.level().line
        assert inspector.level(false_alarms=0.1).value == pytest.approx(0.9)
        assert inspector.level(threshold=0.5).value == 0.5


def test_predict_reads_it_like_a_model_folder(
    exported: Path,
    models: dict[str, Path],
    pictures: list[np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for number, picture in enumerate(pictures):
        write_png(tmp_path / f"photos/{number}.png", picture)
    for name, folder in (("torch", models["weak_features"]), ("onnx", exported)):
        words = ["predict", "--model", str(folder), "--images", str(tmp_path / "photos")]
        words += ["--output", str(tmp_path / name), "--no-overlays"]
        said = type_command(words, monkeypatch, capsys)
        assert said.code == 0, said.err
    tables = [json.loads((tmp_path / n / "results.json").read_text()) for n in ("torch", "onnx")]
    assert tables[0]["threshold_from"] == tables[1]["threshold_from"]
    for ours, theirs in zip(*(table["images"] for table in tables), strict=True):
        assert ours["score"] == pytest.approx(theirs["score"], abs=1e-3)
        assert ours["defective"] == theirs["defective"]


def test_what_cannot_be_exported_is_refused_in_one_line(
    models: dict[str, Path], exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, words in (("finetuned_lang", "needs clicks"), ("weak_sliding", "sliding windows")):
        with pytest.raises(InputError, match=words):
            export_onnx(models[name], tmp_path / name)
        assert not (tmp_path / name).exists()
    with pytest.raises(InputError, match="is there already"):
        export_onnx(models["weak"], exported)
    monkeypatch.setattr(onnx_folder, "PARITY", -1.0)
    with pytest.raises(InputError, match="would differ from torch's"):
        export_onnx(models["weak_features"], tmp_path / "far")
    assert not (tmp_path / "far").exists()
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(InputError, match="not installed; pip install"):
        export_onnx(models["weak_features"], tmp_path / "none")


def test_a_damaged_graph_is_told(exported: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(exported, tmp_path / "model")
    (folder / "detector.onnx").write_bytes(b"no graph")
    with pytest.raises(InputError, match="cannot be opened"), open_onnx(folder):
        pass
