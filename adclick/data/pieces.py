"""Which pieces of a drawn defect stay: those that are large enough, can be seen, and lie on the
object.
"""

import cv2
import numpy as np

from adclick.data.shapes import Mask, distance_inside
from adclick.data.textures import Image

VISIBLE = 8.0  # mean change in grey levels below which nobody could see, or click, the defect


def visible(image: Image, candidate: Image, shape: Mask) -> Mask:
    """Where in a shape the picture changed enough to be seen, on average over a neighbourhood."""
    size = 2 * round(0.015 * min(shape.shape)) + 3
    red, green, blue = cv2.split(cv2.absdiff(candidate, image))
    change = np.maximum(np.maximum(red, green), blue).astype(np.float32) * shape
    around = cv2.blur(shape.astype(np.float32), (size, size))
    return shape & (np.asarray(cv2.blur(change, (size, size))) > VISIBLE * np.asarray(around))


def keep_pieces(shape: Mask, seen: Mask, foreground: Mask | None, minimum_area_px: int) -> Mask:
    """The connected pieces that are large enough, visible by 3/4, and by half in the foreground."""
    count, labels = cv2.connectedComponents(shape.astype(np.uint8), connectivity=8)
    pieces = np.asarray(labels, np.int64)
    areas = np.bincount(pieces.ravel(), minlength=count)
    shown = np.bincount(pieces[seen], minlength=count)
    inside = areas if foreground is None else np.bincount(pieces[foreground], minlength=count)
    kept = (areas >= minimum_area_px) & (4 * shown >= 3 * areas) & (2 * inside >= areas)
    kept[0] = False
    return kept[pieces]


def undo(image: Image, candidate: Image, kept: Mask, refused: Mask) -> Image:
    """The candidate, but as before wherever a refused piece, or its soft edge, is nearer."""
    if not refused.any():
        return candidate
    to_kept = distance_inside((~kept).astype(np.uint8))
    to_refused = distance_inside((~refused).astype(np.uint8))
    return np.where((to_refused < to_kept)[:, :, None], image, candidate)
