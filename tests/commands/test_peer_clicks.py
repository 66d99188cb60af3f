"""Clicks of a peer with weights, finetuning of one, and the record of what clicks cost."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from adclick.networks.checkpoints import read_metadata, save_model, seeded
from adclick.networks.simpleclick import KIND, build_simpleclick
from adclick.run.artifacts import input_digest, open_arrays, read_json, read_stamp
from adclick.run.config import Config
from adclick.run.errors import InputError
from adclick.run.plan.clicks import click_inputs, finetuning_inputs
from tests.chain import PLACE, SEED, Step, micro_config, steps
from tests.models.peers.test_simpleclick_peer import SIZES
from tests.models.peers.tiny_sams import save_sam


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sam")
    save_sam(folder)
    return folder


def with_sam(weights: Path) -> tuple[Config, Step]:
    changes = {"run_click_peers": ["sam"], "click_peers": {"sam": {"weights": str(weights)}}}
    config = micro_config().model_copy(update=changes)
    step = steps(micro_config())["simulate_clicks threshold"]
    files = {name: step.inputs[name] for name in ("manifest", "images", "masks")}
    inputs = {**files, **click_inputs(config, "toy/cloth", "sam", 0)}
    outputs = {"maps": "maps.h5", "record": "record.json"}
    return config, Step(step.stage, step.command, PLACE | {"method": "sam"}, inputs, outputs)


def test_a_peers_weights_are_part_of_the_stamp(
    weights: Path, finished_run: Path, tmp_path: Path
) -> None:
    config, step = with_sam(weights)
    step.run(config, finished_run, into=tmp_path)
    stamp = read_stamp(tmp_path / "maps.h5")
    assert stamp is not None
    assert str(weights) not in json.dumps(stamp)
    files = [weights / name for name in ("config.json", "model.safetensors")]
    assert {input_digest(file) for file in files} <= {*stamp["inputs"]["peer_weights"]}
    with open_arrays(tmp_path / "maps.h5") as file:
        assert file["probabilities"][:].std() > 0
    record = read_json(tmp_path / "record.json")
    assert record["parameters"] > 1000
    assert record["device"] == "cpu"
    assert record["peak_memory_mb"]["process"] > 50 and record["peak_memory_mb"]["gpu"] == 0


def test_a_record_counts_pictures_and_answers(finished_run: Path) -> None:
    step = steps(micro_config())["simulate_clicks finetuned_lang"]
    record = read_json(finished_run / step.outputs["record"])
    with open_arrays(finished_run / step.outputs["maps"]) as file:
        assert record["images"] == len(file["clicks"])
        assert record["clicks"] == int((file["clicks"][..., 0] >= 0).sum())
    assert 0 < record["seconds"]["click"] < record["seconds"]["open"] + 10
    path = finished_run / str(step.inputs["weights"])
    assert read_metadata(path).kind == "adclick"
    assert record["parameters"] > 0
    free = steps(micro_config())["simulate_clicks threshold"]
    assert read_json(finished_run / free.outputs["record"])["parameters"] == 0


def test_a_published_network_is_finetuned_on_simulated_defects_and_clicked(
    finished_run: Path, tmp_path: Path
) -> None:
    published, name = tmp_path / "published.safetensors", "simpleclick_finetuned"
    network = seeded(build_simpleclick, 0, **SIZES)
    save_model(published, network, sizes=SIZES, kind=KIND, extra={})
    changes = {"run_adclick": [name], "click_peers": {"simpleclick": {"weights": str(published)}}}
    config = micro_config().model_copy(update=changes)
    wildcards = PLACE | {"variant": name}
    inputs = finetuning_inputs(config, "toy/cloth", name, SEED)
    outputs = {"weights": "weights.safetensors", "record": "record.json"}
    training = Step("train_adclick", "train_adclick", wildcards, inputs, outputs, ["--seed", SEED])
    training.run(config, finished_run, into=tmp_path)
    weights = tmp_path / "weights.safetensors"
    metadata = read_metadata(weights)
    assert (metadata.kind, metadata.sizes) == (KIND, SIZES)
    assert metadata.extra["stamp"]["inputs"]["initial"] == input_digest(published)
    before, after = load_file(published), load_file(weights)
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert {"vit.pos_embed", "click_stem.projection.weight", "head.logit.weight"} <= moved

    clicked = steps(micro_config())["simulate_clicks threshold"]
    files = {name: clicked.inputs[name] for name in ("manifest", "images", "masks", "residuals")}
    files["language"] = steps(micro_config())["encode_prompts"].outputs["language"]
    given = {**files, "weights": str(weights)}
    outputs = {"maps": "maps.h5", "record": "clicked.json"}
    method = PLACE | {"method": name}
    Step(clicked.stage, clicked.command, method, given, outputs).run(
        config, finished_run, None, tmp_path
    )
    with open_arrays(tmp_path / "maps.h5") as file:
        assert file["probabilities"][:].std() > 0

    del training.inputs["initial"]
    with pytest.raises(InputError, match="simpleclick starts from its weights"):
        training.run(config, finished_run, into=tmp_path / "other")
