"""A detector at work on whole pictures, from a model folder or from one for ONNX Runtime."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from adclick.models.decisions import Level, level_of
from adclick.models.description import MapUse, read_description
from adclick.models.onnx_folder import is_onnx_folder, open_onnx, read_onnx_description
from adclick.residuals.maps import resize_map
from adclick.run.device import compute_device
from adclick.run.errors import InputError

MapOfPicture = Callable[[UInt8[np.ndarray, "height width 3"]], Float32[np.ndarray, "height width"]]


class Inspector(NamedTuple):
    """What makes a finished map of a picture, at the picture's own size; the bits of the camera's
    pictures; what decides; and the level that was decided on when the folder was written (None: not
    yet).
    """

    map_of: MapOfPicture
    bits: int | None
    detection: MapUse
    exported: Level | None = None

    def level(self, *, threshold: float | None = None, false_alarms: float | None = None) -> Level:
        """The level that is asked for, else the one that the folder was exported with, else the
        usual one (`level_of`).
        """
        if self.exported is not None and threshold is None and false_alarms is None:
            return self.exported
        return level_of(self.detection, threshold=threshold, false_alarms=false_alarms)


@contextmanager
def open_inspector(folder: Path) -> Iterator[Inspector]:
    """The detector of a folder that `adclick export-model` or `adclick export-onnx` wrote.
    InputError when it is none, or needs clicks.
    """
    if is_onnx_folder(folder):
        told = read_onnx_description(folder)
        with open_onnx(folder) as map_of:
            exported = Level(told.threshold, told.decides, told.threshold_from)
            yield Inspector(map_of, told.bits, told.detection, exported)
        return
    described = read_description(folder)
    if described.detection is None:
        raise InputError(
            f"{folder}: {described.title} needs clicks; use adclick annotate --model {folder}"
        )
    from adclick.models.folder import detect, open_model  # and torch with it

    with compute_device() as device:
        model = open_model(folder, device=device)
        yield Inspector(
            lambda picture: resize_map(detect(model, picture), picture.shape[:2]),
            described.pictures.bits,
            described.detection,
        )
