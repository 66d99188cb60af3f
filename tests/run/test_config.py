"""The configuration files, their documentation, and the environments agree."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from adclick.run.config import Config, load_config, read_configuration
from adclick.run.errors import InputError
from adclick.run.plan.clicks import click_models, finetuning_inputs
from adclick.run.plan.detection import detectors
from adclick.run.plan.names import places, pretraining_sources
from adclick.run.plan.tables import tables
from adclick.run.settings.training import SharedTraining
from tools import config_reference

ROOT = Path(__file__).parents[2]
OVERLAYS = {
    "paper": [],
    "demo": ["config/demo.yaml"],
    "small": ["config/small.yaml"],
    "own": ["config/small.yaml", "config/own.yaml"],
    "micro": ["config/demo.yaml", "tests/config/micro.yaml"],
}


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    both = dict(base)
    for key, value in over.items():
        both[key] = (
            merged(both[key], value)
            if isinstance(both.get(key), dict) and isinstance(value, dict)
            else value
        )
    return both


def read(*names: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in ("config/config.yaml", *names):
        values = merged(values, yaml.safe_load((ROOT / name).read_text(encoding="utf-8")))
    return values


@pytest.mark.parametrize("run", OVERLAYS)
def test_every_configuration_is_valid(run: str) -> None:
    config = load_config(read(*OVERLAYS[run]))
    assert config.run == run
    assert bool(tables(config)) == (run != "own")
    assert click_models(config)
    assert detectors(config)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"training": {"learning_rte": 1}}, "config: training.learning_rte = 1: Extra"),
        ({"training": {"learning_rate": -1}}, "config: training.learning_rate = -1: Input"),
        ({"training": {"batch": {"normal": 1}}}, "config: training.batch: Extra"),
        ({"adclick_training": {"steps": -1}}, "config: adclick_training.steps = -1: Input"),
        ({"adclick_seg_training": {"learning_rte": 1}}, "adclick_seg_training.learning_rte"),
        ({"adclick_training": 3}, "adclick_training = 3"),
        ({"seeds": [1, 1]}, "seeds: each seed once"),
        ({"retrieval": {"kept_blocks": 26}}, "retrieval: kept_blocks exceeds blocks squared"),
        ({"network": {"heads": 3}}, "network: dim is not a multiple of heads"),
        ({"network": {"neck_strides": [4]}}, "network: neck_channels and neck_strides"),
        ({"label_costs": {"images": [0]}}, "label_costs.images.0 = 0"),
        (
            {"adclick_seg_variants": {"weak": {"supervision": "full"}}},
            "label_costs needs a variant `weak` with supervision weak",
        ),
        ({"run_datasets": ["mvtek"]}, "mvtek"),
        ({"tables": {9: ["mvtec"]}}, "no such table"),
        ({"features": {"dimension": 9999}}, "never pooled up"),
        ({"features": {"layers": [1, 3, 2]}}, "in ascending order"),
        ({"features": {"layers": [1, 1, 2]}}, "each once"),
        ({"features": {"input_px": 0}}, "features.input_px = 0"),
        ({"size_px": 500}, "multiple of features.stride"),
        ({"features": {"weights": {"source": "file"}}}, "`file` must be given"),
        ({"pretrain_on": {"mvtec/nothing": []}}, "nothing"),
        ({"matching": "near"}, "matching: ['near'] not defined"),
        (
            {"run_map_peers": ["training_free_near"]},
            "['training_free_near'] not defined",
        ),
        ({"adclick_variants": {"finetuned": {"matching": "near"}}}, "finetuned.matching: ['near']"),
        (
            {"matchings": {"image_to_image": {"neighbours": 51}}},
            "image_to_image.neighbours exceeds",
        ),
        ({"matchings": {"auto": {"radius": 2}}}, "matchings.auto: candidates have radius"),
        ({"matchings": {"auto": {"candidates": ["location_aware"]}}}, "at least 2 items"),
        (
            {"matchings": {"auto": {"candidates": ["location_aware", "auto"]}}},
            "matchings.auto.candidates: ['auto'] not defined",
        ),
        (
            {"simulation": {"streaks": 0, "blobs": 0, "soft_regions": 0}},
            "simulation: no kind has a weight",
        ),
        ({"run_sliding": ["near"]}, "run_sliding: ['near'] not defined"),
        ({"sliding": {"window": 1.5}}, "sliding.window = 1.5"),
        (
            {"adclick_seg_variants": {"full": {"label_clicks": 3}}},
            "only labels of supervision weak",
        ),
        (
            {"adclick_seg_variants": {"unsupervised": {"labelled_images": 3}}},
            "supervision unsupervised reads no label",
        ),
        (
            {"adclick_seg_variants": {"human": {"labelled_images": 3}}},
            "supervision human reads all that a person finished",
        ),
        ({"residual_input": {"normalise": "group"}}, "needs `groups`"),
        ({"adclick_seg_network": {"normalise": "group"}}, "group needs residual_input.groups"),
        ({"adclick_seg_network": {"image_channels": [4, 4]}}, "adclick_seg_network.image_channels"),
        ({"titles": {"weak": "ours", "full": "ours"}}, "printed names of more than one: ['ours']"),
        ({"run_plain": ["no_residual"]}, "run_plain: ['no_residual'] not defined"),
        ({"run_robots": ["careless"]}, "run_robots: ['careless'] not defined"),
        ({"robots": {"deepest": {"place": "inside", "wrong": 0, "draws": 1}}}, "robots: deepest"),
        (
            {"robots": {"exact": {"place": "deepest", "wrong": 0, "draws": 1}}},
            "robots: exact: the user of the protocol is always run",
        ),
        (
            {"robots": {"jittered": {"place": "deepest"}}},
            "robots.jittered: draws of a robot that draws nothing",
        ),
        ({"adclick_variants": {"finetuned": {"inputs": "rgb"}}}, "finetuned.inputs = 'rgb'"),
        ({"network": {"image_channels": [8, 8]}}, "network.image_channels"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        load_config(merged(read(), change))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_key_is_explained_by_its_field() -> None:
    text = (ROOT / "config/README.md").read_text(encoding="utf-8")
    assert text == config_reference.current(text), "python -m tools.config_reference --write"
    unexplained = [key for key, meaning in config_reference.keys(Config).items() if not meaning]
    assert unexplained == []


@pytest.mark.parametrize("run", OVERLAYS)
def test_only_what_has_a_value_is_written(run: str) -> None:
    def empty(values: Any) -> bool:
        if isinstance(values, dict):
            return any(empty(value) for value in values.values())
        return values is None

    assert not empty(read(*OVERLAYS[run]))


def test_null_is_the_same_as_left_out_and_takes_a_value_back() -> None:
    explicit: dict[str, Any] = {
        "datasets": {"toy": {"labels": None}},
        "features": {"input_px": None, "weights": {"file": None}},
        "matchings": {"patch_to_patch": {"radius": None, "neighbours": None}},
        "adclick_seg_variants": {"full": {"matching": None, "label_clicks": None}},
    }
    assert load_config(merged(read(), explicit)) == load_config(read())
    small = read("config/small.yaml")
    assert load_config(small).residual_input.clamp == 200
    assert load_config(merged(small, {"residual_input": {"clamp": None}})).residual_input == (
        load_config(small).residual_input.model_copy(update={"clamp": None})
    )


def test_what_both_trainings_share_is_written_once_and_a_networks_own_wins() -> None:
    change = {"training": {"steps": 7, "gain": 0.25}, "adclick_seg_training": {"gain": 0.75}}
    made = load_config(merged(read(), change))
    click, detector = made.adclick_training, made.adclick_seg_training
    assert (click.steps, detector.steps) == (7, 7)
    assert (click.gain, detector.gain) == (0.25, 0.75)
    assert (click.batch.simulated, detector.batch.simulated) == (4, 1)
    shared = set(SharedTraining.model_fields)
    for names in OVERLAYS.values():
        values = read(*names)
        own = [set(values[name]) & shared for name in ("adclick_training", "adclick_seg_training")]
        assert own[0].isdisjoint(own[1]), "what both have otherwise belongs to `training`"


def test_overlays_are_merged_as_snakemake_does() -> None:
    for names in OVERLAYS.values():
        paths = [ROOT / name for name in names]
        assert read_configuration(paths, base=ROOT / "config/config.yaml") == load_config(
            read(*names)
        )


def test_what_labels_buy_is_every_pair_of_images_and_clicks() -> None:
    made = load_config(merged(read(), {"label_costs": {"images": [1, 4], "clicks": [2]}}))
    found = {
        name: (one.labelled_images, one.label_clicks)
        for name, one in made.adclick_seg_variants.items()
        if (one.labelled_images, one.label_clicks) != (None, None)
    }
    assert found == {
        **{"weak_1_image_2_clicks": (1, 2), "weak_1_image": (1, None)},
        **{"weak_4_images_2_clicks": (4, 2), "weak_4_images": (4, None)},
        "weak_2_clicks": (None, 2),
    }
    weak, one = made.adclick_seg_variants["weak"], made.adclick_seg_variants["weak_4_images"]
    assert one == weak.model_copy(update={"labelled_images": 4})
    none = merged(read(), {"label_costs": {"images": [], "clicks": []}})
    assert not [name for name in load_config(none).adclick_seg_variants if "image" in name[5:9]]
    usual = load_config(read()).adclick_seg_variants
    for name in ("weak_1_image_1_click", "weak_5_images_3_clicks", "weak_3_images", "weak_1_click"):
        assert name in usual and name not in load_config(read()).run_adclick_seg
    assert len([one for one in usual.values() if one.labelled_images or one.label_clicks]) == 11


def test_the_overlay_for_a_transformer_is_valid_over_every_run() -> None:
    text = (ROOT / "config/README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (overlay,) = [found for found in map(yaml.safe_load, blocks) if "features" in found]
    for names in OVERLAYS.values():
        features = load_config(merged(read(*names), overlay)).features
        assert features.model_dump(include=overlay["features"].keys()) == overlay["features"]


def test_conda_and_pip_ask_for_the_same_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    listed = next(part["pip"] for part in environment["dependencies"] if isinstance(part, dict))
    assert set(project["dependencies"]) == {name for name in listed if not name.startswith("-")}


def test_every_dependency_is_pinned_for_tests() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    wanted = [*project["dependencies"], *optional["dev"], *optional["onnx"], *optional["docs"]]
    names = {re.split(r"[<>=\[]", name)[0].lower().replace("_", "-") for name in wanted}
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    }
    assert names <= pinned


def test_pretraining_never_sees_the_category_itself() -> None:
    config = load_config(read())
    for place in places(config):
        sources = pretraining_sources(config, place)
        assert sources
        assert place not in sources
    assert len(pretraining_sources(config, "ksdd2/ksdd2")) == 15


def test_only_the_stages_that_may_open_a_true_mask() -> None:
    allowed = {
        "make_manifest",
        "pretrain_adclick",
        "pretrain_adclick_seg",
        "simulate_clicks",
        "evaluate_clicks",
        "label_defects",
        "evaluate_maps",
        "make_click_figures",
        "make_map_figures",
    }
    text = "\n".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "workflow/rules").glob("*.smk")
    )
    rules = re.split(r"^rule (\w+):$", text, flags=re.MULTILINE)
    openers = {
        name
        for name, body in zip(rules[1::2], rules[2::2], strict=True)
        if "masks.h5" in body.split("shell:")[0]
    }
    assert openers | {"pretrain_adclick", "pretrain_adclick_seg"} == allowed
    config = load_config(read())
    assert "masks" not in finetuning_inputs(config, "mvtec/bottle", "finetuned_lang", 0)
