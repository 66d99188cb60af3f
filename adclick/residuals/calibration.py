"""The training-free map as a logit: what a trained detector starts from and adds to."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32

SMALLEST_SHARE = 1e-3  # of the middle of normal maps: below it nothing is told apart
ITERATIONS = 60
RIDGE = 1e-3
DEFECTIVE_SHARE = 0.02  # of pixels, assumed: labelled pictures say nothing about how many are good
LEAST_SLOPE = 0.25  # the map's order is never turned round, however few pixels are defective


@dataclass(frozen=True)
class Calibration:
    """How a training-free map becomes a logit: `slope` * log(map / `middle`) + `offset`.

    `middle` is in the map's units, and positive; the slope is positive, so that pixels keep their
    order.
    """

    middle: float
    slope: float
    offset: float


def fit_calibration(
    maps: Sequence[Float[np.ndarray, "..."]],
    masks: Sequence[Bool[np.ndarray, "..."]],
    *,
    middle: float | None = None,
) -> Calibration:
    """The calibration under which defective pixels (of labelled or simulated defects) and normal
    ones are as likely as can be: logistic regression on the logarithm of finished maps
    (`training_free_map`).

    `middle` is the median of normal pixels unless it is given. Whatever their numbers,
    `DEFECTIVE_SHARE` of all pixels counts as defective, the rest as normal. ValueError without a
    defective or a normal pixel.

    Source: Platt scaling.
    """
    defective = np.concatenate([own[mask] for own, mask in zip(maps, masks, strict=True)])
    normal = np.concatenate([own[~mask] for own, mask in zip(maps, masks, strict=True)])
    if not defective.size or not normal.size:
        raise ValueError("a calibration needs defective and normal pixels")
    if middle is None:
        middle = max(float(np.median(normal)), float(np.finfo(np.float32).tiny))
    scores = np.concatenate([_logarithm(defective, middle), _logarithm(normal, middle)])
    labels = np.concatenate([np.ones(defective.size), np.zeros(normal.size)])
    weights = np.concatenate(
        [np.full(defective.size, 0.5 / defective.size), np.full(normal.size, 0.5 / normal.size)]
    )
    slope, offset = _logistic(scores.astype(np.float64), labels, weights)
    prior = float(np.log(DEFECTIVE_SHARE / (1 - DEFECTIVE_SHARE)))
    return Calibration(middle=middle, slope=max(slope, LEAST_SLOPE), offset=offset + prior)


def mean_calibration(calibrations: Sequence[Calibration]) -> Calibration:
    """The calibration whose logit is the mean of theirs. ValueError when their middles differ."""
    middle = calibrations[0].middle
    if any(own.middle != middle for own in calibrations):
        raise ValueError("calibrations of different middles have no mean")
    return Calibration(
        middle=middle,
        slope=float(np.mean([own.slope for own in calibrations])),
        offset=float(np.mean([own.offset for own in calibrations])),
    )


def base_logits(
    training_free: Float[np.ndarray, "*image height width"], calibration: Calibration
) -> Float32[np.ndarray, "*image height width"]:
    """The calibrated logit of a finished training-free map; it ranks pixels as the map does."""
    logarithm = _logarithm(training_free, calibration.middle)
    return (calibration.slope * logarithm + calibration.offset).astype(np.float32)


def _logarithm(scores: np.ndarray, middle: float) -> np.ndarray:
    above = np.maximum(np.asarray(scores, np.float64), 0)  # maps are; a broken file may not be
    return np.log(above / middle + SMALLEST_SHARE)


def _logistic(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Slope and offset of a weighted logistic regression of one variable, by Newton's method."""
    design = np.stack([scores, np.ones_like(scores)])
    found = np.zeros(2)
    for _ in range(ITERATIONS):
        probability = 1 / (1 + np.exp(-np.clip(found @ design, -30, 30)))
        gradient = design @ (weights * (probability - labels)) + RIDGE * found * [1, 0]
        curvature = weights * probability * (1 - probability)
        hessian = (design * curvature) @ design.T + np.diag([RIDGE, 1e-9])
        step = np.linalg.solve(hessian, gradient)
        found -= step * min(1.0, 4.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-9:
            break
    return float(found[0]), float(found[1])
