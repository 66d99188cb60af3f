"""Of several ways of matching the one is taken whose maps find simulated defects best."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from adclick.residuals.maps import training_free_map
from adclick.residuals.matching.search import match_in_bank
from adclick.residuals.matching_choice import (
    NORMAL,
    CandidateScore,
    Trial,
    choose_candidate,
    record_of,
    score_candidates,
)

GRID, CHANNELS, SIZE = 12, 6, 24
STUFF = {"displaced": 1, "pits": 2, "cracks": 3, "shades": 4}  # the channel that a defect shows in
RADII = {"location_aware": 1.0, "everywhere": None, "same_position": 0.0}


def seeded(*numbers: int) -> np.random.Generator:
    return np.random.default_rng(numbers)


def random_trials() -> list[Trial]:
    """Two sources, each as it is and with a defect of two kinds, and two candidates' maps."""
    trials = []
    for source in ("a", "b"):
        for kind in (NORMAL, "pits", "cracks"):
            mask = np.zeros((SIZE, SIZE), bool)
            mask[4:9, 6:12] = kind != NORMAL
            generator = seeded(1, len(trials))
            maps = {
                name: (generator.random((SIZE, SIZE)) + gain * mask).astype(np.float32)
                for name, gain in (("weak", 0.4), ("strong", 0.9))
            }
            trials.append(Trial(source, kind, mask, maps))
    return trials


def test_scores_are_those_of_their_definitions() -> None:
    trials = random_trials()
    weak, strong = score_candidates(trials)
    assert (weak.name, strong.name) == ("weak", "strong")
    assert strong.score > weak.score
    assert strong.score == pytest.approx((strong.pooled_ap + strong.picture_ap) / 2)
    defective = [trial for trial in trials if trial.kind]
    own = [
        average_precision_score(trial.mask.ravel(), trial.maps["weak"].ravel())
        for trial in defective
    ]
    assert weak.picture_ap == pytest.approx(np.mean(own))
    assert weak.sources["a"] == pytest.approx(np.mean(own[:2]))
    for kind in ("pits", "cracks"):
        truth = np.concatenate([trial.mask[trial.mask | ~trial.mask] for trial in trials])
        kept = np.concatenate([(~trial.mask | (trial.kind == kind)).ravel() for trial in trials])
        found = np.concatenate([trial.maps["weak"].ravel() for trial in trials])
        expected = average_precision_score(truth[kept], found[kept])
        assert weak.kinds[kind] == pytest.approx(expected)
    assert weak.pooled_ap == pytest.approx(np.mean(list(weak.kinds.values())))
    maxima = [trial.maps["weak"].max() for trial in trials]
    expected = roc_auc_score([bool(trial.kind) for trial in trials], maxima)
    assert weak.image_auroc == pytest.approx(expected)


def test_a_false_alarm_on_a_normal_picture_counts() -> None:
    trials = random_trials()
    calm = score_candidates(trials)[1]
    loud = {**trials[0].maps, "strong": trials[0].maps["strong"] + 5}
    alarmed = score_candidates([replace(trials[0], maps=loud), *trials[1:]])[1]
    assert alarmed.pooled_ap < calm.pooled_ap - 0.1
    assert alarmed.picture_ap == calm.picture_ap


@pytest.mark.parametrize("normal", [True, False])
def test_normal_pictures_and_defects_are_both_needed(normal: bool) -> None:
    trials = [trial for trial in random_trials() if (trial.kind == NORMAL) == normal]
    with pytest.raises(ValueError, match="both needed"):
        score_candidates(trials)


def scored(name: str, ap: float, sources: Mapping[str, float] | None = None) -> CandidateScore:
    return CandidateScore(name, ap, ap, 0.9, {"pits": ap}, sources or {"a": ap, "b": ap})


def test_the_preferred_candidate_is_taken_unless_another_is_clearly_better() -> None:
    assert (
        choose_candidate([scored("first", 0.7), scored("best", 0.705)], least_gain=0.01).name
        == "first"
    )
    assert (
        choose_candidate([scored("first", 0.7), scored("best", 0.72)], least_gain=0.01).name
        == "best"
    )
    unsure = scored("best", 0.75, {"a": 0.95, "b": 0.55})
    assert choose_candidate([scored("first", 0.7), unsure], least_gain=0.01).name == "first"


def test_the_record_says_what_every_candidate_reached() -> None:
    scores = [scored("first", 0.7), scored("best", 0.8)]
    record = record_of(scores, scores[1])
    assert record["chosen"] == "best"
    assert [entry["name"] for entry in record["candidates"]] == ["first", "best"]
    assert record["candidates"][0]["kinds"] == {"pits": 0.7}


def product(index: int, *, turned: bool) -> np.ndarray:
    """Patches of a plate with a mark of its own kind, always at one place or anywhere on it."""
    generator = seeded(2, index)
    patches = np.zeros((GRID, GRID, CHANNELS), np.float32)
    patches[..., 0] = 4
    row, column = generator.integers(1, GRID - 3, 2) if turned else (3, 7)
    patches[row : row + 2, column : column + 2, :2] = (0, 4)
    return patches + 0.1 * generator.standard_normal(patches.shape).astype(np.float32)


@pytest.mark.parametrize("turned", [False, True])
def test_place_means_something_only_where_products_lie_alike(turned: bool) -> None:
    """Where marks lie at one place, one elsewhere is a defect as foreign stuff is; where they lie
    anywhere, normal marks are false alarms for whoever expects them at a place.
    """
    bank = np.stack([product(index, turned=turned) for index in range(12)])
    trials = []
    for index in range(12):
        others = [row for row in range(12) if row != index]
        for kind in (NORMAL, *STUFF):
            patches, mask = bank[index].copy(), np.zeros((SIZE, SIZE), bool)
            if kind != NORMAL:
                patches[8:10, 2:4] = 0
                patches[8:10, 2:4, STUFF[kind]] = 4 if kind == "displaced" else 2
                mask[16:20, 4:8] = True
            maps = {
                name: training_free_map(
                    np.sqrt(match_in_bank(patches, bank, others, radius).squared_distance),
                    np.ones((GRID, GRID), np.float32),
                    content=(SIZE, SIZE),
                    stride=SIZE // GRID,
                    smoothing_px=0.0,
                    foreground_exponent=1.0,
                )
                for name, radius in RADII.items()
            }
            trials.append(Trial(str(index), kind, mask, maps))
    chosen = choose_candidate(score_candidates(trials), least_gain=0.01)
    assert chosen.name == ("everywhere" if turned else "location_aware")
