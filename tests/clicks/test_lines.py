import cv2
import numpy as np
import pytest

from adclick.clicks.click import Click
from adclick.clicks.edges import prepare, solve, solve_along_lines
from adclick.clicks.lines import beside, lines_through, ridges
from adclick.run.settings.clicks import Edges, Lines

LINES = Lines(contrast=3, likeness=0.5, gap_px=1, elongation=20, edge_px=1.5, side_px=6)
EDGES = Edges(
    trust=0.1,
    least_trust=0.02,
    early_trust=0,
    prior_power=1,
    sharpness=2,
    likeness=4,
    lines=LINES,
)
SHAPE = (96, 120)


def surface(*, shade: int, seed: int = 0) -> np.ndarray:
    """A grey surface with noise, a crooked line of that shade over it, and a disk like it."""
    image = np.random.default_rng(seed).integers(116, 125, (*SHAPE, 1)).astype(np.uint8)
    image = np.ascontiguousarray(image.repeat(3, axis=2))
    cv2.polylines(image, [path()], isClosed=False, color=(shade, shade, shade), thickness=2)
    cv2.circle(image, (95, 70), 12, (shade, shade, shade), -1)
    return image


def path() -> np.ndarray:
    return np.array([[10, 8], [22, 30], [20, 60], [34, 88]])


def line() -> np.ndarray:
    drawn = np.zeros(SHAPE, np.uint8)
    cv2.polylines(drawn, [path()], isClosed=False, color=1, thickness=2)
    return drawn > 0


def found_in(image: np.ndarray, clicked: dict[tuple[int, int], bool]) -> np.ndarray:
    colours = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return lines_through(ridges(colours), clicked, LINES)


@pytest.mark.parametrize("shade", [60, 200])
def test_a_line_is_followed_to_both_of_its_ends(shade: int) -> None:
    found, truth = found_in(surface(shade=shade), {(30, 22): True}), line()
    assert truth[30, 22]
    assert (found & truth).sum() > 0.85 * truth.sum()
    near = cv2.dilate(truth.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert not (found & ~near).any()


@pytest.mark.parametrize("seed", range(8))
def test_a_disk_and_a_negative_click_are_no_line(seed: int) -> None:
    image = surface(shade=60, seed=seed)
    assert not found_in(image, {(70, 95): True}).any()
    assert not found_in(image, {(30, 22): False}).any()


def test_a_surface_has_fewer_lines_the_more_contrast_is_asked_for() -> None:
    """Noise has lines of its own, which the estimate of levels leaves."""
    colours = cv2.cvtColor(surface(shade=60).astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    heights = ridges(colours)
    places = [(row, column) for row in range(50, 90, 4) for column in range(30, 78, 4)]

    def share(contrast: float) -> float:
        asked = LINES.model_copy(update={"contrast": contrast})
        found = [lines_through(heights, {place: True}, asked).any() for place in places]
        return float(np.mean(found))

    assert share(1.0) > 0.5 > 0.1 > share(8.0)


def test_no_line_passes_a_negative_click() -> None:
    rows = np.flatnonzero(line().any(axis=1))
    column = round(np.flatnonzero(line()[60]).mean())
    found = found_in(surface(shade=60), {(30, 22): True, (60, column): False})
    assert found[:55].any()
    assert not found[62 : rows.max() + 1].any()


def test_a_line_goes_on_past_a_negative_click_beside_it() -> None:
    """A user clicks there when a mask was too wide, and not to end the line."""
    image = np.random.default_rng(0).integers(116, 125, (*SHAPE, 1)).astype(np.uint8)
    image = np.ascontiguousarray(image.repeat(3, axis=2))
    image[10:86, 40] = 30
    found = found_in(image, {(30, 40): True, (60, 42): False})
    assert found[12:84].any(axis=1).all() and not found[60, 42]
    assert not found_in(image, {(30, 40): True, (60, 40): False})[62:].any()


def test_what_is_beside_a_line_lies_near_and_not_next_to_it() -> None:
    drawn = np.zeros((20, 20), bool)
    drawn[:, 10] = True
    np.testing.assert_array_equal(
        np.flatnonzero(beside(drawn, LINES)[10]), [4, 5, 6, 7, 8, 12, 13, 14, 15, 16]
    )


def test_an_answer_along_a_line_is_the_line_and_keeps_its_clicks() -> None:
    prepared = prepare(surface(shade=60), EDGES, radius_px=3.0)
    clicks = [Click(30, 22, True), Click(50, 60, False)]
    prior = np.full(SHAPE, 0.1, np.float32)
    along = solve_along_lines(prepared, prior, clicks)
    assert along is not None
    assert along[30, 22] == 1 and along[50, 60] == 0
    truth, plain = line(), solve(prepared, prior, clicks)

    def iou(answer: np.ndarray) -> float:
        mask = answer > 0.5
        return float((mask & truth).sum() / (mask | truth).sum())

    assert iou(along) > 0.75 > 2 * iou(plain)


def test_a_doubted_line_ends_where_no_defect_is_believed() -> None:
    """A surface's own lines go on from a defect; without doubt all of a line is positive."""
    prior = np.where(np.arange(SHAPE[0])[:, None] < 50, 0.4, 0.001).astype(np.float32)
    prior = np.broadcast_to(prior, SHAPE)

    def followed(doubt: float) -> np.ndarray:
        doubted = EDGES.model_copy(update={"lines": LINES.model_copy(update={"doubt": doubt})})
        prepared = prepare(surface(shade=60), doubted, radius_px=3.0)
        along = solve_along_lines(prepared, prior, [Click(30, 22, True)])
        assert along is not None and along[30, 22] == 1
        return along > 0.5

    upper, lower = np.s_[10:46], np.s_[56:86]
    certain, doubted = followed(0.0), followed(0.3)
    for part in (certain[upper], certain[lower], doubted[upper]):
        assert part.any(axis=1).mean() > 0.9
    assert not doubted[lower].any()


@pytest.mark.parametrize(
    ("edges", "clicks"),
    [(EDGES, [Click(70, 95, True)]), (EDGES, []), (EDGES.model_copy(update={"lines": None}), None)],
)
def test_there_is_no_such_answer_without_a_line(edges: Edges, clicks: list[Click] | None) -> None:
    prepared = prepare(surface(shade=60), edges, radius_px=3.0)
    given = [Click(30, 22, True)] if clicks is None else clicks
    assert solve_along_lines(prepared, np.full(SHAPE, 0.1, np.float32), given) is None


def test_in_a_large_picture_lines_are_those_of_the_window() -> None:
    image = cv2.resize(surface(shade=60), (1200, 960), interpolation=cv2.INTER_LINEAR)
    prepared = prepare(image, EDGES, radius_px=3.0)
    clicks = [Click(300, 220, True)]
    along = solve_along_lines(prepared, np.full((96, 120), 0.1, np.float32), clicks)
    if along is not None:
        assert along.shape == (960, 1200) and along[300, 220] == 1
        assert (along[0] < 0.2).all(), "far away the prior stays"


def test_a_side_is_farther_than_an_edge() -> None:
    given = LINES.model_dump() | {"side_px": 1}
    with pytest.raises(ValueError, match="side_px must be larger than edge_px"):
        Lines.model_validate(given)


def test_a_click_next_to_a_line_follows_no_other() -> None:
    """The edge of a line is no line, and what is as faint as that is all over the surface."""
    image = surface(shade=60)
    both = found_in(image, {(30, 22): True, (30, 24): True})
    np.testing.assert_array_equal(both, found_in(image, {(30, 22): True}))
