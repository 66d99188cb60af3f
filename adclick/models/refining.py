"""What becomes of a click network's answer: a second look, and the picture's edges.

Both are additions to the paper, on where the configuration says so; robot users, labels and the
annotation tool ask the network in the same way.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from adclick.clicks.click import Click
from adclick.clicks.edges import follow_edges, prepare
from adclick.clicks.robot import Predict
from adclick.models.zoom import Window, zoom_in
from adclick.networks.parts import Part
from adclick.run.settings.clicks import Edges, Zoom


@dataclass(frozen=True)
class RefinedSession:
    """A picture opened for clicks; `part` opens what one window of the network sees of it."""

    answers: Predict
    part: Callable[[Part], Predict]

    def predict(
        self, clicks: Sequence[Click], previous: Float[np.ndarray, "height width"] | None = None
    ) -> Float[np.ndarray, "height width"]:
        """The probability of a defect at every pixel, in [0, 1], after all `clicks`, in pixels of
        the network's input; `previous` is the last one, or any mask to start from.
        """
        return self.answers(clicks, previous)


def refined(
    predict: Predict,
    image: UInt8[np.ndarray, "height width 3"],
    *,
    open_window: Callable[[Window], Predict],
    zoom: Zoom | None,
    edges: Edges | None,
    stride: int,
    radius_px: float,
    threshold: float,
) -> Predict:
    """A network's answers about a picture, looked at a second time with `zoom` and drawn to the
    picture's edges with `edges`; with neither they stay as they are.

    `open_window` opens a window of the same picture for the network; `stride` is the side of a cell
    of its grid, and `radius_px` that of the click disks, in pixels of the picture.
    """
    if zoom is not None:
        predict = zoom_in(
            predict, open_window, stride=stride, threshold=threshold, **zoom.model_dump()
        )
    if edges is not None:
        predict = follow_edges(predict, prepare(image, edges, radius_px=radius_px))
    return predict
