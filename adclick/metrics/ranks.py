"""What stands above each defective pixel in the normal ones, and what follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float

# Stacks, or sequences whose images differ in shape ("_" is any size).
Maps = Sequence[Float[np.ndarray, "_ _"]] | Float[np.ndarray, "_ _ _"]
Masks = Sequence[Bool[np.ndarray, "_ _"]] | Bool[np.ndarray, "_ _ _"]


FOUND_RATE = 0.001  # of normal pixels, at most, that score as high as a defect that is found


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
    before any normal pixel. PRO is the mean over all defects. It is `found` when its highest score
    stands among those that no more than `FOUND_RATE` of all normal pixels reach.
    """

    top: int
    left: int
    height: int
    width: int
    area_px: int
    maximum: float
    coverage: float
    found: bool


@dataclass(frozen=True)
class Ranks:
    """Where the distinct positive scores, ascending, stand among the negative ones."""

    positives: np.ndarray
    above: np.ndarray
    equal: np.ndarray
    negatives: int


def check_limit(pro_limit: float) -> None:
    """ValueError unless the limit is a false positive rate."""
    if not 0 < pro_limit <= 1:
        raise ValueError(f"pro_limit is {pro_limit}; it is a false positive rate in (0, 1]")


def check_mask(mask: np.ndarray, index: int) -> None:
    """ValueError unless a mask is boolean."""
    if mask.dtype != bool:
        raise ValueError(f"masks[{index}] is {mask.dtype}, not bool")


def check_classes(components: int, negatives: int) -> None:
    """ValueError unless there are defective and normal pixels."""
    if components == 0 or negatives == 0:
        raise ValueError(f"the masks hold no {'normal' if components else 'defective'} pixel")


def checked_maximum(scores: np.ndarray, mask: np.ndarray, index: int) -> float:
    """The largest score of a map; ValueError when it does not fit its mask or holds a NaN."""
    if scores.shape != mask.shape:
        raise ValueError(f"maps[{index}] is {scores.shape}, but masks[{index}] is {mask.shape}")
    if scores.size == 0:
        raise ValueError(f"maps[{index}] has no pixel")
    maximum = float(scores.max())
    if np.isnan(maximum):
        raise ValueError(f"maps[{index}] holds a NaN")
    return maximum


def label_components(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 8-connected component (from 0 on) of each true pixel, and every component's area."""
    if not mask.any():
        return np.empty(0, np.intp), np.empty(0, np.intp)
    pixels = np.ascontiguousarray(mask).view(np.uint8)
    _, component_map = cv2.connectedComponents(pixels, connectivity=8, ltype=cv2.CV_32S)
    component = component_map[mask].astype(np.intp) - 1
    return component, np.bincount(component)


def components_of_image(
    scores: np.ndarray, mask: np.ndarray, coverage: np.ndarray, found: np.ndarray
) -> list[ComponentResult]:
    """The image's components, given the coverage of each of its defective pixels, and which of them
    are `found_by` their ranks.
    """
    component, areas = label_components(mask)
    order = np.argsort(component, kind="stable")
    groups = np.split(order, np.cumsum(areas)[:-1]) if areas.size else []
    places, values = np.argwhere(mask), scores[mask]
    return [
        _component_result(places[own], values[own], coverage[own], found[own])
        for own in sorted(groups, key=lambda own: own[0])
    ]


def _component_result(
    places: np.ndarray, scores: np.ndarray, coverage: np.ndarray, found: np.ndarray
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
        found=bool(found.any()),
    )


def found_by(ranks: Ranks) -> np.ndarray:
    """Which positive scores no more than `FOUND_RATE` of the negative ones reach."""
    return ranks.above + ranks.equal <= FOUND_RATE * ranks.negatives


def rank_scores(positives: np.ndarray, sorted_negatives: np.ndarray) -> tuple[Ranks, np.ndarray]:
    """Ranks of the distinct positive scores, and for each positive which of these is its own."""
    distinct, place, counts = np.unique(positives, return_inverse=True, return_counts=True)
    right = np.searchsorted(sorted_negatives, distinct, side="right")
    left = np.searchsorted(sorted_negatives, distinct, side="left")
    negatives = sorted_negatives.size
    return Ranks(counts, negatives - right, right - left, negatives), place


def auroc_of_ranks(ranks: Ranks) -> float:
    """The share of (positive, negative) pairs in the right order; counted in whole half-pairs."""
    below_twice = 2 * (ranks.negatives - ranks.above) - ranks.equal
    halves = int(np.sum(ranks.positives * below_twice))
    return halves / (2 * ranks.negatives * int(ranks.positives.sum()))


def average_precision_of_ranks(ranks: Ranks) -> float:
    """Precision at each positive's own score, averaged over positives."""
    return float(np.sum(ranks.positives * precision_of_ranks(ranks)) / ranks.positives.sum())


def precision_of_ranks(ranks: Ranks) -> np.ndarray:
    """Precision at each distinct positive score."""
    return _precision(_true_positives(ranks), ranks.above + ranks.equal)


def average_precision_error(ranks: Ranks) -> float:
    """How far AP may move when the scores within each rank are told apart."""
    found = _true_positives(ranks)
    tied = precision_of_ranks(ranks)
    highest = _precision(found, ranks.above)
    lowest = _precision(found - ranks.positives + 1, ranks.above + ranks.equal)
    error = np.maximum(highest - tied, tied - lowest)
    return float(np.sum(ranks.positives * error) / ranks.positives.sum())


def _true_positives(ranks: Ranks) -> np.ndarray:
    """How many positives score as high as each distinct one, or higher."""
    return np.cumsum(ranks.positives[::-1])[::-1]


def _precision(true_positives: np.ndarray, false_positives: np.ndarray) -> np.ndarray:
    return true_positives / (true_positives + false_positives)


def region_overlap(ranks: Ranks, shares: np.ndarray, limit: float) -> float:
    """PRO: each score's coverage, weighted by its share of the mean over all components."""
    return float(np.sum(shares * coverage_of_regions(ranks, limit)))


def coverage_of_regions(ranks: Ranks, limit: float) -> np.ndarray:
    """How much of the false positive rates from 0 to `limit` each positive score is covered.

    It is covered from `above` false positives on, rising linearly over the `equal` ones that share
    its score: a ramp and a plateau, cut at the limit.
    """
    allowed = limit * ranks.negatives
    plateau = np.clip(allowed - ranks.above - ranks.equal, 0.0, None)
    on_ramp = np.clip(allowed - ranks.above, 0.0, ranks.equal)
    ramp = on_ramp**2 / (2 * np.maximum(ranks.equal, 1))
    return (plateau + ramp) / allowed


def region_overlap_error(ranks: Ranks, shares: np.ndarray, limit: float) -> float:
    """How far PRO may move when the scores within each rank are told apart."""
    allowed = limit * ranks.negatives
    tied = coverage_of_regions(ranks, limit)
    highest = np.clip(allowed - ranks.above, 0.0, None) / allowed
    lowest = np.clip(allowed - ranks.above - ranks.equal, 0.0, None) / allowed
    return float(np.sum(shares * np.maximum(highest - tied, tied - lowest)))


def auroc_of_images(scores: np.ndarray, is_defective: np.ndarray) -> float | None:
    """AUROC of one score an image; None without a normal image."""
    if is_defective.all():
        return None
    ranks, _ = rank_scores(scores[is_defective], np.sort(scores[~is_defective]))
    return auroc_of_ranks(ranks)
