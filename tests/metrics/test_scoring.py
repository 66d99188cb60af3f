"""`adclick evaluate`: maps as others store them give the numbers of `pixel_metrics`."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from adclick.data.images import write_png
from adclick.metrics.pixels import component_results, image_results, pixel_metrics
from tests.typed import type_command

KEYS = ("pixel_ap", "pixel_auroc", "pixel_pro", "image_auroc")
SHAPES = {"good/000": (20, 30), "good/001": (24, 18), "hole/000": (20, 30), "hole/001": (20, 30)}
SHAPES |= {"scratch/000": (24, 18)}
NAMES = list(SHAPES)


def true_masks() -> dict[str, np.ndarray]:
    masks = {name: np.zeros(shape, dtype=bool) for name, shape in SHAPES.items()}
    masks["hole/000"][3:8, 4:9] = masks["hole/000"][12:14, 20:24] = True
    masks["hole/001"][10:15, 10:12] = True
    masks["scratch/000"][2:20, 7] = True
    return masks


def drawn_maps(levels: int = 65536) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(1)
    drawn = {
        name: np.clip(generator.random(mask.shape) * 0.7 + 0.3 * mask, 0, 0.9999)
        for name, mask in true_masks().items()
    }
    return {name: np.floor(levels * scores).astype(np.float32) for name, scores in drawn.items()}


def write_map(path: Path, scores: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, scores[None])
    elif path.suffix == ".png":
        Image.fromarray(scores.astype(np.uint16)).save(path)
    else:
        assert cv2.imwrite(str(path), scores)


def write_maps(folder: Path, suffix: str = ".npy", scale: float = 1) -> Path:
    for name, scores in drawn_maps().items():
        write_map(folder / f"{name}{suffix}", cv2.resize(scores, None, fx=scale, fy=scale))
    return folder


def write_category(folder: Path, ending: str = "_mask.png") -> Path:
    for name, mask in true_masks().items():
        if mask.any():
            write_png(folder / f"ground_truth/{name}{ending}", mask)
        write_png(folder / f"test/{name}.png", np.zeros((*mask.shape, 3), np.uint8))
    return folder


def expected(maps: dict[str, np.ndarray] | None = None, limit: float = 0.3) -> list[float]:
    maps = maps or drawn_maps()
    found = pixel_metrics(
        [maps[name] for name in NAMES], [true_masks()[name] for name in NAMES], pro_limit=limit
    )
    return [found.ap, found.auroc, found.pro, found.image_auroc]


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    return write_maps(tmp_path / "maps")


@pytest.fixture
def category(tmp_path: Path) -> Path:
    return write_category(tmp_path / "bottle")


@pytest.fixture
def evaluate(monkeypatch, capsys):
    """The metrics of a folder of maps, as the command prints them."""

    def call(maps: Path, masks: Path, *more: str) -> dict:
        argv = ["evaluate", "--maps", str(maps), "--masks", str(masks), "--json", *more]
        said = type_command(argv, monkeypatch, capsys)
        assert said.code == 0, said.err
        return json.loads(said.out)

    return call


@pytest.fixture
def refused(monkeypatch, capsys):
    """The one line with which the command refuses; fails if anything else is said or written."""

    def call(maps: Path, masks: Path, *more: str) -> str:
        output = maps.parent / "out" / "metrics.json"
        argv = ["evaluate", "--maps", str(maps), "--masks", str(masks), "--output", str(output)]
        said = type_command([*argv, *more], monkeypatch, capsys)
        assert said.code == 2
        assert said.err.startswith("error: ")
        assert said.err.count("\n") == 1
        assert not said.out
        assert not output.parent.exists()
        return said.err

    return call


def test_the_installed_command_scores_anomalib_s_folders(
    tmp_path: Path, maps: Path, category: Path
) -> None:
    output = tmp_path / "new" / "metrics.json"
    argv = ["evaluate", "--maps", str(maps), "--masks", str(category / "ground_truth")]
    script = "from adclick.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, *argv, "--output", str(output)],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(output.read_text())
    assert [result[key] for key in KEYS] == expected()
    assert (result["images"], result["normal"], result["defective"]) == (5, 2, 3)
    assert result["sizes"] == {"30 x 20": 3, "18 x 24": 2}
    assert result["pro_limit"] == 0.3
    assert result["uncertainty"] is None
    assert result["evaluator"].startswith("adclick ")
    assert result["stamp"]["code"]
    assert f"pixel AP     {result['pixel_ap']:.4f}\n" in done.stdout
    assert list(output.parent.iterdir()) == [output]


@pytest.mark.parametrize("suffix", [".tiff", ".tif", ".png"])
def test_folders_of_the_mvtec_evaluation_need_no_renaming(
    tmp_path: Path, category: Path, evaluate, suffix
) -> None:
    write_maps(tmp_path / "anomaly_maps/bottle/test", suffix)
    result = evaluate(tmp_path / "anomaly_maps/bottle", category)
    assert [result[key] for key in KEYS] == expected()
    assert result["notes"] == []


def test_masks_may_have_the_name_of_the_image(tmp_path: Path, maps: Path, evaluate) -> None:
    masks = write_category(tmp_path / "other", ".png") / "ground_truth"
    masks = masks.rename(tmp_path / "labels")
    (maps / ".DS_Store").touch()
    (maps / "hole/.hidden.npy").touch()
    assert [evaluate(maps, masks)[key] for key in KEYS] == expected()


def test_pro_has_the_limit_that_was_asked_for(maps: Path, category: Path, evaluate) -> None:
    result = evaluate(maps, category, "--pro-limit", "0.05")
    assert [result[key] for key in KEYS] == expected(limit=0.05)
    assert result["pro_limit"] == 0.05


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("more", [[], ["--stream"]])
def test_results_by_image_and_by_defect(
    tmp_path: Path, maps: Path, category: Path, evaluate, more
) -> None:
    files = tmp_path / "images.csv", tmp_path / "defects.csv"
    options = ["--per-image", str(files[0]), "--per-component", str(files[1])]
    result = evaluate(maps, category, *options, *more)
    images, defects = map(read_table, files)
    given = list(drawn_maps().values()), list(true_masks().values())
    assert [row["image"] for row in images] == NAMES
    assert [int(row["width"]) for row in images] == [30, 18, 30, 30, 18]
    for row, one in zip(images, image_results(*given), strict=True):
        assert float(row["maximum"]) == one.maximum
        assert row["ap"] == ("" if one.ap is None else repr(one.ap))
    coverage = [float(row["coverage"]) for row in defects]
    assert coverage == sorted(coverage)
    assert np.mean(coverage) == pytest.approx(result["pixel_pro"], abs=1e-12)
    found = component_results(*given)
    rows = [
        {"image": name, **vars(one)} for name, own in zip(NAMES, found, strict=True) for one in own
    ]
    for row, one in zip(defects, sorted(rows, key=lambda row: row["coverage"]), strict=True):
        assert row["image"] == one["image"]
        assert [int(row[key]) for key in ("top", "left", "area_px")] == [
            one[key] for key in ("top", "left", "area_px")
        ]


def test_streaming_gives_the_same_numbers_and_says_how_sure_it_is(
    maps: Path, category: Path, evaluate
) -> None:
    result = evaluate(maps, category, "--stream")
    assert [result[key] for key in KEYS] == pytest.approx(expected(), abs=1e-12)
    assert 0 < result["uncertainty"]["pixel_ap"] < 0.1
    assert "off by at most" in result["notes"][0]


def test_the_same_files_give_the_same_text_and_others_another_stamp(
    maps: Path, category: Path, evaluate
) -> None:
    first = evaluate(maps, category)
    assert evaluate(maps, category) == first
    mask = true_masks()["hole/000"]
    mask[0, 0] = True
    write_png(category / "ground_truth/hole/000_mask.png", mask)
    inputs = evaluate(maps, category)["stamp"]["inputs"]
    assert inputs["maps"] == first["stamp"]["inputs"]["maps"]
    assert inputs["masks"] != first["stamp"]["inputs"]["masks"]


@pytest.mark.parametrize("more", [[], ["--stream"]])
def test_small_maps_are_stretched_when_asked(
    tmp_path: Path, category: Path, evaluate, refused, more
) -> None:
    maps = write_maps(tmp_path / "small", scale=0.5)
    said = refused(maps, category, *more)
    assert "5 (good/000 is 15 x 10, not 30 x 20" in said
    assert "--resize" in said
    result = evaluate(maps, category, "--resize", *more)
    stretched = {
        name: cv2.resize(np.load(maps / f"{name}.npy")[0], SHAPES[name][::-1]) for name in NAMES
    }
    assert [result[key] for key in KEYS] == pytest.approx(expected(stretched), abs=1e-4)
    assert result["resized_maps"] == 5
    assert result["notes"][0].startswith("5 maps were stretched")


def test_a_good_map_is_stretched_to_the_masks_size_if_they_have_one(
    tmp_path: Path, category: Path, evaluate, refused
) -> None:
    maps = write_maps(tmp_path / "small", scale=0.5)
    masks = (category / "ground_truth").rename(tmp_path / "masks")
    assert "2 different sizes" in refused(maps, masks, "--resize")
    for path in (maps / "scratch/000.npy", masks / "scratch/000_mask.png"):
        path.unlink()
    assert evaluate(maps, masks, "--resize")["sizes"] == {"30 x 20": 4}


def test_images_without_a_map_can_be_left_out(maps: Path, category: Path, evaluate, refused):
    for name in ("hole/001", "good/000"):
        (maps / f"{name}.npy").unlink()
    said = refused(maps, category)
    assert "images without a map" in said
    assert "2 (hole/001_mask.png, good/000.png)" in said
    result = evaluate(maps, category, "--skip-missing")
    assert (result["images"], result["normal"], result["defective"]) == (3, 1, 2)
    assert result["notes"] == ["2 images without a map were left out"]


def test_without_good_images_there_is_no_image_auroc(
    tmp_path: Path, maps: Path, category: Path, evaluate
) -> None:
    (maps / "good").rename(tmp_path / "good")
    result = evaluate(maps, (category / "ground_truth").rename(tmp_path / "masks"))
    assert result["image_auroc"] is None
    assert result["notes"] == ["no good image, so no image AUROC"]


def test_coarse_maps_are_scored_and_pointed_out(tmp_path: Path, category: Path, evaluate) -> None:
    maps = drawn_maps(levels=200)
    for name, scores in maps.items():
        write_png(tmp_path / f"maps/{name}.png", scores.astype(np.uint8))
    result = evaluate(tmp_path / "maps", category)
    assert [result[key] for key in KEYS] == expected(maps)
    assert result["notes"][0].startswith("5 maps have 8 bits")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def spoil(path: Path, value: float) -> None:
    scores = np.load(path)
    scores[0, 3, 3] = value
    np.save(path, scores)


def store_as_jpeg(mask: Path) -> None:
    with Image.open(mask) as picture:
        picture.save(mask.with_name("000.jpg"))
    mask.unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda m, c: (m / "hole/001.npy").unlink(), ["images without a map", "hole/001_mask.png"]),
        (lambda m, c: (m / "good/001.npy").unlink(), ["images without a map", "good/001.png"]),
        (lambda m, c: write_map(m / "hole/7.npy", np.ones((9, 9))), ["without a mask", "hole/7"]),
        (lambda m, c: (m / "good").rename(m / "ok"), ["without a mask", "ok/000", "under good"]),
        (
            lambda m, c: write_map(m / "good/7.npy", np.ones((9, 9))),
            ["without a picture in test/good", "good/7"],
        ),
        (
            lambda m, c: write_map(m / "hole/000.png", np.ones((20, 30))),
            ["several maps of one image: 1", "hole/000.npy and hole/000.png"],
        ),
        (
            lambda m, c: write_png(c / "ground_truth/hole/000.png", np.ones((20, 30), bool)),
            ["several masks of one image: 1", "hole/000_mask.png and hole/000.png"],
        ),
        (lambda m, c: spoil(m / "hole/000.npy", np.nan), ["NaN or infinite", "hole/000.npy"]),
        (lambda m, c: spoil(m / "hole/000.npy", -np.inf), ["NaN or infinite", "hole/000.npy"]),
        (lambda m, c: truncate(m / "hole/001.npy"), ["cannot be used: 1", "hole/001.npy"]),
        (
            lambda m, c: truncate(c / "ground_truth/hole/001_mask.png"),
            ["cannot be used: 1", "hole/001_mask.png"],
        ),
        (
            lambda m, c: store_as_jpeg(c / "ground_truth/hole/000_mask.png"),
            ["cannot be used: 1", "JPEG", "save it again as PNG"],
        ),
        (
            lambda m, c: write_png(c / "ground_truth/hole/000_mask.png", np.zeros((20, 30), bool)),
            ["that mark no pixel: 1", "hole/000"],
        ),
        (
            lambda m, c: write_png(c / "ground_truth/good/000_mask.png", np.ones((20, 30), bool)),
            ["good images that show a defect: 1", "good/000"],
        ),
        (
            lambda m, c: write_map(m / "hole/001.npy", np.ones((30, 20))),
            ["another size than their image", "hole/001 is 20 x 30, not 30 x 20", "--resize"],
        ),
    ],
)
@pytest.mark.parametrize("more", [[], ["--stream"]])
def test_whatever_does_not_fit_is_one_line(maps, category, refused, damage, words, more) -> None:
    damage(maps, category)
    said = refused(maps, category, *more)
    for word in words:
        assert word in said


def test_all_mistakes_are_told_at_once_each_with_a_count(maps, category, refused) -> None:
    for name in NAMES:
        spoil(maps / f"{name}.npy", np.nan)
    truncate(category / "ground_truth/hole/001_mask.png")
    said = refused(maps, category)
    assert "NaN or infinite scores: 4 (good/000.npy, good/001.npy, hole/000.npy, …)" in said
    assert "cannot be used: 1" in said


def test_a_coloured_picture_of_a_map_is_refused(tmp_path, category, refused) -> None:
    for name in NAMES:
        write_png(tmp_path / f"images/{name}.png", np.zeros((20, 30, 3), np.uint8))
    said = refused(tmp_path / "images", category)
    assert "cannot be used: 5" in said
    assert "coloured picture" in said


def test_a_wrong_folder_says_which_one_to_name(tmp_path, maps, category, refused) -> None:
    assert "no such folder" in refused(tmp_path / "nowhere", category)
    assert "no such folder" in refused(maps, tmp_path / "nowhere")
    assert str(category) in refused(maps, tmp_path)
    assert f"name {category}" in refused(maps, category / "test")
    assert str(category) in refused(tmp_path, category)
    assert "side by side" in refused(maps / "hole", category)
    (tmp_path / "archives/hole").mkdir(parents=True)
    (tmp_path / "archives/hole/000.npz").touch()
    assert "found: .npz" in refused(tmp_path / "archives", category)


def test_options_out_of_range_and_masks_of_one_class_are_refused(maps, category, refused) -> None:
    assert "--pro-limit 0.0" in refused(maps, category, "--pro-limit", "0")
    for defect in ("hole", "scratch"):
        for path in (maps / defect).iterdir():
            path.unlink()
    assert "no defective pixel" in refused(maps, category, "--skip-missing")


def test_one_file_for_two_results_is_refused(tmp_path, maps, category, refused) -> None:
    for other in (tmp_path / "result", tmp_path / "nowhere/../result"):
        told = refused(
            maps, category, "--per-image", str(tmp_path / "result"), "--per-component", str(other)
        )
        assert "named for two results" in told
    assert not (tmp_path / "result").exists()


def test_a_range_that_cannot_be_counted_is_one_line(maps, category, refused) -> None:
    spoil(maps / "hole/000.npy", 1e35)
    assert "--stream: scores from" in refused(maps, category, "--stream")


def test_an_output_that_cannot_be_written_is_one_line(maps, category, monkeypatch, capsys) -> None:
    (maps.parent / "file").touch()
    argv = ["evaluate", "--maps", str(maps), "--masks", str(category)]
    argv += ["--output", str(maps.parent / "file/metrics.json")]
    said = type_command(argv, monkeypatch, capsys)
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "cannot be read or written" in said.err


@pytest.mark.parametrize("values", ["ids", "shades"])
def test_what_values_of_masks_mean_can_be_said(
    maps: Path, category: Path, evaluate, refused, values: str
) -> None:
    drawn = true_masks()
    for name, mask in drawn.items():
        if mask.any():
            dim = np.roll(mask, 1, axis=0) & ~mask
            write_png(
                category / f"ground_truth/{name}_mask.png", (255 * mask + 60 * dim).astype(np.uint8)
            )
            drawn[name] = mask | dim if values == "ids" else mask
    assert "--mask-values" in refused(maps, category)
    found = evaluate(maps, category, "--mask-values", values)
    expected = pixel_metrics(
        [drawn_maps()[n] for n in NAMES], [drawn[n] for n in NAMES], pro_limit=0.3
    )
    assert found["pixel_ap"] == pytest.approx(expected.ap)
