"""What becomes of a click network's answer: a second look, the picture's edges, and a level.

All are additions to the paper, on where the configuration says so; robot users, labels and the
annotation tool ask the network in the same way.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8

from adclick.clicks.candidates import candidates
from adclick.clicks.click import Click
from adclick.clicks.edges import PreparedPicture, follow_edges, prepare, solve
from adclick.clicks.levels import LEVELS, Seen, at_level, level_features, worth_the_click
from adclick.clicks.robot import Predict
from adclick.models.zoom import Window, zoom_in
from adclick.networks.level_choice import LevelChoice
from adclick.networks.parts import Part
from adclick.run.settings.clicks import Edges, Zoom

# Which of the answers after clicks, and the level of it.
Choose = Callable[[Sequence[Seen], Sequence[Click]], tuple[int, float]]


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
    choose: Choose | None,
    lengths: Callable[[], Float32[np.ndarray, "height width"]],
    stride: int,
    radius_px: float,
    threshold: float,
) -> Predict:
    """A network's answers about a picture, looked at a second time with `zoom` and drawn to the
    picture's edges with `edges`; with neither they stay as they are. With `choose` an answer that
    follows edges is moved so that its mask is that of the chosen level; see
    `adclick.clicks.levels`, which reads `lengths`, those of the residual.

    `open_window` opens a window of the same picture for the network; `stride` is the side of a cell
    of its grid, and `radius_px` that of the click disks, in pixels of the picture.
    """
    if zoom is not None:
        predict = zoom_in(
            predict, open_window, stride=stride, threshold=threshold, **zoom.model_dump()
        )
    if edges is None:
        return predict
    prepared = prepare(image, edges, radius_px=radius_px)
    if choose is None:
        return follow_edges(predict, prepared)
    return _at_chosen_levels(predict, prepared, choose, lengths(), threshold)


def _at_chosen_levels(
    predict: Predict,
    prepared: PreparedPicture,
    choose: Choose,
    lengths: Float32[np.ndarray, "height width"],
    threshold: float,
) -> Predict:
    def chosen(clicks: Sequence[Click], previous: np.ndarray | None) -> np.ndarray:
        prior = predict(clicks, previous).astype(np.float32)
        if not clicks:
            return solve(prepared, prior, clicks)
        before = None if previous is None else previous > threshold
        seen = candidates(prepared, prior, clicks, lengths=lengths, before=before)
        number, level = choose(seen, clicks)
        return at_level(seen[number].answer, level, clicks, threshold=threshold)

    return chosen


def choice_of(network: object) -> Choose | None:
    """The answer and level that a network's own estimates think best; None of one without."""
    choice: LevelChoice | None = getattr(network, "levels", None)
    if choice is None:
        return None
    return chosen_by(choice, of_lines=getattr(network, "line_levels", None))


def chosen_by(choice: LevelChoice, *, of_lines: LevelChoice | None = None) -> Choose:
    """What an estimate thinks best; once there is a mask, of what is worth the last click.

    With `of_lines` it is that one, which has learnt of thin defects too, who says whether an answer
    along lines is the best; of all others the first estimate still takes its own.
    """

    def choose(seen: Sequence[Seen], clicks: Sequence[Click]) -> tuple[int, float]:
        features = np.stack([level_features(one, clicks) for one in seen])
        mended = seen[0].before is not None and bool(seen[0].before.any())
        left = list(range(len(seen)))
        if of_lines is not None and any(one.along_lines for one in seen):
            answer, level = _best(of_lines, features, mended=mended)
            if seen[answer].along_lines:
                return answer, float(LEVELS[level])
            left = [number for number in left if not seen[number].along_lines]
        answer, level = _best(choice, features[left], mended=mended)
        return left[answer], float(LEVELS[level])

    return choose


def _best(
    choice: LevelChoice,
    features: Float32[np.ndarray, "answer level level_feature"],
    *,
    mended: bool,
) -> tuple[int, int]:
    device = choice.mean.device
    allowed = torch.from_numpy(worth_the_click(features)).to(device) if mended else None
    return choice.best(torch.from_numpy(features).to(device), allowed)
