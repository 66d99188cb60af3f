"""Precision-recall and region-overlap curves of anomaly maps, as short steps whose area is exact.

A curve has as many corners as there are distinct scores, millions; a figure needs a few hundred. So
it is cut into slices, and the mean height of each is kept: drawn as steps it looks the same, and
its area is still the reported number. Seeds of one method share their edges, so that their mean
curve has the mean area.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from adclick.metrics.pixels import gather
from adclick.metrics.ranks import Maps, Masks, Ranks, precision_of_ranks, rank_scores
from adclick.metrics.streaming import StreamingMetrics


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
    positive rate, from 0 to `pro_limit`, more finely towards 0, where the overlap is steep. Images
    and errors as there.

    Source: paper Sec. 4.1; Bergmann et al., IJCV 2021 (PRO).
    """
    pixels = gather(maps, masks)
    ranks, place = rank_scores(pixels.defective, pixels.normal)
    shares = np.bincount(place, weights=pixels.shares / pixels.shares.sum())
    return _curves(ranks, shares, pro_limit, slices)


def streamed_curves(
    counted: StreamingMetrics, *, pro_limit: float = 0.3, slices: int = 200
) -> MapCurves:
    """`map_curves` of images that were counted one after the other."""
    return _curves(*counted.ranks(), pro_limit, slices)


def _curves(ranks: Ranks, shares: np.ndarray, pro_limit: float, slices: int) -> MapCurves:
    return MapCurves(_precision(ranks, slices), _overlap(ranks, shares, pro_limit, slices))


def _precision(ranks: Ranks, slices: int) -> Steps:
    """Precision at the score of each positive pixel, from the highest: slices of equal recall."""
    precision = np.repeat(precision_of_ranks(ranks), ranks.positives)[::-1]
    count = len(precision)
    cuts = np.linspace(0, count, min(slices, count) + 1).round().astype(int)
    return Steps(cuts / count, np.add.reduceat(precision, cuts[:-1]) / np.diff(cuts))


def _overlap(ranks: Ranks, shares: np.ndarray, limit: float, slices: int) -> Steps:
    """Each score adds its pixels' shares while the false positives that share it are added."""
    falsely = np.column_stack([ranks.above, ranks.above + ranks.equal])[::-1]
    rates = np.concatenate([[0], falsely.ravel(), [ranks.negatives]]) / ranks.negatives
    heights = np.concatenate([[0.0, 0.0], np.repeat(np.cumsum(shares[::-1]), 2)])
    edges = limit * np.linspace(0, 1, slices + 1) ** 2
    return Steps(edges, np.diff(_area_up_to(edges, rates, heights)) / np.diff(edges))


def _area_up_to(places: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The area below the line through the corners (x, y), x ascending, from 0 to each place."""
    widths = np.diff(x)
    corners = np.concatenate([[0.0], np.cumsum(widths * (y[1:] + y[:-1]) / 2)])
    left = np.clip(np.searchsorted(x, places, side="right") - 1, 0, len(widths) - 1)
    share = (places - x[left]) / np.where(widths[left] > 0, widths[left], 1)
    height = y[left] + (y[left + 1] - y[left]) * share
    return corners[left] + (places - x[left]) * (y[left] + height) / 2
