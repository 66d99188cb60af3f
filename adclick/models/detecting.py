"""A trained detector and one category's artifacts, opened for maps without clicks: the trunk's, or
what a detector on features adds to the training-free map.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from adclick.data.geometry import contents_of
from adclick.language.words import defect_types
from adclick.models.opening import open_network
from adclick.networks.trained_detector import load_detector
from adclick.residuals.maps import finish_map, training_free_map
from adclick.run.artifacts import open_arrays, read_csv
from adclick.run.device import compute_device
from adclick.run.errors import InputError
from adclick.run.settings.networks import Sliding
from adclick.run.settings.residuals import Detection

MapOfRow = Callable[[int], Float32[np.ndarray, "height width"]]


@contextmanager
def open_detector(
    weights: Path,
    *,
    manifest: Path,
    images: Path,
    residuals: Path,
    language: Path | None,
    category: str,
    sliding: Sliding | None,
    stride: int,
    detection: Detection,
) -> Iterator[MapOfRow]:
    """The finished map of a row of the manifest, over all real defect types of the category.

    `sliding` has the windows that it is made of (None: of the whole image). Residuals are those of
    the workflow: of a normal image, to the others.
    """
    with (
        compute_device() as device,
        open_arrays(residuals) as compared,
        open_network(
            weights,
            images=images,
            residuals=residuals,
            language=language,
            category=category,
            radius_px=0.0,
            device=device,
        ) as opened,
    ):
        types = defect_types(opened.texts, sorted(set(read_csv(manifest)["defect_type"])))

        def map_of(row: int) -> Float32[np.ndarray, "height width"]:
            raw = opened.map_without_clicks(row, types, sliding)
            foreground = compared["foreground"][row]
            return finish_map(raw, foreground, stride=stride, **detection.model_dump())

        yield map_of


@contextmanager
def open_feature_detector(
    weights: Path, *, images: Path, residuals: Path, detection: Detection
) -> Iterator[MapOfRow]:
    """The map of a row of the manifest by a detector on features: finished already, since it adds
    to a finished training-free map.
    """
    with (
        compute_device() as device,
        open_arrays(residuals) as compared,
        open_arrays(images) as pictures,
    ):
        detector = load_detector(weights, device=device)
        if "patches" not in compared:
            raise InputError(f"{residuals}: no features of the pictures; run the workflow again")

        contents = contents_of(pictures, "images")
        stride = pictures["images"].shape[1] // compared["residuals"].shape[1]

        def map_of(row: int) -> Float32[np.ndarray, "height width"]:
            return detector.probability(
                patches=compared["patches"][row],
                residual=compared["residuals"][row],
                image=pictures["images"][row],
                training_free=training_free_map(
                    compared["lengths"][row],
                    compared["foreground"][row],
                    content=contents[row],
                    stride=stride,
                    **detection.model_dump(),
                ),
                device=device,
            )

        yield map_of
