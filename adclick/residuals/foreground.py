"""Where the object is: a linear classifier of features, learned from normal images alone.

Normal pixels are split into two clusters; the one that fills the image's border is the background,
and whatever of the other lies around the centre is the object. A linear discriminant between the
two marks every pixel.

Source: CPR (arXiv 2308.06748), which the paper applies to object categories (Sec. 3.5). Not for
textures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int

from adclick.residuals.retrieval import assign_words, fit_codebook, pixels_at, sample_pixels

BORDER_SHARE = 3 / 80  # of the height (width): how wide the band along the border is
CENTRE_SHARE = 1 / 5  # of the height (width): how far the centre box reaches from the middle
CLIPPED_SHARE = 0.01  # of normal pixels: below 0 or above 1 before clipping, at each end
LEAST_SAMPLES = 16  # of each class: with fewer there is no telling object from background


@dataclass(frozen=True, eq=False)
class Foreground:
    """A linear map from features to foreground.

    It is (weight · feature + bias - minimum) / (maximum - minimum), clipped to 0 … 1. No weight at
    all means that the object is everywhere.
    """

    weight: Float[np.ndarray, " channel"]
    bias: float
    minimum: float
    maximum: float


EVERYWHERE = Foreground(np.zeros(0, np.float32), 1.0, 0.0, 1.0)


def fit_foreground(
    layer1: Float[Any, "image height width channel"],
    *,
    seed: int = 66,
    sample_pixels: int = 50_000,
    samples_per_class: int = 15_000,
    contents: Sequence[tuple[int, int]] | None = None,
) -> Foreground:
    """The foreground classifier of a category, from layer-1 features of its normal images.

    Clusters are found on `sample_pixels` pixels; at most `samples_per_class` background and as many
    object pixels train the classifier. `contents` says how many rows and columns of every image
    count (None: all). `EVERYWHERE` when they do not separate: the same cluster
    fills the border and the centre, or all features are equal. `layer1` may be an HDF5 dataset; it
    is read one image at a time, four times.
    """
    random = np.random.default_rng(seed)
    known = contents or [layer1.shape[1:3]] * len(layer1)
    centres = _clusters(layer1, sample_pixels, seed, known)
    background, centre = _class_positions(layer1, centres, known)
    count = min(samples_per_class, len(background), len(centre))
    if count < LEAST_SAMPLES:
        return EVERYWHERE
    classes = [np.sort(random.choice(part, count, replace=False)) for part in (background, centre)]
    weight, bias = _discriminant(*(pixels_at(layer1, part, known) for part in classes))
    values = np.concatenate(
        [
            _decision(layer1[index][:rows, :columns], weight, bias).ravel()
            for index, (rows, columns) in enumerate(known)
        ]
    )
    minimum, maximum = np.quantile(
        values, [CLIPPED_SHARE, 1 - CLIPPED_SHARE], method="nearest", overwrite_input=True
    )
    if not minimum < maximum:
        return EVERYWHERE
    return Foreground(weight, bias, float(minimum), float(maximum))


def foreground_map(
    layer1: Float[Any, "image height width channel"], foreground: Foreground
) -> Float[np.ndarray, "image height width"]:
    """How much each pixel looks like the object, 0 to 1, at the map's resolution; float32."""
    if foreground.weight.size == 0:
        return np.ones(layer1.shape[:3], np.float32)
    maps = np.stack([_decision(image, foreground.weight, foreground.bias) for image in layer1])
    return np.clip((maps - foreground.minimum) / (foreground.maximum - foreground.minimum), 0, 1)


def joined_map(
    layer1: Float[np.ndarray, "height width channel"],
    foreground: Foreground,
    neighbours: Sequence[Float[np.ndarray, "height width"]],
    grid: tuple[int, int],
) -> Float[np.ndarray, "row column"]:
    """The largest of an image's own foreground and its neighbours' maps, on a grid; float32.

    So a defect that does not look like the object still lies on it. A map that is finer than the
    grid is averaged, a coarser one interpolated.
    """
    maps = [foreground_map(layer1[None], foreground)[0], *neighbours]
    largest = np.max(np.stack(maps).astype(np.float32), axis=0)
    is_finer = largest.shape[0] >= grid[0] and largest.shape[1] >= grid[1]
    method = cv2.INTER_AREA if is_finer else cv2.INTER_LINEAR
    return cv2.resize(largest, grid[::-1], interpolation=method)


def _clusters(
    layer1: Any, count: int, seed: int, contents: Sequence[tuple[int, int]]
) -> Float[np.ndarray, "2 channel"]:
    return fit_codebook(sample_pixels(layer1, count, seed, contents), words=2, seed=seed)


def _class_positions(
    layer1: Any, centres: Float[np.ndarray, "2 channel"], contents: Sequence[tuple[int, int]]
) -> tuple[Int[np.ndarray, " background"], Int[np.ndarray, " centre"]]:
    """Flat positions of the border's commoner cluster there, and of the other in the centre."""
    regions = [_regions(*content) for content in contents]
    band, box = (
        np.concatenate([one.ravel() for one in kind]) for kind in zip(*regions, strict=True)
    )
    clusters = np.concatenate(
        [
            assign_words(layer1[index][None, :rows, :columns], centres).astype(bool).ravel()
            for index, (rows, columns) in enumerate(contents)
        ]
    )
    background = bool(clusters[band].mean() > 0.5)
    alike = clusters == background
    return np.flatnonzero(alike & band), np.flatnonzero(~alike & box)


def _regions(
    height: int, width: int
) -> tuple[Bool[np.ndarray, "height width"], Bool[np.ndarray, "height width"]]:
    """The band along the border (at least one pixel wide) and the box around the centre."""
    rows, columns = (max(1, int(BORDER_SHARE * length)) for length in (height, width))
    band = np.ones((height, width), bool)
    band[rows : height - rows, columns : width - columns] = False
    box = np.zeros((height, width), bool)
    box[_middle(height), _middle(width)] = True
    return band, box & ~band


def _middle(length: int) -> slice:
    half = max(1, int(CENTRE_SHARE * length))
    return slice(max(0, length // 2 - half), length // 2 + half)


def _discriminant(
    background: Float[np.ndarray, "sample channel"], centre: Float[np.ndarray, "sample channel"]
) -> tuple[Float[np.ndarray, " channel"], float]:
    """Weight and bias of the linear discriminant, positive on the object's side."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    if not np.ptp(background, axis=0).any() and not np.ptp(centre, axis=0).any():
        weight = centre[0] - background[0]  # nothing varies within a class: only the means are left
        return weight, -float(weight @ (centre[0] + background[0])) / 2
    features = np.concatenate([background, centre])
    labels = np.repeat([0, 1], [len(background), len(centre)])
    fitted = LinearDiscriminantAnalysis().fit(features, labels)
    return fitted.coef_[0].astype(np.float32), float(fitted.intercept_[0])


def _decision(
    image: Float[Any, "height width channel"], weight: Float[np.ndarray, " channel"], bias: float
) -> Float[np.ndarray, "height width"]:
    return np.asarray(image, np.float32) @ weight + np.float32(bias)
