from dataclasses import replace

import numpy as np
import pytest

from adclick.training.amounts import (
    AmountScore,
    HeldAmounts,
    HeldOut,
    StreamedAmounts,
    choose_amount,
    fold_sources,
    record_of,
    score_amounts,
)


def _held(fold, *, helpful, seed=0):
    """A base that knows little, and an addition that knows all (or the opposite)."""
    generator = np.random.default_rng(seed)
    mask = np.zeros((16, 16), bool)
    mask[4:8, 4:8] = True
    base = (mask + 2 * generator.standard_normal((16, 16))).astype(np.float32)
    added = np.where(mask == helpful, 20, -20).astype(np.float32)
    nowhere = np.full((16, 16), -20.0 if helpful else 20.0, np.float32)
    normal = HeldOut(fold, base[::-1], nowhere, np.zeros_like(mask))
    return [HeldOut(fold, base, added, mask), normal]


def _of_aps(aps):
    """Scores of amounts that differ in AP alone."""
    return [
        AmountScore(amount, pixel_ap=ap, pixel_pro=0.9, image_auroc=None, fold_aps=())
        for amount, ap in aps.items()
    ]


def _choose(scores, *, least_gain, noise=1e-6):
    """The best, since the others are worse by more than so little noise."""
    return choose_amount(scores, least_gain=least_gain, noise=noise)


def test_folds_share_kinds_and_hold_copies_together():
    sources = ["a", "b", "c", "d", "e", "f", "a"]
    kinds = ["x", "x", "x", "y", "y", "y", "x"]
    folds = fold_sources(sources, kinds, 3)
    assert [len(fold & {"a", "b", "c"}) for fold in folds] == [1, 1, 1]
    assert [len(fold & {"d", "e", "f"}) for fold in folds] == [1, 1, 1]


def test_folds_do_not_depend_on_the_order_and_are_never_empty():
    assert fold_sources(["b", "a"], ["x", "x"], 5) == fold_sources(["a", "b"], ["x", "x"], 5)
    assert len(fold_sources(["b", "a"], ["x", "x"], 5)) == 2
    with pytest.raises(ValueError, match="1 pictures"):
        fold_sources(["a"], ["x"], 5)


def test_an_addition_that_helps_is_taken_whole():
    scores = score_amounts([*_held(0, helpful=True), *_held(1, helpful=True, seed=1)])
    chosen = _choose(scores, least_gain=0.01)
    assert chosen.pixel_ap == pytest.approx(1)
    assert chosen.pixel_ap > scores[0].pixel_ap + 0.5
    assert len(chosen.fold_aps) == 2


def test_large_pictures_are_scored_alike():
    held = [*_held(0, helpful=True), *_held(1, helpful=False, seed=1), _held(2, helpful=True)[1]]
    amounts = (0.0, 0.05, 1.0)
    exact, streamed = HeldAmounts(amounts), StreamedAmounts(amounts)
    for own in held:
        exact.add(own)
        streamed.add(HeldOut(own.fold, own.base.copy(), own.added.copy(), own.mask.copy()))
    for one, other in zip(exact.scores(), streamed.scores(), strict=True):
        assert other.pixel_ap == pytest.approx(one.pixel_ap, abs=1e-4)
        assert other.pixel_pro == pytest.approx(one.pixel_pro, abs=1e-4)
        assert other.image_auroc == one.image_auroc
        assert other.fold_aps == pytest.approx(one.fold_aps, abs=1e-4)
        assert len(other.fold_aps) == 2, "nothing is defective in the third fold"


def test_an_addition_that_harms_is_left_out():
    scores = score_amounts(_held(0, helpful=False))
    chosen = _choose(scores, least_gain=0.0)
    assert chosen.amount == 0
    record = record_of(scores, chosen)
    assert record["amount"] == 0
    assert [entry["amount"] for entry in record["held_out"]] == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_too_small_a_gain_is_not_taken():
    scores = score_amounts(_held(0, helpful=True))
    gain = max(score.merit for score in scores) - scores[0].merit
    assert _choose(scores, least_gain=gain * 1.01).amount == 0
    assert _choose(scores, least_gain=gain * 0.99).amount > 0


def test_the_training_free_map_must_be_among_them():
    with pytest.raises(ValueError, match="amount 0"):
        _choose(score_amounts(_held(0, helpful=True), [0.5, 1.0]), least_gain=0.0)


def test_a_fold_of_good_pictures_has_no_score_of_its_own():
    held = [*_held(0, helpful=True), _held(1, helpful=True)[1]]
    assert len(score_amounts(held, [0.0])[0].fold_aps) == 1


def test_a_gain_of_ap_alone_does_not_outweigh_what_pictures_lose():
    base = AmountScore(0.0, pixel_ap=0.10, pixel_pro=0.9, image_auroc=0.95, fold_aps=())
    greedy = AmountScore(1.0, pixel_ap=0.15, pixel_pro=0.9, image_auroc=0.85, fold_aps=())
    fair = AmountScore(0.5, pixel_ap=0.13, pixel_pro=0.9, image_auroc=0.94, fold_aps=())
    assert _choose([base, greedy], least_gain=0.0) == base
    assert _choose([base, greedy, fair], least_gain=0.0) == fair


def test_equal_merits_give_the_smaller_amount():
    ones = [
        AmountScore(a, pixel_ap=0.5, pixel_pro=0.9, image_auroc=None, fold_aps=())
        for a in (1.0, 0.5, 0.0)
    ]
    assert _choose(ones, least_gain=0.0).amount == 0
    assert _choose([*ones[:2], replace(ones[2], pixel_ap=0.1)], least_gain=0.0).amount == 0.5


def test_one_poor_label_does_not_decide():
    base = AmountScore(
        0.0, pixel_ap=0.65, pixel_pro=0.99, image_auroc=1.0, fold_aps=(0.67, 0.8, 0.5)
    )
    added = replace(base, amount=0.5, pixel_ap=0.62, fold_aps=(0.73, 0.9, 0.3))
    assert _choose([base, added], least_gain=0.01) == added
    worse = replace(added, fold_aps=(0.6, 0.65, 0.95))
    assert _choose([base, worse], least_gain=0.01) == base


def test_amounts_that_are_as_good_share_the_choice():
    scores = _of_aps({0.0: 0.7, 0.25: 0.905, 0.5: 0.9, 0.75: 0.9, 1.0: 0.9})
    assert _choose(scores, least_gain=0.01).amount == 0.25
    assert _choose(scores, least_gain=0.01, noise=0.02).amount == 0.5
    assert _choose(scores, least_gain=0.3, noise=0.02).amount == 0


@pytest.mark.parametrize("between", [0.5, 0.49, 0.4])
def test_all_is_not_added_for_a_hair(between):
    scores = _of_aps({0.0: 0.5, 0.25: between, 0.5: between, 1.0: 0.50001})
    assert _choose(scores, least_gain=0.0, noise=0.02).amount == 0
    assert _choose(scores, least_gain=0.0).amount == 1.0  # without chance it is the best


def test_a_little_is_added_for_a_little_gain():
    merits = {0.0: 0.947, 0.25: 0.953, 0.5: 0.913, 0.75: 0.875, 1.0: 0.836}
    scores = _of_aps(merits)
    assert _choose(scores, least_gain=0.0, noise=0.02).amount == 0.25
    assert _choose(scores, least_gain=0.01, noise=0.02).amount == 0


def test_what_lies_between_two_good_amounts_is_not_taken_for_good():
    merits = {0.0: 0.5, 0.25: 0.47, 0.5: 0.47, 0.75: 0.48, 1.0: 0.512}
    scores = _of_aps(merits)
    assert _choose(scores, least_gain=0.01, noise=0.02).amount == 1.0
