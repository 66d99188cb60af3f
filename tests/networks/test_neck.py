import pytest
import torch

from adclick.networks.checkpoints import seeded
from adclick.networks.neck import LanguageInjection, SimplePyramid


def _tokens(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_levels_have_their_strides_and_channels() -> None:
    neck = seeded(SimplePyramid, 0, dim=8, channels=[3, 4, 5, 6], strides=[4, 8, 16, 32])
    shapes = [tuple(level.shape) for level in neck(_tokens(2, 8, 8, 8))]
    assert shapes == [(2, 3, 16, 16), (2, 4, 8, 8), (2, 5, 4, 4), (2, 6, 2, 2)]


def test_fewer_levels_are_the_same_levels() -> None:
    neck = seeded(SimplePyramid, 0, dim=8, channels=[4, 5], strides=[8, 16])
    assert [tuple(level.shape[1:]) for level in neck(_tokens(1, 8, 8, 8))] == [(4, 8, 8), (5, 4, 4)]


def test_a_level_is_positioned_over_its_tokens() -> None:
    neck = seeded(SimplePyramid, 0, dim=8, channels=[4, 4, 4], strides=[4, 8, 16])
    flat = _tokens(1, 8, 1, 1).expand(1, 8, 8, 8).clone()
    moved = flat.clone()
    moved[0, :, 5, 2] += 3.0
    for level, base, factor in zip(neck(moved), neck(flat), (2, 1, 0.5), strict=True):
        # GroupNorm shifts everything alike: the moved token's place changes most
        change = (level - base).abs().sum(dim=(0, 1))
        row, column = divmod(int(change.argmax()), change.shape[1])
        assert (int(row / factor), int(column / factor)) in {(5, 2), (4, 2)}


def test_wrong_strides_are_refused() -> None:
    for strides in ([8, 4], [4, 4], [4, 12]):
        with pytest.raises(ValueError, match="ascending"):
            SimplePyramid(dim=8, channels=[4, 4], strides=strides)
    with pytest.raises(ValueError, match="3 neck channels for 2"):
        SimplePyramid(dim=8, channels=[4, 4, 4], strides=[4, 8])


def test_injection_adds_to_each_map_what_its_language_says() -> None:
    injection = seeded(LanguageInjection, 0, language_channels=[2, 3], neck_channels=[4, 5])
    pyramid = [_tokens(1, 4, 8, 8), _tokens(1, 5, 4, 4)]
    maps = [_tokens(1, 2, 8, 8, seed=1), _tokens(1, 3, 4, 4, seed=2)]
    conv, norm, gelu = injection.levels[1]  # pyright: ignore[reportGeneralTypeIssues]
    expected = pyramid[1] + gelu(norm(conv(maps[1])))
    assert torch.equal(injection(pyramid, maps)[1], expected)


def test_injection_resizes_a_map_of_another_resolution() -> None:
    injection = seeded(LanguageInjection, 0, language_channels=[2], neck_channels=[4])
    coarse = _tokens(1, 2, 1, 1).expand(1, 2, 4, 4)
    fine = coarse[:, :, :1, :1].expand(1, 2, 8, 8)
    pyramid = [_tokens(1, 4, 8, 8)]
    assert torch.allclose(injection(pyramid, [coarse])[0], injection(pyramid, [fine])[0])


def test_one_pyramid_meets_many_prompts() -> None:
    injection = seeded(LanguageInjection, 0, language_channels=[2], neck_channels=[4])
    pyramid, maps = [_tokens(1, 4, 8, 8)], [_tokens(3, 2, 8, 8)]
    together = injection(pyramid, maps)[0]
    apart = [injection(pyramid, [maps[0][i : i + 1]])[0] for i in range(3)]
    assert torch.allclose(together, torch.cat(apart), atol=1e-6)


def test_a_silent_start_adds_nothing_and_learns() -> None:
    injection = LanguageInjection(language_channels=[4], neck_channels=[8], init="silent")
    pyramid, maps = [torch.rand(1, 8, 4, 4)], [torch.rand(1, 4, 4, 4)]
    (silent,) = injection(pyramid, maps)
    assert torch.equal(silent, pyramid[0])
    silent.square().sum().backward()
    weight = injection.levels[0][1].weight
    assert weight.grad.abs().min() > 0
    (loud,) = LanguageInjection(language_channels=[4], neck_channels=[8])(pyramid, maps)
    assert not torch.equal(loud, pyramid[0])
