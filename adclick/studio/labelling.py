"""The third step: the annotation page, on the project's own defects and with the model that was
learnt last.
"""

import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from starlette.types import Receive, Scope, Send

from adclick.annotate.app import desk_app
from adclick.annotate.desk import Desk
from adclick.annotate.run_pictures import find_manifest_pictures
from adclick.annotate.store import only_server
from adclick.annotate.worker import Model, Server
from adclick.project.writing import SHEETS, Project
from adclick.run.errors import InputError

CLICK_STAGE = "train_adclick"
PATIENCE_S = 20.0  # for requests that are under way when the desk is opened anew
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Labelling:
    """The annotation desk of a project, opened when somebody first asks for it, and opened anew
    when another click model was learnt.
    """

    def __init__(
        self, *, token: str | None, version: str, teaching: Callable[[], Mapping[str, float]]
    ) -> None:
        """Nothing is opened yet. `teaching` is what a detector says that labels would teach."""
        self._token, self._version, self._teaching = token, version, teaching
        self._lock = threading.Lock()
        self._opened: _Opened | None = None
        self._opening = threading.Lock()
        self.error: str | None = None

    def app(self, project: Project) -> App:
        """The application of the desk for one request, as it is while the click model is learnt
        anew. InputError while none is learnt. A desk is closed when no request is under way.
        """
        with self._lock:
            return self._current(project).for_one()

    def open(self, project: Project) -> None:
        """Open the desk, or open it anew where it is not of the present model and pictures."""
        with self._lock:
            self._current(project)

    def _current(self, project: Project) -> "_Opened":
        try:
            made = made_with(project)
        except InputError:
            if self._opened is None:
                raise
            return self._opened
        if self._opened is None or self._opened.made_with != made:
            folder = click_model(project.category)  # before the desk that works is closed
            self._close()
            self._opened = _Opened(
                project, made, folder, self._token, self._version, self._teaching
            )
        return self._opened

    @property
    def is_open(self) -> bool:
        """Whether somebody has asked for the desk."""
        return self._opened is not None

    def is_ready(self, project: Project) -> bool:
        """Whether the desk can be asked at once; else it is opened in the background, which takes
        some seconds: `error` says why it could not.
        """
        opened = self._opened
        if opened is not None:
            try:
                if opened.made_with == made_with(project):
                    return True
            except InputError:  # it is learnt anew: the desk goes on as it is
                return True
        threading.Thread(target=self._open, args=(project,), daemon=True).start()
        return False

    def _open(self, project: Project) -> None:
        if not self._opening.acquire(blocking=False):
            return
        try:
            self.open(project)
            self.error = None
        except Exception as error:  # whatever it is: the page tells it
            self.error = " ".join(str(error).split()) or type(error).__name__
        finally:
            self._opening.release()

    def close(self) -> None:
        """End the model's processes and give the labels' folder free."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None


class _Opened:
    def __init__(
        self,
        project: Project,
        made: tuple[Any, ...],
        folder: Path,
        token: str | None,
        version: str,
        teaching: Callable[[], Mapping[str, float]],
    ) -> None:
        self.made_with = made
        self._under_way, self._ended = 0, threading.Condition()
        self._held = ExitStack()
        try:
            spool = self._held.enter_context(only_server(project.labels))
            pictures = find_manifest_pictures(project.category, project.folder / SHEETS)
            paths = {picture.key: picture.path for picture in pictures}
            model = Model(partial(Server, folder, spool), paths.__getitem__)
            self._held.callback(model.close)
            desk = Desk(pictures, labels=project.labels, model=model, teaching=teaching)
            model.encodings.want([row["key"] for row in desk.rows() if row["state"] == "todo"])
            self.app = desk_app(desk, token=token, version=version)
        except BaseException:
            self._held.close()
            raise

    def for_one(self) -> App:
        """The application, which counts as in use until it has answered once."""
        with self._ended:
            self._under_way += 1

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            """One request, after which the desk may be closed."""
            try:
                await self.app(scope, receive, send)
            finally:
                with self._ended:
                    self._under_way -= 1
                    self._ended.notify_all()

        return answer

    def close(self) -> None:
        """Close the desk, after the requests that are under way."""
        with self._ended:
            self._ended.wait_for(lambda: not self._under_way, PATIENCE_S)
        self._held.close()


def click_weights(project: Project) -> Path | None:
    """The weights of the project's click model; None while it is not learnt."""
    return next(
        iter(sorted(project.category.glob(f"{CLICK_STAGE}/*/seed*/weights.safetensors"))), None
    )


def made_with(project: Project) -> tuple[Any, ...]:
    """What the desk is of: another model or other pictures make it another. InputError while there
    is no click model.
    """
    weights = click_weights(project)
    manifest = project.category / "make_manifest/manifest.csv"
    if weights is None or not manifest.is_file():
        raise InputError("no click model yet: learn first")
    return (*(path.stat().st_mtime_ns for path in (weights, manifest)), str(weights))


def click_model(category: Path) -> Path:
    """The model folder of a run's click model, exported again where it is not the present one."""
    from adclick.models.export import exported
    from adclick.models.run_sources import trained_variants

    variant = next(
        (name for name in trained_variants(category) if (category / CLICK_STAGE / name).is_dir()),
        None,
    )
    if variant is None:
        raise InputError("no click model yet: learn first")
    folder = category / f"annotate/model/{variant}-seed0"
    return exported(category, variant, seed=0, output=folder)
