import errno
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from adclick.annotate import spooling
from adclick.annotate.spooling import (
    Spooled,
    discard,
    spool_in,
    spooled,
    spooled_bytes,
    unspooled,
)


@dataclass(frozen=True)
class Encoding:
    image: np.ndarray
    small: np.ndarray
    maps: tuple[np.ndarray, ...] = ()
    probability: np.ndarray | None = None


def test_large_arrays_go_between_processes_as_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spooling, "SPOOLED_BYTES", 100)
    image = np.random.default_rng(0).integers(0, 255, (20, 30), dtype=np.uint8)
    encoding = Encoding(image, np.arange(3))
    assert spooled(encoding, None) is encoding
    with spool_in(tmp_path) as folder:
        sent = pickle.dumps(spooled(encoding, folder))
        assert len(sent) < 600 < image.nbytes + 100
        received = pickle.loads(sent)
        assert isinstance(received.image, Spooled)
        assert np.array_equal(np.asarray(received.image), image)
        assert spooled_bytes(received) == image.nbytes
        opened = unspooled(received)
        assert np.array_equal(opened.image, image) and np.array_equal(opened.small, encoding.small)
        discard(received)
        assert not list(folder.iterdir())
        assert np.array_equal(opened.image, image)  # in use, it stays
        discard(received)  # gone already
        spooled(encoding, folder)
    assert not folder.exists()


def test_on_a_full_disk_no_half_of_an_array_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: IO[bytes], array: np.ndarray) -> None:
        file.write(array.tobytes()[:50])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(spooling, "SPOOLED_BYTES", 100)
    monkeypatch.setattr(spooling.np, "save", full)
    with pytest.raises(OSError, match="No space"):
        spooled(Encoding(np.zeros((20, 30)), np.arange(3)), tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_a_killed_server_left_is_swept(tmp_path: Path) -> None:
    with spool_in(tmp_path) as folder:
        (folder / "left.npy").touch()
        with spool_in(tmp_path) as again:
            assert not list(again.iterdir())
