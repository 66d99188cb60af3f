"""The configuration files, their documentation, and the environments agree."""

import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from adclick.run.config import Config, load_config
from adclick.run.errors import InputError
from adclick.run.plan.clicks import click_models, training_inputs
from adclick.run.plan.detection import detectors
from adclick.run.plan.names import places, pretraining_sources
from adclick.run.plan.tables import tables
from tools import schema

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
        ({"adclick_training": {"learning_rte": 1}}, "adclick_training.learning_rte"),
        ({"adclick_training": {"learning_rate": -1}}, "adclick_training.learning_rate = -1"),
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
        ({"run_map_peers": ["training_free_near"]}, "known: ['training_free', 'training_free_im"),
        ({"adclick_variants": {"finetuned": {"matching": "near"}}}, "finetuned.matching: ['near']"),
        (
            {"matchings": {"image_to_image": {"neighbours": 51}}},
            "image_to_image.neighbours exceeds",
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
        ({"run_zoom": ["no_residual"]}, "run_zoom: ['no_residual'] not defined"),
        ({"run_robots": ["careless"]}, "run_robots: ['careless'] not defined"),
        ({"robots": {"deepest": {"place": "inside", "wrong": 0, "draws": 1}}}, "robots.deepest"),
        (
            {"robots": {"exact": {"place": "deepest", "wrong": 0, "draws": 1}}},
            "robots.exact: the user of the protocol is always run",
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


def sections(model: type[BaseModel], prefix: str = "") -> list[str]:
    keys: list[str] = []
    for name, field in model.model_fields.items():
        keys.append(prefix + name)
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                keys += sections(part, f"{prefix}{name}.")
    return keys


def test_every_key_is_explained_and_nothing_else() -> None:
    text = (ROOT / "config/README.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^\| `([a-z_.0-9]+)` \|", text, re.MULTILINE))
    assert explained == set(sections(Config))


def test_the_overlay_for_a_transformer_is_valid_over_every_run() -> None:
    text = (ROOT / "config/README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    overlay = yaml.safe_load(block)
    for names in OVERLAYS.values():
        features = load_config(merged(read(*names), overlay)).features
        assert features.model_dump(include=overlay["features"].keys()) == overlay["features"]


def test_the_schema_is_in_step_with_the_models() -> None:
    assert schema.PATH.read_text(encoding="utf-8") == schema.text(), "python -m tools.schema"


def test_conda_and_pip_ask_for_the_same_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    listed = next(part["pip"] for part in environment["dependencies"] if isinstance(part, dict))
    assert set(project["dependencies"]) == {name for name in listed if not name.startswith("-")}


def test_every_dependency_is_pinned_for_tests() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
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
    own = training_inputs(config, ["mvtec/bottle"], matching=config.matching, masks=False)
    assert "masks" not in own
