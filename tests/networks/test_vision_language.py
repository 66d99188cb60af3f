import pytest
import torch
from torch import Tensor
from torch.nn import functional

from adclick.networks.checkpoints import seeded
from adclick.networks.vision_language import (
    LanguageGate,
    PixelWordAttention,
    VisionLanguageSwin,
    language_parts,
    normalise_image,
)

SIZES = {
    "image_px": 64,
    "embed_dim": 8,
    "depths": [1, 1, 1, 1],
    "heads": [1, 2, 2, 2],
    "window": 4,
    "text_channels": 6,
}


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _attention(heads: int = 1) -> PixelWordAttention:
    return seeded(PixelWordAttention, 0, dim=8, text_channels=6, heads=heads)


def _swin(*, trainable: str = "all", stages: int = 4, drop_path: float = 0.0) -> VisionLanguageSwin:
    return seeded(
        VisionLanguageSwin, 0, **SIZES, trainable=trainable, stages=stages, drop_path=drop_path
    )


def _text(batch: int = 2, seed: int = 1) -> tuple[Tensor, Tensor]:
    mask = torch.ones(batch, 5)
    mask[:, 3:] = 0
    return _draw(batch, 6, 5, seed=seed), mask


def _slow_fusion(module: PixelWordAttention, pixels: Tensor, text: Tensor, mask: Tensor) -> Tensor:
    """F of one image, word by word and pixel by pixel; [position dim]."""

    def over_positions(rows: Tensor) -> Tensor:
        return (rows - rows.mean(0)) / (rows.var(0, unbiased=False) + 1e-5).sqrt()

    words = [index for index in range(len(mask)) if mask[index] > 0]
    query = over_positions(torch.stack([module.query(pixel) for pixel in pixels]))
    head_dim = pixels.shape[1] // module.heads
    readings = []
    for position in range(len(pixels)):
        parts = []
        for head in range(module.heads):
            part = slice(head * head_dim, (head + 1) * head_dim)
            keys = [module.key(text[:, word])[part] for word in words]
            values = [module.value(text[:, word])[part] for word in words]
            dots = torch.stack([query[position, part] @ key for key in keys])
            weights = (dots / pixels.shape[1] ** 0.5).exp()
            weights = weights / weights.sum()
            parts.append(sum(w * v for w, v in zip(weights, values, strict=True)))
        readings.append(module.reading(torch.cat(parts)))
    gate = over_positions(torch.stack(readings))
    return functional.gelu(module.output(functional.gelu(module.visual(pixels)) * gate))


@pytest.mark.parametrize("heads", [1, 2])
@torch.no_grad()
def test_fusion_equals_the_formula_word_by_word(heads: int) -> None:
    module, pixels, (text, mask) = _attention(heads), _draw(2, 9, 8), _text()
    fast = module(pixels, text, mask)
    for index in range(2):
        slow = _slow_fusion(module, pixels[index], text[index], mask[index])
        assert torch.allclose(fast[index], slow, atol=1e-5)


@torch.no_grad()
def test_text_of_one_word_reads_zero_everywhere() -> None:
    module, pixels, (text, _) = _attention(), _draw(2, 9, 8), _text()
    single = torch.tensor([[1.0, 0, 0, 0, 0]]).expand(2, 5)
    assert module.read(pixels, text, single).abs().max() < 1e-3
    bias_alone = functional.gelu(module.output.bias).expand(2, 9, 8)
    assert torch.allclose(module(pixels, text, single), bias_alone, atol=1e-3)
    assert module.read(pixels, text, _text()[1]).abs().max() > 0.1


@torch.no_grad()
def test_text_without_words_is_finite() -> None:
    reading = _attention().read(_draw(2, 9, 8), _text()[0], torch.zeros(2, 5))
    assert reading.abs().max() < 1e-3


@torch.no_grad()
def test_padding_changes_nothing() -> None:
    module, pixels, (text, mask) = _attention(), _draw(2, 9, 8), _text()
    noisy = text.clone()
    noisy[:, :, 3:] = 100 * _draw(2, 6, 2, seed=5)
    expected = module(pixels, text, mask)
    assert torch.allclose(module(pixels, noisy, mask), expected, atol=1e-6)
    assert torch.allclose(module(pixels, text[..., :3], mask[:, :3]), expected, atol=1e-6)


def test_gradients_reach_words_and_pixels_but_no_padding() -> None:
    module, pixels, (text, mask) = _attention(), _draw(2, 9, 8), _text()
    pixels.requires_grad_()
    text.requires_grad_()
    (module(pixels, text, mask) * _draw(2, 9, 8, seed=3)).sum().backward()
    assert (text.grad[..., :3].abs().amax(dim=1) > 0).all()
    assert not text.grad[..., 3:].any()
    assert (pixels.grad.abs().amax(dim=2) > 0).all()


@torch.no_grad()
def test_order_of_words_changes_nothing() -> None:
    module, pixels, (text, mask) = _attention(), _draw(2, 9, 8), _text()
    order = torch.tensor([4, 2, 0, 3, 1])
    permuted = module(pixels, text[..., order], mask[:, order])
    assert torch.allclose(permuted, module(pixels, text, mask), atol=1e-6)


@torch.no_grad()
def test_reading_has_zero_mean_over_positions() -> None:
    reading = _attention().read(_draw(2, 9, 8), *_text())
    assert reading.mean(dim=1).abs().max() < 1e-5


@torch.no_grad()
def test_gate_by_hand() -> None:
    gate = LanguageGate(dim=2)
    gate.first.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
    gate.second.weight.copy_(torch.tensor([[0.5, 9.0], [1.0, 0.0]]))
    fused = torch.tensor([[[2.0, 3.0]]])  # relu(W1 F) = (2, 0), W2 of it = (1, 2)
    expected = torch.tanh(torch.tensor([1.0, 2.0])) * fused
    assert torch.allclose(gate(fused), expected)
    assert gate.first.bias is None
    assert gate.second.bias is None


@torch.no_grad()
def test_maps_have_strides_four_to_thirty_two_and_are_layer_normalised() -> None:
    maps = _swin()(_draw(2, 3, 64, 64), *_text())
    assert [tuple(m.shape) for m in maps] == [
        (2, 8, 16, 16), (2, 16, 8, 8), (2, 32, 4, 4), (2, 64, 2, 2)
    ]  # fmt: skip
    assert all(m.mean(dim=1).abs().max() < 1e-5 for m in maps)


@torch.no_grad()
def test_first_stages_alone_equal_those_of_the_whole() -> None:
    whole, part = _swin(), _swin(stages=2)
    weights = whole.state_dict()
    part.load_state_dict({name: weights[name] for name in part.state_dict()})
    image, (text, mask) = _draw(2, 3, 64, 64), _text()
    expected = whole(image, text, mask)[:2]
    for ours, theirs in zip(part(image, text, mask), expected, strict=True):
        assert torch.equal(ours, theirs)


@torch.no_grad()
def test_next_stage_gets_tokens_plus_gated_fusion_before_merging() -> None:
    swin, (text, mask) = _swin(stages=2), _text()
    image = _draw(2, 3, 64, 64)
    first, second = swin.stages
    tokens = swin.patch_norm(swin.patch_embed(image).permute(0, 2, 3, 1))
    seen = first.blocks(tokens)
    fused = first.fusion(seen.flatten(1, 2), text, mask)
    gated = seen + (first.gate.second(first.gate.first(fused).relu()).tanh() * fused).view_as(seen)
    seen = second.blocks(second.merge(gated))
    expected = second.norm(second.fusion(seen.flatten(1, 2), text, mask)).view_as(seen)
    assert torch.allclose(swin(image, text, mask)[1], expected.permute(0, 3, 1, 2), atol=1e-5)


@torch.no_grad()
def test_one_image_with_many_texts_equals_each_alone() -> None:
    swin, image, (text, mask) = _swin(), _draw(1, 3, 64, 64), _text(batch=3)
    together = swin(image, text, mask)
    for index in range(3):
        alone = swin(image, text[index : index + 1], mask[index : index + 1])
        for ours, theirs in zip(together, alone, strict=True):
            assert torch.allclose(ours[index], theirs[0], atol=1e-4)


@torch.no_grad()
def test_two_texts_give_maps_that_differ_by_more_than_a_hundredth() -> None:
    swin, image = _swin(), _draw(2, 3, 64, 64)
    for one, other in zip(swin(image, *_text(seed=1)), swin(image, *_text(seed=2)), strict=True):
        assert (one - other).norm() > 0.01 * one.norm()


def test_frozen_branch_trains_its_fusions_alone_and_gradients_pass_through() -> None:
    swin = _swin(trainable="pwam")
    assert sum(p.numel() for p in swin.parameters() if p.requires_grad) == sum(
        4 * d * d + 2 * 6 * d + 6 * d for d in swin.dims
    )
    swin(_draw(2, 3, 64, 64), *_text())[-1].square().sum().backward()
    for name, parameter in swin.named_parameters():
        assert (parameter.grad is not None) == (".fusion." in name), name
    first = swin.stages[0].fusion.value.weight.grad  # reached through frozen later stages
    assert first is not None
    assert first.abs().sum() > 0


def test_a_frozen_swin_may_train_all_that_language_adds() -> None:
    swin = _swin(trainable="language")
    swin(_draw(2, 3, 64, 64), *_text())[-1].square().sum().backward()
    trained = {name for name, parameter in swin.named_parameters() if parameter.grad is not None}
    added = language_parts(swin.state_dict())
    assert trained == added - {
        f"stages.{stage}.norm.{part}" for stage in range(3) for part in ("weight", "bias")
    }
    assert {name.split(".")[2] for name in added} == {"fusion", "gate", "norm"}
    assert not any(".blocks." in name or ".merge." in name for name in added)


def test_frozen_branch_stays_in_evaluation_mode() -> None:
    image, (text, mask) = _draw(2, 3, 64, 64), _text()
    modes = ("pwam", "language", "all")
    *frozen, free = (_swin(trainable=t, drop_path=0.5).train() for t in modes)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        for one in frozen:
            assert torch.equal(one(image, text, mask)[-1], one(image, text, mask)[-1])
        assert not torch.equal(free(image, text, mask)[-1], free(image, text, mask)[-1])


def test_free_branch_gets_gradients_everywhere() -> None:
    swin = _swin()
    sum(m.square().sum() for m in swin(_draw(2, 3, 64, 64), *_text())).backward()
    without = [name for name, p in swin.named_parameters() if p.grad is None]
    assert without == []


def test_mask_may_be_boolean() -> None:
    swin, image, (text, mask) = _swin(stages=1), _draw(2, 3, 64, 64), _text()
    assert torch.equal(swin(image, text, mask)[0], swin(image, text, mask.bool())[0])


def test_normalised_image_by_hand() -> None:
    image = torch.tensor([[[[255, 0, 51]]]], dtype=torch.uint8)
    expected = [(1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (0.2 - 0.406) / 0.225]
    assert torch.allclose(normalise_image(image).flatten(), torch.tensor(expected))


def test_sizes_that_do_not_fit_are_refused() -> None:
    for change, message in (
        ({"stages": 5}, "5 language stages"),
        ({"image_px": 32}, "coarsest stride 32"),
        ({"image_px": 100}, "coarsest stride 32"),
    ):
        with pytest.raises(ValueError, match=message):
            VisionLanguageSwin(**(SIZES | {"stages": 4, "trainable": "all"} | change))
    with pytest.raises(ValueError, match="fusion heads"):
        PixelWordAttention(dim=8, text_channels=6, heads=3)
