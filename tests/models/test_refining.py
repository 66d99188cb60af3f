from collections.abc import Sequence

import numpy as np
import pytest
import torch

from adclick.clicks.click import Click
from adclick.clicks.edges import prepare, solve, solve_along_lines
from adclick.clicks.levels import LEVEL_FEATURES, LEVELS, STEADY_COLUMNS, Seen, at_level
from adclick.models.refining import Choose, choice_of, refined
from adclick.networks.level_choice import LevelChoice
from adclick.run.settings.clicks import Edges, Lines

EDGES = Edges(
    trust=0.1, least_trust=0.02, early_trust=0.0, prior_power=1.0, sharpness=2.0, likeness=4.0
)
CLICKS = [Click(10, 12, True), Click(25, 30, False)]
LENGTHS = np.random.default_rng(1).random((32, 40)).astype(np.float32)


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (32, 40, 3)).astype(np.uint8)


def prior(clicks: Sequence[Click], previous: np.ndarray | None = None) -> np.ndarray:
    rows, columns = np.mgrid[:32, :40]
    near = np.exp(-((rows - 10) ** 2 + (columns - 12) ** 2) / 60)
    return (near / (1 + len(clicks) % 2)).astype(np.float32)


def answers(choose: Choose | None, edges: Edges | None = EDGES, image: np.ndarray | None = None):
    return refined(
        prior,
        picture() if image is None else image,
        open_window=lambda _: prior,
        zoom=None,
        edges=edges,
        choose=choose,
        lengths=lambda: LENGTHS,
        stride=8,
        radius_px=3.0,
        threshold=0.5,
    )


def drawn() -> np.ndarray:
    return solve(prepare(picture(), EDGES, radius_px=3.0), prior(CLICKS), CLICKS)


def test_an_answer_is_cut_at_the_chosen_level_and_keeps_its_clicks() -> None:
    told: list[Seen] = []

    def choose(seen: Sequence[Seen], clicks: Sequence[Click]) -> tuple[int, float]:
        told.extend(seen)
        assert list(clicks) == CLICKS
        return 0, 0.2

    found = answers(choose)(CLICKS, None)
    np.testing.assert_array_equal(found, at_level(drawn(), 0.2, CLICKS, threshold=0.5))
    assert (found > 0.5).sum() > (drawn() > 0.5).sum()
    assert found[10, 12] == 1 and found[25, 30] == 0
    assert len(told) == 1, "no lines are asked for"
    assert told[0].before is None and not told[0].along_lines
    np.testing.assert_array_equal(told[0].answer, drawn())
    np.testing.assert_array_equal(told[0].prior, prior(CLICKS))
    np.testing.assert_array_equal(told[0].lengths, LENGTHS)


def test_the_answer_along_a_line_is_taken_where_it_is_chosen() -> None:
    lines = Lines(contrast=3, likeness=0.5, gap_px=1, elongation=20, edge_px=1.5, side_px=6)
    edges = EDGES.model_copy(update={"lines": lines})
    image = (picture() // 32 + 120).astype(np.uint8)
    image[10:12] = 40
    previous = np.zeros((32, 40), np.float32)
    previous[10:12, :20] = 0.51
    told: list[Seen] = []

    def choose(seen: Sequence[Seen], _: Sequence[Click]) -> tuple[int, float]:
        told.extend(seen)
        return 1, 0.3

    found = answers(choose, edges, image)(CLICKS, previous)
    along = solve_along_lines(prepare(image, edges, radius_px=3.0), prior(CLICKS), CLICKS)
    assert along is not None
    np.testing.assert_array_equal(found, at_level(along, 0.3, CLICKS, threshold=0.5))
    assert [one.along_lines for one in told] == [False, True]
    np.testing.assert_array_equal(told[1].answer, along)
    for one in told:
        np.testing.assert_array_equal(one.before, previous > 0.5)


def test_what_was_there_before_is_kept_where_that_is_chosen() -> None:
    edges = EDGES.model_copy(update={"loose": 0.1, "local": True})
    previous = np.zeros((32, 40), np.float32)
    previous[20:30, 5:15] = 0.51
    told: list[Seen] = []

    def choose(seen: Sequence[Seen], _: Sequence[Click]) -> tuple[int, float]:
        told.extend(seen)
        return 1, 0.3

    found = answers(choose, edges)(CLICKS[:1], previous)
    assert [(one.loose, one.local) for one in told] == [(False, False), (False, True)]
    assert found[20:30, 5:15].min() > 0.5 and found[10, 12] == 1
    told.clear()
    answers(choose, edges)(CLICKS[:1], None)
    assert [(one.loose, one.local) for one in told] == [(False, False), (True, False)]


def test_without_an_estimate_or_edges_or_clicks_one_half_stays() -> None:
    def never(seen: Sequence[Seen], clicks: Sequence[Click]) -> tuple[int, float]:
        pytest.fail("asked for a level")

    np.testing.assert_array_equal(answers(None)(CLICKS, None), drawn())
    np.testing.assert_array_equal(answers(never, edges=None)(CLICKS, None), prior(CLICKS))
    np.testing.assert_array_equal(answers(never)([], None), prior([]))


def estimate(*, for_level: float, for_a_line: float) -> LevelChoice:
    """An estimate of an IoU that grows (or falls) with the level, and for an answer along a line,
    whose weight says how much that is worth against a level.
    """
    choice = LevelChoice(features=len(LEVEL_FEATURES), hidden=4, steady=STEADY_COLUMNS)
    for member in choice.members:
        first, *others = [one for one in member.modules() if isinstance(one, torch.nn.Linear)]
        for layer in (first, *others):
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
        first.weight.data[0, LEVEL_FEATURES.index("level")] = for_level
        first.weight.data[0, LEVEL_FEATURES.index("along_lines")] = for_a_line
        first.bias.data[0] = 5  # where GELU is a straight line
        for layer in others:
            layer.weight.data[0, 0] = 1
    return choice


def seen_answers(*kinds: str) -> list[Seen]:
    colours = np.zeros((32, 40, 3), np.float32)
    first = Seen(drawn(), prior(CLICKS), colours, 1.0, LENGTHS)
    return [first._replace(along_lines=kind == "line") for kind in kinds]


def chosen(network: torch.nn.Module, *kinds: str) -> tuple[int, float]:
    choose = choice_of(network)
    assert choose is not None
    return choose(seen_answers(*kinds), CLICKS)


def test_once_there_is_a_mask_what_is_not_worth_the_click_is_not_taken() -> None:
    """A click at the outline does not do away with a thin mask, however good what remains looks."""
    network = torch.nn.Linear(1, 1)
    network.levels = estimate(for_level=1, for_a_line=0)
    before = np.zeros((32, 40), bool)
    before[4:16, 5:30] = True
    click = Click(10, 29, False)  # at the right edge: two columns are to go, not all
    answer = np.full((32, 40), 0.01, np.float32)
    answer[4:16, 5:28] = 0.6
    colours = np.zeros((32, 40, 3), np.float32)
    seen = Seen(answer, answer, colours, 1.0, LENGTHS, before=before)
    choose = choice_of(network)
    assert choose is not None
    number, level = choose([seen], [Click(10, 12, True), click])
    assert number == 0 and level < 0.6, "above it nothing would be left"
    assert choose([seen._replace(before=None)], [click])[1] == HIGHEST, "no mask to lose yet"


HIGHEST, LOWEST = (pytest.approx(float(LEVELS[end])) for end in (-1, 0))


def test_a_networks_own_estimate_chooses() -> None:
    assert choice_of(torch.nn.Linear(1, 1)) is None
    network = torch.nn.Linear(1, 1)
    network.levels = estimate(for_level=1, for_a_line=0)
    assert chosen(network, "plain") == (0, HIGHEST)
    network.levels = estimate(for_level=1, for_a_line=3)
    assert chosen(network, "plain", "line") == (1, HIGHEST)


def test_whether_a_line_is_followed_says_the_estimate_that_has_learnt_of_lines() -> None:
    network = torch.nn.Linear(1, 1)
    network.levels = estimate(for_level=1, for_a_line=3)
    network.line_levels = estimate(for_level=-1, for_a_line=2)
    assert chosen(network, "plain", "line") == (1, LOWEST), "its line, at its level"
    network.line_levels = estimate(for_level=-1, for_a_line=-2)
    assert chosen(network, "plain", "line") == (0, HIGHEST), "no line, at the other's level"
    assert chosen(network, "line", "plain") == (1, HIGHEST), "whatever comes first"
    assert chosen(network, "plain") == (0, HIGHEST)
