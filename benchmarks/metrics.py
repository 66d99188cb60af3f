"""Pixel AP, AUROC and PRO and image AUROC of a test set."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

import adclick.metrics
from adclick.metrics.pixels import pixel_metrics
from adclick.metrics.ranks import PixelMetrics
from benchmarks.measure import Check, Results, Task, Variant
from benchmarks.pictures import smooth_noise, soft_defect

PRO_LIMIT = 0.3
BYTES_A_PIXEL = 6  # that ours may add in memory
OTHER = "scikit-learn's AUROC and AP, PRO by sorting"
STREAMING = "ours, streaming"


@dataclass(frozen=True)
class Size:
    """How many square maps, and every how many of them is without a defect."""

    images: int
    size_px: int
    good_every: int = 4


SIZES = {
    "tiny": [Size(6, 48)],
    "quick": [Size(20, 256)],
    "normal": [Size(83, 512)],
    "full": [Size(83, 512), Size(83, 1000)],
}


def tasks(scale: str) -> Iterator[Task]:
    """A test set of the size of MVTec AD's bottle."""
    return (_task(size) for size in SIZES[scale])


def _task(size: Size) -> Task:
    maps, masks = _drawn(size)
    variants = [
        Variant("ours", partial(pixel_metrics, maps, masks, pro_limit=PRO_LIMIT)),
        Variant(OTHER, partial(_plain_metrics, maps, masks)),
    ]
    if streaming := getattr(adclick.metrics, "StreamingMetrics", None):
        variants.append(Variant(STREAMING, partial(_streamed, streaming, maps, masks)))

    def agreement(results: Results) -> list[Check]:
        checks = _differences("", results["ours"], results[OTHER], 1e-12)
        if STREAMING in results:
            checks += _differences("streaming: ", results[STREAMING], results[OTHER], 1e-5)
        return checks

    return Task(
        name=f"{size.images} maps of {size.size_px} x {size.size_px},"
        f" {masks.mean():.1%} of pixels defective",
        variants=variants,
        agreement=agreement,
        goals={OTHER: 10},
        memory=[variant.name for variant in variants],
        most_extra_mb=BYTES_A_PIXEL * maps.size / 1e6,
    )


def _drawn(size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Anomaly maps in 0 … 1 that find most of the defects, and the masks of these."""
    random = np.random.default_rng(0)
    shape = (size.images, size.size_px, size.size_px)
    maps, masks = np.empty(shape, np.float32), np.zeros(shape, bool)
    for index in range(size.images):
        scores = 0.3 + 0.15 * smooth_noise(random, size.size_px)
        if index % size.good_every:
            defect = soft_defect(random, size.size_px)
            masks[index] = defect > 0.5
            scores += random.uniform(0.1, 0.5) * np.clip(defect, 0, 1)
        scores += 0.03 * random.standard_normal(scores.shape, np.float32)
        maps[index] = np.clip(scores, 0, 1)
    return maps, masks


def _plain_metrics(maps: np.ndarray, masks: np.ndarray) -> PixelMetrics:
    truth, scores = masks.ravel(), maps.ravel()
    return PixelMetrics(
        ap=float(average_precision_score(truth, scores)),
        auroc=float(roc_auc_score(truth, scores)),
        pro=_region_overlap(maps, masks),
        image_auroc=float(roc_auc_score(masks.any(axis=(1, 2)), maps.max(axis=(1, 2)))),
    )


def _region_overlap(maps: np.ndarray, masks: np.ndarray) -> float:
    """PRO by sorting all pixels: coverage against false positive rate, at every score."""
    shares, regions = _region_shares(masks)
    scores = maps.ravel()
    order = np.argsort(-scores)
    normal = ~masks.ravel()[order]
    rate = np.cumsum(normal) / np.count_nonzero(normal)
    coverage = np.cumsum(shares[order]) / regions
    sorted_scores = scores[order]
    last = np.append(sorted_scores[1:] != sorted_scores[:-1], True)
    rate, coverage = np.append(0, rate[last]), np.append(0, coverage[last])
    inside = rate <= PRO_LIMIT
    edge = np.interp(PRO_LIMIT, rate, coverage)
    rate, coverage = np.append(rate[inside], PRO_LIMIT), np.append(coverage[inside], edge)
    return float(np.trapezoid(coverage, rate) / PRO_LIMIT)


def _region_shares(masks: np.ndarray) -> tuple[np.ndarray, int]:
    """Of every pixel 1 / the size of its region (0 outside), and the number of regions."""
    shares, regions = np.zeros(masks.shape), 0
    for own, mask in zip(shares, masks, strict=True):
        count, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
        for region in range(1, count):
            own[labels == region] = 1 / np.count_nonzero(labels == region)
        regions += count - 1
    return shares.ravel(), regions


def _streamed(kind: Any, maps: np.ndarray, masks: np.ndarray) -> PixelMetrics:
    streaming = kind(0, 1)
    for scores, mask in zip(maps, masks, strict=True):
        streaming.add(scores, mask)
    return streaming.result(pro_limit=PRO_LIMIT)


def _differences(prefix: str, ours: PixelMetrics, other: PixelMetrics, most: float) -> list[Check]:
    """How far each metric is off; PRO, whose curve has many short steps, may be off by 1e-9."""
    return [
        Check(
            f"{prefix}{name} differs by",
            abs(getattr(ours, name) - getattr(other, name)),
            most=max(most, 1e-9) if name == "pro" else most,
        )
        for name in ("ap", "auroc", "pro", "image_auroc")
    ]
