"""What a detector on features reads, and how its answer joins the training-free map."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn
from torch.nn import functional

from adclick.networks.inputs import ResidualForm, formed
from adclick.networks.vision_language import normalise_image
from adclick.residuals.calibration import Calibration, base_logits

LARGEST_FEATURE = 8.0  # standard deviations of normal patches; beyond is as far away as can be
SMALLEST_DEVIATION = 1e-6
# Logits beyond the first are drawn in, none beyond both together: float32 has no numbers between
# the sigmoids of 20 and 30, and pictures are ranked by their largest.
STRAIGHT, BENT = 6.0, 4.0


@dataclass(frozen=True)
class FeatureScale:
    """Mean and standard deviation of every channel over all patches of normal pictures."""

    mean: Float32[np.ndarray, " channel"]
    deviation: Float32[np.ndarray, " channel"]


@dataclass(frozen=True)
class DetectorForm:
    """How stored arrays become a detector's inputs: scales of normal pictures, the residual's form,
    and the training-free map's calibration; `matched` joins the matched normal patch's features to
    the picture's own.
    """

    features: FeatureScale
    residual_scale: Float32[np.ndarray, " channel"]
    residual: ResidualForm
    matched: bool
    calibration: Calibration

    @property
    def feature_channels(self) -> int:
        """Channels that the detector's features have."""
        return len(self.features.mean) * (1 + self.matched)

    @property
    def residual_channels(self) -> int:
        """Channels that the detector's residual has."""
        return self.residual.groups or len(self.residual_scale)


def fit_feature_scale(features: Any, rows: Sequence[int]) -> FeatureScale:
    """The scale of the given rows of `features` [image grid grid channel], read one by one."""
    count, total, squares = 0, 0.0, 0.0
    for row in rows:
        patches = np.asarray(features[row], np.float64).reshape(-1, features.shape[-1])
        count += len(patches)
        total = total + patches.sum(axis=0)
        squares = squares + np.square(patches).sum(axis=0)
    mean = np.asarray(total / count)
    variance = np.asarray(squares / count) - mean**2
    deviation = np.sqrt(np.maximum(variance, SMALLEST_DEVIATION**2))
    return FeatureScale(mean.astype(np.float32), deviation.astype(np.float32))


def standardised(
    features: Float[np.ndarray, "batch rows columns channel"], scale: FeatureScale
) -> Float32[np.ndarray, "batch rows columns channel"]:
    """Features in standard deviations from the mean normal patch, clamped to `LARGEST_FEATURE`."""
    centred = (features.astype(np.float32) - scale.mean) / scale.deviation
    return np.clip(centred, -LARGEST_FEATURE, LARGEST_FEATURE)


def detector_inputs(
    features: Float[np.ndarray, "batch grid grid channel"],
    residuals: Float[np.ndarray, "batch grid grid channel"],
    images: UInt8[np.ndarray, "batch size size 3"],
    form: DetectorForm,
    device: torch.device,
) -> tuple[Tensor, Tensor, Tensor]:
    """The three inputs of `FeatureDetector`: features, residual, picture; channels first."""
    own = standardised(features, form.features)
    if form.matched:
        normal = features.astype(np.float32) + residuals.astype(np.float32)
        own = np.concatenate([own, standardised(normal, form.features)], axis=3)
    tokens = formed(
        torch.from_numpy(np.asarray(residuals, np.float32)),
        torch.from_numpy(form.residual_scale),
        form.residual,
    )
    return (
        torch.from_numpy(own).to(device).permute(0, 3, 1, 2),  # channels last in memory, as read
        tokens.to(device),
        normalise_image(torch.from_numpy(images).to(device)),
    )


def to_size(
    added: Float[Tensor, "batch 1 map map"], size: int
) -> Float[Tensor, "batch 1 size size"]:
    """A detector's answer at the picture's size, bilinearly."""
    return functional.interpolate(added, size=(size, size), mode="bilinear", align_corners=False)


@torch.no_grad()
def added_logits(
    model: nn.Module,
    features: Float[np.ndarray, "grid grid channel"],
    residual: Float[np.ndarray, "grid grid channel"],
    image: UInt8[np.ndarray, "size size 3"],
    form: DetectorForm,
    device: torch.device,
) -> Float32[np.ndarray, "size size"]:
    """What a trained detector adds to the base of a picture, over its whole size."""
    arrays = (features[None], residual[None], image[None])
    added = model(*detector_inputs(*arrays, form, device))
    return to_size(added, image.shape[0])[0, 0].float().cpu().numpy()


def joined_map(
    training_free: Float[np.ndarray, "height width"],
    added: Float[np.ndarray, "height width"],
    calibration: Calibration,
    amount: float,
) -> Float32[np.ndarray, "height width"]:
    """The probability of a defect at every pixel: what a detector adds, times `amount`, on the
    logit of the finished training-free map. With amount 0 it ranks pixels as that map does.
    """
    logits = base_logits(training_free, calibration) + np.float32(amount) * added
    over = np.maximum(np.abs(logits) - np.float32(STRAIGHT), 0)
    drawn_in = np.sign(logits) * (STRAIGHT + BENT * over / (over + BENT))
    bounded = np.where(over > 0, drawn_in, logits).astype(np.float32)
    return 1 / (1 + np.exp(-bounded))
