"""The artifacts of one category, opened as pools of training samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adclick.data.geometry import contents_of
from adclick.data.rows import NORMAL_TYPE, train_normal_rows
from adclick.language.words import Texts, read_texts, text_of
from adclick.run.artifacts import ArrayFile, image_ids, open_arrays, read_csv
from adclick.run.errors import InputError
from adclick.run.stored import StoredRows
from adclick.training.samples import Pool


@dataclass(frozen=True)
class CategoryFiles:
    """Where one category's artifacts lie; `masks` and the expanded pair only where training may see
    them. `window` is the side in patches of what a sample shows of a larger picture.
    """

    category: str
    manifest: Path
    images: Path
    residuals: Path
    simulated_images: Path
    simulated_residuals: Path
    language: Path | None
    masks: Path | None = None
    expanded_images: Path | None = None
    expanded_residuals: Path | None = None
    window: int | None = None


def open_pools(files: CategoryFiles, kinds: Sequence[str]) -> dict[str, Pool]:
    """The pools of one category for the kinds asked for: `normal`, `simulated`, `real`.

    `real` is the expanded training defects where those are given, else all real defects with their
    true masks (pretraining on other categories). InputError when a kind has no image, or
    a type of the category no words.
    """
    texts = read_texts(files.language, files.category)
    for name in set(read_csv(files.manifest)["defect_type"]):
        text_of(texts, name)
    makers = {
        "normal": _normal_pool,
        "simulated": _simulated_pool,
        "real": _expanded_pool if files.expanded_images else _defect_pool,
    }
    pools = {kind: makers[kind](files, texts) for kind in kinds}
    for kind, pool in pools.items():
        if not len(pool.residual_rows):
            raise InputError(
                f"{files.manifest}: no {kind} image to train on; set its count in the batch to 0"
            )
    return pools


def _scale(residuals: ArrayFile) -> np.ndarray:
    return np.asarray(residuals["normal_mean_square"][:], np.float32)


def _normal_pool(files: CategoryFiles, texts: Texts) -> Pool:
    text_of(texts, NORMAL_TYPE)
    rows = train_normal_rows(files.manifest)
    residuals, images = open_arrays(files.residuals), open_arrays(files.images)
    return Pool(
        StoredRows(residuals["residuals"]),
        StoredRows(images["images"]),
        None,
        rows,
        rows,
        [],
        [NORMAL_TYPE] * len(rows),
        texts,
        _scale(residuals),
        contents_of(images, "images"),
        files.window,
    )


def _simulated_pool(files: CategoryFiles, texts: Texts) -> Pool:
    return _drawn_pool(files.simulated_images, files.simulated_residuals, files, texts)


def _expanded_pool(files: CategoryFiles, texts: Texts) -> Pool:
    assert files.expanded_images and files.expanded_residuals
    return _drawn_pool(files.expanded_images, files.expanded_residuals, files, texts)


def _drawn_pool(
    images_path: Path, residuals_path: Path, files: CategoryFiles, texts: Texts
) -> Pool:
    images, residuals = open_arrays(images_path), open_arrays(residuals_path)
    with open_arrays(files.residuals) as real:
        scale = _scale(real)
    types = [value.decode() for value in images["types"][:]]
    for name in set(types):
        text_of(texts, name)
    rows = list(range(len(types)))
    return Pool(
        StoredRows(residuals["residuals"]),
        StoredRows(images["images"]),
        StoredRows(images["labels"]),
        rows,
        rows,
        rows,
        types,
        texts,
        scale,
        contents_of(images, "images"),
        files.window,
    )


def _defect_pool(files: CategoryFiles, texts: Texts) -> Pool:
    if files.masks is None:
        raise InputError(
            f"{files.manifest}: real defects need labels to train on, and none were given"
        )
    manifest = read_csv(files.manifest)
    masks, residuals, images = (
        open_arrays(files.masks),
        open_arrays(files.residuals),
        open_arrays(files.images),
    )
    place = {image_id: row for row, image_id in enumerate(manifest["image_id"])}
    type_of = dict(zip(manifest["image_id"], manifest["defect_type"], strict=True))
    ids = image_ids(masks)
    rows = [place[image_id] for image_id in ids]
    types = [str(type_of[image_id]) for image_id in ids]
    return Pool(
        StoredRows(residuals["residuals"]),
        StoredRows(images["images"]),
        StoredRows(masks["masks"]),
        rows,
        rows,
        list(range(len(ids))),
        types,
        texts,
        _scale(residuals),
        contents_of(images, "images"),
        files.window,
    )
