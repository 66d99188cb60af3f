import pytest
import torch

from adclick.networks.inputs import residual_tokens


def _signed(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_plain_tokens_are_the_square_with_channels_first() -> None:
    residual = torch.tensor([[[[1.0, -2.0], [3.0, 0.5]]]])  # 1 image, 1 row, 2 columns, 2 channels
    expected = torch.tensor([[[[1.0, 9.0]], [[4.0, 0.25]]]])
    assert torch.equal(residual_tokens(residual), expected)


def test_every_step_by_hand() -> None:
    residual = torch.tensor([2.0, -4.0, 6.0, 1.0]).reshape(1, 1, 1, 4)
    scale = torch.tensor([2.0, 2.0, 1.0, 4.0])
    # squares 4 16 36 1, divided 2 8 36 .25, clamped 2 8 10 .25, pair means 5 5.125
    tokens = residual_tokens(residual, scale, groups=2, clamp=10.0, log=True)
    assert torch.allclose(tokens.flatten(), torch.log(torch.tensor([6.0, 6.125])))


def test_half_precision_is_squared_as_single_precision() -> None:
    residual = torch.full((1, 1, 1, 1), 300.0, dtype=torch.float16)  # 90000 overflows float16
    tokens = residual_tokens(residual)
    assert tokens.dtype == torch.float32
    assert tokens.item() == 90000.0


def test_sign_does_not_matter_and_doubling_quadruples() -> None:
    residual = _signed((2, 3, 3, 6))
    tokens = residual_tokens(residual)
    assert torch.equal(tokens, residual_tokens(-residual))
    assert torch.equal(4 * tokens, residual_tokens(2 * residual))


def test_scale_may_be_one_for_all_images_or_one_an_image() -> None:
    residual = _signed((2, 3, 3, 4))
    scales = _signed((2, 4), seed=1).square()
    together = residual_tokens(residual, scales, groups=2, log=True)
    apart = [residual_tokens(residual[i : i + 1], scales[i], groups=2, log=True) for i in range(2)]
    assert torch.allclose(together, torch.cat(apart))


def test_channel_without_normal_variation_stays_finite() -> None:
    tokens = residual_tokens(_signed((1, 2, 2, 3)), torch.zeros(3))
    assert torch.isfinite(tokens).all()


def test_uneven_groups_average_as_adaptive_pooling_does() -> None:
    residual = _signed((1, 2, 2, 5))
    squares = residual.square()
    slow = torch.stack([squares[..., 0:3].mean(-1), squares[..., 2:5].mean(-1)], dim=1)
    assert torch.allclose(residual_tokens(residual, groups=2), slow)


def test_input_is_left_as_it_was() -> None:
    residual = _signed((1, 2, 2, 4))
    before = residual.clone()
    residual_tokens(residual, torch.ones(4), groups=2, clamp=0.1, log=True)
    assert torch.equal(residual, before)


def test_groups_are_divided_after_they_are_averaged_by_hand() -> None:
    residual = torch.tensor([2.0, -4.0, 6.0, 1.0]).reshape(1, 1, 1, 4)
    scale = torch.tensor([3.0, 2.0, 0.001, 1.999])
    # squares 4 16 36 1, pair means 10 18.5; of the scales 2.5 1; clamped 4 10
    tokens = residual_tokens(residual, scale, normalise="group", groups=2, clamp=10.0, log=True)
    assert torch.allclose(tokens.flatten(), torch.log(torch.tensor([5.0, 11.0])))


def test_a_channel_that_hardly_varies_does_not_drown_its_group() -> None:
    scale = torch.tensor([1e-5, 1.0])
    quiet, loud = (torch.tensor([0.1, size]).reshape(1, 1, 1, 2) for size in (1.0, 3.0))

    def ratio(normalise: str) -> float:
        found = [
            residual_tokens(one, scale, normalise=normalise, groups=1) for one in (loud, quiet)
        ]  # pyright: ignore
        return float(found[0] / found[1])

    assert ratio("group") > 8
    assert ratio("channel") < 1.1


def test_normalisation_by_groups_is_that_by_channels_when_each_is_its_own() -> None:
    residual, scale = _signed((2, 3, 3, 4)), _signed((2, 4), seed=1).square()
    by_group = residual_tokens(residual, scale, normalise="group", groups=4)
    assert torch.allclose(by_group, residual_tokens(residual, scale))
    with pytest.raises(ValueError, match="needs their number"):
        residual_tokens(residual, scale, normalise="group")


def test_more_groups_than_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="groups is 8"):
        residual_tokens(_signed((1, 2, 2, 4)), groups=8)
