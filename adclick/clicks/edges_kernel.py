"""What `edges` computes pixel by pixel, compiled by numba."""

from typing import no_type_check

import numpy as np

from adclick.run.compiled import compiled

LEAST_PASSAGE = 1e-3  # even the sharpest edge lets this much through


@no_type_check
def _weigh_steps(
    colours: np.ndarray, sharpness: np.float32, weights: np.ndarray, degree: np.ndarray
) -> None:
    """Fill in the weights of a level's steps and their sums; `sharpness` is per squared colour."""
    height, width, _ = colours.shape
    least = np.float32(LEAST_PASSAGE)
    for step in range(4):
        down, right = min(step, 1), (1, -1, 0, 1)[step]
        diagonal = step == 1 or step == 3
        shorter = np.float32(0.70710678) if diagonal else np.float32(1)
        cost = sharpness * (np.float32(2) if diagonal else np.float32(1))
        for row in range(height - down):
            for column in range(max(0, -right), width - max(0, right)):
                squared = np.float32(0)
                for channel in range(3):
                    there = colours[row + down, column + right, channel]
                    difference = colours[row, column, channel] - there
                    squared += difference * difference
                weight = shorter * (np.exp(-cost * squared) + least)
                weights[step, row + 1, column + 1] = weight
                degree[row, column] += weight
                degree[row + down, column + right] += weight


@no_type_check
def _sweep_rows(
    framed: np.ndarray,
    weights: np.ndarray,
    source: np.ndarray,
    inverse: np.ndarray,
    relaxation: np.float32,
    sweeps: int,
) -> None:
    """Successive over-relaxation in place, alternately from the first pixel and from the last.

    A row's sums over the rows above and below come first, for they can be taken all at once.
    """
    height, width = source.shape
    others = np.empty(width, np.float32)
    for sweep in range(sweeps):
        for index in range(height):
            row = index if sweep % 2 == 0 else height - 1 - index
            above, here, below = framed[row], framed[row + 1], framed[row + 2]
            to_left, to_below, to_right = (
                weights[1, row + 1],
                weights[2, row + 1],
                weights[3, row + 1],
            )
            from_right, from_above = weights[1, row], weights[2, row]
            from_left, along = weights[3, row], weights[0, row + 1]
            for column in range(width):
                total = source[row, column] + to_below[column + 1] * below[column + 1]
                total += to_left[column + 1] * below[column]
                total += to_right[column + 1] * below[column + 2]
                total += from_above[column + 1] * above[column + 1]
                total += from_right[column + 2] * above[column + 2]
                others[column] = total + from_left[column] * above[column]
            if sweep % 2 == 0:
                for column in range(width):
                    total = others[column] + along[column + 1] * here[column + 2]
                    total += along[column] * here[column]
                    old = here[column + 1]
                    here[column + 1] = old + relaxation * (total * inverse[row, column] - old)
            else:
                for column in range(width - 1, -1, -1):
                    total = others[column] + along[column + 1] * here[column + 2]
                    total += along[column] * here[column]
                    old = here[column + 1]
                    here[column + 1] = old + relaxation * (total * inverse[row, column] - old)


weigh_steps = compiled(_weigh_steps)
sweep_rows = compiled(_sweep_rows)
