import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from adclick import plan
from adclick.config import Config, load_config
from adclick.errors import InputError
from tests.test_config import merged, read


def config(**changes: object) -> Config:
    return load_config(merged(read(), changes))


def test_the_digest_changes_with_names_sizes_and_times_alone(tmp_path: Path) -> None:
    folder = tmp_path / "bolt"
    (folder / "train").mkdir(parents=True)
    first = folder / "train/0.png"
    first.write_bytes(b"abc")
    before = plan.digest_files([folder], tmp_path)
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / ".ipynb_checkpoints/0.png").write_bytes(b"x")
    assert plan.digest_files([folder], tmp_path) == before
    status = first.stat()
    os.utime(first, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert plan.digest_files([folder], tmp_path) != before
    os.utime(first, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert plan.digest_files([folder], tmp_path) == before
    first.rename(first.with_name("1.png"))
    assert plan.digest_files([folder], tmp_path) != before


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
    before = plan.data_digest(made, "mvtec", "part")
    (tmp_path / "parts/part.csv").write_text("image_path,label\n")
    assert plan.data_digest(made, "mvtec", "part") != before


def test_without_the_data_a_manifest_stays_what_it_was_made_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = config(data_root="nowhere")
    assert plan.data_digest(made, "mvtec", "bottle") == "absent"
    record = tmp_path / "results/paper/mvtec/bottle/make_manifest/record.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"files": "abc"}))
    assert plan.data_digest(made, "mvtec", "bottle") == "abc"


def test_only_data_that_will_be_read_are_missed(tmp_path: Path) -> None:
    made = config(data_root=str(tmp_path))
    assert plan.missing_data(made, []) == []
    assert plan.missing_data(made, ["mvtec/bottle", "mvtec/pill"]) == [str(tmp_path / "mvtec")]


def test_a_lonely_category_cannot_be_pretrained() -> None:
    alone = {
        "datasets": {"mvtec": {"categories": ["bottle"], "textures": []}},
        "run_datasets": ["mvtec"],
        "tables": {number: ["mvtec"] if number < 6 else [] for number in range(1, 9)},
    }
    with pytest.raises(InputError, match="nothing to pretrain on"):
        plan.check(config(**alone))
    plan.check(config(**alone, run_adclick=["finetuned_lang"], run_adclick_seg=["unsupervised"]))


def test_a_frozen_language_branch_without_weights_is_noticed_before_the_run() -> None:
    assert plan.missing_weights(config())
    assert not plan.missing_weights(config(vision_language={"trainable": "all"}))
    assert not plan.missing_weights(config(vision_language={"weights": "lavt.safetensors"}))


def test_a_setting_of_one_phase_is_no_setting_of_the_other() -> None:
    place = {"dataset": "mvtec", "category": "bottle"}
    changed = config(adclick_training={"steps": 7, "batch": {"normal": 5}})
    pretraining = {**place, "pretraining": "language"}
    finetuning = {**place, "variant": "finetuned_lang"}
    for wildcards, equal in ((pretraining, True), (finetuning, False)):
        before = plan.settings_json(config(), "train_adclick", **wildcards)
        assert (plan.settings_json(changed, "train_adclick", **wildcards) == before) is equal


OTHER = {
    "adclick_variants": {
        "clicked_without_place": {
            **{"language": True, "finetune": True, "residual": True},
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
    labels = plan.labels_of(made, made.adclick_seg_variants[name])
    assert labels is not None
    for inputs in (
        plan.detector_inputs(made, place, name, seed),
        plan.detection_inputs(made, place, name, seed),
        plan.labelling_inputs(made, place, labels, seed),
        plan.finetuning_inputs(made, place, "clicked_without_place", seed),
        plan.training_inputs(made, ["mvtec/pill"], matching="patch_to_patch", masks=True),
    ):
        files = all_files(inputs)
        assert not [path for path in files if "location_aware" in path]
        assert [path for path in files if "compute_residuals/patch_to_patch/" in path]
    trained = all_files(plan.detector_inputs(made, place, name, seed))
    for part in ("pretrain_adclick_seg/", "expanded_weak_", "expand_defects/weak_"):
        assert [path for path in trained if f"{part}patch_to_patch" in path]
    assert plan.labeller(made, "patch_to_patch") == "clicked_without_place"
    assert plan.labeller(made, "location_aware") == "finetuned_lang"


def test_true_labels_need_no_residual() -> None:
    made = config()
    assert plan.labels_of(made, made.adclick_seg_variants["full"]) == "full"
    assert plan.labelling_inputs(made, "mvtec/bottle", "full", 0) == {}


def test_labels_of_a_matching_need_an_adclick_with_it() -> None:
    plan.check(config(**OTHER))
    without = {key: value for key, value in OTHER.items() if key != "adclick_variants"}
    with pytest.raises(InputError, match="finetuned_lang .* `matching: patch_to_patch`"):
        plan.check(config(**without))


def test_an_edit_of_one_matching_is_no_edit_of_another() -> None:
    changed = config(matchings={"patch_to_patch": {"radius": 30}})
    place = {"dataset": "mvtec", "category": "bottle", "source": "real"}
    same = {
        name: plan.settings_json(config(), "compute_residuals", matching=name, **place)
        == plan.settings_json(changed, "compute_residuals", matching=name, **place)
        for name in changed.matchings
    }
    assert same == {"location_aware": True, "patch_to_patch": False, "image_to_image": True}


def test_other_matchings_are_rows_of_result_tables_and_nothing_else() -> None:
    made = config(**OTHER, run_adclick=["finetuned_lang", "clicked_without_place"])
    peers = list(made.run_map_peers)
    assert len(peers) == 3
    assert plan.table_methods(made, 1) == ["threshold", "finetuned_lang", "clicked_without_place"]
    for number in (2, 3):
        assert plan.table_methods(made, number) == [*peers, "unsupervised"]
    for number in (4, 5, 6):
        assert plan.table_methods(made, number) == [*peers, "weak", "weak_without_place"]
    assert plan.table_methods(made, 7) == ["finetuned_lang"]
    assert plan.table_methods(made, 8) == ["weak"]
    clicks, maps = plan.drawn_methods(made)
    assert list(clicks) == ["threshold", "finetuned_lang"]
    assert list(maps) == ["training_free", "unsupervised", "weak"]


def test_the_run_may_have_another_matching() -> None:
    made = config(matching="image_to_image")
    assert plan.method_titles(made)["training_free"] == "training-free map, image-to-image"
    files = all_files(plan.detector_inputs(made, "mvtec/bottle", "weak", 0))
    assert not [path for path in files if "location_aware" in path]
    assert plan.click_matching(made, "threshold") == "image_to_image"
    assert plan.labeller(made, "image_to_image") == "finetuned_lang"
