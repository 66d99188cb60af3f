"""Data that no setting is chosen on, as photographs in MVTec AD's layout.

    python -m tools.unseen /path/to/mvtec/bottle unseen   # makes unseen/turned, brushed, terrazzo

`turned` has the pictures of a category of MVTec AD with the product at any angle and anywhere, so
that a place means nothing; its defects are real. Two are drawn, by other code than the embedded
data and simulated defects: `brushed` metal, whose grain runs in another direction in every picture,
with scratches, pits, stains and dents, and `terrazzo`, stone with chips of four colours, with
cracks, fibres, smears and holes. Look at results on these, choose nothing by them.

Where one was looked at all the same, draw another: `terrazzo` was drawn after the first two had
helped to see at which level answers to clicks are best cut.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from adclick.data.images import read_image, write_png

SIDE_PX = 512
NORMALS, TEST_NORMALS, EACH_TYPE = 120, 30, 16  # of a drawn set
SHIFT = 0.12  # of the picture's side: how far a product lies from its place
SCALES = (0.75, 0.95)

Surface = Callable[[np.random.Generator], np.ndarray]
Drawer = Callable[[np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]


def main() -> None:
    """Make all data sets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("category", type=Path, help="folder of a category in MVTec AD's layout")
    parser.add_argument("output", type=Path, help="folder to make")
    arguments = parser.parse_args()
    turn_category(arguments.category, arguments.output / "turned")
    draw_set(arguments.output / "brushed", draw_plate, METAL_DEFECTS)
    draw_set(arguments.output / "terrazzo", draw_stone, STONE_DEFECTS)


def turn_category(source: Path, target: Path) -> None:
    """Every picture and mask of a category turned, made smaller and moved, by draws of its name."""
    for path in sorted(source.rglob("*.png")):
        name = path.relative_to(source)
        if name.parts[0] == "ground_truth":
            continue
        image = read_image(path)
        move = _random_move(image.shape[0], _generator("turned", str(name)))
        _write(target / name, _moved(image, move, cv2.INTER_AREA))
        truth = Path("ground_truth", *name.parts[1:-1], f"{name.stem}_mask.png")
        if (source / truth).exists():
            mask = read_image(source / truth)[:, :, 0]
            moved = cv2.warpAffine(mask, move, mask.shape[::-1], flags=cv2.INTER_LINEAR)
            _write(target / truth, np.where(moved > 127, 255, 0))


def draw_set(target: Path, surface: Surface, defects: dict[str, Drawer]) -> None:
    """Normal pictures for training and test, and defective ones with masks."""
    for split, count in (("train", NORMALS), ("test", TEST_NORMALS)):
        for index in range(count):
            normal = surface(_generator(target.name, split, str(index)))
            _write(target / split / "good" / f"{index:03d}.png", normal)
    for kind, draw in defects.items():
        for index in range(EACH_TYPE):
            generator = _generator(target.name, kind, str(index))
            image, mask = draw(surface(generator), generator)
            _write(target / "test" / kind / f"{index:03d}.png", image)
            truth = target / "ground_truth" / kind / f"{index:03d}_mask.png"
            _write(truth, np.where(mask, 255, 0))


def draw_plate(generator: np.random.Generator) -> np.ndarray:
    """A plate of brushed metal [512, 512, 3], as floats from 0 to 255; its grain runs anywhere."""
    large = 2 * SIDE_PX
    grain = np.zeros((large, large), np.float32)
    for length in (31, 121, 401):
        noise = generator.standard_normal((large, large)).astype(np.float32)
        streaks = cv2.blur(noise, (length, 1))
        grain += streaks / streaks.std() / 3
    turn = cv2.getRotationMatrix2D((large / 2, large / 2), generator.uniform(0, 180), 1)
    grain = cv2.warpAffine(grain, turn, (large, large))[_middle(large)]
    rows, columns = np.mgrid[-1 : 1 : SIDE_PX * 1j, -1 : 1 : SIDE_PX * 1j]
    angle, strength = generator.uniform(0, 2 * np.pi), generator.uniform(10, 30)
    light = strength * (np.cos(angle) * columns + np.sin(angle) * rows)
    plate = generator.uniform(120, 165) + light + generator.uniform(7, 12) * grain
    tint = 1 + generator.uniform(-0.03, 0.03, 3)
    return plate[:, :, None] * tint + generator.normal(0, 2, (SIDE_PX, SIDE_PX, 1))


def _scratched(plate: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One to three lines of 1 to 4 px, bent a little."""
    line = np.zeros((4 * SIDE_PX, 4 * SIDE_PX), np.uint8)
    for _ in range(int(generator.integers(1, 4))):
        start, reach = generator.uniform(0.15, 0.85, 2), generator.uniform(0.05, 0.35)
        angle, bend = generator.uniform(0, 2 * np.pi), generator.uniform(-0.8, 0.8)
        along = np.linspace(0, 1, 40)
        headings = angle + bend * along
        steps = np.stack([np.cos(headings), np.sin(headings)], axis=1) * reach / 40
        points = (4 * SIDE_PX * (start + np.cumsum(steps, axis=0))).astype(np.int32)
        cv2.polylines(line, [points], False, 255, int(generator.integers(5, 16)), cv2.LINE_AA)
    return _covered(plate, line, generator.choice([-1, 1]) * generator.uniform(35, 80))


def _pitted(plate: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Some round pits of 4 to 16 px, dark, in a group."""
    spots = np.zeros((4 * SIDE_PX, 4 * SIDE_PX), np.uint8)
    centre = generator.uniform(0.2, 0.8, 2)
    for _ in range(int(generator.integers(1, 9))):
        place = (4 * SIDE_PX * (centre + generator.normal(0, 0.04, 2))).astype(int)
        axes = (8 * generator.uniform(1, 4, 2)).astype(int)
        cv2.ellipse(spots, place.tolist(), axes.tolist(), 0, 0, 360, 255, cv2.FILLED)
    return _covered(plate, spots, -generator.uniform(40, 90))


def _stained(plate: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A patch with a wavy outline, darker and browner, through which the grain is seen."""
    angles = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    waves = sum(
        generator.uniform(0, 0.25) / order * np.cos(order * angles + generator.uniform(0, 6))
        for order in (2, 3, 5, 8)
    )
    radius = SIDE_PX * generator.uniform(0.05, 0.16) * (1 + waves)
    centre = SIDE_PX * generator.uniform(0.25, 0.75, 2)
    outline = centre + np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius[:, None]
    patch = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    cv2.fillPoly(patch, [outline.astype(np.int32)], 255)
    share = cv2.GaussianBlur(patch, (0, 0), 2)[:, :, None] / 255 * generator.uniform(0.12, 0.3)
    brown = np.array([120, 85, 50])
    return plate + share * (brown - plate), patch > 127


def _dented(plate: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A shallow dent: one side catches light, the other lies in shade."""
    centre, radius = generator.uniform(0.2, 0.8, 2), generator.uniform(0.03, 0.09)
    rows, columns = np.mgrid[0 : 1 : SIDE_PX * 1j, 0 : 1 : SIDE_PX * 1j]
    row, column = (rows - centre[0]) / radius, (columns - centre[1]) / radius
    angle, inside = generator.uniform(0, 2 * np.pi), np.hypot(row, column) < 1
    slope = (np.cos(angle) * column + np.sin(angle) * row) * np.exp(-2 * np.hypot(row, column) ** 2)
    return plate + (generator.uniform(60, 120) * slope * inside)[:, :, None], inside


METAL_DEFECTS: dict[str, Drawer] = {
    "dent": _dented,
    "pits": _pitted,
    "scratch": _scratched,
    "stain": _stained,
}


def draw_stone(generator: np.random.Generator) -> np.ndarray:
    """Polished stone [512, 512, 3], as floats from 0 to 255: chips of four colours in a binder."""
    large = 2 * SIDE_PX
    stone = np.full((large, large, 3), BINDER, np.float32)
    for _ in range(CHIPS):
        centre, angle = generator.integers(0, large, 2).tolist(), generator.uniform(0, 180)
        axes = (large * generator.uniform(0.004, 0.02) * generator.uniform(0.5, 1, 2)).astype(int)
        corners = cv2.ellipse2Poly(centre, axes.tolist(), int(angle), 0, 360, 50)
        colour = CHIP_COLOURS[generator.integers(len(CHIP_COLOURS))] + generator.normal(0, 6, 3)
        cv2.fillPoly(stone, [corners], colour.tolist(), cv2.LINE_AA)
    stone = cv2.resize(stone, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    light = generator.uniform(0.92, 1.06)
    return light * stone + generator.normal(0, 2, stone.shape)


def _cracked(stone: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A crack of 1 to 3 px that wanders across the stone, and may fork."""
    line = np.zeros((4 * SIDE_PX, 4 * SIDE_PX), np.uint8)
    start, heading = generator.uniform(0.2, 0.8, 2), generator.uniform(0, 2 * np.pi)
    width = int(generator.integers(4, 12))
    for _ in range(int(generator.integers(1, 3))):
        turns = heading + np.cumsum(generator.normal(0, 0.35, int(generator.integers(15, 50))))
        steps = np.stack([np.cos(turns), np.sin(turns)], axis=1) * 0.012
        points = (4 * SIDE_PX * (start + np.cumsum(steps, axis=0))).astype(np.int32)
        cv2.polylines(line, [points], False, 255, width, cv2.LINE_AA)
        heading += generator.choice([-1, 1]) * generator.uniform(0.5, 1.2)
    return _covered(stone, line, -generator.uniform(50, 100))


def _with_fibre(stone: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A coloured fibre of 2 to 4 px in a loose curl."""
    line = np.zeros((4 * SIDE_PX, 4 * SIDE_PX), np.uint8)
    along = np.linspace(0, 1, 80)
    turns = generator.uniform(0, 6) + generator.uniform(2, 7) * along
    steps = np.stack([np.cos(turns), np.sin(turns)], axis=1) * generator.uniform(0.15, 0.45) / 80
    points = generator.uniform(0.25, 0.75, 2) + np.cumsum(steps, axis=0)
    thick = int(generator.integers(8, 16))
    cv2.polylines(line, [(4 * SIDE_PX * points).astype(np.int32)], False, 255, thick, cv2.LINE_AA)
    share = cv2.resize(line, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)[:, :, None] / 255
    colour = np.array(FIBRE_COLOURS[generator.integers(len(FIBRE_COLOURS))])
    return stone + share * (colour - stone), share[:, :, 0] > 0.5


def _smeared(stone: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A part in which the chips are wiped into one another."""
    inside = _blob(generator, generator.uniform(0.05, 0.15))
    blurred = cv2.GaussianBlur(stone, (0, 0), float(generator.uniform(6, 14)))
    share = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 2)[:, :, None]
    return stone + share * (blurred - stone), inside


def _with_hole(stone: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A chip that has fallen out: a dark hollow with a bright rim on one side."""
    inside = _blob(generator, generator.uniform(0.015, 0.06))
    depth = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 2)[:, :, None]
    rim = np.clip(np.roll(depth, 3, axis=(0, 1)) - depth, 0, 1)
    return stone * (1 - generator.uniform(0.35, 0.6) * depth) + 50 * rim, inside


def _blob(generator: np.random.Generator, radius: float) -> np.ndarray:
    """A round part of the picture with a wavy outline, `radius` in sides of it."""
    rows, columns = np.mgrid[0 : 1 : SIDE_PX * 1j, 0 : 1 : SIDE_PX * 1j]
    centre = generator.uniform(0.2, 0.8, 2)
    angle = np.arctan2(rows - centre[0], columns - centre[1])
    waves = sum(
        generator.uniform(0, 0.3) / order * np.cos(order * angle + generator.uniform(0, 6))
        for order in (2, 3, 4)
    )
    return np.hypot(rows - centre[0], columns - centre[1]) < radius * (1 + waves)


BINDER = (196, 190, 178)
CHIPS = 2600
CHIP_COLOURS = np.array([(92, 88, 84), (226, 222, 212), (158, 120, 92), (120, 132, 128)], float)
FIBRE_COLOURS = ((170, 40, 45), (40, 70, 150), (35, 35, 35))
STONE_DEFECTS: dict[str, Drawer] = {
    "crack": _cracked,
    "fibre": _with_fibre,
    "hole": _with_hole,
    "smear": _smeared,
}


def _covered(plate: np.ndarray, drawn: np.ndarray, change: float) -> tuple[np.ndarray, np.ndarray]:
    """The plate changed where a drawing of four times its size covers it."""
    share = cv2.resize(drawn, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA) / 255
    return plate + change * share[:, :, None], share > 0.5


def _random_move(side_px: int, generator: np.random.Generator) -> np.ndarray:
    middle = (side_px - 1) / 2
    move = cv2.getRotationMatrix2D(
        (middle, middle), generator.uniform(0, 360), generator.uniform(*SCALES)
    )
    move[:, 2] += side_px * generator.uniform(-SHIFT, SHIFT, 2)
    return move


def _moved(image: np.ndarray, move: np.ndarray, interpolation: int) -> np.ndarray:
    return cv2.warpAffine(
        image, move, image.shape[1::-1], flags=interpolation, borderMode=cv2.BORDER_REPLICATE
    )


def _middle(large: int) -> tuple[slice, slice]:
    part = slice((large - SIDE_PX) // 2, (large + SIDE_PX) // 2)
    return part, part


def _generator(*names: str) -> np.random.Generator:
    return np.random.default_rng(list("/".join(names).encode()))


def _write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, np.clip(np.rint(image), 0, 255).astype(np.uint8))


if __name__ == "__main__":
    main()
