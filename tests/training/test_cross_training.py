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
from adclick.residuals.calibration import Calibration, base_logits
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
    amounts=(0.0, 0.5, 1.0),
    least_gain=0.01,
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


def _pools(*, told=True):
    normal = _pool("n", told=told, defective=False)
    simulated = replace(_pool("s", told=told, seed=1), sources=normal.sources)
    return {"normal": normal, "simulated": simulated, "real": _pool("d", told=told, seed=2)}


def _shown(trained, pool, row):
    arrays = (pool.features[row], pool.residuals[row], pool.images[row])
    added = added_logits(trained.detector, *arrays, FORM, CPU)
    return joined_map(pool.maps[row], added, trained.calibration, trained.chosen.amount)


def _train(pools, plan=PLAN):
    kinds = {f"d{index}": "dent" for index in range(4)}
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


def test_no_detector_sees_what_it_is_scored_on():
    """Features that name the picture: of use on pictures that were learnt, on no other."""
    seen = []

    class Spied(list):
        def __getitem__(self, row):
            seen.append(row)
            return super().__getitem__(row)

    pools = _pools()
    pools["real"] = replace(pools["real"], images=Spied(pools["real"].images))
    _train(pools)
    half = 25 * 2  # draws of a fold: steps times pictures
    first, second = seen[:half], seen[half:]
    assert set(first) == {1, 3}
    assert {0, 2} <= set(second[:4])  # the first fold is scored before the second is trained


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
