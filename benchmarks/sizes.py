"""Large pictures from pixels to the training-free map: time and memory against megapixels."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from adclick.data.geometry import cells_in
from adclick.residuals.backbone import Backbone, load_backbone
from adclick.residuals.bank_rows import BankRows
from adclick.residuals.comparison import Bank, compare
from adclick.residuals.maps import training_free_map
from adclick.residuals.streaming import features_of
from adclick.run.artifacts import ArraySpec, create_arrays, open_arrays
from benchmarks.measure import Check, Results, Task, Variant

STRIDE, CHANNELS, RADIUS, NEIGHBOURS = 8, 448, 1.6, 10
LAYERS, LAYER_DIMENSIONS = (1, 2, 3), (64, 128, 256)
DEFECT_PX = 12
LINE = 0.2  # so far may every size be from one line through the origin


@dataclass(frozen=True)
class Size:
    """Height and width of a picture; a line scan is one of many widths."""

    height: int
    width: int

    @property
    def megapixels(self) -> float:
        return self.height * self.width / 1e6


SIZES = {
    "tiny": [Size(96, 128), Size(64, 64)],
    "quick": [Size(1024, 1024), Size(512, 512)],
    "normal": [Size(4000, 5008), Size(2000, 2512), Size(256, 20000), Size(1024, 1024)],
    "full": [Size(6000, 8000), Size(4000, 5008), Size(256, 20000), Size(1024, 1024)],
}


def tasks(scale: str) -> Iterator[Task]:
    """One task: the largest picture, and what smaller ones take a megapixel."""
    backbone = load_backbone("resnet18", layers=LAYERS, source="seeded")
    sizes = SIZES[scale]
    named = {"ours": sizes[0]} | {_name(size): size for size in sizes[1:]}
    with TemporaryDirectory() as folder:
        seen = {name: _Seen(size, backbone, Path(folder)) for name, size in named.items()}

        def agreement(results: Results) -> list[Check]:
            return [
                Check(
                    f"{name}: pixels from the defect to the map's highest", result, most=DEFECT_PX
                )
                for name, result in results.items()
            ]

        yield Task(
            name=f"a megapixel of {_name(sizes[0])}, {NEIGHBOURS} normal pictures, ResNet-18",
            variants=[
                Variant(name, partial(_find, own), times=1 / own.size.megapixels)
                for name, own in seen.items()
            ],
            agreement=agreement,
            goals={name: (1 - LINE) / (1 + LINE) for name in list(named)[1:]},
            memory=list(named),
        )


def _name(size: Size) -> str:
    return f"{size.height} x {size.width}"


class _Seen:
    """A drawn picture with a dark speck, and a bank of the picture without it, on disk."""

    def __init__(self, size: Size, backbone: Backbone, folder: Path) -> None:
        self.size, self.backbone = size, backbone
        generator = np.random.default_rng(0)
        tile = generator.integers(90, 110, (64, 64, 3), dtype=np.uint8)
        repeats = (-(-size.height // 64), -(-size.width // 64), 1)
        normal = np.tile(tile, repeats)[: size.height, : size.width]
        self.place = (size.height * 2 // 3, size.width * 2 // 3)
        self.picture = normal.copy()
        rows, columns = (slice(place, place + DEFECT_PX) for place in self.place)
        self.picture[rows, columns] //= 4
        path = folder / f"{_name(size)}.h5"
        patches, layer1 = _features(backbone, normal)
        specs = {
            "patches": ArraySpec(patches.shape[1:], "float16"),
            "foreground": ArraySpec(layer1.shape[1:3], "float16"),
        }
        with create_arrays(path, image_ids=["normal"], specs=specs, stamp={}) as file:
            file["patches"][:], file["foreground"][:] = patches, 1
        stored = open_arrays(path)
        numbers = np.array([1.0, 0.0, 1.0], np.float32)
        everywhere = np.zeros(0, np.float32)
        rows = BankRows(stored["patches"], torch.device("cpu"))
        self.bank = Bank(rows, stored["foreground"], everywhere, numbers)


def _features(backbone: Backbone, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return features_of(
        backbone,
        picture[None],
        stride=STRIDE,
        layer_dimensions=LAYER_DIMENSIONS,
        dimension=CHANNELS,
    )


def _find(seen: _Seen) -> float:
    """How far the highest place of the picture's map is from the speck, in pixels."""
    content = (seen.size.height, seen.size.width)
    patches, layer1 = _features(seen.backbone, seen.picture)
    compared = compare(
        patches[0],
        layer1[0],
        seen.bank,
        content=cells_in(content, STRIDE),
        matched=np.zeros(NEIGHBOURS, np.int64),
        joined=np.zeros(1, np.int64),
        radius=RADIUS,
        device=torch.device("cpu"),
    )
    found = training_free_map(
        compared.lengths,
        compared.foreground,
        content=content,
        stride=STRIDE,
        smoothing_px=4.0,
        foreground_exponent=1.0,
    )
    row, column = np.unravel_index(int(found.argmax()), found.shape)
    middle = [place + DEFECT_PX / 2 for place in seen.place]
    return float(np.hypot(row + 0.5 - middle[0], column + 0.5 - middle[1]))
