import math

import pytest
import torch

from adclick.training.losses import focal_loss, normalized_focal_loss


def as_image(rows):
    return torch.tensor(rows, dtype=torch.float32)[None, None]


def slow_sums(logits, labels, alpha, gamma):
    """(sum of a z^gamma (-log(1-z)), sum of z^gamma, valid pixels) of one image, by pixel."""
    numerator = denominator = valid = 0
    for logit, label in zip(logits.flatten().tolist(), labels.flatten().tolist(), strict=True):
        if label == -1:
            continue
        error = abs(label - 1 / (1 + math.exp(-logit)))
        weight = alpha if label > 0.5 else 1 - alpha
        numerator += weight * error**gamma * -math.log(1 - error)
        denominator += error**gamma
        valid += 1
    return numerator, denominator, valid


def random_batch(seed, soft=False):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn((3, 1, 5, 6), generator=generator)
    drawn = torch.rand((3, 1, 5, 6), generator=generator)
    labels = drawn if soft else (drawn > 0.7).float()
    labels[drawn < 0.1] = -1
    return logits, labels


def test_normalized_focal_loss_of_two_by_two_pixels_by_hand():
    # Errors 1/2 (defect), 1/4 (normal), 3/4 (defect); the fourth pixel is ignored.
    logits = as_image([[0.0, -math.log(3)], [-math.log(3), 50.0]])
    labels = as_image([[1, 0], [1, -1]])
    numerator = 1 / 4 * math.log(2) + 1 / 16 * math.log(4 / 3) + 9 / 16 * math.log(4)
    expected = 0.5 * numerator / (1 / 4 + 1 / 16 + 9 / 16)
    assert normalized_focal_loss(logits, labels).item() == pytest.approx(expected, rel=1e-6)
    assert focal_loss(logits, labels).item() == pytest.approx(0.5 * numerator / 3, rel=1e-6)


def test_alpha_weighs_the_defective_side():
    logits, labels = as_image([[0.0, 0.0]]), as_image([[1, 0]])
    only_defect = as_image([[1, -1]])
    assert normalized_focal_loss(logits, only_defect, alpha=0.8).item() == pytest.approx(
        0.8 * math.log(2)
    )
    assert normalized_focal_loss(logits, labels, alpha=0.8).item() == pytest.approx(
        0.5 * math.log(2)
    )


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(("alpha", "gamma"), [(0.5, 2.0), (0.25, 1.0), (0.7, 3.0), (0.5, 0.5)])
def test_both_losses_are_those_of_the_written_out_formula(soft, alpha, gamma):
    logits, labels = random_batch(0, soft=soft)
    sums = [slow_sums(*pair, alpha, gamma) for pair in zip(logits, labels, strict=True)]
    normalized = sum(top / bottom for top, bottom, _ in sums) / 3
    plain = sum(top for top, _, _ in sums) / sum(valid for _, _, valid in sums)
    settings = {"alpha": alpha, "gamma": gamma}
    assert normalized_focal_loss(logits, labels, **settings).item() == pytest.approx(
        normalized, rel=1e-5
    )
    assert focal_loss(logits, labels, **settings).item() == pytest.approx(plain, rel=1e-5)


def test_without_focus_the_normalized_loss_is_half_of_cross_entropy():
    logits, labels = random_batch(1)
    labels = labels.clamp(min=0)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels) / 2
    assert normalized_focal_loss(logits, labels, gamma=0.0).item() == pytest.approx(
        expected.item(), rel=1e-5
    )


@pytest.mark.parametrize("loss", [normalized_focal_loss, focal_loss])
@pytest.mark.parametrize("soft", [False, True])
def test_ignored_pixels_have_no_say_and_no_gradient(loss, soft):
    logits, labels = random_batch(2, soft=soft)
    ignored = labels == -1
    changed = torch.where(ignored, torch.tensor(float("inf")), logits)
    assert loss(changed, labels) == loss(logits, labels)
    changed.requires_grad_()
    loss(changed, labels).backward()
    assert torch.all(changed.grad[ignored] == 0)
    assert torch.all(changed.grad[~ignored] != 0)
    assert torch.isfinite(changed.grad).all()


def test_the_normalizer_is_a_constant_to_the_gradient():
    logits, labels = random_batch(3)
    logits.requires_grad_()
    normalized_focal_loss(logits, labels).backward()
    again = logits.detach().double().requires_grad_()
    valid = (labels != -1).double()
    error = (labels.clamp(min=0) - torch.sigmoid(again)).abs()
    terms = valid * 0.5 * error**2 * -torch.log(1 - error)
    scales = (valid * error**2).sum((1, 2, 3)).detach()
    (terms.sum((1, 2, 3)) / scales).mean().backward()
    assert torch.allclose(logits.grad.double(), again.grad, atol=1e-6)


@pytest.mark.parametrize("loss", [normalized_focal_loss, focal_loss])
@pytest.mark.parametrize("size", [20.0, 100.0, 1e4])
@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_right_and_wrong_beyond_doubt_stay_finite(loss, size, gamma):
    labels = as_image([[1, 0, 1, 0]])
    right = as_image([[size, -size, size, -size]]).requires_grad_()
    value = loss(right, labels, gamma=gamma)
    value.backward()
    assert 0 <= value.item() < 1e-6
    assert torch.isfinite(right.grad).all()
    wrong = (-right).detach().requires_grad_()
    value = loss(wrong, labels, gamma=gamma)
    value.backward()
    assert value.item() == pytest.approx(0.5 * size, rel=1e-5)
    assert torch.isfinite(wrong.grad).all() and torch.all(wrong.grad != 0)


def test_one_wrong_pixel_among_certain_ones_carries_the_normalized_loss():
    logits = as_image([[30.0] * 99 + [-2.0]])
    labels = torch.ones_like(logits)
    alone = normalized_focal_loss(logits[..., 99:], labels[..., 99:])
    assert normalized_focal_loss(logits, labels).item() == pytest.approx(alone.item(), rel=1e-5)
    assert focal_loss(logits, labels).item() < alone.item() / 50


def test_a_nearly_certain_pixel_still_has_its_error():
    # 1 - sigmoid(18) is 1.5e-8, which 1 - p in single precision would round to 0.
    logits = as_image([[18.0]]).requires_grad_()
    expected = 0.5 * math.log1p(math.exp(-18.0))
    value = normalized_focal_loss(logits, torch.ones(1, 1, 1, 1), gamma=1.0)
    assert value.item() == pytest.approx(expected, rel=1e-3)
    value.backward()
    assert logits.grad.item() < 0


def test_a_soft_label_is_met_at_its_own_probability():
    label = torch.full((1, 1, 1, 1), 0.3)
    values = [
        normalized_focal_loss(torch.logit(torch.full((1, 1, 1, 1), p)), label, gamma=0.0).item()
        for p in (0.1, 0.2, 0.3, 0.4, 0.5)
    ]
    assert values[2] == pytest.approx(0.0, abs=1e-6)
    assert values[0] > values[1] > values[2] < values[3] < values[4]


def test_images_weigh_alike_however_many_pixels_they_ignore():
    logits, labels = random_batch(4)
    each = [
        normalized_focal_loss(logits[index : index + 1], labels[index : index + 1]).item()
        for index in range(3)
    ]
    assert normalized_focal_loss(logits, labels).item() == pytest.approx(sum(each) / 3, rel=1e-6)


@pytest.mark.parametrize("loss", [normalized_focal_loss, focal_loss])
def test_nothing_but_ignored_pixels_is_no_loss(loss):
    logits = torch.randn(2, 1, 3, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    value = loss(logits, torch.full((2, 1, 3, 3), -1, dtype=torch.int8))
    value.backward()
    assert value.item() == 0
    assert torch.all(logits.grad == 0)


@pytest.mark.parametrize("loss", [normalized_focal_loss, focal_loss])
def test_half_precision_logits_are_computed_in_single_precision(loss):
    logits, labels = random_batch(5)
    logits = logits.half()
    value = loss(logits, labels.to(torch.int8))
    assert value.dtype == torch.float32
    assert value == loss(logits.float(), labels)


def test_another_ignored_value_can_be_given():
    logits, labels = random_batch(6)
    moved = torch.where(labels == -1, 255.0, labels)
    assert normalized_focal_loss(logits, moved, ignore=255) == normalized_focal_loss(logits, labels)
