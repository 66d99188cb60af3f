"""A loss that does not let large defects drown small ones."""

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, Real
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

SMOOTH_PX = 1.0


def component_weights(
    label: Real[np.ndarray, "height width"], *, exponent: float
) -> Float32[np.ndarray, "height width"]:
    """How much every pixel of a label weighs: 1 outside of defects, and inside the share that its
    8-connected component has of the picture to the power of -`exponent`, scaled so that a component
    of one hundredth of the picture has weight 1.

    0 weighs pixels alike; at 1 components of all sizes weigh the same as wholes; a half lies
    between. Pixels above 0.5 are defective.
    """
    weights = np.ones(label.shape, np.float32)
    _, component, stats, _ = cv2.connectedComponentsWithStats(
        (label > 0.5).astype(np.uint8), connectivity=8
    )
    areas = stats[:, cv2.CC_STAT_AREA] / label.size
    inside = component > 0
    weights[inside] = (100 * areas[np.asarray(component[inside], np.intp)]) ** -exponent
    return weights


def region_loss(
    logits: Float[Tensor, "batch 1 height width"],
    labels: Real[Tensor, "batch 1 height width"],
    weights: Float[Tensor, "batch 1 height width"],
    *,
    defect_weight: float,
    dice_weight: float,
) -> Float32[Tensor, ""]:
    """Weighted cross entropy, and `dice_weight` times soft Dice of every image with a defect.

    The cross entropy is the mean over pixels of `weights` (see `component_weights`), defective
    pixels times `defect_weight`; Dice is computed image by image, so a small defect alone in its
    picture counts as much as a large one. Labels lie in [0, 1], pixels of -1 are left out.
    """
    valid = (labels >= 0).float()
    target = labels.clamp_min(0).float()
    balance = valid * weights * (1 + (defect_weight - 1) * target)
    entropy = binary_cross_entropy_with_logits(logits.float(), target, balance)
    return entropy + dice_weight * _dice(torch.sigmoid(logits.float()) * valid, target * valid)


def _dice(probabilities: Tensor, target: Tensor) -> Tensor:
    """One minus soft Dice, mean over the images that have a defect; 0 when none has."""
    per_image = (1, 2, 3)
    both = 2 * (probabilities * target).sum(per_image) + SMOOTH_PX
    sums = probabilities.sum(per_image) + target.sum(per_image) + SMOOTH_PX
    defective = (target.amax(per_image) > 0.5).float()
    return ((1 - both / sums) * defective).sum() / defective.sum().clamp_min(1)
