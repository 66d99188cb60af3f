"""The frozen backbone as the commands use it: on this job's device, features image by image."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from adclick.residuals.backbone import Backbone, load_backbone
from adclick.residuals.patches import extract, first_map
from adclick.residuals.tiles import in_tiles, is_cut
from adclick.run.device import Precision, compute_device, device_name, is_reduced
from adclick.run.errors import InputError
from adclick.run.settings.residuals import Features

LARGEST_HALF = 65504.0
BATCH_PIXELS = 32 * 512 * 512  # what pictures of the paper's size take, 32 at once


@contextmanager
def open_backbone(
    settings: Features, precision: Precision, *, size_px: int, first_only: bool = False
) -> Iterator[Backbone]:
    """The backbone of the settings on this job's device, given back when the block ends; with
    `first_only` cut after its first layer. `size_px` is the side that `input_px` is given for. It
    computes in float16 where precision is reduced.
    """
    weights = settings.weights
    with compute_device() as device:
        backbone = load_backbone(
            settings.backbone,
            layers=tuple(settings.layers),
            source=weights.source,
            file=Path(weights.file) if weights.file else None,
            sha256=weights.sha256,
            seed=weights.seed,
            input_px=settings.input_px,
            size_px=size_px,
            first_only=first_only,
        )
        backbone.halved = is_reduced(device, precision)
        yield backbone.to(device)


def stamp_of_parts(stamp: Mapping[str, Any], backbone: Backbone) -> dict[str, Any]:
    """A result's stamp and the device: parts that another device made are not gone on from."""
    return {**stamp, "device": device_name(next(backbone.buffers()).device)}


def feature_shapes(
    backbone: Backbone, shape: tuple[int, ...], settings: Features
) -> dict[str, tuple[int, ...]]:
    """The shapes of what `stream_features` gives of a picture of `shape`; nothing is computed."""
    outline = copy.deepcopy(backbone).to("meta")
    outline.halved = False
    picture = torch.empty((1, *shape), dtype=torch.uint8, device="meta")
    patches, layer1 = extract(
        outline,
        picture,
        grid=(shape[0] // settings.stride, shape[1] // settings.stride),
        layer_dimensions=tuple(settings.layer_dimensions),
        dimension=settings.dimension,
    )
    return {"patches": tuple(patches.shape[1:]), "layer1": tuple(layer1.shape[1:])}


def stream_features(
    backbone: Backbone, images: Any, rows: Sequence[int], settings: Features
) -> Iterator[dict[str, np.ndarray]]:
    """`patches` and `layer1` (float32) of the given rows of an image array, in order, a batch at a
    time. Nothing is kept of a batch while the next is computed: of large pictures both would fill
    the memory, so whoever reads them should let go of each, too.
    """
    for batch in _batches(images, rows, settings.batch_size):
        yield from _each_of(batch, backbone, settings)


def _each_of(
    batch: UInt8[np.ndarray, "image height width 3"], backbone: Backbone, settings: Features
) -> Iterator[dict[str, np.ndarray]]:
    patches, layer1 = features_of(
        backbone,
        batch,
        stride=settings.stride,
        layer_dimensions=tuple(settings.layer_dimensions),
        dimension=settings.dimension,
    )
    _check_half(settings.backbone, patches, layer1)
    found = [{"patches": own, "layer1": first} for own, first in zip(patches, layer1, strict=True)]
    del patches, layer1  # of a batch of one, whoever takes it has the last reference
    while found:
        yield found.pop(0)


def features_of(
    backbone: Backbone,
    batch: UInt8[np.ndarray, "image height width 3"],
    *,
    stride: int,
    layer_dimensions: Sequence[int],
    dimension: int,
) -> tuple[Float32[np.ndarray, "image row column _"], Float32[np.ndarray, "image _ _ _"]]:
    """`extract` on patches of `stride` pixels, in tiles where pictures are large."""

    def compute(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return extract(
            backbone,
            pixels,
            grid=(pixels.shape[1] // stride, pixels.shape[2] // stride),
            layer_dimensions=layer_dimensions,
            dimension=dimension,
        )

    if not is_cut(backbone, batch.shape[1:]):
        return compute(batch)
    patches, layer1 = zip(*(in_tiles(backbone, one, compute) for one in batch), strict=True)
    return _stacked(patches), _stacked(layer1)


def _stacked(maps: Sequence[np.ndarray]) -> np.ndarray:
    """The maps of a batch; those of one large picture are not copied."""
    return maps[0][None] if len(maps) == 1 else np.stack(maps)


def first_map_of(
    backbone: Backbone, batch: UInt8[np.ndarray, "image height width 3"]
) -> Float32[np.ndarray, "image _ _ _"]:
    """`first_map`, in tiles where pictures are large."""
    if not is_cut(backbone, batch.shape[1:]):
        return first_map(backbone, batch)
    return np.stack(
        [in_tiles(backbone, one, lambda pixels: (first_map(backbone, pixels),))[0] for one in batch]
    )


def stream_first_maps(
    backbone: Backbone, images: Any, rows: Sequence[int], settings: Features
) -> Iterator[np.ndarray]:
    """`layer1` of `stream_features` alone, of a backbone that may be cut after its first layer."""
    for batch in _batches(images, rows, settings.batch_size):
        layer1 = first_map_of(backbone, batch)
        _check_half(settings.backbone, layer1)
        yield from layer1


def _batches(images: Any, rows: Sequence[int], size: int) -> Iterator[np.ndarray]:
    """Pictures `size` at a time, fewer where they are so large that they would fill the memory."""
    first = images[rows[0]] if len(rows) else np.zeros(1)
    size = max(1, min(size, BATCH_PIXELS // max(1, first.size // 3)))
    for start in range(0, len(rows), size):
        yield np.stack([images[row] for row in rows[start : start + size]])


def _check_half(name: str, *features: np.ndarray) -> None:
    if not all(array.max() <= LARGEST_HALF and array.min() >= -LARGEST_HALF for array in features):
        raise InputError(f"{name}: features overflow half precision; check its weights")
