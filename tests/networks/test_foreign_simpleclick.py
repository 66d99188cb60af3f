"""A published SimpleClick under our names: its layout of keys, its sizes, and none of its code."""

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adclick.networks.foreign import SIMPLECLICK_CODE, read_checkpoint, simpleclick
from adclick.networks.simpleclick import build_simpleclick
from adclick.run.errors import InputError
from tests.networks.test_converting import convert
from tests.networks.test_foreign import Trap

DIM, WIDTHS, HIDDEN = 16, (4, 8, 12, 20), 6


def published(depth: int = 12) -> dict[str, Tensor]:
    """Random weights in the layout of a published checkpoint at 448 px, of a narrower network."""
    generator = torch.Generator().manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {
        "backbone.cls_token": (1, 1, DIM),
        "backbone.pos_embed": (1, 28 * 28 + 1, DIM),
        "backbone.head.weight": (10, DIM),
    }
    convolutions = {
        "patch_embed_coords.proj": (DIM, 3, 16, 16),
        "backbone.patch_embed.proj": (DIM, 3, 16, 16),
        "neck.down_4.5": (WIDTHS[0], DIM // 4, 1, 1),
        "neck.down_8.2": (WIDTHS[1], DIM // 2, 1, 1),
        "neck.down_16.0": (WIDTHS[2], DIM, 1, 1),
        "neck.down_32.0": (2 * DIM, DIM, 2, 2),
        "neck.down_32.2": (WIDTHS[3], 2 * DIM, 1, 1),
        "head.conv_seg": (1, HIDDEN, 1, 1),
        "head.fusion_conv.conv": (HIDDEN, 4 * HIDDEN, 1, 1),
        **{f"head.convs.{n}.conv": (HIDDEN, width, 1, 1) for n, width in enumerate(WIDTHS)},
    }
    transposed = {
        "neck.down_4.0": (DIM, DIM // 2, 2, 2),
        "neck.down_4.3": (DIM // 2, DIM // 4, 2, 2),
        "neck.down_8.0": (DIM, DIM // 2, 2, 2),
        "head.up_conv1.0": (HIDDEN, HIDDEN // 2, 2, 2),
    }
    norms = {
        "backbone.fc_norm": DIM,
        **{"neck.down_4.1": DIM // 2, "neck.down_4.4": DIM // 4, "neck.down_4.6": WIDTHS[0]},
        **{"neck.down_8.1": DIM // 2, "neck.down_8.3": WIDTHS[1], "neck.down_16.1": WIDTHS[2]},
        **{"neck.down_32.1": 2 * DIM, "neck.down_32.3": WIDTHS[3]},
    }
    linear: dict[str, tuple[int, int]] = {}
    for number in range(depth):
        block = f"backbone.blocks.{number}"
        norms |= {f"{block}.norm1": DIM, f"{block}.norm2": DIM}
        linear |= {f"{block}.attn.qkv": (3 * DIM, DIM), f"{block}.attn.proj": (DIM, DIM)}
        linear |= {f"{block}.mlp.fc1": (4 * DIM, DIM), f"{block}.mlp.fc2": (DIM, 4 * DIM)}
    for name, shape in (convolutions | linear).items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name, shape in transposed.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[1:2]}
    for name, channels in norms.items():
        shapes |= {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}
    return {name: 0.1 * torch.randn(one, generator=generator) for name, one in shapes.items()}


def test_every_key_of_a_published_checkpoint_has_its_place() -> None:
    theirs = published()
    weights, sizes = simpleclick({"state_dict": theirs, "config": {}})
    assert sizes == {
        **{"image_px": 448, "patch": 16, "dim": DIM, "depth": 12, "heads": 1, "window": 14},
        **{"global_every": 6, "neck_channels": list(WIDTHS), "head_hidden": HIDDEN},
    }
    with torch.device("meta"):
        ours = build_simpleclick(**sizes)
    ours.load_state_dict(weights, assign=True)
    assert torch.equal(weights["vit.pos_embed"], theirs["backbone.pos_embed"][:, 1:])
    pairs = {
        "vit.blocks.11.attn.qkv.weight": "backbone.blocks.11.attn.qkv.weight",
        "click_stem.projection.weight": "patch_embed_coords.proj.weight",
        "neck.levels.0.5.weight": "neck.down_4.5.weight",
        "neck.levels.3.2.bias": "neck.down_32.2.bias",
        "head.project.2.weight": "head.convs.2.conv.weight",
        "head.mix.weight": "head.fusion_conv.conv.weight",
        "head.logit.bias": "head.conv_seg.bias",
    }
    for own, name in pairs.items():
        assert torch.equal(weights[own], theirs[name])


@pytest.mark.parametrize(("depth", "global_every"), [(12, 6), (24, 6), (4, 1)])
def test_how_often_blocks_are_global_follows_from_the_depth(depth: int, global_every: int) -> None:
    assert simpleclick(published(depth))[1]["global_every"] == global_every


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("neck.down_8.0.weight", None, r"no weights for neck\.levels\.1\.0\.weight"),
        ("backbone.pos_embed", None, r"vit\.pos_embed: there is no SimpleClick in it"),
        ("head.conv_seg.weight", torch.zeros(2, HIDDEN, 1, 1), r"head\.logit\.weight has shape"),
        ("backbone.blocks.12.norm1.weight", torch.zeros(DIM), r"no weights for vit\.blocks\.12"),
        ("maps_transform.0.weight", torch.zeros(1), r"maps_transform\.0\.weight: no such weights"),
        ("backbone.pos_embed", torch.zeros(1, 401, DIM), "sizes of no SimpleClick"),
    ],
)
def test_a_file_that_does_not_fit_names_its_first_key(
    name: str, value: Tensor | None, says: str
) -> None:
    named = published()
    if value is None:
        del named[name]
    else:
        named[name] = value
    with pytest.raises(InputError, match=says):
        simpleclick({"state_dict": named})


@pytest.fixture
def their_loss(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A loss as the published checkpoints hold it, of code that is not there when it is read."""
    module = types.ModuleType("isegm.losses")

    def criterion() -> None: ...

    class Loss(nn.Module): ...

    for one in (criterion, Loss):
        one.__module__, one.__qualname__ = module.__name__, one.__name__
        setattr(module, one.__name__, one)
    monkeypatch.setitem(sys.modules, "isegm", types.ModuleType("isegm"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    loss = Loss()
    loss.cls_criterion = criterion  # pyright: ignore[reportAttributeAccessIssue]
    return loss


def test_a_checkpoint_with_a_loss_of_its_own_code_is_converted(
    their_loss: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, output = tmp_path / "vit.pth", tmp_path / "simpleclick.safetensors"
    torch.save({"state_dict": published(), "config": {"loss": their_loss}}, checkpoint)
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"it asks for isegm\.losses"):
        read_checkpoint(checkpoint)
    said = convert(checkpoint, output, "--kind", "simpleclick")
    assert "image_px 448, patch 16, dim 16, depth 12, heads 1, window 14" in said
    first = output.read_bytes()
    output.unlink()
    convert(checkpoint, output, "--kind", "simpleclick")
    assert output.read_bytes() == first


def test_other_code_is_refused_all_the_same(
    their_loss: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"state_dict": {}, "config": [their_loss, Trap()]}, tmp_path / "trap.pth")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"it asks for posix\.system\): refused, not run"):
        read_checkpoint(tmp_path / "trap.pth", unread=SIMPLECLICK_CODE)
    assert not (tmp_path / "trapped").exists()
