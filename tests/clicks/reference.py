"""The robot user's click by looking at every pixel, with scipy's exact distance transform."""

import numpy as np
from scipy.ndimage import distance_transform_edt


def squared_depths(region):
    """Squared distance from each pixel to the nearest one outside the region, or the image."""
    depth = distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    return np.rint(depth**2).astype(int)


def exhaustive_click(truth, prediction, taken):
    """(row, column, positive) of the deepest untaken error pixel, or None; first come wins."""
    best, best_depth = None, 0
    # Negative first, so that a positive click must be strictly deeper.
    for region, positive in ((prediction & ~truth, False), (truth & ~prediction, True)):
        depths = squared_depths(region)
        for row in range(truth.shape[0]):
            for column in range(truth.shape[1]):
                if not taken[row, column] and depths[row, column] > best_depth:
                    best, best_depth = (row, column, positive), depths[row, column]
    return best
