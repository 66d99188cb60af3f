"""A category's artifacts with made-up numbers, at the sizes of a configuration: what trainings
read, stored as the stages store it.
"""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from adclick.data.rows import NORMAL_TYPE, SIMULATED_TYPE
from adclick.run.artifacts import ArraySpec, create_array, create_arrays, write_csv, write_names
from adclick.run.config import Config
from adclick.training.pools import CategoryFiles
from benchmarks.pictures import soft_defect

CATEGORY = "made_up"
DEFECT = "stain"
PHRASES = 8


def make_category(folder: Path, config: Config, *, pictures: int) -> CategoryFiles:
    """Files of a category with so many normal pictures, and as many simulated and expanded defects
    (which are one file); residuals are noise, larger on defects.
    """
    random = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"train/good/{index:03}" for index in range(pictures)]
    columns = {"image_id": names, "defect_type": NORMAL_TYPE, "role": "train_normal"}
    write_csv(folder / "manifest.csv", pd.DataFrame(columns), stamp={})
    defects = [soft_defect(random, config.size_px).clip(0, 1) for _ in names]
    _write_images(folder / "images.h5", config, names, None, random)
    _write_images(folder / "simulated.h5", config, names, defects, random)
    _write_residuals(folder / "residuals.h5", config, names, None, random)
    _write_residuals(folder / "simulated_residuals.h5", config, names, defects, random)
    _write_words(folder / "language.h5", config, random)
    return CategoryFiles(
        category=CATEGORY,
        manifest=folder / "manifest.csv",
        images=folder / "images.h5",
        residuals=folder / "residuals.h5",
        simulated_images=folder / "simulated.h5",
        simulated_residuals=folder / "simulated_residuals.h5",
        language=folder / "language.h5",
        expanded_images=folder / "simulated.h5",
        expanded_residuals=folder / "simulated_residuals.h5",
    )


def _write_images(
    path: Path,
    config: Config,
    names: list[str],
    defects: list[np.ndarray] | None,
    random: np.random.Generator,
) -> None:
    size = (config.size_px, config.size_px)
    specs = {"images": ArraySpec((*size, 3), "uint8")}
    if defects is not None:
        specs["labels"] = ArraySpec(size, "float16")
    with create_arrays(path, image_ids=names, specs=specs, stamp={}) as file:
        write_names(file, [SIMULATED_TYPE for _ in names], names)
        for row in range(len(names)):
            file["images"][row] = random.integers(0, 256, (*size, 3), dtype=np.uint8)
            if defects is not None:
                file["labels"][row] = defects[row]


def _write_residuals(
    path: Path,
    config: Config,
    names: list[str],
    defects: list[np.ndarray] | None,
    random: np.random.Generator,
) -> None:
    shape = (config.grid, config.grid, config.features.dimension)
    specs = {"residuals": ArraySpec(shape, "float16")}
    stride = config.features.stride
    with create_arrays(path, image_ids=names, specs=specs, stamp={}) as file:
        create_array(file, "normal_mean_square", shape[2:], "float32")[:] = 1
        for row in range(len(names)):
            residual = random.standard_normal(shape, np.float32)
            if defects is not None:
                residual *= 1 + 2 * defects[row][::stride, ::stride, None]
            file["residuals"][row] = residual


def _write_words(path: Path, config: Config, random: np.random.Generator) -> None:
    words = (config.language.channels, config.language.tokens)
    with create_arrays(path, image_ids=[], specs={}, stamp={}) as file:
        for kind in (NORMAL_TYPE, SIMULATED_TYPE, DEFECT):
            group: h5py.Group = file.create_group(f"{CATEGORY}/{kind}")
            group["phrases"] = random.standard_normal((PHRASES, *words), np.float32)
            group["phrase_masks"] = np.ones((PHRASES, words[1]), np.float32)
            group["average"] = random.standard_normal(words, np.float32)
            group["average_mask"] = np.ones(words[1], np.float32)
