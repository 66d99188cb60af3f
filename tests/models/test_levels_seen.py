from collections.abc import Sequence

import numpy as np
import pytest

from adclick.clicks.click import Click
from adclick.clicks.levels import HALF, LEVELS, Seen, level_features, level_ious
from adclick.models.levels_seen import recorded
from adclick.networks.parts import Part

CLICKS = [Click(3, 4, True)]


def seen_in(part: Part, seed: int) -> Seen:
    generator = np.random.default_rng(seed)
    shape = (8 * part.height, 8 * part.width)

    def plane() -> np.ndarray:
        return generator.random(shape).astype(np.float32)

    return Seen(plane(), plane(), generator.random((*shape, 3)).astype(np.float32), 1.0, plane())


def truth() -> np.ndarray:
    """A picture of 45 x 60 px (6 x 8 patches of 8 px) with one defect, off its middle."""
    mask = np.zeros((45, 60), bool)
    mask[10:22, 30:41] = True
    return mask


@pytest.mark.parametrize("part", [Part(0, 0, 6, 8), Part(0, 3, 4, 4), Part(1, 2, 4, 4)])
def test_each_window_is_judged_by_its_own_part_of_the_truth(part: Part) -> None:
    found: list[tuple[np.ndarray, np.ndarray]] = []
    answer = seen_in(part, seed=0)
    along = seen_in(part, seed=2)
    given = recorded(truth(), 8, found, choose=None)(part)([answer, along], CLICKS)
    assert given == (0, LEVELS[HALF]), "meanwhile the first answer is cut at one half"
    padded = np.pad(truth(), ((0, 3), (0, 4)))
    own = padded[8 * part.top :, 8 * part.left :][: 8 * part.height, : 8 * part.width]
    assert own.any()
    assert len(found) == 2, "each answer teaches"
    for (features, ious), one in zip(found, (answer, along), strict=True):
        np.testing.assert_array_equal(features, level_features(one, CLICKS))
        np.testing.assert_array_equal(ious, level_ious(one.answer, own))


def test_or_what_is_chosen_is_shown() -> None:
    answers = [seen_in(Part(0, 0, 6, 8), seed=seed) for seed in range(2)]

    def choose(given: Sequence[Seen], clicks: Sequence[Click]) -> tuple[int, float]:
        assert given is answers and clicks is CLICKS
        return 1, 0.3

    assert recorded(truth(), 8, [], choose=choose)(Part(0, 0, 6, 8))(answers, CLICKS) == (1, 0.3)


def test_a_window_without_a_defect_teaches_nothing() -> None:
    found: list[tuple[np.ndarray, np.ndarray]] = []
    part = Part(2, 0, 3, 3)
    recorded(truth(), 8, found, choose=None)(part)([seen_in(part, seed=1)], CLICKS)
    assert not found
