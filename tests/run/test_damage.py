"""A bit of a result that is flipped, anywhere, and a result that is cut: named when it is opened or
read.
"""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from adclick.data.native_masks import native_mask, write_native_masks
from adclick.networks.checkpoints import save_tensors
from adclick.run.artifacts import (
    ArraySpec,
    create_arrays,
    damage,
    open_arrays,
    open_tensors,
    read_csv,
    read_json,
    write_csv,
    write_json,
    write_names,
)
from adclick.run.errors import InputError

STAMP = {"command": "test", "settings": {"größe": 3}}


def arrays(path: Path) -> Callable[[], object]:
    specs = {"values": ArraySpec((4, 4), "float16")}
    with create_arrays(path, image_ids=["a", "ß b"], specs=specs, stamp=STAMP) as file:
        file["values"][:] = np.arange(32).reshape(2, 4, 4)
        write_names(file, ["x", "y"], ["a", "a"])
        file.attrs["use"] = "of nothing"
        write_native_masks(file, [None, np.eye(20, 30) > 0])

    def read() -> list[object]:
        with open_arrays(path) as file:
            return [file["values"][0], file["values"][1], native_mask(file, 1).tolist()]

    return read


def record(path: Path) -> Callable[[], object]:
    write_json(path, {"ap": 0.123456789, "names": ["ä"]}, stamp=STAMP)
    return lambda: [read_json(path)[name] for name in ("ap", "names", "stamp")]


def table(path: Path) -> Callable[[], object]:
    write_csv(path, pd.DataFrame({"image_id": ["ä", "b"], "height": ["12", "13"]}), stamp=STAMP)
    return lambda: read_csv(path)


def weights(path: Path) -> Callable[[], object]:
    save_tensors(path, {"one": torch.arange(12.0)}, {"stamp": json.dumps(STAMP), "kind": "x"})
    return lambda: open_tensors(path, framework="pt").get_tensor("one")


KINDS = {".h5": arrays, ".json": record, ".csv": table, ".safetensors": weights}


@pytest.mark.parametrize("suffix", KINDS)
def test_a_flipped_bit_anywhere_is_named_or_changes_nothing(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"result{suffix}"
    read = KINDS[suffix](path)
    whole, before = path.read_bytes(), str(read())
    assert damage(path) is None
    generator = np.random.default_rng(0)
    places = generator.choice(len(whole), min(len(whole), 300), replace=False)
    named = 0
    for place in places.tolist():
        content = bytearray(whole)
        content[place] ^= 1 << int(generator.integers(8))
        path.unlink()
        path.write_bytes(content)
        said = damage(path)
        try:
            assert str(read()) == before
        except (InputError, OSError):  # OSError: what HDF5 finds while it reads
            assert said is not None
            assert said.startswith(f"{path}: ")
            named += 1
    assert named >= (25 if suffix == ".h5" else len(places) // 2)  # HDF5's files are half empty


@pytest.mark.parametrize("suffix", KINDS)
def test_what_was_cut_is_named(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"result{suffix}"
    read = KINDS[suffix](path)
    whole = path.read_bytes()
    for share in (0.0, 0.3, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(InputError, match=f"result{suffix}: "):
            read()
        assert str(damage(path)).startswith(f"{path}: ")


@pytest.mark.parametrize("suffix", KINDS)
def test_results_of_before_have_no_checksum_and_are_read(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"result{suffix}"
    read = KINDS[suffix](path)
    if suffix == ".h5":
        with h5py.File(path, "r+") as file:
            del file.attrs["checksum"]
    elif suffix == ".json":
        path.write_text(json.dumps({"ap": 1.0, "names": [], "stamp": STAMP}))
    elif suffix == ".csv":
        (tmp_path / "result.csv.stamp.json").unlink()
    else:
        from safetensors.torch import save_file

        save_file({"one": torch.ones(2)}, path, metadata={"stamp": json.dumps(STAMP)})
    read()
    assert damage(path) is None
