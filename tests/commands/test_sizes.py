"""Pictures of several sizes, larger than what networks see at once, from files to scores."""

import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from adclick.commands import evaluate_maps
from adclick.data.geometry import contents_of
from adclick.data.images import read_image, read_mask, write_png
from adclick.run.artifacts import open_arrays, read_csv, read_json
from adclick.run.config import Config, load_config
from tests.chain import micro_config, steps
from tests.run.test_config import merged
from tools import large_pictures

PLACE = "results/micro/toy/cloth"
SCALE, WINDOW_PX = 1.7, 64
LEFT_OUT = ("washer", "auto", "image_to_image", "patch_to_patch", "choose", "jittered", "full")
METHODS = ("training_free", "weak_features", "weak_sliding")
pytestmark = pytest.mark.slow


def config_of_photographs() -> Config:
    values = micro_config().model_dump(mode="json")
    own = {"datasets": {"toy": {"size": {"scale": SCALE}}}, "pretrain_on": {"toy/cloth": []}}
    return load_config(merged(values, own))


def cut(folder: Path) -> None:
    """Pictures of two thirds of the drawn ones' height or width, in turn, with their masks."""
    for index, path in enumerate(sorted((folder / "cloth").rglob("*.png"))):
        if "ground_truth" in path.parts:
            continue
        height, width = [(64, 64), (43, 64), (64, 43)][index % 3]
        write_png(path, read_image(path)[:height, :width])
        for mask in (folder / "cloth/ground_truth").glob(
            f"{path.parent.name}/{path.stem}_mask.png"
        ):
            kept = read_mask(mask)[:height, :width].copy()
            kept[:2, :2] = True  # never empty
            write_png(mask, kept)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, config = tmp_path_factory.mktemp("sizes"), config_of_photographs()
    for name, step in steps(config).items():
        if any(part in name for part in LEFT_OUT) or name.startswith("pretrain"):
            continue
        step.run(config, folder)
        if name == "draw_toy":
            cut(folder / "results/micro/toy/draw_toy/data")
    return folder


def opened(run: Path, name: str) -> Any:
    return open_arrays(run / PLACE / name)


def test_pictures_share_a_frame_and_keep_their_pixels(run: Path) -> None:
    manifest = read_csv(run / PLACE / "make_manifest/manifest.csv")
    with opened(run, "make_manifest/images.h5") as file:
        contents = contents_of(file, "images")
        assert file["images"].shape[1:3] == (112, 112)  # 1.7 x 64, up to whole patches
        expected = [
            (round(SCALE * int(height)), round(SCALE * int(width)))
            for height, width in zip(manifest["height"], manifest["width"], strict=True)
        ]
        assert contents == expected
        assert len(set(contents)) == 3
        row = next(row for row, content in enumerate(contents) if content[0] < 100)
        picture = file["images"][row]
        assert (picture[contents[row][0] :] == picture[contents[row][0] - 1]).all()


@pytest.mark.parametrize("source", ["real", "simulated", "expanded_weak_location_aware_seed0"])
def test_nothing_is_found_beyond_a_picture(run: Path, source: str) -> None:
    with opened(run, f"compute_residuals/location_aware/{source}.h5") as file:
        contents = contents_of(file, "residuals")
        assert min(contents) < max(contents) == (14, 14)
        for row, (rows, columns) in enumerate(contents):
            for name in ("residuals", "lengths", "foreground"):
                own = file[name][row]
                assert own[:rows, :columns].any()
                assert not own[rows:].any()
                assert not own[:, columns:].any()


def test_defects_are_drawn_on_pictures(run: Path) -> None:
    for name in (
        "simulate_defects/images.h5",
        "expand_defects/weak_location_aware/seed0/images.h5",
    ):
        with opened(run, name) as file:
            for row, (height, width) in enumerate(contents_of(file, "labels")):
                label = file["labels"][row]
                assert label.any()
                assert not label[height:].any()
                assert not label[:, width:].any()


@pytest.mark.parametrize("method", METHODS)
def test_maps_end_where_pictures_do_and_are_scored_there(
    run: Path, method: str, tmp_path: Path
) -> None:
    seed = "seed0"
    maps = run / PLACE / "predict_maps" / method / seed / "maps.h5"
    with open_arrays(maps) as file:
        for row, (height, width) in enumerate(contents_of(file, "maps")):
            own = file["maps"][row]
            assert np.isfinite(own).all()
            assert own[:height, :width].std() > 0
            assert not own[height:].any()
            assert not own[:, width:].any()
    spoilt = tmp_path / "maps.h5"
    shutil.copy(maps, spoilt)
    with h5py.File(spoilt, "r+") as file:
        for row, (height, width) in enumerate(contents_of(file, "maps")):
            own = file["maps"][row]
            own[height:], own[:, width:] = 1e6, 1e6
            file["maps"][row] = own
    step = steps(config_of_photographs())[f"evaluate_maps {method}"]
    step.run(config_of_photographs(), run, {"maps": spoilt}, tmp_path)
    stored = read_json(run / PLACE / "evaluate_maps" / method / seed / "metrics.json")
    assert read_json(tmp_path / "metrics.json")["test_sets"] == stored["test_sets"]
    assert sum(one["defects"] for one in stored["test_sets"]["supervised"]["sizes_of_defects"]) > 0


@pytest.mark.parametrize("method", METHODS)
def test_sets_too_large_for_the_memory_are_counted_to_the_same_scores(
    run: Path, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate_maps, "MOST_PIXELS", 0)
    monkeypatch.setattr(evaluate_maps, "pixel_metrics", None)  # which would hold all of them
    step = steps(config_of_photographs())[f"evaluate_maps {method}"]
    step.run(config_of_photographs(), run, {}, tmp_path)
    written = run / PLACE / "evaluate_maps" / method / "seed0"
    for name in ("metrics", "curves"):
        stored, found = (
            read_json(folder / f"{name}.json")["test_sets"] for folder in (written, tmp_path)
        )
        if name == "metrics":
            for own in found.values():
                bins = own.pop("counted_in_bins")
                assert bins["bins"] == 2**18
                assert all(0 <= error < 2e-3 for error in bins["may_differ_by"].values())
        assert numbers(found) == pytest.approx(numbers(stored), abs=2e-3)


def numbers(values: Any) -> list[float]:
    if isinstance(values, dict):
        return [number for name in sorted(values) for number in numbers(values[name])]
    if isinstance(values, list):
        return [number for value in values for number in numbers(value)]
    return [] if values is None else [float(values)]


def test_clicks_stay_on_pictures(run: Path) -> None:
    manifest = read_csv(run / PLACE / "make_manifest/manifest.csv")
    size = {row.image_id: (row.height, row.width) for row in manifest.itertuples()}
    with opened(run, "simulate_clicks/finetuned_lang/seed0/maps.h5") as file:
        ids = [value.decode() for value in file["image_ids"][:]]
        for row, image_id in enumerate(ids):
            height, width = (round(SCALE * int(length)) for length in size[image_id])
            clicks = file["clicks"][row].reshape(-1, 3)
            clicks = clicks[clicks[:, 0] >= 0]
            assert len(clicks)
            assert (clicks[:, 0] < height).all()
            assert (clicks[:, 1] < width).all()
            answers = file["probabilities"][row]
            assert not answers[..., height:, :].any()
            assert not answers[..., width:].any()


def test_a_small_defect_is_clicked_and_exported_exactly(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the tool, in windows of the network, at the photograph's own pixels."""
    monkeypatch.setattr(large_pictures, "CLICKS", 8)
    shutil.copytree(run, tmp_path, dirs_exist_ok=True)
    found = large_pictures.label(tmp_path, {}, PLACE, (20, 22))
    assert found["clicked"]
    assert found["exported_exactly"]
    assert found["click_p95_ms"] >= found["click_median_ms"] > 0
    assert found["click_core_p95_ms"] > 0


def test_a_small_defect_is_found_in_a_new_photograph(run: Path, tmp_path: Path) -> None:
    normal = sorted((run / "results/micro/toy/draw_toy/data/cloth/train/good").glob("*.png"))[0]
    picture, place = read_image(normal).copy(), (18, 24)
    large_pictures.draw_pit(picture, place)
    write_png(tmp_path / "new" / f"{large_pictures.NEW}.png", picture)
    steps: dict[str, Any] = {}
    exported = ("adclick", "export-model", str(run / PLACE), "weak_features", "--output", "model")
    large_pictures.typed(tmp_path, steps, "export-model", *exported)
    (tmp_path / "project").mkdir()
    (tmp_path / "model").rename(tmp_path / "project/model")
    found = large_pictures.predict(tmp_path, tmp_path / "project", steps, place)
    assert found["predict_off_px"] <= large_pictures.DEFECT_PX / 2
    assert found["predict_defective"] in (True, None)
    assert found["predict_regions"] > 0
    assert 0 < steps["predict"]["mb"] < 4000
    assert steps["predict"]["core_s"] > 0
