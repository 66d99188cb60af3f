import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from adclick.networks import checkpoints
from adclick.networks.adclick import ADClick, build_adclick
from adclick.networks.adclick_seg import ADClickSeg, build_adclick_seg
from adclick.networks.checkpoints import load_weights_into, read_metadata, save_model, seeded
from adclick.networks.loading import load_model
from adclick.run.artifacts import read_stamp
from adclick.run.errors import InputError

LANGUAGE = {
    "embed_dim": 4,
    "depths": (1, 1),
    "heads": (1, 2),
    "window": 4,
    "text_channels": 3,
    "trainable": "pwam",
}
SEG_SIZES = {
    "grid": 4,
    "image_px": 32,
    "residual_channels": 3,
    "dim": 8,
    "depth": 1,
    "heads": 2,
    "window": 4,
    "drop_path": 0.0,
    "click_init": "visible",
    "language_init": "default",
    "shortcut": True,
    "image_channels": (4, 4, 6),
    "language": LANGUAGE,
}
CLICK_SIZES = {
    name: size for name, size in SEG_SIZES.items() if name not in ("shortcut", "image_channels")
} | {
    "click_cells": 8,
    "neck_channels": (4, 4),
    "neck_strides": (4, 8),
    "head_hidden": 4,
}
STAMP = {"command": "train", "seed": 3, "note": "für später"}


def _seg(seed: int = 0) -> ADClickSeg:
    return seeded(build_adclick_seg, seed, **SEG_SIZES)


def _saved(folder: Path, name: str = "weights.safetensors", seed: int = 0) -> Path:
    path = folder / name
    save_model(path, _seg(seed), sizes=SEG_SIZES, kind="adclick_seg", extra={"stamp": STAMP})
    return path


def _equal(one: nn.Module, other: nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("kind", ["adclick", "adclick_seg"])
def test_loaded_model_is_the_saved_one(tmp_path: Path, kind: str) -> None:
    build, sizes = {
        "adclick": (build_adclick, CLICK_SIZES),
        "adclick_seg": (build_adclick_seg, SEG_SIZES),
    }[kind]
    model = seeded(build, 7, **sizes)
    path = tmp_path / "new" / "weights.safetensors"
    save_model(path, model, sizes=sizes, kind=kind, extra={"steps": 12})
    loaded, metadata = load_model(path, kind=kind)
    assert isinstance(loaded, ADClick if kind == "adclick" else ADClickSeg)
    assert _equal(model, loaded)
    assert not loaded.training
    assert (metadata.kind, metadata.extra) == (kind, {"steps": 12})
    assert metadata.sizes == json.loads(json.dumps(sizes))
    clicks = torch.zeros(1, 3 if loaded.click_cells is None else 5, 32, 32)
    inputs = torch.ones(1, 3, 4, 4), clicks, torch.rand(1, 3, 32, 32)
    text = torch.rand(1, 3, 4), torch.ones(1, 4)
    assert torch.equal(model.eval()(*inputs, *text), loaded(*inputs, *text))


def test_equal_models_give_equal_bytes(tmp_path: Path) -> None:
    contents = {_saved(tmp_path, f"{k}.safetensors").read_bytes() for k in range(6)}
    assert len(contents) == 1
    assert _saved(tmp_path, "other.safetensors", seed=1).read_bytes() not in contents


def test_file_is_plain_safetensors_and_its_stamp_is_found(tmp_path: Path) -> None:
    path = _saved(tmp_path)
    assert set(load_file(path)) == set(_seg().state_dict())
    assert read_stamp(path) == STAMP
    assert read_metadata(path).extra == {"stamp": STAMP}


def test_failed_save_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _saved(tmp_path)
    before = path.read_bytes()

    def full_disk(tensors: object, file: Path, metadata: object) -> None:
        file.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(checkpoints, "save_file", full_disk)
    with pytest.raises(OSError, match="no space"):
        _saved(tmp_path, seed=1)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_building_from_a_seed_repeats_and_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    assert _equal(_seg(5), _seg(5))
    assert not _equal(_seg(5), _seg(6))
    assert torch.equal(torch.get_rng_state(), state)


def test_loading_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    path = _saved(tmp_path)
    state = torch.get_rng_state()
    load_model(path)
    assert torch.equal(torch.get_rng_state(), state)


def test_weights_of_a_pretrained_model_are_copied(tmp_path: Path) -> None:
    model = _seg(1)
    load_weights_into(model, _saved(tmp_path, seed=0))
    assert _equal(model, _seg(0))


def test_first_key_that_does_not_fit_is_named_and_nothing_is_copied(tmp_path: Path) -> None:
    weights = {name: tensor.clone() for name, tensor in _seg(0).state_dict().items()}
    names = list(weights)
    model, untouched = _seg(1), _seg(1)
    missing = {name: weights[name] for name in names if name not in names[3:5]}
    reshaped = weights | {names[2]: torch.zeros(1, 9)}
    unknown = weights | {"trunk.extra": torch.zeros(1)}
    for tensors, message in (
        (missing, f"no weights for {names[3]};"),
        (reshaped, f"{names[2]} has shape \\(1, 9\\), the model needs"),
        (unknown, "the model has no trunk.extra;"),
    ):
        path = tmp_path / "weights.safetensors"
        save_file(tensors, path)
        with pytest.raises(InputError, match=message):
            load_weights_into(model, path)
    assert _equal(model, untouched)


def test_unused_weights_are_allowed_on_demand(tmp_path: Path) -> None:
    path, model = tmp_path / "weights.safetensors", _seg(1)
    save_file(_seg(0).state_dict() | {"more": torch.zeros(1)}, path)
    load_weights_into(model, path, allow_unused=True)
    assert _equal(model, _seg(0))


def test_part_of_a_model_can_be_filled_alone(tmp_path: Path) -> None:
    path, model = tmp_path / "language.safetensors", _seg(1)
    source = _seg(0)
    assert source.vision_language is not None
    assert model.vision_language is not None
    save_file(source.vision_language.state_dict(), path)
    load_weights_into(model.vision_language, path)
    assert _equal(model.vision_language, source.vision_language)
    assert _equal(model.trunk, _seg(1).trunk)


def test_wrong_kind_is_refused(tmp_path: Path) -> None:
    path = _saved(tmp_path)
    with pytest.raises(InputError, match="kind adclick_seg, but adclick is needed"):
        load_model(path, kind="adclick")
    with pytest.raises(ValueError, match="choose from"):
        save_model(path, _seg(), sizes=SEG_SIZES, kind="resnet", extra={})


def test_files_that_are_no_models_are_one_line_errors(tmp_path: Path) -> None:
    whole = _saved(tmp_path).read_bytes()
    path = tmp_path / "bad.safetensors"
    cases = {
        "no such model file": None,
        "not a readable safetensors file": whole[: len(whole) // 2],
        "not a readable safetensors": b"hello",
        "without kind and sizes": b"",
        "unknown kind": b"",
        "sizes of no model": b"",
        "no weights for": b"",
    }
    for message, content in cases.items():
        if content:
            path.write_bytes(content)
        metadata = {
            "without kind and sizes": {"format": "pt"},
            "unknown kind": {"kind": '"resnet"', "sizes": "{}"},
            "sizes of no model": {"kind": '"adclick"', "sizes": '{"grid":4}'},
            "no weights for": {"kind": '"adclick_seg"', "sizes": json.dumps(SEG_SIZES)},
        }.get(message)
        if metadata:
            save_file({"a": torch.zeros(1)}, path, metadata=metadata)
        with pytest.raises(InputError, match=message) as caught:
            load_model(path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)


def test_a_file_may_lack_a_named_part_as_a_whole(tmp_path: Path) -> None:
    model, other = _seg(0), _seg(1)
    part = {name for name in model.state_dict() if name.startswith("click_stem.")}
    rest = {name: value for name, value in other.state_dict().items() if name not in part}
    save_file(rest, tmp_path / "rest.safetensors")
    load_weights_into(model, tmp_path / "rest.safetensors", may_lack=part)
    expected = _seg(0).state_dict() | rest
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    with pytest.raises(InputError, match=r"no weights for click_stem\..*; ask"):
        load_weights_into(model, tmp_path / "rest.safetensors", advice="ask")
    first, *_ = sorted(part)
    save_file(rest | {first: expected[first]}, tmp_path / "half.safetensors")
    with pytest.raises(InputError, match="no weights for click_stem"):
        load_weights_into(model, tmp_path / "half.safetensors", may_lack=part)
