"""What the values of a mask's file mean."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adclick.data.images import decode_mask
from adclick.run.errors import InputError
from adclick.run.settings.data import MaskValues

VOC = [0, 0, 0, 128, 0, 0, 64, 0, 0, 224, 224, 192]


def read(picture: Image.Image, form: str = "PNG", values: MaskValues | None = None, **how) -> list:
    content = BytesIO()
    picture.save(content, format=form, **how)
    return decode_mask(content.getvalue(), Path("mask"), mask_values=values)[0].astype(int).tolist()


def grey(*values: int, kind: type = np.uint8) -> Image.Image:
    return Image.fromarray(np.array([values], kind))


def palette(colours: list[int], *indices: int) -> Image.Image:
    picture = Image.fromarray(np.array([indices], np.uint8)).convert("L")
    picture = Image.frombytes("P", picture.size, picture.tobytes())
    picture.putpalette(colours)
    return picture


def colours(*values: tuple[int, ...]) -> Image.Image:
    return Image.fromarray(np.array([values], np.uint8))


RED, DARK_RED, BLACK, WHITE = (255, 0, 0), (64, 0, 0), (0, 0, 0), (255, 255, 255)


@pytest.mark.parametrize(
    ("picture", "mask"),
    [
        (grey(0, 255, 0), [0, 1, 0]),
        (grey(0, 1, 1), [0, 1, 1]),
        (grey(0, 38), [0, 1]),
        (grey(10, 200, 10), [0, 1, 0]),
        (grey(0, 0), [0, 0]),
        (grey(255, 255), [1, 1]),
        (grey(0, 1, 2, 3), [0, 1, 1, 1]),
        (grey(0, 200, 255), [0, 1, 1]),
        (grey(0, 255, 0).convert("1"), [0, 1, 0]),
        (grey(0, 3, 40000, kind=np.uint16), [0, 1, 1]),
        (grey(0, 65535, kind=np.uint16), [0, 1]),
        (palette(VOC, 0, 1, 2, 3), [0, 1, 1, 1]),
        (palette(VOC, 0, 2), [0, 1]),
        (palette([255, 255, 255, 0, 0, 0], 0, 1), [1, 0]),
        (palette([255, 0, 0, 0, 0, 0, 0, 0, 255], 0, 1, 2), [1, 0, 1]),
        (palette([128, 64, 128, 244, 35, 232, 70, 70, 70], 0, 1, 2), [0, 1, 1]),
        (palette([0] * 12, 0, 1, 2), [0, 1, 1]),
        (palette([128, 64, 128, 244, 35, 232], 0, 0), [0, 0]),
        (palette([128, 64, 128, 244, 35, 232], 1, 1), [1, 1]),
        (colours(BLACK, RED, (0, 255, 0), (0, 0, 255)), [0, 1, 1, 1]),
        (colours(BLACK, DARK_RED), [0, 1]),
        (colours(BLACK, WHITE), [0, 1]),
        (colours((*WHITE, 0), (*WHITE, 255)), [0, 1]),
        (colours((*WHITE, 0), (*DARK_RED, 255)), [0, 1]),
        (colours((*WHITE, 0), (*BLACK, 255), (*WHITE, 255)), [0, 0, 1]),
        (colours((*BLACK, 255), (*WHITE, 255)), [0, 1]),
        (colours((*BLACK, 0), (*WHITE, 0)), [0, 1]),
        (grey(0, 255).convert("LA"), [0, 1]),
    ],
)
def test_what_is_clear_is_read(picture: Image.Image, mask: list[int]) -> None:
    assert read(picture) == mask


@pytest.mark.parametrize("form", ["PNG", "GIF"])
def test_white_on_transparent_in_a_palette(form: str) -> None:
    assert read(palette([255] * 6, 0, 1, 0), form, transparency=0) == [0, 1, 0]


@pytest.mark.parametrize(
    ("picture", "ids", "shades"),
    [
        (grey(0, 1, 127, 128, 255), [0, 1, 1, 1, 1], [0, 0, 0, 1, 1]),
        (grey(10, 20, 200), [1, 1, 1], [0, 0, 1]),
        (grey(38, 38), [1, 1], [0, 0]),
        (grey(7, 7, kind=np.uint16), [1, 1], [0, 0]),
        (colours(BLACK, DARK_RED, RED), [0, 1, 1], [0, 0, 1]),
        (colours(WHITE, RED), [1, 1], [1, 1]),
        (grey(3, 7, kind=np.uint16), [1, 1], [0, 0]),
        (grey(3, 40000, kind=np.uint16), [1, 1], [0, 1]),
        (grey(1, 2), [1, 1], [0, 0]),
        (grey(100, 127), [1, 1], [0, 0]),
        (palette([1, 1, 1, 2, 2, 2], 0, 1), [1, 1], [0, 0]),
        (colours((*WHITE, 0), (*WHITE, 99), (*WHITE, 255)), [0, 1, 1], [0, 0, 1]),
        (palette([0, 0, 0, 99, 99, 99, 255, 255, 255], 0, 1, 2), [0, 1, 1], [0, 0, 1]),
    ],
)
def test_what_is_not_clear_is_refused_and_the_setting_decides(
    picture: Image.Image, ids: list[int], shades: list[int]
) -> None:
    with pytest.raises(InputError, match=r"mask: a mask of \d values .* set mask_values"):
        read(picture)
    assert read(picture, values="ids") == ids
    assert read(picture, values="shades") == shades


@pytest.mark.parametrize(
    ("picture", "values", "mask"),
    [
        (grey(0, 100), "shades", [0, 0]),
        (grey(0, 32767, 32768, kind=np.uint16), "shades", [0, 0, 1]),
        (palette(VOC, 0, 1, 2, 3), "shades", [0, 1, 0, 1]),
        (palette(VOC, 0, 1, 2, 3), "ids", [0, 1, 1, 1]),
        (grey(1, 2), "ids", [1, 1]),
        (colours((0, 0, 0, 0), (1, 0, 0, 128), (2, 0, 0, 128)), "ids", [0, 1, 1]),
        (colours((0, 0, 0, 0), (1, 1, 1, 128), (2, 2, 2, 128)), "ids", [0, 1, 1]),
        (colours((9, 9, 9, 0), (255, 0, 0, 100), (255, 0, 0, 255)), "shades", [0, 0, 1]),
        (colours((*BLACK, 0), (*BLACK, 255)), "ids", [0, 0]),
        (colours((*WHITE, 0), (*BLACK, 255)), "shades", [0, 0]),
    ],
)
def test_the_setting_goes_before_what_seems_clear(
    picture: Image.Image, values: MaskValues, mask: list[int]
) -> None:
    assert read(picture, values=values) == mask


def test_floating_point_is_refused() -> None:
    with pytest.raises(InputError, match="floating-point"):
        read(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF")


@pytest.mark.parametrize("opacity", [(0, 255), (0, 99, 255)])
def test_black_on_transparent_is_refused(opacity: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="paint it white on black"):
        read(colours(*((*BLACK, value) for value in opacity)))


@pytest.mark.parametrize("values", [None, "ids", "shades"])
def test_values_below_0_are_refused(values: MaskValues | None) -> None:
    with pytest.raises(InputError, match="values below 0"):
        read(grey(-1, 0, kind=np.int32), "TIFF", values=values)
