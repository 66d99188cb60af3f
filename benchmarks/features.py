"""Patch features of one picture, from a network with untrained weights."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import timm
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import save_file
from torch import Tensor, nn

from adclick.data.images import IMAGENET_MEAN, IMAGENET_STD
from adclick.residuals.backbone import Backbone, load_backbone
from adclick.residuals.patches import extract
from benchmarks.measure import Check, Results, Task, Variant

LAYERS = (1, 2, 3)
PATCH = 3
PLAIN = "unfolded neighbourhoods, plain network"
MOST_ERROR = 1e-5


@dataclass(frozen=True)
class Size:
    """A network, the side of its picture, and the features asked for."""

    network: str
    size_px: int
    grid: int
    layer_dimensions: tuple[int, int, int]
    dimension: int


RESNET18 = Size("resnet18", 256, 32, (64, 128, 256), 448)
WIDE = Size("wide_resnet50_2", 512, 64, (256, 512, 1024), 1024)
SIZES = {
    "tiny": [Size("resnet18", 64, 8, (64, 128, 256), 96)],
    "quick": [RESNET18],
    "normal": [WIDE, RESNET18],
    "full": [WIDE, RESNET18],
}


def tasks(scale: str) -> Iterator[Task]:
    """The paper's network and size, and those of the small run."""
    return (_task(size) for size in SIZES[scale])


def _task(size: Size) -> Task:
    network = _untrained(size.network)
    backbone = _loaded(size.network, network)
    by_plane = deepcopy(backbone)
    by_plane.network.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
    picture = np.random.default_rng(0).integers(0, 256, (1, size.size_px, size.size_px, 3))
    picture = torch.from_numpy(picture.astype(np.uint8))
    ours = partial(
        extract,
        images=picture,
        grid=(size.grid, size.grid),
        layer_dimensions=size.layer_dimensions,
        dimension=size.dimension,
        patch=PATCH,
    )

    def agreement(results: Results) -> list[Check]:
        (features, first), (plain, plain_first) = results["ours"], results[PLAIN]
        return [
            Check("patch features, relative L2 error", _error(features, plain), most=MOST_ERROR),
            Check("first layer, relative L2 error", _error(first, plain_first), most=MOST_ERROR),
        ]

    return Task(
        name=f"{size.network}, {size.size_px} px, {size.grid} x {size.grid} x {size.dimension}",
        variants=[
            Variant("ours", partial(ours, backbone)),
            Variant("ours, channels first", partial(ours, by_plane)),
            Variant("ours, network alone", partial(_maps, backbone, picture)),
            Variant(PLAIN, partial(_plain_features, network, picture, size)),
            Variant("plain network alone", partial(_maps, network, _standardised(picture))),
        ],
        agreement=agreement,
        goals={PLAIN: 1.1},
        memory=["ours", PLAIN],
    )


def _untrained(name: str) -> nn.Module:
    """A network with random weights, whose batch norms know the statistics of random pictures.

    The last norm of each block, which timm makes 0, gets small weights: blocks that change much,
    unlike trained ones, would blow up rounding errors.
    """
    torch.manual_seed(0)
    network = timm.create_model(name, features_only=True, out_indices=LAYERS)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            size = 1.0 if module.weight.any() else 0.3
            nn.init.uniform_(module.weight, 0.5 * size, 1.5 * size)
            nn.init.normal_(module.bias, std=0.2)
            module.momentum = None  # the statistics of the one batch that follows
    network.train()
    with torch.no_grad():
        network(torch.randn(4, 3, 128, 128))
    return network.eval()


def _loaded(name: str, network: nn.Module) -> Backbone:
    """The same weights as our own code prepares them."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "weights.safetensors"
        save_file(network.state_dict(), file)
        return load_backbone(name, layers=LAYERS, source="file", file=file)


def _maps(network: nn.Module, pictures: Tensor) -> Sequence[Tensor]:
    with torch.no_grad():
        return network(pictures)


def _standardised(pictures: Tensor) -> Tensor:
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    return ((pictures / 255 - mean) / std).permute(0, 3, 1, 2)


def _plain_features(network: nn.Module, pictures: Tensor, size: Size) -> tuple[Tensor, Tensor]:
    """All values of every neighbourhood, resized plane by plane, then averaged down."""
    maps = _maps(network, _standardised(pictures))
    pooled = [_pooled(*pair, size.grid) for pair in zip(maps, size.layer_dimensions, strict=True)]
    joined = F.adaptive_avg_pool1d(torch.cat(pooled, dim=1)[:, None], size.dimension)
    return joined.reshape(1, size.grid, size.grid, -1), maps[0].permute(0, 2, 3, 1)


def _pooled(plane: Tensor, dimension: int, grid: int) -> Tensor:
    """Patches [row and column, dimension] of one layer."""
    unfolded = F.unfold(plane, PATCH, padding=PATCH // 2).reshape(1, -1, *plane.shape[2:])
    resized = F.interpolate(unfolded, size=(grid, grid), mode="bilinear", align_corners=False)
    return F.adaptive_avg_pool1d(resized.flatten(2)[0].T[:, None], dimension)[:, 0]


def _error(values: Tensor, truth: Tensor) -> float:
    return float((values - truth).norm() / truth.norm())
