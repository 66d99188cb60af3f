from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from adclick import matching
from adclick.matching import Matches, match_in_bank, match_patches, residual
from tests.reference.matching import nearest_patches

RADII = (0, 1, 1.6, 2, 3.2, 4, 5, None)


def features(kind: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A query and references of a random small shape, ordinary or awkward in some way."""
    height, width, channels = random.integers(1, (4, 10, 6))
    query = random.normal(size=(height, width, channels))
    references = random.normal(size=(random.integers(1, 4), height, width, channels))
    if kind == 1:  # whole numbers: many exact ties
        query, references = np.round(query), np.round(references)
    if kind == 2:  # constant features: everything ties
        query, references = np.ones_like(query), np.full_like(references, 3)
    if kind == 3:  # a huge common offset
        query, references = query + 1e5, references + 1e5
    if kind == 4:  # copies of one reference
        references[:] = references[0]
    if kind == 5:  # candidates that differ in the last digits only
        references = query[0, 0] + 10 + 1e-5 * references
    return query.astype(np.float32), references.astype(np.float32)


def assert_equal_to_brute_force(
    found: Matches, query: np.ndarray, references: np.ndarray, radius
) -> None:
    distance, neighbour, row, column = nearest_patches(query, references, radius)
    np.testing.assert_array_equal(found.neighbour, neighbour)
    np.testing.assert_array_equal(found.row, row)
    np.testing.assert_array_equal(found.column, column)
    np.testing.assert_allclose(found.squared_distance, distance, rtol=1e-6, atol=0)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles, products and shortlists so small that small grids need several."""
    monkeypatch.setattr(matching, "TILE", 2)
    monkeypatch.setattr(matching, "PRODUCT_CHANNELS", 2)
    monkeypatch.setattr(matching, "SHORTLIST", 3)
    monkeypatch.setattr(matching, "BLOCK_VALUES", 20)


def test_the_nearest_patch_within_the_radius_is_found_by_hand() -> None:
    query = np.array([[[0.0], [5.0], [9.0]]], np.float32)
    references = np.array([[[[4.0], [1.0], [0.0]]], [[[2.0], [8.0], [5.5]]]], np.float32)
    found = match_patches(query, references, 1)
    assert found.neighbour.tolist() == [[0, 1, 1]]
    assert found.column.tolist() == [[1, 2, 1]]
    assert found.row.tolist() == [[0, 0, 0]]
    assert found.squared_distance.tolist() == [[1, 0.25, 1]]
    assert match_patches(query, references, 0).squared_distance.tolist() == [[4, 9, 12.25]]
    assert match_patches(query, references, None).column.tolist() == [[2, 2, 1]]


@pytest.mark.parametrize("radius", RADII)
def test_matches_equal_float64_brute_force(radius: float | None, small_parts: None) -> None:
    random = np.random.default_rng(0)
    for case in range(26):
        query, references = features(case % 6, random)
        assert_equal_to_brute_force(
            match_patches(query, references, radius), query, references, radius
        )


@pytest.mark.parametrize(
    ("radius", "grid"), [(3.2, (9, 21)), (1.6, (5, 64)), (None, (6, 11)), (20, (4, 13))]
)
def test_larger_grids_equal_brute_force_too(radius: float | None, grid: tuple[int, int]) -> None:
    random = np.random.default_rng(1)
    query = random.normal(size=(*grid, 4)).astype(np.float32)
    references = random.normal(size=(2, *grid, 4)).astype(np.float32)
    assert_equal_to_brute_force(match_patches(query, references, radius), query, references, radius)


def test_ties_go_to_the_first_neighbour_then_the_first_position() -> None:
    found = match_patches(np.ones((4, 4, 2), np.float32), np.zeros((3, 4, 4, 2), np.float32), 1)
    assert not found.neighbour.any()
    assert found.row.tolist() == [[max(0, row - 1)] * 4 for row in range(4)]
    assert found.column.tolist() == [[0, 0, 1, 2], *[[0, 1, 2, 3]] * 3]


def test_a_common_shift_changes_no_match() -> None:
    random = np.random.default_rng(2)
    query = random.integers(-8, 9, (6, 12, 5)).astype(np.float32)
    references = random.integers(-8, 9, (3, 6, 12, 5)).astype(np.float32)
    one, other = (match_patches(query + shift, references + shift, 3.2) for shift in (0, 2**20))
    for field in ("squared_distance", "neighbour", "row", "column"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


def test_a_wider_radius_never_finds_a_farther_patch() -> None:
    random = np.random.default_rng(3)
    query, references = random.normal(size=(8, 8, 3)), random.normal(size=(2, 8, 8, 3))
    distances = [
        match_patches(
            query.astype(np.float32), references.astype(np.float32), radius
        ).squared_distance
        for radius in RADII
    ]
    assert all(
        (nearer <= farther).all() for farther, nearer in zip(distances, distances[1:], strict=False)
    )


def test_a_bank_gives_the_same_whatever_holds_it(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    bank = random.normal(size=(6, 7, 12, 5)).astype(np.float16)
    query, ids = random.normal(size=(7, 12, 5)).astype(np.float32), np.array([4, 1, 5])
    frozen = bank.copy()
    frozen.flags.writeable = False
    expected = match_patches(query, bank[ids].astype(np.float32), 3.2)
    with h5py.File(tmp_path / "bank.h5", "w") as file:
        stored = file.create_dataset("patches", data=bank)
        for held in (bank, frozen, bank.astype(np.float64), stored, torch.from_numpy(bank)):
            found = match_in_bank(query, held, ids, 3.2)
            difference = residual(query, held, found, ids)
            for field in ("squared_distance", "neighbour", "row", "column"):
                np.testing.assert_array_equal(getattr(found, field), getattr(expected, field))
            np.testing.assert_array_equal(
                difference, residual(query, bank[ids], expected, range(3))
            )


def test_tensors_are_answered_by_tensors_and_arrays_by_arrays() -> None:
    query, references = np.zeros((2, 3, 1), np.float32), np.ones((1, 2, 3, 1), np.float32)
    as_array = match_patches(query, references, 1)
    as_tensor = match_patches(torch.from_numpy(query), references, 1)
    assert isinstance(as_array.row, np.ndarray)
    assert isinstance(as_tensor.row, torch.Tensor)
    assert isinstance(residual(query, references, as_tensor, [0]), np.ndarray)
    assert isinstance(residual(torch.from_numpy(query), references, as_array, [0]), torch.Tensor)


def test_the_residual_is_the_reference_minus_the_query() -> None:
    query = np.array([[[1.0, 5.0]]], np.float32)
    bank = np.array([[[[9.0, 9.0]]], [[[3.0, 4.0]]]], np.float32)
    found = match_in_bank(query, bank, [0, 1], None)
    assert found.neighbour.tolist() == [[1]]
    assert residual(query, bank, found, [0, 1]).tolist() == [[[2, -1]]]


def test_the_squared_residual_adds_up_to_the_squared_distance() -> None:
    random = np.random.default_rng(5)
    query, bank = random.normal(size=(6, 9, 4)), random.normal(size=(5, 6, 9, 4))
    query, bank, ids = query.astype(np.float32), bank.astype(np.float32), [3, 0]
    found = match_in_bank(query, bank, ids, 2)
    total = np.square(residual(query, bank, found, ids)).sum(axis=2)
    np.testing.assert_allclose(total, found.squared_distance, rtol=1e-5)


def test_ordinary_features_need_no_comparison_with_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(matching, "_nearest_of_all")
    random = np.random.default_rng(6)
    query = 50 + random.normal(size=(16, 16, 64)).astype(np.float32)
    references = 50 + random.normal(size=(10, 16, 16, 64)).astype(np.float32)
    assert match_patches(query, references, 3.2).squared_distance.max() < 128


@pytest.mark.parametrize("scale", [1e-25, 1e-3, 1, 1e20])
def test_no_scale_of_features_loses_the_nearest(scale: float) -> None:
    random = np.random.default_rng(7)
    query = (scale * random.normal(size=(4, 11, 3))).astype(np.float32)
    references = (scale * random.normal(size=(2, 4, 11, 3))).astype(np.float32)
    found = match_patches(query, references, 1)
    _, neighbour, row, column = nearest_patches(query, references, 1)
    np.testing.assert_array_equal(
        [found.neighbour, found.row, found.column], [neighbour, row, column]
    )


def test_error_bounds_hold() -> None:
    generator = torch.Generator().manual_seed(8)
    query = 30 + torch.randn(3, 20, 700, generator=generator)
    references = list(30 + torch.randn(4, 3, 20, 700, generator=generator))
    tiling = matching._tiling(query, 3.2)
    patches = torch.zeros(24 + 6, 4, 700)
    centre = matching._read_row(references, 1, patches[3:23])
    queries = torch.nn.functional.pad(query, (0, 0, 0, 4)) - centre
    distances, error = matching._distance_bounds(queries, patches, tiling, -1)
    candidates = torch.stack([patches[8 * tile : 8 * tile + 14].flatten(0, 1) for tile in range(3)])
    own = queries.unflatten(1, (3, 8)).transpose(0, 1)
    exact = (own[..., None, :].double() - candidates[:, None, None].double()).square().sum(dim=-1)
    near = torch.isfinite(distances)
    assert near.any()
    off = (distances - exact).abs()
    assert (off <= error[..., None])[near].all()
    assert error.max() < 1e-3 * exact.max()


def test_shortcuts_of_training_are_off_while_matching_and_on_again_after() -> None:
    random = np.random.default_rng(9)
    query = random.normal(size=(12, 12, 2)).astype(np.float32)
    references = random.normal(size=(9, 12, 12, 2)).astype(np.float32)
    expected = match_patches(query, references, 3.2)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = match_patches(query, references, 3.2)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    np.testing.assert_array_equal(found.neighbour, expected.neighbour)
    np.testing.assert_array_equal(found.squared_distance, expected.squared_distance)


@pytest.mark.parametrize("place", ["query", "references"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_must_be_finite(place: str, value: float) -> None:
    arrays = {
        "query": np.zeros((3, 12, 2), np.float32),
        "references": np.zeros((2, 3, 12, 2), np.float32),
    }
    arrays[place][..., 1, 3, 0] = value
    with pytest.raises(ValueError, match="finite"):
        match_patches(arrays["query"], arrays["references"], 1)


def test_what_does_not_fit_is_refused() -> None:
    query, bank = np.zeros((2, 3, 1), np.float32), np.zeros((2, 2, 3, 1), np.float32)
    with pytest.raises(ValueError, match="image ids"):
        match_in_bank(query, bank, [0, 2], 1)
    with pytest.raises(ValueError, match="image ids"):
        match_in_bank(query, bank, [-1], 1)
    with pytest.raises(ValueError, match="one or more"):
        match_in_bank(query, bank, [], 1)
    with pytest.raises(ValueError, match="radius"):
        match_in_bank(query, bank, [0], -1)
    with pytest.raises(ValueError, match="radius"):
        match_in_bank(query, bank, [0], float("nan"))
