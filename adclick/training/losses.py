"""The losses of click models and detectors: normalized focal loss, and plain focal loss."""

import torch
from jaxtyping import Float, Float32, Real
from torch import Tensor
from torch.nn.functional import logsigmoid

SMALLEST_SUM = 1e-12


def normalized_focal_loss(
    logits: Float[Tensor, "batch 1 height width"],
    labels: Real[Tensor, "batch 1 height width"],
    ignore: float | int = -1,
    alpha: float = 0.5,
    gamma: float | int = 2.0,
) -> Float32[Tensor, ""]:
    """The focal loss with each image's focal weights scaled to sum to one; mean over the batch.

    With p = sigmoid(logit) and error z = |label - p|, an image's loss is sum(a z^gamma (-log(1 -
    z))) / sum(z^gamma) over its valid pixels, a = `alpha` where the label is above 0.5 and 1 -
    `alpha` elsewhere. The lower sum is a constant to the gradient. Labels lie in [0, 1] and may be
    soft. Pixels labelled `ignore` contribute nothing, whatever their logit, and get no gradient; an
    image of nothing else has loss 0. Computed in float32, and finite however right or wrong the
    logits are.

    Source: paper Eq. 10 (without a: alpha = 0.5 halves it); Sofiiuk et al., AdaptIS (arXiv
    1909.07829).
    """
    valid = labels != ignore
    focus, log_agreement, balance = _focal_terms(logits, labels, valid, alpha, gamma)
    per_image = (1, 2, 3)
    total = focus.sum(per_image).detach() + SMALLEST_SUM
    return ((-balance * focus * log_agreement).sum(per_image) / total).mean()


def focal_loss(
    logits: Float[Tensor, "batch 1 height width"],
    labels: Real[Tensor, "batch 1 height width"],
    ignore: float | int = -1,
    alpha: float = 0.5,
    gamma: float | int = 2.0,
) -> Float32[Tensor, ""]:
    """The mean over the batch's valid pixels of a z^gamma (-log(1 - z)).

    Symbols and labels as in `normalized_focal_loss`; 0 where every pixel is ignored. Source: Lin et
    al. (arXiv 1708.02002).
    """
    valid = labels != ignore
    focus, log_agreement, balance = _focal_terms(logits, labels, valid, alpha, gamma)
    return (-balance * focus * log_agreement).sum() / valid.sum().clamp(min=1)


def _focal_terms(
    logits: Tensor, labels: Tensor, valid: Tensor, alpha: float, gamma: float | int
) -> tuple[Tensor, Tensor, Tensor]:
    """z^gamma (0 at ignored pixels), log(1 - z) and the class weight a, each per pixel in float32.

    Both are written with the smaller of p and 1 - p, so that nothing is lost near 0 and 1: for p
    above the label, 1 - z = (1 - p) + label; below it, 1 - z = p + (1 - label).
    """
    logit = torch.where(valid, logits.float(), 0.0)
    label = torch.where(valid, labels.float(), 0.0)
    above = (torch.sigmoid(logit.detach()) >= label) & (label < 1)
    away = torch.where(above, logit, -logit)  # the direction in which the error grows
    slack = torch.where(above, label, 1.0 - label)
    log_agreement = torch.logaddexp(logsigmoid(-away), slack.log())
    error = (torch.sigmoid(away) - slack).clamp(min=SMALLEST_SUM)
    focus = torch.where(valid, error**gamma, 0.0)
    balance = torch.where(label > 0.5, alpha, 1.0 - alpha)
    return focus, log_agreement, balance
