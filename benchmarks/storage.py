"""One image's features on disk, written and read: as we store them, and otherwise."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np
import torch

from adclick.run.artifacts import ArraySpec, create_arrays, open_arrays
from benchmarks.measure import Check, Results, Task, Variant
from benchmarks.pictures import smooth_noise

SHAPES = {"tiny": (6, 6, 32)}
OTHERS: dict[str, dict[str, Any]] = {
    "float32": {"dtype": "float32"},
    "float32, lzf": {"dtype": "float32", "compression": "lzf"},
    "float16, lzf": {"dtype": "float16", "compression": "lzf"},
    "float16, gzip": {"dtype": "float16", "compression": "gzip", "compression_opts": 1},
}


def tasks(scale: str) -> Iterator[Task]:
    """Writing (to the page cache, or the disk where it is synchronised) and reading one image."""
    image = _features(SHAPES.get(scale, (64, 64, 1024)))
    with TemporaryDirectory() as name:
        folder = Path(name)
        writers = {
            "ours": partial(_write_ours, folder / "ours.h5", image),
            "ours, made float16 by torch": partial(_write_halved, folder / "halved.h5", image),
        }
        readers = {"ours": partial(_read_ours, folder / "ours.h5")}
        for other, options in OTHERS.items():
            writers[other] = partial(_write, folder / f"{other}.h5", image, options)
            readers[other] = partial(_read, folder / f"{other}.h5")
        yield _task("write", image, writers)
        yield _task("read", image, readers)


def _task(verb: str, image: np.ndarray, calls: dict[str, Callable[[], Any]]) -> Task:
    def sizes(results: Results) -> list[Check]:
        half = image.nbytes / 2e6 + 0.02
        return [
            Check(f"MB of {name}", size, most=half if "ours" in name else np.inf)
            for name, size in results.items()
        ]

    def errors(results: Results) -> list[Check]:
        return [
            Check(f"relative error of {name}", _error(found, image), most=3e-4)
            for name, found in results.items()
        ]

    return Task(
        name=f"{verb} {' x '.join(map(str, image.shape))}, ours: float16 with checksums",
        variants=[Variant(name, call) for name, call in calls.items()],
        agreement=sizes if verb == "write" else errors,
    )


def _features(shape: tuple[int, int, int]) -> np.ndarray:
    """Neighbouring patches alike, a third of the values zero, as rectified features are."""
    random = np.random.default_rng(0)
    blotches = np.stack([smooth_noise(random, shape[0]) for _ in range(shape[2])], axis=2)
    noise = random.standard_normal(shape, np.float32)
    return np.maximum(blotches + 0.1 * noise + 0.1, 0)


def _write_ours(path: Path, image: np.ndarray) -> float:
    specs = {"features": ArraySpec(image.shape, "float16")}
    with create_arrays(path, image_ids=["0"], specs=specs, stamp={}) as file:
        file["features"][0] = image
    return path.stat().st_size / 1e6


def _write_halved(path: Path, image: np.ndarray) -> float:
    return _write_ours(path, torch.from_numpy(image).half().numpy())


def _read_ours(path: Path) -> np.ndarray:
    with open_arrays(path) as file:
        return file["features"][0]


def _write(path: Path, image: np.ndarray, options: dict[str, Any]) -> float:
    with h5py.File(path, "w") as file:
        shape = (1, *image.shape)
        file.create_dataset("features", shape, chunks=shape, **options)[0] = image
    return path.stat().st_size / 1e6


def _read(path: Path) -> np.ndarray:
    with h5py.File(path, "r") as file:
        features: Any = file["features"]
        return features[0]


def _error(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.linalg.norm(found.astype(np.float32) - truth) / np.linalg.norm(truth))
