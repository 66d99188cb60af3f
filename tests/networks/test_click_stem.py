import pytest
import torch

from adclick.networks.checkpoints import seeded
from adclick.networks.click_stem import ClickStem


def _disk_clicks(channel: int) -> torch.Tensor:
    clicks = torch.zeros(1, 3, 16, 16)
    rows, columns = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    clicks[0, channel] = ((rows - 4) ** 2 + (columns - 4) ** 2 <= 9).float()
    return clicks


def test_visible_weights_are_constant_over_the_patch() -> None:
    weight = seeded(ClickStem, 0, dim=8, patch=8, init="visible").projection.weight
    assert torch.equal(weight, weight[:, :, :1, :1].expand_as(weight))


def test_token_is_weight_times_disk_area_and_stays_in_its_patch() -> None:
    stem = seeded(ClickStem, 0, dim=8, patch=8, init="visible")
    clicks = _disk_clicks(1)
    tokens = stem(clicks)
    area = clicks.sum()
    assert area == 29
    assert torch.allclose(tokens[0, :, 0, 0], stem.projection.weight[:, 1, 0, 0] * area, atol=1e-5)
    assert torch.count_nonzero(tokens[0, :, 1, 1]) == 0


def test_visible_deviations_are_those_of_the_small_config() -> None:
    weight = seeded(ClickStem, 0, dim=20000, patch=8, init="visible").projection.weight[..., 0, 0]
    assert torch.allclose(weight.std(dim=0), torch.tensor([1 / 64, 1 / 12, 1 / 12]), rtol=0.03)
    assert weight.mean(dim=0).abs().max() < 0.003


def test_diffused_clicks_have_weights_like_the_previous_probability() -> None:
    weight = seeded(ClickStem, 0, dim=20000, patch=8, init="visible", cells=8).projection.weight
    expected = torch.tensor([1 / 64, 1 / 12, 1 / 12, 1 / 64, 1 / 64])
    assert torch.allclose(weight[..., 0, 0].std(dim=0), expected, rtol=0.03)


def test_no_click_adds_nothing_when_visible() -> None:
    stem = seeded(ClickStem, 0, dim=8, patch=8, init="visible")
    assert torch.count_nonzero(stem(torch.zeros(2, 3, 16, 16))) == 0


def test_one_disk_is_seen_far_better_than_with_default_weights() -> None:
    clicks = _disk_clicks(2)
    size = {}
    for init in ("visible", "default"):
        stem = seeded(ClickStem, 0, dim=256, patch=8, init=init)
        change = stem(clicks) - stem(torch.zeros_like(clicks))
        size[init] = change[0, :, 0, 0].square().mean().sqrt()
    assert size["visible"] > 1.5
    assert size["visible"] > 5 * size["default"]


def test_positive_and_negative_disks_differ() -> None:
    stem = seeded(ClickStem, 0, dim=8, patch=8, init="visible")
    assert not torch.allclose(stem(_disk_clicks(1)), stem(_disk_clicks(2)))


def test_unknown_init_is_refused() -> None:
    with pytest.raises((TypeError, ValueError)):  # the type check of the tests may come first
        ClickStem(dim=8, patch=8, init="loud")  # pyright: ignore[reportArgumentType]
