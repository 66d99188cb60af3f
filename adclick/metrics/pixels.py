"""How good maps are over all pixels: AP, AUROC, PRO, as fractions in [0, 1].

The map metrics are sums over the defective pixels, of what stands above each in the normal ones. So
only the normal scores are sorted, in one buffer of 4 bytes a pixel, and nothing is carried along
with them; or, where memory must not grow, counted in bins (`adclick.metrics.streaming`).
"""

from dataclasses import dataclass

import numpy as np

from adclick.metrics.ranks import (
    ComponentResult,
    ImageResult,
    Maps,
    Masks,
    PixelMetrics,
    auroc_of_images,
    auroc_of_ranks,
    average_precision_of_ranks,
    check_classes,
    check_limit,
    check_mask,
    checked_maximum,
    components_of_image,
    coverage_of_regions,
    found_by,
    label_components,
    rank_scores,
    region_overlap,
)


@dataclass(frozen=True)
class Pixels:
    """All pixels of a data set: normal scores sorted, defective ones with 1 / component size."""

    normal: np.ndarray
    defective: np.ndarray
    shares: np.ndarray
    components: int
    maxima: np.ndarray
    is_defective: np.ndarray


def pixel_metrics(maps: Maps, masks: Masks, *, pro_limit: float | int = 0.3) -> PixelMetrics:
    """Pixel AP, AUROC and PRO over all pixels of all images together, and the images' AUROC.

    Higher scores are more anomalous, in any range; infinite ones are the highest and the lowest.
    Masks are true at defects. Images may differ in shape. Every distinct score is a threshold, ties
    included: AP and AUROC are those of scikit-learn. PRO averages the coverage of the 8-connected
    defects (each of equal weight) over the false positive rates from 0 to `pro_limit`, linear
    between thresholds: the MVTec AD evaluation. An image's score is its map's maximum;
    tied images count half. `image_auroc` is None where every image is defective. Scores are
    compared in float64 when any map is float64, else in float32.

    Raises ValueError for no image, a NaN, a map and a mask of different shape (naming the image's
    index), and a data set without a defective or without a normal pixel.

    Source: paper Sec. 4.1; Bergmann et al., IJCV 2021 (PRO).
    """
    check_limit(pro_limit)
    pixels = gather(maps, masks)
    ranks, place = rank_scores(pixels.defective, pixels.normal)
    shares = np.bincount(place, weights=pixels.shares)
    return PixelMetrics(
        ap=average_precision_of_ranks(ranks),
        auroc=auroc_of_ranks(ranks),
        pro=region_overlap(ranks, shares / pixels.components, pro_limit),
        image_auroc=auroc_of_images(pixels.maxima, pixels.is_defective),
    )


def image_results(maps: Maps, masks: Masks) -> list[ImageResult]:
    """AP, AUROC and highest score of every image by itself, its own normal pixels the negatives.

    Images as in `pixel_metrics`, but all may be good. Raises ValueError for a NaN and for shapes
    that differ, naming the index.
    """
    _check_pairs(maps, masks)
    return [
        _image_result(scores, mask, checked_maximum(scores, mask, index))
        for index, (scores, mask) in enumerate(zip(maps, masks, strict=True))
    ]


def component_results(
    maps: Maps, masks: Masks, *, pro_limit: float | int = 0.3
) -> list[list[ComponentResult]]:
    """Every image's defects, in reading order of their first pixels: which are found, and how well.

    One list an image, empty for a good one. Images and errors as in `pixel_metrics`; the mean of
    all `coverage` is its PRO.
    """
    check_limit(pro_limit)
    pixels = gather(maps, masks)
    ranks, place = rank_scores(pixels.defective, pixels.normal)
    ends = np.cumsum([np.count_nonzero(mask) for mask in masks])[:-1]
    covered, found = (
        np.split(values[place], ends)
        for values in (coverage_of_regions(ranks, pro_limit), found_by(ranks))
    )
    return [components_of_image(*one) for one in zip(maps, masks, covered, found, strict=True)]


def _check_pairs(maps: Maps, masks: Masks) -> None:
    if len(maps) != len(masks):
        raise ValueError(f"there are {len(maps)} maps and {len(masks)} masks")
    if len(maps) == 0:
        raise ValueError("there are no maps to evaluate")
    for index, mask in enumerate(masks):
        check_mask(mask, index)


def gather(maps: Maps, masks: Masks) -> Pixels:
    """One pass over the images: normal scores into one buffer, defective ones with weights.

    Images and errors as in `pixel_metrics`.
    """
    _check_pairs(maps, masks)
    normal = _empty_buffer(maps, sum(np.count_nonzero(~mask) for mask in masks))
    defective, shares, maxima = [], [], []
    filled = components = 0
    for index, (scores, mask) in enumerate(zip(maps, masks, strict=True)):
        maxima.append(checked_maximum(scores, mask, index))
        outside = scores[~mask]
        normal[filled : filled + outside.size] = outside
        filled += outside.size
        defective.append(scores[mask].astype(normal.dtype))
        component, areas = label_components(mask)
        shares.append((1.0 / areas)[component])
        components += areas.size
    normal.sort()
    check_classes(components, normal.size)
    return Pixels(
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


def _image_result(scores: np.ndarray, mask: np.ndarray, maximum: float) -> ImageResult:
    defective = int(np.count_nonzero(mask))
    if defective in (0, mask.size):
        return ImageResult(None, None, maximum, defective)
    ranks, _ = rank_scores(scores[mask], np.sort(scores[~mask]))
    return ImageResult(average_precision_of_ranks(ranks), auroc_of_ranks(ranks), maximum, defective)
