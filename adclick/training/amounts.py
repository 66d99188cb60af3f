"""How much a trained detector may add to the training-free map: chosen on pictures held out."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from adclick.metrics.pixels import pixel_metrics
from adclick.metrics.streaming import StreamingMetrics
from adclick.networks.detector_inputs import BENT, STRAIGHT, drawn_in

AMOUNTS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class HeldOut:
    """A picture of a part (`fold`), with the answer of the detectors that did not see it: the
    base's logits, what these add, and where it is defective (nowhere, for a normal picture).
    """

    fold: int
    base: Float[np.ndarray, "height width"]
    added: Float[np.ndarray, "height width"]
    mask: Bool[np.ndarray, "height width"]


@dataclass(frozen=True)
class AmountScore:
    """What an amount reaches on held-out pictures: of all folds together, and AP fold by fold.

    `image_auroc` is None where no held-out picture is good.
    """

    amount: float
    pixel_ap: float
    pixel_pro: float
    image_auroc: float | None
    fold_aps: tuple[float, ...]

    @property
    def merit(self) -> float:
        """The sum of three metrics, AP being `typical_ap`: what amounts are compared by.

        One alone misleads where few defects are labelled: a detector that finds ten tiny pits
        better may rank whole pictures worse, and AP of large defects says nothing of small ones.
        """
        return self.typical_ap + self.pixel_pro + (self.image_auroc or 0.0)

    @property
    def typical_ap(self) -> float:
        """The median of the folds' APs, or the AP of all pictures where no fold has one.

        Labels of clicks are not all good. A poor one makes what is right look wrong: in the AP of
        all pictures that can outweigh nine good ones, in the median it spoils one fold.
        """
        return statistics.median(self.fold_aps) if self.fold_aps else self.pixel_ap


def fold_sources(sources: Sequence[str], kinds: Sequence[str], folds: int) -> list[set[str]]:
    """Labelled pictures (or normal ones) dealt to folds by turns, kind by kind, in sorted order.

    `kinds` are their types of defect: every fold gets of every kind as many as any other, or one
    fewer. A source that is given more than once is dealt once. There are no more folds than
    sources. ValueError for fewer than two.
    """
    ordered = sorted(set(zip(kinds, sources, strict=True)))
    dealt: list[set[str]] = [set() for _ in range(min(folds, len(ordered)))]
    if len(dealt) < 2:
        raise ValueError(f"{len(ordered)} pictures cannot be dealt to two folds or more")
    for index, (_, source) in enumerate(ordered):
        dealt[index % len(dealt)].add(source)
    return dealt


def score_amounts(held: Sequence[HeldOut], amounts: Sequence[float] = AMOUNTS) -> list[AmountScore]:
    """What every amount reaches on held-out pictures, in the order of `amounts`.

    A fold without a defective or without a normal pixel cannot be scored and is left out of
    `fold_aps`; ValueError when that is so of all pictures together.
    """
    return [_score(held, amount) for amount in amounts]


class HeldAmounts:
    """What amounts reach, to the last digit; held-out pictures are kept until it is asked."""

    def __init__(self, amounts: Sequence[float]) -> None:
        """Nothing was held out yet."""
        self._amounts, self._held = amounts, list[HeldOut]()

    def add(self, held: HeldOut) -> None:
        """One more picture."""
        self._held.append(held)

    def scores(self) -> list[AmountScore]:
        """`score_amounts` of all."""
        return score_amounts(self._held, self._amounts)


class StreamedAmounts:
    """What amounts reach on large pictures, in memory that does not grow: counted as maps rank
    them, in bins (`StreamingMetrics`).
    """

    def __init__(self, amounts: Sequence[float]) -> None:
        """Nothing was held out yet."""
        self._amounts = amounts
        self._counted: dict[int, list[StreamingMetrics]] = {}
        self._pixels: dict[int, tuple[int, int]] = {}

    def add(self, held: HeldOut) -> None:
        """Count one more picture."""
        if held.fold not in self._counted:
            self._counted[held.fold] = [self._empty() for _ in self._amounts]
        for amount, counted in zip(self._amounts, self._counted[held.fold], strict=True):
            counted.add(drawn_in(held.base + np.float32(amount) * held.added), held.mask)
        defective, pixels = self._pixels.get(held.fold, (0, 0))
        counts = (defective + int(held.mask.sum()), pixels + held.mask.size)
        self._pixels[held.fold] = counts

    def scores(self) -> list[AmountScore]:
        """As of `score_amounts`, but for what bins leave open: some 1e-5."""
        scored = [fold for fold, (bad, all_of) in self._pixels.items() if 0 < bad < all_of]
        found = []
        for index, amount in enumerate(self._amounts):
            whole = self._empty()
            for counted in self._counted.values():
                whole.join(counted[index])
            reached = whole.result()
            aps = [self._counted[fold][index].result().ap for fold in sorted(scored)]
            known = (reached.ap, reached.pro, reached.image_auroc)
            found.append(AmountScore(amount, *known, tuple(aps)))
        return found

    def _empty(self) -> StreamingMetrics:
        return StreamingMetrics(-STRAIGHT - BENT, STRAIGHT + BENT)


def choose_amount(scores: Sequence[AmountScore], *, least_gain: float, noise: float) -> AmountScore:
    """Of 0 and the amounts that gain at least `least_gain` (a fraction) over the training-free map
    the nearest to the mean of all, each of which counts for exp((its `merit` - the best) /
    `noise`); of two that are as near, the smaller.

    On ten pictures amounts differ by chance; what is best by a hair is taken for no more than that.
    `scores` must have amount 0, the training-free map alone.
    """
    base = next((score for score in scores if score.amount == 0), None)
    if base is None:
        raise ValueError("amount 0 was not scored: nothing says what the training-free map reaches")
    gaining = [score for score in scores if score.merit > base.merit]
    gaining = [score for score in gaining if score.merit - base.merit >= least_gain]
    best = max(score.merit for score in scores)
    weights = [math.exp((score.merit - best) / noise) for score in scores]
    total = sum(weight * score.amount for weight, score in zip(weights, scores, strict=True))
    mean = total / sum(weights)
    return min([base, *gaining], key=lambda score: (abs(score.amount - mean), score.amount))


def record_of(scores: Sequence[AmountScore], chosen: AmountScore) -> dict[str, Any]:
    """The choice as a training's record holds it: the amount, and what each reached."""
    return {
        "amount": chosen.amount,
        "held_out": [
            {
                "amount": score.amount,
                "typical_ap": score.typical_ap,
                "pixel_ap": score.pixel_ap,
                "pixel_pro": score.pixel_pro,
                "image_auroc": score.image_auroc,
                "fold_aps": list(score.fold_aps),
            }
            for score in scores
        ],
    }


def _score(held: Sequence[HeldOut], amount: float) -> AmountScore:
    maps = [own.base + np.float32(amount) * own.added for own in held]
    masks = [own.mask for own in held]
    found = pixel_metrics(maps, masks)
    fold_aps = []
    for fold in sorted({own.fold for own in held}):
        inside = [index for index, own in enumerate(held) if own.fold == fold]
        if _has_both(masks[index] for index in inside):
            ap = pixel_metrics([maps[i] for i in inside], [masks[i] for i in inside]).ap
            fold_aps.append(ap)
    return AmountScore(amount, found.ap, found.pro, found.image_auroc, tuple(fold_aps))


def _has_both(masks: Any) -> bool:
    counts = [(int(mask.sum()), mask.size) for mask in masks]
    defective, pixels = (sum(column) for column in zip(*counts, strict=True))
    return 0 < defective < pixels
