"""Published weights under our names: equal outputs, whole files only, and no code of theirs."""

import argparse
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from adclick.networks.checkpoints import load_weights_into, save_tensors, seeded
from adclick.networks.foreign import lavt_bert, lavt_swin, plain_swin, read_checkpoint, swin_sizes
from adclick.networks.vision_language import VisionLanguageSwin, language_parts
from adclick.run.errors import InputError

WINDOW, IMAGE_PX = 3, 96  # maps of 24, 12, 6 and 3: no padding, where timm differs on purpose
EMBED, DEPTHS, HEADS, TEXT = 8, (2, 2, 3, 2), (1, 2, 2, 4), 5


def timm_swin() -> nn.Module:
    return timm.models.swin_transformer.SwinTransformer(
        img_size=IMAGE_PX,
        window_size=WINDOW,
        embed_dim=EMBED,
        depths=DEPTHS,
        num_heads=HEADS,
        num_classes=3,
    ).eval()


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    """A Swin of timm's with random weights, position tables and norms included."""
    network = seeded(timm_swin, 0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
    return network


def branch(weights: dict[str, Tensor], image_px: int = IMAGE_PX) -> VisionLanguageSwin:
    sizes = swin_sizes(weights)
    return seeded(
        VisionLanguageSwin, 0, image_px=image_px, stages=len(sizes["depths"]), **sizes
    ).eval()


def original_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """As the first Swin code names them: patches merge at a stage's end."""
    renamed = {}
    for name, value in weights.items():
        stage = name.split(".")[1]
        moved = ".downsample." in name
        renamed[name.replace(f"layers.{stage}", f"layers.{int(stage) - 1}") if moved else name] = (
            value
        )
    renamed |= {"layers.0.blocks.1.attn_mask": torch.zeros(1), "head.weight": torch.zeros(1)}
    return renamed | {"layers.0.blocks.0.attn.relative_position_index": torch.zeros(1)}


@pytest.mark.parametrize("named", [dict, original_names, lambda w: {"model": original_names(w)}])
@torch.no_grad()
def test_our_stages_without_language_equal_timms(
    theirs: nn.Module, named: Callable[[Any], Any]
) -> None:
    weights = plain_swin(named(theirs.state_dict()))
    ours = branch(weights)
    assert language_parts(ours.state_dict()) == set(ours.state_dict()) - set(weights)
    ours.load_state_dict(ours.state_dict() | weights)
    image = torch.randn(2, 3, IMAGE_PX, IMAGE_PX, generator=torch.Generator().manual_seed(2))
    expected = theirs.forward_intermediates(image, intermediates_only=True, norm=False)
    tokens = ours.patch_norm(ours.patch_embed(image).permute(0, 2, 3, 1))
    for stage, theirs_map in zip(ours.stages, expected, strict=True):
        tokens = stage.see(tokens)
        assert theirs_map.std() > 0.1
        torch.testing.assert_close(tokens.permute(0, 3, 1, 2), theirs_map, atol=1e-4, rtol=1e-4)


def test_swin_b_of_window_12_fits_our_branch_at_512_pixels() -> None:
    """The paper's network by shape: timm's swin_base_patch4_window12_384 and ours, unallocated."""
    with torch.device("meta"):
        weights = plain_swin(timm.create_model("swin_base_patch4_window12_384").state_dict())
        sizes = swin_sizes(weights)
        assert {key: sizes[key] for key in ("embed_dim", "depths", "heads", "window")} == {
            "embed_dim": 128,
            "depths": [2, 2, 18, 2],
            "heads": [4, 8, 16, 32],
            "window": 12,
        }
        ours = VisionLanguageSwin(**{**sizes, "text_channels": 768}, image_px=512, stages=4)
    shapes = {name: value.shape for name, value in ours.state_dict().items()}
    parts = language_parts(shapes)
    assert {name: value.shape for name, value in weights.items()} == {
        name: shape for name, shape in shapes.items() if name not in parts
    }


def lavt_names(ours: VisionLanguageSwin) -> dict[str, Tensor]:
    """Our weights under the names of LAVT's modules, with what else such a file holds."""
    parts = {
        "visual": "vis_project.0",
        "query": "image_lang_att.f_query.0",
        "key": "image_lang_att.f_key.0",
        "value": "image_lang_att.f_value.0",
        "reading": "image_lang_att.W.0",
        "output": "project_mm.0",
    }
    named: dict[str, Tensor] = {}
    for name, value in ours.state_dict().items():
        if name.startswith("patch"):
            first, _, rest = name.partition(".")
            named[f"patch_embed.{'proj' if first == 'patch_embed' else 'norm'}.{rest}"] = value
            continue
        _, stage, part, rest = name.split(".", 3)
        if part == "fusion":
            module, kind = rest.split(".")
            shaped = value[..., None] if kind == "weight" else value  # 1x1 convolutions
            named[f"layers.{stage}.fusion.{parts[module]}.{kind}"] = shaped
        elif part == "gate":
            position = 0 if rest == "first.weight" else 2
            named[f"layers.{stage}.res_gate.{position}.weight"] = value
        elif part == "norm":
            named[f"norm{stage}.{rest}"] = value
        elif part == "merge":
            named[f"layers.{int(stage) - 1}.downsample.{rest}"] = value
        else:
            named[f"layers.{stage}.blocks.{rest}"] = value
    widest = 8 * EMBED
    named["layers.3.res_gate.0.weight"] = torch.zeros(widest, widest)
    named["layers.3.res_gate.2.weight"] = torch.zeros(widest, widest)
    named["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(9, 9)
    return {f"backbone.{name}": value for name, value in named.items()}


def lavt_branch() -> VisionLanguageSwin:
    return seeded(
        VisionLanguageSwin,
        3,
        image_px=IMAGE_PX,
        embed_dim=EMBED,
        depths=DEPTHS,
        heads=HEADS,
        window=WINDOW,
        text_channels=TEXT,
        trainable="all",
        stages=4,
    ).eval()


@pytest.fixture(scope="module")
def lavt() -> VisionLanguageSwin:
    return lavt_branch()


@pytest.fixture
def checkpoint(lavt: VisionLanguageSwin, tmp_path: Path) -> Path:
    """A file like those of LAVT's training: weights, optimiser, arguments."""
    path = tmp_path / "model_best_refcoco.pth"
    content = {
        "model": lavt_names(lavt) | {"classifier.conv1_4.weight": torch.zeros(2)},
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-5}]},
        "lr_scheduler": {"base_lrs": [1e-5], "lr_lambdas": [None]},
        "epoch": 39,
        "args": argparse.Namespace(model="lavt_one", window12=True),
    }
    torch.save(content, path)
    return path


@torch.no_grad()
def test_a_lavt_checkpoint_gives_its_language_branch(
    lavt: VisionLanguageSwin, checkpoint: Path, tmp_path: Path
) -> None:
    weights = lavt_swin(read_checkpoint(checkpoint))
    save_tensors(tmp_path / "lavt.safetensors", weights, {})
    ours = branch(weights)
    load_weights_into(ours, tmp_path / "lavt.safetensors")
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, IMAGE_PX, IMAGE_PX, generator=generator)
    text, mask = torch.randn(1, TEXT, 4, generator=generator), torch.ones(1, 4)
    for one, other in zip(ours(image, text, mask), lavt(image, text, mask), strict=True):
        assert torch.equal(one, other)


def test_names_that_several_gpus_prefix_are_known(lavt: VisionLanguageSwin) -> None:
    named = {f"module.{name}": value for name, value in lavt_names(lavt).items()}
    assert list(lavt_swin({"model": named})) == list(lavt.state_dict())


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("backbone.layers.1.fusion.project_mm.0.bias", None, "stages.1.fusion.output.bias"),
        ("backbone.layers.2.blocks.1.mlp.fc1.weight", torch.zeros(2, 2), r"has shape \(2, 2\)"),
        ("backbone.layers.0.extra.weight", torch.zeros(1), "^layers.0.extra.weight"),
        ("backbone.layers.4.res_gate.0.weight", torch.zeros(1), "stages.4.gate.first.weight"),
        ("backbone.patch_embed.proj.weight", None, "no weights for patch_embed"),
    ],
)
def test_a_file_that_does_not_fit_names_its_first_key(
    lavt: VisionLanguageSwin, name: str, value: Tensor | None, says: str
) -> None:
    named = lavt_names(lavt)
    if value is None:
        del named[name]
    else:
        named[name] = value
    with pytest.raises(InputError, match=says):
        lavt_swin({"model": named})


def test_other_networks_are_refused(theirs: nn.Module, lavt: VisionLanguageSwin) -> None:
    with pytest.raises(InputError, match="no name begins with backbone"):
        lavt_swin(theirs.state_dict())
    with pytest.raises(InputError, match=r"backbone\.patch_embed\.proj\.weight: no such weights"):
        plain_swin(lavt_names(lavt))
    with pytest.raises(InputError, match="there is no Swin in it"):
        plain_swin({})
    with pytest.raises(InputError, match="model holds a int"):
        plain_swin({"model": 3})


def bert(channels: int = 64) -> dict[str, Tensor]:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=11,
        hidden_size=channels,
        num_hidden_layers=2,
        num_attention_heads=channels // 32,
        intermediate_size=48,
        max_position_embeddings=24,
    )
    return seeded(lambda: BertModel(config), 0).state_dict()


@pytest.mark.parametrize("inside", [False, True])
def test_the_text_encoder_comes_apart_in_transformers_names(inside: bool) -> None:
    held = bert() | {"embeddings.position_ids": torch.arange(24)[None]}
    prefixed = {f"text_encoder.{name}": value for name, value in held.items()}
    weights, settings = lavt_bert({"model": prefixed} if inside else {"bert_model": held})
    assert set(weights) == {name for name in bert() if not name.startswith("pooler.")}
    assert settings == {
        "vocab_size": 11,
        "hidden_size": 64,
        "max_position_embeddings": 24,
        "type_vocab_size": 2,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
    }


def test_what_is_no_bert_is_refused(lavt: VisionLanguageSwin) -> None:
    with pytest.raises(InputError, match=r"embeddings\.word_embeddings\.weight: there is no BERT"):
        lavt_bert({"model": lavt_names(lavt)})
    with pytest.raises(InputError, match="96 channels, no multiple of 64"):
        lavt_bert({"bert_model": bert(96)})


class Trap:
    """What a hostile file would run when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch trapped",)


def test_a_file_with_code_in_it_is_refused_and_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": {}, "args": Trap()}, "trap.pth")
    (tmp_path / "old.pth").write_bytes(pickle.dumps({"args": Trap()}))
    for name in ("trap.pth", "old.pth"):
        with pytest.raises(InputError, match="refused, not run") as caught:
            read_checkpoint(Path(name))
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"it asks for posix\.system"):
        read_checkpoint(Path("trap.pth"))
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_a_file_that_is_none_is_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(InputError, match="no such file"):
        read_checkpoint(path)
    for content in (b"", b"<html>", bytes(range(64))):
        path.write_bytes(content)
        with pytest.raises(InputError) as caught:
            read_checkpoint(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(InputError, match="holds a list"):
        read_checkpoint(tmp_path / "list.pth")
