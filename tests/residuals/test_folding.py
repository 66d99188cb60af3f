from collections.abc import Callable

import pytest
import torch
from torch import nn

from adclick.residuals.folding import fold_batch_norms

SAMPLE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Maps(nn.Module):
    """One convolution and one batch norm with statistics of its own, answering one map."""

    def __init__(self, convolution: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.norm = convolution, nn.BatchNorm2d(5)
        self.norm.train()(torch.randn(4, 5, 6, 6) * 3 + 2)
        nn.init.uniform_(self.norm.weight, 0.5, 2)
        nn.init.normal_(self.norm.bias)
        self.eval()

    def forward(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        return [self.norm(self.convolution(pictures)).relu()]


class SharedAnswer(Maps):
    def forward(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        answer = self.convolution(pictures)
        return [self.norm(answer) + answer]


class UsedTwice(Maps):
    def forward(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        both = (pictures, pictures.flip(3))
        return [self.norm(self.convolution(each)) for each in both]


class BetweenThem(Maps):
    def forward(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        return [self.norm(self.convolution(pictures).relu())]


class OwnWeight(nn.Conv2d):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self._conv_forward(input, self.weight / self.weight.std(), self.bias)


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("groups", [1, 5])
def test_a_norm_after_a_convolution_is_folded(bias: bool, groups: int) -> None:
    convolution = nn.Sequential(
        nn.Conv2d(3, 5, 1), nn.Conv2d(5, 5, 3, groups=groups, bias=bias, padding=1)
    )
    network = Maps(convolution)
    folded = fold_batch_norms(network, SAMPLE)
    assert (norms(network), norms(folded)) == (1, 0)
    other = SAMPLE * 2 + 1
    torch.testing.assert_close(folded(other)[0], network(other)[0], rtol=1e-4, atol=1e-5)
    for new, old in zip(folded(other), network(other), strict=True):
        assert (new - old).norm() <= 1e-6 * old.norm()


@pytest.mark.parametrize(
    "build",
    [
        lambda: SharedAnswer(nn.Conv2d(3, 5, 3)),
        lambda: UsedTwice(nn.Conv2d(3, 5, 3)),
        lambda: BetweenThem(nn.Conv2d(3, 5, 3)),
        lambda: Maps(OwnWeight(3, 5, 3)),
    ],
    ids=["answer used elsewhere", "both used twice", "something between", "weight of its own"],
)
def test_what_is_not_sure_is_left_alone(build: Callable[[], nn.Module]) -> None:
    network = build()
    before = network(SAMPLE)[0]
    folded = fold_batch_norms(network, SAMPLE)
    assert norms(folded) == 1
    assert torch.equal(folded(SAMPLE)[0], before)


def test_the_rest_is_folded_all_the_same() -> None:
    network = Maps(nn.Sequential(nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5), OwnWeight(5, 5, 3)))
    folded = fold_batch_norms(network, SAMPLE)
    assert (norms(network), norms(folded)) == (2, 1)
    torch.testing.assert_close(folded(SAMPLE)[0], network(SAMPLE)[0], rtol=1e-4, atol=1e-5)


def test_without_batch_norms_nothing_is_run() -> None:
    network = nn.Linear(3, 3)
    assert fold_batch_norms(network, SAMPLE) is network
