import json
import weakref
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from adclick.run import parts
from adclick.run.artifacts import ArraySpec, create_arrays, open_arrays
from adclick.run.errors import InputError
from adclick.run.kept import SPARE
from adclick.run.parts import made_in_parts

IDS = [f"train/good/{index:03d}" for index in range(7)]
SPECS = {"values": ArraySpec((4,), "float16"), "sums": ArraySpec((), "float64")}
STAMP = {"command": "test", "settings": {"layers": [1, 2]}}
PARTS = ".a.h5.parts"


@pytest.fixture(autouse=True)
def three_images_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "IMAGES", 3)


class Work:
    """Makes the arrays of images, counts them, and fails at one of them."""

    def __init__(self, failing: int | None = None, error: type[BaseException] = SystemExit) -> None:
        self.made: list[int] = []
        self.failing, self.error = failing, error

    def __call__(self, start: int, stop: int) -> Iterator[dict[str, np.ndarray]]:
        for index in range(start, stop):
            if index == self.failing:
                raise self.error("stop")
            self.made.append(index)
            values = np.random.default_rng(index).random(4)
            yield {"values": values, "sums": np.asarray(values.sum())}


def make(folder: Path, work: Work, ids: list[str] = IDS, stamp: dict = STAMP) -> bytes:
    path = folder / "a.h5"
    total = np.zeros(())
    with (
        made_in_parts(path, ids=ids, specs=SPECS, stamp=stamp, compute=work) as computed,
        create_arrays(path, image_ids=ids, specs={"values": SPECS["values"]}, stamp=stamp) as file,
    ):
        for index, arrays in enumerate(computed):
            file["values"][index] = arrays["values"]
            total += arrays["sums"]
        file["total"] = total
    return path.read_bytes()


def interrupted(folder: Path, failing: int = 5, error: type[BaseException] = SystemExit) -> None:
    with pytest.raises(error):
        make(folder, Work(failing, error))


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def through(tmp_path: Path) -> bytes:
    """The bytes of a run without interruption."""
    return make(tmp_path / "through", Work())


def test_the_arrays_come_out_in_order_and_the_parts_vanish(tmp_path: Path, through: bytes) -> None:
    with open_arrays(tmp_path / "through/a.h5") as file:
        for index in range(len(IDS)):
            expected = np.random.default_rng(index).random(4).astype(np.float16)
            np.testing.assert_array_equal(file["values"][index], expected)
    assert names(tmp_path / "through") == ["a.h5"]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, RuntimeError])
def test_an_interrupted_run_goes_on_and_ends_with_the_same_bytes(
    error: type[BaseException], tmp_path: Path, through: bytes
) -> None:
    interrupted(tmp_path, 5, error)
    assert names(tmp_path / PARTS) == ["0.h5"]
    work = Work()
    assert make(tmp_path, work) == through
    assert work.made == [3, 4, 5, 6]
    assert names(tmp_path) == ["a.h5", "through", "through/a.h5"]


def test_bad_input_leaves_nothing(tmp_path: Path) -> None:
    interrupted(tmp_path, 5, InputError)
    assert names(tmp_path) == []


def test_parts_of_other_settings_or_images_do_not_count(tmp_path: Path, through: bytes) -> None:
    for ids, stamp in (
        (IDS, {**STAMP, "settings": {"layers": [1, 3]}}),
        (IDS[1:], STAMP),
    ):
        folder = tmp_path / f"{len(ids)}"
        interrupted(folder)
        work = Work()
        make(folder, work, ids, stamp)
        assert work.made == list(range(len(ids)))


def flip(part: Path) -> None:
    with open_arrays(part) as file:
        offset = file["values"].id.get_chunk_info(1).byte_offset
    content = bytearray(part.read_bytes())
    content[offset] ^= 1
    part.write_bytes(content)


def truncate(part: Path) -> None:
    part.write_bytes(part.read_bytes()[:-100])


def never_finished(part: Path) -> None:
    stamp = json.loads(json.dumps(STAMP))
    part.unlink()
    with create_arrays(part, image_ids=IDS[:3], specs=SPECS, stamp=stamp) as file:
        file["values"][:] = 0
        half = part.with_name(f".{part.name}.part")
        file.flush()
        content = half.read_bytes()
    part.write_bytes(content)


@pytest.mark.parametrize("damage", [flip, truncate, never_finished])
def test_a_damaged_part_is_made_anew(damage, tmp_path: Path, through: bytes) -> None:
    interrupted(tmp_path)
    damage(tmp_path / PARTS / "0.h5")
    work = Work()
    assert make(tmp_path, work) == through
    assert work.made == list(range(len(IDS)))


def test_too_few_arrays_are_no_part(tmp_path: Path) -> None:
    def lazy(start: int, stop: int) -> Iterator[dict[str, np.ndarray]]:
        return Work()(start, stop - 1)

    with (
        pytest.raises(ValueError, match="of 2 images are computed, not of 3"),
        made_in_parts(
            tmp_path / "a.h5", ids=IDS, specs=SPECS, stamp=STAMP, compute=lazy
        ) as computed,
    ):
        list(computed)
    assert names(tmp_path / PARTS) == []


def test_arrays_are_let_go_of_before_the_next(tmp_path: Path) -> None:
    """Those of a large picture take gigabytes."""
    given: list[weakref.ref] = []

    def compute(start: int, stop: int) -> Iterator[dict[str, np.ndarray]]:
        for index in range(start, stop):
            assert [one for one in given if one() is not None] == []
            values = np.full(4, index, np.float64)
            given.append(weakref.ref(values))
            arrays = {"values": values, "sums": np.asarray(0.0)}
            del values
            yield arrays
            del arrays

    with made_in_parts(
        tmp_path / "a.h5", ids=IDS, specs=SPECS, stamp=STAMP, compute=compute
    ) as computed:
        assert len([arrays["sums"] for arrays in computed]) == len(given) == len(IDS)


def test_no_images_make_no_parts(tmp_path: Path) -> None:
    work = Work()
    make(tmp_path, work, ids=[])
    assert (work.made, names(tmp_path)) == ([], ["a.h5"])


def test_a_part_without_what_every_artifact_has_is_made_anew(tmp_path: Path) -> None:
    part = tmp_path / "0.h5"
    with h5py.File(part, "w") as file:
        file.attrs["complete"] = True
    assert not parts._is_whole(part, ["a"], {}, {})


def test_where_disk_is_spared_one_part_is_there_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kept").mkdir()
    kept = make(tmp_path / "kept", Work())
    monkeypatch.setenv(SPARE, "all")
    most, folder = [], tmp_path / "spared"
    folder.mkdir()

    class Looking(Work):
        def __call__(self, start: int, stop: int) -> Iterator[dict[str, np.ndarray]]:
            most.append([path.name for path in (folder / PARTS).glob("*.h5")])
            yield from super().__call__(start, stop)

    assert make(folder, Looking()) == kept
    assert most == [[], [], []]
    assert names(folder) == names(tmp_path / "kept")
