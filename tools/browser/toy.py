"""Toy photographs with known defects, and a model of them that answers at once: for tests that are
about the page and the server, not about what a network has learnt.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from adclick.annotate.worker import MOST_SESSIONS, ModelFacts
from adclick.clicks.click import Click
from adclick.networks.parts import Part
from adclick.run.settings.data import Geometry

SIZE_PX = 128
TYPES = ("scratch", "stain", "dent")
NEGATIVE_RADIUS_PX = 9


@dataclass(frozen=True)
class Drawn:
    """A picture, its defect's mask, and a pixel in the middle of each defect (row, column)."""

    image: np.ndarray
    mask: np.ndarray
    middles: list[tuple[int, int]]


def draw(number: int, *, size_px: int = 256, width_px: int | None = None) -> Drawn:
    """A brushed metal plate with a scratch and a stain; the same for the same number."""
    rng = np.random.default_rng(number)
    height, width = size_px, width_px or size_px
    plate = _plate(rng, height, width)
    mask = np.zeros((height, width), np.uint8)
    unit = height / 256
    row, column = (rng.uniform(0.25, 0.45, 2) * (height, width)).astype(int)
    length, angle = 46 * unit, rng.uniform(-0.6, 0.6)
    end = (int(column + length * np.cos(angle)), int(row + length * np.sin(angle)))
    cv2.line(mask, (int(column), int(row)), end, 1, max(2, round(7 * unit)))
    middles = [(int((row + end[1]) / 2), int((column + end[0]) / 2))]
    row, column = (rng.uniform(0.62, 0.8, 2) * (height, width)).astype(int)
    axes = (round(rng.uniform(13, 20) * unit), round(rng.uniform(9, 14) * unit))
    cv2.ellipse(mask, (int(column), int(row)), axes, rng.uniform(0, 180), 0, 360, 1, -1)
    middles.append((int(row), int(column)))
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.2 * unit)
    shade = np.where(np.arange(height)[:, None] < 0.55 * height, 70.0, -62.0)
    plate = plate + soft * shade
    return Drawn(_tinted(plate), mask > 0, middles)


def _plate(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    noise = rng.normal(0, 1, (height, width)).astype(np.float32)
    grain = cv2.GaussianBlur(noise, (0, 0), 9, sigmaY=0.6)
    light = np.linspace(-12, 12, width, dtype=np.float32)[None]
    return 128 + 10 * grain / max(float(grain.std()), 1e-6) + light


def _tinted(plate: np.ndarray) -> np.ndarray:
    tint = np.array([1.0, 1.01, 1.05], np.float32)
    return np.clip(plate[..., None] * tint, 0, 255).astype(np.uint8)


def write_images(folder: Path, *, count: int, large: bool = False, corrupt: bool = False) -> None:
    """plate/000.png and on; with `large`, z/large.png of 2000 x 2000 pixels; with `corrupt`, a
    picture that is none.
    """
    for number in range(count):
        _write(folder / f"plate/{number:03d}.png", draw(number).image)
    if large:
        _write(folder / "z/large.png", draw(7, size_px=2000).image)
    if corrupt:
        (folder / "plate/broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")


def write_mask(path: Path, mask: np.ndarray) -> None:
    """A mask as a PNG of 0 and 255."""
    _write(path, mask.astype(np.uint8) * 255)


def _write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@dataclass
class ToyEncoding:
    """What the server keeps of an image."""

    image: np.ndarray
    residual_map: np.ndarray
    neighbour: np.ndarray
    probability: np.ndarray | None
    residual: np.ndarray = field(default_factory=lambda: np.zeros(1, np.float32))
    tokens: np.ndarray = field(default_factory=lambda: np.zeros(1, np.float32))
    maps: tuple[np.ndarray, ...] = ()


class ToyServer:
    """Answers as `worker.Server` does, from grey values: a click takes the blob that it is on."""

    def __init__(self) -> None:
        self.encodings: OrderedDict[str, ToyEncoding] = OrderedDict()

    def facts(self) -> ModelFacts:
        return ModelFacts("Toy model", "adclick_seg", "cpu", TYPES, SIZE_PX, 0.5, "toy", 0.5)

    def encode(self, path: Path) -> ToyEncoding:
        with Image.open(path) as opened:
            image = np.asarray(opened.convert("RGB").resize((SIZE_PX, SIZE_PX)))
        grey = image.astype(np.float32).mean(axis=2)
        rest = np.abs(grey - np.median(grey, axis=0, keepdims=True))
        residual = np.clip(cv2.GaussianBlur(rest, (0, 0), 1.2) / 60, 0, 1)
        normal = _tinted(_plate(np.random.default_rng(1000), 2 * SIZE_PX, 2 * SIZE_PX))
        normal = cv2.resize(normal, (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_AREA)
        return ToyEncoding(image, residual, normal, residual)

    def predict(
        self,
        key: str,
        defect_type: str | None,
        clicks: Sequence[Click],
        previous: np.ndarray | None,
        encoding: Any | None,
    ) -> np.ndarray | None:
        if encoding is not None:
            self.encodings[key] = encoding
            while len(self.encodings) > MOST_SESSIONS:
                self.encodings.popitem(last=False)
        if key not in self.encodings:
            return None
        residual = self.encodings[key].residual_map
        answer = np.zeros_like(residual) if previous is None else previous.astype(np.float32)
        _, blobs = cv2.connectedComponents((residual > 0.3).astype(np.uint8))
        rows, columns = np.mgrid[:SIZE_PX, :SIZE_PX]
        for click in clicks:
            near = np.hypot(rows - click.row, columns - click.column)
            if click.positive:
                blob = np.asarray(blobs)[click.row, click.column]
                reach = np.asarray(blobs) == blob if blob else near < 6
                answer = np.maximum(answer, np.where(reach, 0.35 + 0.6 * residual, 0))
                answer = np.maximum(answer, np.where(near < 3, 0.9, 0))
            else:
                answer = np.where(near < NEGATIVE_RADIUS_PX, 0.05, answer)
        return answer.astype(np.float32)


@dataclass
class NativeEncoding:
    """What the server keeps of an image that is seen at its own size."""

    image: np.ndarray
    residual_map: np.ndarray
    neighbour: np.ndarray
    probability: np.ndarray | None = None


class NativeToyServer:
    """Sees pictures at their own size, in windows: a click takes the dark blob that it is on."""

    DARK, WINDOW, STRIDE = 60, 32, 8

    def __init__(self) -> None:
        self.images: dict[str, np.ndarray] = {}

    def facts(self) -> ModelFacts:
        size = Geometry(scale=1.0)
        return ModelFacts(
            *("Toy model of any size", "adclick", "cpu", TYPES, SIZE_PX, 0.5, "native toy", 0.5),
            geometry=size,
            window=self.WINDOW,
            stride=self.STRIDE,
        )

    def encode(self, path: Path) -> NativeEncoding:
        with Image.open(path) as opened:
            image = np.asarray(opened.convert("L"))
        dark = (image < self.DARK).astype(np.float32)
        return NativeEncoding(image, dark, np.repeat(image[:, :, None], 3, axis=2))

    def predict(self, key: str, defect_type: str | None, *given: Any) -> np.ndarray | None:
        clicks, previous, encoding = given
        side = 10_000  # all of a small picture
        return self.predict_part(
            key, defect_type, Part(0, 0, side, side), clicks, previous, encoding
        )

    def predict_part(
        self,
        key: str,
        defect_type: str | None,
        part: Part,
        clicks: Sequence[Click],
        previous: np.ndarray | None,
        encoding: Any | None,
    ) -> np.ndarray | None:
        if encoding is not None:
            self.images[key] = encoding.image
        if key not in self.images:
            return None
        seen = self.images[key][part.pixels(self.STRIDE)]
        answer = np.zeros(seen.shape, np.float32) if previous is None else previous.copy()
        _, found = cv2.connectedComponents((seen < self.DARK).astype(np.uint8))
        blobs = np.asarray(found)
        for click in clicks:
            blob = blobs[click.row, click.column]
            if blob:
                answer[: seen.shape[0], : seen.shape[1]][blobs == blob] = float(click.positive)
        return answer


def draw_large(height: int, width: int, pits: Sequence[tuple[int, int]]) -> Drawn:
    """A plate of any size with numbered rulings, and dark pits of 12 px around pixels."""
    rows, columns = np.arange(height)[:, None], np.arange(width)[None, :]
    grey = (140 + 20 * ((rows // 8 + columns // 8) % 2)).astype(np.uint8)
    mask = np.zeros((height, width), np.uint8)
    for row, column in pits:
        cv2.circle(mask, (column, row), 6, 1, cv2.FILLED)
    for row in range(0, height, 256):
        for column in range(0, width, 256):
            text, place = f"{row},{column}", (column + 4, row + 24)
            cv2.putText(grey, text, place, cv2.FONT_HERSHEY_PLAIN, 1.4, 220, 1)
    grey[mask > 0] = 30
    return Drawn(np.repeat(grey[:, :, None], 3, axis=2), mask > 0, list(pits))
