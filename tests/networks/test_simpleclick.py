"""SimpleClick: windows, sizes, and its file."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from adclick.networks.checkpoints import save_model, seeded
from adclick.networks.loading import load_model
from adclick.networks.simpleclick import KIND, SimpleClick, build_simpleclick

SIZES = {
    **{"image_px": 32, "patch": 4, "dim": 16, "depth": 3, "heads": 2, "window": 4},
    **{"global_every": 3, "neck_channels": [4, 4, 8, 8], "head_hidden": 8},
}


def built(**changes: object) -> SimpleClick:
    return seeded(build_simpleclick, 0, **{**SIZES, **changes}).eval()


def inputs(batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shape = (batch, 3, 32, 32)
    return torch.randn(shape, generator=generator), torch.rand(shape, generator=generator)


@torch.no_grad()
def test_every_picture_of_a_batch_has_the_logits_that_it_has_alone() -> None:
    network = built()
    images, clicks = inputs(2)
    logits = network.decode(network.embed(None, images), clicks, [])
    assert logits.shape == (2, 1, 32, 32)
    alone = network.decode(network.embed(None, images[1:]), clicks[1:], [])
    assert torch.allclose(logits[1:], alone, atol=1e-6)
    assert (logits[0] - logits[1]).abs().max() > 1e-4


@torch.no_grad()
def test_with_all_blocks_global_the_transformer_is_timms() -> None:
    network = built(global_every=1)
    image, clicks = inputs()
    network.click_stem.projection.weight.zero_()
    network.click_stem.projection.bias.zero_()
    seen: list[torch.Tensor] = []
    network.neck.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    network.decode(network.embed(None, image), clicks, [])
    theirs = network.vit.forward_features(image)
    assert torch.allclose(seen[0].flatten(2).transpose(1, 2), theirs, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("global_every", "reached"), [(1, 64), (3, 64), (4, 16)])
def test_blocks_attend_within_windows_but_for_every_so_many(
    global_every: int, reached: int
) -> None:
    network = built(global_every=global_every)
    image, clicks = inputs()
    seen: list[torch.Tensor] = []
    network.neck.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    network.decode(network.embed(None, image), clicks, [])
    clicks[0, :, 0, 0] += 1  # in the first token, whose window has 16
    network.decode(network.embed(None, image), clicks, [])
    changed = (seen[0] - seen[1]).abs().amax(1)[0] > 0
    assert int(changed.sum()) == reached
    if reached == 16:
        assert changed[:4, :4].all()


def test_a_grid_of_broken_windows_is_refused() -> None:
    with pytest.raises(ValueError, match="image_px 32 is no multiple of 3 patches of 4 px"):
        build_simpleclick(**{**SIZES, "window": 3})


@torch.no_grad()
def test_a_picture_of_another_size_is_resized_and_answered_at_its_own() -> None:
    network = built()
    image, clicks = inputs()
    small, few = (functional.interpolate(one, size=(16, 16)) for one in (image, clicks))
    logits = network.decode(network.embed(None, small), few, [])
    assert logits.shape == (1, 1, 16, 16)
    larger = [
        functional.interpolate(one, size=(32, 32), mode="bilinear", align_corners=False)
        for one in (small, few)
    ]
    whole = network.decode(network.embed(None, larger[0]), larger[1], [])
    assert torch.allclose(logits[..., 0, 0], whole[..., 0, 0], atol=1e-5)


def test_a_file_is_the_network_that_was_saved(tmp_path: Path) -> None:
    network = built()
    save_model(tmp_path / "a.safetensors", network, sizes=SIZES, kind=KIND, extra={})
    read, _ = load_model(tmp_path / "a.safetensors")
    assert isinstance(read, SimpleClick)
    for name, value in network.state_dict().items():
        assert torch.equal(read.state_dict()[name], value)
    assert not read.training
