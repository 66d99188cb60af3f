"""Robot users: they know the truth and click after every answer of a method, well or less well."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from adclick.clicks.click import Click
from adclick.clicks.deepest import next_click, next_jittered_click

Predict = Callable[
    [Sequence[Click], "Float[np.ndarray, 'height width'] | None"], Float[np.ndarray, "height width"]
]


@dataclass(frozen=True)
class Answer:
    """The clicks given so far and the probability map [height width] that they led to."""

    clicks: tuple[Click, ...]
    probability: Float[np.ndarray, "height width"]


@dataclass(frozen=True)
class RobotUser:
    """How well a robot user clicks.

    `place` is `deepest` (`next_click`) or `inside` (`next_jittered_click`: anywhere in the inner
    half of the larger error); `wrong` is the chance that a click has the wrong sign, as of one who
    presses the wrong button. Both matter for a `generator` only; `deepest` and 0 need none.
    """

    place: Literal["deepest", "inside"]
    wrong: float

    @property
    def random(self) -> bool:
        """Whether anything about the clicks is random."""
        return self.place != "deepest" or self.wrong > 0


PROTOCOL = RobotUser("deepest", 0.0)


def click_generator(image_id: str, draw: int) -> np.random.Generator:
    """What a robot user draws from on one image: a function of the image's id and the draw alone,
    so that neither the method nor the other images matter.
    """
    digest = hashlib.sha256(image_id.encode()).digest()
    return np.random.default_rng([draw, int.from_bytes(digest[:8], "little")])


def simulate_clicks(
    predict: Predict,
    truth: Bool[np.ndarray, "height width"],
    *,
    count: int,
    threshold: float,
    user: RobotUser = PROTOCOL,
    generator: np.random.Generator | None = None,
) -> list[Answer]:
    """The answers after 1 … `count` clicks of a robot user who knows the truth.

    `predict(clicks, previous probability or None)` is the method. Each click falls on the larger
    error region of the mask so far, where `user` says; the mask before the first click is empty.
    When a mask is exactly right there is nothing left to click: the last answer is repeated.
    ValueError for a user who draws without a generator.

    Source: the evaluation protocol of RITM and SimpleClick (arXiv 2210.11006), used in Sec. 4.2;
    other users than that of the protocol are ours.
    """
    if user.random and generator is None:
        raise ValueError(f"{user} draws its clicks and needs a generator")
    taken = np.zeros(truth.shape, bool)
    answers: list[Answer] = []
    for _ in range(count):
        previous = answers[-1] if answers else Answer((), np.zeros(truth.shape, np.float32))
        mask = previous.probability > threshold
        if answers and _nothing_to_click(truth, mask, taken):
            answers.append(previous)
            continue
        click = _click(user, truth, mask, taken, generator)
        taken[click.row, click.column] = True
        clicks = (*previous.clicks, click)
        answers.append(Answer(clicks, predict(clicks, previous.probability if answers else None)))
    return answers


def _click(
    user: RobotUser,
    truth: Bool[np.ndarray, "height width"],
    mask: Bool[np.ndarray, "height width"],
    taken: Bool[np.ndarray, "height width"],
    generator: np.random.Generator | None,
) -> Click:
    if generator is None or not user.random:
        return next_click(truth, mask, taken)
    wrong = generator.random() < user.wrong
    if user.place == "deepest":
        click = next_click(truth, mask, taken)
    else:
        click = next_jittered_click(truth, mask, taken, generator)
    return replace(click, positive=not click.positive) if wrong else click


def _nothing_to_click(
    truth: Bool[np.ndarray, "height width"],
    mask: Bool[np.ndarray, "height width"],
    taken: Bool[np.ndarray, "height width"],
) -> bool:
    return not bool(np.any((truth != mask) & ~taken))
