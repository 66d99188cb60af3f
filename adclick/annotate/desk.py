"""The annotation server's truth: who works on which image, what was done to it, what is saved.

Every edit is applied, written to the journal and only then answered. Sessions are rebuilt from the
journal, so that a killed server goes on where it was.
"""

import base64
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32
from pydantic import TypeAdapter, ValidationError

from adclick.annotate.actions import Action, Edit, RedoAction, StartAction, TypeAction, UndoAction
from adclick.annotate.history import (
    Defect,
    Previous,
    State,
    apply,
    mask_plane,
    shown_probability,
    union,
    union_plane,
)
from adclick.annotate.planes import (
    TILE_PX,
    WHOLE_PIXELS,
    Box,
    Plane,
    array_of,
    count_of,
    plane_of,
    whole_box,
)
from adclick.annotate.store import (
    Journal,
    Picture,
    SavedState,
    mask_of,
    plane_run_lengths,
    read_label,
    save_label,
    saved_mask,
)
from adclick.annotate.worker import Model
from adclick.clicks.click import Click, scale_clicks
from adclick.data.geometry import cells_in, resized
from adclick.data.images import decode_mask, picture_shape, read_mask, resize_mask
from adclick.models.windows import change_in_parts
from adclick.networks.parts import Part
from adclick.run.errors import InputError
from adclick.run.folders import shown
from adclick.run.settings.data import MaskValues
from adclick.run.settings.section import validation_line

LEASE_S = 120.0
MOST_SESSIONS = 12
PICTURE_TILE_PX = 1024  # of the pyramid of a large picture
LONGEST_ACTIVE_S = 60.0  # no single request adds more working time than this
QUICK = [cv2.IMWRITE_PNG_COMPRESSION, 1]
UP_FILTER = (19, 32)  # cv2.IMWRITE_PNG_FILTER_UP, which the oldest OpenCV allowed passes over
FLAT = [*QUICK, *UP_FILTER, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
EDIT: TypeAdapter[Any] = TypeAdapter(Action)


class ConflictError(Exception):
    """Somebody else holds the image, or the page's state is not the server's."""

    def __init__(self, line: str, **facts: Any) -> None:
        """`facts` go into the answer."""
        super().__init__(line)
        self.facts = facts


@dataclass
class _Open:
    """An opened image: all states so far, and which of them is shown."""

    states: list[State]
    edits: list[Edit]
    before: str | None = None  # what is said of the work that stands as its masks, or is left out
    cursor: int = 0
    revision: int = 0
    seconds: float = 0.0
    dirty: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def state(self) -> State:
        return self.states[self.cursor]


class Desk:
    """All images of one queue; methods are called from the server's threads."""

    def __init__(
        self,
        pictures: Sequence[Picture],
        *,
        labels: Path,
        model: Model,
        masks: Path | None = None,
        mask_values: MaskValues | None = None,
        clock: Callable[[], float] = time.monotonic,
        teaching: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        """`masks` is a folder of existing masks, `<key>.png` or `<key>_mask.png`, to start from;
        `mask_values` says what their values mean, and those of a dropped one. `teaching` says how
        much labels of images would teach, by their keys, where anybody knows better than from how
        they differ from normal ones.
        """
        self.pictures = {picture.key: picture for picture in pictures}
        self.labels, self.model, self.masks = labels, model, masks
        self.mask_values: MaskValues | None = mask_values
        self._clock, self._teaching = clock, teaching
        self._lock = threading.RLock()
        self._leases: dict[str, tuple[str, float]] = {}
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._building: dict[str, threading.Lock] = {}
        self._saved: dict[str, dict[str, Any]] = {}
        for key in list(self.pictures):
            self._take_up(key)

    # --- what is asked ---------------------------------------------------------------------------

    def rows(self, order: str = "name", state: str | None = None) -> list[dict[str, Any]]:
        """One row an image, by name, or first what a label would teach most."""
        known = self._teaching() or self.model.encodings.scores
        rows = [{**self.row(key), "score": known.get(key)} for key in self.pictures]
        if order == "teaches":
            rows.sort(key=lambda row: (-(row["score"] or 0.0), row["key"]))
        return [row for row in rows if state in (None, row["state"])]

    def row(self, key: str) -> dict[str, Any]:
        """What the queue shows of an image."""
        picture, saved = self._picture(key), self._saved[key]
        holder = self.holder(key)
        return {
            "key": key,
            "name": shown(picture.path.name),
            "width": picture.shape[1],
            "height": picture.shape[0],
            "tile_px": PICTURE_TILE_PX if is_large(picture.shape) else None,
            "state": self._state_of(key),
            "broken": picture.broken,
            "kind": picture.kind,
            "annotator": saved.get("annotator"),
            "types": sorted({one["type"] or "unknown" for one in saved.get("objects", [])}),
            "clicks": saved.get("clicks", 0),
            "strokes": saved.get("strokes", 0),
            "seconds": round(saved.get("seconds", 0.0), 1),
            "encoded": key in self.model.encodings,
            "leased_by": holder,
            "score": self.model.encodings.scores.get(key),
        }

    def holder(self, key: str) -> str | None:
        """Who works on an image now."""
        with self._lock:
            name, until = self._leases.get(key, ("", 0.0))
            return name if until > self._clock() else None

    def next_key(self, after: str, annotator: str, order: str = "name") -> str | None:
        """The next image to label, in the queue's order after one, that nobody else holds."""
        rows = self.rows(order)
        place = next((index for index, row in enumerate(rows) if row["key"] == after), -1)
        for row in [*rows[place + 1 :], *rows[: place + 1]]:
            free = row["leased_by"] in (None, annotator)
            if row["state"] in ("todo", "in_work") and free and not row["broken"]:
                return None if row["key"] == after else row["key"]
        return None

    def mask(self, key: str) -> Bool[np.ndarray, "height width"] | None:
        """The saved mask of an image, else the one that it may start from, at the image's size:
        None without one, and for one that does not fit the image.
        """
        mask, given = saved_mask(self.labels, self._picture(key).key), self._given_mask(key)
        if mask is None and given is not None:
            mask = read_mask(given, mask_values=self.mask_values)
        if mask is None or not self._fits(key, (mask.shape[0], mask.shape[1])):
            return None
        shape = self._picture(key).shape
        return mask if mask.shape == shape else resize_mask(mask, shape, "area")

    def _fits(self, key: str, size: tuple[int, int]) -> bool:
        """Whether a mask of `size` is of an image: has its size, or one of them has the size in
        which the model sees the other, as a run's own pictures have.
        """
        shape, seen = self._picture(key).shape, self.model.facts.seen
        return size in (shape, seen(shape)) or seen(size) == shape

    def _given_mask(self, key: str) -> Path | None:
        if self.masks is None:
            return None
        files = (self.masks / f"{key}.png", self.masks / f"{key}_mask.png")
        return next((path for path in files if path.is_file()), None)

    def _mask_file(self, key: str) -> Path | None:
        own = self.labels / f"{key}.png"
        return own if own.is_file() else self._given_mask(key)

    def _start_line(self, key: str) -> str | None:
        """What is said of the mask that an image may start from."""
        path = self._mask_file(key)
        if path is None:
            return None
        size = shape = self._picture(key).shape
        with suppress(InputError, OSError):  # said when somebody starts from it
            size = picture_shape(path)
        if not self._fits(key, size):
            return f"A mask of another size exists for this image {_sizes(size, shape)}: no start."
        resized = "" if size == shape else f", to be brought to its size {_sizes(size, shape)}"
        return f"A mask exists for this image{resized}: start from it, or click anew."

    # --- what is done ----------------------------------------------------------------------------

    def open(self, key: str, annotator: str) -> dict[str, Any]:
        """Take an image: its session as it was left. ConflictError when somebody else holds it."""
        self._take(key, annotator)
        with self._held(key) as opened:
            return self.view(key, opened, message=self._greeting(key, opened))

    def act(
        self, key: str, annotator: str, revision: int, action: Action, seconds: float = 0.0
    ) -> dict[str, Any]:
        """Apply an action to the state of that revision, write it down, and give the new state."""
        self._take(key, annotator)
        with self._held(key) as opened:
            self._check_revision(key, opened, revision)
            started = self._clock()
            action = self._resolved(key, opened, action)
            states, edits, cursor = _advanced(opened, action, self._applied(key))
            active = _active(seconds)
            entry = {
                "action": action.model_dump(),
                "annotator": annotator,
                "seconds": active,
                "time": time.time(),
                "model": self.model.facts.identity,
                "masks": _masks(states[cursor]),
            }
            Journal(self.labels, key).append(entry)
            opened.states, opened.edits, opened.cursor = states, edits, cursor
            self._saved[key] = {**self._saved[key], "state": "in_work"}
            opened.revision += 1
            opened.seconds += active
            opened.dirty = True
            return self.view(key, opened, latency_ms=1000 * (self._clock() - started))

    def save(
        self,
        key: str,
        annotator: str,
        revision: int,
        state: SavedState,
        seconds: float = 0.0,
        order: str = "name",
    ) -> dict[str, Any]:
        """Write the label, and say which image is next."""
        self._take(key, annotator)
        with self._held(key) as opened:
            self._check_revision(key, opened, revision)
            mask = union(opened.state)
            if state == "done" and not mask.any():
                raise InputError(
                    "the mask is empty: mark the defect, or save the image as normal or skipped"
                )
            opened.seconds += _active(seconds)
            facts = self._facts(key, opened, annotator, state)
            entry = {"save": state, "annotator": annotator, "seconds": _active(seconds)}
            kept = {"done": mask, "normal": np.zeros(opened.state.shape, bool)}.get(state)
            save_label(self.labels, key, facts, kept)
            Journal(self.labels, key).append({**entry, "time": time.time()})
            opened.revision += 1
            opened.dirty = False
            self._saved[key] = _in_brief(facts)
        self.release(key, annotator)
        return {"image": self.row(key), "next": self.next_key(key, annotator, order)}

    def ping(self, key: str, annotator: str, seconds: float = 0.0) -> dict[str, Any]:
        """Keep the lease."""
        self._take(key, annotator)
        with self._lock:
            opened = self._open.get(key)
            if opened is not None:
                opened.seconds += _active(seconds)
        return {"leased_by": annotator}

    def release(self, key: str, annotator: str) -> None:
        """Give an image back."""
        with self._lock:
            if self.holder(key) == annotator:
                del self._leases[key]

    def view(
        self,
        key: str,
        opened: _Open,
        *,
        latency_ms: float = 0.0,
        message: str | None = None,
    ) -> dict[str, Any]:
        """The session as the page sees it."""
        state, picture = opened.state, self._picture(key)
        defect, others = state.defect, union_plane(state, leaving_out=state.defect.id)
        planes = {
            "probability": shown_probability(state, defect),
            "mask": mask_plane(state, defect),
            "strokes": defect.strokes,
            "others": others if others.tiles or not others.is_whole else None,
        }
        whole = {
            name: array_of(one) for name, one in planes.items() if one is not None and one.is_whole
        }
        return {
            "key": key,
            "width": picture.shape[1],
            "height": picture.shape[0],
            "seen": list(state.seen),
            "tile_px": TILE_PX,
            "revision": opened.revision,
            "can_undo": opened.cursor > 0,
            "can_redo": opened.cursor < len(opened.edits),
            "objects": [_object(state, one) for one in state.defects.values()],
            "object": defect.id,
            "threshold": defect.threshold,
            "type": defect.type,
            "types": list(self.model.facts.types),
            "clicks": [[one.row, one.column, one.positive] for one in defect.clicks],
            "answered": defect.probability is not None and defect.base is None,
            **{name: _png_of(whole[name]) if name in whole else None for name in planes},
            "pieces": {
                name: _pieces_of(one)
                for name, one in planes.items()
                if one is not None and name not in whole
            },
            "can_start": self._can_start(key),
            "latency_ms": round(latency_ms, 1),
            "state": self._state_of(key),
            "message": message,
        }

    # --- inside ----------------------------------------------------------------------------------

    def _picture(self, key: str) -> Picture:
        if key not in self.pictures:
            raise KeyError(key)
        return self.pictures[key]

    def _take(self, key: str, annotator: str) -> None:
        picture = self._picture(key)
        if picture.broken:
            raise InputError(picture.broken)
        with self._lock:
            holder = self.holder(key)
            if holder not in (None, annotator):
                raise ConflictError(f"{holder} is working on {key}", leased_by=holder)
            self._leases[key] = (annotator, self._clock() + LEASE_S)

    @contextmanager
    def _held(self, key: str) -> Iterator[_Open]:
        """The one session of an image, locked; fetched anew when it was closed while waiting."""
        while True:
            opened = self._opened(key)
            with opened.lock:
                if self._open.get(key) is opened:
                    yield opened
                    return

    def _opened(self, key: str) -> _Open:
        """The session of an image; rebuilding one, which asks the model, holds up nobody else."""
        while True:
            with self._lock:
                building = self._building.setdefault(key, threading.Lock())
            with building:
                if key not in self._open:
                    rebuilt = self._rebuilt(key)
                    with self._lock:
                        self._open[key] = rebuilt
            with self._lock:
                if key in self._open:
                    self._close_others(key)
                    return self._open[key]

    def _close_others(self, key: str) -> None:
        self._open.move_to_end(key)
        for other in [one for one in self._open if self.holder(one) is None and one != key]:
            if len(self._open) > MOST_SESSIONS:
                del self._open[other]

    def _rebuilt(self, key: str) -> _Open:
        """A session from its journal: what survived all undoing is applied once. What was done
        with another model, or another size of the picture, stands as the masks that it ended in;
        not so what this model answers alike, as that of an earlier version of this software.
        """
        entries = Journal(self.labels, key).read()
        if (drawn := self._drawn_with_another_model(key, entries)) is not None:
            with suppress(InputError):
                opened = self._replayed(key, entries, 0, self._blank(key), None)
                if _masks(opened.state) == drawn:
                    return opened
        return self._replayed(key, entries, *self._beginning(key, entries))

    def _blank(self, key: str) -> State:
        shape = self._picture(key).shape
        return State(shape, self.model.facts.seen(shape), self.model.facts.threshold)

    def _drawn_with_another_model(
        self, key: str, entries: Sequence[Mapping[str, Any]]
    ) -> list[Mapping[str, Any]] | None:
        """The masks that a journal ends in, where this model may be another than that of some
        entries and knows all of their types; None where there is nothing to compare.
        """
        facts, shape = self.model.facts, self._picture(key).shape
        answers = [entry for entry in entries if "model" in entry]
        drawn = [one for entry in answers for one in entry["masks"]]
        if all(entry["model"] == facts.identity for entry in answers) or not drawn:
            return None
        known = all(one["type"] in (None, *facts.types) for one in drawn)
        alike = all(tuple(one["mask"]["size"]) == shape for one in drawn)
        return answers[-1]["masks"] if known and alike else None

    def _replayed(
        self,
        key: str,
        entries: Sequence[Mapping[str, Any]],
        first: int,
        start: State,
        before: str | None,
    ) -> _Open:
        opened = _Open([start], [], before)
        opened.revision = len(entries)
        opened.seconds = sum(float(entry.get("seconds", 0.0)) for entry in entries)
        opened.dirty = bool(entries) and "action" in entries[-1]
        edits: list[Edit] = []
        cursor = 0
        for entry in entries[first:]:
            if "action" not in entry:
                continue
            action = _journalled(key, entry)
            if isinstance(action, UndoAction):
                cursor -= 1
            elif isinstance(action, RedoAction):
                cursor += 1
            else:
                edits[cursor:] = [action]
                cursor += 1
            if not 0 <= cursor <= len(edits):
                raise InputError(f"{key}: its journal undoes more than was done; remove the file")
        step = self._applied(key)
        for edit in edits:
            opened.states.append(step(opened.states[-1], edit))
        opened.edits, opened.cursor = edits, cursor
        return opened

    def _beginning(
        self, key: str, entries: Sequence[Mapping[str, Any]]
    ) -> tuple[int, State, str | None]:
        """From which entry on a journal can be applied, the state before it, and what is to be said
        of that.
        """
        facts, shape, state = self.model.facts, self._picture(key).shape, self._blank(key)
        foreign = [
            place
            for place, entry in enumerate(entries)
            if entry.get("model", facts.identity) != facts.identity
            or any(tuple(one["mask"]["size"]) != shape for one in entry.get("masks", []))
        ]
        if not foreign:
            return 0, state, None
        first = _replayable(entries, foreign[-1] + 1)
        drawn = entries[first - 1].get("masks", [])
        if not drawn:
            return first, state, None
        size: tuple[int, int] = tuple(drawn[0]["mask"]["size"])
        if not self._fits(key, size):
            said = f"What was marked is of another size {_sizes(size, shape)}, and is left out:"
            return first, state, f"{said} begin anew. Saving replaces it."
        defects = {
            int(one["id"]): Defect(
                id=int(one["id"]),
                type=one["type"] if one["type"] in facts.types else None,
                threshold=float(one["threshold"]),
                base=plane_of(resize_mask(mask_of(one["mask"]), shape, "area")),
            )
            for one in drawn
        }
        said = "Labelled with another model, or version: its masks are a start, clicks refine them."
        if size != shape:
            said = f"Labelled at another size {_sizes(size, shape)}: its masks were resized."
        begun = replace(state, defects=defects, current=min(defects, default=1))
        return first, begun, said

    def _applied(self, key: str) -> Callable[[State, Edit], State]:
        shape = self._picture(key).shape
        seen = self.model.facts.seen(shape)
        window = self.model.facts.window_in(shape)

        def predict(
            clicks: Sequence[Click], asked: int, defect_type: str | None, previous: Previous | None
        ) -> list[tuple[Box, Float32[np.ndarray, "box_height box_width"]]]:
            """What the model's answer to clicks in the picture's pixels changes."""
            scaled = scale_clicks(clicks, shape=seen, original_shape=shape)
            if window is not None:
                if previous is None:
                    asked = len(scaled)
                return self._changed_in_windows(
                    key, defect_type, scaled, scaled[-asked:], previous, seen, window
                )
            whole = whole_box(seen)
            before = None if previous is None else previous(whole)
            return [(whole, self.model.predict(key, defect_type, scaled, before))]

        return lambda state, edit: apply(state, edit, predict=predict, start_mask=_start_mask)

    def _changed_in_windows(
        self,
        key: str,
        defect_type: str | None,
        clicks: Sequence[Click],
        asked: Sequence[Click],
        previous: Previous | None,
        seen: tuple[int, int],
        window: int,
    ) -> list[tuple[Box, Float32[np.ndarray, "box_height box_width"]]]:
        """What the clicks that are asked change in a picture that is larger than a window of the
        network's.
        """
        stride = self.model.facts.stride
        changed: list[tuple[Box, np.ndarray]] = []

        def read(part: Part) -> np.ndarray:
            box = _box_of(part, stride).within(whole_box(seen))
            known = np.zeros((part.height * stride, part.width * stride), np.float32)
            if previous is not None:
                known[: box.height, : box.width] = previous(box)
            for earlier, values in changed:
                shared = box.within(earlier)
                if not shared.empty:
                    known[shared.seen_from(box)] = values[shared.seen_from(earlier)]
            return known

        def write(part: Part, values: np.ndarray) -> None:
            box = _box_of(part, stride).within(whole_box(seen))
            changed.append((box, values[: box.height, : box.width]))

        change_in_parts(
            lambda part, inside, before: self.model.predict_part(
                key, defect_type, part, inside, before
            ),
            clicks,
            asked=asked,
            grid=cells_in(seen, stride),
            window=window,
            stride=stride,
            from_nothing=previous is None,
            read=read,
            write=write,
        )
        return changed

    def _resolved(self, key: str, opened: _Open, action: Action) -> Action:
        """A start action with its mask in it, as 0 and 255, so that replaying needs nothing else.
        InputError for a type that the model does not know.
        """
        if isinstance(action, TypeAction) and action.value not in (None, *self.model.facts.types):
            known = ", ".join(self.model.facts.types) or "none"
            raise InputError(f"no defect type {action.value!r}; known: {known}")
        if not isinstance(action, StartAction):
            return action
        if action.source == "png":
            mask = _start_mask(action, opened.state.shape, self.mask_values)
        elif action.source == "saved":
            mask = self.mask(key)
            if mask is None:
                line = self._start_line(key) or "There is no saved mask to start from."
                raise InputError(f"{key}: {line}")
        else:
            answer = self.model.encodings.get(key).probability
            if answer is None:
                raise InputError(f"{self.model.facts.title}: a click model finds nothing by itself")
            stretched = resized(np.asarray(answer), opened.state.shape)
            mask = stretched > self.model.facts.start_threshold
        return StartAction(kind="start", source="png", png=png64(mask.astype(np.uint8) * 255))

    def _check_revision(self, key: str, opened: _Open, revision: int) -> None:
        if revision != opened.revision:
            raise ConflictError(
                "the image has changed meanwhile; this is its present state",
                session=self.view(key, opened),
            )

    def _state_of(self, key: str) -> str:
        opened = self._open.get(key)
        if opened is not None and opened.dirty:
            return "in_work"
        return str(self._saved[key].get("state", "todo"))

    def _take_up(self, key: str) -> None:
        """Go on with an image as it was left; one whose label or journal is damaged is broken, and
        says so, while the others are labelled.
        """
        self._saved[key] = {}
        picture = self.pictures[key]
        if picture.broken:
            return
        try:
            last = self._unsaved_action(key)
            self._saved[key] = self._read(key, last)
        except Exception as error:  # of this image, whatever it is: the others are labelled
            line = " ".join(str(error).split()) or type(error).__name__
            self.pictures[key] = replace(picture, broken=line)
            return
        self._lease_again(key, last)

    def _read(self, key: str, last: Mapping[str, Any] | None) -> dict[str, Any]:
        """What is known of an image, and of the work on it that was not saved yet."""
        saved = _in_brief(read_label(self.labels, key) or {})
        return {**saved, "state": "in_work"} if last else saved

    def _lease_again(self, key: str, last: Mapping[str, Any] | None) -> None:
        """Who was at work on an image a moment ago, before this server, holds it still."""
        if last:
            ago = max(0.0, time.time() - last.get("time", 0.0))
            self._leases[key] = (str(last.get("annotator")), self._clock() + LEASE_S - ago)

    def _unsaved_action(self, key: str) -> dict[str, Any] | None:
        """The journal's last entry where it is work that was not saved yet."""
        entries = Journal(self.labels, key).read()
        return entries[-1] if entries and "action" in entries[-1] else None

    def _facts(self, key: str, opened: _Open, annotator: str, state: SavedState) -> dict[str, Any]:
        edits = opened.edits[: opened.cursor]
        defects = [] if state in ("normal", "todo") else list(opened.state.defects.values())
        picture = self._picture(key)
        return {
            "image": picture.path.name,
            "path": picture.source or f"{key}{picture.path.suffix}",
            "state": state,
            "annotator": annotator,
            "size": list(opened.state.shape),
            "model": {"title": self.model.facts.title, "identity": self.model.facts.identity},
            "objects": [
                {
                    "id": one.id,
                    "type": one.type,
                    "threshold": one.threshold,
                    "clicks": [
                        {"row": click.row, "column": click.column, "positive": click.positive}
                        for click in one.clicks
                    ],
                    "mask": _lengths(mask_plane(opened.state, one)),
                }
                for one in defects
            ],
            "clicks": sum(edit.kind == "click" for edit in edits),
            "strokes": sum(edit.kind == "stroke" for edit in edits),
            "seconds": round(opened.seconds, 1),
            "saved_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }

    def _can_start(self, key: str) -> list[str]:
        sources = ["saved"] if self._mask_file(key) else []
        return sources + (["zero_click"] if self.model.facts.kind == "adclick_seg" else [])

    def _greeting(self, key: str, opened: _Open) -> str | None:
        if opened.edits:
            return None
        return opened.before or self._start_line(key)


def _journalled(key: str, entry: Mapping[str, Any]) -> Any:
    try:
        return EDIT.validate_python(entry["action"])
    except ValidationError as error:
        raise InputError(
            f"{validation_line(f'{key}, journal', error)}; restore or remove it"
        ) from None


def _replayable(entries: Sequence[Mapping[str, Any]], first: int) -> int:
    """From which entry on, `first` or a later one, nothing is undone or redone that was done before
    it: where all was undone, an entry has no mask that would tell of what size the picture was.
    """
    depth = length = 0
    for place in range(first, len(entries)):
        kind = entries[place].get("action", {}).get("kind")
        if kind == "undo":
            depth -= 1
        elif kind == "redo":
            depth += 1
        elif kind is not None:
            length = depth = depth + 1
        if not 0 <= depth <= length:
            first, depth, length = place + 1, 0, 0
    return first


def _sizes(size: Sequence[int], shape: Sequence[int]) -> str:
    """Those of a mask and of its picture, for a line."""
    return f"({size[1]} x {size[0]} pixels, the picture has {shape[1]} x {shape[0]})"


def _in_brief(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What the queue shows of a label; its masks and clicks stay on disk."""
    return {**facts, "objects": [{"type": one.get("type")} for one in facts.get("objects", [])]}


def _advanced(
    opened: _Open, action: Action, step: Callable[[State, Edit], State]
) -> tuple[list[State], list[Edit], int]:
    """States, edits and cursor after an action; the session itself is left as it is."""
    cursor = opened.cursor
    if isinstance(action, UndoAction):
        if not cursor:
            raise InputError("nothing to undo")
        return opened.states, opened.edits, cursor - 1
    if isinstance(action, RedoAction):
        if cursor == len(opened.edits):
            raise InputError("nothing to redo")
        return opened.states, opened.edits, cursor + 1
    state = step(opened.state, action)
    return [*opened.states[: cursor + 1], state], [*opened.edits[:cursor], action], cursor + 1


def _masks(state: State) -> list[dict[str, Any]]:
    """The defects' masks as an entry keeps them: what another model can go on from."""
    return [
        {
            "id": one.id,
            "type": one.type,
            "threshold": one.threshold,
            "mask": _lengths(mask_plane(state, one)),
        }
        for one in state.defects.values()
    ]


def _start_mask(
    action: StartAction, shape: tuple[int, int], mask_values: MaskValues | None = "shades"
) -> Bool[np.ndarray, "height width"]:
    """The mask in a start action; one that comes from a journal is 0 and 255."""
    try:
        content = base64.b64decode(action.png or "", validate=True)
    except ValueError:
        raise InputError("start mask: not base64; send a PNG file's content") from None
    return decode_mask(content, Path("start mask"), shape=shape, mask_values=mask_values)


def _object(state: State, one: Defect) -> Mapping[str, Any]:
    return {
        "id": one.id,
        "type": one.type,
        "clicks": len(one.clicks),
        "threshold": one.threshold,
        "area": _area(mask_plane(state, one)),
    }


_LENGTHS: WeakKeyDictionary[Plane, dict[str, Any]] = WeakKeyDictionary()  # planes never change
_AREAS: WeakKeyDictionary[Plane, int] = WeakKeyDictionary()


def _lengths(mask: Plane) -> dict[str, Any]:
    if mask not in _LENGTHS:
        _LENGTHS[mask] = plane_run_lengths(mask)
    return _LENGTHS[mask]


def _area(mask: Plane) -> int:
    if mask not in _AREAS:
        _AREAS[mask] = count_of(mask)
    return _AREAS[mask]


def is_large(shape: tuple[int, int]) -> bool:
    """Whether a picture is more than the page takes as a whole."""
    return shape[0] * shape[1] > WHOLE_PIXELS


def _box_of(part: Part, stride: int) -> Box:
    return Box(*(stride * number for number in (part.top, part.left, part.height, part.width)))


def _pieces_of(plane: Plane) -> list[list[Any]]:
    """A plane's tiles: top, left, height, width and content of each."""
    return [[*plane.box_of(tile), _tile_png(plane, tile)] for tile in sorted(plane.tiles)]


def _tile_png(plane: Plane, tile: tuple[int, int]) -> str:
    kept, box = plane.tiles[tile], plane.box_of(tile)
    if isinstance(kept, np.ndarray):
        return _png_of(kept)
    return _png_of_bytes(kept, box.height, box.width, plane.dtype.str)


@lru_cache(maxsize=1024)
def _png_of_bytes(kept: bytes, height: int, width: int, dtype: str) -> str:
    return _png_of(np.frombuffer(zlib.decompress(kept), dtype).reshape(height, width))


def _png_of(values: np.ndarray) -> str:
    """Grey values: probabilities and masks from 0 to 255; of strokes 0 where nothing was, 1 erased,
    2 painted.
    """
    if values.dtype == bool:
        return png64(values.astype(np.uint8) * 255)
    return png64((values + 1).view(np.uint8) if values.dtype == np.int8 else _grey(values))


def _active(seconds: float) -> float:
    return min(max(seconds, 0.0), LONGEST_ACTIVE_S)


def _grey(probability: Float[np.ndarray, "seen_height seen_width"]) -> np.ndarray:
    return np.rint(255 * np.clip(probability.astype(np.float32), 0, 1)).astype(np.uint8)


def png_bytes(pixels: np.ndarray, settings: Sequence[int] = QUICK) -> bytes:
    """A grey or BGR picture as a PNG file's content, with OpenCV's settings for it: quickly rather
    than small.
    """
    done, content = cv2.imencode(".png", pixels, settings)
    if not done:
        raise RuntimeError("a picture could not be encoded")
    return content.tobytes()


def png64(pixels: np.ndarray) -> str:
    """A mask or a map, flat almost everywhere, as a PNG file's content in base64."""
    return base64.b64encode(png_bytes(pixels, FLAT)).decode()


def object_masks(facts: Mapping[str, Any], place: Path) -> list[tuple[str | None, np.ndarray]]:
    """Type and mask of every defect in the saved label that was read from `place`. InputError when
    one has no mask.
    """
    defects = facts.get("objects", [])
    for number, one in enumerate(defects, start=1):
        if not one.get("mask"):
            raise InputError(f"{place}: defect {number} has no mask; restore or remove the file")
    return [(one.get("type"), mask_of(one["mask"])) for one in defects]
