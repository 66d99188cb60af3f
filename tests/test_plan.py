import json
import os
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
    assert plan.missing_weights(config(vision_language={"trainable": "language"}))
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
