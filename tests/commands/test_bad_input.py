"""A user's mistake is one clear line, exit code 2, and nothing half-written."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants as hub
import numpy as np
import pytest

from adclick.commands import (
    encode_prompts,
    extract_features,
    generate_prompts,
    make_manifest,
    simulate_clicks,
)
from adclick.data.images import read_image, write_png
from adclick.data.toy import draw_toy
from adclick.run.artifacts import ArraySpec, create_arrays
from adclick.run.job import BAD_INPUT, run
from adclick.run.plan.stages import settings_json
from tests.chain import PLACE, micro_config

OUTPUTS = ("manifest.csv", "images.h5", "masks.h5")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    draw_toy(tmp_path / "data", size_px=64, normals=2, test_normals=1, defects_per_type=1, seed=0)
    return tmp_path / "data"


def refused(
    main: Callable[[list[str]], object], argv: list[str], capsys: pytest.CaptureFixture[str]
) -> str:
    """The line that a command ends with; fails unless it is one line and exit code 2."""
    with pytest.raises(SystemExit) as caught:
        run(lambda: main(argv))
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert caught.value.code == BAD_INPUT
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said


def manifest_argv(data: Path, out: Path, **changes: object) -> list[str]:
    settings = json.loads(settings_json(micro_config(), "make_manifest", **PLACE))
    settings |= {"layout": "mvtec", "root": data.name, "training_defects": 1, **changes}
    files = [("--manifest", "manifest.csv"), ("--images", "images.h5"), ("--masks", "masks.h5")]
    files.append(("--record", "record.json"))
    paths = [part for flag, name in files for part in (flag, str(out / name))]
    return [
        "--settings",
        json.dumps(settings),
        "--data-root",
        str(data.parent),
        *paths,
        "--files",
        "x",
        *("--duplicates", "warn"),
    ]


def test_a_missing_data_root_says_how_to_get_the_data_and_how_to_do_without(
    tmp_path: Path, capsys
) -> None:
    said = refused(
        make_manifest.main, manifest_argv(tmp_path / "nowhere", tmp_path / "out"), capsys
    )
    assert "nowhere" in said
    assert "make demo" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda cloth: _truncate(cloth / "train/good/000.png"), ["000.png"]),
        (lambda cloth: _shrink(cloth / "ground_truth/hole/000_mask.png"), ["000_mask.png", "32"]),
        (
            lambda cloth: (cloth / "test/hole/000.png").rename(cloth / "test/hole/other.png"),
            ["000_mask", "other"],
        ),
        (lambda cloth: [path.unlink() for path in (cloth / "train/good").glob("*")], ["train"]),
    ],
    ids=["truncated", "mask of another size", "orphan mask", "empty"],
)
def test_damaged_data_is_named_and_nothing_is_written(
    data: Path, damage, words, tmp_path: Path, capsys
) -> None:
    damage(data / "cloth")
    said = refused(make_manifest.main, manifest_argv(data, tmp_path / "out"), capsys)
    for word in words:
        assert word in said
    assert not any((tmp_path / "out" / name).exists() for name in OUTPUTS)


def test_all_damaged_files_are_named_at_once(data: Path, tmp_path: Path, capsys) -> None:
    _shrink(data / "cloth/ground_truth/hole/000_mask.png")
    _shrink(data / "cloth/ground_truth/stain/000_mask.png")
    said = refused(make_manifest.main, manifest_argv(data, tmp_path / "out"), capsys)
    assert "hole/000_mask.png" in said
    assert "stain/000_mask.png" in said


def test_an_unknown_setting_is_named(data: Path, tmp_path: Path, capsys) -> None:
    assert "colour = 'red'" in refused(
        make_manifest.main, manifest_argv(data, tmp_path, colour="red"), capsys
    )


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def _shrink(path: Path) -> None:
    write_png(path, read_image(path)[:32, :32])


def images(path: Path) -> Path:
    specs = {"images": ArraySpec((64, 64, 3), "uint8")}
    with create_arrays(path, image_ids=["train/good/000"], specs=specs, stamp={}) as file:
        file["images"][:] = np.zeros((1, 64, 64, 3), np.uint8)
    return path


def features_argv(tmp_path: Path, **weights: object) -> list[str]:
    settings = json.loads(settings_json(micro_config(), "extract_features", **PLACE))
    settings["features"]["weights"] |= weights
    settings["features"]["backbone"] = "resnet18.tv_in1k"
    (tmp_path / "manifest.csv").write_text("image_id,role\ntrain/good/000,train_normal\n")
    given = [
        "--manifest",
        str(tmp_path / "manifest.csv"),
        "--images",
        str(images(tmp_path / "images.h5")),
    ]
    return [
        "--settings",
        json.dumps(settings),
        *given,
        "--features",
        str(tmp_path / "out/features.h5"),
    ]


def without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the variables of these names do when the hub's library is imported."""
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)


def test_without_a_network_a_pretrained_backbone_is_an_error_not_another_model(
    tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_network(tmp_path, monkeypatch)
    said = refused(extract_features.main, features_argv(tmp_path, source="hub"), capsys)
    assert "resnet18.tv_in1k" in said
    assert not list((tmp_path / "out").glob("*"))


def test_weights_that_do_not_fit_name_the_first_key(tmp_path: Path, capsys) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"conv1.weight": torch.zeros(1)}, tmp_path / "w.safetensors")
    argv = features_argv(tmp_path, source="file", file=str(tmp_path / "w.safetensors"))
    assert "conv1.weight" in refused(extract_features.main, argv, capsys)


def test_weights_of_another_checksum_are_refused(tmp_path: Path, capsys) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"x")
    argv = features_argv(
        tmp_path, source="file", file=str(tmp_path / "w.safetensors"), sha256="0" * 64
    )
    assert "sha256" in refused(extract_features.main, argv, capsys)


def test_without_a_network_a_text_encoder_is_an_error(tmp_path: Path, capsys, monkeypatch) -> None:
    without_network(tmp_path, monkeypatch)
    settings = json.loads(settings_json(micro_config(), "encode_prompts"))
    settings["language"]["weights"]["source"] = "hub"
    settings["language"]["encoder"] = "nobody/no-such-model"
    (tmp_path / "prompts.json").write_text(
        json.dumps({"phrases": {"cloth": {"hole": ["a hole in the cloth"]}}})
    )
    given = [
        "--prompts",
        str(tmp_path / "prompts.json"),
        "--language",
        str(tmp_path / "language.h5"),
    ]
    said = refused(encode_prompts.main, ["--settings", json.dumps(settings), *given], capsys)
    assert "nobody/no-such-model" in said
    assert not (tmp_path / "language.h5").exists()


def test_a_category_without_prompts_is_named(tmp_path: Path, capsys) -> None:
    (tmp_path / "bank.yaml").write_text("washer: {rust: [rust on the washer]}\n")
    argv = ["--settings", settings_json(micro_config(), "generate_prompts", dataset="toy")]
    argv += ["--bank", str(tmp_path / "bank.yaml"), "--prompts", str(tmp_path / "prompts.json")]
    assert "cloth" in refused(generate_prompts.main, argv, capsys)


def test_a_broken_artifact_is_named_with_what_to_do(tmp_path: Path, capsys) -> None:
    (tmp_path / "broken.h5").write_bytes(b"not HDF5")
    (tmp_path / "manifest.csv").write_text("image_id,role,defect_type\n")
    settings = settings_json(micro_config(), "simulate_clicks", **PLACE, method="threshold")
    argv = ["--settings", settings, "--manifest", str(tmp_path / "manifest.csv")]
    for name in ("images", "masks", "residuals"):
        argv += [f"--{name}", str(tmp_path / "broken.h5")]
    argv += ["--maps", str(tmp_path / "m.h5"), "--record", str(tmp_path / "record.json")]
    said = refused(simulate_clicks.main, argv, capsys)
    assert "broken.h5" in said
    assert "run its stage again" in said


def test_a_command_that_is_asked_to_stop_leaves_nothing_half_written(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from adclick.run.artifacts import replacing\n"
        "from adclick.run.job import run\n"
        "def main():\n"
        "    with replacing(Path(sys.argv[1])) as part:\n"
        "        part.write_text('half'); print('ready', flush=True); time.sleep(600)\n"
        "run(main)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "whole.txt")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, signal.SIGTERM)
        process.wait()
    assert process.returncode == 128 + signal.SIGTERM
    assert not list(tmp_path.iterdir())
