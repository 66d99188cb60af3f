"""Peers that learn: what a plan makes of their files, and of a library that is not there."""

import json
import sys
from typing import Any

import pytest

from adclick.run.config import Config
from adclick.run.errors import InputError
from adclick.run.plan.detection import map_peer_inputs, maps_file, reads_labels
from adclick.run.plan.figures import drawn_maps
from adclick.run.plan.names import click_networks, label_names, map_methods, variant_of_labels
from adclick.run.plan.peers import learner_settings, missing_learners
from adclick.run.plan.stages import settings_json
from adclick.run.plan.tables import (
    map_cost_records,
    map_cost_table,
    map_cost_trainings,
    table_choices,
    table_methods,
    table_metrics,
    tables,
)
from tests.run.test_plan import config

PLACE = {"dataset": "mvtec", "category": "bottle"}
BOTTLE = "results/paper/mvtec/bottle"
OURS = ["training_free", "subspace", "devnet", "devnet_full", "dra"]


def planned(peers: list[str] = OURS, **changes: Any) -> Config:
    return config(run_map_peers=peers, **changes)


def test_maps_of_peers_lie_apart_and_are_read_there() -> None:
    made = planned()
    assert maps_file(made, "mvtec/bottle", "subspace", 0) == (
        f"{BOTTLE}/fit_map_peer/subspace/seed0/maps.h5"
    )
    assert maps_file(made, "mvtec/bottle", "training_free", 0) == (
        f"{BOTTLE}/predict_maps/training_free/seed0/maps.h5"
    )


def test_a_peer_reads_what_its_function_asks_for() -> None:
    made = planned()
    assert map_peer_inputs(made, "mvtec/bottle", "subspace", 3) == {}
    assert map_peer_inputs(made, "mvtec/bottle", "devnet_full", 3) == {
        "expanded": f"{BOTTLE}/expand_defects/full/seed3/images.h5"
    }
    assert map_peer_inputs(made, "mvtec/bottle", "dra", 3) == {
        "simulated": f"{BOTTLE}/simulate_defects/images.h5",
        "expanded": f"{BOTTLE}/expand_defects/weak_location_aware/seed3/images.h5",
    }


def test_those_that_draw_are_run_with_every_seed() -> None:
    found = map_methods(planned(seeds=[4, 5]))
    assert found["subspace"] == found["training_free"] == [4]
    assert found["devnet"] == [4, 5]


def test_peers_with_labels_stand_in_the_supervised_tables_alone() -> None:
    made = planned(run_adclick_seg=[])
    assert table_methods(made, 2) == ["training_free", "subspace"]
    assert table_methods(made, 4) == OURS
    assert f"{BOTTLE}/evaluate_maps/dra/seed0/metrics.json" in table_metrics(made, 4)
    for method, supervised in (("subspace", False), ("devnet", True), ("training_free", False)):
        settings = json.loads(settings_json(made, "evaluate_maps", **PLACE, method=method))
        assert settings["supervised"] is supervised is reads_labels(method)


def test_peers_are_not_in_figures_and_read_no_residual() -> None:
    made = planned(run_adclick_seg=[])
    assert list(drawn_maps(made)) == ["training_free"]
    chosen = planned(["subspace"], matching="auto", run_adclick_seg=[])
    assert table_choices(chosen, 2) == []


def test_a_peer_with_labels_of_clicks_needs_who_clicks() -> None:
    alone = {"run_adclick": [], "run_adclick_seg": []}
    assert click_networks(planned(["subspace", "devnet_full"], **alone)) == []
    assert click_networks(planned(["devnet"], **alone)) == ["finetuned_lang"]


def test_labels_that_a_peer_alone_reads_are_known() -> None:
    made = planned(["devnet_box"])
    assert "box" in label_names(made)
    assert variant_of_labels(made, "box").supervision == "box"


def test_settings_of_a_stage_are_those_of_its_peer() -> None:
    made = planned(detector_peers={"devnet": {"steps": 7}})
    settings = json.loads(settings_json(made, "fit_map_peer", **PLACE, method="devnet_full"))
    assert settings["peer"] == "devnet"
    assert settings["peer_settings"] == {**learner_settings(planned(), "devnet"), "steps": 7}
    assert "python" not in settings["wants"]
    other = planned(anomalib_python="elsewhere")
    assert settings_json(other, "fit_map_peer", **PLACE, method="dra") == settings_json(
        made, "fit_map_peer", **PLACE, method="dra"
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"devnet": {"stps": 3}}, "detector_peers.devnet: ['stps'] not defined"),
        ({"devnet": {"steps": 0.5}}, "detector_peers.devnet.steps = 0.5: give a value like 400"),
        ({"denvet": {}}, "detector_peers: ['denvet'] not defined"),
    ],
)
def test_a_wrong_setting_is_named(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        planned(detector_peers=given)
    assert words in str(caught.value)


@pytest.mark.parametrize("python", ["/no/such/python", sys.executable])
def test_a_library_that_is_not_there_leaves_rows_empty(python: str) -> None:
    """The interpreter of the tests has no anomalib."""
    made = planned([*OURS, "patchcore"], anomalib_python=python)
    (line,) = missing_learners(made).values()
    assert line.startswith(f"patchcore: no anomalib by {python}, so its rows stay empty; run ")
    assert map_methods(made)["patchcore"] == []
    assert "patchcore" in table_methods(made, 2)
    assert not [path for path in table_metrics(made, 2) if "patchcore" in path]
    assert missing_learners(planned(anomalib_python=python)) == {}


def test_costs_are_of_every_method_of_the_tables() -> None:
    made = planned(run_adclick_seg=["weak", "unsupervised"], run_sliding=[])
    assert map_cost_table(made)[0] in tables(made)
    records = [path for path in map_cost_records(made) if "/bottle/" in path]
    assert records == [
        f"{BOTTLE}/{stage}/{method}/seed0/record.json"
        for stage, method in [
            ("predict_maps", "training_free"),
            *(("fit_map_peer", name) for name in OURS[1:2]),
            ("predict_maps", "unsupervised"),
            *(("fit_map_peer", name) for name in OURS[2:]),
            ("predict_maps", "weak"),
        ]
    ]
    trainings = [path for path in map_cost_trainings(made) if "/bottle/" in path]
    folders = [f"{BOTTLE}/train_adclick_seg/{name}/seed0" for name in ("unsupervised", "weak")]
    assert trainings == [f"{folder}/record.json" for folder in folders]
    settings = json.loads(settings_json(made, "make_map_cost_table"))
    assert len(settings["measured"]) == len(map_cost_records(made))
    assert len(settings["trained"]) == len(map_cost_trainings(made))
    assert map_cost_table(planned(tables={number: [] for number in range(2, 9)})) == []
