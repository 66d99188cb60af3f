import pytest
import torch
from torch.nn import functional

from adclick.networks.resizing import by_products, resized


@pytest.mark.parametrize("size", [(32, 32), (12, 40), (8, 6), (5, 7), (64, 16)])
def test_products_are_bilinear_resizing_and_so_is_their_gradient(size: tuple[int, int]) -> None:
    maps = torch.randn(2, 3, 8, 10, dtype=torch.float64, requires_grad=True)
    same = maps.detach().clone().requires_grad_()
    expected = functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)
    found = by_products(same, size)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    draws = torch.randn_like(expected)
    (expected * draws).sum().backward()
    (found * draws).sum().backward()
    torch.testing.assert_close(same.grad, maps.grad, atol=1e-5, rtol=0)


def test_maps_of_their_own_size_stay_as_they_are() -> None:
    maps = torch.randn(1, 2, 8, 8)
    assert resized(maps, (8, 8)) is maps
    expected = functional.interpolate(maps, size=(16, 4), mode="bilinear", align_corners=False)
    assert torch.equal(resized(maps, (16, 4)), expected)
