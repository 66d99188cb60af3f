import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import load_file, save_file
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models.vision_transformer import checkpoint_filter_fn

from adclick.data.images import read_image
from adclick.residuals.backbone import (
    Backbone,
    LayerMaps,
    _build,
    _draw_weights,
    _outline,
    load_backbone,
)
from adclick.residuals.patches import _pool_neighbourhoods, extract, first_map
from adclick.run.errors import InputError
from tests.conftest import SHARED

TRANSFORMER = "vit_tiny_patch16_224"
WEIGHTS = SHARED / "weights" / "resnet18_tv_in1k_layers123.safetensors"


def seeded(seed: int = 0, layers: tuple[int, ...] = (1, 2)) -> Backbone:
    return load_backbone("resnet18", layers=layers, source="seeded", seed=seed)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return seeded()


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)


def drawn(name: str, layers: tuple[int, ...]) -> LayerMaps:
    """The seeded network before its batch norms are folded."""
    maps = _build(name, layers, _outline(name), pretrained=False, seed=0)
    _draw_weights(maps, 0)
    return maps.eval()


@pytest.fixture
def weights_file(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    save_file(drawn("resnet18", (1, 2)).network.state_dict(), path)
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
    found = _pool_neighbourhoods(plane, size, patch)
    torch.testing.assert_close(found, slow_pooled_neighbourhoods(plane, size, patch))


def test_as_many_values_as_channels_are_the_local_means_by_hand() -> None:
    plane = torch.tensor([[[[9.0, 0.0, 0.0], [0.0, 0.0, 18.0]]]])
    found = _pool_neighbourhoods(plane, 1, 3)
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
        backbone,
        images,
        grid=(grid, grid),
        layer_dimensions=sizes,
        dimension=dimension,
        patch=patch,
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
    both, _ = extract(backbone, images, grid=(8, 8), layer_dimensions=(64, 128), dimension=100)
    alone, _ = extract(backbone, images[1:], grid=(8, 8), layer_dimensions=(64, 128), dimension=100)
    np.testing.assert_allclose(both[1:], alone, rtol=1e-4, atol=1e-5)


def test_tensors_are_answered_by_tensors(backbone: Backbone, images: np.ndarray) -> None:
    settings = {"grid": (8, 8), "layer_dimensions": (64, 128), "dimension": 10}
    as_arrays = extract(backbone, images, **settings)
    as_tensors = extract(backbone, torch.from_numpy(images), **settings)
    for array, tensor in zip(as_arrays, as_tensors, strict=True):
        assert isinstance(tensor, torch.Tensor)
        np.testing.assert_array_equal(array, tensor)


def test_features_are_never_pooled_up(backbone: Backbone, images: np.ndarray) -> None:
    with pytest.raises(ValueError, match="577 exceeds the 576"):
        extract(backbone, images, grid=(8, 8), layer_dimensions=(577, 128), dimension=10)
    with pytest.raises(ValueError, match="193 exceeds the 192"):
        extract(backbone, images, grid=(8, 8), layer_dimensions=(64, 128), dimension=193)
    with pytest.raises(ValueError, match="1 layer dimensions for 2"):
        extract(backbone, images, grid=(8, 8), layer_dimensions=(64,), dimension=10)
    with pytest.raises(ValueError, match="odd"):
        extract(backbone, images, grid=(8, 8), layer_dimensions=(64, 128), dimension=10, patch=2)


def test_the_backbone_is_frozen(backbone: Backbone) -> None:
    backbone.train()
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


@pytest.mark.parametrize("name", ["resnet18", TRANSFORMER])
def test_seeded_weights_come_from_the_seed_alone(name: str) -> None:
    def weights(seed: int) -> dict[str, torch.Tensor]:
        return load_backbone(name, layers=(1,), source="seeded", seed=seed).state_dict()

    first = weights(0)
    state = torch.random.get_rng_state()
    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    again, other = weights(0), weights(1)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.random.set_rng_state(state)
    for key, value in first.items():
        assert torch.equal(value, again[key])
        assert value.dim() < 3 or not torch.equal(value, other[key])


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
    with pytest.raises(InputError, match="no layers"):
        load_backbone(TRANSFORMER, layers=(0, 12), source="seeded")


@pytest.mark.parametrize("name", ["resnet18.tv_in1k", "vit_small_patch14_reg4_dinov2.lvd142m"])
def test_weights_that_cannot_be_fetched_are_an_error_and_not_replaced(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = timm.create_model

    def unreachable(name: str, *, pretrained: bool = False, **settings: Any) -> torch.nn.Module:
        if pretrained:
            raise ConnectionError("Name or service not known\nmore lines")
        return create(name, **settings)

    monkeypatch.setattr("timm.create_model", unreachable)
    with pytest.raises(InputError) as caught:
        load_backbone(name, layers=(1,), source="hub")
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        name,
        "could not be reached",
        "Name or service not known",
        "source 'file'",
        "nothing was substituted",
    ):
        assert part in message


def slow_transformer_maps(
    weights: dict[str, torch.Tensor], images: np.ndarray, blocks: tuple[int, ...], px: int
) -> list[torch.Tensor]:
    """The maps of a tiny ViT written out; the position embedding as timm fits it to a picture."""
    network: Any = timm.create_model(TRANSFORMER, img_size=px).eval()
    fitted = checkpoint_filter_fn(dict(weights), network)
    network.load_state_dict(fitted, strict=False)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2) / 255 * 2 - 1
    tokens = network.patch_embed(pixels)
    tokens = torch.cat([network.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
    tokens = tokens + network.pos_embed
    maps = []
    for index, block in enumerate(network.blocks[: max(blocks) + 1]):
        tokens = block(tokens)
        if index in blocks:
            side = px // 16
            plane = network.norm(tokens)[:, 1:].reshape(-1, side, side, tokens.shape[2])
            maps.append(plane.permute(0, 3, 1, 2))
    return maps


def assert_maps_agree(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    assert len(found) == len(expected)
    for plane, other in zip(found, expected, strict=True):
        torch.testing.assert_close(plane, other, rtol=1e-4, atol=1e-4)


def test_a_transformers_maps_are_its_blocks_patch_tokens_normalised(images: np.ndarray) -> None:
    blocks = (0, 2)
    found = load_backbone(TRANSFORMER, layers=blocks, source="seeded")
    assert found.channels == (192, 192)
    weights = drawn(TRANSFORMER, blocks).network.state_dict()
    assert_maps_agree(
        found(torch.from_numpy(images)), slow_transformer_maps(weights, images, blocks, 64)
    )
    patches, first = extract(found, images, grid=(8, 8), layer_dimensions=(192, 100), dimension=60)
    assert (patches.shape, first.shape) == ((2, 8, 8, 60), (2, 4, 4, 192))


@pytest.mark.parametrize("side", [14, 6])
def test_a_file_may_hold_position_embeddings_of_any_size(
    side: int, images: np.ndarray, tmp_path: Path
) -> None:
    weights = drawn(TRANSFORMER, (0, 1)).network.state_dict()
    embedded = resample_abs_pos_embed(weights["pos_embed"], [side, side])
    weights["pos_embed"] = embedded.detach() * 2
    save_file(weights | {"head.bias": torch.zeros(1000)}, tmp_path / "vit.safetensors")
    found = load_backbone(
        TRANSFORMER, layers=(0, 1), source="file", file=tmp_path / "vit.safetensors"
    )
    expected = slow_transformer_maps(weights, images, (0, 1), 64)
    assert_maps_agree(found(torch.from_numpy(images)), expected)


def test_position_embeddings_of_no_square_are_refused(tmp_path: Path) -> None:
    weights = drawn(TRANSFORMER, (0,)).network.state_dict()
    weights["pos_embed"] = weights["pos_embed"][:, :-1].clone()
    save_file(weights, tmp_path / "vit.safetensors")
    with pytest.raises(InputError, match=r"pos_embed is \(1, 196, 192\), .* needs \(1, 197"):
        load_backbone(TRANSFORMER, layers=(0,), source="file", file=tmp_path / "vit.safetensors")


@pytest.mark.parametrize(
    ("name", "side"), [("vit_small_patch14_reg4_dinov2", 5), ("vit_tiny_patch16_dinov3_qkvb", 4)]
)
def test_class_and_register_tokens_are_left_out(name: str, side: int, images: np.ndarray) -> None:
    found = load_backbone(name, layers=(0,), source="seeded")
    (plane,) = found(torch.from_numpy(images[:1]))
    assert plane.shape == (1, found.channels[0], side, side)


class Echo(torch.nn.Module):
    """A network whose one map is the picture that it is given."""

    def forward(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        return [pictures]


@pytest.mark.parametrize(
    ("patch", "input_px", "side"), [(1, None, 64), (16, None, 64), (14, None, 70), (14, 28, 28)]
)
def test_pictures_are_resized_to_whole_patches(
    patch: int, input_px: int | None, side: int, images: np.ndarray
) -> None:
    echo = Backbone(
        Echo(), channels=[3], mean=(0.0,) * 3, std=(1.0,) * 3, patch=patch, input_px=input_px
    )
    (found,) = echo(torch.from_numpy(images))
    plain = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    expected = F.interpolate(plain, size=(side, side), mode="bilinear", antialias=side < 64)
    torch.testing.assert_close(found, expected)


def test_pictures_are_standardised_as_the_network_was_trained() -> None:
    found = load_backbone(TRANSFORMER, layers=(0,), source="seeded")
    white = torch.full((1, 16, 16, 3), 255, dtype=torch.uint8)
    found.network = Echo()
    torch.testing.assert_close(found(white)[0], torch.ones(1, 3, 16, 16))
    torch.testing.assert_close(found(white * 0)[0], -torch.ones(1, 3, 16, 16))


def test_a_picture_size_that_a_network_cannot_take_is_refused() -> None:
    with pytest.raises(InputError, match="100 is no multiple of its patches' 16 px; .* 112"):
        load_backbone(TRANSFORMER, layers=(0,), source="seeded", input_px=100)
    with pytest.raises(InputError, match="224 px only"):
        load_backbone("beit_base_patch16_224", layers=(0,), source="seeded")


def test_folded_batch_norms_leave_the_maps_as_they_were(
    backbone: Backbone, images: np.ndarray
) -> None:
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in backbone.modules())
    unfolded = Backbone(drawn("resnet18", (1, 2)), channels=(64, 128))
    expected = unfolded(torch.from_numpy(images))
    for found, plane in zip(backbone(torch.from_numpy(images)), expected, strict=True):
        assert 0 < (found - plane).norm() <= 1e-5 * plane.norm()


@pytest.mark.real_data
def test_published_weights_load_and_their_maps_are_timms() -> None:
    pretrained = load(WEIGHTS, layers=(1, 2, 3))
    assert pretrained.channels == (64, 128, 256)
    eager = timm.create_model("resnet18", features_only=True, out_indices=(1, 2, 3)).eval()
    eager.load_state_dict(load_file(WEIGHTS), strict=False)
    picture = read_image(next(SHARED.glob("data/**/test/good/*.png")))[None, :256, :256]
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    maps = eager((torch.from_numpy(picture) / 255 - mean).div(std).permute(0, 3, 1, 2))
    for found, expected in zip(pretrained(torch.from_numpy(picture)), maps, strict=True):
        assert (found - expected).norm() <= 1e-5 * expected.norm()


@pytest.mark.parametrize("name", ["resnet18", TRANSFORMER])
def test_a_backbone_cut_after_its_first_layer_answers_the_same_map(name: str) -> None:
    layers = (1, 2) if name == "resnet18" else (0, 1)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    whole = load_backbone(name, layers=layers, source="seeded")
    cut = load_backbone(name, layers=layers, source="seeded", first_only=True)
    count = [sum(value.numel() for value in one.parameters()) for one in (whole, cut)]
    assert count[1] < count[0]
    assert np.array_equal(
        first_map(cut, images), whole(torch.tensor(images))[0].permute(0, 2, 3, 1)
    )
