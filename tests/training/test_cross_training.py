from dataclasses import replace

import numpy as np
import pytest
import torch

from adclick.networks.detector_inputs import (
    STRAIGHT,
    DetectorForm,
    FeatureScale,
    added_logits,
    joined_map,
)
from adclick.networks.feature_detector import build_feature_detector
from adclick.networks.inputs import ResidualForm
from adclick.residuals.calibration import Calibration, base_logits, mean_calibration
from adclick.training import cross_training
from adclick.training.cross_training import CrossPlan, cross_train
from adclick.training.detector_samples import DetectorPool
from adclick.training.detector_training import DetectorPlan

CPU = torch.device("cpu")
TRAINING = DetectorPlan(
    steps=25,
    learning_rate=0.01,
    weight_decay=0.01,
    warm_share=0.2,
    clip_norm=1.0,
    ema_decay=0.8,
    defect_weight=2.0,
    dice_weight=0.5,
)
PLAN = CrossPlan(
    training=TRAINING,
    counts={"normal": 1, "simulated": 1, "real": 2},
    folds=2,
    left_out=1,
    few_labels=4,
    amounts=(0.0, 0.5, 1.0),
    least_gain=0.01,
    merit_noise=0.001,
    held_normals=4,
    size_exponent=0.0,
    abandoned=False,
)
SIZES = {
    "feature_channels": 4,
    "residual_channels": 2,
    "width": 8,
    "upsampling_widths": [4],
    "picture_widths": [],
    "channel_dropout": 0.0,
    "dropout": 0.0,
}
FORM = DetectorForm(
    FeatureScale(np.zeros(4, np.float32), np.ones(4, np.float32)),
    np.ones(4, np.float32),
    ResidualForm(normalise=None, clamp=None, groups=2, log=False),
    matched=False,
    calibration=Calibration(1.0, 1.0, 0.0),
)


def _pool(prefix, *, told, defective=True, count=4, seed=0):
    """Defects that the training-free map hardly shows, and a feature does (where `told`)."""
    generator = np.random.default_rng(seed)
    labels = np.zeros((count, 16, 16), np.float32)
    for index in range(count if defective else 0):
        top, left = 4 * generator.integers(0, 3, 2)
        labels[index, top : top + 8, left : left + 8] = 1
    maps = np.exp(generator.standard_normal((count, 16, 16)) + 0.5 * labels).astype(np.float32)
    features = generator.standard_normal((count, 4, 4, 4)).astype(np.float32)
    features[..., 0] += 5 * told * labels[:, 2::4, 2::4]
    return DetectorPool(
        features,
        0 * features,
        np.zeros((count, 16, 16, 3), np.uint8),
        maps,
        labels if defective else None,
        list(range(count)),
        [f"{prefix}{index}" for index in range(count)],
    )


def _pools(*, told=True, count=4):
    normal = _pool("n", told=told, defective=False, count=count)
    simulated = replace(_pool("s", told=told, seed=1, count=count), sources=normal.sources)
    real = _pool("d", told=told, seed=2, count=count)
    return {"normal": normal, "simulated": simulated, "real": real}


def _shown(trained, pool, row):
    arrays = (pool.features[row], pool.residuals[row], pool.images[row])
    added = added_logits(trained.detector, *arrays, FORM, CPU)
    return joined_map(pool.maps[row], added, trained.calibration, trained.chosen.amount)


def _train(pools, plan=PLAN):
    kinds = {f"d{index}": "dent" for index in range(5)}
    return cross_train(pools, kinds, build_feature_detector, SIZES, FORM, plan, seed=0, device=CPU)


def test_what_features_tell_is_added_to_the_map():
    trained = _train(_pools())
    assert len(trained.detector.detectors) == 2
    assert [score.amount for score in trained.scores] == [0.0, 0.5, 1.0]
    assert trained.chosen.amount > 0
    assert trained.chosen.pixel_ap > trained.scores[0].pixel_ap + 0.1
    pools = _pools()
    fresh = _pool("t", told=True, seed=9)
    shown = _shown(trained, fresh, 0)
    assert shown.shape == (16, 16)
    assert 0 <= shown.min() <= shown.max() <= 1
    assert shown[fresh.labels[0] > 0].mean() > shown[fresh.labels[0] == 0].mean() + 0.1
    assert pools["real"].labels is not None


def test_where_nothing_is_gained_the_training_free_map_stays():
    trained = _train(_pools(), replace(PLAN, least_gain=3.0))
    assert trained.chosen.amount == 0
    pool = _pools()["real"]
    shown = _shown(trained, pool, 0)
    order = np.argsort(pool.maps[0], axis=None)
    assert (np.diff(shown.ravel()[order]) >= 0).all()
    logits = base_logits(pool.maps[0], trained.calibration)
    straight = np.abs(logits) <= STRAIGHT  # larger ones are drawn in before the sigmoid
    assert straight.any()
    assert np.allclose(shown[straight], 1 / (1 + np.exp(-logits[straight])), atol=1e-6)


def test_without_labels_simulated_defects_on_held_out_normals_decide():
    pools = _pools()
    del pools["real"]
    trained = _train(pools, replace(PLAN, counts={"normal": 1, "simulated": 2, "real": 0}))
    assert trained.chosen.amount > 0


@pytest.mark.parametrize("labelled", [True, False])
def test_no_detector_sees_what_it_is_scored_on(monkeypatch, labelled):
    """Of five parts each network does without two, and each part is answered by two networks."""
    seen, answered = {}, []
    train = cross_training._train_one
    held_out = cross_training._held_out

    def trained(pools, build, sizes, form, *given, **named):
        network, losses = train(pools, build, sizes, form, *given, **named)
        shown = {name for pool in pools.values() for name in (*pool.sources, *_backgrounds(pool))}
        seen[id(network)] = (shown, form.calibration)
        return network, losses

    def asked(model, pool, form, *given):
        blind = [seen[id(network)] for network in model.detectors]
        answered.append((pool.sources, [shown for shown, _ in blind]))
        assert form.calibration == mean_calibration([known for _, known in blind])
        return held_out(model, pool, form, *given)

    monkeypatch.setattr(cross_training, "_train_one", trained)
    monkeypatch.setattr(cross_training, "_held_out", asked)
    pools, plan = _pools(count=5), replace(PLAN, folds=5, left_out=2)
    copies = [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]  # the second five are pasted on normal pictures
    pools["real"] = replace(
        pools["real"],
        rows=copies,
        sources=[f"d{row}" for row in copies],
        backgrounds=[f"d{row}" for row in copies[:5]] + [f"n{4 - row}" for row in copies[5:]],
    )
    if not labelled:
        del pools["real"]
        plan = replace(plan, counts={"normal": 1, "simulated": 2, "real": 0})
    whole = _train(pools, plan)
    assert len(whole.detector.detectors) == 5
    defects = pools["real"].sources if labelled else pools["simulated"].sources
    assert {source for sources, _ in answered for source in sources} == {
        *pools["normal"].sources,
        *defects,
    }
    for sources, networks in answered:
        assert len(networks) == 2
        assert all(len(shown) >= 3 and not shown & set(sources) for shown in networks)


def _backgrounds(pool):
    return pool.backgrounds or ()


@pytest.mark.parametrize(("folds", "alone"), [(2, True), (3, True), (4, True), (5, False)])
def test_of_few_parts_one_is_left_out(folds, alone):
    plans = [replace(PLAN, folds=folds, left_out=left_out) for left_out in (1, 2)]
    one, two = (_train(_pools(count=5), plan) for plan in plans)
    assert (one.losses == two.losses) == alone
    assert (one.left_out, two.left_out) == (1, 1 if alone else 2)


def test_a_type_with_two_labels_is_never_wholly_unseen(monkeypatch):
    seen = []
    train = cross_training._train_one

    def trained(pools, *given, **named):
        seen.append({kinds[source] for source in pools["real"].sources})
        return train(pools, *given, **named)

    monkeypatch.setattr(cross_training, "_train_one", trained)
    kinds = {f"d{row}": "abcde"[row // 2] for row in range(10)}
    plan = replace(PLAN, folds=5, left_out=2, training=replace(TRAINING, steps=1))
    pools = _pools(count=10)
    cross_train(pools, kinds, build_feature_detector, SIZES, FORM, plan, seed=0, device=CPU)
    assert seen == [set("abcde")] * 5


def test_many_labels_are_trusted():
    assert [cross_training.caution(labels, PLAN) for labels in (1, 4, 8, 40)] == [1, 1, 0.5, 0.1]
    assert [len(own) for own in _train(_pools(), replace(PLAN, few_labels=1)).losses] == [40, 40]
    careful, bold = (_train(_pools(), replace(PLAN, few_labels=few)) for few in (4, 1))
    assert careful.losses != bold.losses
    same = _train(_pools(), replace(PLAN, few_labels=400))
    assert same.losses == careful.losses


def test_what_is_careful_goes_back_together(monkeypatch):
    plans = []
    train = cross_training._train_one

    def noted(pools, build, sizes, form, plan, **named):
        shares = (plan.simulated_share, sizes["channel_dropout"])
        plans.append((*shares, plan.training.steps, plan.size_exponent))
        return train(pools, build, sizes, form, plan, **named)

    monkeypatch.setattr(cross_training, "_train_one", noted)
    monkeypatch.setitem(SIZES, "channel_dropout", 0.4)
    _train(_pools(), replace(PLAN, few_labels=1, size_exponent=0.8))  # of four
    pools = _pools()
    del pools["real"]
    unlabelled = {"normal": 1, "simulated": 2, "real": 0}
    _train(pools, replace(PLAN, few_labels=1, size_exponent=0.8, counts=unlabelled))
    assert plans == [(0.25, 0.1, 40, 0.8)] * 2 + [(1.0, 0.4, 25, 0.8)] * 2


def test_of_large_pictures_nothing_whole_is_kept(monkeypatch):
    """Larger than a window: scored one by one, and as ever where windows do not matter."""
    kept = []
    monkeypatch.setattr(cross_training, "HeldAmounts", lambda amounts: kept.append(amounts))
    pools = {kind: replace(pool, window=2) for kind, pool in _pools().items()}
    trained = _train(pools)
    assert not kept
    assert trained.chosen.amount > 0
    assert trained.chosen.pixel_ap > trained.scores[0].pixel_ap + 0.1
    assert [len(score.fold_aps) for score in trained.scores] == [2, 2, 2]


def test_sources_without_a_kind_are_an_error():
    with pytest.raises(KeyError):
        cross_train(_pools(), {}, build_feature_detector, SIZES, FORM, PLAN, seed=0, device=CPU)
