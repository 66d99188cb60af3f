"""Location-aware nearest patches, one candidate at a time in float64: slow and obviously right."""

import numpy as np


def nearest_patches(
    query: np.ndarray, references: np.ndarray, radius: float | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Squared distance, neighbour, row and column of the nearest patch; the first in order wins a
    tie.
    """
    height, width, _ = query.shape
    query, references = query.astype(float), references.astype(float)
    distance = np.full((height, width), np.inf)
    place = np.zeros((3, height, width), int)
    for row, column in np.ndindex(height, width):
        for neighbour, other_row, other_column in np.ndindex(references.shape[:3]):
            if (
                radius is not None
                and (other_row - row) ** 2 + (other_column - column) ** 2 > radius**2
            ):
                continue
            difference = query[row, column] - references[neighbour, other_row, other_column]
            candidate = np.sum(difference**2)
            if candidate < distance[row, column]:
                distance[row, column] = candidate
                place[:, row, column] = neighbour, other_row, other_column
    return distance, *place
