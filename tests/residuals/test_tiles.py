import weakref

import numpy as np
import pytest
import torch

from adclick.residuals import streaming, tiles
from adclick.residuals.backbone import Backbone, load_backbone
from adclick.residuals.streaming import (
    feature_shapes,
    features_of,
    first_map_of,
    stream_features,
)
from tests.chain import micro_config

USE = {"stride": 8, "layer_dimensions": (32, 32, 32), "dimension": 64}


@pytest.fixture(scope="module", params=["resnet18", "resnet50"])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def backbone_of(name: str, **sizes: int) -> Backbone:
    return load_backbone(name, layers=(1, 2, 3), source="seeded", **sizes)


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("shape", "sizes", "most", "count"), [
    ((704, 96), {}, 448 * 96, 6),
    ((64, 816), {}, 448 * 64, 7),
    ((864, 896), {}, 640 * 640, 9),
    ((704, 64), {"input_px": 96, "size_px": 64}, 576 * 64, 4),
])  # fmt: skip
def test_tiles_agree_with_the_whole(
    name: str,
    shape: tuple[int, int],
    sizes: dict,
    most: int,
    count: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backbone, image = backbone_of(name, **sizes), picture(*shape)
    whole = features_of(backbone, image[None], **USE)
    calls = []
    monkeypatch.setattr(tiles, "MOST_PIXELS", most)
    forward = backbone.network.forward
    monkeypatch.setattr(
        backbone.network, "forward", lambda batch: calls.append(batch.shape) or forward(batch)
    )
    cut = features_of(backbone, image[None], **USE)
    enlarged = backbone.enlargement
    assert len(calls) == count + 1  # and one that says how far apart places lie
    assert max(shape[2] * shape[3] for shape in calls) <= most * enlarged**2
    for found, expected in zip(cut, whole, strict=True):
        assert found.shape == expected.shape
        scale = np.abs(expected).max()
        # Enlarging a noisy picture rounds, by where in a tile a pixel lies.
        np.testing.assert_allclose(found, expected, atol=(5e-4 if sizes else 2e-5) * scale)
    np.testing.assert_array_equal(first_map_of(backbone, image[None]), cut[1])


@pytest.mark.parametrize("sizes", [(8, 7), (7, 8), (5, 4), (4, 7), (3, 4), (1, 1)])
@pytest.mark.parametrize("length", [1304, 1608, 2024, 2256])
def test_tiles_lie_where_they_belong_at_any_enlargement(
    length: int, sizes: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a picture's end is no whole number of places, those of its last tile are rounded."""
    backbone = Backbone(
        torch.nn.Identity(), channels=[3], input_px=64 * sizes[0], size_px=64 * sizes[1]
    )
    monkeypatch.setattr(tiles, "MOST_PIXELS", 800 * 64)
    high, low = np.divmod(np.arange(length), 256)  # a pixel tells its row
    image = np.stack([high, low, low], axis=1).astype(np.uint8)[:, None].repeat(64, axis=1)
    scale = sizes[0] / sizes[1]

    def compute(pixels: np.ndarray) -> tuple[np.ndarray]:
        places = [range(0, backbone._input_length(side), 4) for side in pixels.shape[1:3]]
        rows, columns = (
            np.minimum((np.array(one) / scale).astype(int), side - 1)
            for one, side in zip(places, pixels.shape[1:3], strict=True)
        )
        told = pixels[:, rows][:, :, columns].astype(np.float32)
        return (256 * told[..., :1] + told[..., 1:2],)

    (found,), (whole,) = tiles.in_tiles(backbone, image, compute), compute(image[None])
    assert found.shape == whole[0].shape
    np.testing.assert_allclose(found, whole[0], atol=1)


def test_too_narrow_a_margin_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, image = backbone_of("resnet18"), picture(704, 64)
    whole, _ = features_of(backbone, image[None], **USE)
    monkeypatch.setattr(tiles, "MOST_PIXELS", 128 * 64)
    monkeypatch.setattr(tiles, "MARGIN_PX", 1)
    cut, _ = features_of(backbone, image[None], **USE)
    assert np.abs(cut - whole).max() > 1e-3 * np.abs(whole).max()


@pytest.mark.parametrize(
    "shape", [(4000, 6000), (2000, 2512), (256, 20000), (8000, 1024), (9000, 9000)]
)
def test_margins_cost_a_third_at_most(shape: tuple[int, int]) -> None:
    """Where tiles were strips across a wide picture, they were computed more than twice over."""
    backbone = Backbone(torch.nn.Identity(), channels=[3])
    cut = list(tiles._tiles(shape, backbone))
    extents = [[one.stop - one.start for one in tile] for tile in cut]
    computed = [height * width for height, width in extents]
    assert max(computed) <= tiles.MOST_PIXELS
    assert sum(computed) <= 1.35 * shape[0] * shape[1]
    own = sum(np.prod([one.last - one.first for one in tile]) for tile in cut)
    assert own == shape[0] * shape[1]


def test_a_transformer_sees_its_picture_whole() -> None:
    network = torch.nn.Identity()
    assert not tiles.is_cut(Backbone(network, channels=[3], patch=14), (4000, 6000))
    assert tiles.is_cut(Backbone(network, channels=[3]), (4000, 6000))
    assert not tiles.is_cut(Backbone(network, channels=[3]), (2048, 2048))


@pytest.mark.parametrize("chosen", ["resnet18", "vit_tiny_patch16_224"])
def test_shapes_of_features_are_known_before_they_are_computed(chosen: str) -> None:
    settings = micro_config().features.model_copy(update={"backbone": chosen})
    backbone = load_backbone(chosen, layers=tuple(settings.layers), source="seeded")
    backbone.halved = True  # which is of no account to shapes
    (found,) = stream_features(backbone, picture(96, 64)[None], [0], settings)
    shapes = feature_shapes(backbone, (96, 64, 3), settings)
    assert shapes == {name: array.shape for name, array in found.items()}
    assert next(backbone.parameters()).device.type == "cpu"


def test_a_batch_is_let_go_of_before_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two pictures of 24 megapixels, both would take 2 GB."""
    given, alive = [], []

    def compute(backbone: Backbone, batch: np.ndarray, **settings: object) -> tuple:
        alive.append([one() for one in given if one() is not None])
        maps = np.zeros((1, 8, 8, 64), np.float32), np.zeros((1, 16, 16, 64), np.float32)
        given.extend(weakref.ref(one) for one in maps)
        return maps

    monkeypatch.setattr(streaming, "features_of", compute)
    settings = micro_config().features.model_copy(update={"batch_size": 1})
    pictures = np.zeros((3, 64, 64, 3), np.uint8)
    for found in stream_features(backbone_of("resnet18"), pictures, range(3), settings):
        assert found["patches"].shape == (8, 8, 64)
        del found
    assert alive == [[], [], []]
