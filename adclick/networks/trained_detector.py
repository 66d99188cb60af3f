"""A trained detector on features with all that makes a map of its answer, and its file."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8

from adclick.networks.checkpoints import (
    load_weights_into,
    read_metadata,
    save_model,
    seeded,
)
from adclick.networks.detector_inputs import DetectorForm, FeatureScale, added_logits, joined_map
from adclick.networks.feature_detector import FoldedDetector, build_folded_detector
from adclick.networks.inputs import ResidualForm
from adclick.networks.parts import window_of
from adclick.residuals.calibration import Calibration
from adclick.run.errors import InputError

KIND = "feature_detector"


@dataclass(frozen=True, eq=False)
class TrainedDetector:
    """A detector on features: the folds' networks, the form of their inputs with the calibration of
    the training-free map, how much of their answer is added to it, and the side in patches of the
    windows that they were trained on (None: whole pictures).
    """

    network: FoldedDetector
    form: DetectorForm
    amount: float
    window: int | None = None

    def probability(
        self,
        *,
        patches: Float[np.ndarray, "row column channel"],
        residual: Float[np.ndarray, "row column channel"],
        image: UInt8[np.ndarray, "height width 3"],
        training_free: Float[np.ndarray, "content_height content_width"],
        device: torch.device,
    ) -> Float32[np.ndarray, "content_height content_width"]:
        """The finished map of a picture, from its features, its signed residual and its finished
        training-free map, which has foreground and smoothing in it. The network is on `device`.
        """
        added = np.zeros(training_free.shape, np.float32)
        if self.amount:
            added = added_logits(
                self.network,
                patches,
                residual,
                image,
                self.form,
                device,
                content=training_free.shape,
                window=self.window,
            )
        return joined_map(training_free, added, self.form.calibration, self.amount)


def save_detector(
    path: Path, trained: TrainedDetector, *, sizes: Mapping[str, Any], extra: Mapping[str, Any]
) -> None:
    """Write a detector whole or not at all; `sizes` are the keywords of `build_feature_detector`,
    `extra` as in `save_model`.
    """
    form, network = trained.form, trained.network
    stored = {"folds": len(network.detectors), "patch_channels": len(form.residual_scale), **sizes}
    facts = {
        "amount": trained.amount,
        "calibration": asdict(form.calibration),
        "matched": form.matched,
        "residual_form": asdict(form.residual),
    }
    save_model(path, network, sizes=stored, kind=KIND, extra={**extra, **facts})


def load_detector(path: Path, *, device: torch.device) -> TrainedDetector:
    """The detector of a file, ready to answer on a device.

    InputError when the file is missing, holds another kind of network, or does not fit its sizes.
    """
    metadata = read_metadata(path)
    if metadata.kind != KIND:
        raise InputError(f"{path}: a model of kind {metadata.kind}, but {KIND} is needed here")
    facts = metadata.extra
    try:
        network = seeded(build_folded_detector, 0, **metadata.sizes)
        calibration = Calibration(**facts["calibration"])
        residual, matched = ResidualForm(**facts["residual_form"]), bool(facts["matched"])
        amount, window = float(facts["amount"]), window_of(facts["settings"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: a detector of no form of this version ({error}); train it again"
        ) from None
    load_weights_into(network, path)
    form = DetectorForm(
        FeatureScale(network.feature_mean.numpy(), network.feature_deviation.numpy()),
        network.residual_scale.numpy(),
        residual,
        matched,
        calibration,
    )
    return TrainedDetector(network.to(device).eval(), form, amount, window)
