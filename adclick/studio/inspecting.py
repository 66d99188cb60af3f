"""The fourth step: what the detector finds in pictures, whether it was trained on them or not.

Maps are made one after the other in a process of their own and kept on disk, by the model and the
picture's file, so that a page that is opened again, or a server that is started anew, has them.
"""

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
from adclick.data.images import IMAGE_SUFFIXES, list_pictures
from adclick.models.description import Description, read_description
from adclick.project.writing import SHEETS, Project
from adclick.run.artifacts import image_ids, open_arrays, read_csv, replacing
from adclick.run.errors import InputError
from adclick.run.folders import shown
from adclick.run.provenance import digest

NEW = "new-photographs"  # in the project's folder: what was dropped on the page
LEVELS = 65_535  # a map's 1
SMALL_PX = 64  # side of the maps in the gallery
Group = Literal["normal", "defective", "new"]


@dataclass(frozen=True)
class Seen:
    """A picture to inspect. `normal` ones are held out, or for testing; `trained` are defective
    ones whose labels the detector learnt from.
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

    def map_of(self, path: Path) -> Float32[np.ndarray, "size size"]:
        """The map of a picture's file, at the network's size."""
        from adclick.data.images import read_image
        from adclick.models.folder import detect

        bits = self.model.description.pictures.bits
        return detect(self.model, read_image(path, bits=bits, clipped=True))


class Inspection:
    """The maps of a project's pictures by one detector."""

    def __init__(self, project: Project, model: Path) -> None:
        """Begins with the pictures whose maps are not there yet, in the background."""
        self.project, self.model = project, model
        self.description: Description = read_description(model)
        self._folder = project.category / "inspect" / self.description.identity
        self._folder.mkdir(parents=True, exist_ok=True)
        self._changed = threading.Condition()
        self._failed: dict[str, str] = {}
        self._scores: dict[str, float] = {}
        self._teaching: dict[str, float] = {}
        self._peaks_of: dict[str, tuple[Any, list[float] | None]] = {}
        self._wanted: deque[str] = deque()
        self._closed = False
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

    def state(self) -> dict[str, Any]:
        """Every picture with its score, and what a threshold should be: from the held-out normal
        pictures, without any the model's own for pixels.
        """
        from adclick.metrics.false_alarms import threshold_at

        rows = [self._row(one) for one in self.pictures.values()]
        held = [
            row["score"] for row in rows if row["group"] == "normal" and row["score"] is not None
        ]
        waiting = any(row["score"] is None and not row["broken"] for row in rows)
        found = threshold_at(held) if held else None
        use = self.description.detection
        own = None if use is None else use.threshold
        return {
            "model": self.description.title,
            "identity": self.description.identity,
            "size_px": self.description.size_px,
            "pictures": rows,
            "waiting": waiting,
            "threshold": own if found is None else found.value,
            "advice": None if found is None else found.line,
            "held_out": len(held),
        }

    def _row(self, one: Seen) -> dict[str, Any]:
        return {
            "key": one.key,
            "name": shown(one.path.name),
            "group": one.group,
            "kind": one.kind,
            "trained": one.trained,
            "score": self._score(one),
            "broken": self._failed.get(one.key),
            "labelled": self._peaks(one) if one.group == "defective" else None,
        }

    def map_file(self, key: str) -> UInt16[np.ndarray, "size size"] | None:
        """The map of a picture in steps of 1 / 65535; None while it is not made. KeyError for an
        unknown picture.
        """
        path = self._file(self.pictures[key])
        return np.load(path) if path.is_file() else None

    def teaching(self) -> dict[str, float]:
        """How much labels of the defective pictures that were not trained on would teach, by their
        maps; nothing while some of these are not made.
        """
        open_ones = [
            one
            for one in self.pictures.values()
            if one.group == "defective" and not one.trained and one.key not in self._failed
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
        plain = Path(name).name
        if plain.startswith(".") or Path(plain).suffix.lower() not in IMAGE_SUFFIXES:
            raise InputError(f"{shown(plain)}: no picture ({', '.join(IMAGE_SUFFIXES)})")
        path, number = self.project.folder / NEW / plain, 1
        while path.exists() and path.read_bytes() != content:
            number += 1
            path = path.with_name(f"{Path(plain).stem}-{number}{path.suffix}")
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                temporary.write_bytes(content)
        self.refresh()
        key = f"{NEW}/{path.name}"
        self._failed.pop(key, None)
        self.want(key)
        return key

    def refresh(self) -> None:
        """Find the pictures that are there now; maps of new ones are made."""
        found = {one.key: one for one in (*_of_run(self.project), *_new(self.project.folder))}
        with self._changed:
            self.pictures = found
            missing = [one.key for one in found.values() if not self._file(one).is_file()]
            self._wanted = deque(missing)
            self._changed.notify_all()

    # --- inside ----------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._closed and not self._wanted:
                    self._changed.wait()
                if self._closed:
                    return
                one = self.pictures.get(self._wanted.popleft())
            if one is not None and one.key not in self._failed:
                self._make(one)

    def _make(self, one: Seen) -> None:
        try:
            target = self._file(one)
            made = self._worker.call("map_of", one.path)
            steps = np.rint(np.clip(made, 0, 1) * LEVELS).astype(np.uint16)
            with replacing(target) as temporary, temporary.open("wb") as file:
                np.save(file, steps)
        except Exception as error:  # of this picture, whatever it is: others must not wait for it
            self._failed[one.key] = " ".join(str(error).split()) or type(error).__name__

    def _file(self, one: Seen) -> Path:
        try:
            state = one.path.stat()
            facts = [str(one.path), state.st_size, state.st_mtime_ns]
        except OSError:
            facts = [str(one.path)]
        return self._folder / f"{digest(facts)}.npy"

    def _score(self, one: Seen) -> float | None:
        path = self._file(one)
        if path.name not in self._scores and path.is_file():
            self._scores[path.name] = float(np.load(path).max()) / LEVELS
        return self._scores.get(path.name)

    def _label(self, one: Seen) -> Bool[np.ndarray, "height width"] | None:
        if one.group != "defective":
            return None
        label = read_label(self.project.labels, one.key)
        finished = label is not None and label.get("state") == "done"
        return saved_mask(self.project.labels, one.key) if finished else None

    def _peaks(self, one: Seen) -> list[float] | None:
        """The map's highest value in each labelled defect; None without a map or a label. Made once
        for a map and a label.
        """
        saved, made = self.project.labels / f"{one.key}.json", self._file(one)
        if not (saved.is_file() and made.is_file()):
            return None
        facts = (saved.stat().st_mtime_ns, made.name)
        if self._peaks_of.get(one.key, (None,))[0] != facts:
            mask = self._label(one)
            scores = np.load(made).astype(np.float32) / LEVELS
            self._peaks_of[one.key] = (facts, None if mask is None else defect_peaks(scores, mask))
        return self._peaks_of[one.key][1]


def defect_peaks(
    scores: Float32[np.ndarray, "size size"], mask: Bool[np.ndarray, "height width"]
) -> list[float]:
    """The highest score in each defect (8-connected) of a mask of any size."""
    count, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    height, width = mask.shape
    rows = np.minimum((np.arange(height) + 0.5) * len(scores) / height, len(scores) - 1)
    columns = np.minimum((np.arange(width) + 0.5) * scores.shape[1] / width, scores.shape[1] - 1)
    stretched = scores[np.ix_(rows.astype(int), columns.astype(int))]
    return [float(stretched[parts == number].max()) for number in range(1, count)]


def small_map(steps: UInt16[np.ndarray, "size size"]) -> UInt16[np.ndarray, "small small"]:
    """A map for the gallery: the highest value of each of its blocks, so that nothing is lost."""
    side = len(steps)
    edges = np.linspace(0, side, min(SMALL_PX, side) + 1).astype(int)[:-1]
    return np.maximum.reduceat(np.maximum.reduceat(steps, edges, axis=0), edges, axis=1)


def detector_of(project: Project) -> Path:
    """The model folder of the project's detector, exported again where it is not the present one.
    InputError while none is learnt.
    """
    from adclick.models.export import export_model, is_current

    maps = project.category / f"predict_maps/{project.variant}/seed0/maps.h5"
    if not maps.is_file():
        raise InputError("no detector yet: label some defects, then learn")
    folder = project.category / "inspect/model"
    if not (folder.is_dir() and is_current(folder, project.category, project.variant, seed=0)):
        if folder.exists():
            shutil.rmtree(folder)
        export_model(project.category, project.variant, seed=0, output=folder)
    return folder


def detector_state(project: Project) -> tuple[Any, ...] | None:
    """What changes when another detector is learnt; None while there is none."""
    places = ("maps.h5",)
    folder = project.category / f"predict_maps/{project.variant}/seed0"
    if not all((folder / name).is_file() for name in places):
        return None
    return tuple((folder / name).stat().st_mtime_ns for name in places)


def _of_run(project: Project) -> list[Seen]:
    """The run's pictures but for the normal ones that it was trained on."""
    table = read_csv(project.category / "make_manifest/manifest.csv")
    learnt = _learnt(project)
    root = project.folder / SHEETS
    found = []
    for image_id, path, role, kind in zip(
        *(map(str, table[name]) for name in ("image_id", "path", "role", "defect_type")),
        strict=True,
    ):
        if role == "train_normal":
            continue
        group: Group = "normal" if role.endswith("normal") else "defective"
        found.append(Seen(image_id, root / path, group, kind, image_id in learnt))
    return found


def _learnt(project: Project) -> set[str]:
    labels = project.category / "collect_labels/labels.h5"
    if not labels.is_file():
        return set()
    with open_arrays(labels) as file:
        return set(image_ids(file))


def _new(folder: Path) -> list[Seen]:
    new = folder / NEW
    if not new.is_dir():
        return []
    found = list_pictures(new)
    return [Seen(os.path.relpath(path, folder), path, "new", "", False) for path in found]
