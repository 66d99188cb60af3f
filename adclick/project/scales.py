"""At which scale a run fits the photographs and this machine, and what it will cost."""

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SIZES_PX = (256, 512)  # what small networks and ResNet-18 were tried at
LEAST_GAIN = 1.5  # a larger size is for pictures this many times as large as the smaller
LONGEST_MINUTES = 60.0  # above it a larger size is only mentioned
REFERENCE_GFLOPS = 88.0  # of one core, where the seconds below were measured
GPU_FACTOR = 0.1  # a guess: of the seconds of one such core
# Seconds of one core at 256 px: a picture through backbone, comparison and maps; a labelled defect
# with its variants; training whatever the number of pictures.
PICTURE_S, DEFECT_S, TRAINING_S = 1.7, 9.5, 490.0
PROBED = 512
LONG = 2.0  # a picture this many times as long as it is high is not squeezed into a square
SMALLEST_PX = 8.0  # a defect is to be as wide as a patch, where the photographs have it so
SMALL_SHARE = 0.25  # of the labelled defects may be smaller
LARGEST_RADIUS = 3.2  # patches: a wider search costs more than it finds
# GB of the largest process. A training: its programs, and the windows of 256 px of a step. Else
# programs, bytes a pixel of the pictures that pass the backbone together, and bytes a pixel of one.
TRAINING_GB, WINDOWS_GB = 1.0, 0.4
STAGE_GB, BATCH_B, PICTURE_B = 1.0, 120.0, 80.0
BATCH, BATCH_PIXELS = 16, 32 * 512 * 512  # so many pictures, but no more pixels
DISK_B = 448 * 2 * 2 / 64  # a network's pixel: features and residual, 448 halves a patch of 8 x 8
PER_NORMAL, COPIES = 2, 20  # drawn pictures a normal one and a labelled defect, as config.yaml has
ROOM = 0.7  # of this machine's memory and free disk, at most


class Cost(NamedTuple):
    """What it takes from photographs to a detector, labelling apart, on this machine."""

    minutes: float
    memory_gb: float
    disk_gb: float

    @property
    def line(self) -> str:
        """It in words."""
        memory, disk = (f"{max(0.1, value):.1f} GB" for value in self[1:])
        return f"about {_span(self.minutes)} of computing here, {memory} of memory, {disk} of disk"


class Kept(NamedTuple):
    """Photographs in their own shape, `scale` of the network's pixels by one of theirs; why, and
    what it costs. `proposed`: no square is.
    """

    scale: float
    why: str
    cost: Cost
    proposed: bool


class Scale(NamedTuple):
    """A proposal: pictures as squares of `size_px`, and what that costs; `larger` is the next size
    with its minutes, where pictures are large enough to gain by it. `kept` is another way, where
    squares would lose something.
    """

    size_px: int
    cost: Cost
    larger: tuple[int, float] | None
    kept: Kept | None = None

    @property
    def minutes(self) -> float:
        """Those of the square."""
        return self.cost.minutes

    @property
    def lines(self) -> list[str]:
        """It in words."""
        said = f"{self.size_px} px, {self.cost.line}"
        if self.larger is not None:
            size_px, minutes = self.larger
            said += f" ({size_px} px, for small defects: about {_span(minutes)})"
        if self.kept is None:
            return [f"proposed: {said}"]
        kept = f"--scale {self.kept.scale:g}, since {self.kept.why}: {self.kept.cost.line}"
        if self.kept.proposed:
            return [f"proposed: {kept}", f"else (--size {self.size_px}): {said}"]
        return [f"proposed: {said}", f"better, if this machine allows it: {kept}"]


def propose(
    normals: int,
    defects: int,
    shapes: Sequence[tuple[int, int]],
    sides: Sequence[float] = (),
    *,
    folder: Path | None = None,
) -> Scale:
    """The largest square that the pictures (height, width) can fill and that is done in an hour; or
    their own shape, where they are long or labelled defects would be too small. `sides` are those
    of squares of these defects' areas, in photographs' pixels; the project will lie in `folder`.
    """
    square = [(SIZES_PX[0], SIZES_PX[0])]
    height, width = (float(np.median(own)) for own in zip(*(shapes or square), strict=True))
    fitting = [size for size in SIZES_PX if min(height, width) >= LEAST_GAIN * size / 2]
    fitting = fitting or [SIZES_PX[0]]
    speed = machine_speed()
    costs = {
        size: expected_cost(float(size**2), size, normals, defects, speed=speed) for size in fitting
    }
    quick = [size for size in fitting if costs[size].minutes <= LONGEST_MINUTES] or fitting[:1]
    chosen = quick[-1]
    above = [(size, costs[size].minutes) for size in fitting if size > chosen]
    kept = _kept((height, width), sides, chosen, normals, defects, speed, folder or Path())
    return Scale(chosen, costs[chosen], above[0] if above else None, kept)


def _kept(
    shape: tuple[float, float],
    sides: Sequence[float],
    size_px: int,
    normals: int,
    defects: int,
    speed: float,
    folder: Path,
) -> Kept | None:
    """The smallest scale at which nothing that is known of is lost; smaller where it would not fit,
    and only mentioned where it takes more than an hour.
    """
    pixels = shape[0] * shape[1]
    wanted: list[tuple[float, str]] = []
    if max(shape) >= LONG * min(shape):
        wanted.append((size_px / min(shape), "photographs are long"))
    if len(sides):
        small = max(1.0, float(np.quantile(sides, SMALL_SHARE)))
        if small * size_px / pixels**0.5 < SMALLEST_PX:
            said = f"a quarter of the labelled defects are smaller than {small:.0f} px"
            wanted.append((SMALLEST_PX / small, said))
    if not wanted:
        return None
    scale, why = max(wanted)
    scale = min(1.0, scale)
    while True:
        scale = float(f"{scale:.2g}")
        area = pixels * scale**2
        cost = expected_cost(area, SIZES_PX[0], normals, defects, speed=speed)
        if scale <= 0.05 or _fits(cost, folder):
            return Kept(scale, why, cost, cost.minutes <= LONGEST_MINUTES)
        scale *= 0.8


def _fits(cost: Cost, folder: Path) -> bool:
    there = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    free = shutil.disk_usage(there).free
    return cost.disk_gb * 1e9 <= ROOM * free and cost.memory_gb * 1e9 <= ROOM * os.sysconf(
        "SC_PAGE_SIZE"
    ) * os.sysconf("SC_PHYS_PAGES")


def expected_cost(
    pixels: float, window_px: int, normals: int, defects: int, *, speed: float
) -> Cost:
    """What it takes from pictures of so many network pixels to a detector whose trainings see
    windows of `window_px` a side; `speed` is that of `machine_speed`.
    """
    square = SIZES_PX[0] ** 2
    seconds = pixels / square * (PICTURE_S * (normals + defects) + DEFECT_S * defects)
    seconds += window_px**2 / square * TRAINING_S
    stored = normals * (2 + PER_NORMAL) + defects * (2 + COPIES)
    memory_gb = largest_process_gb(pixels, window_px)
    return Cost(seconds / speed / 60, memory_gb, stored * pixels * DISK_B / 1e9)


def largest_process_gb(pixels: float, window_px: int) -> float:
    """What the largest of a project's processes holds, a training or one that computes features of
    pictures of so many network pixels.

    Measured on the small scale's ResNet-18: 1.3 GB at 256 x 256 px, 2.0 at 1130 x 460, 3.1 at 20
    megapixels, where this says 1.4, 2.0 and 3.6.
    """
    training = TRAINING_GB + WINDOWS_GB * window_px**2 / SIZES_PX[0] ** 2
    together = min(BATCH * pixels, BATCH_PIXELS)
    return max(training, STAGE_GB + (BATCH_B * together + PICTURE_B * pixels) / 1e9)


def machine_speed() -> float:
    """How fast this machine computes, as a multiple of one core of where it was measured: a matrix
    product on one core or, with a GPU, a guess.
    """
    if Path("/dev/nvidiactl").exists():
        return 1 / GPU_FACTOR
    matrix: Any = np.random.default_rng(0).random((PROBED, PROBED), np.float32)
    best = np.inf
    for _ in range(4):
        start = time.process_time()  # of all threads together, whoever else computes meanwhile
        _ = matrix @ matrix
        best = min(best, time.process_time() - start)
    gflops = 2 * PROBED**3 / max(best, 1e-6) / 1e9
    return min(4.0, max(0.1, gflops / REFERENCE_GFLOPS))


def _span(minutes: float) -> str:
    if minutes < 90:
        return f"{max(1, round(minutes))} minutes"
    return f"{minutes / 60:.1f} hours"
