"""What one odd picture does to the others of a folder: nothing. A stand-in detects."""

import csv
import os
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from adclick.data.images import write_png
from adclick.models import predicting
from adclick.models.description import MapUse
from adclick.models.inspecting import Inspector
from adclick.run.folders import shown

SQUARE = np.full((6, 6, 3), 90, np.uint8)


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `predict` writes what a detector finds that takes brightness for defects."""

    def detect(picture: np.ndarray) -> np.ndarray:
        if picture.shape == (5, 5, 3):
            raise ZeroDivisionError("a fault\nof the network")
        return picture.mean(axis=2).astype(np.float32) / 255

    detection = MapUse(sliding=None, smoothing_px=0, foreground_exponent=1, threshold=0.5)
    inspector = Inspector(detect, None, detection)
    monkeypatch.setattr(predicting, "open_inspector", lambda _: nullcontext(inspector))
    return tmp_path / "found"


def rows(found: Path) -> dict[str, float]:
    with (found / "scores.csv").open(encoding="utf-8", newline="") as file:
        return {row["image"]: float(row["score"]) for row in csv.DictReader(file)}


@pytest.mark.parametrize(
    ("name", "picture"),
    [
        ("fault.png", SQUARE[:5, :5]),
        ("x" * 251 + ".png", SQUARE),
    ],
)
def test_a_picture_that_fails_is_named_and_the_others_are_scored(
    tmp_path: Path, found: Path, capsys: pytest.CaptureFixture[str], name: str, picture: np.ndarray
) -> None:
    photos = tmp_path / "photos"
    write_png(photos / "a.png", SQUARE)
    write_png(photos / "b.png", picture)
    (photos / "b.png").rename(photos / name)
    write_png(photos / "z.png", SQUARE)
    with pytest.raises(SystemExit) as ended:
        predicting.predict(Path("model"), photos, found, threshold=None, overlays=True)
    assert ended.value.code == 1
    assert list(rows(found)) == ["a.png", "z.png"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: 1 skipped: ")
    assert name in line
    assert not [path for path in found.rglob("*") if path.name.startswith(".")]


@pytest.mark.parametrize("name", [b"na\xefve.png", "ä".encode() * 120 + b".png", b"a,\n'b'.png"])
def test_a_name_of_any_bytes_is_a_line_like_any_other(
    tmp_path: Path, found: Path, name: bytes
) -> None:
    photos = tmp_path / "photos"
    write_png(photos / "a.png", SQUARE)
    (photos / "a.png").rename(photos / os.fsdecode(name))
    write_png(photos / "z.png", SQUARE)
    predicting.predict(Path("model"), photos, found, threshold=None, overlays=True)
    assert sorted(rows(found)) == sorted([shown(os.fsdecode(name)), "z.png"])
    assert len(list((found / "maps").iterdir())) == 2


def test_what_it_does_not_read_is_said(
    tmp_path: Path, found: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    write_png(tmp_path / "line 2/a.png", SQUARE)
    write_png(photos / "a.png", SQUARE)
    (photos / "linked").symlink_to(tmp_path / "line 2")
    (photos / "wave.jp2").write_bytes(b"")
    predicting.predict(Path("model"), photos, found, threshold=None, overlays=False)
    assert list(rows(found)) == ["a.png", "linked/a.png"]
    assert capsys.readouterr().err == f"{photos}: passed over, no pictures: wave.jp2\n"
