"""Peers with settings and weights: what a plan makes of them, and of those that are not there."""

import json
from pathlib import Path
from typing import Any

import pytest

from adclick.run.config import Config
from adclick.run.errors import InputError
from adclick.run.kinds import kinds_of, settings_of
from adclick.run.plan.clicks import click_inputs, click_models, finetuning_inputs
from adclick.run.plan.figures import (
    click_figure_inputs,
    drawn_clicks,
    shown_click_method,
    training_records,
)
from adclick.run.plan.names import click_methods
from adclick.run.plan.peers import missing_peers, peer_files, peer_settings
from adclick.run.plan.stages import settings_json
from adclick.run.plan.tables import (
    cost_records,
    cost_table,
    robot_metrics,
    table_methods,
    table_metrics,
    tables,
)
from adclick.run.settings.clicks import OPENER, PEERS
from tests.run.test_plan import config

PLACE = {"dataset": "mvtec", "category": "bottle"}


def with_sam(weights: Path | str, **changes: Any) -> Config:
    return config(click_peers={"sam": {"weights": str(weights)}}, **changes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("config.json", "model.safetensors", "README.md", "pytorch_model.bin"):
        (tmp_path / name).write_text("{}")
    return tmp_path


def test_settings_are_the_keywords_that_have_a_value_in_the_peers_file() -> None:
    for peer in kinds_of(PEERS):
        known = settings_of(PEERS, peer, OPENER)
        assert set(known) == ({"weights"} if peer in ("sam", "sam2", "simpleclick") else set())


def test_the_configuration_stands_over_the_defaults() -> None:
    assert peer_settings(with_sam("mine"), "sam") == {"weights": "mine"}
    unset = config().model_copy(update={"click_peers": {}})
    assert peer_settings(unset, "sam") == settings_of(PEERS, "sam", OPENER)
    assert peer_settings(unset, "grabcut") == peer_settings(unset, "threshold") == {}


@pytest.mark.parametrize(
    ("peers", "says"),
    [
        ({"sam": {"wieghts": "x"}}, r"click_peers\.sam: \['wieghts'\] not defined.*weights"),
        ({"sma": {"weights": "x"}}, r"click_peers: \['sma'\] not defined.*'sam'"),
        ({"sam": {"weights": 3}}, r"click_peers\.sam\.weights = 3: give a value like 'facebook"),
        ({"grabcut": {"rounds": 3}}, r"click_peers\.grabcut: \['rounds'\] not defined"),
    ],
)
def test_a_setting_that_a_peer_does_not_have_is_one_line(peers: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        config(click_peers=peers)


def test_the_weights_of_a_folder_are_inputs_and_no_setting(folder: Path) -> None:
    made = with_sam(folder)
    files = [str(folder / name) for name in ("config.json", "model.safetensors")]
    assert click_inputs(made, "mvtec/bottle", "sam", 0) == {"peer_weights": files}
    elsewhere = settings_json(with_sam("elsewhere"), "simulate_clicks", **PLACE, method="sam")
    settings = settings_json(made, "simulate_clicks", **PLACE, method="sam")
    assert settings == elsewhere
    assert json.loads(settings)["peer_settings"] == {}


def test_a_file_of_weights_is_one_input(folder: Path) -> None:
    file = str(folder / "model.safetensors")
    assert peer_files(with_sam(file), "sam") == [file]


def test_a_downloaded_model_is_found_and_none_is_fetched(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "hub/models--someone--sam"
    (model / "refs").mkdir(parents=True)
    (model / "refs/main").write_text("0" * 40)
    (model / "snapshots").mkdir()
    (folder / "snapshot").mkdir()
    kept = model / "snapshots" / ("0" * 40)
    kept.mkdir()
    files = [kept / name for name in ("config.json", "model.safetensors")]
    for file in files:
        file.write_text("{}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    assert peer_files(with_sam("someone/sam"), "sam") == [*map(str, files)]
    files[0].unlink()  # a download that was broken off
    assert peer_files(with_sam("someone/sam"), "sam") == []
    for absent in ("someone/else", "no/model/at.all", str(tmp_path / "hub")):
        assert peer_files(with_sam(absent), "sam") == []
    assert not (tmp_path / "hub/models--someone--else").exists()


def test_a_peer_without_its_weights_is_a_line_and_an_empty_row(folder: Path) -> None:
    made, absent = with_sam(folder), with_sam("nowhere")
    assert "sam" not in missing_peers(made)
    line = missing_peers(absent)["sam"]
    assert line.startswith("sam: no weights at nowhere") and "click_peers.sam.weights" in line
    assert "\n" not in line
    assert table_methods(absent, 1) == table_methods(made, 1)
    assert click_methods(absent)["sam"] == []
    for files in (table_metrics(absent, 1), cost_records(absent)):
        assert files and not [file for file in files if "/sam/" in file]
    assert [file for file in table_metrics(made, 1) if "/sam/" in file]
    assert "sam" not in drawn_clicks(absent)
    assert not [
        one for one in click_figure_inputs(absent, "mvtec/bottle")["metrics"] if "sam" in one
    ]
    alone = {"run_adclick": [], "run_click_peers": ["grabcut", "sam"]}
    assert shown_click_method(with_sam("nowhere", **alone)) == "grabcut"


def test_a_published_network_is_finetuned_from_its_peers_weights(folder: Path) -> None:
    name, file = "simpleclick_finetuned", str(folder / "model.safetensors")
    made = config(click_peers={"simpleclick": {"weights": file}})
    assert finetuning_inputs(made, "mvtec/bottle", name, 0)["initial"] == file
    place = PLACE | {"variant": name}
    assert json.loads(settings_json(made, "train_adclick", **place))["published"] == "simpleclick"
    own = PLACE | {"variant": "finetuned"}
    assert json.loads(settings_json(made, "train_adclick", **own))["published"] is None
    trained = f"results/paper/mvtec/bottle/train_adclick/{name}/seed0/weights.safetensors"
    assert trained in click_models(made)


def test_without_those_weights_it_is_not_trained_and_its_row_is_empty() -> None:
    name = "simpleclick_finetuned"
    made = config(run_plain=[name])
    assert missing_peers(made)[name].endswith("under click_peers.simpleclick.weights")
    assert name in table_methods(made, 1)
    files = [*table_metrics(made, 1), *click_models(made), *training_records(made, "mvtec/bottle")]
    assert files and not [file for file in files if name in file]


@pytest.mark.parametrize("wrong", [{"language": True}, {"pretrain": True}, {"inputs": "residual"}])
def test_a_published_network_reads_the_picture_and_has_its_own_weights(wrong: dict) -> None:
    with pytest.raises(InputError, match="set language and pretrain to false and inputs to image"):
        config(adclick_variants={"simpleclick_finetuned": wrong})


def test_robot_users_do_not_meet_a_peer_without_weights(folder: Path) -> None:
    listed = {"robot_methods": ["sam", "threshold"]}
    assert [one for one in robot_metrics(with_sam(folder, **listed)) if "/sam/" in one]
    assert not [one for one in robot_metrics(with_sam("nowhere", **listed)) if "/sam/" in one]


def test_costs_are_a_table_where_table_1_has_clicks() -> None:
    made = config(seeds=[3, 4])
    assert cost_table(made) == ["results/paper/tables/click_costs.csv"]
    assert cost_table(made)[0] in tables(made)
    assert cost_table(config(tables={1: []})) == []
    settings = json.loads(settings_json(made, "make_cost_table"))
    records = cost_records(made)
    for (dataset, method), file in zip(settings["measured"], records, strict=True):
        assert file.startswith(f"results/paper/{dataset}/")
        assert file.endswith(f"/simulate_clicks/{method}/seed3/record.json")
    assert settings["methods"] == table_methods(made, 1)
