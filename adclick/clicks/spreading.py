"""Clicks spread over a picture: what a random walker that starts anywhere would meet first.

A disk of a few pixels says little to a network whose attention reaches a few patches. Diffused, one
click fills the region that it stands in, up to the picture's edges.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8
from scipy.sparse import coo_matrix, diags_array
from scipy.sparse.linalg import splu

from adclick.clicks.click import Click, scale_clicks

CLICK_MAPS = 2
EDGE_SHARPNESS = 2.0  # a step of the picture's mean squared difference costs exp(-2)
LEAST_PASSAGE = 1e-3  # even the sharpest edge lets this much through
REACH = 0.4  # of the picture's side: where a walker on an even surface gives up
JITTER = 1e-9  # keeps two clicks in cells that no edge parts solvable
_OF_THREAD = threading.local()


class Factor:
    """A factorised symmetric matrix, dropped by whatever thread: SuperLU gives memory back only in
    the thread that took it, so what others drop waits until that thread factorises again.
    """

    def __init__(self, matrix: Any) -> None:
        """That of a sparse matrix [cell cell]."""
        self._thread, self._dropped = threading.get_ident(), _dropped_by_others()
        self._dropped.clear()
        options = {"SymmetricMode": True}
        self._own = splu(matrix.tocsc(), permc_spec="MMD_AT_PLUS_A", options=options)

    def solve(self, right: Float[np.ndarray, "cell column"]) -> Float[np.ndarray, "cell column"]:
        """The columns that the matrix takes to these."""
        return self._own.solve(right)

    def __del__(self) -> None:
        """Kept for its thread, where that is another."""
        if threading.get_ident() != self._thread and hasattr(self, "_own"):
            self._dropped.append(self._own)


@dataclass(frozen=True)
class PictureGraph:
    """The factorised graph of a picture's cells: made once a picture, read by every click. What was
    solved for a clicked cell is kept.
    """

    factor: Factor
    cells: int
    shape: tuple[int, int]
    solved: dict[int, Float[np.ndarray, "cell 1"]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def column(self, cell: int) -> Float[np.ndarray, "cell 1"]:
        """A cell's column of the inverse. They come one by one: for many at once a linear algebra
        library may start threads, which take longer.
        """
        if cell not in self.solved:
            unit = np.zeros((self.cells**2, 1))
            unit[cell] = 1
            self.solved[cell] = self.factor.solve(unit)
        return self.solved[cell]


def picture_graph(image: UInt8[np.ndarray, "height width channel"], *, cells: int) -> PictureGraph:
    """The graph of `cells` x `cells` mean colours of a picture, ready for `diffuse_clicks`.

    Neighbouring cells of colours c, c' are joined with weight exp(-2 |c - c'|^2 / m) + 0.001, m the
    mean of |c - c'|^2 over the picture. A leak at every cell ends walks after about 0.4 of the
    picture's side. ValueError when the picture has fewer pixels a side than `cells`.

    Source: random walker segmentation (Grady, PAMI 2006), with a leak as its prior.
    """
    if min(image.shape[:2]) < cells:
        raise ValueError(f"a picture of {image.shape[:2]} pixels has no {cells} x {cells} cells")
    colours = cv2.resize(image, (cells, cells), interpolation=cv2.INTER_AREA).astype(np.float64)
    flat = colours.reshape(cells * cells, -1)
    first, second = _neighbours(cells)
    squared = ((flat[first] - flat[second]) ** 2).sum(axis=1)
    weights = np.exp(-EDGE_SHARPNESS * squared / max(squared.mean(), 1e-9)) + LEAST_PASSAGE
    joined = coo_matrix((weights, (first, second)), shape=(len(flat), len(flat))).tocsc()
    adjacency = joined + joined.T
    leak = weights.mean() / (REACH * cells) ** 2
    laplacian = diags_array(np.asarray(adjacency.sum(axis=0)).ravel() + leak) - adjacency
    return PictureGraph(Factor(laplacian), cells, (image.shape[0], image.shape[1]))


def diffuse_clicks(
    graph: PictureGraph, clicks: Sequence[Click]
) -> Float32[np.ndarray, "2 height width"]:
    """The chance that a walker from each pixel first meets a positive click, and a negative one.

    In [0, 1], their sum at most 1: walks also end on the way. 1 in the cell of a click, the
    positive one where both kinds share a cell; 0 everywhere without clicks. Computed by cells,
    resized bilinearly. Clicks are in the picture's pixels.
    """
    cells = graph.cells
    placed = scale_clicks(clicks, shape=(cells, cells), original_shape=graph.shape)
    is_positive: dict[int, bool] = {}
    for click in placed:
        cell = click.row * cells + click.column
        is_positive[cell] = click.positive or is_positive.get(cell, False)
    if not is_positive:
        return np.zeros((CLICK_MAPS, *graph.shape), np.float32)
    chances = _first_met(graph, list(is_positive), np.array(list(is_positive.values())))
    height, width = graph.shape
    maps = [
        cv2.resize(chance.reshape(cells, cells), (width, height), interpolation=cv2.INTER_LINEAR)
        for chance in chances
    ]
    return np.stack(maps).astype(np.float32)


def _first_met(
    graph: PictureGraph, seeds: list[int], positive: np.ndarray
) -> Float[np.ndarray, "2 cell"]:
    """The solution with 1 at the seeds of a kind and 0 at the others, from the graph's inverse."""
    columns = np.asfortranarray(np.hstack([graph.column(seed) for seed in seeds]))  # [cell, seed]
    wanted = np.stack([positive, ~positive], axis=1).astype(np.float64)
    shares = np.linalg.solve(columns[seeds] + JITTER * np.eye(len(seeds)), wanted)
    return np.clip((columns @ shares).T, 0, 1)


def _dropped_by_others() -> list[Any]:
    """What this thread factorised and others dropped."""
    if not hasattr(_OF_THREAD, "dropped"):
        _OF_THREAD.dropped = []
    return _OF_THREAD.dropped


def _neighbours(cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of every edge between cells that share a side, row-major."""
    index = np.arange(cells * cells).reshape(cells, cells)
    first = np.concatenate([index[:, :-1].ravel(), index[:-1].ravel()])
    second = np.concatenate([index[:, 1:].ravel(), index[1:].ravel()])
    return first, second
