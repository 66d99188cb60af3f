"""Labels on disk: files that people can read, and a journal that loses nothing.

`<key>.png` is the mask (0 and 255, the image's size), `<key>.json` what led to it;
`.journal/<key>.jsonl` has every action, on disk before it is answered. Keys are the images' paths
without suffix, below the images' folder.
"""

import fcntl
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool
from pydantic import BaseModel, NonNegativeInt, PositiveInt, ValidationError, model_validator

from adclick.annotate.planes import Box, Plane, array_of, part_of
from adclick.annotate.spooling import spool_in
from adclick.data.images import picture_files, picture_shape, read_mask, write_png
from adclick.run.artifacts import write_text
from adclick.run.errors import InputError
from adclick.run.folders import (
    CLOSED,
    DANGLING,
    LONGEST_NAME,
    named,
    passed_over,
    shown,
    walk,
    writable,
)
from adclick.run.settings.section import validation_line

JOURNAL = ".journal"
MOST_PIXELS = 100_000_000

SavedState = Literal["done", "normal", "skipped", "todo"]


@dataclass(frozen=True)
class Picture:
    """An image to label: its key, file and size (height, width); `broken` says why it is none.

    `source` is its path in the data set, where its key is not that path without suffix; `kind` the
    kind of defect that the data set says it has.
    """

    key: str
    path: Path
    shape: tuple[int, int]
    broken: str | None
    source: str | None = None
    kind: str | None = None


def find_pictures(folder: Path) -> list[Picture]:
    """The pictures below a folder, as `picture_files` has them, opened for their sizes."""
    return [picture_of(key, path) for key, path in picture_files(folder).items()]


def picture_of(key: str, path: Path) -> Picture:
    """A file as a picture to label; only its header is read. Broken is also what has a name that
    its label's files could not have.
    """
    if not writable(key):
        fault = "a name that is no UTF-8, or has a control character; rename it"
        return Picture(shown(key), path, (0, 0), f"{shown(path)}: {fault}")
    if len(os.fsencode(Path(key).name)) > LONGEST_NAME - len("_mask.png"):
        return Picture(key, path, (0, 0), f"{path}: too long a name for its label's; shorten it")
    try:
        shape = picture_shape(path)
    except (InputError, OSError) as error:
        return Picture(key, path, (0, 0), str(error))
    if shape[0] * shape[1] > MOST_PIXELS:
        size = f"{shape[1]} x {shape[0]}"
        return Picture(key, path, shape, f"{path}: {size} pixels; cut it to 100 megapixels")
    return Picture(key, path, shape, None)


class Journal:
    """The actions of one image, a JSON line each, appended and synchronised one by one."""

    def __init__(self, labels: Path, key: str) -> None:
        """The journal of a key below the labels' folder; the file need not exist."""
        self.path = _inside(labels / JOURNAL, f"{key}.jsonl")

    def read(self) -> list[dict[str, Any]]:
        """All entries. A torn last line, from a crash while it was written, was never answered: it
        is cut off. InputError for a line that is damaged elsewhere.
        """
        if not self.path.is_file():
            return []
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(self.path, len(whole))
        entries = []
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                entries.append(_object(line))
                _Entry.model_validate_json(line, strict=True)
            except (ValueError, RecursionError):
                raise InputError(
                    f"{self.path}: line {number} is damaged; restore or remove the file"
                ) from None
        return entries

    def append(self, entry: Mapping[str, Any]) -> None:
        """Add an entry; it is on the disk when this returns, or OSError and nothing of it is."""
        new = not self.path.exists()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n"
        with self.path.open("ab", buffering=0) as file:
            before = file.seek(0, os.SEEK_END)
            try:
                _write_all(file, line.encode())
                os.fsync(file.fileno())
            except OSError:
                os.ftruncate(file.fileno(), before)
                raise
        if new:
            _synchronise(self.path.parent)


def _write_all(file: Any, content: bytes) -> None:
    while content:
        content = content[file.write(content) :]


@contextmanager
def only_server(labels: Path) -> Iterator[Path]:
    """Hold a labels' folder: InputError while another server does, whose journals would mix. Gives
    a folder in it for what need not stay.
    """
    folder = labels / JOURNAL
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"{labels}: another `adclick annotate` serves this folder; end it, or give another"
            ) from None
        with spool_in(folder) as spool:
            yield spool


def save_label(
    labels: Path, key: str, facts: Mapping[str, Any], mask: Bool[np.ndarray, "height width"] | None
) -> None:
    """Write what is known of an image, and its mask; without one (skipped, to do) an older mask
    goes.
    """
    picture = _inside(labels, f"{key}.png")
    if mask is None:
        picture.unlink(missing_ok=True)
    else:
        picture.parent.mkdir(parents=True, exist_ok=True)
        write_png(picture, mask)
    text = json.dumps(facts, ensure_ascii=False, indent=1) + "\n"
    target = _inside(labels, f"{key}.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, text)


def read_label(labels: Path, key: str) -> dict[str, Any] | None:
    """What is known of an image; None when nothing was saved. InputError for a damaged file."""
    path = _inside(labels, f"{key}.json")
    if not path.is_file():
        return None
    try:
        content = path.read_bytes()
        facts = _object(content)
        _Saved.model_validate_json(content, strict=True)
    except ValidationError as error:
        raise InputError(f"{validation_line(str(path), error)}; restore or remove it") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path}: not readable as JSON; restore or remove the file") from None
    return facts


def _object(content: bytes) -> dict[str, Any]:
    """A JSON object; ValueError for anything else."""
    value = json.loads(content)
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value


class _Click(BaseModel):
    row: int
    column: int
    positive: bool


class _Lengths(BaseModel):
    size: tuple[PositiveInt, PositiveInt]
    counts: list[NonNegativeInt]


class _Defect(BaseModel):
    type: str | None = None
    mask: _Lengths | None = None
    clicks: list[_Click] = []


class _Drawn(BaseModel):
    """A defect as a session of another model goes on from it."""

    id: int
    type: str | None
    threshold: float
    mask: _Lengths


class _Entry(BaseModel):
    """What a journal's reader relies on before it looks at the action itself."""

    seconds: float = 0.0
    time: float = 0.0
    model: str | None = None
    masks: list[_Drawn] = []

    @model_validator(mode="after")
    def _answers_have_masks(self) -> "_Entry":
        if "model" in self.model_fields_set and "masks" not in self.model_fields_set:
            raise ValueError("a model's answer without masks")
        return self


class _Saved(BaseModel):
    """What every reader of a saved label relies on; what else there is stays."""

    state: SavedState | Literal["in_work"] | None = None
    path: str | None = None
    annotator: str | None = None
    clicks: int = 0
    strokes: int = 0
    seconds: float = 0.0
    objects: list[_Defect] = []


def saved_labels(labels: Path) -> dict[str, dict[str, Any]]:
    """All saved labels by key. InputError when the folder holds none, or something in it that may
    be labels cannot be reached; what is passed over besides is named on the standard error.
    """
    paths = [path for path in _files(labels) if path.suffix == ".json"]
    keys = [path.relative_to(labels).with_suffix("").as_posix() for path in paths]
    found = {key: read_label(labels, key) for key in keys}
    kept = {key: facts for key, facts in found.items() if facts is not None and "state" in facts}
    if not kept:
        raise InputError(f"{labels}: no labels in it; label images with `adclick annotate` first")
    return kept


def _files(labels: Path) -> list[Path]:
    if not labels.is_dir():
        return []
    found = walk(labels)
    unreached = {kind: found.lost.pop(kind, []) for kind in (CLOSED, DANGLING)}
    for line in passed_over(labels, found.lost):
        print(line, file=sys.stderr)
    faults = "; ".join(named(labels, unreached))
    if faults:
        raise InputError(f"{labels}: labels may be missing, {faults}; repair or remove")
    return found.files


def saved_mask(labels: Path, key: str) -> Bool[np.ndarray, "height width"] | None:
    """The saved mask of an image, true above half of white; None without one."""
    path = _inside(labels, f"{key}.png")
    return read_mask(path, mask_values="shades") if path.is_file() else None


def run_lengths(mask: Bool[np.ndarray, "height width"]) -> dict[str, Any]:
    """The mask as COCO's uncompressed RLE: columns one after the other, zeros first."""
    flat = mask.T.ravel()
    changes = np.flatnonzero(np.diff(flat)) + 1
    if flat.size and flat[0]:
        changes = np.concatenate([[0], changes])
    return _lengths_between(changes, (mask.shape[0], mask.shape[1]))


def plane_run_lengths(mask: Plane) -> dict[str, Any]:
    """The same of a plane."""
    if mask.is_whole:
        return run_lengths(array_of(mask))
    changes = np.concatenate(
        [np.zeros(0, np.int64), *(_changes_in(mask, column) for column in _tile_columns(mask))]
    )
    # A run that ends with its column and goes on in the next one does neither.
    twice = changes[1:][np.diff(changes) == 0]
    last = mask.shape[0] * mask.shape[1]
    return _lengths_between(changes[~np.isin(changes, [*twice, last])], mask.shape)


def _tile_columns(mask: Plane) -> Iterator[Box]:
    """From left to right, of each column of tiles the box around those that something is in."""
    for column in sorted({place[1] for place in mask.tiles}):
        boxes = [mask.box_of(place) for place in mask.tiles if place[1] == column]
        top, bottom = min(boxes).top, max(boxes).top + max(boxes).height
        yield Box(top, boxes[0].left, bottom - top, boxes[0].width)


def _changes_in(mask: Plane, box: Box) -> np.ndarray:
    """Where along the columns of a picture, one after the other, what is in a box begins and ends,
    column by column.
    """
    framed = np.pad(part_of(mask, box), [(1, 1), (0, 0)])
    columns, rows = np.nonzero(np.diff(framed, axis=0).T)
    return (box.left + columns) * mask.shape[0] + box.top + rows


def _lengths_between(changes: np.ndarray, shape: tuple[int, int]) -> dict[str, Any]:
    ends = np.concatenate([[0], changes, [shape[0] * shape[1]]]).astype(np.int64)
    return {"size": list(shape), "counts": np.diff(ends).tolist()}


def mask_of(lengths: Mapping[str, Any]) -> Bool[np.ndarray, "height width"]:
    """The mask of such run lengths; InputError when they do not fill it."""
    height, width = lengths["size"]
    counts = lengths["counts"]
    if sum(counts) != height * width or height * width > MOST_PIXELS or min(counts) < 0:
        raise InputError(f"run lengths: they do not fill {width} x {height} pixels")
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return np.ascontiguousarray(flat.reshape(width, height).T)


def _inside(folder: Path, name: str) -> Path:
    """A file below a folder; InputError for a name that leads out of it."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{name}: outside of {folder}")
    return path


def _synchronise(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def summary_rows(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One line an image for the CSV report, and the sums as the last."""
    columns = ("key", "state", "annotator", "types", "clicks", "strokes", "seconds")
    lines = [{name: row.get(name, "") for name in columns} for row in rows]
    sums = {name: sum(float(line[name] or 0) for line in lines) for name in columns[4:]}
    total = {"key": "sum", "state": "", "annotator": "", "types": ""}
    return [*lines, {**total, **{name: round(value, 1) for name, value in sums.items()}}]
