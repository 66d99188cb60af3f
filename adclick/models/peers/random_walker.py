"""The rival that knows edges and nothing of what is normal: scikit-image's random walker."""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float32, UInt8

from adclick.clicks.click import Click
from adclick.clicks.seeded import DEFECT, open_seeded

BETA = 130  # scikit-image's default
MODE = "cg_j"  # its advice where multigrid (pyamg) is not installed


def open_peer(
    image: UInt8[np.ndarray, "height width 3"], *, radius_px: float | int, device: object
) -> Callable[[Sequence[Click], object], Float32[np.ndarray, "height width"]]:
    """A function of clicks (and of a previous answer, which it does not read) to the probability
    that a random walker who starts at a pixel meets a positive click's disk first.

    Seeds: `open_seeded`. Source: `skimage.segmentation.random_walker` with its default beta; Grady,
    "Random Walks for Image Segmentation" (TPAMI 2006).
    """

    def walk(picture: np.ndarray, labels: np.ndarray) -> np.ndarray:
        from skimage.segmentation import random_walker

        if (picture == picture[0, 0]).all():  # the library divides by the deviation of the colours
            picture = picture.copy()
            picture[0, 0] ^= 255  # no walk passes a corner: itself and its neighbours are seeds
        with warnings.catch_warnings():
            # At its default tolerance the solution may leave [0, 1] a little; it is cut below.
            warnings.filterwarnings("ignore", message="The probability range is outside")
            chances = random_walker(
                picture, labels, beta=BETA, mode=MODE, channel_axis=-1, return_full_prob=True
            )
        return np.asarray(chances[DEFECT - 1], np.float32)

    return open_seeded(image, walk, radius_px=radius_px)
