"""Precision-recall and region-overlap curves of anomaly maps, as short steps whose area is exact.

A curve has as many corners as there are distinct scores, millions; a figure needs a few hundred. So
it is cut into slices, and the mean height of each is kept: drawn as steps it looks the same, and
its area is still the reported number. Seeds of one method share their edges, so that their mean
curve has the mean area.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float

Maps = Sequence[Float[np.ndarray, "_ _"]] | Float[np.ndarray, "_ _ _"]
Masks = Sequence[Bool[np.ndarray, "_ _"]] | Bool[np.ndarray, "_ _ _"]


@dataclass(frozen=True, eq=False)
class Steps:
    """A curve by its slices: `means[i]` is its mean height from `edges[i]` to `edges[i + 1]`."""

    edges: Float[np.ndarray, " edge"]
    means: Float[np.ndarray, " step"]

    @property
    def mean(self) -> float:
        """The area below the curve, divided by its width."""
        return float(np.average(self.means, weights=np.diff(self.edges)))


@dataclass(frozen=True, eq=False)
class MapCurves:
    """Precision against recall, and mean region overlap against false positive rate."""

    precision: Steps
    overlap: Steps


def map_curves(maps: Maps, masks: Masks, *, pro_limit: float = 0.3, slices: int = 200) -> MapCurves:
    """Both curves of a data set, over all pixels of all images together.

    Masks are true at defects. The mean of the precision is the AP, that of the overlap the PRO of
    `metrics.pixel_metrics`: every distinct score is a threshold. Recall is cut evenly; the false
    positive rate, from 0 to `pro_limit`, more finely towards 0, where the overlap is steep. Raises
    ValueError without a defective or without a normal pixel.

    Source: paper Sec. 4.1; Bergmann et al., IJCV 2021 (PRO).
    """
    pairs = list(zip(maps, masks, strict=True))
    positives = np.concatenate([scores[mask] for scores, mask in pairs])
    negatives = np.concatenate([scores[~mask] for scores, mask in pairs])
    if not positives.size or not negatives.size:
        raise ValueError(f"the masks hold no {'normal' if positives.size else 'defective'} pixel")
    negatives.sort()
    weights = np.concatenate([_region_weights(mask) for mask in masks])
    overlap = _overlap(positives, negatives, weights / weights.sum(), pro_limit, slices)
    return MapCurves(_precision(positives, negatives, slices), overlap)


def average_precision(
    scores: Float[np.ndarray, "height width"], mask: Bool[np.ndarray, "height width"]
) -> float:
    """The pixel AP of one map; ValueError when its mask is empty or full."""
    positives, negatives = scores[mask], np.sort(scores[~mask])
    if not positives.size or not negatives.size:
        raise ValueError("the average precision of an empty or full mask is undefined")
    return _precision(positives, negatives, 1).mean


def _precision(positives: np.ndarray, sorted_negatives: np.ndarray, slices: int) -> Steps:
    """Precision at the score of each positive pixel, from the highest: slices of equal recall."""
    ascending = np.sort(positives)
    detected = _at_least(ascending, ascending)
    precision = (detected / (detected + _at_least(sorted_negatives, ascending)))[::-1]
    count = len(precision)
    cuts = np.linspace(0, count, min(slices, count) + 1).round().astype(int)
    return Steps(cuts / count, np.add.reduceat(precision, cuts[:-1]) / np.diff(cuts))


def _overlap(
    positives: np.ndarray,
    sorted_negatives: np.ndarray,
    weights: np.ndarray,
    limit: float,
    slices: int,
) -> Steps:
    """Each score adds its pixels' weights while the false positives that share it are added."""
    scores, place = np.unique(-positives, return_inverse=True)
    first = sorted_negatives.size - np.searchsorted(sorted_negatives, -scores, side="right")
    last = _at_least(sorted_negatives, -scores)
    risen = np.cumsum(np.bincount(place, weights=weights))
    rates = np.concatenate([[0], np.column_stack([first, last]).ravel(), [sorted_negatives.size]])
    heights = np.concatenate([[0.0, 0.0], np.repeat(risen, 2)])
    edges = limit * np.linspace(0, 1, slices + 1) ** 2
    areas = _area_up_to(edges, rates / sorted_negatives.size, heights)
    return Steps(edges, np.diff(areas) / np.diff(edges))


def _at_least(ascending: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """How many of the sorted values reach each score."""
    return len(ascending) - np.searchsorted(ascending, scores, side="left")


def _area_up_to(places: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The area below the line through the corners (x, y), x ascending, from 0 to each place."""
    widths = np.diff(x)
    corners = np.concatenate([[0.0], np.cumsum(widths * (y[1:] + y[:-1]) / 2)])
    left = np.clip(np.searchsorted(x, places, side="right") - 1, 0, len(widths) - 1)
    share = (places - x[left]) / np.where(widths[left] > 0, widths[left], 1)
    height = y[left] + (y[left + 1] - y[left]) * share
    return corners[left] + (places - x[left]) * (y[left] + height) / 2


def _region_weights(mask: Bool[np.ndarray, "height width"]) -> np.ndarray:
    """For each true pixel, 1 / the size of its 8-connected defect."""
    pixels = np.ascontiguousarray(mask).view(np.uint8)
    regions = cv2.connectedComponents(pixels, connectivity=8, ltype=cv2.CV_32S)[1]
    numbers = regions[mask].astype(np.int64)
    return 1 / np.bincount(numbers)[numbers]
