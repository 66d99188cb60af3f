from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from adclick.residuals.matching import matrix_products, nearby, search
from adclick.residuals.matching.search import Matches, match_in_bank, match_patches
from adclick.residuals.residual import residual
from adclick.run import compiled
from tests.residuals.matching.reference import nearest_patches

RADII = (0, 1, 1.6, 2, 3.2, 4, 5, None)
FIELDS = ("squared_distance", "neighbour", "row", "column")


@pytest.fixture(params=["compiled", "products"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of matching: the compiled loop of the CPU, and the matrix products of a GPU."""
    if request.param == "products":
        monkeypatch.setattr(search, "_suits_kernel", lambda features: False)


both_ways = pytest.mark.usefixtures("way")


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def drawn(
    grid: tuple[int, int], channels: int, neighbours: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """A query and references of normally distributed features."""
    random = np.random.default_rng(seed)
    query = random.normal(size=(*grid, channels))
    references = random.normal(size=(neighbours, *grid, channels))
    return query.astype(np.float32), references.astype(np.float32)


def case(number: int) -> tuple[np.ndarray, np.ndarray, float | None]:
    """A query, references and a radius, random and small, awkward in one of several ways."""
    random = np.random.default_rng(number)
    grid = random.integers(1, 13, 2)
    channels, neighbours = random.choice([1, 2, 5, 16, 33, 70]), random.integers(1, 4)
    query = random.normal(size=(*grid, channels))
    references = random.normal(size=(neighbours, *grid, channels))
    kind, kept = number % 8, np.float16 if number // 8 % 2 else np.float32
    if kind == 1:  # whole numbers: many exact ties
        query, references = np.round(query), np.round(references)
    if kind == 2:  # constant features: everything ties
        query, references = np.ones_like(query), np.full_like(references, 3)
    if kind == 3:  # a huge common offset
        offset = 1e5 if kept == np.float32 else 1e3
        query, references = query + offset, references + offset
    if kind == 4:  # copies of one reference
        references[:] = references[0]
    if kind == 5:  # candidates that differ in the last digits only
        references = query[0, 0] + 10 + 1e-5 * references
    if kind == 6:  # the query itself, later than another image
        references[-1] = query
    return query.astype(np.float32), references.astype(kept), RADII[number // 16 % len(RADII)]


def assert_same(found: Matches, expected: Matches) -> None:
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(found, field), getattr(expected, field), field)


def assert_equal(found: Matches, expected: tuple[np.ndarray, ...], message: str = "") -> None:
    for field, values in zip(FIELDS[1:], expected[1:], strict=True):
        np.testing.assert_array_equal(getattr(found, field), values, f"{message} {field}")
    np.testing.assert_allclose(found.squared_distance, expected[0], 1e-6, err_msg=message)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles, products and shortlists so small that small grids need several."""
    monkeypatch.setattr(matrix_products, "TILE", 2)
    monkeypatch.setattr(matrix_products, "PRODUCT_CHANNELS", 2)
    monkeypatch.setattr(matrix_products, "SHORTLIST", 3)
    monkeypatch.setattr(matrix_products, "BLOCK_VALUES", 20)


@both_ways
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


def test_matches_equal_float64_brute_force(
    small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    suits = search._suits_kernel
    for number in range(200):
        query, references, radius = case(number)
        expected = nearest_patches(query, references, radius)
        for way in (suits, lambda features: False):
            monkeypatch.setattr(search, "_suits_kernel", way)
            assert_equal(match_patches(query, references, radius), expected, f"case {number}")


@both_ways
@pytest.mark.parametrize(
    ("radius", "grid"), [(3.2, (9, 21)), (1.6, (5, 64)), (None, (6, 11)), (20, (4, 13))]
)
def test_larger_grids_equal_brute_force_too(radius: float | None, grid: tuple[int, int]) -> None:
    query, references = drawn(grid, 4, 2, seed=1)
    expected = nearest_patches(query, references, radius)
    assert_equal(match_patches(query, references, radius), expected)


@both_ways
def test_ties_go_to_the_first_neighbour_then_the_first_position() -> None:
    found = match_patches(np.ones((4, 4, 2), np.float32), np.zeros((3, 4, 4, 2), np.float32), 1)
    assert not found.neighbour.any()
    assert found.row.tolist() == [[max(0, row - 1)] * 4 for row in range(4)]
    assert found.column.tolist() == [[0, 0, 1, 2], *[[0, 1, 2, 3]] * 3]


@both_ways
def test_a_common_shift_changes_no_match() -> None:
    random = np.random.default_rng(2)
    query = random.integers(-8, 9, (6, 12, 5)).astype(np.float32)
    references = random.integers(-8, 9, (3, 6, 12, 5)).astype(np.float32)
    one, other = (match_patches(query + shift, references + shift, 3.2) for shift in (0, 2**20))
    assert_same(one, other)


@both_ways
def test_a_wider_radius_never_finds_a_farther_patch() -> None:
    query, references = drawn((8, 8), 3, 2, seed=3)
    distances = [match_patches(query, references, radius).squared_distance for radius in RADII]
    assert all(
        (nearer <= farther).all() for farther, nearer in zip(distances, distances[1:], strict=False)
    )


@both_ways
@pytest.mark.parametrize("radius", RADII)
def test_no_match_is_farther_than_the_radius(radius: float | None) -> None:
    grid = (9, 14)
    query, references = drawn(grid, 2, 4, seed=10)
    found = match_patches(query, references, radius)
    rows, columns = np.indices(grid)
    farthest = ((found.row - rows) ** 2 + (found.column - columns) ** 2).max()
    assert farthest <= (np.inf if radius is None else radius**2)
    assert farthest > 0 or radius == 0


@both_ways
def test_the_order_of_references_changes_their_ranks_only() -> None:
    query, references = drawn((10, 7), 5, 6, seed=11)
    order = np.random.default_rng(11).permutation(6)
    found = match_patches(query, references, 3.2)
    other = match_patches(query, references[order], 3.2)
    assert_same(replace(other, neighbour=order[other.neighbour]), found)


@both_ways
def test_one_more_reference_increases_no_distance() -> None:
    query, references = drawn((9, 9), 3, 6, seed=12)
    counts = range(1, 7)
    distances = [match_patches(query, references[:count], 2).squared_distance for count in counts]
    assert (np.diff(distances, axis=0) <= 0).all()
    assert (distances[-1] < distances[0]).any()


@pytest.mark.parametrize("radius", [3.2, None])
@pytest.mark.parametrize("rows", [1, 2, 13])
def test_the_number_of_threads_changes_nothing(rows: int, radius: float | None) -> None:
    query, references = (np.round(values) for values in drawn((rows, 9), 2, 5, seed=13))
    with torch_threads(1):
        expected = match_patches(query, references, radius)
    for threads in (2, 3, 16):
        with torch_threads(threads):
            assert_same(match_patches(query, references, radius), expected)


@both_ways
def test_a_bank_gives_the_same_whatever_holds_it(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    bank = random.normal(size=(6, 7, 12, 5)).astype(np.float16)
    query, ids = random.normal(size=(7, 12, 5)).astype(np.float32), np.array([4, 1, 5])
    frozen = bank.copy()
    frozen.flags.writeable = False
    expected = match_patches(query, bank[ids].astype(np.float32), 3.2)
    with h5py.File(tmp_path / "bank.h5", "w") as file:
        stored = file.create_dataset("patches", data=bank)
        tensor = torch.from_numpy(bank)
        channels_first = tensor.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
        for held in (bank, frozen, bank.astype(np.float64), stored, tensor, channels_first):
            found = match_in_bank(query, held, ids, 3.2)
            difference = residual(query, held, found, ids)
            assert_same(found, expected)
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


def test_small_residuals_survive_half_precision_and_squaring() -> None:
    query, _ = drawn((5, 6), 8, 1, seed=14)
    bank = (query + np.float32(1e-4))[None]
    found = match_in_bank(query, bank, [0], 0)
    stored = residual(query, bank, found, [0]).astype(np.float16)
    squares = np.square(stored.astype(np.float32))
    assert squares.min() > 0
    np.testing.assert_allclose(squares.sum(axis=2), found.squared_distance, rtol=2e-3)


def test_the_compiled_loop_is_used_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(search, "nearest_by_products")
    query, references = drawn((3, 4), 2, 2, seed=15)
    for kept in (np.float16, np.float32):
        assert match_patches(query, references.astype(kept), 1).row.shape == (3, 4)


def test_a_loop_that_cannot_be_kept_is_compiled_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def njit(function, cache=False, **_):
        if cache:
            raise RuntimeError("cannot cache function")
        return function

    monkeypatch.setattr(compiled.numba, "njit", njit)
    assert compiled.compiled(len) is len


def test_half_precision_is_read_exactly() -> None:
    bits = np.arange(2**16, dtype=np.uint16).reshape(64, 1, 1024)
    expected = bits.view(np.float16).astype(np.float32)
    patches = np.zeros((1, 1024), np.float32)
    for row, values in zip(bits, expected, strict=True):
        finite = np.isfinite(values).all()
        assert nearby.read_patches(row, patches) == finite
        if finite:
            np.testing.assert_array_equal(patches.view(np.uint32), values.view(np.uint32))


@pytest.mark.parametrize("channels", [1, 15, 700])
@pytest.mark.parametrize("scale", [1e-23, 1, 1e17])
def test_no_float32_sum_is_above_the_limit_of_its_distance(channels: int, scale: float) -> None:
    scaled = (np.float32(scale) * (30 + values) for values in drawn((2, 2), channels, 99, seed=17))
    query, references = scaled
    for reference in references[:, 0]:
        squares = nearby._squared_distances(query, reference, (0, 1, 0, 1, 0, 1))
        difference = query.reshape(4, 1, channels).astype(float) - reference.astype(float)
        exact = np.square(difference).sum(axis=2).ravel()
        limits = np.array([nearby.limit_of(distance, channels) for distance in exact])
        assert (squares <= limits).all()
        assert (limits <= exact * 1.0001 + 1e-34).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("radius", [3.2, None])
def test_a_gpu_finds_the_same_as_the_cpu(radius: float | None) -> None:
    query, references = (torch.from_numpy(values) for values in drawn((16, 20), 96, 6, seed=18))
    for bank in (references, references.half(), references.round()):
        found = match_patches(query.round(), bank, radius)
        other = match_patches(query.round().cuda(), bank.cuda(), radius)
        assert_same(Matches(*(getattr(other, field).cpu() for field in FIELDS)), found)


def test_ordinary_features_need_no_comparison_with_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_suits_kernel", lambda features: False)
    monkeypatch.delattr(matrix_products, "_nearest_of_all")
    random = np.random.default_rng(6)
    query = 50 + random.normal(size=(16, 16, 64)).astype(np.float32)
    references = 50 + random.normal(size=(10, 16, 16, 64)).astype(np.float32)
    assert match_patches(query, references, 3.2).squared_distance.max() < 128


@both_ways
@pytest.mark.parametrize("scale", [1e-25, 1e-3, 1, 1e20])
def test_no_scale_of_features_loses_the_nearest(scale: float) -> None:
    query, references = (scale * values for values in drawn((4, 11), 3, 2, seed=7))
    found = match_patches(query, references, 1)
    for field, values in zip(FIELDS[1:], nearest_patches(query, references, 1)[1:], strict=True):
        np.testing.assert_array_equal(getattr(found, field), values)


def test_error_bounds_of_products_hold() -> None:
    generator = torch.Generator().manual_seed(8)
    query = 30 + torch.randn(3, 20, 700, generator=generator)
    references = list(30 + torch.randn(4, 3, 20, 700, generator=generator))
    tiling = matrix_products._tiling(query, 3.2)
    patches = torch.zeros(24 + 6, 4, 700)
    centre = matrix_products._read_row(references, 1, patches[3:23])
    queries = torch.nn.functional.pad(query, (0, 0, 0, 4)) - centre
    distances, error = matrix_products._distance_bounds(queries, patches, tiling, -1)
    candidates = torch.stack([patches[8 * tile : 8 * tile + 14].flatten(0, 1) for tile in range(3)])
    own = queries.unflatten(1, (3, 8)).transpose(0, 1)
    exact = (own[..., None, :].double() - candidates[:, None, None].double()).square().sum(dim=-1)
    near = torch.isfinite(distances)
    assert near.any()
    off = (distances - exact).abs()
    assert (off <= error[..., None])[near].all()
    assert error.max() < 1e-3 * exact.max()


@both_ways
def test_shortcuts_of_training_are_off_while_matching_and_on_again_after() -> None:
    query, references = drawn((12, 12), 2, 9, seed=9)
    expected = match_patches(query, references, 3.2)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = match_patches(query, references, 3.2)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert_same(found, expected)


@both_ways
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


@both_ways
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
