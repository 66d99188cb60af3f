"""A trained detector and one category's artifacts, opened for maps without clicks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from adclick.artifacts import read_csv
from adclick.commands.opening import open_network
from adclick.data.pools import defect_types
from adclick.device import compute_device
from adclick.sliding import zero_click_map

RawMap = Callable[[int], Float32[np.ndarray, "size size"]]


@contextmanager
def open_detector(
    weights: Path,
    *,
    manifest: Path,
    images: Path,
    residuals: Path,
    language: Path,
    category: str,
    windows: tuple[float, float] | None,
    stride: int,
) -> Iterator[RawMap]:
    """The unfinished map of a row of the manifest, over all real defect types of the category.

    `windows` are side and step of those that it is made of (None: of the whole image). Residuals
    are those of the workflow: of a normal image, to the others.
    """
    with (
        compute_device() as device,
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
        yield lambda row: zero_click_map(opened.session(row, types), windows=windows, stride=stride)
