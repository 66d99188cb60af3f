"""What a peer of the detectors learns from and answers: pictures, and their frozen features."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from adclick.residuals.backbone import Backbone
from adclick.residuals.streaming import stream_features
from adclick.run.settings.residuals import Features

SCALE_PICTURES = 100  # normal pictures, at most, that say how features vary


class Picture(NamedTuple):
    """A picture, and its patch features (see `residuals.patches.extract`)."""

    image: UInt8[np.ndarray, "height width 3"]
    features: Any  # float32 [row column channel]; None for a peer that reads pictures alone


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures of one kind, read one at a time: normal ones, simulated or labelled defects.

    `images` is uint8 [image height width 3], `labels` [image height width] in [0, 1], None for
    normal pictures; `rows` says which of them are meant. `features` [row column channel] come by
    their row.
    """

    images: Any
    labels: Any | None
    rows: Sequence[int]
    features: "KeptFeatures | None"

    def __len__(self) -> int:
        """How many there are."""
        return len(self.rows)

    def __getitem__(self, index: int) -> Picture:
        """One of them."""
        row = self.rows[index]
        return Picture(self.images[row], None if self.features is None else self.features[row])

    def mask(self, index: int) -> Bool[np.ndarray, "height width"]:
        """Where one of them is defective; nowhere, for a normal picture."""
        row = self.rows[index]
        if self.labels is None:
            return np.zeros(self.images.shape[1:3], bool)
        return np.asarray(self.labels[row], np.float32) > 0.5


class Learnt(NamedTuple):
    """What a peer has learnt: the raw map of a picture, larger where it is more anomalous, of the
    picture's size; how many numbers it is made with, beside the frozen backbone; and what its
    record says besides.
    """

    map_of: Callable[[Picture], Float32[np.ndarray, "height width"]]
    parameters: int
    facts: dict[str, Any]
    finish: Callable[[], dict[str, Any]] = dict  # ends it, with more for its record


class KeptFeatures:
    """Features of pictures, computed when they are first asked for and kept in a file after that.

    One picture at a time, so that they do not depend on who asks first.
    """

    def __init__(self, images: Any, backbone: Backbone, settings: Features, file: Path) -> None:
        """Those of an array of pictures, kept in `file`."""
        self._images, self._backbone, self._settings = images, backbone, settings
        self._file = file
        self._kept: np.ndarray | None = None
        self._known = np.zeros(len(images), bool)

    def __getitem__(self, row: int) -> Float32[np.ndarray, "row column channel"]:
        """Those of a row."""
        if self._kept is None or not self._known[row]:
            found = features_of(self._backbone, self._images[row], self._settings)
            if self._kept is None:
                shape = (len(self._images), *found.shape)
                self._kept = np.lib.format.open_memmap(
                    self._file, mode="w+", dtype=np.float16, shape=shape
                )
            self._kept[row] = found
            self._known[row] = True
        return self._kept[row].astype(np.float32)


@contextmanager
def kept_features(
    backbone: Backbone, settings: Features
) -> Iterator[Callable[[Any], KeptFeatures]]:
    """A function of an array of pictures to their features, which are gone when the block ends."""
    with TemporaryDirectory() as folder:
        count = iter(range(1000))
        yield lambda images: KeptFeatures(
            images, backbone, settings, Path(folder) / f"{next(count)}.npy"
        )


def features_of(
    backbone: Backbone, image: UInt8[np.ndarray, "height width 3"], settings: Features
) -> Float[np.ndarray, "row column channel"]:
    """The patch features of one picture, rounded to half precision as stored ones are."""
    (found,) = stream_features(backbone, image[None], [0], settings)
    return found["patches"].astype(np.float16)
