"""What the values of a mask's file mean: two values, ids or shades, painted or left transparent."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Integer, UInt8
from PIL import Image

from adclick.run.errors import InputError
from adclick.run.settings.data import MaskValues


class _Painted(NamedTuple):
    """A value a pixel (0: black), how bright it is, half of white, and whether values are ids."""

    values: Integer[np.ndarray, "height width"]
    brightness: Integer[np.ndarray, "height width"]
    half: int
    are_ids: bool


def defect_pixels(
    picture: Image.Image, path: Path, mask_values: MaskValues | None = None
) -> Bool[np.ndarray, "height width"]:
    """Where a mask marks a defect; `path` is only for the message.

    With `ids` every value but 0 is (of a palette: but black), with `shades` what is brighter than
    half of white. Without `mask_values` it must be clear from the file: of two greys of 8 bits the
    brighter one is the defect, unless both are dark and neither is 0; a palette and 16-bit files
    have ids; of several values or colours, black is normal, and all others must lie on one side of
    half of white. Where transparency varies, what is transparent is normal; and where the rest has
    one colour other than black, the opacity is the mask.
    InputError for what can be read in two ways, and for floating-point or negative pixels.
    """
    painted = _painted(picture, path, mask_values)
    ids, shades = painted.values != 0, painted.brightness > painted.half
    if mask_values is not None:
        return ids if mask_values == "ids" else shades
    found = np.unique(painted.values)
    greys = not painted.are_ids and np.array_equal(painted.values, painted.brightness)
    if len(found) == 2 and greys and (found[0] == 0 or found[1] > painted.half):
        return painted.values == found[1]
    if len(found) == 1 and shades.all() and ids.all():
        return shades
    if found[0] == 0 and (painted.are_ids or not shades.any() or np.array_equal(ids, shades)):
        return ids
    raise InputError(
        f"{path}: a mask of {len(found)} values that can be read in two ways; set mask_values"
        " (--mask-values) to ids (all but 0 is defect) or shades (above half of white is)"
    )


def _painted(picture: Image.Image, path: Path, mask_values: MaskValues | None) -> _Painted:
    if picture.mode == "F":
        raise InputError(f"{path}: floating-point pixels; convert the file to 8 or 16 bits")
    if picture.mode.startswith("I"):
        values = np.asarray(picture)
        if values.min() < 0:
            raise InputError(f"{path}: values below 0; save the mask again with 8 or 16 bits")
        return _Painted(values, values, 32767, are_ids=True)
    if picture.mode in ("1", "L") and not picture.has_transparency_data:
        return _greys(np.asarray(picture.convert("L")))
    colours, opacity = np.asarray(picture.convert("RGB")), _opacity(picture)
    visible = opacity > 0
    if opacity.min() < opacity.max() and _is_one(colours[visible]):
        if colours[visible].any():
            return _greys(opacity)
        if mask_values is None:
            raise InputError(
                f"{path}: a mask of nothing but black and transparent places, either of which may"
                " be the defect; paint it white on black"
            )
    if picture.mode == "P":
        return _of_palette(np.asarray(picture), colours, visible)
    return _of_colours(colours, opacity)


def _opacity(picture: Image.Image) -> UInt8[np.ndarray, "height width"]:
    """From 0 to 255; all 255 where it is everywhere the same, which says nothing."""
    opacity = np.asarray(picture.convert("RGBA"))[:, :, 3]
    return opacity if opacity.min() < opacity.max() else np.full_like(opacity, 255)


def _is_one(colours: UInt8[np.ndarray, "pixel 3"]) -> bool:
    return bool((colours == colours[:1]).all())


def _of_palette(
    indices: UInt8[np.ndarray, "height width"],
    colours: UInt8[np.ndarray, "height width 3"],
    visible: Bool[np.ndarray, "height width"],
) -> _Painted:
    """Ids; but greys where each index is another grey, as of a grey picture with few values.

    Normal is what is black, if only one index is, else index 0.
    """
    brightness = np.where(visible, colours.max(axis=2), 0)
    used, first = np.unique(indices[visible], return_index=True)
    palette = colours[visible][first]
    if (palette == palette[:, :1]).all() and len(np.unique(palette[:, 0])) == len(used):
        return _greys(brightness)
    black = used[(palette == 0).all(axis=1)]
    normal = black[0] if len(black) == 1 else 0
    values = np.where(visible & (indices != normal), indices + np.int16(1), 0)
    return _Painted(values, brightness, 127, are_ids=True)


def _of_colours(
    colours: UInt8[np.ndarray, "height width 3"], opacity: UInt8[np.ndarray, "height width"]
) -> _Painted:
    shaded = (colours * (opacity[:, :, None] / 255)).astype(np.uint8)
    brightness = shaded.max(axis=2)
    if (colours == colours[:, :, :1])[opacity > 0].all():
        values = np.where(opacity > 0, colours[:, :, 0], 0)
        return _Painted(values, brightness, 127, are_ids=False)
    codes = colours @ np.array([65536, 256, 1], np.int32)
    return _Painted(np.where(opacity > 0, codes, 0), brightness, 127, are_ids=False)


def _greys(values: UInt8[np.ndarray, "height width"]) -> _Painted:
    return _Painted(values, values, 127, are_ids=False)
