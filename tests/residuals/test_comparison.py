"""One picture against a bank: in strips as at once, and with padding that counts nowhere."""

from pathlib import Path

import numpy as np
import pytest
import torch

from adclick.residuals import comparison
from adclick.residuals.bank_rows import BankRows
from adclick.residuals.comparison import Bank, Compared, compare
from adclick.run import stored
from adclick.run.artifacts import ArraySpec, create_arrays, open_arrays

GRID, CHANNELS, LAYER1 = (12, 9), 5, 3
CPU = torch.device("cpu")


def bank_of(patches: np.ndarray, seed: int = 3) -> Bank:
    generator = np.random.default_rng(seed)
    shape = (len(patches), 2 * patches.shape[1], 2 * patches.shape[2])
    return Bank(
        patches,
        generator.random(shape).astype(np.float16),
        np.array([0.5, -0.25, 0.1], np.float32),
        np.array([0.1, 0.0, 1.0], np.float32),
    )


def picture(seed: int, grid: tuple[int, int] = GRID) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    patches = generator.standard_normal((*grid, CHANNELS)).astype(np.float32)
    return patches, generator.random((2 * grid[0], 2 * grid[1], LAYER1)).astype(np.float32)


def normals(count: int = 4, grid: tuple[int, int] = GRID) -> np.ndarray:
    return np.stack([picture(50 + index, grid)[0] for index in range(count)]).astype(np.float16)


def compared(bank: Bank, radius: float | None, content=GRID, given=None, **changes) -> Compared:
    patches, layer1 = given or picture(1)
    rows = np.arange(len(bank.patches))
    values = {"matched": rows, "joined": rows[:2], "radius": radius, "device": CPU} | changes
    return compare(patches, layer1, bank, content=content, **values)


def assert_same(one: Compared, other: Compared) -> None:
    for name, first, second in zip(Compared._fields, one, other, strict=True):
        if name == "mean_square":
            np.testing.assert_allclose(first, second, rtol=1e-12)
        else:
            np.testing.assert_array_equal(first, second, err_msg=name)


@pytest.mark.parametrize("radius", [0.0, 1.6, 3.2, None])
def test_strips_and_groups_give_what_the_whole_gives(
    radius: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = bank_of(normals())
    whole = compared(bank, radius)
    monkeypatch.setattr(comparison, "MATCHED_BYTES", 1)
    monkeypatch.setattr(comparison, "LEAST_STRIP", 2)
    assert_same(compared(bank, radius), whole)


def test_memory_for_the_matched_images_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    class Watched:
        def __init__(self, array: np.ndarray) -> None:
            self.held, self.shape, self.dtype, self.rows = array, array.shape, array.dtype, 0

        def __len__(self) -> int:
            return len(self.held)

        def __getitem__(self, key):
            self.rows = max(self.rows, len(self.held[key]))
            return self.held[key]

    bank = bank_of(normals())
    row_bytes = 2 * GRID[1] * CHANNELS
    monkeypatch.setattr(comparison, "MATCHED_BYTES", 4 * row_bytes * 6)
    monkeypatch.setattr(comparison, "LEAST_STRIP", 1)
    watched = Watched(bank.patches)
    compared(Bank(watched, bank.foreground, bank.weight, bank.numbers), 1.6)
    assert watched.rows <= 6


def test_a_large_bank_is_read_once_for_its_sums_and_once_for_its_strips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were a whole picture read for every strip, time would grow with the square of the area."""
    grid = (60, GRID[1])
    normal, given = normals(3, grid), picture(1, grid)
    specs = {"patches": ArraySpec(normal.shape[1:], "float16")}
    with create_arrays(tmp_path / "b.h5", image_ids=["a", "b", "c"], specs=specs, stamp={}) as file:
        for row, values in enumerate(normal):
            file["patches"][row] = values
    bank, read = bank_of(normal), []
    before = stored._read_into
    monkeypatch.setattr(
        stored,
        "_read_into",
        lambda buffers, *at: read.append(sum(map(len, buffers))) or before(buffers, *at),
    )
    monkeypatch.setattr(stored, "LARGE_BYTES", 1)
    monkeypatch.setattr(comparison, "MATCHED_BYTES", 1)
    whole = compared(bank, 1.6, grid, given)
    with open_arrays(tmp_path / "b.h5") as file:
        rows = BankRows(file["patches"], CPU, most_bytes=0)
        strips = compared(Bank(rows, bank.foreground, bank.weight, bank.numbers), 1.6, grid, given)
    assert_same(strips, whole)
    assert len(read) > 3 * 7
    assert sum(read) < 2.5 * normal.nbytes


@pytest.mark.parametrize("radius", [0.0, 1.6, 3.2, None])
@pytest.mark.parametrize("missing", [(1, 0), (0, 4), (5, 3)])
def test_padding_counts_nowhere(radius: float | None, missing: tuple[int, int]) -> None:
    content = (GRID[0] - missing[0], GRID[1] - missing[1])
    own = (slice(None, content[0]), slice(None, content[1]))
    wild = [np.pad(normals(4, content)[i], [(0, missing[0]), (0, missing[1]), (0, 0)], mode="edge")
            for i in range(4)]  # fmt: skip
    patches, layer1 = picture(1, content)
    framed_patches = np.full((*GRID, CHANNELS), 7, np.float32)
    framed_patches[own] = patches
    framed_layer1 = np.full((2 * GRID[0], 2 * GRID[1], LAYER1), 7, np.float32)
    framed_layer1[: 2 * content[0], : 2 * content[1]] = layer1
    bare, framed = bank_of(normals(4, content)), bank_of(np.stack(wild))
    inside = np.s_[:, : 2 * content[0], : 2 * content[1]]
    framed.foreground[:] = 0
    framed.foreground[inside] = bare.foreground
    expected = compared(bare, radius, content, given=(patches, layer1))
    found = compared(framed, radius, content, given=(framed_patches, framed_layer1))
    for name in ("residuals", "lengths", "foreground", "patches"):
        array = getattr(found, name)
        np.testing.assert_array_equal(array[own], getattr(expected, name), err_msg=name)
        if name != "patches":
            beyond = array.astype(bool)
            beyond[own] = False
            assert not beyond.any(), name
    np.testing.assert_allclose(found.mean_square, expected.mean_square, rtol=1e-6)


def test_a_place_that_normal_pictures_do_not_have_is_matched_with_their_edge() -> None:
    smaller = normals(3, (12, 6))
    patches, layer1 = picture(1)
    patches[:, 6:] = smaller[1][:, 5:6]
    found = compared(bank_of(smaller), 0.0, given=(patches, layer1))
    assert (found.lengths[:, 6:] == 0).all()
    assert (found.lengths[:, :5] > 0).all()


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def compared_on(device: str) -> Compared:
    random = np.random.default_rng(0)
    patches = random.normal(size=(6, 8, 8, 16)).astype(np.float16)
    bank = Bank(
        patches,
        random.uniform(size=(6, 16, 16)).astype(np.float16),
        random.normal(size=4).astype(np.float32),
        np.array([0.0, -3.0, 3.0], np.float32),
    )
    return compare(
        random.normal(size=(8, 8, 16)).astype(np.float32),
        random.normal(size=(16, 16, 4)).astype(np.float32),
        bank,
        matched=np.array([4, 0, 2]),
        joined=np.array([4, 0]),
        radius=1.6,
        device=torch.device(device),
    )


def test_lengths_and_squares_are_the_residuals() -> None:
    found = compared_on("cpu")
    signed = found.residuals.astype(np.float64)
    np.testing.assert_allclose(found.lengths, np.sqrt((signed**2).sum(axis=2)), rtol=1e-3)
    np.testing.assert_allclose(found.mean_square, (signed**2).mean(axis=(0, 1)), rtol=1e-3)


@pytest.mark.parametrize(
    "where", ["its sums", pytest.param("cuda", marks=[pytest.mark.gpu, needs_gpu])]
)
def test_a_gpu_compares_as_a_processor_does(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a processor only the way in which a GPU sums."""
    expected = compared_on("cpu")
    if where != "cuda":
        monkeypatch.setattr(comparison, "_summed_here", comparison._summed)
    found = compared_on("cuda" if where == "cuda" else "cpu")
    for name, values in expected._asdict().items():
        assert getattr(found, name).dtype == values.dtype, name
        np.testing.assert_allclose(getattr(found, name), values, rtol=2e-3, atol=1e-3)
