"""The HTTP interface of the studio: thin routes over its five steps, and their pages."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import (
    HTMLResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from adclick.annotate.app import STATIC as LABEL_STATIC
from adclick.annotate.app import handle_errors
from adclick.annotate.desk import png_bytes
from adclick.annotate.guard import Guard
from adclick.run.errors import InputError
from adclick.run.folders import shown
from adclick.studio.inspecting import small_map
from adclick.studio.pages import label_page, page
from adclick.studio.photographs import list_folders, project_of, small_jpeg
from adclick.studio.progress import failure, progress
from adclick.studio.studio import Studio
from adclick.studio.taking import place_of, zipped

STATIC = Path(__file__).parent / "static"
API, FILES = "/api/v1", "/api/v1/files/"
# The report is one file with its style and pictures in it; no script is ever run.
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"
MOST_FILE_BYTES = 200_000_000  # a photograph of a large camera as TIFF
SHOWN_PX, THUMBNAIL_PX = 1600, 200

Text = Annotated[str, Field(max_length=4096)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ChooseBody(_Body):
    """Folders of normal and of defective photographs; null leaves the one that was chosen."""

    normal: Text | None = None
    defective: Text | None = None


class ClearBody(_Body):
    """The photographs of which none are chosen any more."""

    kind: Literal["normal", "defective"]


class AddedBody(_Body):
    """The kinds of the photographs that were dropped."""

    kinds: Annotated[list[Text], Field(max_length=1000)]


class LeaveOutBody(_Body):
    """Whether a normal photograph is left out."""

    path: Text
    left_out: bool


class ProjectBody(_Body):
    """What the project has otherwise than was proposed."""

    size_px: Annotated[int, Field(ge=64, le=1024)] | None = None
    scale: Annotated[float, Field(gt=0, le=4)] | None = None
    texture: bool | None = None
    backbone: Text | None = None


class StartBody(_Body):
    """Whether the folder is unlocked first."""

    unlock: bool = False


class AlongBody(_Body):
    """Whether the detector is learnt again while somebody labels."""

    along: bool


class Nothing(_Body):
    """No words are needed."""


def create_app(studio: Studio, *, token: str | None, version: str) -> Guard:
    """The application: a page a step, the interface below /api/v1, the annotation page below
    /label/.
    """
    app = FastAPI(title="adclick studio", version=version, docs_url=None, redoc_url=None)
    handle_errors(app)
    _add_pages(app)
    _add_project(app, studio, version)
    _add_photographs(app, studio)
    _add_learning(app, studio)
    _add_inspection(app, studio)
    _add_taking(app, studio)
    app.mount("/label", _label_app(studio))
    app.mount("/static", StaticFiles(directory=STATIC))
    return Guard(app, token=token, files=FILES, most_bytes=MOST_FILE_BYTES)


def _add_pages(app: FastAPI) -> None:
    @app.get("/")
    def first() -> Response:
        """The first step."""
        return RedirectResponse("/photographs")

    @app.get("/favicon.ico")
    def icon() -> Response:
        """The icon, for browsers that ask for it by this name."""
        return RedirectResponse("/label/icon.svg")

    for step in ("photographs", "learn", "inspect", "take"):
        app.get(f"/{step}", name=step)(_serves(step))

    @app.get("/label")
    def label() -> Response:
        """The annotation page lies in a folder of its own."""
        return RedirectResponse("/label/")


def _serves(step: str) -> Callable[[], Response]:
    def serve() -> Response:
        """The page of a step."""
        return HTMLResponse(page(step))

    return serve


def _label_app(studio: Studio) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """The annotation tool's application, opened when it is asked for; its page with the steps."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        """The page with the steps at /; its own files and interface below."""
        path = str(scope["path"]).removeprefix(str(scope.get("root_path", "")))
        if path in ("", "/", "/index.html"):
            index = await run_in_threadpool(_label_index, studio)
            await index(scope, receive, send)
        elif not path.startswith(API):
            await StaticFiles(directory=LABEL_STATIC)(scope, receive, send)
        else:
            opened = await run_in_threadpool(studio.label_app)
            await opened(scope, receive, send)

    return app


def _label_index(studio: Studio) -> Response:
    ready = studio.label_state()["state"] == "ready"
    return HTMLResponse(label_page() if ready else page("label"))


def _add_project(app: FastAPI, studio: Studio, version: str) -> None:
    @app.get(f"{API}/project")
    def project() -> dict[str, Any]:
        """The project's folder, and how far each step is."""
        return {**studio.state(), "version": version}

    @app.get(f"{API}/labelling")
    def labelling() -> dict[str, Any]:
        """Whether one can label now; asking opens what it takes."""
        return studio.label_state()


def _add_photographs(app: FastAPI, studio: Studio) -> None:
    @app.get(f"{API}/photographs")
    def photographs() -> dict[str, Any]:
        """What is chosen, and what was found in it."""
        return studio.photographs.state()

    @app.get(f"{API}/folders")
    def folders(path: Text | None = None) -> dict[str, Any]:
        """The folders in a folder of this machine, for choosing one."""
        return list_folders(path)

    @app.get(f"{API}/photographs/thumbnail")
    def thumbnail(path: Text) -> Response:
        """A small picture of a photograph that was found."""
        return Response(studio.photographs.thumbnail(Path(path)), media_type="image/jpeg")

    @app.post(f"{API}/photographs/choose")
    def choose(body: ChooseBody) -> dict[str, Any]:
        """Take folders and look at what is in them."""
        studio.photographs.choose(normal=body.normal, defective=body.defective)
        return studio.photographs.state()

    @app.post(f"{API}/photographs/clear")
    def clear(body: ClearBody) -> dict[str, Any]:
        """Choose none of these any more."""
        studio.photographs.clear(body.kind)
        return studio.photographs.state()

    @app.post(f"{FILES}photographs")
    async def add(request: Request, kind: Text, name: Text) -> dict[str, Any]:
        """Keep a photograph that was dropped, in the project's folder."""
        content = await request.body()
        path = await run_in_threadpool(studio.photographs.add, kind, name, content)
        return {"path": str(path)}

    @app.post(f"{API}/photographs/added")
    def added(body: AddedBody) -> dict[str, Any]:
        """All that was dropped is there: choose it."""
        studio.photographs.added(body.kinds)
        return studio.photographs.state()

    @app.post(f"{API}/photographs/leave-out")
    def leave_out(body: LeaveOutBody) -> dict[str, Any]:
        """Leave a normal photograph out, or take it in again."""
        studio.photographs.leave_out(body.path, left_out=body.left_out)
        return studio.photographs.state()

    @app.post(f"{API}/project")
    def make_project(body: ProjectBody) -> dict[str, Any]:
        """Write the project of what is chosen."""
        studio.make_project(
            size_px=body.size_px, scale=body.scale, texture=body.texture, backbone=body.backbone
        )
        return studio.state()


def _add_learning(app: FastAPI, studio: Studio) -> None:
    @app.get(f"{API}/learning")
    def learning() -> dict[str, Any]:
        """How far the last run is, and what a new one would do."""
        run = studio.runs.latest()
        return {
            "run": None if run is None else progress(run, working=studio.folder),
            **studio.learning_state(),
        }

    @app.get(f"{API}/learning/log")
    def log() -> Response:
        """The log of what failed last, or what Snakemake printed."""
        run = studio.runs.latest()
        if run is None:
            raise InputError("nothing was run yet")
        path = run.folder / "output.txt"
        if run.state == "failed":
            path = Path(failure(run, studio.folder)["log"])
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        return PlainTextResponse(text)

    @app.post(f"{API}/learning/start")
    def start(body: StartBody) -> dict[str, Any]:
        """Learn what there is to learn: the click model, and from labels the detector."""
        studio.learn(unlock=body.unlock)
        return learning()

    @app.post(f"{API}/learning/along")
    def along(body: AlongBody) -> dict[str, Any]:
        """Learn again, or not, while somebody labels."""
        studio.set_learns_along(body.along)
        return learning()

    @app.post(f"{API}/learning/cancel")
    def cancel(_: Nothing) -> dict[str, Any]:
        """End the run; what it has done is kept."""
        studio.runs.cancel()
        return learning()


def _add_inspection(app: FastAPI, studio: Studio) -> None:
    @app.get(f"{API}/inspection")
    def inspection() -> dict[str, Any]:
        """Every picture with its score."""
        return studio.inspection_state()

    @app.get(f"{API}/inspection/picture")
    def picture(key: Text, small: bool = False) -> Response:
        """A picture as JPEG, at most 1600 pixels long, or small for the gallery."""
        inspection = studio.inspection()
        path, bits = inspection.pictures[key].path, inspection.description.pictures.bits
        side = THUMBNAIL_PX if small else SHOWN_PX
        return Response(small_jpeg(path, side, bits=bits), media_type="image/jpeg")

    @app.get(f"{API}/inspection/map")
    def map_of(key: Text, small: bool = False) -> Response:
        """A map, row by row, in steps of 1 / 65535 (little-endian, 16 bits); 404 while it is not
        made.
        """
        inspection = studio.inspection()
        steps = inspection.map_file(key)
        if steps is None:
            inspection.want(key)
            return PlainTextResponse("not yet", 404)
        shown = small_map(steps) if small else steps
        headers = {"x-side": str(len(shown))}
        content = np.ascontiguousarray(shown, dtype="<u2").tobytes()
        return Response(content, media_type="application/octet-stream", headers=headers)

    @app.get(f"{API}/inspection/label")
    def label(key: Text) -> Response:
        """A finished label as PNG."""
        mask = studio.inspection().label_mask(key)
        if mask is None:
            return PlainTextResponse("no label", 404)
        height, width = mask.shape
        factor = min(1.0, SHOWN_PX / max(height, width))
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        shown = cv2.resize(mask.astype(np.uint8) * 255, size, interpolation=cv2.INTER_NEAREST)
        return Response(png_bytes(shown), media_type="image/png")

    @app.post(f"{FILES}inspection")
    async def drop(request: Request, name: Text) -> dict[str, Any]:
        """Keep a new photograph in the project's folder and look at it next."""
        content = await request.body()
        return {"key": await run_in_threadpool(studio.inspect_new, name, content)}


def _add_taking(app: FastAPI, studio: Studio) -> None:
    @app.get(f"{API}/exports")
    def exports() -> dict[str, Any]:
        """What can be taken away."""
        project = project_of(studio.folder)
        found = [] if project is None else studio.taking.state(project)
        return {"exports": found, "folder": str(studio.folder)}

    @app.post(f"{API}/exports/{{what}}")
    def export(what: str, _: Nothing) -> dict[str, Any]:
        """Make one anew."""
        studio.taking.begin(studio.project(), what)
        return exports()

    @app.get(f"{API}/exports/{{what}}")
    def fetch(what: str) -> Response:
        """One that was made, as a file; a folder as ZIP."""
        if what not in studio.taking.names:
            raise InputError(f"{shown(what)!r}: nothing of that name can be taken away")
        path = place_of(studio.project(), what)
        if not path.exists():
            raise InputError(f"{path.name}: not made yet")
        if path.is_file():
            policy = {"content-security-policy": REPORT_POLICY}
            return HTMLResponse(path.read_text(encoding="utf-8"), headers=policy)
        headers = {"content-disposition": f'attachment; filename="{path.name}.zip"'}
        return StreamingResponse(zipped(path), media_type="application/zip", headers=headers)
