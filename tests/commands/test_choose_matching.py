"""The stage that chooses a matching: place counts where products lie alike, and not where they are
turned.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from adclick.commands import choose_matching, extract_features, fit_foreground, fit_retrieval
from adclick.run.artifacts import ArraySpec, create_arrays, write_csv, write_names
from adclick.run.config import Config, load_config
from adclick.run.plan.stages import settings_json
from tests.run.test_config import merged, read

SIZE, COUNT = 128, 10
WILDCARDS = {"dataset": "toy", "category": "washer", "matching": "auto"}
STAMP = {"made": "by a test"}


@pytest.fixture(scope="module")
def config() -> Config:
    values = read("config/demo.yaml", "tests/config/micro.yaml")
    few = {
        "matching_choice": {"normals": COUNT, "defects": 3, "least_gain": 0.04},
        "retrieval": {"neighbours": COUNT - 1},
        "detection": {"smoothing_px": 1.0},
        "size_px": SIZE,
    }
    return load_config(merged(values, few))


def plate(angle: float, generator: np.random.Generator) -> np.ndarray:
    """A bright disk with three dark holes, turned about its centre, on a dark ground."""
    image = np.full((SIZE, SIZE), 30.0, np.float32)
    cv2.circle(image, (SIZE // 2, SIZE // 2), 54, 170, -1)
    for radius, place, hole in ((28, 0.0, 12), (32, 2.0, 8), (34, 3.5, 7)):
        x, y = SIZE // 2 + radius * np.array([np.cos(angle + place), np.sin(angle + place)])
        cv2.circle(image, (round(x), round(y)), hole, 60, -1)
    image = cv2.GaussianBlur(image, (0, 0), 0.8) + 2 * generator.standard_normal(image.shape)
    return np.repeat(image.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def make_bank(folder: Path, config: Config, *, turned: bool) -> list[str]:
    """The artifacts of a category of such plates up to the foreground, as flags of the stage."""
    generator = np.random.default_rng(0)
    angles = generator.uniform(0, 2 * np.pi, COUNT) * turned
    ids = [f"train/good/{index:03d}" for index in range(COUNT)]
    paths = {name: folder / f"{name}.h5" for name in ("images", "features", "retrieval")}
    paths |= {"foreground": folder / "foreground.h5", "manifest": folder / "manifest.csv"}
    specs = {"images": ArraySpec((SIZE, SIZE, 3), "uint8")}
    with create_arrays(paths["images"], image_ids=ids, specs=specs, stamp=STAMP) as file:
        for index, angle in enumerate(angles):
            file["images"][index] = plate(float(angle), generator)
        write_names(file, ["good"] * COUNT, ids)
    rows = {"image_id": ids, "role": "train_normal", "sha256": [f"{n:064x}" for n in range(COUNT)]}
    write_csv(paths["manifest"], pd.DataFrame(rows), stamp=STAMP)
    given = {name: [f"--{name}", str(path)] for name, path in paths.items()}

    def make(module, *names: str) -> None:
        stage = module.__name__.rsplit(".", 1)[1]
        flags = [flag for name in names for flag in given[name]]
        module.main(["--settings", settings_json(config, stage, **WILDCARDS), *flags])

    make(extract_features, "manifest", "images", "features")
    make(fit_retrieval, "features", "retrieval")
    make(fit_foreground, "features", "foreground")
    return ["--settings", settings_json(config, "choose_matching", **WILDCARDS)] + [
        flag for flags in given.values() for flag in flags
    ]


def test_place_counts_where_products_lie_alike_alone(config: Config, tmp_path: Path) -> None:
    chosen = {}
    for turned in (False, True):
        folder = tmp_path / str(turned)
        flags = make_bank(folder, config, turned=turned)
        choose_matching.main([*flags, "--choice", str(folder / "choice.json")])
        choose_matching.main([*flags, "--choice", str(folder / "again.json")])
        text = (folder / "choice.json").read_text(encoding="utf-8")
        assert text == (folder / "again.json").read_text(encoding="utf-8")
        choice = json.loads(text)
        chosen[turned] = choice["chosen"]
        names = [entry["name"] for entry in choice["candidates"]]
        assert names == config.matchings["auto"].candidates
        radius = config.matchings[choice["chosen"]].radius
        assert choice["matching"]["radius"] == radius
        assert len(choice["held_out"]) == COUNT
    assert chosen == {False: "location_aware", True: "patch_to_patch"}


def test_a_texture_has_no_parts_that_are_missing_or_out_of_place(
    config: Config, tmp_path: Path
) -> None:
    flags = make_bank(tmp_path, config, turned=False)
    kinds = {}
    for category in ("washer", "cloth"):
        wildcards = WILDCARDS | {"category": category}
        flags[1] = settings_json(config, "choose_matching", **wildcards)
        choose_matching.main([*flags, "--choice", str(tmp_path / f"{category}.json")])
        choice = json.loads((tmp_path / f"{category}.json").read_text(encoding="utf-8"))
        kinds[category] = set(choice["candidates"][0]["kinds"])
    assert kinds["washer"] - kinds["cloth"] == {"missing", "displaced"}
    assert kinds["cloth"] < kinds["washer"]


def test_held_out_images_are_evenly_spread(config: Config, tmp_path: Path) -> None:
    flags = make_bank(tmp_path, config, turned=False)
    few = config.model_copy(
        update={"matching_choice": config.matching_choice.model_copy(update={"normals": 3})}
    )
    flags[1] = settings_json(few, "choose_matching", **WILDCARDS)
    choose_matching.main([*flags, "--choice", str(tmp_path / "choice.json")])
    choice = json.loads((tmp_path / "choice.json").read_text(encoding="utf-8"))
    assert choice["held_out"] == ["train/good/000", "train/good/004", "train/good/009"]
