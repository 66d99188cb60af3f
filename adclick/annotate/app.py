"""The HTTP interface of the annotation server: thin routes over the desk, and the page's files."""

import csv
import io
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import numpy as np
from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from adclick.annotate.actions import Action
from adclick.annotate.desk import PICTURE_TILE_PX, ConflictError, Desk, png_bytes
from adclick.annotate.guard import Guard
from adclick.annotate.store import SavedState, summary_rows
from adclick.annotate.worker import WorkerError
from adclick.data.geometry import resized
from adclick.data.images import has_deep_colours, is_upright, read_image
from adclick.run.errors import InputError

STATIC = Path(__file__).parent / "static"
THUMBNAIL_PX = 160
WHOLE_FORMATS = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}
OUTLINE = (150, 62, 240)  # blue, green, red: the mask's colour on the page
API = "/api/v1"
LONGEST_BESIDE_PX = 2048
MOST_DECODED = 2
JPEG, FAST_PNG = [cv2.IMWRITE_JPEG_QUALITY, 92], [cv2.IMWRITE_PNG_COMPRESSION, 1]
Level = Annotated[int, Query(ge=0, le=12)]
Place = Annotated[int, Query(ge=0, le=10_000)]

Order = Literal["name", "teaches"]
QueueState = Literal["todo", "in_work", "done", "normal", "skipped"]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    annotator: Annotated[str, Field(min_length=1, max_length=80)]
    seconds: Annotated[float, Field(ge=0, le=86_400)] = 0.0


class OpenBody(_Body):
    """Who opens an image, keeps it or gives it back; `seconds` of work since the last request."""


class ActBody(_Body):
    """An action on the state of a revision."""

    revision: Annotated[int, Field(ge=0)]
    action: Action


class SaveBody(_Body):
    """What an image is, finished at a revision; `order` decides which is next."""

    revision: Annotated[int, Field(ge=0)]
    state: SavedState
    order: Order = "name"


def create_app(desk: Desk, *, token: str | None, version: str) -> Guard:
    """The application: the page at /, the interface below /api/v1, its description at
    /openapi.json.
    """
    return Guard(desk_app(desk, token=token, version=version), token=token)


def desk_app(desk: Desk, *, token: str | None, version: str) -> FastAPI:
    """The same without its guard, for a larger application that has one."""
    app = FastAPI(title="adclick annotate", version=version, docs_url=None, redoc_url=None)
    handle_errors(app)
    _add_queue(app, desk, token=token, version=version)
    _add_pictures(app, desk)
    _add_work(app, desk)
    app.mount("/", StaticFiles(directory=STATIC, html=True))
    return app


def handle_errors(app: FastAPI) -> None:
    """Every mistake is one line of JSON."""

    def line(status: int, text: str, **facts: Any) -> JSONResponse:
        return JSONResponse({"error": " ".join(text.split()), **facts}, status)

    @app.exception_handler(InputError)
    def _mistake(_: Request, error: InputError) -> JSONResponse:
        return line(400, str(error))

    @app.exception_handler(KeyError)
    def _unknown(_: Request, error: KeyError) -> JSONResponse:
        return line(404, f"no image {error.args[0]!r} in this queue")

    @app.exception_handler(ConflictError)
    def _conflict(_: Request, error: ConflictError) -> JSONResponse:
        return line(409, str(error), **error.facts)

    @app.exception_handler(WorkerError)
    def _broken(_: Request, error: WorkerError) -> JSONResponse:
        return line(503, f"the model did not answer ({error}); try again")

    @app.exception_handler(OSError)
    def _disk(_: Request, error: OSError) -> JSONResponse:
        return line(507, f"{error.filename}: not written ({error.strerror}); nothing was changed")

    @app.exception_handler(Exception)
    def _unforeseen(_: Request, error: Exception) -> JSONResponse:
        return line(500, f"unforeseen {type(error).__name__} ({error}); go on with another image")

    @app.exception_handler(HTTPException)
    def _other(_: Request, error: HTTPException) -> JSONResponse:
        return line(error.status_code, str(error.detail))

    @app.exception_handler(RequestValidationError)
    def _invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        faults = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        return line(422, "; ".join(faults[:5]))


def _add_queue(app: FastAPI, desk: Desk, *, token: str | None, version: str) -> None:
    @app.get(f"{API}/health")
    def health() -> dict[str, Any]:
        """What answers here, how fast, and what went wrong last."""
        model = desk.model
        latencies = list(model.latencies)
        return {
            "model": model.facts.title,
            "kind": model.facts.kind,
            "device": model.facts.device,
            "types": list(model.facts.types),
            "last_latency_ms": round(latencies[-1], 1) if latencies else None,
            "p95_latency_ms": round(float(np.quantile(latencies, 0.95)), 1) if latencies else None,
            "last_error": model.last_error or model.encodings.last_error,
            "encoded": len(model.encodings),
            "encoding": model.encodings.encoding,
            "restarts": model.restarts,
            "total": len(desk.pictures),
            "version": version,
            "token_needed": token is not None,
        }

    @app.get(f"{API}/images")
    def images(order: Order = "name", state: QueueState | None = None) -> dict[str, Any]:
        """The queue: a row an image, counts of states, seconds and clicks in sum."""
        rows = desk.rows(order)
        names = ("todo", "in_work", "done", "normal", "skipped")
        return {
            "images": [row for row in rows if state in (None, row["state"])],
            "counts": {name: sum(row["state"] == name for row in rows) for name in names},
            "seconds": round(sum(row["seconds"] for row in rows), 1),
            "clicks": sum(row["clicks"] for row in rows),
        }

    @app.get(f"{API}/report.csv")
    def report() -> Response:
        """Seconds and clicks of every image and in sum, as CSV."""
        rows = [{**row, "types": " ".join(row["types"])} for row in desk.rows()]
        lines = summary_rows(rows)
        text = io.StringIO()
        writer = csv.DictWriter(text, list(lines[-1]))
        writer.writeheader()
        writer.writerows(lines)
        headers = {"content-disposition": 'attachment; filename="labelling.csv"'}
        return Response(text.getvalue(), media_type="text/csv", headers=headers)


def _add_pictures(app: FastAPI, desk: Desk) -> None:
    decoded = Decoded(desk.model.facts.bits)

    @app.get(f"{API}/images/{{key:path}}/tile")
    def tile(key: str, level: Level, row: Place, column: Place) -> Response:
        """A tile of a large image, of `tile_px` pixels a side and each of 2^level of the image's;
        with level 0 the image's own pixels.
        """
        pixels = tile_of(decoded.get(_readable(desk, key)), level, row, column)
        kind, settings = ("jpg", JPEG) if level else ("png", FAST_PNG)
        content = cv2.imencode(f".{kind}", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), settings)[1]
        return Response(content.tobytes(), media_type=WHOLE_FORMATS[f".{kind}"])

    @app.get(f"{API}/images/{{key:path}}/picture")
    def picture(key: str) -> Response:
        """The image itself: the file where a browser can show it, else as PNG."""
        path = _readable(desk, key)
        kind = WHOLE_FORMATS.get(path.suffix.lower())
        if kind is not None and _is_plain(path):
            return Response(path.read_bytes(), media_type=kind)
        image = read_image(path, bits=desk.model.facts.bits, clipped=True)
        return _png(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))

    @app.get(f"{API}/images/{{key:path}}/thumbnail")
    def thumbnail(key: str) -> Response:
        """A small picture with the saved mask's outline."""
        image = read_image(_readable(desk, key), bits=desk.model.facts.bits, clipped=True)
        image = _thumbnail(image, desk.mask(key))
        done, content = cv2.imencode(".jpg", image)
        if not done:
            raise RuntimeError("a thumbnail could not be encoded")
        return Response(content.tobytes(), media_type="image/jpeg")

    @app.get(f"{API}/images/{{key:path}}/residual")
    def residual(key: str) -> Response:
        """The training-free anomaly map as colours, at the network's size or 2048 px."""
        _readable(desk, key)
        anomaly = _at_most(np.asarray(desk.model.encodings.get(key).residual_map))
        grey = np.rint(255 * np.clip(anomaly, 0, 1)).astype(np.uint8)
        return _png(cv2.applyColorMap(grey, cv2.COLORMAP_INFERNO))

    @app.get(f"{API}/images/{{key:path}}/neighbour")
    def neighbour(key: str) -> Response:
        """The normal image most like this one, at the network's size or 2048 px."""
        _readable(desk, key)
        image = _at_most(np.asarray(desk.model.encodings.get(key).neighbour))
        return _png(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


def _add_work(app: FastAPI, desk: Desk) -> None:
    @app.post(f"{API}/images/{{key:path}}/open")
    def open_image(key: str, body: OpenBody, order: Annotated[Order, Query()] = "name") -> Any:
        """Take an image and get its session; 409 when somebody else holds it."""
        session = desk.open(key, body.annotator)
        desk.model.encodings.want(_following(desk, key, order))
        return session

    @app.post(f"{API}/images/{{key:path}}/actions")
    def act(key: str, body: ActBody) -> Any:
        """Apply one action; it is on disk when this answers. 409 with the present session when the
        revision is another.
        """
        return desk.act(key, body.annotator, body.revision, body.action, body.seconds)

    @app.post(f"{API}/images/{{key:path}}/save")
    def save(key: str, body: SaveBody) -> Any:
        """Write the label and give the image back; says which one is next."""
        return desk.save(key, body.annotator, body.revision, body.state, body.seconds, body.order)

    @app.post(f"{API}/images/{{key:path}}/ping")
    def ping(key: str, body: OpenBody) -> Any:
        """Keep the image."""
        return desk.ping(key, body.annotator, body.seconds)

    @app.post(f"{API}/images/{{key:path}}/release")
    def release(key: str, body: OpenBody) -> Any:
        """Give the image back without saving; its edits stay in the journal."""
        desk.row(key)
        desk.release(key, body.annotator)
        return {"leased_by": desk.holder(key)}


def _following(desk: Desk, key: str, order: str) -> list[str]:
    """This image and what comes after it, as far as it is to be done: what to encode ahead."""
    rows = desk.rows(order)
    place = next(index for index, row in enumerate(rows) if row["key"] == key)
    later = [
        row["key"]
        for row in [*rows[place + 1 :], *rows[:place]]
        if row["state"] in ("todo", "in_work") and not row["broken"]
    ]
    return [key, *later]


def _readable(desk: Desk, key: str) -> Path:
    """An image's file. KeyError for an unknown key, InputError for a broken file."""
    picture = desk.pictures[key]
    if picture.broken:
        raise InputError(picture.broken)
    return picture.path


def _is_plain(path: Path) -> bool:
    """Whether every browser shows a file as it is read here: pixels upright, in a usual mode."""
    with Image.open(path) as stored:
        usual = stored.mode in ("RGB", "L", "P", "RGBA")
    return usual and is_upright(path) and not has_deep_colours(path)


class Decoded:
    """The large images that were asked for last, decoded once for all their tiles."""

    def __init__(self, bits: int | None) -> None:
        """`bits` is what the camera has whose pictures are stored in 16."""
        self._bits = bits
        self._kept: OrderedDict[Path, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, path: Path) -> np.ndarray:
        """An image [height width 3]."""
        with self._lock:
            if path not in self._kept:
                self._kept[path] = read_image(path, bits=self._bits, clipped=True)
                while len(self._kept) > MOST_DECODED:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(path)
            return self._kept[path]


def tile_of(image: np.ndarray, level: int, row: int, column: int) -> np.ndarray:
    """A tile of an image's pyramid. HTTPException, not found, where there is none."""
    side = PICTURE_TILE_PX << level
    part = image[row * side : (row + 1) * side, column * side : (column + 1) * side]
    if not part.size:
        raise HTTPException(404, "no such tile of this image")
    shape = (-(-part.shape[0] // (1 << level)), -(-part.shape[1] // (1 << level)))
    return resized(part, shape, cv2.INTER_AREA)


def _at_most(array: np.ndarray) -> np.ndarray:
    """An array that is shown beside the image, no longer than a browser likes it."""
    factor = min(1, LONGEST_BESIDE_PX / max(array.shape[:2]))
    shape = (max(1, round(array.shape[0] * factor)), max(1, round(array.shape[1] * factor)))
    return resized(array, shape, cv2.INTER_AREA)


def _thumbnail(image: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    height, width = image.shape[:2]
    factor = THUMBNAIL_PX / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
    if mask is not None and mask.any():
        share = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        edges, _ = cv2.findContours(
            (share > 0.25).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(small, edges, -1, OUTLINE, 1)
    return small


def _png(pixels: np.ndarray) -> Response:
    return Response(png_bytes(pixels), media_type="image/png")
