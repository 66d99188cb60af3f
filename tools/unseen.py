"""Data that no setting is chosen on, as photographs in MVTec AD's layout.

    python -m tools.unseen /path/to/mvtec/bottle unseen   # makes unseen/turned, unseen/brushed

`turned` has the pictures of a category of MVTec AD with the product at any angle and anywhere, so
that a place means nothing; its defects are real. `brushed` is drawn: brushed metal, whose grain
runs in another direction in every picture, with scratches, pits, stains and dents, by other code
than that of the embedded data and of simulated defects. Look at results on these, choose nothing by
them.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from adclick.data.images import read_image, write_png

SIDE_PX = 512
NORMALS, TEST_NORMALS, EACH_TYPE = 120, 30, 16  # of `brushed`
SHIFT = 0.12  # of the picture's side: how far a product lies from its place
SCALES = (0.75, 0.95)

Drawer = Callable[[np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]


def main() -> None:
    """Make both data sets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("category", type=Path, help="folder of a category in MVTec AD's layout")
    parser.add_argument("output", type=Path, help="folder to make")
    arguments = parser.parse_args()
    turn_category(arguments.category, arguments.output / "turned")
    draw_brushed(arguments.output / "brushed")


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


def draw_brushed(target: Path) -> None:
    """Normal plates for training and test, and defective ones with masks."""
    for split, count in (("train", NORMALS), ("test", TEST_NORMALS)):
        for index in range(count):
            plate = draw_plate(_generator("brushed", split, str(index)))
            _write(target / split / "good" / f"{index:03d}.png", plate)
    for kind, draw in DEFECTS.items():
        for index in range(EACH_TYPE):
            generator = _generator("brushed", kind, str(index))
            image, mask = draw(draw_plate(generator), generator)
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


DEFECTS: dict[str, Drawer] = {
    "dent": _dented,
    "pits": _pitted,
    "scratch": _scratched,
    "stain": _stained,
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
