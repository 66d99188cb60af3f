from collections.abc import Sequence

import numpy as np
import pytest
import torch

from adclick.residuals.matching import everywhere, nearby
from adclick.residuals.matching.search import match_patches
from tests.residuals.matching.reference import nearest_patches
from tests.residuals.matching.test_search import (
    assert_equal,
    assert_same,
    case,
    drawn,
    torch_threads,
)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Points rule candidates out whatever the features are, some at a time."""
    monkeypatch.setattr(everywhere, "MOST_DIRECTIONS", 1)
    monkeypatch.setattr(everywhere, "MOST_COMPARED", np.inf)
    monkeypatch.setattr(everywhere, "CHUNK", 10)
    monkeypatch.setattr(everywhere, "BLOCK", 7)


def steep(
    grid: tuple[int, int], channels: int, neighbours: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """An object and much alike ones; features vary along few directions most, far from zero."""
    random = np.random.default_rng(seed)
    scales = 1.0 / np.arange(1, channels + 1) ** 1.5
    turn = np.linalg.qr(random.normal(size=(channels, channels)))[0]
    shape = (neighbours + 1, *grid, channels)
    values = random.normal(size=shape[1:]) + 0.1 * random.normal(size=shape)
    values = 3 + values * scales @ turn
    return values[0].astype(np.float32), values[1:].astype(np.float32)


def compared_in_full(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """For each reference compared in full as a whole: its rank."""
    ranks: list[int] = []

    def compare_all(search: object, images: Sequence[np.ndarray], first: int = 0) -> None:
        ranks.extend(range(first, len(images)))
        nearby.compare_all(search, images, first)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(everywhere, "compare_all", compare_all)
    return ranks


def test_matches_equal_float64_brute_force(always: None, monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = compared_in_full(monkeypatch)
    for number in range(200):
        query, references, _ = case(number)
        expected = nearest_patches(query, references, None)
        for unexplained in (0.0, 0.1, 0.9):
            monkeypatch.setattr(everywhere, "UNEXPLAINED", unexplained)
            assert_equal(match_patches(query, references, None), expected, f"case {number}")
    assert len(ranks) < 400  # of 1200 references


def test_steep_features_equal_brute_force_and_few_pairs_are_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ranks = compared_in_full(monkeypatch)
    for half in (False, True):
        query, references = steep((12, 11), 96, 6, seed=1)
        references = references.astype(np.float16 if half else np.float32)
        found = match_patches(query, references, None)
        assert_equal(found, nearest_patches(query, references, None))
    assert not ranks


def test_features_without_leading_directions_are_compared_in_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ranks = compared_in_full(monkeypatch)
    query, references = drawn((8, 8), 32, 3, seed=2)
    found = match_patches(query, references, None)
    assert_equal(found, nearest_patches(query, references, None))
    assert ranks == [0, 1, 2]


def test_what_is_left_is_compared_in_full_once_too_much_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    query, references = steep((8, 8), 64, 4, seed=3)
    references[2:] = references[:2]  # copies: ties across both ways go to the first
    expected = nearest_patches(query, references, None)
    ranks = compared_in_full(monkeypatch)
    for share, left in ((0.0, [1, 2, 3]), (1.0, [])):
        monkeypatch.setattr(everywhere, "MOST_COMPARED", share)
        assert_equal(match_patches(query, references, None), expected)
        assert ranks == left
        ranks.clear()


def test_equal_patches_tie_in_both_ways(always: None, monkeypatch: pytest.MonkeyPatch) -> None:
    query, references = drawn((6, 9), 37, 1, seed=4)
    copies = np.concatenate([references] * 5)
    for share in (0.0, np.inf):
        monkeypatch.setattr(everywhere, "MOST_COMPARED", share)
        assert not match_patches(query, copies, None).neighbour.any()


@pytest.mark.parametrize("threads", [2, 3, 16])
def test_the_number_of_threads_changes_nothing(threads: int) -> None:
    query, references = steep((5, 9), 64, 5, seed=5)
    with torch_threads(1):
        expected = match_patches(query, references, None)
    with torch_threads(threads):
        assert_same(match_patches(query, references, None), expected)


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("scale", [1e-25, 1e-3, 1, 1e17])
def test_points_are_no_farther_apart_than_the_limit_of_their_patches(
    scale: float, offset: float
) -> None:
    query, references = (
        torch.from_numpy(np.float32(scale) * (values + np.float32(offset)))
        for values in steep((6, 8), 64, 1, seed=6)
    )
    axes = everywhere._leading_directions(query, references[0])
    assert axes is not None
    own, others = query.flatten(0, 1), references[0].flatten(0, 1)
    points, other_points = (everywhere._points(some, *axes) for some in (own, others))
    chunks = everywhere._chunks(other_points)
    bounds = np.empty((4, chunks.shape[2]), np.float32)
    exact = torch.cdist(
        own.double(), others.double(), compute_mode="donot_use_mm_for_euclid_dist"
    ).square()
    lengths, longest = points.double().norm(dim=1), other_points.double().norm(dim=1).max()
    for first in range(0, len(own), 4):
        everywhere._bound_distances(points[first : first + 4].numpy(), chunks[0], bounds)
        for position in range(first, first + 4):
            slack = everywhere._slack(64) * float(lengths[position] + longest)
            limits = [
                everywhere._bound_limit(distance, slack, points.shape[1])
                for distance in exact[position].tolist()
            ]
            assert (bounds[position - first] <= limits).all()


def test_points_are_nearly_as_far_apart_as_patches_where_directions_explain_most() -> None:
    query, references = (torch.from_numpy(values) for values in steep((9, 9), 64, 1, seed=7))
    axes = everywhere._leading_directions(query, references[0])
    assert axes is not None
    mean, directions = axes
    assert directions.shape[1] % 2 == 1
    assert directions.shape[1] <= 16
    torch.testing.assert_close(
        directions.T @ directions, torch.eye(directions.shape[1], dtype=torch.float64)
    )
    own, others = (
        everywhere._points(values.flatten(0, 1), mean, directions).double()
        for values in (query, references[0])
    )
    patches = torch.cdist(query.flatten(0, 1).double(), references[0].flatten(0, 1).double())
    assert (torch.cdist(own, others).square().sum() / patches.square().sum()) > 0.85


def test_features_whose_lengths_overflow_are_compared_in_full(
    always: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranks = compared_in_full(monkeypatch)
    query, references = (values * np.float32(6e37) for values in drawn((3, 3), 70, 2, seed=8))
    found = match_patches(query, references, None)
    np.testing.assert_array_equal(
        found.column, nearest_patches(query, references, None)[3].reshape(3, 3)
    )
    assert ranks == [0, 1]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_reference_must_be_finite(always: None, rank: int) -> None:
    query, references = steep((4, 4), 32, 2, seed=9)
    references[rank, 1, 3, 0] = np.inf
    with pytest.raises(ValueError, match=f"finite; those of reference {rank}"):
        match_patches(query, references, None)
