"""The metrics of maps in bounded memory: scores counted in bins."""

import math

import numpy as np
from jaxtyping import Bool, Float

from adclick.metrics.ranks import (
    ComponentResult,
    PixelMetrics,
    Ranks,
    auroc_of_images,
    auroc_of_ranks,
    average_precision_error,
    average_precision_of_ranks,
    check_classes,
    check_limit,
    check_mask,
    checked_maximum,
    components_of_image,
    coverage_of_regions,
    found_by,
    label_components,
    region_overlap,
    region_overlap_error,
)

CHUNK = 2**14  # pixels that are binned at a time: they stay in the cache


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

    @property
    def bins(self) -> int:
        """In how many steps pixels are counted."""
        return self._pixels.size

    def add(self, scores: Float[np.ndarray, "_ _"], mask: Bool[np.ndarray, "_ _"]) -> None:
        """Count one image: its map, and the mask that is true at defects.

        Raises ValueError, and counts nothing, for a NaN, a score outside the range, and shapes that
        differ; the message names the image by how many came before it.
        """
        check_mask(mask, len(self._maxima))
        maximum = checked_maximum(scores, mask, len(self._maxima))
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
        component, areas = label_components(mask)
        steps = self._steps(scores[mask])
        np.add.at(self._defective, steps, 1)
        np.add.at(self._shares, steps, (1.0 / areas)[component])
        self._components += areas.size
        self._is_defective.append(areas.size > 0)

    def join(self, other: "StreamingMetrics") -> None:
        """Count the images of another of the same range and steps behind those here; ValueError for
        a different one.
        """
        mine, theirs = ((one._low, one._high, one._pixels.size) for one in (self, other))
        if mine != theirs:
            raise ValueError(f"steps of {theirs} cannot be counted in those of {mine}")
        self._pixels += other._pixels
        self._defective += other._defective
        self._shares += other._shares
        self._components += other._components
        self._maxima += other._maxima
        self._is_defective += other._is_defective

    def result(self, *, pro_limit: float | int = 0.3) -> PixelMetrics:
        """The metrics of all images so far; errors as in `pixel_metrics`."""
        check_limit(pro_limit)
        ranks, shares = self.ranks()
        return PixelMetrics(
            ap=average_precision_of_ranks(ranks),
            auroc=auroc_of_ranks(ranks),
            pro=region_overlap(ranks, shares, pro_limit),
            image_auroc=auroc_of_images(np.array(self._maxima), np.array(self._is_defective)),
        )

    def uncertainty(self, *, pro_limit: float | int = 0.3) -> PixelMetrics:
        """By how much each metric of `result` may differ from the exact one, at the most."""
        check_limit(pro_limit)
        ranks, shares = self.ranks()
        return PixelMetrics(
            ap=average_precision_error(ranks),
            auroc=float(np.sum(ranks.positives / ranks.positives.sum() * ranks.equal))
            / (2 * ranks.negatives),
            pro=region_overlap_error(ranks, shares, pro_limit),
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
        check_limit(pro_limit)
        steps = self._steps(scores[mask])
        everywhere = self._ranks_at(np.arange(self._pixels.size))
        covered = coverage_of_regions(everywhere, pro_limit)[steps]
        return components_of_image(scores, mask, covered, found_by(everywhere)[steps])

    def _steps(self, scores: np.ndarray) -> np.ndarray:
        """The bin of each score; a rising function of it, whatever is rounded."""
        place = scores.astype(np.float64 if scores.dtype == np.float64 else np.float32)
        place -= self._low
        place *= self._steps_per_unit
        steps = place.astype(np.intp)
        return np.clip(steps, 0, self._pixels.size - 1, out=steps)

    def ranks(self) -> tuple[Ranks, Float[np.ndarray, " step"]]:
        """Ranks of the steps with a defective pixel, and each step's share of the coverage; errors
        as in `pixel_metrics`.
        """
        if not self._maxima:
            raise ValueError("there are no maps to evaluate")
        used = np.flatnonzero(self._defective)
        check_classes(self._components, int(self._pixels.sum() - self._defective.sum()))
        return self._ranks_at(used), self._shares[used] / self._components

    def _ranks_at(self, steps: np.ndarray) -> Ranks:
        normal = self._pixels - self._defective
        total = int(normal.sum())
        above = (total - np.cumsum(normal))[steps]
        return Ranks(self._defective[steps], above, normal[steps], total)
