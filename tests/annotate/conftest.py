from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from adclick.annotate.app import create_app
from adclick.annotate.desk import Desk
from adclick.annotate.store import find_pictures
from adclick.data.images import write_png
from tests.annotate.fake import FakeModel

SHAPE = (40, 60)
HEADERS = {"X-Adclick": "1"}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Four pictures in two folders, a broken one, and files that are none."""
    folder = tmp_path / "ima ges"
    generator = np.random.default_rng(0)
    for index, name in enumerate(["crack/000", "crack/001", "ü b/ä", "zz"]):
        picture = generator.integers(0, 40, (*SHAPE, 3)).astype(np.uint8)
        picture[:20] += np.uint8(50 * index)
        write_png(folder / f"{name}.png", picture)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


class Clock:
    """Time that passes when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make_desk(images: Path, labels: Path, clock: Clock | None = None, **more: Any) -> Desk:
    pictures = find_pictures(images)
    model = FakeModel({picture.key: picture.path for picture in pictures}.__getitem__)
    return Desk(pictures, labels=labels, model=model, clock=clock or Clock(), **more)


@pytest.fixture
def desk(images: Path, tmp_path: Path, clock: Clock) -> Desk:
    return make_desk(images, tmp_path / "labels", clock)


@pytest.fixture
def client(desk: Desk) -> TestClient:
    app = create_app(desk, token=None, version="1.2")
    return TestClient(app, base_url="http://127.0.0.1:8765", headers=HEADERS)  # pyright: ignore
