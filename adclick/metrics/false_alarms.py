"""A threshold from normal pictures that nothing was trained on, at a rate of false alarms."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

Scores = Sequence[float] | Float[np.ndarray, " picture"]
RATE = 0.01  # of normal pictures: what is asked for without a word


class Threshold(NamedTuple):
    """A picture is defective when its score lies above `value`.

    `asked` is the rate of false alarms that was asked for, `promised` the one that so many
    `pictures` can stand for: the share of new normal pictures that are marked, on average over all
    sets of held-out pictures.
    """

    value: float
    asked: float
    promised: float
    pictures: int

    @property
    def is_kept(self) -> bool:
        """Whether there are enough held-out pictures for what was asked."""
        return self.promised <= self.asked + 1e-12

    @property
    def line(self) -> str:
        """It in words."""
        said = (
            f"threshold {self.value:.4g}: about {_percent(self.promised)} of normal pictures are"
            f" marked by mistake ({self.pictures} held-out normal pictures)"
        )
        if self.is_kept:
            return said
        needed = pictures_needed(self.asked)
        enough = "no number is enough" if needed is None else f"it takes {needed} of them"
        return (
            f"{said}; for {_percent(self.asked)}, as asked, {enough}, so the threshold is their"
            " highest score"
        )


def threshold_at(scores: Scores, rate: float = RATE) -> Threshold:
    """The threshold that normal pictures exceed at a rate, from the scores of held-out ones.

    Of n pictures it is the k-th highest score, k = floor(rate (n + 1)): a new picture from where
    these are from exceeds it with probability k / (n + 1), whatever the scores' distribution (less
    where scores are equal). With n < 1 / rate - 1 there is no such k: then it is the highest score,
    which promises 1 / (n + 1) and not what was asked. A rate of 0 is never kept.

    ValueError without a score, or for a rate outside 0 … 1.

    Source: split conformal prediction, Vovk et al., Algorithmic Learning in a Random World (2005).
    """
    if not len(scores):
        raise ValueError("no score of a held-out normal picture")
    if not 0 <= rate <= 1:
        raise ValueError(f"a rate of {rate} is not between 0 and 1")
    ordered = np.sort(np.asarray(scores, np.float64))[::-1]
    count = len(ordered)
    rank = min(count, max(1, math.floor(rate * (count + 1) + 1e-9)))
    return Threshold(float(ordered[rank - 1]), rate, rank / (count + 1), count)


def pictures_needed(rate: float) -> int | None:
    """How many held-out normal pictures a rate of false alarms needs at least; None: no number is
    enough.
    """
    return math.ceil(1 / rate - 1 - 1e-9) if rate > 0 else None


def false_alarms(scores: Scores, level: float) -> tuple[int, float]:
    """How many of the held-out normal pictures lie above a level, and their share (0 of none)."""
    count = int((np.asarray(scores, np.float64) > level).sum())
    return count, count / max(1, len(scores))


def _percent(share: float) -> str:
    return f"{float(f'{100 * share:.2g}'):g} %"
