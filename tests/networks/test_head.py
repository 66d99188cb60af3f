import torch
from torch.nn import functional

from adclick.networks.checkpoints import seeded
from adclick.networks.head import PyramidHead


def _pyramid(seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(2, 3, 16, 16), (2, 4, 8, 8), (2, 5, 4, 4)]
    return [torch.randn(shape, generator=generator) for shape in shapes]


def _head() -> PyramidHead:
    return seeded(PyramidHead, 0, channels=[3, 4, 5], hidden=6)


@torch.no_grad()
def test_logits_equal_resizing_and_concatenating_before_mixing() -> None:
    head, pyramid = _head().eval(), _pyramid()
    hidden = [
        functional.relu(conv(level)) for conv, level in zip(head.project, pyramid, strict=True)
    ]
    resized = [
        functional.interpolate(level, size=(16, 16), mode="bilinear", align_corners=False)
        for level in hidden
    ]
    slow = head.logit(functional.relu(head.mix(torch.cat(resized, dim=1))))
    assert torch.allclose(head(pyramid), slow, atol=1e-6)
    assert slow.shape == (2, 1, 16, 16)


def test_logit_layer_starts_small() -> None:
    head = seeded(PyramidHead, 0, channels=[3], hidden=4000)
    assert abs(head.logit.weight.std().item() - 0.01) < 0.001
    assert torch.count_nonzero(head.logit.bias) == 0  # pyright: ignore[reportArgumentType]


def test_whole_channels_drop_in_training_only() -> None:
    head, pyramid = _head(), _pyramid()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        trained = [head.train()(pyramid) for _ in range(8)]
        assert any(not torch.equal(trained[0], other) for other in trained[1:])
        assert torch.equal(head.eval()(pyramid), head(pyramid))


def test_every_level_has_a_say() -> None:
    head, pyramid = _head().eval(), [level.requires_grad_() for level in _pyramid()]
    head(pyramid).square().sum().backward()
    assert all(level.grad is not None and level.grad.abs().sum() > 0 for level in pyramid)
