"""A real labelled defect on a normal picture: as published, in its own place with a hard edge; or
like a real one, anywhere on the object, in its surroundings' tone, with a soft edge.
"""

import cv2
import numpy as np
from jaxtyping import Float32, Float64

from adclick.data.shapes import Mask, Plane, draw_point
from adclick.data.textures import Image, as_image

TURN = 45.0  # degrees; reference implementation of the expansion
SCALES = (0.8, 1.2)
LIFELIKE_SCALES = (0.7, 1.4)
SMALL_PX = 30  # area: what is smaller is not pasted smaller still
PLACES = 10  # tried: the one whose surroundings are most like the defect's own is taken
FEATHER_PX = 1.0
CUT_COST = 400.0  # grey levels of unlikeness, when all of the picture's border is defective
BESIDE_COST = 600.0  # when all of the defect lies beside the object


def paste_in_place(
    defective: Image, label: Plane, normal: Image, generator: np.random.Generator
) -> tuple[Image, Plane]:
    """A normal picture with another's labelled defect (label above 0.5), and the moved label.

    The defect is turned by up to 45 degrees and scaled by 0.8 to 1.2 about its centre; its pixels
    keep their labels, all others have 0. Some pixel must be above 0.5.

    Source: the reference implementation's expansion; there a pasted defect's label is 0 or 1.
    """
    height, width = label.shape
    row, column = np.argwhere(label > 0.5).mean(axis=0)
    move = cv2.getRotationMatrix2D(
        (float(column), float(row)), generator.uniform(-TURN, TURN), generator.uniform(*SCALES)
    )
    turned = cv2.warpAffine(defective, move, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    moved = np.asarray(cv2.warpAffine(label, move, (width, height)))
    mask = moved > 0.5
    return np.where(mask[:, :, None], turned, normal), np.where(mask, moved, np.float32(0))


def paste_anywhere(
    defective: Image,
    label: Plane,
    normal: Image,
    generator: np.random.Generator,
    *,
    foreground: Mask | None = None,
) -> tuple[Image, Plane]:
    """As `paste_in_place`, but flipped, turned by any angle, scaled by 0.7 to 1.4, and put where,
    of some random places in the `foreground` and its own place, the surface around is most like
    that around it at home. Its tone follows that surface; its rim is feathered by a pixel.

    Feathering, not Poisson blending: that takes the colour of what lies around, so that holes and
    missing parts fade.
    """
    centre = np.argwhere(label > 0.5).mean(axis=0)
    turn = _random_turn(label, generator)
    places = [draw_point(normal.shape[:2], generator, foreground) for _ in range(PLACES - 1)]
    choices = [_moved(defective, label, turn, centre, place) for place in [*places, centre]]
    costs = [_misfit(image, moved > 0.5, normal, foreground) for image, moved in choices]
    image, moved = choices[int(np.argmin(costs))]
    mask = moved > 0.5
    if not mask.any():
        return normal, np.zeros_like(label)
    around = _ring(mask)
    offset = _tone(normal, around) - _tone(image, around)
    opacity = np.asarray(cv2.GaussianBlur(mask.astype(np.float32), (0, 0), FEATHER_PX))
    opacity = np.maximum(opacity, mask)[:, :, None]
    pasted = normal + opacity * (image + offset - normal.astype(np.float32))
    return as_image(pasted), np.where(mask, moved, np.float32(0))


def _random_turn(label: Plane, generator: np.random.Generator) -> Float64[np.ndarray, "2 2"]:
    """A turn, flip and scale, the scale such that the defect can stay within the picture."""
    angle = generator.uniform(0, 2 * np.pi)
    scale = generator.uniform(*LIFELIKE_SCALES)
    rows, columns = np.nonzero(label > 0.5)
    extent = max(np.ptp(rows), np.ptp(columns)) + 1
    scale = min(scale, max(1.0, 0.9 * min(label.shape) / extent))
    scale = scale if len(rows) > SMALL_PX else max(1.0, scale)
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    flip = generator.choice([-1, 1])
    return np.array([[cosine * flip, -sine], [sine * flip, cosine]])


def _moved(
    defective: Image,
    label: Plane,
    turn: Float64[np.ndarray, "2 2"],
    centre: Float64[np.ndarray, "2"],
    place: tuple[float, float] | Float64[np.ndarray, "2"],
) -> tuple[Image, Plane]:
    """Picture and label turned about `centre` (row, column), which comes to lie at `place`."""
    move = np.column_stack([turn, np.asarray(place)[::-1] - turn @ centre[::-1]])
    size = label.shape[::-1]
    picture = cv2.warpAffine(defective, move, size, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(picture, np.uint8), np.asarray(cv2.warpAffine(label, move, size))


def _misfit(moved: Image, mask: Mask, normal: Image, foreground: Mask | None) -> float:
    """How unlike the surroundings of a moved defect the surface there is, in grey levels; much more
    where it was cut, or lies beside the object.
    """
    if not mask.any():
        return np.inf
    around = _ring(mask)
    difference = np.abs(moved[around].astype(np.float32) - normal[around]).mean()
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]).mean()
    beside = 0.0 if foreground is None else (~foreground)[mask].mean()
    return float(difference + CUT_COST * border + BESIDE_COST * beside)


def _ring(mask: Mask) -> Mask:
    """The pixels 2 to 4 px outside of a mask; the mask itself where there are none."""
    plane = mask.astype(np.uint8)
    inner, outer = (cv2.dilate(plane, np.ones((size, size), np.uint8)) for size in (3, 9))
    ring = np.asarray(outer, bool) & ~np.asarray(inner, bool)
    return ring if ring.any() else mask


def _tone(image: Image, region: Mask) -> Float32[np.ndarray, "3"]:
    return np.median(image[region], axis=0).astype(np.float32)
