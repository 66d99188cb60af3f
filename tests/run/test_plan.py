import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from adclick.reporting.paper_tables import read_published, scale_departures
from adclick.run.artifacts import write_text
from adclick.run.config import Config, load_config
from adclick.run.errors import InputError
from adclick.run.plan.checks import check, missing_weights
from adclick.run.plan.clicks import (
    click_inputs,
    click_models,
    finetuning_inputs,
    labelling_inputs,
    labels_file,
    labels_folder,
    missing_labels,
    pretraining_inputs,
)
from adclick.run.plan.data import data_digest, digest_files, missing_data
from adclick.run.plan.detection import detection_inputs, detector_inputs, detectors
from adclick.run.plan.figures import (
    click_figure_inputs,
    compared_map_methods,
    drawn_clicks,
    drawn_maps,
    figures,
    label_cost_metrics,
    label_costs,
    map_figure_inputs,
    shown_click_method,
    shown_map_method,
    training_records,
    trainings,
)
from adclick.run.plan.names import (
    adclick_pretraining,
    click_matching,
    labeller,
    labels_of,
    map_matching,
    map_methods,
    places,
)
from adclick.run.plan.residuals import choice_file
from adclick.run.plan.stages import settings_json
from adclick.run.plan.tables import (
    robot_metrics,
    robot_table,
    scale_facts,
    table_choices,
    table_methods,
    table_metrics,
    tables,
)
from tests.run.test_config import OVERLAYS, ROOT, merged, read

# Peers with weights, wherever these are on the machine of the tests.
UNLOADED = ["simpleclick", "sam", "sam2"]
NOWHERE = {"click_peers": {name: {"weights": "nowhere"} for name in UNLOADED}}
CHANGED = {"matchings": {"patch_to_patch": {"radius": 30}}}


def config(**changes: object) -> Config:
    return load_config(merged(merged(read(), NOWHERE), changes))


def test_the_digest_changes_with_names_sizes_and_times_alone(tmp_path: Path) -> None:
    folder = tmp_path / "bolt"
    (folder / "train").mkdir(parents=True)
    first = folder / "train/0.png"
    first.write_bytes(b"abc")
    before = digest_files([folder], tmp_path)
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / ".ipynb_checkpoints/0.png").write_bytes(b"x")
    assert digest_files([folder], tmp_path) == before
    status = first.stat()
    os.utime(first, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert digest_files([folder], tmp_path) != before
    os.utime(first, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert digest_files([folder], tmp_path) == before
    first.rename(first.with_name("1.png"))
    assert digest_files([folder], tmp_path) != before


def test_links_that_lead_nowhere_and_names_of_any_bytes_are_planned(tmp_path: Path) -> None:
    write_text(tmp_path / "a/1.png", "1")
    plain = digest_files([tmp_path], tmp_path)
    (tmp_path / "a/gone.png").symlink_to("nothing.png")
    (tmp_path / "a/loop").symlink_to(tmp_path)
    dangling = digest_files([tmp_path], tmp_path)
    (tmp_path / os.fsdecode(b"a/\xe4.png")).write_bytes(b"")
    assert len({plain, dangling, digest_files([tmp_path], tmp_path)}) == 3


def test_a_sample_sheet_counts_beside_its_folder(tmp_path: Path) -> None:
    sheets = {"layout": "csv", "root": "parts", "categories": ["part"], "textures": []}
    made = config(
        data_root=str(tmp_path),
        datasets={"mvtec": sheets},
        run_datasets=["mvtec"],
        tables={number: [] for number in range(1, 9)},
    )
    (tmp_path / "parts/part").mkdir(parents=True)
    (tmp_path / "parts/part.csv").write_text("image_path\n")
    before = data_digest(made, "mvtec", "part")
    (tmp_path / "parts/part.csv").write_text("image_path,label\n")
    assert data_digest(made, "mvtec", "part") != before


def test_without_the_data_a_manifest_stays_what_it_was_made_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = config(data_root="nowhere")
    assert data_digest(made, "mvtec", "bottle") == "absent"
    record = tmp_path / "results/paper/mvtec/bottle/make_manifest/record.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"files": "abc"}))
    assert data_digest(made, "mvtec", "bottle") == "abc"


def test_only_data_that_will_be_read_are_missed(tmp_path: Path) -> None:
    made = config(data_root=str(tmp_path))
    assert missing_data(made, []) == []
    assert missing_data(made, ["mvtec/bottle", "mvtec/pill"]) == [str(tmp_path / "mvtec")]


def test_a_lonely_category_cannot_be_pretrained() -> None:
    alone = {
        "datasets": {"mvtec": {"categories": ["bottle"], "textures": []}},
        "run_datasets": ["mvtec"],
        "tables": {number: ["mvtec"] if number < 6 else [] for number in range(1, 9)},
    }
    with pytest.raises(InputError, match="nothing to pretrain on"):
        check(config(**alone))
    check(config(**alone, run_adclick=["finetuned_lang"], run_adclick_seg=["unsupervised"]))


def test_an_unsupervised_detector_does_not_start_from_another_network() -> None:
    variants = {"unsupervised": {"pretrain": True}}
    asked = {"run_adclick_seg": ["unsupervised"], "adclick_seg_variants": variants}
    check(config(**asked))
    check(config(**asked, adclick_seg_network={"shortcut": "all"}))
    with pytest.raises(InputError, match="^unsupervised: pretraining has labels"):
        check(config(**asked, adclick_seg_network={"shortcut": "unsupervised"}))


def test_a_frozen_language_branch_without_weights_is_noticed_before_the_run() -> None:
    assert missing_weights(config())
    assert missing_weights(config(vision_language={"trainable": "language"}))
    assert not missing_weights(config(vision_language={"trainable": "all"}))
    assert not missing_weights(config(vision_language={"weights": "lavt.safetensors"}))


def test_a_setting_of_one_phase_is_no_setting_of_the_other() -> None:
    place = {"dataset": "mvtec", "category": "bottle"}
    changed = config(training={"steps": 7}, adclick_training={"batch": {"normal": 5}})
    pretraining = {**place, "pretraining": "language"}
    finetuning = {**place, "variant": "finetuned_lang"}
    for wildcards, equal in ((pretraining, True), (finetuning, False)):
        before = settings_json(config(), "train_adclick", **wildcards)
        assert (settings_json(changed, "train_adclick", **wildcards) == before) is equal


OTHER = {
    "adclick_variants": {
        "clicked_without_place": {
            **{"language": True, "pretrain": True, "finetune": True, "inputs": "residual"},
            "matching": "patch_to_patch",
        }
    },
    "adclick_seg_variants": {
        "weak_without_place": {
            **{"supervision": "weak", "pretrain": True, "iis": True},
            **{"language": True, "abandon": True, "matching": "patch_to_patch"},
        }
    },
    "run_adclick_seg": ["unsupervised", "weak", "weak_without_place"],
}


def all_files(inputs: Mapping[str, str | list[str]]) -> list[str]:
    return [
        path for value in inputs.values() for path in ([value] if type(value) is str else value)
    ]


def test_whatever_a_variant_reads_is_by_its_own_matching() -> None:
    made = config(**OTHER)
    place, name, seed = "mvtec/bottle", "weak_without_place", 0
    labels = labels_of(made, made.adclick_seg_variants[name])
    assert labels is not None
    for inputs in (
        detector_inputs(made, place, name, seed),
        detection_inputs(made, place, name, seed),
        labelling_inputs(made, place, labels, seed),
        finetuning_inputs(made, place, "clicked_without_place", seed),
        pretraining_inputs(made, "mvtec/pill", "patch_to_patch", "language"),
    ):
        files = all_files(inputs)
        assert not [path for path in files if "location_aware" in path]
        assert [path for path in files if "compute_residuals/patch_to_patch/" in path]
    trained = all_files(detector_inputs(made, place, name, seed))
    for part in ("pretrain_adclick_seg/", "expanded_weak_", "expand_defects/weak_"):
        assert [path for path in trained if f"{part}patch_to_patch" in path]
    assert labeller(made, "patch_to_patch") == "clicked_without_place"
    assert labeller(made, "location_aware") == "finetuned_lang"


def test_true_labels_need_no_residual() -> None:
    made = config()
    assert labels_of(made, made.adclick_seg_variants["full"]) == "full"
    assert labelling_inputs(made, "mvtec/bottle", "full", 0) == {}


def test_labels_of_a_matching_need_an_adclick_with_it() -> None:
    check(config(**OTHER))
    without = {key: value for key, value in OTHER.items() if key != "adclick_variants"}
    with pytest.raises(InputError, match="finetuned_lang .* `matching: patch_to_patch`"):
        check(config(**without))


def test_an_edit_of_one_matching_is_no_edit_of_another() -> None:
    changed = config(**CHANGED)
    place = {"dataset": "mvtec", "category": "bottle", "source": "real"}
    same = {
        name: settings_json(config(), "compute_residuals", matching=name, **place)
        == settings_json(changed, "compute_residuals", matching=name, **place)
        for name in changed.matchings
    }
    assert same.pop("patch_to_patch") is False
    assert all(same.values())


def test_a_chosen_matching_waits_for_its_choice_alone() -> None:
    made = config(matching="auto")
    place = {"dataset": "mvtec", "category": "pill", "matching": "auto"}
    assert choice_file(made, "mvtec/pill", "location_aware") == {}
    named = choice_file(made, "mvtec/pill", "auto")["choice"]
    assert named == "results/paper/mvtec/pill/choose_matching/auto/choice.json"
    assert table_choices(config(), 4) == []
    assert named in table_choices(made, 4)
    assert named in table_choices(made, 1)
    choosing, computing = (
        [settings_json(config(**change), stage, **place) for change in ({}, CHANGED)]
        for stage in ("choose_matching", "compute_residuals")
    )
    assert choosing[0] != choosing[1]
    assert computing[0] == computing[1]
    assert scale_facts(made)["matching radius (sigma)"].startswith("chosen for each category: 3.2")


def test_other_matchings_are_rows_of_result_tables_and_nothing_else() -> None:
    peers = ["training_free", "training_free_patch_to_patch", "training_free_image_to_image"]
    chosen = ["finetuned_lang", "clicked_without_place"]
    made = config(**OTHER, run_adclick=chosen, run_map_peers=peers)
    rivals = ["threshold", "random_walker", "watershed", "grabcut"]
    assert made.run_click_peers == [*rivals, *UNLOADED]
    own = ["finetuned_lang", "clicked_without_place"]
    assert table_methods(made, 1) == [*made.run_click_peers, *own]
    for number in (2, 3):
        assert table_methods(made, number) == [*peers, "unsupervised", "unsupervised_sliding"]
    for number in (4, 5, 6):
        weak = ["weak", "weak_sliding", "weak_without_place"]
        assert table_methods(made, number) == [*peers, *weak]
    assert "finetuned_lang" in table_methods(made, 7)
    assert "clicked_without_place" not in table_methods(made, 7)
    assert {"weak", "weak_pil"} <= {*table_methods(made, 8)}
    assert "weak_without_place" not in table_methods(made, 8)
    clicks, maps = drawn_clicks(made), drawn_maps(made)
    assert list(clicks) == [*rivals, "finetuned_lang"]
    assert list(maps) == ["training_free", "unsupervised", "weak"]


def test_the_run_may_have_another_matching() -> None:
    made = config(matching="image_to_image")
    assert map_matching(made, "training_free") == "image_to_image"
    files = all_files(detector_inputs(made, "mvtec/bottle", "weak", 0))
    assert not [path for path in files if "location_aware" in path]
    assert click_matching(made, "threshold") == "image_to_image"
    assert labeller(made, "image_to_image") == "finetuned_lang"


def test_the_detector_may_have_a_window_and_a_normalisation_of_its_own() -> None:
    place = {"dataset": "mvtec", "category": "bottle"}
    overlay = {"residual_input": {"groups": 28}}
    own = {"adclick_seg_network": {"window": 16, "normalise": "group"}}
    for changes, window, normalise in ((overlay, 8, None), (overlay | own, 16, "group")):
        made = config(**changes)
        seg = json.loads(settings_json(made, "train_adclick_seg", **place, variant="weak"))
        assert (seg["network"]["window"], seg["residual_input"]["normalise"]) == (window, normalise)
        click = settings_json(made, "train_adclick", **place, variant="finetuned_lang")
        assert json.loads(click)["network"]["window"] == 8
        assert click == settings_json(
            config(**overlay), "train_adclick", **place, variant="finetuned_lang"
        )


def test_sliding_maps_are_made_by_the_variants_own_network_where_it_is_run() -> None:
    made = config(run_adclick_seg=["weak", "full"])
    assert made.sliding_methods == {"weak_sliding": "weak"}
    plain = detection_inputs(made, "mvtec/bottle", "weak", 0)
    assert detection_inputs(made, "mvtec/bottle", "weak_sliding", 0) == plain
    place = {"dataset": "mvtec", "category": "bottle"}
    for method, slid in (("weak", False), ("weak_sliding", True)):
        given = json.loads(settings_json(made, "predict_maps", **place, method=method))
        assert (given["sliding"] is not None) == slid
        scored = json.loads(settings_json(made, "evaluate_maps", **place, method=method))
        assert scored["supervised"]


COSTS = ["unsupervised", "weak", "full", "weak_3_images", "weak_3_images_1_click", "weak_pil"]


def test_variants_of_fewer_labels_are_in_their_figure_and_in_no_table() -> None:
    made = config(run_adclick_seg=COSTS)
    found = {
        one.method: (one.supervision, one.images, one.clicks) for one in label_costs(made, "mvtec")
    }
    assert found == {
        "unsupervised": ("unsupervised", 0, 0),
        "weak": ("weak", 10, 5),
        "full": ("full", 10, 0),
        "weak_3_images": ("weak", 3, 5),
        "weak_3_images_1_click": ("weak", 3, 1),
    }
    assert len(label_cost_metrics(made, "mvtec/bottle")) == 5
    for number in range(2, 9):
        assert not {"weak_3_images", "weak_3_images_1_click"} & {*table_methods(made, number)}
    assert "weak_3_images" not in drawn_maps(made)
    assert "results/paper/figures/mvtec/bottle/labels.png" in figures(made)
    assert not [file for file in figures(config()) if "labels.png" in file]


def test_labels_are_named_by_what_makes_them_and_shared_by_equal_variants() -> None:
    made = config()
    variants = made.adclick_seg_variants
    named = {name: labels_of(made, variants[name]) for name in variants}
    assert named["weak"] == named["weak_pil"] == "weak_location_aware"
    assert named["weak_3_images_1_click"] == "weak_location_aware_3images_1clicks"
    assert (named["full"], named["box"], named["unsupervised"]) == ("full", "box", None)
    place = {"dataset": "mvtec", "category": "bottle"}
    for name, given in (
        ("weak", ("weak", None, 5)),
        ("weak_3_images_1_click", ("weak", 3, 1)),
        ("box", ("box", None, 5)),
    ):
        labels = str(named[name])
        made_of = json.loads(settings_json(made, "label_defects", **place, labels=labels))
        keys = ("supervision", "labelled_images", "label_clicks")
        assert tuple(made_of[key] for key in keys) == given
        assert bool(labelling_inputs(made, "mvtec/bottle", labels, 0)) == (name != "box")


def test_a_persons_labels_are_shared_by_seeds_and_need_no_network() -> None:
    made = config(run_adclick=[], run_adclick_seg=["human", "weak_3_images"], seeds=[0, 1])
    assert labels_of(made, made.adclick_seg_variants["human"]) == "human"
    files = {labels_file(made, "mvtec/bottle", "human", seed) for seed in (0, 1)}
    assert files == {"results/paper/mvtec/bottle/collect_labels/labels.h5"}
    clicked = labels_file(made, "mvtec/bottle", "weak_location_aware", 1)
    assert clicked.endswith("/label_defects/weak_location_aware/seed1/labels.h5")
    alone = config(run_adclick=[], run_adclick_seg=["human"])
    assert training_records(alone, "mvtec/bottle") == [
        "results/paper/mvtec/bottle/pretrain_adclick_seg/location_aware/language_iis/seed0/record.json",
        "results/paper/mvtec/bottle/train_adclick_seg/human/seed0/record.json",
    ]
    assert "human" in table_methods(alone, 4) and "human" not in table_methods(alone, 8)
    # What a person's labels cost is not known to the configuration.
    assert [one.method for one in label_costs(made, "mvtec")] == ["weak_3_images"]


def test_a_persons_labels_are_where_the_tool_put_them_or_where_the_data_set_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place, own = "mvtec/bottle", "results/paper/mvtec/bottle/annotate/labels"
    assert labels_folder(config(), place) == own
    assert missing_labels(config(), []) is None
    for part in (own, "`adclick annotate results/paper/mvtec/bottle`", "datasets.mvtec.labels"):
        assert part in (missing_labels(config(), [place]) or "")
    Path(own).mkdir(parents=True)
    assert missing_labels(config(), [place]) is None
    named = config(datasets={"mvtec": {"labels": "desk"}})
    assert labels_folder(named, place) == "desk/bottle"
    assert (missing_labels(named, [place]) or "").startswith("desk/bottle: no labels")


@pytest.mark.parametrize("run", OVERLAYS)
def test_the_papers_scale_has_no_departure_and_every_other_run_says_its_own(run: str) -> None:
    made = load_config(read(*OVERLAYS[run]))
    settings = read_published(ROOT / "config/published/settings.csv")
    found = scale_departures(scale_facts(made), settings)
    assert bool(found) == (run != "paper")
    assert any("untrained" in text for text in found) == (run != "paper")
    sizes = [text for text in found if text.startswith("image size")]
    expected = f"image size {made.size_px} x {made.size_px} px (paper: 512 x 512 px)"
    assert sizes == ([] if run == "paper" else [expected])


def test_an_ablation_lists_its_rows_that_are_not_run() -> None:
    made = config(run_adclick=["finetuned_lang"], run_adclick_seg=["unsupervised", "weak"])
    assert table_methods(made, 1) == [*made.run_click_peers, "finetuned_lang"]
    assert len(table_methods(made, 7)) == 4
    assert len(table_methods(made, 8)) == 8
    for number, stage, method in ((7, "evaluate_clicks", "finetuned_lang"), (8, "maps", "weak")):
        files = table_metrics(made, number)
        assert len(files) == 15
        assert all(stage in file and f"/{method}/seed0/" in file for file in files)


def test_figures_are_those_that_a_run_has_something_for() -> None:
    def names(**changes: object) -> set[str]:
        return {Path(file).stem for file in figures(config(**changes))}

    clicks, maps = {"clicks", "miou"}, {"maps", "curves"}
    assert names() == clicks | maps | {"losses"}
    assert names(run_adclick=[], run_click_peers=[]) == maps | {"losses"}
    assert names(run_adclick_seg=[], run_map_peers=[]) == clicks | {"losses"}
    assert names(run_adclick=[], run_adclick_seg=[]) == clicks | maps


def test_cases_are_those_of_the_method_that_labels_and_of_the_weakly_supervised() -> None:
    assert shown_click_method(config()) == "finetuned_lang"
    assert shown_click_method(config(run_adclick=["pretrained"])) == "pretrained"
    assert shown_map_method(config()) == "weak"
    assert shown_map_method(config(run_adclick_seg=["unsupervised"])) == "unsupervised"
    # Side by side stand the methods of tables 2 to 6, not the ablation's.
    assert compared_map_methods(config()) == ["training_free", "unsupervised", "weak", "full"]


def test_each_training_has_its_pretraining_and_a_shared_one_is_read_once() -> None:
    made = config(run_adclick_seg=["unsupervised", "weak", "full"], seeds=[0, 1])
    folder = "results/paper/mvtec/bottle"
    records = training_records(made, "mvtec/bottle")
    assert len(records) == len(set(records))
    files = json.loads(
        settings_json(made, "make_training_figure", dataset="mvtec", category="bottle")
    )["trainings"]
    found = {
        (one["method"], records[one[phase]])
        for one in files
        for phase in ("pretraining", "training")
        if one[phase] is not None
    }
    for seed in (0, 1):
        shared = f"{folder}/pretrain_adclick_seg/location_aware/language_iis/seed{seed}/record.json"
        assert {method for method, file in found if file == shared} == {"weak", "full"}
        own = f"{folder}/train_adclick_seg/unsupervised/seed{seed}/record.json"
        assert [pair for pair in found if pair[1] == own] == [("unsupervised", own)]
    lonely = next(one for one in files if one["method"] == "unsupervised")
    assert lonely["pretraining"] is None
    as_pretrained = next(one for one in files if one["method"] == "pretrained_lang")
    assert as_pretrained["training"] is None
    assert as_pretrained["network"] == "ADClick"


def test_a_figures_maps_stand_in_the_order_of_its_columns() -> None:
    made = config(seeds=[3, 4])
    maps = map_figure_inputs(made, "mvtec/bottle")["maps"]
    settings = json.loads(
        settings_json(made, "make_map_figures", dataset="mvtec", category="bottle")
    )
    assert [file.split("/")[5] for file in maps] == settings["columns"]
    assert all("/seed3/" in file for file in maps)
    clicks = click_figure_inputs(made, "mvtec/bottle")
    assert clicks["maps"].endswith("simulate_clicks/finetuned_lang/seed3/maps.h5")
    assert len(clicks["metrics"]) == len({*made.run_click_peers} - {*UNLOADED}) + 2 * 6


@pytest.mark.parametrize("trained", ["pwam", "language", "all"])
def test_every_way_to_train_the_language_branch_has_words_in_the_tables(trained: str) -> None:
    made = config(vision_language={"trainable": trained})
    facts = scale_facts(made)
    assert facts["trained parts of the vision-language module"]


def test_the_losses_of_other_matchings_are_in_no_figure() -> None:
    made = config(**OTHER, run_adclick=["finetuned_lang", "clicked_without_place"])
    named = {name for _, name, _ in trainings(made, "mvtec/bottle")}
    assert named == {"finetuned_lang", "unsupervised", "weak"}


def test_every_robot_user_meets_the_methods_listed_that_are_run() -> None:
    made = config(tables={1: ["ksdd2"]}, seeds=[0, 1], run_click_peers=["threshold"])
    folder = "results/paper/ksdd2/ksdd2/evaluate_clicks"
    found = robot_metrics(made)
    for name in ("deepest", "jittered", "imperfect"):
        own = "" if name == "deepest" else f"{name}/"
        assert f"{folder}/threshold/{own}seed0/metrics.json" in found
        assert f"{folder}/threshold/{own}seed1/metrics.json" not in found
        assert f"{folder}/finetuned_lang/{own}seed1/metrics.json" in found
    assert not [file for file in found if "random_walker" in file or "/finetuned/" in file]
    assert set(table_metrics(made, 1)) & set(found)
    assert not [file for file in table_metrics(made, 1) if "jittered" in file]


def test_the_table_of_honest_clicks_is_made_where_there_is_something_to_show() -> None:
    (own,) = robot_table(config())
    assert own == "results/paper/tables/honest_clicks.csv"
    assert own in tables(config())
    for change in ({"run_robots": []}, {"robot_methods": []}, {"tables": {1: []}}):
        assert robot_table(config(**change)) == []


def test_a_robot_users_settings_are_its_own() -> None:
    changed = config(robots={"jittered": {"draws": 9}})
    place = {"dataset": "mvtec", "category": "bottle", "method": "finetuned_lang"}
    for robot, equal in (("deepest", True), ("imperfect", True), ("jittered", False)):
        before = settings_json(config(), "simulate_clicks", **place, robot=robot)
        now = settings_json(changed, "simulate_clicks", **place, robot=robot)
        assert (now == before) is equal
    assert json.loads(before)["robot"] == {"place": "inside", "wrong": 0.0, "draws": 5}


def test_peers_of_the_picture_read_no_residual() -> None:
    made = config()
    assert click_inputs(made, "mvtec/bottle", "random_walker", 0) == {}
    assert [*click_inputs(made, "mvtec/bottle", "threshold", 0)] == ["residuals"]
    for method, peer in (("grabcut", "grabcut"), ("threshold", "threshold"), ("finetuned", None)):
        place = {"dataset": "mvtec", "category": "bottle", "method": method}
        settings = json.loads(settings_json(made, "simulate_clicks", **place))
        assert settings["peer"] == peer
        assert (settings["detection"] is None) == (method != "threshold")


def test_variants_share_a_pretraining_with_those_that_read_the_same() -> None:
    variants = config().adclick_variants
    names = {name: adclick_pretraining(one) for name, one in variants.items()}
    assert names["finetuned_image"] == "language_image"
    assert names["finetuned_both"] == "language_both"
    assert names["finetuned_lang"] == names["pretrained_lang"] == "language"
    assert names["finetuned"] == "plain"
    place = {"dataset": "mvtec", "category": "bottle"}
    read = {"language_image": "image", "plain_both": "both", "plain": "residual"}
    for name, inputs in read.items():
        text = settings_json(config(), "train_adclick", **place, pretraining=name)
        assert json.loads(text)["inputs"] == inputs


def test_the_network_alone_is_one_more_row_with_the_same_network() -> None:
    zoom = {"margin": 1.4, "least_side": 0.4}
    made = config(run_plain=["finetuned_lang"], clicks={"zoom": zoom})
    name, place = "finetuned_lang_plain", "mvtec/bottle"
    assert table_methods(made, 1)[-1] == name
    assert name not in table_methods(made, 7)
    once = click_inputs(made, place, "finetuned_lang", 0)
    assert click_inputs(made, place, name, 0) == once
    assert click_matching(made, name) == made.matching
    wildcards = {"dataset": "mvtec", "category": "bottle", "method": name}
    alone = json.loads(settings_json(made, "simulate_clicks", **wildcards))
    assert alone["clicks"]["zoom"] is None
    wildcards["method"] = "finetuned_lang"
    both = json.loads(settings_json(made, "simulate_clicks", **wildcards))
    assert both["clicks"]["zoom"] == zoom


def test_how_answers_are_refined_is_no_setting_of_a_training() -> None:
    edges = {"trust": 1, "least_trust": 0, "early_trust": 0, "prior_power": 1, "sharpness": 1}
    refined = config(clicks={"edges": {**edges, "likeness": 1}})
    place = {"dataset": "mvtec", "category": "bottle", "variant": "finetuned_lang"}
    for made in (config(), refined):
        assert settings_json(made, "train_adclick", **place) == settings_json(
            config(), "train_adclick", **place
        )
    assert json.loads(settings_json(refined, "record_clicks"))["edges"]["trust"] == 1


def test_how_levels_are_learnt_is_a_setting_of_finetunings_alone() -> None:
    edges = {"trust": 1, "least_trust": 0, "early_trust": 0, "prior_power": 1, "sharpness": 1}
    levels = {"pictures": 9, "clicks": 3, "hidden": 8, "learning_rate": 0.01, "weight_decay": 0}

    def with_steps(steps: int) -> Config:
        own = {**levels, "noise": 0, "steps": steps}
        return config(clicks={"edges": {**edges, "likeness": 1}, "levels": own})

    place = {"dataset": "mvtec", "category": "bottle"}
    names = {"variant": "finetuned_lang", "method": "finetuned_lang", "pretraining": "language"}
    for stage, wildcards, depends in [
        ("train_adclick", {**place, "variant": names["variant"]}, True),
        ("train_adclick", {**place, "pretraining": names["pretraining"]}, False),
        ("simulate_clicks", {**place, "method": names["method"]}, False),
        ("record_clicks", {}, False),
    ]:
        few, many = (settings_json(with_steps(steps), stage, **wildcards) for steps in (10, 20))
        assert (few != many) == depends, stage


def test_a_product_with_photographs_alone_needs_no_other_category_and_no_mask() -> None:
    own = load_config(read(*OVERLAYS["own"]))
    folder = "results/own/own/bracket"
    refinement = "results/own/record_clicks/clicks.json"
    trained = f"{folder}/train_adclick/scratch/seed0/weights.safetensors"
    assert click_models(own) == [trained, refinement]
    assert detectors(own) == [f"{folder}/predict_maps/human/seed0/maps.h5", refinement]
    check(own)
    assert figures(own) == ["results/own/figures/own/bracket/losses.png"]
    scored = load_config(read(*OVERLAYS["own"]) | {"tables": {1: ["own"], 4: ["own"]}})
    assert {Path(file).stem for file in figures(scored)} >= {"clicks", "maps", "losses"}
    assert map_methods(scored).keys() == {"training_free", "human"}
    for inputs in (
        finetuning_inputs(own, "own/bracket", "scratch", 0),
        detector_inputs(own, "own/bracket", "human", 0),
    ):
        assert {"initial", "masks"}.isdisjoint(inputs)


def test_a_run_trains_every_variant_of_every_category_with_every_seed() -> None:
    two = config(seeds=[0, 1])
    count = 2 * len(places(two))
    assert len(set(detectors(two))) == count * len(two.run_adclick_seg) + 1
    own = [name for name in two.run_adclick if two.adclick_variants[name].published is None]
    assert len(click_models(two)) == count * len(own) + 1


def test_lines_that_no_estimate_chooses_are_no_setting() -> None:
    edges = {"trust": 1, "least_trust": 0, "early_trust": 0, "prior_power": 1, "sharpness": 1}
    lines = {"contrast": 3, "likeness": 0.5, "gap_px": 1, "elongation": 20}
    with_lines = {**edges, "likeness": 1, "lines": {**lines, "edge_px": 1, "side_px": 6}}
    levels = {"pictures": 9, "clicks": 3, "hidden": 8, "learning_rate": 0.01, "weight_decay": 0}
    levels |= {"noise": 0, "steps": 5}
    place = {"dataset": "mvtec", "category": "bottle"}
    for stage, wildcards in [
        ("simulate_clicks", {**place, "method": "finetuned_lang"}),
        ("label_defects", {**place, "labels": "weak_location_aware"}),
        ("record_clicks", {}),
    ]:
        plain, unread, read = (
            settings_json(config(clicks=given), stage, **wildcards)
            for given in (
                {"edges": {**edges, "likeness": 1}},
                {"edges": with_lines},
                {"edges": with_lines, "levels": levels},
            )
        )
        assert plain == unread != read, stage


def test_thin_defects_are_simulated_where_an_estimate_of_lines_learns_from_them() -> None:
    edges = {"trust": 1, "least_trust": 0, "early_trust": 0, "prior_power": 1, "sharpness": 1}
    lines = {"contrast": 3, "likeness": 0.5, "gap_px": 1, "elongation": 20}
    lines |= {"edge_px": 1, "side_px": 6}
    levels = {"pictures": 9, "clicks": 3, "hidden": 8, "learning_rate": 0.01, "weight_decay": 0}
    levels |= {"noise": 0, "steps": 5}
    place = {"dataset": "mvtec", "category": "bottle"}

    def made(followed: bool, pictures: int | None) -> Config:
        own = {**edges, "likeness": 1, "lines": lines if followed else None}
        return config(clicks={"edges": own, "levels": {**levels, "lines": pictures}})

    learnt = made(followed=True, pictures=7)
    inputs = finetuning_inputs(learnt, "mvtec/bottle", "finetuned_lang", 0)
    folder = f"results/{learnt.run}/mvtec/bottle"
    assert inputs["line_images"] == [f"{folder}/simulate_defects/lines.h5"]
    (residuals,) = inputs["line_residuals"]
    assert residuals.endswith("/lines.h5") and "compute_residuals" in residuals
    drawn = json.loads(settings_json(learnt, "simulate_defects", drawn="lines", **place))
    kinds = {kind for kind in learnt.simulation.kinds() if drawn["simulation"][kind]}
    assert (drawn["pictures"], kinds) == (7, {"clear_cracks", "clear_scratches"})
    assert json.loads(settings_json(learnt, "simulate_defects", **place))["pictures"] is None
    for other in (made(followed=True, pictures=None), made(followed=False, pictures=7)):
        assert "line_images" not in finetuning_inputs(other, "mvtec/bottle", "finetuned_lang", 0), (
            "nobody would read them"
        )
        settings = json.loads(
            settings_json(other, "train_adclick", variant="finetuned_lang", **place)
        )
        assert settings["refining"]["levels"]["lines"] is None
