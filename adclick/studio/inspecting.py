"""The fourth step: what the detector finds in pictures, whether it was trained on them or not.

Maps are made one after the other in a process of their own and kept on disk, by the model and the
picture's file, so that a page that is opened again, or a server that is started anew, has them.
"""

import json
import os
import shutil
import threading
from collections import deque
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt16

from adclick.annotate.store import read_label, saved_mask
from adclick.annotate.worker import NICE, Worker, teaching_value
from adclick.data.images import IMAGE_SUFFIXES
from adclick.models.decisions import Level, level_of
from adclick.models.description import Description, read_description
from adclick.project.writing import MASKED, SHEETS, Project
from adclick.run.artifacts import image_ids, open_arrays, read_csv, replacing, write_text
from adclick.run.errors import InputError
from adclick.run.folders import shown, walk
from adclick.run.provenance import digest
from adclick.studio.keeping import keep_file

NEW = "new-photographs"  # in the project's folder: what was dropped on the page
MODEL, LEARNT = "inspect/model", "learnt.json"
LEVELS = 65_535  # a map's 1
SMALL_PX = 64  # side of the maps in the gallery
GONE = "is not there any more"
Group = Literal["normal", "test", "defective", "new"]
_EXPORTING = threading.Lock()


@dataclass(frozen=True)
class Seen:
    """A picture to inspect. `normal` ones are held out, `test` ones are normal and for testing
    alone; `trained` are defective ones whose labels or masks the detector learnt from.
    """

    key: str
    path: Path
    group: Group
    kind: str
    trained: bool


class Inspector:
    """What runs in the process: the opened detector."""

    def __init__(self, folder: Path) -> None:
        """Opens the model of a folder."""
        from adclick.models.folder import open_model

        self.model = open_model(folder)

    def look_at(self, path: Path) -> tuple[Float32[np.ndarray, "height width"], float]:
        """The map of a picture's file at the network's size, as a square, and the picture's score:
        the highest value of its map at the picture's own size, as the threshold's scores are.
        """
        from adclick.data.images import read_image
        from adclick.models.folder import detect
        from adclick.residuals.maps import resize_map

        bits = self.model.description.pictures.bits
        picture = read_image(path, bits=bits, clipped=True)
        made = detect(self.model, picture)
        side = max(made.shape)  # maps are kept and sent as squares, also those of other shapes
        return resize_map(made, (side, side)), float(
            f"{resize_map(made, picture.shape[:2]).max():.6g}"
        )


class Inspection:
    """The maps of a project's pictures by one detector."""

    def __init__(self, project: Project, model: Path) -> None:
        """Begins with the pictures whose maps are not there yet, in the background."""
        self.project, self.model = project, model
        self.description: Description = read_description(model)
        self._folder = project.category / "inspect" / self.description.identity
        self._folder.mkdir(parents=True, exist_ok=True)
        self._fixed = _of_run(project, _learnt(project, self._folder))
        self._changed = threading.Condition()
        self._failed: dict[str, str] = {}  # by the map's name, so of this very file
        self._scores: dict[str, float] = {}
        self._teaching: dict[str, float] = {}
        self._peaks_of: dict[str, tuple[Any, list[float] | None]] = {}
        self._wanted: deque[str] = deque()
        self._closed = False
        self._making: str | None = None
        self.pictures: dict[str, Seen] = {}
        self.refresh()
        self._worker = Worker(partial(Inspector, model), name="inspecting", nice=NICE)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the process."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._worker.close()

    # --- what is asked ---------------------------------------------------------------------------

    @property
    def level(self) -> Level:
        """What a score is compared with: the same as in all files that are taken away."""
        if self.description.detection is None:
            raise InputError(f"{self.description.title}: needs clicks, and detects nothing")
        return level_of(self.description.detection)

    def state(self) -> dict[str, Any]:
        """Every picture with its score, and the detector's own threshold. Looks for photographs
        that have come or gone.
        """
        self.refresh()
        level = self.level
        rows = [self._row(one) for one in self.pictures.values()]
        return {
            "model": self.description.title,
            "identity": self.description.identity,
            "seen_at": self.description.geometry.words,
            "pictures": rows,
            "waiting": any(row["score"] is None and not row["broken"] for row in rows),
            "threshold": level.value,
            "decides": level.decides,
            "advice": level.line,
        }

    def _row(self, one: Seen) -> dict[str, Any]:
        score = self._score(one)
        broken = None if score is not None or one.path.is_file() else GONE
        return {
            "key": one.key,
            "name": shown(one.path.name),
            "group": one.group,
            "kind": one.kind,
            "trained": one.trained,
            "score": score,
            "broken": broken or self._failed.get(self._file(one).name),
            "labelled": self._peaks(one) if one.group == "defective" else None,
        }

    def map_file(self, key: str) -> UInt16[np.ndarray, "height width"] | None:
        """The map of a picture in steps of 1 / 65535; None while it is not made. KeyError for an
        unknown picture.
        """
        return self._map(self._file(self.pictures[key]))

    def teaching(self) -> dict[str, float]:
        """How much labels of the defective pictures that were not trained on would teach, by their
        maps; nothing while some of these are not made.
        """
        open_ones = [
            one
            for one in self.pictures.values()
            if one.group == "defective" and not one.trained and not self._is_lost(one)
        ]
        for one in open_ones:
            if one.key not in self._teaching:
                steps = self.map_file(one.key)
                if steps is None:
                    return {}
                self._teaching[one.key] = teaching_value(steps.astype(np.float32) / LEVELS)
        return {one.key: self._teaching[one.key] for one in open_ones}

    def label_mask(self, key: str) -> Bool[np.ndarray, "height width"] | None:
        """The finished label of a picture; None without one."""
        return self._label(self.pictures[key])

    def want(self, key: str) -> None:
        """Make the map of this picture next."""
        with self._changed:
            if key in self._wanted:
                self._wanted.remove(key)
                self._wanted.appendleft(key)

    # --- what is done ----------------------------------------------------------------------------

    def add(self, name: str, content: bytes) -> str:
        """Keep a new photograph that was dropped, and look at it next; gives its key."""
        path = keep_file(self.project.folder / NEW, name, content)
        key = f"{NEW}/{path.name}"
        self._failed.clear()  # what could not be read once is tried again
        self.refresh()
        self.want(key)
        return key

    def refresh(self) -> None:
        """Find the pictures that are there now; maps of new ones are made."""
        found = {one.key: one for one in (*self._fixed, *_new(self.project.folder))}
        with self._changed:
            self.pictures = found
            waiting = [key for key in self._wanted if key in found]
            known = {*waiting, self._making}
            missing = [
                one.key
                for one in found.values()
                if one.key not in known and not self._file(one).is_file() and not self._is_lost(one)
            ]
            self._wanted = deque([*waiting, *missing])
            self._changed.notify_all()

    def forget_others(self) -> None:
        """Remove the maps of earlier detectors."""
        for folder in self._folder.parent.iterdir():
            kept = (self._folder.name, self.model.name)
            if folder.is_dir() and folder.name.isalnum() and folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    # --- inside ----------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._closed and not self._wanted:
                    self._changed.wait()
                if self._closed:
                    return
                one = self.pictures.get(self._wanted.popleft())
                self._making = None if one is None else one.key
            if one is not None:
                self._make(one)
            with self._changed:
                self._making = None

    def _make(self, one: Seen) -> None:
        target = self._file(one)
        try:
            made, score = self._worker.call("look_at", one.path)
            steps = np.rint(np.clip(made, 0, 1) * LEVELS).astype(np.uint16)
            with replacing(target) as temporary, temporary.open("wb") as file:
                np.savez(file, steps=steps, score=np.float64(score))
        except Exception as error:  # of this picture, whatever it is: others must not wait for it
            self._failed[target.name] = " ".join(str(error).split()) or type(error).__name__

    def _is_lost(self, one: Seen) -> bool:
        return self._file(one).name in self._failed or not one.path.is_file()

    def _file(self, one: Seen) -> Path:
        try:
            state = one.path.stat()
            facts = [str(one.path), state.st_size, state.st_mtime_ns]
        except OSError:
            facts = [str(one.path)]
        return self._folder / f"{digest(facts)}.npz"

    def _map(self, path: Path) -> UInt16[np.ndarray, "size size"] | None:
        if not path.is_file():
            return None
        with np.load(path) as found:
            return found["steps"]

    def _score(self, one: Seen) -> float | None:
        path = self._file(one)
        if path.name not in self._scores and path.is_file():
            with np.load(path) as found:
                self._scores[path.name] = float(found["score"])
        return self._scores.get(path.name)

    def _label(self, one: Seen) -> Bool[np.ndarray, "height width"] | None:
        if one.group != "defective":
            return None
        try:
            label = read_label(self.project.labels, one.key)
            finished = label is not None and label.get("state") == "done"
            return saved_mask(self.project.labels, one.key) if finished else None
        except InputError:  # a damaged label is told where labels are made
            return None

    def _peaks(self, one: Seen) -> list[float] | None:
        """The map's highest value in each labelled defect; None without a map or a label. Made once
        for a map and a label.
        """
        saved, made = self.project.labels / f"{one.key}.json", self._file(one)
        if not (saved.is_file() and made.is_file()):
            return None
        facts = (saved.stat().st_mtime_ns, made.name)
        if self._peaks_of.get(one.key, (None,))[0] != facts:
            mask, steps = self._label(one), self._map(made)
            peaks = None
            if mask is not None and steps is not None:
                peaks = defect_peaks(steps.astype(np.float32) / LEVELS, mask)
            self._peaks_of[one.key] = (facts, peaks)
        return self._peaks_of[one.key][1]


def defect_peaks(
    scores: Float32[np.ndarray, "_ _"], mask: Bool[np.ndarray, "height width"]
) -> list[float]:
    """The highest score in each defect (8-connected) of a mask of any size."""
    count, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    height, width = mask.shape
    rows = np.minimum((np.arange(height) + 0.5) * len(scores) / height, len(scores) - 1)
    columns = np.minimum((np.arange(width) + 0.5) * scores.shape[1] / width, scores.shape[1] - 1)
    stretched = scores[np.ix_(rows.astype(int), columns.astype(int))]
    return [float(stretched[parts == number].max()) for number in range(1, count)]


def small_map(
    steps: UInt16[np.ndarray, "height width"],
) -> UInt16[np.ndarray, "small_height small_width"]:
    """A map for the gallery: the highest value of each of its blocks, so that nothing is lost."""
    for axis, side in enumerate(steps.shape):
        edges = np.linspace(0, side, min(SMALL_PX, side) + 1).astype(int)[:-1]
        steps = np.maximum.reduceat(steps, edges, axis=axis)
    return steps


def detector_of(project: Project) -> Path:
    """The model folder of the project's detector, exported again where it is not the present one;
    while that is being made again, the one that is there. InputError while none is learnt.
    """
    from adclick.models.export import exported

    with _EXPORTING:
        folder = project.category / MODEL
        if detector_state(project) is None and not folder.is_dir():
            raise InputError("no detector yet: label some defects, then learn")
        return exported(project.category, project.variant, seed=0, output=folder)


def detector_state(project: Project) -> tuple[Any, ...] | None:
    """What changes when another detector is learnt; None while there is none, or it is made."""
    maps = project.category / f"predict_maps/{project.variant}/seed0/maps.h5"
    try:
        return (maps.stat().st_mtime_ns,)
    except OSError:
        return None


def has_detector(project: Project) -> bool:
    """Whether there is a detector to inspect with: learnt, or exported while it is learnt again."""
    return detector_state(project) is not None or (project.category / MODEL).is_dir()


def _of_run(project: Project, learnt: set[str] | None) -> list[Seen]:
    """The run's pictures but for the normal ones that it was trained on. Learnt were `learnt`, or
    (None) all defective ones of the training split.
    """
    table = read_csv(project.category / "make_manifest/manifest.csv")
    root = project.folder / SHEETS
    found = []
    for image_id, path, role, kind in zip(
        *(map(str, table[name]) for name in ("image_id", "path", "role", "defect_type")),
        strict=True,
    ):
        if role == "train_normal":
            continue
        group: Group = "defective"
        if role.endswith("normal"):
            group = "test" if role.startswith("test") else "normal"
        trained = role == "train_defect" if learnt is None else image_id in learnt
        found.append(Seen(image_id, root / path, group, kind, group == "defective" and trained))
    return found


def _learnt(project: Project, folder: Path) -> set[str] | None:
    """The pictures whose labels a detector learnt from; None for one that learns from all masks.
    Kept in `folder` with its maps, since labels that the next one learns from replace them.
    """
    if project.variant == MASKED:
        return None
    kept = folder / LEARNT
    if not kept.is_file():
        labels = project.category / "collect_labels/labels.h5"
        if not labels.is_file():
            return set()
        with open_arrays(labels) as file:
            write_text(kept, json.dumps(sorted(image_ids(file))) + "\n")
    return set(json.loads(kept.read_text(encoding="utf-8")))


def _new(folder: Path) -> list[Seen]:
    if not (folder / NEW).is_dir():
        return []
    return [
        Seen(os.path.relpath(path, folder), path, "new", "", False)
        for path in walk(folder / NEW).files
        if path.suffix.lower() in IMAGE_SUFFIXES
    ]
