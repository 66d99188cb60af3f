"""Mistakes in the call of `adclick annotate`, told before a model is opened."""

from pathlib import Path

import numpy as np
import pytest

from adclick.annotate.serving import main
from adclick.data.images import write_png
from adclick.run.errors import InputError

CALL = {
    **{
        "run": None,
        "model": None,
        "images": None,
        "labels": None,
        "masks": None,
        "mask_values": None,
    },
    **{"variant": None, "seed": 0, "host": "127.0.0.1", "port": None, "token": None},
    "open_page": False,
}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    write_png(tmp_path / "photos/a.png", np.zeros((4, 4, 3), np.uint8))
    return tmp_path / "photos"


@pytest.mark.parametrize("place", [".", "labels"])
def test_labels_among_the_pictures_are_refused(images: Path, place: str) -> None:
    given = {"model": images.parent, "images": images, "labels": images / place}
    with pytest.raises(InputError, match="masks would lie among the pictures"):
        main(**(CALL | given))
    assert [path.name for path in images.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "give the folder of a run's category"),
        ({"masks": Path("nowhere")}, "no such folder of masks"),
        ({"token": "short"}, "at least 8 letters"),
        ({"run": Path("results/a")}, "results/a has its own; leave one of them out"),
    ],
)
def test_other_mistakes_are_told(images: Path, given: dict, says: str) -> None:
    folders = {"model": images.parent, "images": images, "labels": images.parent / "labels"}
    with pytest.raises(InputError, match=says):
        main(**(CALL | (folders if given else {}) | given))
