"""How good clicked masks are: IoU and the number of clicks that a mask takes."""

import numpy as np
from jaxtyping import Bool, Float


def iou(
    prediction: Bool[np.ndarray, "height width"], truth: Bool[np.ndarray, "height width"]
) -> float:
    """Intersection over union of two masks; 1 when both are empty."""
    if prediction.shape != truth.shape:
        raise ValueError(f"the prediction is {prediction.shape}, the truth {truth.shape}")
    union = np.count_nonzero(prediction | truth)
    return float(np.count_nonzero(prediction & truth) / union) if union else 1.0


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
