"""What is seen of a trained network's answers to a robot user, for the estimate of their levels."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float

from adclick.clicks.click import Click
from adclick.clicks.levels import HALF, LEVELS, Seen, level_features, level_ious
from adclick.clicks.robot import simulate_clicks
from adclick.data.geometry import cells_in, cropped, in_frame
from adclick.models.opening import Opened
from adclick.models.refining import Choose
from adclick.networks.parts import Part
from adclick.run.artifacts import ArrayFile
from adclick.run.settings.clicks import Edges, Levels, Zoom


def levels_seen(
    opened: Opened,
    drawn: ArrayFile,
    levels: Levels,
    *,
    zoom: Zoom | None,
    edges: Edges,
    threshold: float,
    seed: int,
) -> tuple[Float[np.ndarray, "answer level feature"], Float[np.ndarray, "answer level"]]:
    """Features and IoUs of the masks at every level of the answers to clicks on drawn pictures.

    The network is opened on pictures of simulated defects, whose labels and types `drawn` has.
    What is clicked does not depend on the estimate to come: answers are cut at one half on every
    other picture, and where they are best on the others.
    """
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    for number, row in enumerate(_some_rows(len(drawn["labels"]), levels.pictures, seed)):
        truth = cropped(drawn["labels"][row], opened.contents[row]) > 0.5
        if not truth.any():
            continue
        predict = opened.answers(
            row,
            [drawn["types"][row].decode()],
            zoom=zoom,
            edges=edges,
            threshold=threshold,
            choose=recorded(truth, opened.stride, seen, best=number % 2 == 1),
        )
        simulate_clicks(predict, truth, count=levels.clicks, threshold=threshold)
    features, ious = zip(*seen, strict=True) if seen else ((), ())
    return np.array(features, np.float32), np.array(ious, np.float32)


def _some_rows(count: int, wanted: int, seed: int) -> Sequence[int]:
    return sorted(np.random.default_rng(seed).permutation(count)[:wanted].tolist())


def recorded(
    truth: Bool[np.ndarray, "height width"],
    stride: int,
    seen: list[tuple[np.ndarray, np.ndarray]],
    *,
    best: bool,
) -> Callable[[Part], Choose]:
    """For each part of a picture, the best level of all answers or, if that is not wanted, one half
    of every first one; the features and IoUs of all answers are added to `seen` where the part
    shows some of the defect.
    """
    grid = cells_in((truth.shape[0], truth.shape[1]), stride)
    framed = in_frame(truth, (grid[0] * stride, grid[1] * stride))

    def in_part(part: Part) -> Choose:
        own_truth = framed[part.pixels(stride)]

        def record(answers: Sequence[Seen], clicks: Sequence[Click]) -> tuple[int, float]:
            if own_truth.any():
                found = [
                    (level_features(one, clicks), level_ious(one.answer, own_truth))
                    for one in answers
                ]
                seen.extend(found)
                if best:
                    ious = np.stack([own for _, own in found])
                    answer, level = divmod(int(ious.argmax()), len(LEVELS))
                    return answer, float(LEVELS[level])
            return 0, float(LEVELS[HALF])

        return record

    return in_part
