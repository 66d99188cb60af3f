"""How good maps, masks and clicks are: AP, AUROC, PRO, IoU and NoC, exact, as fractions in [0, 1].

All four map metrics are sums over the defective pixels alone, so only the scores of the normal
pixels are sorted, in one buffer, and nothing is carried along with them. Of the whole data set that
buffer is all that is kept: 4 bytes a pixel.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float

# Stacks, or sequences whose images differ in shape ("_" is any size).
Maps = Sequence[Float[np.ndarray, "_ _"]] | Float[np.ndarray, "_ _ _"]
Masks = Sequence[Bool[np.ndarray, "_ _"]] | Bool[np.ndarray, "_ _ _"]


@dataclass(frozen=True)
class PixelMetrics:
    """The quality of anomaly maps, as fractions; `image_auroc` is None without good images."""

    ap: float
    auroc: float
    pro: float
    image_auroc: float | None


@dataclass(frozen=True)
class _Pixels:
    """All pixels of a data set: normal scores sorted, defective ones with 1 / component size."""

    normal: np.ndarray
    defective: np.ndarray
    shares: np.ndarray
    components: int
    maxima: np.ndarray
    is_defective: np.ndarray


@dataclass(frozen=True)
class _Ranks:
    """Where the distinct positive scores, ascending, stand among the negative ones."""

    positives: np.ndarray
    above: np.ndarray
    equal: np.ndarray
    inverse: np.ndarray


def pixel_metrics(
    maps: Maps,
    masks: Masks,
    *,
    pro_limit: float | int = 0.3,
    image_scores: Sequence[float] | Float[np.ndarray, " image"] | None = None,
) -> PixelMetrics:
    """Pixel AP, AUROC and PRO over all pixels of all images together, and the images' AUROC.

    Higher scores are more anomalous, in any range; masks are true at defects. Images may differ in
    shape. Every distinct score is a threshold, ties included: AP and AUROC are those of
    scikit-learn. PRO averages the coverage of the 8-connected defects (each of equal weight) over
    the false positive rates from 0 to `pro_limit`, linear between thresholds: the MVTec AD
    evaluation. An image's score is its map's maximum, unless `image_scores` gives another; tied
    images count half. `image_auroc` is None where every image is defective. Scores are compared in
    float64 when any map is float64, else in float32.

    Raises ValueError for no image, a NaN, a map and a mask of different shape (naming the image's
    index), and a data set without a defective or without a normal pixel.

    Source: paper Sec. 4.1; Bergmann et al., IJCV 2021 (PRO).
    """
    if not 0 < pro_limit <= 1:
        raise ValueError(f"pro_limit is {pro_limit}; it is a false positive rate in (0, 1]")
    _check_pairs(maps, masks)
    pixels = _gather(maps, masks)
    ranks = _rank(pixels.defective, pixels.normal)
    scores = pixels.maxima if image_scores is None else _image_scores(image_scores, len(maps))
    return PixelMetrics(
        ap=_average_precision(ranks),
        auroc=_auroc(ranks, pixels.normal.size),
        pro=_region_overlap(ranks, pixels, pro_limit),
        image_auroc=_image_auroc(scores, pixels.is_defective),
    )


def iou(
    prediction: Bool[np.ndarray, "height width"], truth: Bool[np.ndarray, "height width"]
) -> float:
    """Intersection over union of two masks; 1 when both are empty."""
    if prediction.shape != truth.shape:
        raise ValueError(f"the prediction is {prediction.shape}, the truth {truth.shape}")
    union = np.count_nonzero(prediction | truth)
    return float(np.count_nonzero(prediction & truth) / union) if union else 1.0


def mean_iou(predictions: Masks, truths: Masks) -> float:
    """Mean over images of `iou` (mIoU of interactive segmentation: over images, not classes)."""
    if len(predictions) != len(truths) or len(truths) == 0:
        raise ValueError(f"there are {len(predictions)} predictions and {len(truths)} truths")
    return float(np.mean([iou(*pair) for pair in zip(predictions, truths, strict=True)]))


def number_of_clicks(
    ious: Float[np.ndarray, "image click"], target: float | int, cap: int = 20
) -> float:
    """Mean number of clicks until an image's IoU first reaches `target` (NoC).

    Column c of `ious` is the IoU after exactly c + 1 clicks. An image that does not reach the
    target within `cap` clicks counts `cap`; further columns are not looked at.

    Source: RITM (arXiv 2102.06583), Sec. 4.
    """
    if ious.shape[0] == 0 or np.isnan(ious).any():
        raise ValueError("number_of_clicks needs at least one image, and no NaN")
    reached = ious[:, :cap] >= target
    clicks = np.where(reached.any(axis=1), _first_true(reached), cap)
    return float(clicks.mean())


def _first_true(reached: np.ndarray) -> np.ndarray:
    """One plus the index of each row's first true value (1 where there is none)."""
    return reached.argmax(axis=1) + 1 if reached.shape[1] else np.ones(len(reached), dtype=int)


def _check_pairs(maps: Maps, masks: Masks) -> None:
    if len(maps) != len(masks):
        raise ValueError(f"there are {len(maps)} maps and {len(masks)} masks")
    if len(maps) == 0:
        raise ValueError("there are no maps to evaluate")
    for index, mask in enumerate(masks):
        if mask.dtype != bool:
            raise ValueError(f"masks[{index}] is {mask.dtype}, not bool")


def _gather(maps: Maps, masks: Masks) -> _Pixels:
    """One pass over the images: normal scores into one buffer, defective ones with weights."""
    normal = _empty_buffer(maps, sum(np.count_nonzero(~mask) for mask in masks))
    defective, shares, maxima = [], [], []
    filled = components = 0
    for index, (scores, mask) in enumerate(zip(maps, masks, strict=True)):
        maxima.append(_checked_maximum(scores, mask, index))
        outside = scores[~mask]
        normal[filled : filled + outside.size] = outside
        filled += outside.size
        defective.append(scores[mask].astype(normal.dtype))
        weights, found = _component_shares(mask)
        shares.append(weights)
        components += found
    normal.sort()
    if components == 0 or normal.size == 0:
        raise ValueError(f"the masks hold no {'normal' if components else 'defective'} pixel")
    return _Pixels(
        normal=normal,
        defective=np.concatenate(defective),
        shares=np.concatenate(shares),
        components=components,
        maxima=np.array(maxima),
        is_defective=np.array([part.size > 0 for part in defective]),
    )


def _empty_buffer(maps: Maps, size: int | np.integer) -> np.ndarray:
    double = any(scores.dtype == np.float64 for scores in maps)
    return np.empty(size, dtype=np.float64 if double else np.float32)


def _checked_maximum(scores: np.ndarray, mask: np.ndarray, index: int) -> float:
    if scores.shape != mask.shape:
        raise ValueError(f"maps[{index}] is {scores.shape}, but masks[{index}] is {mask.shape}")
    if scores.size == 0:
        raise ValueError(f"maps[{index}] has no pixel")
    maximum = float(scores.max())
    if np.isnan(maximum):
        raise ValueError(f"maps[{index}] holds a NaN")
    return maximum


def _component_shares(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """For each true pixel, 1 / the size of its 8-connected component; and their number."""
    if not mask.any():
        return np.empty(0), 0
    pixels = np.ascontiguousarray(mask).view(np.uint8)
    count, component_map = cv2.connectedComponents(pixels, connectivity=8, ltype=cv2.CV_32S)
    component = component_map[mask].astype(np.int64)
    sizes = np.maximum(np.bincount(component), 1)
    return (1.0 / sizes)[component], count - 1


def _rank(positives: np.ndarray, sorted_negatives: np.ndarray) -> _Ranks:
    distinct, inverse, counts = np.unique(positives, return_inverse=True, return_counts=True)
    right = np.searchsorted(sorted_negatives, distinct, side="right")
    left = np.searchsorted(sorted_negatives, distinct, side="left")
    return _Ranks(counts, sorted_negatives.size - right, right - left, inverse)


def _auroc(ranks: _Ranks, negatives: int) -> float:
    """The share of (positive, negative) pairs in the right order; counted in whole half-pairs."""
    halves = int(np.sum(ranks.positives * (2 * (negatives - ranks.above) - ranks.equal)))
    return halves / (2 * negatives * int(ranks.positives.sum()))


def _average_precision(ranks: _Ranks) -> float:
    """Precision at each positive's own score, averaged over positives."""
    true_positives = np.cumsum(ranks.positives[::-1])[::-1]
    precision = true_positives / (true_positives + ranks.above + ranks.equal)
    return float(np.sum(ranks.positives * precision) / ranks.positives.sum())


def _region_overlap(ranks: _Ranks, pixels: _Pixels, limit: float) -> float:
    """The area under coverage against false positive rate, from 0 to `limit`, divided by `limit`.

    A positive score is covered from `above` false positives on, rising linearly over the `equal`
    ones that share its score: a ramp and a plateau, cut at `allowed`.
    """
    allowed = limit * pixels.normal.size
    plateau = np.clip(allowed - ranks.above - ranks.equal, 0.0, None)
    on_ramp = np.clip(allowed - ranks.above, 0.0, ranks.equal)
    ramp = on_ramp**2 / (2 * np.maximum(ranks.equal, 1))
    weights = np.bincount(ranks.inverse, weights=pixels.shares)
    return float(np.sum(weights * (plateau + ramp)) / (pixels.components * allowed))


def _image_scores(scores: Sequence[float] | np.ndarray, images: int) -> np.ndarray:
    array = np.asarray(scores, dtype=np.float64)
    if array.shape != (images,):
        raise ValueError(f"image_scores is {array.shape}, but there are {images} maps")
    if np.isnan(array).any():
        raise ValueError(f"image_scores[{int(np.isnan(array).argmax())}] is a NaN")
    return array


def _image_auroc(scores: np.ndarray, is_defective: np.ndarray) -> float | None:
    if is_defective.all():
        return None
    good = np.sort(scores[~is_defective])
    return _auroc(_rank(scores[is_defective], good), good.size)
