import numpy as np
import pytest
import torch

from adclick.networks.checkpoints import seeded
from adclick.networks.detector_inputs import (
    DetectorForm,
    added_logits,
    fit_feature_scale,
    to_size,
)
from adclick.networks.feature_detector import build_feature_detector
from adclick.networks.inputs import ResidualForm
from adclick.residuals.calibration import Calibration
from adclick.training.detector_samples import DetectorPool, draw_detector_batch
from adclick.training.detector_training import (
    DetectorPlan,
    cycle_rate,
    train_detector,
)

CPU = torch.device("cpu")
CALIBRATION = Calibration(middle=1.0, slope=1.0, offset=-1.0)
PLAN = DetectorPlan(
    steps=30,
    learning_rate=0.01,
    weight_decay=0.01,
    warm_share=0.2,
    clip_norm=1.0,
    ema_decay=0.8,
    defect_weight=2.0,
    dice_weight=0.5,
)


def _pool():
    """One channel says where the defect is; the base says nothing."""
    generator = np.random.default_rng(0)
    labels = np.zeros((4, 32, 32), np.float32)
    labels[0, :16, :16] = labels[1, 16:, 16:] = labels[2, :8, 8:24] = labels[3, 24:, :8] = 1
    features = generator.standard_normal((4, 8, 8, 6)).astype(np.float32)
    features[..., 0] += 4 * labels[:, 2::4, 2::4]
    images = np.zeros((4, 32, 32, 3), np.uint8)
    maps = np.ones((4, 32, 32), np.float32)
    return DetectorPool(
        features, 0 * features, images, maps, labels, list(range(4)), ["a", "b", "c", "d"]
    )


def _form(pool):
    plain = ResidualForm(normalise=None, clamp=None, groups=3, log=False)
    scale = fit_feature_scale(pool.features, range(4))
    return DetectorForm(
        scale, np.ones(6, np.float32), plain, matched=False, calibration=CALIBRATION
    )


def _train(seed=0):
    pool = _pool()
    form = _form(pool)
    model = seeded(
        build_feature_detector,
        seed,
        feature_channels=6,
        residual_channels=3,
        width=8,
        upsampling_widths=[6],
        picture_widths=[],
        channel_dropout=0.1,
        dropout=0.0,
    )

    def draw(step):
        return draw_detector_batch(
            {"real": pool},
            {"real": 4},
            form,
            abandoned=False,
            size_exponent=0.0,
            seed=seed,
            step=step,
            device=CPU,
        )

    trained, losses = train_detector(model, draw, PLAN, seed=seed)
    return (
        trained,
        losses,
        added_logits(trained, pool.features[0], pool.residuals[0], pool.images[0], form, CPU),
    )


def test_learns_what_the_base_does_not_know():
    _, losses, added = _train()
    assert losses[-1] < 0.6 * losses[0]
    label = _pool().labels[0] > 0
    assert added.shape == label.shape
    assert added[label].mean() > added[~label].mean() + 1


def test_equal_seeds_give_equal_weights_and_the_global_generator_stays():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, same = _train()[0], _train()[0]
    assert torch.equal(torch.get_rng_state(), before)
    for left, right in zip(one.parameters(), same.parameters(), strict=True):
        assert torch.equal(left, right)
    assert not one.training


def test_rate_rises_then_falls_to_nothing():
    rates = [cycle_rate(step, PLAN) for step in range(PLAN.steps)]
    assert max(rates) == pytest.approx(PLAN.learning_rate)
    top = rates.index(max(rates))
    assert top <= 6
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < 0.02 * PLAN.learning_rate


def test_answers_are_brought_to_the_pictures_size():
    assert to_size(torch.ones(1, 1, 4, 4), (10, 12)).shape == (1, 1, 10, 12)
