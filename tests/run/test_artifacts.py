import errno
from pathlib import Path

import h5py
import numpy as np
import pytest

from adclick.data.geometry import write_contents
from adclick.data.native_masks import write_native_masks
from adclick.run.artifacts import (
    ArraySpec,
    create_array,
    create_arrays,
    image_ids,
    input_digest,
    open_arrays,
    read_json,
    read_stamp,
    replacing,
    write_json,
    write_names,
    write_text,
    write_values,
)
from adclick.run.errors import InputError
from tests.small_disk import small_disk

STAMP = {"command": "test", "seed": 1}
PAGE = 4096  # bytes: what a disk in memory is made of
SPECS = {"values": ArraySpec((4, 4), "float16")}


def write(path: Path, value: float = 1.0) -> None:
    with create_arrays(path, image_ids=["a", "ß b"], specs=SPECS, stamp=STAMP) as file:
        file["values"][:] = value
        write_names(file, ["x", "y"], ["a", "a"])


def test_arrays_come_back_with_ids_and_stamp(tmp_path: Path) -> None:
    write(tmp_path / "a.h5")
    with open_arrays(tmp_path / "a.h5") as file:
        assert image_ids(file) == ["a", "ß b"]
        assert file["values"].chunks == (1, 4, 4)
        assert np.all(file["values"][:] == 1)
    assert read_stamp(tmp_path / "a.h5") == STAMP


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a.h5")
    write(tmp_path / "b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "a.h5")
    before = (tmp_path / "a.h5").read_bytes()
    with (
        pytest.raises(RuntimeError),
        create_arrays(tmp_path / "a.h5", image_ids=["a"], specs=SPECS, stamp=STAMP),
    ):
        raise RuntimeError("killed")
    assert (tmp_path / "a.h5").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    write(tmp_path / "a.h5")
    content = bytearray((tmp_path / "a.h5").read_bytes())
    with h5py.File(tmp_path / "a.h5") as file:
        offset = file["values"].id.get_chunk_info(1).byte_offset
    content[offset + 3] ^= 1
    (tmp_path / "a.h5").write_bytes(content)
    with open_arrays(tmp_path / "a.h5") as file, pytest.raises(OSError, match="filter"):
        file["values"][1]


def test_what_is_unfinished_absent_or_no_hdf5_is_refused_in_one_line(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "half.h5", "w") as file:
        file["values"] = 1
    (tmp_path / "text.h5").write_text("hello")
    for name, words in (("half.h5", "unfinished"), ("text.h5", "HDF5"), ("none.h5", "not found")):
        with pytest.raises(InputError, match=words) as caught:
            open_arrays(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_json_result_keeps_every_digit_and_its_stamp(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"value": np.float64(1) / 3}, stamp=STAMP)
    assert read_json(tmp_path / "a.json") == {"value": 1 / 3, "stamp": STAMP}
    assert read_stamp(tmp_path / "a.json") == STAMP


def test_an_input_is_known_by_its_stamp_else_by_its_content(tmp_path: Path) -> None:
    write(tmp_path / "a.h5", 1.0)
    write(tmp_path / "b.h5", 2.0)
    assert input_digest(tmp_path / "a.h5") == input_digest(tmp_path / "b.h5")
    (tmp_path / "a.yaml").write_text("1")
    (tmp_path / "b.yaml").write_text("2")
    assert input_digest(tmp_path / "a.yaml") != input_digest(tmp_path / "b.yaml")


def test_replacing_cleans_up_when_nothing_was_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    path = tmp_path / ("ä" * 127)
    write_text(path, "whole")
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n", "git lfs pull"),
        (b'\x40\x00\x00\x00\x00\x00\x00\x00{"a":', "not a readable safetensors file"),
        (b"", "not a readable safetensors file"),
    ],
)
def test_weights_that_are_not_there_or_by_half_are_one_line(
    tmp_path: Path, content: bytes, says: str
) -> None:
    path = tmp_path / "swin.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"swin.safetensors: .*{says}") as caught:
        input_digest(path)
    assert "\n" not in str(caught.value)


def test_an_input_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        input_digest(tmp_path / "nothing.yaml")


@pytest.mark.parametrize("content", [b"[]", b"{", b"\xff", b"[" * 100_000])
def test_a_damaged_json_result_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match="not (a )?JSON"):
        read_json(tmp_path / "a.json")


def write_all_kinds(path: Path) -> None:
    """Arrays whose writes HDF5 would keep in memory: small chunks, texts, numbers in one piece."""
    ids = [f"image {number}" for number in range(6)]
    specs = {"small": ArraySpec((40,), "uint8"), "larger": ArraySpec((50, 50), "float32")}
    with create_arrays(path, image_ids=ids, specs=specs, stamp={"of": "a test"}) as file:
        for index in range(len(ids)):
            file["small"][index] = index + 1
            file["larger"][index] = index + 1
        create_array(file, "own", (3, 50), "float32")[:] = 1
        write_names(file, ids, ids)
        write_values(file, "numbers", np.arange(4))
        write_contents(file, [(index + 1, 2) for index in range(len(ids))], (20, 20))
        write_native_masks(file, [np.ones((90, 70), bool)] * len(ids))


def test_arrays_for_which_there_is_no_room_are_an_error_and_never_zeros(tmp_path: Path) -> None:
    path = tmp_path / "disk/arrays.h5"
    write_all_kinds(tmp_path / "whole.h5")
    size, refused = (tmp_path / "whole.h5").stat().st_size, 0
    with small_disk(tmp_path / "disk", "1m") as remount:
        for room in range(PAGE, size + 4 * PAGE, PAGE):
            path.unlink(missing_ok=True)
            remount(f"size={room}")
            try:
                write_all_kinds(path)
            except OSError as error:
                assert (error.errno, error.filename) == (errno.ENOSPC, str(path))
                assert list(path.parent.iterdir()) == []
                refused += 1
            else:
                assert path.read_bytes() == (tmp_path / "whole.h5").read_bytes()
        assert path.exists()
    assert refused > size // PAGE - 4


def test_a_file_where_a_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "results").touch()
    with pytest.raises(OSError, match=r"results'$"):
        write_text(tmp_path / "results/a.txt", "text")


@pytest.mark.parametrize("what", ["read", "write"])
def test_a_disk_that_fails_is_named_by_what_was_written_and_never_by_what_was_read(
    what: str, tmp_path: Path
) -> None:
    said = (
        f"Can't {what} data (file {what} failed: errno = 5, error message = 'Input/output error')"
    )
    with pytest.raises(OSError) as caught, replacing(tmp_path / "a.h5"):
        raise OSError(said)
    assert (str(caught.value) == said) == (what == "read")
    assert caught.value.filename == (None if what == "read" else str(tmp_path / "a.h5"))
    assert not list(tmp_path.iterdir())
