"""Photographs of made-up products as a user has them: folders of files."""

from functools import cache
from pathlib import Path

import cv2
import numpy as np

from adclick.data.images import write_png
from adclick.data.toy import draw_defect, draw_normal


@cache
def normal_picture(category: str, number: int, size_px: int) -> np.ndarray:
    return draw_normal(category, size_px, np.random.default_rng([7, number]))


def write_photographs(
    folder: Path, category: str, *, normals: int, kinds: dict[str, int], size_px: int = 64
) -> tuple[Path, Path]:
    """`good/*.png` and `defects/<kind>/*.png`; both folders."""
    for number in range(normals):
        write_png(folder / f"good/{number:03}.png", normal_picture(category, number, size_px))
    for kind, count in kinds.items():
        for number in range(count):
            image, _ = draw_defect(category, kind, size_px, np.random.default_rng([8, number]))
            write_png(folder / f"defects/{kind}/{number:03}.png", image)
    return folder / "good", folder / "defects"


def scratched(image: np.ndarray) -> np.ndarray:
    """A picture with a black line across a corner of the middle."""
    marked = image.copy()
    height, width = image.shape[:2]
    cv2.line(marked, (width // 3, height // 4), (width // 2, 2 * height // 3), (0, 0, 0), 3)
    return marked
