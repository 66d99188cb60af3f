"""GrabCut: a graph cut between two colour models, started from the clicks."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from adclick.clicks.click import Click, click_disks

ROUNDS = 5
UNUSED = (0, 0, 0, 0)  # the rectangle: labels are given for every pixel
SEED = 0  # of the colour models' first clusters


def open_peer(
    image: UInt8[np.ndarray, "height width 3"], *, radius_px: float | int, device: object
) -> Callable[[Sequence[Click], object], Float32[np.ndarray, "height width"]]:
    """A function of clicks (and of a previous answer, which it does not read) to a mask of 0 and 1.

    Disks of the clicks are certain, and so are the picture's outermost pixels as background, but
    where a positive disk covers them; all else may be either, and starts as background. Without a
    positive click: 0 everywhere. The answer has no grades, so curves over thresholds say little.

    Source: Rother, Kolmogorov, Blake, "GrabCut" (SIGGRAPH 2004), OpenCV's implementation.
    """

    def predict(clicks: Sequence[Click], previous: object = None) -> np.ndarray:
        positive, negative = click_disks(clicks, shape=image.shape[:2], radius_px=radius_px) > 0
        labels = np.full(image.shape[:2], cv2.GC_PR_BGD, np.uint8)
        labels[[0, -1]], labels[:, [0, -1]] = cv2.GC_BGD, cv2.GC_BGD
        labels[negative] = cv2.GC_BGD
        labels[positive] = cv2.GC_FGD
        if not positive.any() or positive.all():
            return positive.astype(np.float32)
        cv2.setRNGSeed(SEED)
        models = np.zeros((2, 1, 65))
        cv2.grabCut(image, labels, UNUSED, models[0], models[1], ROUNDS, mode=cv2.GC_INIT_WITH_MASK)
        return np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)

    return predict
