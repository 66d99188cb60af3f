"""Location-aware nearest patches, one query at a time in float64: slow and obviously right."""

import numpy as np


def nearest_patches(
    query: np.ndarray, references: np.ndarray, radius: float | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Squared distance, neighbour, row and column of the nearest patch; the first in order wins a
    tie.
    """
    height, width, _ = query.shape
    query, references = query.astype(float), references.astype(float)
    rows, columns = np.ogrid[:height, :width]
    distance = np.zeros((height, width))
    place = np.zeros((3, height, width), int)
    for row, column in np.ndindex(height, width):
        squares = np.sum((query[row, column] - references) ** 2, axis=3)
        if radius is not None:
            squares[:, (rows - row) ** 2 + (columns - column) ** 2 > radius**2] = np.inf
        nearest = np.unravel_index(np.argmin(squares), squares.shape)
        distance[row, column], place[:, row, column] = squares[nearest], nearest
    return distance, *place
