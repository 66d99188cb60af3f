"""The rival that learns nothing: the training-free anomaly map, cut where the clicks say."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32

from adclick.clicks.click import Click


def click_threshold(
    anomaly_map: Float[np.ndarray, "height width"], clicks: Sequence[Click]
) -> Float32[np.ndarray, "height width"]:
    """The probability x / (x + t), x being the map above its minimum, t set by the clicks.

    It is 0.5 at the threshold, rises with the map, and does not change when the map is scaled or
    shifted. With p the lowest x under a positive click, and n the highest x under a negative click
    that is lower than p:

    * t = (p + n) / 2, and t = p / 2 without such a negative (the map's minimum stands in for it);
    * so a positive click always gets at least 0.5, and negative clicks that contradict it are
      overruled;
    * negatives alone: half of the map's highest x, or 2 n where that is more; no clicks: half of
      the highest x.

    Clicks are in the map's own pixels. Raises ValueError for a click outside it, or a map that is
    not finite.

    Source: a baseline of ours; nothing in it is fitted.
    """
    if not np.isfinite(anomaly_map).all():
        raise ValueError("the anomaly map holds values that are not finite")
    height = anomaly_map.astype(np.float64)
    height -= height.min()
    threshold = _threshold(height, clicks)
    # 0 for a flat map, or a positive click at the map's lowest point: nothing tells pixels apart.
    if threshold == 0:
        return np.full(height.shape, any(click.positive for click in clicks), dtype=np.float32)
    return (height / (height + threshold)).astype(np.float32)


def _threshold(height: np.ndarray, clicks: Sequence[Click]) -> float:
    positives = [_value(height, click) for click in clicks if click.positive]
    negatives = [_value(height, click) for click in clicks if not click.positive]
    if not positives:
        return max([height.max() / 2, *(2 * value for value in negatives)])
    lowest = min(positives)
    return (lowest + max([value for value in negatives if value < lowest], default=0.0)) / 2


def _value(height: np.ndarray, click: Click) -> float:
    rows, columns = height.shape
    if not (0 <= click.row < rows and 0 <= click.column < columns):
        raise ValueError(f"{click} is outside the map of {rows} x {columns} pixels")
    return float(height[click.row, click.column])
