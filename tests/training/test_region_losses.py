import math

import numpy as np
import pytest
import torch

from adclick.training.region_losses import component_weights, region_loss

PLAIN = {"defect_weight": 1.0, "dice_weight": 0.0}


def _two_defects():
    label = np.zeros((20, 20), np.float32)
    label[1:3, 1:3] = 1  # 4 px, a hundredth of the picture
    label[10:18, 10:18] = 1  # 64 px
    return label


def test_weights_by_hand():
    weights = component_weights(_two_defects(), exponent=0.5)
    assert weights[0, 0] == 1  # outside
    assert weights[1, 1] == pytest.approx(1)
    assert weights[12, 12] == pytest.approx(1 / 4)  # 16 times as large, to the power of -1/2


def test_with_exponent_one_defects_of_all_sizes_weigh_the_same():
    label = _two_defects()
    weights = component_weights(label, exponent=1.0)
    assert weights[1:3, 1:3].sum() == pytest.approx(weights[10:18, 10:18].sum())
    assert (component_weights(label, exponent=0.0) == 1).all()


def test_ignored_pixels_are_outside():
    assert (component_weights(np.full((4, 4), -1.0), exponent=1.0) == 1).all()


def _as_image(rows):
    return torch.tensor(rows, dtype=torch.float32)[None, None]


def test_cross_entropy_by_hand():
    logits, labels = _as_image([[0.0, 0.0], [0.0, 9.0]]), _as_image([[1, 0], [0, -1]])
    weights = _as_image([[2.0, 1.0], [1.0, 1.0]])
    loss = region_loss(logits, labels, weights, defect_weight=3.0, dice_weight=0.0)
    assert loss.item() == pytest.approx((2 * 3 + 1 + 1) * math.log(2) / 4)


def test_dice_by_hand_and_only_of_images_with_a_defect():
    logits = torch.cat([_as_image([[0.0, 0.0]]), _as_image([[5.0, 5.0]])])
    labels = torch.cat([_as_image([[1, 0]]), _as_image([[0, 0]])])
    ones = torch.ones_like(logits)
    both = region_loss(logits, labels, ones, defect_weight=1.0, dice_weight=1.0)
    entropy = region_loss(logits, labels, ones, **PLAIN)
    assert (both - entropy).item() == pytest.approx(1 - (2 * 0.5 + 1) / (1 + 1 + 1))


def test_a_small_missed_defect_costs_as_much_dice_as_a_large_one():
    labels = torch.zeros(2, 1, 40, 40)
    labels[0, 0, :30, :30], labels[1, 0, :6, :6] = 1, 1
    found = torch.where(labels > 0, 20.0, -20.0)
    ones = torch.ones_like(labels)

    def dice(missed):
        logits = found.clone()
        logits[missed] = -20.0
        whole = region_loss(logits, labels, ones, defect_weight=1.0, dice_weight=1.0)
        return (whole - region_loss(logits, labels, ones, **PLAIN)).item()

    assert dice(0) == pytest.approx(dice(1), rel=0.05)


def test_ignored_pixels_have_no_gradient():
    logits = torch.zeros(1, 1, 2, 2, requires_grad=True)
    labels = _as_image([[1, 0], [-1, 0]])
    loss = region_loss(logits, labels, torch.ones(1, 1, 2, 2), defect_weight=1.0, dice_weight=1.0)
    loss.backward()
    assert logits.grad[0, 0, 1, 0] == 0
    assert (logits.grad[0, 0] != 0).sum() == 3
