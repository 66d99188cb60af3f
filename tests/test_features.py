import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import load_file, save_file

from adclick import features
from adclick.errors import InputError
from adclick.features import Backbone, extract, load_backbone
from tests.conftest import SHARED

WEIGHTS = SHARED / "weights" / "resnet18_tv_in1k_layers123.safetensors"


def seeded(seed: int = 0, layers: tuple[int, ...] = (1, 2)) -> Backbone:
    return load_backbone("resnet18", layers=layers, source="seeded", seed=seed)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return seeded()


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)


@pytest.fixture
def weights_file(backbone: Backbone, tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    save_file(
        {key: value.contiguous() for key, value in backbone.network.state_dict().items()}, path
    )
    return path


def load(file: Path, layers: tuple[int, ...] = (1, 2), sha256: str | None = None) -> Backbone:
    return load_backbone("resnet18", layers=layers, source="file", file=file, sha256=sha256)


def slow_pooled_neighbourhoods(plane: torch.Tensor, size: int, patch: int) -> torch.Tensor:
    """The neighbourhoods written out: channels * patch² values at every place, then pooled."""
    batch, _, height, width = plane.shape
    vectors = F.unfold(plane, patch, padding=patch // 2).transpose(1, 2)
    return F.adaptive_avg_pool1d(vectors, size).transpose(1, 2).reshape(batch, size, height, width)


def slow_patches(
    maps: list[torch.Tensor], grid: int, sizes: tuple[int, ...], dimension: int, patch: int
) -> torch.Tensor:
    """Neighbourhoods in full, resized, pooled a layer, joined, and pooled again: the recipe's own
    order.
    """
    layers = []
    for plane, size in zip(maps, sizes, strict=True):
        batch, channels, height, width = plane.shape
        planes = F.unfold(plane, patch, padding=patch // 2).reshape(batch, -1, height, width)
        planes = F.interpolate(planes, size=(grid, grid), mode="bilinear", align_corners=False)
        vectors = planes.flatten(2).transpose(1, 2)
        layers.append(F.adaptive_avg_pool1d(vectors, size))
    return F.adaptive_avg_pool1d(torch.cat(layers, dim=2), dimension).reshape(
        -1, grid, grid, dimension
    )


@pytest.mark.parametrize(
    ("channels", "size", "patch"),
    [(4, 4, 3), (4, 16, 3), (8, 6, 3), (3, 7, 3), (5, 45, 3), (6, 1, 3), (4, 8, 5), (4, 3, 1)],
)
def test_neighbourhoods_pool_as_if_written_out(channels: int, size: int, patch: int) -> None:
    plane = torch.randn(2, channels, 6, 5, generator=torch.Generator().manual_seed(0))
    found = features._pool_neighbourhoods(plane, size, patch)
    torch.testing.assert_close(found, slow_pooled_neighbourhoods(plane, size, patch))


def test_as_many_values_as_channels_are_the_local_means_by_hand() -> None:
    plane = torch.tensor([[[[9.0, 0.0, 0.0], [0.0, 0.0, 18.0]]]])
    found = features._pool_neighbourhoods(plane, 1, 3)
    torch.testing.assert_close(found, torch.tensor([[[[1.0, 3.0, 2.0], [1.0, 3.0, 2.0]]]]))


@pytest.mark.parametrize(
    ("grid", "sizes", "dimension", "patch"),
    [(8, (64, 128), 192, 3), (8, (96, 40), 50, 3), (5, (64, 64), 7, 5)],
)
def test_patches_follow_the_recipe(
    backbone: Backbone,
    images: np.ndarray,
    grid: int,
    sizes: tuple[int, ...],
    dimension: int,
    patch: int,
) -> None:
    patches, layer1 = extract(
        backbone, images, grid=grid, layer_dimensions=sizes, dimension=dimension, patch=patch
    )
    maps = backbone(torch.from_numpy(images))
    assert patches.dtype == layer1.dtype == np.float32
    expected = slow_patches(maps, grid, sizes, dimension, patch)
    np.testing.assert_allclose(patches, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(layer1, maps[0].permute(0, 2, 3, 1))


def test_images_are_standardised_as_imagenet(backbone: Backbone, images: np.ndarray) -> None:
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    standard = (torch.from_numpy(images) / 255 - mean) / std
    expected = backbone.network(standard.permute(0, 3, 1, 2))
    for found, plane in zip(backbone(torch.from_numpy(images)), expected, strict=True):
        torch.testing.assert_close(found, plane, rtol=1e-4, atol=1e-4)


def test_one_image_has_the_same_features_in_any_batch(
    backbone: Backbone, images: np.ndarray
) -> None:
    both, _ = extract(backbone, images, grid=8, layer_dimensions=(64, 128), dimension=100)
    alone, _ = extract(backbone, images[1:], grid=8, layer_dimensions=(64, 128), dimension=100)
    np.testing.assert_allclose(both[1:], alone, rtol=1e-4, atol=1e-5)


def test_tensors_are_answered_by_tensors(backbone: Backbone, images: np.ndarray) -> None:
    settings = {"grid": 8, "layer_dimensions": (64, 128), "dimension": 10}
    as_arrays = extract(backbone, images, **settings)
    as_tensors = extract(backbone, torch.from_numpy(images), **settings)
    for array, tensor in zip(as_arrays, as_tensors, strict=True):
        assert isinstance(tensor, torch.Tensor)
        np.testing.assert_array_equal(array, tensor)


def test_features_are_never_pooled_up(backbone: Backbone, images: np.ndarray) -> None:
    with pytest.raises(ValueError, match="577 exceeds the 576"):
        extract(backbone, images, grid=8, layer_dimensions=(577, 128), dimension=10)
    with pytest.raises(ValueError, match="193 exceeds the 192"):
        extract(backbone, images, grid=8, layer_dimensions=(64, 128), dimension=193)
    with pytest.raises(ValueError, match="1 layer dimensions for 2"):
        extract(backbone, images, grid=8, layer_dimensions=(64,), dimension=10)
    with pytest.raises(ValueError, match="odd"):
        extract(backbone, images, grid=8, layer_dimensions=(64, 128), dimension=10, patch=2)


def test_the_backbone_is_frozen(backbone: Backbone) -> None:
    backbone.train()
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def test_seeded_weights_come_from_the_seed_alone(backbone: Backbone) -> None:
    state = torch.random.get_rng_state()
    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    again, other = seeded(), seeded(seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.random.set_rng_state(state)
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, again.state_dict()[key])
    assert not torch.equal(
        backbone.network.state_dict()["conv1.weight"], other.network.state_dict()["conv1.weight"]
    )


def test_seeded_layers_are_of_like_size(images: np.ndarray) -> None:
    squares = [
        float(plane.square().mean()) for plane in seeded(layers=(1, 2, 3))(torch.from_numpy(images))
    ]
    assert max(squares) < 4 * min(squares)


def test_a_file_gives_back_its_weights(
    backbone: Backbone, weights_file: Path, images: np.ndarray
) -> None:
    digest = hashlib.sha256(weights_file.read_bytes()).hexdigest()
    loaded = load(weights_file, sha256=digest)
    assert loaded.channels == (64, 128)
    for found, expected in zip(
        loaded(torch.from_numpy(images)), backbone(torch.from_numpy(images)), strict=True
    ):
        assert torch.equal(found, expected)


def test_a_file_of_the_complete_network_serves_too(weights_file: Path) -> None:
    weights = load_file(weights_file)
    save_file(weights | {"fc.bias": torch.zeros(1000)}, weights_file)
    assert load(weights_file, layers=(1,)).channels == (64,)


def test_a_file_that_does_not_fit_is_refused_by_its_first_key(
    weights_file: Path, tmp_path: Path
) -> None:
    weights = load_file(weights_file)
    with pytest.raises(InputError, match=r"lacks layer3\.0\.conv1\.weight"):
        load(weights_file, layers=(1, 2, 3))
    with pytest.raises(InputError, match="sha256"):
        load(weights_file, sha256="0" * 64)
    save_file(weights | {"bn1.bias": torch.zeros(3)}, weights_file)
    with pytest.raises(InputError, match=r"bn1\.bias is \(3,\), resnet18 needs \(64,\)"):
        load(weights_file)
    save_file(weights | {"module.bn1.bias": torch.zeros(64)}, weights_file)
    with pytest.raises(InputError, match=r"module\.bn1\.bias is no part of resnet18"):
        load(weights_file)
    weights_file.write_text("not weights")
    with pytest.raises(InputError, match="not a safetensors file"):
        load(weights_file)
    with pytest.raises(InputError, match="no weights file"):
        load(tmp_path / "absent.safetensors")
    with pytest.raises(InputError, match="needs the path"):
        load_backbone("resnet18", layers=(1,), source="file")


def test_an_unknown_network_or_layer_is_refused() -> None:
    with pytest.raises(InputError, match="no such network"):
        load_backbone("resnet1", layers=(1,), source="seeded")
    with pytest.raises(InputError, match="no such network or weights"):
        load_backbone("resnet18.absent", layers=(1,), source="hub")
    with pytest.raises(InputError, match="no layers"):
        load_backbone("resnet18", layers=(1, 9), source="seeded")


def test_weights_that_cannot_be_fetched_are_an_error_and_not_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unreachable(name: str, **settings: object) -> None:
        raise ConnectionError("Name or service not known\nmore lines")

    monkeypatch.setattr("timm.create_model", unreachable)
    with pytest.raises(InputError) as caught:
        load_backbone("resnet18.tv_in1k", layers=(1,), source="hub")
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "could not be reached",
        "Name or service not known",
        "source 'file'",
        "nothing was substituted",
    ):
        assert part in message


@pytest.mark.real_data
def test_published_weights_load_and_tell_real_pictures_apart() -> None:
    pretrained = load(WEIGHTS, layers=(1, 2, 3))
    assert pretrained.channels == (64, 128, 256)
    assert pretrained.network.state_dict()["layer3.0.bn1.bias"].mean().item() == pytest.approx(
        0.0972, abs=1e-4
    )
