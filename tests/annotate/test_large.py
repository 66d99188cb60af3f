"""The desk and its interface with pictures of many tiles, which a model sees in windows."""

import base64
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from starlette.testclient import TestClient

from adclick.annotate import planes
from adclick.annotate.actions import ClickAction, StrokeAction, TypeAction, UndoAction
from adclick.annotate.app import create_app, tile_of
from adclick.annotate.desk import Desk
from adclick.annotate.store import find_pictures, saved_mask
from adclick.clicks.click import Click
from adclick.data.geometry import cells_in
from adclick.data.images import write_png
from adclick.models.windows import answer_in_parts
from adclick.networks.parts import Part
from adclick.run.settings.data import Geometry
from tests.annotate.conftest import HEADERS
from tests.annotate.fake import FACTS, FakeModel

SHAPE, WINDOW, STRIDE = (150, 333), 4, 8
KEY = "sheet"


def answer(part: Part, clicks: Any, previous: np.ndarray | None) -> np.ndarray:
    """Disks around clicks in a window, and half of what was there."""
    shape = (part.height * STRIDE, part.width * STRIDE)
    found = np.zeros(shape, np.float32) if previous is None else 0.5 * previous
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    for click in clicks:
        near = (rows - click.row) ** 2 + (columns - click.column) ** 2 <= 36
        found = np.where(near, np.float32(0.9 if click.positive else 0.1), found)
    return found


class WindowedModel(FakeModel):
    """Sees pictures at a scale, in windows."""

    def __init__(self, path_of: Callable[[str], Path], scale: float) -> None:
        super().__init__(path_of)
        size = Geometry(scale=scale)
        self.facts = replace(FACTS, geometry=size, window=WINDOW, stride=STRIDE)
        self.windows: list[Part] = []

    def predict_part(
        self, key: str, defect_type: str | None, part: Part, clicks: Any, previous: Any
    ) -> np.ndarray:
        self.windows.append(part)
        return answer(part, clicks, previous)


@pytest.fixture(params=[1.0, 0.5, 1.7])
def desk(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(planes, "WHOLE_PIXELS", 2000)
    monkeypatch.setattr(planes, "TILE_PX", 32)
    monkeypatch.setattr("adclick.annotate.desk.WHOLE_PIXELS", 2000)
    picture = np.random.default_rng(0).integers(0, 255, (*SHAPE, 3), dtype=np.uint8)
    write_png(tmp_path / "images/sheet.png", picture)
    pictures = find_pictures(tmp_path / "images")
    model = WindowedModel({one.key: one.path for one in pictures}.__getitem__, request.param)
    return Desk(pictures, labels=tmp_path / "labels", model=model)


def act(desk: Desk, *actions: Any) -> dict[str, Any]:
    session = desk.open(KEY, "ann")
    for action in actions:
        session = desk.act(KEY, "ann", session["revision"], action)
    return session


def shown(session: dict[str, Any]) -> np.ndarray:
    assert session["mask"] is None
    mask = np.zeros(SHAPE, np.uint8)
    for top, left, height, width, png in session["pieces"]["mask"]:
        content = np.frombuffer(base64.b64decode(png), np.uint8)
        mask[top : top + height, left : left + width] = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE)
    return mask > 0


def click(row: int, column: int, positive: bool = True) -> ClickAction:
    return ClickAction(kind="click", row=row, column=column, positive=positive)


CLICKS = [click(20, 30), click(26, 38, False), click(120, 300), click(24, 60), click(20, 30, False)]


def test_clicks_are_answered_in_windows_as_by_the_whole_method(desk: Desk) -> None:
    seen = desk.model.facts.seen(SHAPE)
    session = act(desk, *CLICKS)
    whole = answer_in_parts(
        lambda part: lambda clicks, previous: answer(part, clicks, previous),
        content=seen,
        window=WINDOW,
        stride=STRIDE,
    )
    found, clicked = None, []
    for one in CLICKS:
        place = [
            (2 * at + 1) * own // (2 * length)
            for at, own, length in zip((one.row, one.column), seen, SHAPE, strict=True)
        ]
        clicked.append(Click(*place, one.positive))
        found = whole(clicked, found).astype(np.float16).astype(np.float32)
    assert found is not None
    expected = cv2.resize(found, SHAPE[::-1], interpolation=cv2.INTER_LINEAR) > FACTS.threshold
    for one in CLICKS:
        expected[one.row, one.column] = one.positive
    assert (shown(session) != expected).mean() < 0.0005
    assert expected.sum() > 50
    grid = cells_in(seen, STRIDE)
    assert all(part.top + part.height <= grid[0] for part in desk.model.windows)  # type: ignore


def test_what_was_done_is_there_again_and_saved_exactly(desk: Desk, tmp_path: Path) -> None:
    stroke = StrokeAction(kind="stroke", erase=False, radius=3, points=[(28, 10), (36, 200)])
    session = act(desk, *CLICKS, stroke, UndoAction(kind="undo"), stroke)
    session = act(desk, TypeAction(kind="type", value="crack"))
    again = Desk([*desk.pictures.values()], labels=tmp_path / "labels", model=desk.model)
    assert np.array_equal(shown(again.open(KEY, "ann")), shown(session))
    assert session["objects"][0]["area"] == shown(session).sum()
    desk.save(KEY, "ann", session["revision"], "done")
    saved = saved_mask(tmp_path / "labels", KEY)
    assert saved is not None and np.array_equal(saved, shown(session))


def test_another_type_is_answered_in_every_window_that_was_clicked(desk: Desk) -> None:
    """Each is asked once more, from its own last answer."""
    apart = [click(20, 30), click(120, 300)]
    before = shown(act(desk, *apart, click(22, 31)))
    asked = desk.model.windows  # type: ignore[attr-defined]
    opened = set(asked)
    asked.clear()
    after = shown(act(desk, TypeAction(kind="type", value="crack")))
    assert len(opened) >= 2
    assert set(asked) == opened and len(asked) == len(opened)
    assert after[20, 30] and after[120, 300] and before[120, 300]


def test_a_stroke_sends_the_tiles_that_have_something_in_them(desk: Desk) -> None:
    session = act(desk, StrokeAction(kind="stroke", erase=False, radius=2, points=[(40, 40)]))
    assert [piece[:4] for piece in session["pieces"]["mask"]] == [[32, 32, 32, 32]]
    assert [piece[:4] for piece in session["pieces"]["strokes"]] == [[32, 32, 32, 32]]
    assert session["pieces"]["others"] == []


def test_a_picture_is_served_as_tiles_of_a_pyramid(desk: Desk) -> None:
    app = create_app(desk, token=None, version="1")
    client = TestClient(app, base_url="http://127.0.0.1:8765", headers=HEADERS)  # pyright: ignore
    row = client.get("/api/v1/images").json()["images"][0]
    assert row["tile_px"] == 1024
    address = "/api/v1/images/sheet/tile?level={}&row={}&column={}"
    whole, half, beyond = (
        client.get(address.format(*place)) for place in ((0, 0, 0), (1, 0, 0), (0, 1, 0))
    )
    pixels = cv2.imdecode(np.frombuffer(whole.content, np.uint8), cv2.IMREAD_COLOR)
    original = np.random.default_rng(0).integers(0, 255, (*SHAPE, 3), dtype=np.uint8)
    assert np.array_equal(pixels[:, :, ::-1], original)
    smaller = cv2.imdecode(np.frombuffer(half.content, np.uint8), cv2.IMREAD_COLOR)
    assert smaller.shape == (75, 167, 3)
    assert beyond.status_code == 404


def test_tiles_of_all_levels_cover_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adclick.annotate.app.PICTURE_TILE_PX", 32)
    image = np.random.default_rng(0).integers(0, 255, (70, 100, 3), dtype=np.uint8)
    rows = [
        np.concatenate([tile_of(image, 0, row, column) for column in range(4)], axis=1)
        for row in range(3)
    ]
    assert np.array_equal(np.concatenate(rows), image)
    assert tile_of(image, 1, 1, 1).shape == (3, 18, 3)
    assert tile_of(image, 2, 0, 0).shape == (18, 25, 3)
    means = image[:64, :64].reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    assert np.abs(tile_of(image, 1, 0, 0) - means).max() <= 1
