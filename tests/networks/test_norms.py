"""The spread computation of a norm is torch's own, but for the last digits."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from adclick.networks.norms import WholeNorm
from tests.training.test_loop import adclick, detector, plan
from tests.training.test_precision import answer

CPU = torch.device("cpu")


@pytest.fixture
def spread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a GPU."""
    monkeypatch.setattr(WholeNorm, "spread", True)
    return


def norms(channels: int) -> tuple[WholeNorm, nn.GroupNorm]:
    """Two norms of equal, drawn weights."""
    ours, plain = WholeNorm(channels), nn.GroupNorm(1, channels)
    generator = torch.Generator().manual_seed(0)
    for weight in plain.parameters():
        nn.init.normal_(weight, generator=generator)
    ours.load_state_dict(plain.state_dict())
    return ours, plain


def maps_like(channels: int, *, mean: float = 3.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn((3, channels, 9, 14), generator=generator) * 2 + mean


def passed(norm: nn.Module, maps: torch.Tensor) -> list[torch.Tensor]:
    """What comes out, and the gradients of the maps, of the scale and of the shift."""
    given = maps.detach().requires_grad_()
    found = norm(given)
    generator = torch.Generator().manual_seed(2)
    found.backward(torch.randn(found.shape, generator=generator).to(found.dtype))
    return [found.detach(), *(one.grad for one in (given, *norm.parameters()))]


def test_state_dicts_are_those_of_group_norm() -> None:
    ours, plain = norms(5)
    assert list(ours.state_dict()) == list(plain.state_dict()) == ["weight", "bias"]


def test_a_processor_computes_as_torch_does_to_the_last_bit() -> None:
    ours, plain = norms(5)
    for found, expected in zip(*(passed(one, maps_like(5)) for one in (ours, plain)), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.usefixtures("spread")
@pytest.mark.parametrize("channels", [1, 6])
@pytest.mark.parametrize("mean", [0.0, 3.0, 300.0])
def test_forward_and_gradients_are_those_of_group_norm(channels: int, mean: float) -> None:
    ours, plain = (passed(one, maps_like(channels, mean=mean)) for one in norms(channels))
    for found, expected in zip(ours, plain, strict=True):
        scale = max(1.0, float(expected.abs().max()))
        torch.testing.assert_close(found / scale, expected / scale, rtol=0, atol=1e-6 * (1 + mean))


@pytest.mark.usefixtures("spread")
def test_gradients_are_made_for_what_wants_them_alone() -> None:
    ours, plain = norms(6)
    for norm in (ours, plain):
        norm.weight.requires_grad_(requires_grad=False)
        norm(maps_like(6)).square().sum().backward()
        assert norm.weight.grad is None
    torch.testing.assert_close(ours.bias.grad, plain.bias.grad, rtol=1e-4, atol=0)


@pytest.mark.usefixtures("spread")
def test_maps_whose_channels_lie_last_are_the_same_maps() -> None:
    ours, _ = norms(6)
    apart = maps_like(6).to(memory_format=torch.channels_last)
    for found, expected in zip(passed(ours, apart), passed(norms(6)[0], maps_like(6)), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.usefixtures("spread")
def test_moments_of_maps_in_half_precision_are_those_in_float32() -> None:
    """Of values so large that bfloat16 would lose their differences."""
    ours, plain = norms(6)
    half = maps_like(6, mean=100.0).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = ours(half)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, plain(half.float()), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("build", [adclick, detector])
@pytest.mark.parametrize("autocast", [False, True])
def test_networks_answer_as_with_torchs_norms(
    build: type, autocast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logits and the gradient of the loss; half precision may round another way."""
    model = build().eval()
    model.train = lambda mode=True: model  # no dropout, whose draws would differ
    found = []
    for spread in (False, True):
        monkeypatch.setattr(WholeNorm, "spread", spread)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            found.append(answer(model, plan(click_rounds=1), CPU))
    (logits, gradient), (ours, our_gradient) = found
    assert not torch.equal(logits, ours)
    tolerance = 0.02 if autocast else 1e-4
    assert (ours - logits).norm() < tolerance * logits.norm()
    assert (our_gradient - gradient).norm() < (10 if autocast else 1) * tolerance * gradient.norm()
