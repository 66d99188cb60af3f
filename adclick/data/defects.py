"""Simulated defects on normal pictures, and more training pictures made of a few labelled defects.

A simulated defect is a shape (`shapes`) filled from a source (`textures`). Real defects are seldom
streaks, nor are most shapes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import cv2
import numpy as np

from adclick.data.shapes import (
    Mask,
    Plane,
    blob_mask,
    distance_inside,
    draw_point,
    log_uniform,
    outline_depth,
    perlin_mask,
    scratch_mask,
    soft_region,
)
from adclick.data.textures import TEXTURE_SHARE, Image, as_image, draw_source

SHAPE_SHARES: Mapping[str, float] = {"streaks": 0.25, "blobs": 0.5, "soft_regions": 0.25}
LARGEST_SHARE = 0.6  # of the picture: a defect that covers more is drawn again
VISIBLE = 8.0  # mean change in grey levels below which nobody could see, or click, the defect
ATTEMPTS = 40
TURN = 45.0  # degrees, of a pasted defect; reference implementation of the expansion
SCALE = (0.8, 1.2)


@runtime_checkable
class Pictures(Protocol):
    """Pictures that are read one at a time: a list, an array, or an array in a file."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def __getitem__(self, index: int, /) -> np.ndarray:
        """The picture of that index, uint8 [height width 3]."""
        ...


def simulate_defect(
    image: Image,
    generator: np.random.Generator,
    *,
    foreground: Mask | None = None,
    textures: Sequence[Path] | None = None,
    shares: Mapping[str, float] = SHAPE_SHARES,
    texture_share: float = TEXTURE_SHARE,
    minimum_area_px: int = 16,
) -> tuple[Image, Mask]:
    """The picture with a made-up defect, and the defect's mask.

    `shares` weighs the kinds of shape (keys of `SHAPE_SHARES`; absent means never). `textures` are
    picture files to fill shapes with; without any, textures are made up. Each piece of the mask has
    at least `minimum_area_px` pixels, can be seen, and with a `foreground` lies in it by half;
    where a piece was refused the picture is as before. Soft edges reach beyond the mask, which is
    true where the defect's opacity is at least half of its highest.

    Source: MemSeg's simulation (arXiv 2205.00908) for streaks, textures and shuffling; the other
    shapes and sources are ours.
    """
    _check_shares(shares)
    if foreground is not None and not foreground.any():
        foreground = None
    for _ in range(ATTEMPTS):
        kind = _choose(generator, shares)
        opacity = _opacity(kind, image.shape[:2], generator, foreground)
        source, strength = draw_source(kind, image, generator, textures, texture_share)
        opacity *= strength
        candidate = _blend(image, source, opacity)
        shape = opacity >= 0.5 * strength
        mask = _keep_pieces(shape, _visible(image, candidate, shape), foreground, minimum_area_px)
        if minimum_area_px <= mask.sum() <= LARGEST_SHARE * mask.size:
            return _undo(image, candidate, mask, shape & ~mask), mask
    return _plain_spot(image, generator, foreground, minimum_area_px)


def drawing_generator(sha256: str, *numbers: int) -> np.random.Generator:
    """What defects are drawn from on a picture: a function of its file (the checksum, in hex) and
    of `numbers` alone, so that pictures of other categories do not get the same defects, and the
    simulated ones of a picture do not depend on its place or on other pictures.
    """
    return np.random.default_rng([*numbers, int(sha256[:16], 16)])


def expand_defect(
    image: Image,
    label: Plane,
    normal_images: Pictures,
    generator: np.random.Generator,
    *,
    textures: Sequence[Path] | None = None,
    shares: Mapping[str, float] = SHAPE_SHARES,
    texture_share: float = TEXTURE_SHARE,
    minimum_area_px: int = 16,
) -> tuple[Image, Plane, int | None]:
    """A training picture made of a labelled real defect, its label, and the normal picture used.

    `label` is the probability of being defective. Half of the time (always, when no pixel is above
    0.5) a simulated defect is added and its pixels labelled 1. Else the defect's pixels, turned by
    up to 45 degrees and scaled by 0.8 to 1.2 about their centre, are pasted on a random normal
    picture, whose index is returned; they keep their probabilities, and all others get 0.

    Source: the reference implementation's expansion; there a pasted defect's label is 0 or 1.
    """
    if (label > 0.5).any() and generator.random() < 0.5:
        index = int(generator.integers(len(normal_images)))
        normal = np.asarray(normal_images[index])
        enough = min(minimum_area_px, np.count_nonzero(label > 0.5) / 2)
        for _ in range(ATTEMPTS):
            pasted, pasted_label = _paste(image, label, normal, generator)
            if np.count_nonzero(pasted_label > 0.5) >= enough:
                return pasted, pasted_label, index
    simulated, mask = simulate_defect(
        image,
        generator,
        textures=textures,
        shares=shares,
        texture_share=texture_share,
        minimum_area_px=minimum_area_px,
    )
    return simulated, np.where(mask, np.float32(1), label), None


def _opacity(
    kind: str, shape: tuple[int, int], generator: np.random.Generator, foreground: Mask | None
) -> Plane:
    """A shape of the kind; Perlin's streaks, which would lie all over, within a random oval."""
    if kind == "soft_regions":
        return soft_region(shape, generator, foreground=foreground)
    if kind == "blobs":
        mask = _plane(blob_mask(shape, generator, foreground=foreground))
        sigma = min(shape) * generator.uniform(0, 0.008) * (generator.random() < 0.6)
        return mask if sigma < 0.3 else np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma))
    if generator.random() < 0.4:
        return _plane(scratch_mask(shape, generator))
    area = log_uniform(generator, 0.03, 1.0) * shape[0] * shape[1]
    centre = draw_point(shape, generator, foreground)
    near = outline_depth(shape, generator, centre, area, 1.5, 0.1) > 0
    return _plane(perlin_mask(shape, generator) & near)


def _blend(image: Image, source: Image, opacity: Plane) -> Image:
    share = opacity[:, :, None]
    return as_image(image + share * (source.astype(np.float32) - image))


def _visible(image: Image, candidate: Image, shape: Mask) -> Mask:
    """Where in a shape the picture changed enough to be seen, on average over a neighbourhood."""
    size = 2 * round(0.015 * min(shape.shape)) + 3
    red, green, blue = cv2.split(cv2.absdiff(candidate, image))
    change = np.maximum(np.maximum(red, green), blue).astype(np.float32) * shape
    around = cv2.blur(_plane(shape), (size, size))
    return shape & (np.asarray(cv2.blur(change, (size, size))) > VISIBLE * np.asarray(around))


def _keep_pieces(shape: Mask, visible: Mask, foreground: Mask | None, minimum_area_px: int) -> Mask:
    """The connected pieces that are large enough, visible by 3/4, and by half in the foreground."""
    count, labels = cv2.connectedComponents(shape.astype(np.uint8), connectivity=8)
    pieces = np.asarray(labels, np.int64)
    areas = np.bincount(pieces.ravel(), minlength=count)
    seen = np.bincount(pieces[visible], minlength=count)
    inside = areas if foreground is None else np.bincount(pieces[foreground], minlength=count)
    kept = (areas >= minimum_area_px) & (4 * seen >= 3 * areas) & (2 * inside >= areas)
    kept[0] = False
    return kept[pieces]


def _undo(image: Image, candidate: Image, kept: Mask, refused: Mask) -> Image:
    """The candidate, but as before wherever a refused piece, or its soft edge, is nearer."""
    if not refused.any():
        return candidate
    to_kept = distance_inside((~kept).astype(np.uint8))
    to_refused = distance_inside((~refused).astype(np.uint8))
    return np.where((to_refused < to_kept)[:, :, None], image, candidate)


def _plain_spot(
    image: Image, generator: np.random.Generator, foreground: Mask | None, minimum_area_px: int
) -> tuple[Image, Mask]:
    """A black or white disk where there is most room: what remains when every draw was refused."""
    room = np.ones(image.shape[:2], bool) if foreground is None else foreground
    depth = distance_inside(np.pad(room, 1).astype(np.uint8))[1:-1, 1:-1]
    deep = np.argwhere(depth >= 0.7 * depth.max())
    row, column = deep[int(generator.integers(len(deep)))]
    radius = np.sqrt(minimum_area_px / np.pi) + 2
    rows, columns = np.ogrid[: image.shape[0], : image.shape[1]]
    mask = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    colour = 0 if image[mask].mean() > 127 else 255
    return np.where(mask[:, :, None], np.uint8(colour), image), mask


def _paste(
    image: Image, label: Plane, normal: Image, generator: np.random.Generator
) -> tuple[Image, Plane]:
    height, width = label.shape
    row, column = np.argwhere(label > 0.5).mean(axis=0)
    move = cv2.getRotationMatrix2D(
        (float(column), float(row)), generator.uniform(-TURN, TURN), generator.uniform(*SCALE)
    )
    turned = cv2.warpAffine(image, move, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    moved = np.asarray(cv2.warpAffine(label, move, (width, height)))
    defective = moved > 0.5
    return np.where(defective[:, :, None], turned, normal), np.where(
        defective, moved, np.float32(0)
    )


def _check_shares(shares: Mapping[str, float]) -> None:
    unknown = set(shares) - set(SHAPE_SHARES)
    if unknown or min(shares.values(), default=0) < 0 or sum(shares.values()) <= 0:
        raise ValueError(f"shares {dict(shares)}: weights of {', '.join(SHAPE_SHARES)} needed")


def _choose(generator: np.random.Generator, shares: Mapping[str, float]) -> str:
    names = sorted(shares)
    weights = np.array([shares[name] for name in names], float)
    return names[int(generator.choice(len(names), p=weights / weights.sum()))]


def _plane(mask: Mask) -> Plane:
    return mask.astype(np.float32)
