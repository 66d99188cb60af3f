import numpy as np
import pytest
import torch

from adclick.residuals import strips
from adclick.residuals.backbone import Backbone, load_backbone
from adclick.residuals.streaming import features_of, first_map_of

USE = {"stride": 8, "layer_dimensions": (32, 32, 32), "dimension": 64}


@pytest.fixture(scope="module", params=["resnet18", "resnet50"])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def backbone_of(name: str, **sizes: int) -> Backbone:
    return load_backbone(name, layers=(1, 2, 3), source="seeded", **sizes)


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("shape", "sizes"), [
    ((704, 96), {}), ((64, 816), {}), ((512, 64), {"input_px": 96, "size_px": 64}),
])  # fmt: skip
def test_strips_agree_with_the_whole(
    name: str, shape: tuple[int, int], sizes: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone, image = backbone_of(name, **sizes), picture(*shape)
    whole = features_of(backbone, image[None], **USE)
    calls = []
    monkeypatch.setattr(strips, "LARGE_PIXELS", 1)
    monkeypatch.setattr(strips, "STRIP_PIXELS", 1)
    forward = backbone.network.forward
    monkeypatch.setattr(
        backbone.network, "forward", lambda batch: calls.append(batch.shape) or forward(batch)
    )
    cut = features_of(backbone, image[None], **USE)
    assert len(calls) > 3
    for found, expected in zip(cut, whole, strict=True):
        assert found.shape == expected.shape
        scale = np.abs(expected).max()
        # Enlarging a noisy picture rounds, by where in a strip a pixel lies.
        np.testing.assert_allclose(found, expected, atol=(5e-4 if sizes else 2e-5) * scale)
    np.testing.assert_array_equal(first_map_of(backbone, image[None]), cut[1])


def test_too_narrow_a_margin_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, image = backbone_of("resnet18"), picture(704, 64)
    whole, _ = features_of(backbone, image[None], **USE)
    for setting in ("LARGE_PIXELS", "STRIP_PIXELS", "MARGIN_PX"):
        monkeypatch.setattr(strips, setting, 1)
    cut, _ = features_of(backbone, image[None], **USE)
    assert np.abs(cut - whole).max() > 1e-3 * np.abs(whole).max()


def test_a_transformer_sees_its_picture_whole() -> None:
    network = torch.nn.Identity()
    assert not strips.is_cut(Backbone(network, channels=[3], patch=14), (4000, 6000))
    assert strips.is_cut(Backbone(network, channels=[3]), (4000, 6000))
    assert not strips.is_cut(Backbone(network, channels=[3]), (1024, 1024))
