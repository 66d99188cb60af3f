"""A picture with its anomaly map drawn over it, for people: one image file that explains itself."""

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

PANEL_PX = 640  # the longer side of each of the two panels
MARGIN_PX, GAP_PX, FOOT_PX = 16, 12, 44
LEAST_WIDTH_PX = 640  # of a sheet: room for its foot
TITLE_PX, LABEL_PX = 17, 13
BAR_WIDTH_PX, BAR_HEIGHT_PX = 160, 10
PAPER, INK, FAINT_INK = (244, 244, 245), (24, 24, 27), (113, 113, 122)
OUTLINE, OUTLINE_SHADE = (86, 180, 233), (0, 0, 0)  # Okabe and Ito's sky blue
STRONGEST = 0.65  # how much of the picture the strongest colour covers
SMOOTH = 4  # outlines are drawn on so many times finer pixels


def draw_overlay(
    image: UInt8[np.ndarray, "height width 3"],
    scores: Float[np.ndarray, "height width"],
    *,
    threshold: float,
    title: str,
) -> UInt8[np.ndarray, "sheet_height sheet_width 3"]:
    """The picture, and beside it the picture under its map, outlined where scores pass `threshold`.

    Scores are in [0, 1] and coloured on that scale, so that sheets can be compared; colour grows
    more opaque with the score and vanishes at 0. Below stand the title, the highest score, the
    share of pixels above the threshold, and the scale.
    """
    scale = PANEL_PX / max(image.shape[:2])
    size = tuple(max(1, round(length * scale)) for length in image.shape[1::-1])
    picture = _resized(image, size)
    shown = np.clip(cv2.resize(scores.astype(np.float32), size), 0, 1)
    heated = _outlined(_heated(picture, shown), shown, threshold)
    width, height = size
    sheet_width = max(LEAST_WIDTH_PX, 2 * (width + MARGIN_PX) + GAP_PX)
    sheet = Image.new("RGB", (sheet_width, height + MARGIN_PX + FOOT_PX), PAPER)
    sheet.paste(Image.fromarray(picture), (MARGIN_PX, MARGIN_PX))
    sheet.paste(Image.fromarray(heated), (MARGIN_PX + width + GAP_PX, MARGIN_PX))
    area = float((scores > threshold).mean())
    _write_foot(sheet, height + MARGIN_PX, title, float(scores.max()), area, threshold)
    return np.asarray(sheet)


def _resized(image: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    shrinks = size[0] < image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return cv2.resize(image, size, interpolation=method)


def _heated(picture: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Colours of the scores laid over a paler picture; a score of 0 leaves it as it is."""
    colours = cv2.applyColorMap(np.rint(255 * scores).astype(np.uint8), cv2.COLORMAP_INFERNO)
    opacity = STRONGEST * scores[:, :, None]
    mixed = (1 - opacity) * picture + opacity * colours[:, :, ::-1]
    return np.rint(mixed).astype(np.uint8)


def _outlined(picture: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Smooth outlines around all that passes the threshold, light on a dark edge."""
    size = (picture.shape[1], picture.shape[0])
    fine = cv2.resize(scores, (size[0] * SMOOTH, size[1] * SMOOTH), interpolation=cv2.INTER_LINEAR)
    found, _ = cv2.findContours(
        (fine > threshold).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
    )
    drawn = picture.astype(np.float32)
    for colour, line_px in ((OUTLINE_SHADE, 4), (OUTLINE, 2)):
        lines = np.zeros(fine.shape, np.uint8)
        cv2.drawContours(lines, found, -1, 255, line_px * SMOOTH)
        cover = cv2.resize(lines, size, interpolation=cv2.INTER_AREA)[:, :, None] / 255
        drawn = (1 - cover) * drawn + cover * np.array(colour, np.float32)
    return np.rint(drawn).astype(np.uint8)


def _write_foot(
    sheet: Image.Image, top: int, title: str, score: float, area: float, threshold: float
) -> None:
    draw = ImageDraw.Draw(sheet)
    middle = top + FOOT_PX / 2
    bar_left = sheet.width - MARGIN_PX - 10 - BAR_WIDTH_PX
    _draw_bar(draw, bar_left, middle, threshold)
    facts = f"score {score:.3f}    {100 * area:.2f} % above {threshold:g}"
    small, large = ImageFont.load_default(LABEL_PX), ImageFont.load_default(TITLE_PX)
    right = bar_left - 28
    room = right - draw.textlength(facts, small) - 2 * MARGIN_PX
    draw.text((MARGIN_PX, middle), _fitting(draw, title, large, room), INK, large, anchor="lm")
    draw.text((right, middle), facts, FAINT_INK, small, anchor="rm")


def _draw_bar(draw: ImageDraw.ImageDraw, left: int, middle: float, threshold: float) -> None:
    """The scale from 0 to 1, with a mark at the threshold."""
    small = ImageFont.load_default(LABEL_PX)
    levels = np.linspace(0, 255, BAR_WIDTH_PX).astype(np.uint8)[None]
    colours = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[0, :, ::-1]
    top, bottom = middle - BAR_HEIGHT_PX / 2, middle + BAR_HEIGHT_PX / 2
    for offset, colour in enumerate(colours.tolist()):
        draw.line([(left + offset, top), (left + offset, bottom)], fill=tuple(colour))
    mark = left + threshold * (BAR_WIDTH_PX - 1)
    draw.line([(mark, top - 3), (mark, bottom + 3)], fill=OUTLINE, width=2)
    draw.text((left - 5, middle), "0", FAINT_INK, small, anchor="rm")
    draw.text((left + BAR_WIDTH_PX + 3, middle), "1", FAINT_INK, small, anchor="lm")


def _fitting(
    draw: ImageDraw.ImageDraw,
    text: str,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    room: float,
) -> str:
    """The text, its beginning cut where it is too long: a file's name stands at the end."""
    shown = text
    while len(shown) > 1 and draw.textlength(shown, font) > room:
        shown = "…" + shown[2:]
    return shown
