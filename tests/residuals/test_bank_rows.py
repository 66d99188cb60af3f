from pathlib import Path

import numpy as np
import pytest
import torch

from adclick.residuals.bank_rows import BankRows, stacked
from adclick.run.artifacts import ArraySpec, create_arrays, open_arrays

CPU = torch.device("cpu")
SHAPE = (4, 6, 5)
ROW_BYTES = 4 * 6 * 5 * 2


@pytest.fixture
def bank(tmp_path: Path) -> tuple[Path, np.ndarray]:
    rows = np.random.default_rng(0).normal(size=(5, *SHAPE)).astype(np.float16)
    specs = {"patches": ArraySpec(SHAPE, "float16")}
    with create_arrays(tmp_path / "f.h5", image_ids=list("abcde"), specs=specs, stamp={}) as file:
        file["patches"][:] = rows
    return tmp_path / "f.h5", rows


@pytest.mark.parametrize("most_bytes", [None, 0, 2 * ROW_BYTES, 10**9])
def test_rows_are_those_of_the_bank_however_many_are_kept(
    most_bytes: int | None, bank: tuple[Path, np.ndarray]
) -> None:
    path, rows = bank
    asked = [3, 1, 3, 4, 0, 2, 3, 3, 1]
    with open_arrays(path) as file:
        found = BankRows(file["patches"], CPU, most_bytes=most_bytes)
        assert len(found) == 5 and found.shape == rows.shape
        for row in asked:
            assert np.array_equal(found[row].numpy(), rows[row])
        assert np.array_equal(stacked(found, np.array(asked), CPU).numpy(), rows[asked])


def test_what_is_kept_is_not_read_again_and_the_oldest_goes_first(
    bank: tuple[Path, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_arrays(bank[0]) as file:
        found = BankRows(file["patches"], CPU, most_bytes=2 * ROW_BYTES)
        read = found._rows.__class__.__getitem__
        seen: list[int] = []
        monkeypatch.setattr(
            type(found._rows), "__getitem__", lambda rows, row: seen.append(row) or read(rows, row)
        )
        for row in (0, 1, 0, 2, 0, 1):
            found[row]
    assert seen == [0, 1, 2, 1]
