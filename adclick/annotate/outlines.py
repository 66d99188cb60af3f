"""Masks as polygons that lose nothing: filled again, they are the masks."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Integer

FEWEST_POINTS = 3
# Where in its pixel a point lies, in turn. Rounded or cut off, it gives the pixel either way; those
# that trainers put between two points are rounded when they are cut off; and a polygon around a
# single pixel, or a line of them, still has an area: readers drop flat ones.
PLACES = 0.499 - np.array([[0.0005, 0.0005], [0.0005, 0], [0, 0], [0, 0.0005]])

Points = Integer[np.ndarray, "_ 2"]  # (column, row), in pixels


def outlines(mask: Bool[np.ndarray, "height width"]) -> Iterator[np.ndarray]:
    """A polygon [point (x, y)] a component (8-connected), in shares of the mask's size.

    Points lie in the component's outermost pixels, which therefore belong to it: this is how OpenCV
    (`fillPoly`) and the trainers that use it fill polygons. A hole is reached over a bridge, a line
    there and back, because a polygon has one outline only.
    """
    height, width = mask.shape
    found, hierarchy = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
    )
    contours = [np.asarray(contour).reshape(-1, 2) for contour in found]
    holes: dict[int, list[Points]] = {}
    for index, contour in enumerate(contours):
        parent = int(hierarchy[0, index, 3])
        if parent < 0:
            holes.setdefault(index, [])
        else:
            holes.setdefault(parent, []).append(contour)
    for outer, inner in holes.items():
        corners = _corners(_bridged(mask, contours[outer], inner))
        points = np.resize(corners, (max(len(corners), FEWEST_POINTS), 2))
        yield (points + np.resize(PLACES, points.shape)) / [width, height]


def _bridged(mask: np.ndarray, outer: Points, holes: Sequence[Points]) -> Points:
    """One closed path through a component's contours."""
    if not holes:
        return outer
    contours = [outer, *(_from_the_top(hole) for hole in sorted(holes, key=_top))]
    bridges = _bridges(mask, contours)
    paths: dict[int, Points] = {}
    for index in reversed(range(len(contours))):  # a contour's bridges lead to later ones
        contour, parts, done = contours[index], [], 0
        for place, reached in sorted(bridges[index].items()):
            parts.append(contour[done : place + 1])
            for one in reached:
                parts += [paths.pop(one), contour[[place]]]
            done = place + 1
        closing = contour[:1] if index else contour[:0]
        paths[index] = np.concatenate([*parts, contour[done:], closing])
    return paths[0]


def _bridges(mask: np.ndarray, contours: Sequence[Points]) -> list[dict[int, list[int]]]:
    """For each contour, the holes that are reached from it, by the place of the bridge's end in it.

    A bridge goes from a hole's highest pixel straight up through the component, to where it ends:
    there another contour passes, which is the outer one or that of a hole that begins higher up.
    """
    places: dict[tuple[int, int], tuple[int, int]] = {}
    bridges: list[dict[int, list[int]]] = [{} for _ in contours]
    for index, contour in enumerate(contours):
        if index:
            column, row = contour[0].tolist()
            gaps = np.flatnonzero(~mask[:row, column])
            end = int(gaps[-1]) + 1 if len(gaps) else 0
            owner, place = places[column, end]
            bridges[owner].setdefault(place, []).append(index)
        for place, (column, row) in enumerate(contour.tolist()):
            places.setdefault((column, row), (index, place))
    return bridges


def _top(contour: Points) -> int:
    return int(contour[:, 1].min())


def _from_the_top(contour: Points) -> Points:
    return np.roll(contour, -int(contour[:, 1].argmin()), axis=0)


def _corners(path: Points) -> Points:
    """The points at which a closed path turns; steps are upright, level or diagonal."""
    steps = np.sign(np.roll(path, -1, axis=0) - path)
    turns = (steps != np.roll(steps, 1, axis=0)).any(axis=1)
    return path[turns] if turns.any() else path
