"""At which scale a run fits the photographs and this machine, and how long it will take."""

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
PICTURE_S, DEFECT_S, TRAINING_S = 1.7, 9.5, 415.0
PROBED = 512


class Scale(NamedTuple):
    """A proposal: pictures at `size_px`, which takes about `minutes` until the detector is there
    (labelling apart) on this machine; `larger` is the next size with its minutes, where pictures
    are large enough to gain by it.
    """

    size_px: int
    minutes: float
    larger: tuple[int, float] | None

    @property
    def line(self) -> str:
        """It in words."""
        said = f"proposed: {self.size_px} px, about {_span(self.minutes)} of computing here"
        if self.larger is None:
            return said
        size_px, minutes = self.larger
        return f"{said} ({size_px} px, for small defects: about {_span(minutes)})"


def propose(normals: int, defects: int, shapes: Sequence[tuple[int, int]]) -> Scale:
    """The largest size that the pictures (height, width) can fill and that is done in an hour."""
    side = float(np.median([min(shape) for shape in shapes])) if shapes else SIZES_PX[0]
    fitting = [size for size in SIZES_PX if side >= LEAST_GAIN * size / 2] or [SIZES_PX[0]]
    speed = machine_speed()
    minutes = {size: expected_minutes(size, normals, defects, speed=speed) for size in fitting}
    quick = [size for size in fitting if minutes[size] <= LONGEST_MINUTES] or fitting[:1]
    chosen = quick[-1]
    above = [(size, minutes[size]) for size in fitting if size > chosen]
    return Scale(chosen, minutes[chosen], above[0] if above else None)


def expected_minutes(size_px: int, normals: int, defects: int, *, speed: float) -> float:
    """Minutes from pictures to a detector; `speed` is that of `machine_speed`."""
    area = (size_px / SIZES_PX[0]) ** 2
    seconds = area * (PICTURE_S * (normals + defects) + DEFECT_S * defects + TRAINING_S)
    return seconds / speed / 60


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
