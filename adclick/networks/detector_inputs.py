"""What a detector on features reads, and how its answer joins the training-free map."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, UInt8
from torch import Tensor, nn
from torch.nn import functional

from adclick.data.geometry import Shape, cells_in, cropped
from adclick.networks.inputs import ResidualForm, formed
from adclick.networks.parts import map_in_parts, parts_of
from adclick.networks.vision_language import normalise_image
from adclick.residuals.calibration import Calibration, base_logits
from adclick.run.stored import LargeRow, lazily

LARGEST_FEATURE = 8.0  # standard deviations of normal patches; beyond is as far away as can be
SMALLEST_DEVIATION = 1e-6
BAND_LINES = 16  # of patches of a large picture that are looked at together
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


def fit_feature_scale(
    features: Any, rows: Sequence[int], contents: Sequence[Shape] | None = None
) -> FeatureScale:
    """The scale of the given rows of `features` [image row column channel], of each as many patches
    as `contents` says (None: all); read one by one.
    """
    count, total, squares = 0, 0.0, 0.0
    known = contents or [features.shape[1:3]] * len(rows)
    for row, content in zip(rows, known, strict=True):
        for own in _bands(lazily(features, row), content):
            patches = own.reshape(-1, features.shape[-1])
            count += len(patches)
            total = total + patches.sum(axis=0)
            squares = squares + np.square(patches).sum(axis=0)
    mean = np.asarray(total / count)
    variance = np.asarray(squares / count) - mean**2
    deviation = np.sqrt(np.maximum(variance, SMALLEST_DEVIATION**2))
    return FeatureScale(mean.astype(np.float32), deviation.astype(np.float32))


def _bands(patches: Any, content: Shape) -> Iterator[Float64[np.ndarray, "row column channel"]]:
    """The content of a picture's patches; of a large one some lines after the other."""
    lines = BAND_LINES if isinstance(patches, LargeRow) else content[0]
    for first in range(0, content[0], lines):
        band = patches[first : min(first + lines, content[0]), : content[1]]
        yield np.asarray(band, np.float64)


def standardised(
    features: Float[np.ndarray, "batch rows columns channel"], scale: FeatureScale
) -> Float32[np.ndarray, "batch rows columns channel"]:
    """Features in standard deviations from the mean normal patch, clamped to `LARGEST_FEATURE`."""
    centred = (features.astype(np.float32) - scale.mean) / scale.deviation
    return np.clip(centred, -LARGEST_FEATURE, LARGEST_FEATURE)


def detector_inputs(
    features: Float[np.ndarray, "batch row column channel"],
    residuals: Float[np.ndarray, "batch row column channel"],
    images: UInt8[np.ndarray, "batch height width 3"],
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
    added: Float[Tensor, "batch 1 _ _"], shape: Sequence[int]
) -> Float[Tensor, "batch 1 height width"]:
    """A detector's answer at the picture's size (height, width), bilinearly."""
    return functional.interpolate(added, size=tuple(shape), mode="bilinear", align_corners=False)


@torch.no_grad()
def added_logits(
    model: nn.Module,
    features: Float[np.ndarray, "row column channel"],
    residual: Float[np.ndarray, "row column channel"],
    image: UInt8[np.ndarray, "height width 3"],
    form: DetectorForm,
    device: torch.device,
    *,
    content: Shape | None = None,
    window: int | None = None,
) -> Float32[np.ndarray, "content_height content_width"]:
    """What a trained detector adds to the base of a picture of `content` pixels (None: all), in
    windows of `window` patches a side (None: one) where it is larger.
    """
    stride = image.shape[0] // residual.shape[0]
    shape = content or (image.shape[0], image.shape[1])
    grid = cells_in(shape, stride)
    parts = parts_of(grid, window or max(grid))

    def found() -> Iterator[np.ndarray]:
        for part in parts:
            cells, pixels = part.cells(), part.pixels(stride)
            arrays = (features[cells][None], residual[cells][None], image[pixels][None])
            added = model(*detector_inputs(*arrays, form, device))
            yield to_size(added, arrays[2].shape[1:3])[0, 0].float().cpu().numpy()

    return cropped(map_in_parts(zip(parts, found(), strict=True), grid, stride), shape)


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
    return 1 / (1 + np.exp(-drawn_in(logits)))


def drawn_in(logits: Float32[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    """Logits within `STRAIGHT` + `BENT`; those within `STRAIGHT` as they are."""
    over = np.maximum(np.abs(logits) - np.float32(STRAIGHT), 0)
    bent = np.sign(logits) * (STRAIGHT + BENT * over / (over + BENT))
    return np.where(over > 0, bent, logits).astype(np.float32)
