"""Flooding from the clicks: scikit-image's watershed."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from adclick.clicks.click import Click
from adclick.clicks.seeded import DEFECT, open_seeded


def open_peer(
    image: UInt8[np.ndarray, "height width 3"], *, radius_px: float | int, device: object
) -> Callable[[Sequence[Click], object], Float32[np.ndarray, "height width"]]:
    """A function of clicks (and of a previous answer, which it does not read) to a mask: 1 in the
    basins of positive clicks, 0 elsewhere. It has no grades, so curves over thresholds say little.

    Seeds: `open_seeded`. Source: `skimage.segmentation.watershed` on the Sobel gradient of the grey
    picture, flooded from markers, as in scikit-image's user guide.
    """

    def flood(picture: np.ndarray, labels: np.ndarray) -> np.ndarray:
        from skimage.filters import sobel
        from skimage.segmentation import watershed

        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        return (watershed(sobel(grey), labels) == DEFECT).astype(np.float32)

    return open_seeded(image, flood, radius_px=radius_px)
