"""A detector at work on whole pictures, from a model folder or from one for ONNX Runtime."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from adclick.models.description import MapUse, read_description
from adclick.models.onnx_folder import is_onnx_folder, open_onnx, read_onnx_description
from adclick.residuals.maps import resize_map
from adclick.run.device import compute_device
from adclick.run.errors import InputError

MapOfPicture = Callable[[UInt8[np.ndarray, "height width 3"]], Float32[np.ndarray, "height width"]]


class Inspector(NamedTuple):
    """What makes a finished map of a picture, at the picture's own size; the bits of the camera's
    pictures; and what decides.
    """

    map_of: MapOfPicture
    bits: int | None
    detection: MapUse


@contextmanager
def open_inspector(folder: Path) -> Iterator[Inspector]:
    """The detector of a folder that `adclick export-model` or `adclick export-onnx` wrote.
    InputError when it is none, or needs clicks.
    """
    if is_onnx_folder(folder):
        told = read_onnx_description(folder)
        with open_onnx(folder) as map_of:
            yield Inspector(map_of, told.bits, told.detection)
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
