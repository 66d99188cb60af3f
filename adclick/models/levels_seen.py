"""What is seen of a trained network's answers to a robot user, for the estimate of their levels."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from jaxtyping import Bool, Float

from adclick.clicks.click import Click
from adclick.clicks.levels import HALF, LEVEL_FEATURES, LEVELS, Seen, level_features, level_ious
from adclick.clicks.robot import simulate_clicks
from adclick.data.geometry import cells_in, cropped, in_frame
from adclick.models.opening import Opened
from adclick.models.refining import Choose
from adclick.networks.parts import Part
from adclick.run.artifacts import ArrayFile
from adclick.run.settings.clicks import Edges, Zoom


def levels_seen(
    opened: Opened,
    drawn: ArrayFile,
    rows: Iterable[int],
    *,
    count: int,
    zoom: Zoom | None,
    edges: Edges,
    threshold: float,
    choose: Choose | None,
) -> tuple[Float[np.ndarray, "answer level feature"], Float[np.ndarray, "answer level"]]:
    """Features and IoUs of the masks at every level of the answers to so many clicks each on some
    rows of drawn pictures.

    The network is opened on pictures of simulated defects, whose labels and types `drawn` has.
    Meanwhile an answer is what `choose` says or, without it, the first one at one half.
    """
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    for row in rows:
        truth = cropped(drawn["labels"][row], opened.contents[row]) > 0.5
        if not truth.any():
            continue
        predict = opened.answers(
            row,
            [drawn["types"][row].decode()],
            zoom=zoom,
            edges=edges,
            threshold=threshold,
            choose=recorded(truth, opened.stride, seen, choose=choose),
        )
        simulate_clicks(predict, truth, count=count, threshold=threshold)
    features, ious = zip(*seen, strict=True) if seen else ((), ())
    return (
        np.array(features, np.float32).reshape(-1, len(LEVELS), len(LEVEL_FEATURES)),
        np.array(ious, np.float32).reshape(-1, len(LEVELS)),
    )


def some_rows(drawn: ArrayFile, wanted: int, seed: int) -> list[int]:
    """So many rows of drawn pictures, or all, in an order of their own."""
    rows = np.random.default_rng(seed).permutation(len(drawn["labels"]))
    return rows[:wanted].tolist()


def recorded(
    truth: Bool[np.ndarray, "height width"],
    stride: int,
    seen: list[tuple[np.ndarray, np.ndarray]],
    *,
    choose: Choose | None,
) -> Callable[[Part], Choose]:
    """For each part of a picture what `choose` says or, without it, one half of every first answer;
    the features and IoUs of all answers are added to `seen` where the part shows some of the
    defect.
    """
    grid = cells_in((truth.shape[0], truth.shape[1]), stride)
    framed = in_frame(truth, (grid[0] * stride, grid[1] * stride))

    def in_part(part: Part) -> Choose:
        own_truth = framed[part.pixels(stride)]

        def record(answers: Sequence[Seen], clicks: Sequence[Click]) -> tuple[int, float]:
            if own_truth.any():
                seen.extend(
                    (level_features(one, clicks), level_ious(one.answer, own_truth))
                    for one in answers
                )
            return (0, float(LEVELS[HALF])) if choose is None else choose(answers, clicks)

        return record

    return in_part
