"""How good maps, masks and clicks are: AP, AUROC, PRO, IoU and NoC, as fractions in [0, 1].

The map metrics are sums over the defective pixels, of what stands above each in the normal ones. So
only the normal scores are sorted, in one buffer of 4 bytes a pixel, and nothing is carried along
with them; or, where memory must not grow, counted in bins (`StreamingMetrics`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float

# Stacks, or sequences whose images differ in shape ("_" is any size).
Maps = Sequence[Float[np.ndarray, "_ _"]] | Float[np.ndarray, "_ _ _"]
Masks = Sequence[Bool[np.ndarray, "_ _"]] | Bool[np.ndarray, "_ _ _"]

CHUNK = 2**14  # pixels that are binned at a time: they stay in the cache


@dataclass(frozen=True)
class PixelMetrics:
    """The quality of anomaly maps, as fractions; `image_auroc` is None without good images."""

    ap: float
    auroc: float
    pro: float
    image_auroc: float | None


@dataclass(frozen=True)
class ImageResult:
    """One image by itself; `ap` and `auroc` are None where all its pixels are of one class."""

    ap: float | None
    auroc: float | None
    maximum: float
    defective_px: int


@dataclass(frozen=True)
class ComponentResult:
    """One 8-connected defect: the box around it (pixels), its area, and how far it was found.

    `coverage` is its own term of PRO: the share of the defect above the threshold, averaged over
    the false positive rates (of the whole data set) from 0 to PRO's limit. 0: missed, 1: found
    before any normal pixel. PRO is the mean over all defects.
    """

    top: int
    left: int
    height: int
    width: int
    area_px: int
    maximum: float
    coverage: float


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
    negatives: int


def pixel_metrics(
    maps: Maps,
    masks: Masks,
    *,
    pro_limit: float | int = 0.3,
    image_scores: Sequence[float] | Float[np.ndarray, " image"] | None = None,
) -> PixelMetrics:
    """Pixel AP, AUROC and PRO over all pixels of all images together, and the images' AUROC.

    Higher scores are more anomalous, in any range; infinite ones are the highest and the lowest.
    Masks are true at defects. Images may differ in shape. Every distinct score is a threshold, ties
    included: AP and AUROC are those of scikit-learn. PRO averages the coverage of the 8-connected
    defects (each of equal weight) over the false positive rates from 0 to `pro_limit`, linear
    between thresholds: the MVTec AD evaluation. An image's score is its map's maximum, unless
    `image_scores` gives another; tied images count half. `image_auroc` is None where every image is
    defective. Scores are compared in float64 when any map is float64, else in float32.

    Raises ValueError for no image, a NaN, a map and a mask of different shape (naming the image's
    index), and a data set without a defective or without a normal pixel.

    Source: paper Sec. 4.1; Bergmann et al., IJCV 2021 (PRO).
    """
    _check_limit(pro_limit)
    _check_pairs(maps, masks)
    pixels = _gather(maps, masks)
    ranks, place = _rank(pixels.defective, pixels.normal)
    scores = pixels.maxima if image_scores is None else _image_scores(image_scores, len(maps))
    shares = np.bincount(place, weights=pixels.shares)
    return PixelMetrics(
        ap=_average_precision(ranks),
        auroc=_auroc(ranks),
        pro=_region_overlap(ranks, shares / pixels.components, pro_limit),
        image_auroc=_image_auroc(scores, pixels.is_defective),
    )


def image_results(maps: Maps, masks: Masks) -> list[ImageResult]:
    """AP, AUROC and highest score of every image by itself, its own normal pixels the negatives.

    Images as in `pixel_metrics`, but all may be good. Raises ValueError for a NaN and for shapes
    that differ, naming the index.
    """
    _check_pairs(maps, masks)
    return [
        _image_result(scores, mask, _checked_maximum(scores, mask, index))
        for index, (scores, mask) in enumerate(zip(maps, masks, strict=True))
    ]


def component_results(
    maps: Maps, masks: Masks, *, pro_limit: float | int = 0.3
) -> list[list[ComponentResult]]:
    """Every image's defects, in reading order of their first pixels: which are found, and how well.

    One list an image, empty for a good one. Images and errors as in `pixel_metrics`; the mean of
    all `coverage` is its PRO.
    """
    _check_limit(pro_limit)
    _check_pairs(maps, masks)
    pixels = _gather(maps, masks)
    ranks, place = _rank(pixels.defective, pixels.normal)
    coverage = _coverage(ranks, pro_limit)[place]
    ends = np.cumsum([np.count_nonzero(mask) for mask in masks])
    return [
        _components_of_image(scores, mask, own)
        for scores, mask, own in zip(maps, masks, np.split(coverage, ends[:-1]), strict=True)
    ]


class StreamingMetrics:
    """`pixel_metrics` in constant memory: add the images one after the other, then ask.

    Pixels are counted in `bins` equal steps of the score from `low` to `high` (24 bytes a step, and
    a number an image); scores in one step count as tied. Image scores are exact. What that can
    change is bounded: AUROC by half the share of (defective, normal) pairs that lie in one step, AP
    and PRO by the best and the worst order within each step; `uncertainty` computes these bounds.
    With scores that spread over the range, 2**18 steps leave errors of some 1e-6 in AP and 1e-8 in
    AUROC and PRO. A single far outlier stretches the range and costs accuracy: `uncertainty` shows
    it. Levels at least two steps apart, such as those of 8- and 16-bit maps, stay exact.
    """

    def __init__(self, low: float | int, high: float | int, *, bins: int = 2**18) -> None:
        """`low` and `high` are finite and include every score; ValueError if they cannot."""
        width = high - low
        if not (math.isfinite(width) and (width == 0 or 1e-30 < width < 1e30) and bins > 0):
            raise ValueError(f"scores from {low} to {high} cannot be counted in {bins} bins")
        self._low, self._high = low, high
        self._steps_per_unit = bins / width if width else 0.0
        self._pixels = np.zeros(bins, np.int64)
        self._defective = np.zeros(bins, np.int64)
        self._shares = np.zeros(bins)
        self._components = 0
        self._maxima: list[float] = []
        self._is_defective: list[bool] = []

    def add(self, scores: Float[np.ndarray, "_ _"], mask: Bool[np.ndarray, "_ _"]) -> None:
        """Count one image: its map, and the mask that is true at defects.

        Raises ValueError, and counts nothing, for a NaN, a score outside the range, and shapes that
        differ; the message names the image by how many came before it.
        """
        _check_mask(mask, len(self._maxima))
        maximum = _checked_maximum(scores, mask, len(self._maxima))
        minimum = float(scores.min())
        if maximum > self._high or minimum < self._low:
            raise ValueError(
                f"maps[{len(self._maxima)}] has scores from {minimum} to {maximum},"
                f" outside the range from {self._low} to {self._high}"
            )
        self._maxima.append(maximum)
        flat = scores.reshape(-1)
        for start in range(0, flat.size, CHUNK):
            np.add.at(self._pixels, self._steps(flat[start : start + CHUNK]), 1)
        component, areas = _label(mask)
        steps = self._steps(scores[mask])
        np.add.at(self._defective, steps, 1)
        np.add.at(self._shares, steps, (1.0 / areas)[component])
        self._components += areas.size
        self._is_defective.append(areas.size > 0)

    def result(self, *, pro_limit: float | int = 0.3) -> PixelMetrics:
        """The metrics of all images so far; errors as in `pixel_metrics`."""
        _check_limit(pro_limit)
        ranks, shares = self._ranks()
        return PixelMetrics(
            ap=_average_precision(ranks),
            auroc=_auroc(ranks),
            pro=_region_overlap(ranks, shares, pro_limit),
            image_auroc=_image_auroc(np.array(self._maxima), np.array(self._is_defective)),
        )

    def uncertainty(self, *, pro_limit: float | int = 0.3) -> PixelMetrics:
        """By how much each metric of `result` may differ from the exact one, at the most."""
        _check_limit(pro_limit)
        ranks, shares = self._ranks()
        return PixelMetrics(
            ap=_average_precision_error(ranks),
            auroc=float(np.sum(ranks.positives / ranks.positives.sum() * ranks.equal))
            / (2 * ranks.negatives),
            pro=_region_overlap_error(ranks, shares, pro_limit),
            image_auroc=None if all(self._is_defective) else 0.0,
        )

    def components(
        self,
        scores: Float[np.ndarray, "_ _"],
        mask: Bool[np.ndarray, "_ _"],
        *,
        pro_limit: float | int = 0.3,
    ) -> list[ComponentResult]:
        """The defects of one image that was added, as in `component_results`.

        To be asked when all images are in: coverage is against the normal pixels of all of them.
        """
        _check_limit(pro_limit)
        steps = self._steps(scores[mask])
        everywhere = self._ranks_at(np.arange(self._pixels.size))
        return _components_of_image(scores, mask, _coverage(everywhere, pro_limit)[steps])

    def _steps(self, scores: np.ndarray) -> np.ndarray:
        """The bin of each score; a rising function of it, whatever is rounded."""
        place = scores.astype(np.float64 if scores.dtype == np.float64 else np.float32)
        place -= self._low
        place *= self._steps_per_unit
        steps = place.astype(np.intp)
        return np.clip(steps, 0, self._pixels.size - 1, out=steps)

    def _ranks(self) -> tuple[_Ranks, np.ndarray]:
        """Ranks of the steps with a defective pixel, and each step's share of the coverage."""
        if not self._maxima:
            raise ValueError("there are no maps to evaluate")
        used = np.flatnonzero(self._defective)
        _check_classes(self._components, int(self._pixels.sum() - self._defective.sum()))
        return self._ranks_at(used), self._shares[used] / self._components

    def _ranks_at(self, steps: np.ndarray) -> _Ranks:
        normal = self._pixels - self._defective
        total = int(normal.sum())
        above = (total - np.cumsum(normal))[steps]
        return _Ranks(self._defective[steps], above, normal[steps], total)


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


def _check_limit(pro_limit: float) -> None:
    if not 0 < pro_limit <= 1:
        raise ValueError(f"pro_limit is {pro_limit}; it is a false positive rate in (0, 1]")


def _check_pairs(maps: Maps, masks: Masks) -> None:
    if len(maps) != len(masks):
        raise ValueError(f"there are {len(maps)} maps and {len(masks)} masks")
    if len(maps) == 0:
        raise ValueError("there are no maps to evaluate")
    for index, mask in enumerate(masks):
        _check_mask(mask, index)


def _check_mask(mask: np.ndarray, index: int) -> None:
    if mask.dtype != bool:
        raise ValueError(f"masks[{index}] is {mask.dtype}, not bool")


def _check_classes(components: int, negatives: int) -> None:
    if components == 0 or negatives == 0:
        raise ValueError(f"the masks hold no {'normal' if components else 'defective'} pixel")


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
        component, areas = _label(mask)
        shares.append((1.0 / areas)[component])
        components += areas.size
    normal.sort()
    _check_classes(components, normal.size)
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


def _label(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 8-connected component (from 0 on) of each true pixel, and every component's area."""
    if not mask.any():
        return np.empty(0, np.intp), np.empty(0, np.intp)
    pixels = np.ascontiguousarray(mask).view(np.uint8)
    _, component_map = cv2.connectedComponents(pixels, connectivity=8, ltype=cv2.CV_32S)
    component = component_map[mask].astype(np.intp) - 1
    return component, np.bincount(component)


def _components_of_image(
    scores: np.ndarray, mask: np.ndarray, coverage: np.ndarray
) -> list[ComponentResult]:
    """The image's components, given the coverage of each of its defective pixels."""
    component, areas = _label(mask)
    order = np.argsort(component, kind="stable")
    groups = np.split(order, np.cumsum(areas)[:-1]) if areas.size else []
    places, values = np.argwhere(mask), scores[mask]
    return [
        _component_result(places[own], values[own], coverage[own])
        for own in sorted(groups, key=lambda own: own[0])
    ]


def _component_result(
    places: np.ndarray, scores: np.ndarray, coverage: np.ndarray
) -> ComponentResult:
    (top, left), (bottom, right) = places.min(axis=0), places.max(axis=0)
    return ComponentResult(
        top=int(top),
        left=int(left),
        height=int(bottom - top) + 1,
        width=int(right - left) + 1,
        area_px=len(places),
        maximum=float(scores.max()),
        coverage=float(coverage.mean()),
    )


def _image_result(scores: np.ndarray, mask: np.ndarray, maximum: float) -> ImageResult:
    defective = int(np.count_nonzero(mask))
    if defective in (0, mask.size):
        return ImageResult(None, None, maximum, defective)
    ranks, _ = _rank(scores[mask], np.sort(scores[~mask]))
    return ImageResult(_average_precision(ranks), _auroc(ranks), maximum, defective)


def _rank(positives: np.ndarray, sorted_negatives: np.ndarray) -> tuple[_Ranks, np.ndarray]:
    """Ranks of the distinct positive scores, and for each positive which of these is its own."""
    distinct, place, counts = np.unique(positives, return_inverse=True, return_counts=True)
    right = np.searchsorted(sorted_negatives, distinct, side="right")
    left = np.searchsorted(sorted_negatives, distinct, side="left")
    negatives = sorted_negatives.size
    return _Ranks(counts, negatives - right, right - left, negatives), place


def _auroc(ranks: _Ranks) -> float:
    """The share of (positive, negative) pairs in the right order; counted in whole half-pairs."""
    below_twice = 2 * (ranks.negatives - ranks.above) - ranks.equal
    halves = int(np.sum(ranks.positives * below_twice))
    return halves / (2 * ranks.negatives * int(ranks.positives.sum()))


def _average_precision(ranks: _Ranks) -> float:
    """Precision at each positive's own score, averaged over positives."""
    precision = _precision(_true_positives(ranks), ranks.above + ranks.equal)
    return float(np.sum(ranks.positives * precision) / ranks.positives.sum())


def _average_precision_error(ranks: _Ranks) -> float:
    """How far AP may move when the scores within each rank are told apart."""
    found = _true_positives(ranks)
    tied = _precision(found, ranks.above + ranks.equal)
    highest = _precision(found, ranks.above)
    lowest = _precision(found - ranks.positives + 1, ranks.above + ranks.equal)
    error = np.maximum(highest - tied, tied - lowest)
    return float(np.sum(ranks.positives * error) / ranks.positives.sum())


def _true_positives(ranks: _Ranks) -> np.ndarray:
    """How many positives score as high as each distinct one, or higher."""
    return np.cumsum(ranks.positives[::-1])[::-1]


def _precision(true_positives: np.ndarray, false_positives: np.ndarray) -> np.ndarray:
    return true_positives / (true_positives + false_positives)


def _region_overlap(ranks: _Ranks, shares: np.ndarray, limit: float) -> float:
    """PRO: each score's coverage, weighted by its share of the mean over all components."""
    return float(np.sum(shares * _coverage(ranks, limit)))


def _coverage(ranks: _Ranks, limit: float) -> np.ndarray:
    """How much of the false positive rates from 0 to `limit` each positive score is covered.

    It is covered from `above` false positives on, rising linearly over the `equal` ones that share
    its score: a ramp and a plateau, cut at the limit.
    """
    allowed = limit * ranks.negatives
    plateau = np.clip(allowed - ranks.above - ranks.equal, 0.0, None)
    on_ramp = np.clip(allowed - ranks.above, 0.0, ranks.equal)
    ramp = on_ramp**2 / (2 * np.maximum(ranks.equal, 1))
    return (plateau + ramp) / allowed


def _region_overlap_error(ranks: _Ranks, shares: np.ndarray, limit: float) -> float:
    """How far PRO may move when the scores within each rank are told apart."""
    allowed = limit * ranks.negatives
    tied = _coverage(ranks, limit)
    highest = np.clip(allowed - ranks.above, 0.0, None) / allowed
    lowest = np.clip(allowed - ranks.above - ranks.equal, 0.0, None) / allowed
    return float(np.sum(shares * np.maximum(highest - tied, tied - lowest)))


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
    ranks, _ = _rank(scores[is_defective], np.sort(scores[~is_defective]))
    return _auroc(ranks)
