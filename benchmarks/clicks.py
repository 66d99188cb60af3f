"""The robot user's next click on clean and on messy masks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from adclick.clicks.click import Click
from adclick.clicks.deepest import next_click
from benchmarks.measure import Check, Results, Task, Variant
from benchmarks.pictures import soft_defect

OTHER = "two distance transforms of the image"
SIZES = {"tiny": [48], "quick": [512], "normal": [512, 1024], "full": [512, 1024, 2048]}
COUNT = {"tiny": 2}


@dataclass(frozen=True)
class State:
    """What the robot user sees: the truth, the mask so far, the pixels it has clicked."""

    truth: np.ndarray
    prediction: np.ndarray
    taken: np.ndarray


def tasks(scale: str) -> Iterator[Task]:
    """First clicks and refinements (clean), nearly right and hopeless masks with specks (messy)."""
    for size_px in SIZES[scale]:
        for kind, goal in GOALS.items():
            yield _task(kind, goal, size_px, COUNT.get(scale, 10))


GOALS = {"first click": 5, "refinement": 5, "specks": 1, "noise": 1}


def _task(kind: str, goal: float, size_px: int, count: int) -> Task:
    states = [_state(kind, np.random.default_rng(seed), size_px) for seed in range(count)]

    def agreement(results: Results) -> list[Check]:
        pairs = list(zip(results["ours"], results[OTHER], strict=True))
        return [Check("the same clicks", float(np.mean([a == b for a, b in pairs])), least=1.0)]

    return Task(
        name=f"{kind}, {count} masks of {size_px} x {size_px}",
        variants=[
            Variant("ours", partial(_clicks, next_click, states)),
            Variant(OTHER, partial(_clicks, _whole_image_click, states)),
        ],
        agreement=agreement,
        goals={OTHER: goal},
    )


def _clicks(choose, states: Sequence[State]) -> list[Click]:
    return [choose(state.truth, state.prediction, state.taken) for state in states]


def _state(kind: str, random: np.random.Generator, size_px: int) -> State:
    soft = soft_defect(random, size_px)
    truth, taken = soft > 0.5, np.zeros(soft.shape, bool)
    taken[size_px // 2, size_px // 2] = kind != "first click"
    shifted = np.roll(soft > random.uniform(0.4, 0.6), random.choice([-2, 2], 2), (0, 1))
    predictions = {
        "first click": lambda: taken,
        "refinement": lambda: shifted,
        "specks": lambda: shifted ^ (random.random(soft.shape) < 0.02),
        "noise": lambda: random.random(soft.shape) < 0.3,
    }
    return State(truth, predictions[kind](), taken)


def _whole_image_click(truth: np.ndarray, prediction: np.ndarray, taken: np.ndarray) -> Click:
    """Both kinds of error transformed in whole; ties as ours: by squared depth, the first pixel."""
    missed, alarm = (
        np.rint(_squared_depths(error) * ~taken)
        for error in (truth & ~prediction, prediction & ~truth)
    )
    positive = bool(missed.max() > alarm.max())
    deepest = missed if positive else alarm
    row, column = np.unravel_index(deepest.argmax(), deepest.shape)
    return Click(int(row), int(column), positive)


def _squared_depths(error: np.ndarray) -> np.ndarray:
    ringed = np.pad(error.astype(np.uint8), 1)
    return np.square(cv2.distanceTransform(ringed, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1])
