"""What is known of a picture after clicks, for methods that spread it: seeds and their labels."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from jaxtyping import Float32, Int32, UInt8

from adclick.clicks.click import Click, click_disks

LARGEST_SIDE_PX = 512
DEFECT, BACKGROUND = 1, 2  # labels; 0 is not known

# From a picture and its labels to how much every pixel belongs to the defect.
Spread = Callable[
    [UInt8[np.ndarray, "height width 3"], Int32[np.ndarray, "height width"]],
    Float32[np.ndarray, "height width"],
]


def open_seeded(
    image: UInt8[np.ndarray, "height width 3"], spread: Spread, *, radius_px: float | int
) -> Callable[[Sequence[Click], object], Float32[np.ndarray, "height width"]]:
    """A function of clicks (and of a previous answer, which it does not read) to what `spread`
    makes of their seeds, cut to [0, 1].

    Seeds are the disks of the clicks, in pixels of the picture, and as background its outermost
    pixels; where a positive disk covers others, it wins. A picture with a longer side than 512 px
    is answered at that size, and the answer is resized bilinearly. Without a positive click: 0
    everywhere.
    """
    height, width = image.shape[:2]
    scale = min(1.0, LARGEST_SIDE_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    smaller = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image

    def predict(clicks: Sequence[Click], previous: object = None) -> np.ndarray:
        disks = click_disks(clicks, shape=(height, width), radius_px=radius_px)
        labels = _labels(*(cv2.resize(disk, size, interpolation=cv2.INTER_AREA) for disk in disks))
        if set(np.unique(labels)) == {0, DEFECT, BACKGROUND}:
            found = np.clip(spread(smaller, labels), 0, 1)
        else:  # all is known, or there is one answer alone
            found = np.full(labels.shape, (labels == DEFECT).any() and 0 in labels, np.float32)
            found[labels == DEFECT] = 1
        return cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR)

    return predict


def _labels(positive: np.ndarray, negative: np.ndarray) -> Int32[np.ndarray, "height width"]:
    """The labels of two disk maps, with the picture's outermost pixels."""
    labels = np.zeros(positive.shape, np.int32)
    labels[[0, -1]], labels[:, [0, -1]] = BACKGROUND, BACKGROUND
    labels[negative > 0] = BACKGROUND
    labels[positive > 0] = DEFECT
    return labels
