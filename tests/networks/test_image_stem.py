import pytest
import torch

from adclick.networks.checkpoints import seeded
from adclick.networks.image_stem import ImageStem, build_image_stem


def _stem(**changes: object) -> ImageStem:
    return seeded(ImageStem, 0, **({"dim": 16, "channels": [4, 6, 8]} | changes))


def _picture(batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def test_maps_have_strides_2_4_8_and_tokens_the_last() -> None:
    stem = _stem()
    assert [tuple(one.shape[1:]) for one in stem.maps(_picture())] == [
        (4, 32, 32),
        (6, 16, 16),
        (8, 8, 8),
    ]
    assert stem(_picture()).shape == (2, 16, 8, 8)
    assert stem.stride == 8
    assert _stem(channels=[4, 6]).stride == 4


@torch.no_grad()
def test_forward_is_the_tokens_of_the_last_map() -> None:
    stem, picture = _stem(), _picture()
    assert torch.equal(stem(picture), stem.tokens(stem.maps(picture)[-1]))


@torch.no_grad()
def test_tokens_are_layer_normalised_so_that_none_drowns_the_residuals() -> None:
    tokens = _stem()(_picture() * 100)
    assert torch.allclose(tokens.mean(1), torch.zeros(2, 8, 8), atol=1e-5)
    assert torch.allclose(tokens.var(1, unbiased=False), torch.ones(2, 8, 8), atol=1e-2)


@torch.no_grad()
def test_a_change_in_the_picture_is_seen_where_it_is() -> None:
    stem, picture = _stem(), _picture(1)
    changed = picture.clone()
    changed[:, :, 40:48, 8:16] += 3
    moved = (stem(changed) - stem(picture)).abs().mean(1)[0]
    near = torch.zeros(8, 8, dtype=torch.bool)
    near[4:7, 0:3] = True
    assert moved[near].mean() > 3 * moved[~near].mean()


def test_every_parameter_gets_a_gradient() -> None:
    stem = _stem()
    (stem(_picture()) ** 3).sum().backward()
    assert [name for name, p in stem.named_parameters() if p.grad is None] == []


def test_no_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one level"):
        _stem(channels=[])


def test_a_stem_whose_tokens_miss_the_residuals_is_refused() -> None:
    assert build_image_stem(dim=16, channels=[4, 6, 8], stride=8).stride == 8
    with pytest.raises(ValueError, match=r"2 levels, so a stride of 4; tokens have 8"):
        build_image_stem(dim=16, channels=[4, 6], stride=8)
