"""The desk of a project while another click model is learnt."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from adclick.project.writing import Project
from adclick.run.errors import InputError
from adclick.studio import labelling
from adclick.studio.labelling import Labelling


class Fakes:
    """In place of the model and the desk; `made` is what the desk is of."""

    def __init__(self) -> None:
        self.made: tuple[Any, ...] | None = (1,)
        self.closed: list[str] = []
        self.asked, self.may_answer = threading.Event(), threading.Event()

    def made_with(self, _: Project) -> tuple[Any, ...]:
        if self.made is None:
            raise InputError("no click model yet: learn first")
        return self.made

    def model(self, *_: Any) -> Any:
        name = str(self.made)
        wanted = SimpleNamespace(want=lambda _: None)
        return SimpleNamespace(encodings=wanted, close=lambda: self.closed.append(name))

    def app(self, *_: Any, **__: Any) -> Any:
        async def answer(*_: Any) -> None:
            self.asked.set()
            await asyncio.to_thread(self.may_answer.wait, 60)

        return answer


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fakes]:
    made = Fakes()
    monkeypatch.setattr(labelling, "made_with", made.made_with)
    monkeypatch.setattr(labelling, "click_model", lambda _: Path("model"))
    monkeypatch.setattr(labelling, "only_server", lambda _: nullcontext(Path("spool")))
    monkeypatch.setattr(labelling, "find_manifest_pictures", lambda *_: [])
    monkeypatch.setattr(labelling, "Model", made.model)
    monkeypatch.setattr(labelling, "Desk", lambda *_, **__: SimpleNamespace(rows=list))
    monkeypatch.setattr(labelling, "desk_app", made.app)
    yield made
    made.may_answer.set()


def opened() -> Labelling:
    return Labelling(token=None, version="1", teaching=dict)


def test_a_desk_goes_on_while_its_model_is_learnt_anew(fakes: Fakes, tmp_path: Path) -> None:
    project, desk = Project(tmp_path, "washer", "human"), opened()
    fakes.made = None
    with pytest.raises(InputError, match="no click model yet"):
        desk.open(project)
    fakes.made = (1,)
    desk.open(project)
    fakes.made = None  # its files are made again
    assert desk.is_ready(project)
    desk.open(project)
    assert fakes.closed == []


def test_a_desk_is_closed_after_what_is_under_way(fakes: Fakes, tmp_path: Path) -> None:
    project, desk = Project(tmp_path, "washer", "human"), opened()
    app: Any = desk.app(project)
    request = threading.Thread(target=lambda: asyncio.run(app({}, None, None)))
    request.start()
    assert fakes.asked.wait(60)
    fakes.made = (2,)
    change = threading.Thread(target=desk.open, args=(project,))
    change.start()
    change.join(0.5)
    assert change.is_alive() and fakes.closed == []
    fakes.may_answer.set()
    for thread in (request, change):
        thread.join(60)
    assert fakes.closed == ["(1,)"]
