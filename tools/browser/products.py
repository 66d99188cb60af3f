"""Photographs of a product as somebody has them who begins: normal ones, some defective ones in a
folder a kind, no masks, and some that come later. What is marked where is known, to click by it.
"""

import random
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from adclick.data.images import read_mask, write_png
from adclick.data.toy import draw_defect, draw_normal
from tools.browser.small_project import DEMO

WASHER, WASHER_PX = "washer", 256
WASHERS, WASHER_KINDS = 40, {"chipped": 3, "rust": 3, "scratch": 2}
TILE_KINDS = ("Blowhole", "Break", "Crack", "Fray", "Uneven")
TILES, TILES_A_KIND = 60, 2


class Product(NamedTuple):
    """Photographs in `normal` and `defective`, those that come later in `new`, and the masks of the
    defective ones by `kind/stem`. The sizes of `shrunk`, overlays, are laid over the project's.
    """

    name: str
    normal: Path
    defective: Path
    new: Sequence[Path]
    masks: Mapping[str, Bool[np.ndarray, "height width"]]
    shrunk: Sequence[str] = ()


def draw_washers(folder: Path) -> Product:
    """Drawn photographs, and sizes at which they are learnt in minutes, with a seeded backbone."""
    masks = {}
    for number in range(WASHERS):
        picture = draw_normal(WASHER, WASHER_PX, np.random.default_rng([7, number]))
        write_png(folder / f"normal/{number:03}.png", picture)
    for kind, count in WASHER_KINDS.items():
        for number in range(count):
            rng = np.random.default_rng([8, number])
            image, masks[f"{kind}/{number:03}"] = draw_defect(WASHER, kind, WASHER_PX, rng)
            write_png(folder / f"defective/{kind}/{number:03}.png", image)
    image, _ = draw_defect(WASHER, "rust", WASHER_PX, np.random.default_rng([9, 1]))
    write_png(folder / "just-arrived.png", image)
    new = [folder / "just-arrived.png"]
    return Product(WASHER, folder / "normal", folder / "defective", new, masks, DEMO)


def take_tiles(data: Path, folder: Path, *, normals: int = TILES) -> Product:
    """Photographs of the Magnetic Tile Defects (Huang et al., 2018; `data` as published), drawn at
    random: normal ones, two of each kind of defect, and as many of both that come later.
    """
    rng = random.Random(0)
    later = len(TILE_KINDS) * TILES_A_KIND
    free = rng.sample(_photographs(data, "Free"), normals + later)
    masks: dict[str, np.ndarray] = {}
    new = []
    for kind in TILE_KINDS:
        marked = [one for one in _photographs(data, kind) if _mask(one).any()]
        chosen = rng.sample(marked, 2 * TILES_A_KIND)
        for picture in chosen[:TILES_A_KIND]:
            _copy(picture, folder / "defective" / kind.lower())
            masks[f"{kind.lower()}/{picture.stem}"] = _mask(picture)
        new += [_copy(one, folder / "new", f"{kind.lower()}-") for one in chosen[TILES_A_KIND:]]
    for picture in free[:normals]:
        _copy(picture, folder / "normal")
    new += [_copy(one, folder / "new", "normal-") for one in free[normals:]]
    return Product("tiles", folder / "normal", folder / "defective", new, masks)


def _photographs(data: Path, kind: str) -> list[Path]:
    return sorted((data / f"MT_{kind}/Imgs").glob("*.jpg"))


def _mask(picture: Path) -> Bool[np.ndarray, "height width"]:
    return read_mask(picture.with_suffix(".png"), mask_values="shades")


def _copy(picture: Path, folder: Path, before: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(picture, folder / f"{before}{picture.name}"))
