"""The rival that knows edges and nothing of what is normal: the random walker."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8
from scipy.sparse import coo_array, csc_array
from scipy.sparse.linalg import splu

from adclick.clicks.click import Click, click_disks

BETA = 90.0  # the reference's
LEAST_WEIGHT = 1e-6  # the reference's: keeps the graph connected
LARGEST_SIDE_PX = 128  # an exact solution of 256 x 256 takes six times as long


def open_peer(
    image: UInt8[np.ndarray, "height width 3"], *, radius_px: float | int
) -> Callable[[Sequence[Click], object], Float32[np.ndarray, "height width"]]:
    """A function of clicks (and of a previous answer, which it does not read) to the probability
    that a random walker who starts at a pixel meets a positive click's disk first.

    Walkers avoid edges of colour: a step between neighbours has the weight exp(-90 d), d being the
    squared difference of their colours as a share of the largest in the picture. Seeds are the
    disks of the clicks, in pixels of the picture, and its outermost pixels as background, but where
    a positive disk covers them. A picture with a longer side is walked at 128 px, and the answer is
    resized bilinearly. No clicks: 0 everywhere.

    Source: Grady, "Random Walks for Image Segmentation" (TPAMI 2006), Eq. 1 and 10.
    """
    height, width = image.shape[:2]
    scale = min(1.0, LARGEST_SIDE_PX / max(height, width))
    size = (max(3, round(width * scale)), max(3, round(height * scale)))
    colours = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float64)
    laplacian = _laplacian(colours)

    def predict(clicks: Sequence[Click], previous: object = None) -> np.ndarray:
        disks = click_disks(clicks, shape=(height, width), radius_px=radius_px)
        positive, negative = (_seeds(disk, size) for disk in disks)
        probability = _walk(laplacian, positive, (negative | _frame(positive)) & ~positive)
        return cv2.resize(probability, (width, height), interpolation=cv2.INTER_LINEAR)

    return predict


def _laplacian(colours: np.ndarray) -> csc_array:
    """The graph Laplacian of a picture [height width channel], pixels in row-major order."""
    places = np.arange(colours[..., 0].size).reshape(colours.shape[:2])
    start = np.concatenate([places[:, :-1].ravel(), places[:-1].ravel()])
    end = np.concatenate([places[:, 1:].ravel(), places[1:].ravel()])
    pixels = colours.reshape(-1, colours.shape[2])
    difference = ((pixels[start] - pixels[end]) ** 2).sum(1)
    largest = difference.max(initial=0.0)
    weight = np.exp(-BETA * difference / largest) if largest else np.ones_like(difference)
    weight += LEAST_WEIGHT
    degree = np.bincount(start, weight, places.size) + np.bincount(end, weight, places.size)
    rows = np.concatenate([start, end, places.ravel()])
    columns = np.concatenate([end, start, places.ravel()])
    values = np.concatenate([-weight, -weight, degree])
    return coo_array((values, (rows, columns)), shape=(places.size, places.size)).tocsc()


def _walk(
    laplacian: csc_array,
    positive: Bool[np.ndarray, "height width"],
    negative: Bool[np.ndarray, "height width"],
) -> Float32[np.ndarray, "height width"]:
    """The harmonic function that is 1 at positive and 0 at negative seeds."""
    found = positive.astype(np.float32)
    seeds, free = np.flatnonzero(positive | negative), np.flatnonzero(~(positive | negative))
    if not positive.any() or not free.size:
        return found
    rows = laplacian[free]
    known = rows[:, seeds] @ positive.ravel()[seeds].astype(np.float64)
    # The matrix is symmetric and positive definite: no pivoting is needed.
    solver = splu(
        rows[:, free].tocsc(),
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
    found.ravel()[free] = solver.solve(-known).clip(0, 1)
    return found


def _seeds(disk: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The pixels of a smaller picture that a disk covers any of."""
    return cv2.resize(disk, size, interpolation=cv2.INTER_AREA) > 0


def _frame(like: np.ndarray) -> np.ndarray:
    """The outermost pixels."""
    frame = np.ones(like.shape, bool)
    frame[1:-1, 1:-1] = False
    return frame
