"""Which matching suits a category: the one whose training-free map finds simulated defects best.

Location-aware matching (Eq. 3) supposes that a place means something. Where normal products are
turned or shifted it does not, and everywhere-matching is better; but that finds a normal patch of
background where material is missing, and any structure that is out of place. So candidates are
tried on held-out normal pictures, as they are and with simulated defects.

Areas under curves are computed here, not by `metrics`: else every edit there would make all
residuals of chosen matchings anew.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

NORMAL = ""  # the kind of a picture without a defect


@dataclass(frozen=True, eq=False)
class Trial:
    """A held-out normal picture, as it is or with a simulated defect, and the training-free map of
    each candidate, by name, made without the picture that this one was made of, `source`.

    `kind` names the defect; "" for none.
    """

    source: str
    kind: str
    mask: Bool[np.ndarray, "height width"]
    maps: Mapping[str, Float[np.ndarray, "height width"]]


@dataclass(frozen=True)
class CandidateScore:
    """How well a candidate's maps find the simulated defects; all are shares of one.

    `pooled_ap` is the mean over kinds (`kinds`) of each kind's pixel AP against the normal pixels
    of all pictures, so that false alarms on normal pictures count; `picture_ap` the mean over kinds
    of each picture's AP by itself. `image_auroc` compares the maps' maxima. `sources` has the mean
    AP of each source's pictures.
    """

    name: str
    pooled_ap: float
    picture_ap: float
    image_auroc: float
    kinds: Mapping[str, float]
    sources: Mapping[str, float]

    @property
    def score(self) -> float:
        """What candidates are compared by: defects should stand out of their picture and of all."""
        return (self.pooled_ap + self.picture_ap) / 2


def score_candidates(trials: Sequence[Trial]) -> list[CandidateScore]:
    """The scores of all candidates, in the order of the trials' maps.

    ValueError without a normal picture or without a defect among the trials.
    """
    kinds = {trial.kind for trial in trials}
    if NORMAL not in kinds or kinds == {NORMAL}:
        raise ValueError("normal pictures and pictures with simulated defects are both needed")
    return [_score(trials, name) for name in trials[0].maps]


def choose_candidate(scores: Sequence[CandidateScore], *, least_gain: float) -> CandidateScore:
    """The first of those as good as the best, so the preferred candidate should come first.

    As good is what is behind by no more than `least_gain` (a share of one) in the score, or than
    one standard error of the difference in AP between the two over the sources.
    """
    best = max(scores, key=lambda score: score.score)
    return next(
        score
        for score in scores
        if best.score - score.score <= max(least_gain, _standard_error(best, score))
    )


def record_of(scores: Sequence[CandidateScore], chosen: CandidateScore) -> dict[str, Any]:
    """The choice as it is recorded: the name, and what each candidate reached."""
    return {
        "chosen": chosen.name,
        "candidates": [
            {
                "name": score.name,
                "score": score.score,
                "pooled_ap": score.pooled_ap,
                "picture_ap": score.picture_ap,
                "image_auroc": score.image_auroc,
                "kinds": dict(score.kinds),
            }
            for score in scores
        ],
    }


def _score(trials: Sequence[Trial], name: str) -> CandidateScore:
    maps = [trial.maps[name] for trial in trials]
    is_defective = np.array([trial.kind != NORMAL for trial in trials])
    own = [_average_precision(trial.maps[name], trial.mask) for trial in trials]
    kinds = sorted({trial.kind for trial in trials} - {NORMAL})
    sources = dict.fromkeys(trial.source for trial in trials if trial.kind != NORMAL)
    normal = np.sort(np.concatenate([trial.maps[name][~trial.mask] for trial in trials]))
    pooled = {kind: _pooled_ap(trials, name, kind, normal) for kind in kinds}
    maxima = np.array([found.max() for found in maps])
    return CandidateScore(
        name,
        pooled_ap=float(np.mean(list(pooled.values()))),
        picture_ap=float(np.mean([_mean_of(own, trials, kind=kind) for kind in kinds])),
        image_auroc=_auroc(maxima[is_defective], maxima[~is_defective]),
        kinds=pooled,
        sources={source: _mean_of(own, trials, source=source) for source in sources},
    )


def _pooled_ap(trials: Sequence[Trial], name: str, kind: str, normal: np.ndarray) -> float:
    found = [trial.maps[name][trial.mask] for trial in trials if trial.kind == kind]
    return _precision_over(np.concatenate(found), normal)


def _average_precision(
    found: Float[np.ndarray, "height width"], mask: Bool[np.ndarray, "height width"]
) -> float | None:
    """The pixel AP of one picture; None without a defect."""
    return _precision_over(found[mask], np.sort(found[~mask])) if mask.any() else None


def _precision_over(
    positive: Float[np.ndarray, " positive"], negative: Float[np.ndarray, " negative"]
) -> float:
    """The mean over positives of the precision at their score: AP. `negative` is sorted."""
    ordered = np.sort(positive)
    hits = len(ordered) - np.searchsorted(ordered, ordered, side="left")
    alarms = len(negative) - np.searchsorted(negative, ordered, side="left")
    return float(np.mean(hits / (hits + alarms)))


def _auroc(
    positive: Float[np.ndarray, " positive"], negative: Float[np.ndarray, " negative"]
) -> float:
    """The share of pairs in the right order; ties count half."""
    difference = positive[:, None] - negative[None, :]
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))


def _mean_of(own: Sequence[float | None], trials: Sequence[Trial], **wanted: str) -> float:
    """The mean AP of those pictures with a defect that have these attributes."""
    return float(
        np.mean(
            [
                ap
                for ap, trial in zip(own, trials, strict=True)
                if ap is not None
                and all(getattr(trial, name) == value for name, value in wanted.items())
            ]
        )
    )


def _standard_error(best: CandidateScore, other: CandidateScore) -> float:
    differences = np.array([best.sources[name] - other.sources[name] for name in best.sources])
    if len(differences) < 2:
        return 0.0
    return float(differences.std(ddof=1) / np.sqrt(len(differences)))
