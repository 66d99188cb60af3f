"""The robot user: clicks where a perfect annotator would, after every answer of a method."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from adclick.clicks import Click, next_click

Predict = Callable[
    [Sequence[Click], "Float[np.ndarray, 'height width'] | None"], Float[np.ndarray, "height width"]
]


@dataclass(frozen=True)
class Answer:
    """The clicks given so far and the probability map [height width] that they led to."""

    clicks: tuple[Click, ...]
    probability: Float[np.ndarray, "height width"]


def simulate_clicks(
    predict: Predict, truth: Bool[np.ndarray, "height width"], *, count: int, threshold: float
) -> list[Answer]:
    """The answers after 1 … `count` clicks of a robot user who knows the truth.

    `predict(clicks, previous probability or None)` is the method. Each click falls at the deepest
    point of the larger error region of the mask so far (`next_click`); the mask before the first
    click is empty. When a mask is exactly right there is nothing left to click: the last answer is
    repeated.

    Source: the evaluation protocol of RITM and SimpleClick (arXiv 2210.11006), used in Sec. 4.2.
    """
    taken = np.zeros(truth.shape, bool)
    answers: list[Answer] = []
    for _ in range(count):
        previous = answers[-1] if answers else Answer((), np.zeros(truth.shape, np.float32))
        mask = previous.probability > threshold
        if answers and _nothing_to_click(truth, mask, taken):
            answers.append(previous)
            continue
        click = next_click(truth, mask, taken)
        taken[click.row, click.column] = True
        clicks = (*previous.clicks, click)
        answers.append(Answer(clicks, predict(clicks, previous.probability if answers else None)))
    return answers


def _nothing_to_click(
    truth: Bool[np.ndarray, "height width"],
    mask: Bool[np.ndarray, "height width"],
    taken: Bool[np.ndarray, "height width"],
) -> bool:
    return not bool(np.any((truth != mask) & ~taken))
