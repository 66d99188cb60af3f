from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest

from adclick.clicks.click import Click
from adclick.clicks.spreading import (
    EDGE_SHARPNESS,
    LEAST_PASSAGE,
    REACH,
    diffuse_clicks,
    picture_graph,
)


def halves(step: int = 120) -> np.ndarray:
    """Left half dark, right half brighter by `step`, with a little texture."""
    image = np.full((32, 32, 3), 60, np.uint8)
    image[:, 16:] += np.uint8(step)
    image += np.random.default_rng(0).integers(0, 4, image.shape).astype(np.uint8)
    return image


def slow_chances(image: np.ndarray, clicks: dict[tuple[int, int], bool]) -> np.ndarray:
    """Both chances by solving for the free cells with the clicked ones as given values."""
    cells = image.shape[0]
    colours = image.reshape(cells * cells, -1).astype(float)
    edges = {}
    for row in range(cells):
        for column in range(cells):
            here = row * cells + column
            if column + 1 < cells:
                edges[here, here + 1] = np.sum((colours[here] - colours[here + 1]) ** 2)
            if row + 1 < cells:
                edges[here, here + cells] = np.sum((colours[here] - colours[here + cells]) ** 2)
    mean = np.mean(list(edges.values()))
    weights = {
        edge: np.exp(-EDGE_SHARPNESS * value / mean) + LEAST_PASSAGE
        for edge, value in edges.items()
    }
    matrix = np.eye(cells * cells) * np.mean(list(weights.values())) / (REACH * cells) ** 2
    for (a, b), weight in weights.items():
        matrix[a, a] += weight
        matrix[b, b] += weight
        matrix[a, b] -= weight
        matrix[b, a] -= weight
    given = np.array([row * cells + column for row, column in clicks])
    free = np.setdiff1d(np.arange(cells * cells), given)
    values = np.array([[positive, not positive] for positive in clicks.values()], float)
    chances = np.zeros((cells * cells, 2))
    chances[given] = values
    right = -matrix[np.ix_(free, given)] @ values
    chances[free] = np.linalg.solve(matrix[np.ix_(free, free)], right)
    return chances.T.reshape(2, cells, cells)


def test_a_further_click_solves_for_its_own_cell_alone(monkeypatch) -> None:
    graph = picture_graph(halves(), cells=16)
    solve, solved = graph.factor.solve, []
    monkeypatch.setattr(graph.factor, "solve", lambda right: solved.append(right) or solve(right))
    clicks = [Click(16, 6, True), Click(16, 20, False)]
    diffuse_clicks(graph, clicks[:1])
    after = diffuse_clicks(graph, clicks)
    assert [right.shape for right in solved] == [(256, 1), (256, 1)]
    np.testing.assert_array_equal(after, diffuse_clicks(picture_graph(halves(), cells=16), clicks))


def test_chances_are_those_of_the_walk_with_clicks_as_given_values() -> None:
    image = np.random.default_rng(1).integers(0, 255, (8, 8, 3)).astype(np.uint8)
    clicks = {(1, 1): True, (6, 2): False, (3, 7): True}
    found = diffuse_clicks(
        picture_graph(image, cells=8), [Click(*place, sign) for place, sign in clicks.items()]
    )
    np.testing.assert_allclose(found, slow_chances(image, clicks), atol=1e-6)


def test_a_click_fills_its_side_of_an_edge() -> None:
    positive, negative = diffuse_clicks(picture_graph(halves(), cells=16), [Click(16, 6, True)])
    assert positive[:, :14].min() > 0.25
    assert positive[:, 18:].max() < 0.05
    assert not negative.any()


def test_a_negative_click_takes_over_its_own_side() -> None:
    clicks = [Click(16, 6, True), Click(16, 26, False)]
    positive, negative = diffuse_clicks(picture_graph(halves(), cells=16), clicks)
    assert (negative > positive)[:, 18:].all()
    assert (positive > negative)[:, :14].all()
    assert (positive + negative).max() <= 1 + 1e-6


def test_clicks_are_ones_where_they_fall_and_a_positive_one_wins_a_shared_cell() -> None:
    graph = picture_graph(halves(), cells=32)
    maps = diffuse_clicks(graph, [Click(3, 4, False), Click(3, 4, True), Click(20, 9, False)])
    assert maps[0, 3, 4] == pytest.approx(1, abs=1e-6)
    assert maps[1, 20, 9] == pytest.approx(1, abs=1e-6)
    assert maps[1, 3, 4] == pytest.approx(0, abs=1e-6)


def test_no_click_no_walk_and_a_flat_picture_is_no_error() -> None:
    graph = picture_graph(np.full((16, 16, 3), 90, np.uint8), cells=16)
    assert not diffuse_clicks(graph, []).any()
    spread = diffuse_clicks(graph, [Click(8, 8, True)])[0]
    assert spread[8, 8] == pytest.approx(1)
    assert np.all(np.diff(spread[8, 8:]) < 0)


def test_a_picture_smaller_than_its_cells_is_refused() -> None:
    with pytest.raises(ValueError, match="no 64 x 64 cells"):
        picture_graph(np.zeros((32, 80, 3), np.uint8), cells=64)


def test_a_graph_that_another_thread_drops_gives_its_memory_back():
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    process = psutil.Process()
    with ThreadPoolExecutor(1) as pool:

        def make_and_drop(count: int) -> int:
            for _ in range(count):
                pool.submit(picture_graph, image, cells=64).result()
            return process.memory_info().rss

        before = make_and_drop(10)
        after = make_and_drop(60)
    assert after - before < 30e6, "each takes some two million bytes"
