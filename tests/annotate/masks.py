"""Drawn masks that are hard to keep, and how trainers fill polygons."""

from collections.abc import Callable, Iterable, Iterator

import cv2
import numpy as np

SHAPES = [(40, 60), (61, 37), (48, 48), (9, 80)]
COUNT = 500


def filled(
    polygons: Iterable[np.ndarray],
    shape: tuple[int, ...],
    whole: Callable[[np.ndarray], np.ndarray] = np.floor,
) -> np.ndarray:
    """Polygons of shares filled at a picture's size, after their points became whole pixels."""
    mask = np.zeros(shape, np.uint8)
    for polygon in polygons:
        points = np.asarray(polygon, np.float32).reshape(-1, 2) * np.float32(shape[::-1])
        cv2.fillPoly(mask, [whole(points).astype(np.int32)], 1)
    return mask > 0


def drawn_masks() -> Iterator[np.ndarray]:
    """Lines, dots, holes, combs, borders, full ones, noise and mixtures of them."""
    generator = np.random.default_rng(22)
    for index in range(COUNT):
        mask = np.zeros(SHAPES[index % len(SHAPES)], np.uint8)
        for kind in generator.choice(len(KINDS), 1 + index % 3, replace=False):
            KINDS[kind](mask, generator)
        if not mask.any():
            _dots(mask, generator)
        yield mask > 0


def _point(mask: np.ndarray, generator: np.random.Generator) -> tuple[int, int]:
    return int(generator.integers(mask.shape[1])), int(generator.integers(mask.shape[0]))


def _line(mask: np.ndarray, generator: np.random.Generator) -> None:
    ends = _point(mask, generator), _point(mask, generator)
    cv2.line(mask, *ends, 1, int(generator.integers(1, 3)))


def _dots(mask: np.ndarray, generator: np.random.Generator) -> None:
    for _ in range(5):
        column, row = _point(mask, generator)
        mask[row, column : column + int(generator.integers(1, 3))] = 1


def _blob_with_holes(mask: np.ndarray, generator: np.random.Generator) -> None:
    cv2.circle(mask, _point(mask, generator), 15, 1, -1)
    for radius in (4, 2, 1, 0, 0):
        cv2.circle(mask, _point(mask, generator), radius, 0, -1)


def _rings(mask: np.ndarray, generator: np.random.Generator) -> None:
    centre = _point(mask, generator)
    for radius in (14, 9, 4):
        cv2.circle(mask, centre, radius, 1, int(generator.integers(1, 4)))


def _comb(mask: np.ndarray, generator: np.random.Generator) -> None:
    mask[:, :: int(generator.integers(2, 5))] = 1
    mask[int(generator.integers(mask.shape[0]))] = 1


def _border(mask: np.ndarray, _: np.random.Generator) -> None:
    mask[[0, -1]] = 1
    mask[:, [0, -1]] = 1


def _full(mask: np.ndarray, _: np.random.Generator) -> None:
    mask[:] = 1


def _noise(mask: np.ndarray, generator: np.random.Generator) -> None:
    column, row = _point(mask, generator)
    patch = mask[row : row + 16, column : column + 16]
    patch[generator.random(patch.shape) < generator.random()] ^= 1


KINDS = [_line, _dots, _blob_with_holes, _rings, _comb, _border, _full, _noise]
MASKS = list(drawn_masks())
