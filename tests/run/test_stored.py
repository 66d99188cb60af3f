"""Rows read past HDF5 are HDF5's rows, or none."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest

from adclick.run import artifacts, stored
from adclick.run.artifacts import ArraySpec, create_arrays, open_arrays
from adclick.run.stored import StoredRows

IDS = ["a", "b", "c"]


def write(path: Path, rows: np.ndarray) -> None:
    specs = {"values": ArraySpec(rows.shape[1:], rows.dtype.name)}
    with create_arrays(path, image_ids=IDS[: len(rows)], specs=specs, stamp={}) as file:
        for index, row in enumerate(rows):
            file["values"][index] = row


def drawn(kind: str, size: int, dtype: str) -> np.ndarray:
    count = size * np.dtype(dtype).itemsize
    bytes_of = {
        "random": np.random.default_rng(size).integers(0, 256, (3, count), dtype=np.uint8),
        "zero": np.zeros((3, count), np.uint8),
        "full": np.full((3, count), 255, np.uint8),
    }
    return bytes_of[kind].view(dtype)


@pytest.mark.parametrize("kind", ["random", "zero", "full"])
@pytest.mark.parametrize(
    ("size", "dtype"),
    [
        (1, "uint8"),
        (7, "uint8"),
        (20_001, "uint8"),
        (9, "float16"),
        (8193, "float16"),
        (3, "int32"),
    ],
)
def test_rows_are_those_of_hdf5_whatever_their_bytes(
    kind: str, size: int, dtype: str, tmp_path: Path
) -> None:
    rows = drawn(kind, size, dtype)
    write(tmp_path / "a.h5", rows)
    with open_arrays(tmp_path / "a.h5") as file:
        found = StoredRows(file["values"])
        assert found._descriptor >= 0 and len(found) == 3 and found.shape == rows.shape
        for index in (0, 1, 2, -1):
            assert found[index].tobytes() == rows[index].tobytes()
            assert found[index].dtype == rows.dtype
        with pytest.raises(IndexError):
            found[3]


@pytest.mark.parametrize("place", [0, 1, 2000, -1])
def test_a_flipped_bit_is_told(place: int, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(3, 30, 40)).astype(np.float16)
    write(tmp_path / "a.h5", rows)
    with h5py.File(tmp_path / "a.h5") as file:
        info = file["values"].id.get_chunk_info_by_coord((1, 0, 0))
    content = bytearray((tmp_path / "a.h5").read_bytes())
    content[info.byte_offset + (place % info.size)] ^= 16
    (tmp_path / "a.h5").write_bytes(content)
    with open_arrays(tmp_path / "a.h5") as file:
        found = StoredRows(file["values"])
        assert np.array_equal(found[0], rows[0]) and np.array_equal(found[2], rows[2])
        with pytest.raises(OSError, match=r"a\.h5: row 1 of /values is damaged"):
            found[1]


def test_arrays_that_are_stored_otherwise_are_read_by_hdf5(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(3, 8, 8)).astype(np.float32)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, how in {
            "packed": {"chunks": (1, 8, 8), "compression": "gzip"},
            "halves": {"chunks": (1, 8, 4), "fletcher32": True},
            "plain": {},
        }.items():
            file.create_dataset(name, data=rows, **how)
        file.create_dataset("unwritten", (3, 8), "u1", chunks=(1, 8), fletcher32=True, fillvalue=7)
    with h5py.File(tmp_path / "a.h5") as file:
        for name in ("packed", "halves", "plain"):
            found = StoredRows(file[name])
            assert found._descriptor < 0
            assert np.array_equal(found[1], rows[1])
        assert (StoredRows(file["unwritten"])[1] == 7).all()


def test_many_threads_read_at_once(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (3, 500, 300), dtype=np.uint8)
    write(tmp_path / "a.h5", rows)
    with open_arrays(tmp_path / "a.h5") as file, ThreadPoolExecutor(8) as pool:
        found = StoredRows(file["values"])
        asked = [0, 1, 2] * 40
        for index, row in zip(asked, pool.map(found.__getitem__, asked), strict=True):
            assert np.array_equal(row, rows[index])


def test_of_a_large_row_the_lines_of_a_window_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(0).random((3, 20, 9, 4)).astype(np.float16)
    write(tmp_path / "rows.h5", values)
    with open_arrays(tmp_path / "rows.h5") as file:
        rows = StoredRows(file["values"])
        assert isinstance(rows.lazily(0), np.ndarray)  # small: read and checked as a whole
        monkeypatch.setattr(stored, "LARGE_BYTES", 100)
        row = stored.lazily(rows, 1)
        assert (len(row), row.shape) == (20, (20, 9, 4))
        read: list[int] = []
        before = stored._read_into
        monkeypatch.setattr(
            stored,
            "_read_into",
            lambda buffers, *at: read.append(sum(map(len, buffers))) or before(buffers, *at),
        )
        assert np.array_equal(row[5:12, 3:7], values[1, 5:12, 3:7])
        assert np.array_equal(rows.lazily(1)[5:6, :], values[1, 5:6])
        assert read == [20 * 9 * 4 * 2 + 4, 9 * 4 * 2]  # all of it once, for its sum
        assert np.array_equal(row[15:40, :], values[1, 15:])
        assert row[25:40, :].shape == (0, 9, 4)
        assert np.array_equal(np.asarray(row), values[1])
        assert np.array_equal(stored.lazily(values, 2), values[2])


@pytest.mark.parametrize("width", [9, 4])
def test_large_rows_lie_in_bands(
    width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "LARGE_ENTRY", 50)
    monkeypatch.setattr(artifacts, "LARGE_CHUNK", 5 * width)
    monkeypatch.setattr(stored, "LARGE_BYTES", 50)
    values = np.random.default_rng(0).integers(0, 256, (3, 23, width), dtype=np.uint8)
    write(tmp_path / "rows.h5", values)
    with open_arrays(tmp_path / "rows.h5") as file:
        assert file["values"].chunks == (1, 5, width)
        rows = StoredRows(file["values"])
        assert rows._descriptor >= 0
        for first, last in [(0, 23), (3, 4), (4, 11), (21, 30), (22, 22)]:
            for index in (0, 2):
                assert np.array_equal(
                    rows.lazily(index)[first:last, 1:3], values[index, first:last, 1:3]
                )
                fresh = StoredRows(file["values"]).lazily(index)
                assert np.array_equal(fresh[first:last, :], values[index, first:last])
        assert np.array_equal(rows[1], values[1]) and np.array_equal(rows[-1], values[2])
        info = file["values"].id.get_chunk_info_by_coord((1, 20, 0))
    content = bytearray((tmp_path / "rows.h5").read_bytes())
    content[info.byte_offset + 1] ^= 1
    (tmp_path / "rows.h5").write_bytes(content)
    with open_arrays(tmp_path / "rows.h5") as file:
        row = StoredRows(file["values"]).lazily(1)
        assert np.array_equal(row[:20, :], values[1, :20])
        with pytest.raises(OSError, match="row 1 of /values is damaged"):
            row[19:21, :]


def test_damage_of_a_large_row_is_told_before_its_first_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(0).random((3, 20, 9, 4)).astype(np.float16)
    write(tmp_path / "rows.h5", values)
    with h5py.File(tmp_path / "rows.h5") as file:
        info = file["values"].id.get_chunk_info_by_coord((1, 0, 0, 0))
    content = bytearray((tmp_path / "rows.h5").read_bytes())
    content[info.byte_offset + 1000] ^= 1
    (tmp_path / "rows.h5").write_bytes(content)
    monkeypatch.setattr(stored, "LARGE_BYTES", 100)
    with open_arrays(tmp_path / "rows.h5") as file:
        rows = StoredRows(file["values"])
        assert np.array_equal(rows.lazily(0)[:, :], values[0])
        with pytest.raises(OSError, match="row 1 of /values is damaged"):
            rows.lazily(1)[0:1, :]
