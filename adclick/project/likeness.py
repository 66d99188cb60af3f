"""How alike photographs are, without any network: which normal ones stand out, whether the product
always lies in the same place, and whether it fills the picture.
"""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

SIDE_PX, CELLS = 128, 16  # pictures are compared at this size, in cells of 8 x 8 px
DIRECTIONS = 8
REFERENCES = 400  # a picture is compared with this many others, at most
REACH = 1  # cells around a cell's own place that it may be found at
WORST_CELLS = 3  # of 256: what a picture is judged by
STANDS_OUT = 4.0  # times the usual spread of normal pictures
LEAST_COMPARED = 8  # of fewer pictures none can stand out
ALIGNED = 0.5  # of `same_place`: toy, MVTec and tile pictures lie far on either side
FRAMED = 2.0  # of `frame`: below, the product fills the picture

Descriptor = Float32[np.ndarray, "cell cell channel"]


class Suspect(NamedTuple):
    """A normal picture that stands out: its place in the list, by how many times the usual spread
    of scores, and where, as shares of height and width (the centre of its strangest cell).
    """

    place: int
    times: float
    row: float
    column: float


class View(NamedTuple):
    """How the pictures of a product were taken. `same_place` says how much of a picture its place
    predicts (0 nothing, 1 all), `frame` how different the border is from the middle, in standard
    deviations of what lies there.
    """

    aligned: bool
    texture: bool
    same_place: float
    frame: float


def describe(image: UInt8[np.ndarray, "height width 3"]) -> Descriptor:
    """What a picture looks like in each of its cells: mean colour (CIE Lab), its spread, and how
    strong edges are in each direction.
    """
    small = cv2.resize(image, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    grey = lab[:, :, 0]
    across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    strength, angle = cv2.cartToPolar(across, down)
    turn = np.floor(angle * DIRECTIONS / np.pi).astype(int) % DIRECTIONS
    edges = np.where(turn[:, :, None] == np.arange(DIRECTIONS), strength[:, :, None], 0)
    spread = np.sqrt(
        np.maximum(_cell_means(grey[:, :, None] ** 2) - _cell_means(grey[:, :, None]) ** 2, 0)
    )
    return np.concatenate([_cell_means(lab), spread, np.sqrt(_cell_means(edges))], axis=2)


def _cell_means(
    planes: Float[np.ndarray, "height width channel"],
) -> Float32[np.ndarray, "cell cell channel"]:
    side = SIDE_PX // CELLS
    cells = planes.reshape(CELLS, side, CELLS, side, planes.shape[2])
    return cells.mean(axis=(1, 3)).astype(np.float32)


def suspects(described: Float32[np.ndarray, "picture cell cell channel"]) -> list[Suspect]:
    """The pictures that look least like the others, the strangest first.

    A cell's score is its distance from the most alike cell, at its place or one beside it, in any
    of the other pictures; a picture's, the mean of its worst cells. It stands out when that is
    `STANDS_OUT` times as far above the median as half of all pictures are around it.
    """
    if len(described) < LEAST_COMPARED:
        return []
    cells = _nearest_distances(_scaled(described))
    flat = cells.reshape(len(cells), -1)
    scores = np.sort(flat, axis=1)[:, -WORST_CELLS:].mean(axis=1)
    middle = np.median(scores)
    spread = max(1.4826 * float(np.median(np.abs(scores - middle))), 1e-6 + 0.02 * float(middle))
    times = (scores - middle) / spread
    order = np.argsort(-times, kind="stable")
    return [_suspect(int(i), float(times[i]), flat[i]) for i in order if times[i] > STANDS_OUT]


def _suspect(place: int, times: float, cells: Float[np.ndarray, " cell"]) -> Suspect:
    row, column = divmod(int(cells.argmax()), CELLS)
    return Suspect(place, times, (row + 0.5) / CELLS, (column + 0.5) / CELLS)


def _scaled(described: np.ndarray) -> np.ndarray:
    """Channels in their standard deviations over everything."""
    return described / np.maximum(described.std(axis=(0, 1, 2)), 1e-3)


def _nearest_distances(
    described: Float32[np.ndarray, "picture cell cell channel"],
) -> Float32[np.ndarray, "picture cell cell"]:
    """Each cell's distance from the most alike one of other pictures."""
    count = len(described)
    step = max(1, -(-count // REFERENCES))
    references = np.arange(0, count, step)
    own = np.arange(count)[:, None] == references[None]
    found = np.full((count, CELLS, CELLS), np.inf, np.float32)
    for row in range(CELLS):
        for column in range(CELLS):
            query = described[:, row, column]
            for other in _places_around(row, column):
                squares = _square_distances(query, described[references, *other])
                squares[own] = np.inf
                found[:, row, column] = np.minimum(found[:, row, column], squares.min(axis=1))
    return np.sqrt(found)


def _places_around(row: int, column: int) -> list[tuple[int, int]]:
    rows = range(max(0, row - REACH), min(CELLS, row + REACH + 1))
    columns = range(max(0, column - REACH), min(CELLS, column + REACH + 1))
    return [(one, other) for one in rows for other in columns]


def _square_distances(
    query: Float[np.ndarray, "query channel"], references: Float[np.ndarray, "reference channel"]
) -> Float32[np.ndarray, "query reference"]:
    norms = np.square(query).sum(1)[:, None] + np.square(references).sum(1)[None]
    return np.maximum(norms - 2 * query @ references.T, 0).astype(np.float32)


def view_of(described: Float32[np.ndarray, "picture cell cell channel"]) -> View:
    """How the normal pictures were taken: `same_place` is the share of the cells' variance that the
    mean picture explains, and a product that has a frame around it does not fill the picture.
    """
    scaled = _scaled(described)
    around = scaled - scaled.mean(axis=(0, 1, 2))
    spread = max(float(np.square(around).mean()), 1e-12)  # pictures of one grey have none
    same_place = float(np.square(around.mean(axis=0)).mean()) / spread
    frame = _frame(scaled)
    return View(
        aligned=same_place > ALIGNED,
        texture=frame < FRAMED,
        same_place=same_place,
        frame=frame,
    )


def _frame(scaled: Float[np.ndarray, "picture cell cell channel"]) -> float:
    border = np.ones((CELLS, CELLS), bool)
    border[1:-1, 1:-1] = False
    middle = np.zeros((CELLS, CELLS), bool)
    middle[CELLS // 4 : -CELLS // 4, CELLS // 4 : -CELLS // 4] = True
    outer, inner = scaled[:, border], scaled[:, middle]
    apart = np.abs(outer.mean(axis=1) - inner.mean(axis=1)).mean(axis=0)
    within = 0.5 * (outer.std(axis=1) + inner.std(axis=1)).mean(axis=0)
    return float((apart / np.maximum(within, 1e-3)).max())
