"""PRO as it is defined, one threshold after the other: slow, and obviously right."""

import numpy as np
from scipy.ndimage import label


def region_overlap_curve(maps, masks):
    """(false positive rate, mean coverage of the regions) at every score, strictest first."""
    regions = []
    for scores, mask in zip(maps, masks, strict=True):
        numbered, count = label(mask, structure=np.ones((3, 3)))
        regions += [scores[numbered == number] for number in range(1, count + 1)]
    normal = np.concatenate([scores[~mask] for scores, mask in zip(maps, masks, strict=True)])
    thresholds = np.unique(np.concatenate([scores.ravel() for scores in maps]))[::-1]
    points = [(0.0, 0.0)]
    for threshold in thresholds:
        false_positive_rate = float(np.mean(normal >= threshold))
        coverage = float(np.mean([np.mean(region >= threshold) for region in regions]))
        points.append((false_positive_rate, coverage))
    return points


def region_overlap(maps, masks, limit):
    """Area under the curve from 0 to `limit` by trapezoids, the last one cut; over `limit`."""
    area = 0.0
    points = region_overlap_curve(maps, masks)
    for (left, low), (right, high) in zip(points, points[1:], strict=False):
        if left >= limit:
            break
        if right > limit:
            high = low + (high - low) * (limit - left) / (right - left)
            right = limit
        area += (right - left) * (low + high) / 2
    return area / limit
