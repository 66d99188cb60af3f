"""The studio's truth: one project, and what each of its steps has."""

import json
import re
import threading
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from adclick.annotate.store import JOURNAL
from adclick.data.reading import VALIDATION
from adclick.project.sheet import counts
from adclick.project.writing import MASKED, OVERLAY, Project
from adclick.run.artifacts import image_ids, open_arrays
from adclick.run.errors import InputError
from adclick.run.folders import shown
from adclick.studio.inspecting import Inspection, detector_of, detector_state, has_detector
from adclick.studio.labelling import App, Labelling, click_weights
from adclick.studio.photographs import Photographs, project_of
from adclick.studio.runs import Runs
from adclick.studio.taking import Taking, makers

FEWEST_LABELS = 2  # a detector holds some labelled pictures out
NEW_LABELS = 3  # after so many more it is learnt again while somebody labels
WATCH_S = 10.0
CLICKS, DETECTORS = "click_models", "detectors"


class Studio:
    """A project's folder and all that is open of it; called from the server's threads."""

    def __init__(self, folder: Path, *, token: str | None = None, version: str = "") -> None:
        """Takes up what is there; nothing slow is begun."""
        self.folder = folder
        self.photographs = Photographs(folder, product_name(folder))
        arguments = ["--configfile", OVERLAY, "--cores", "all"]
        self.runs = Runs(folder / ".adclick/runs", working=folder, arguments=arguments)
        self.taking = Taking(makers(self.inspection))
        self._labelling = Labelling(token=token, version=version, teaching=self.teaching)
        self._opening = threading.Lock()
        self._closed = threading.Event()
        self._inspection: Inspection | None = None
        self._inspected: tuple[Any, ...] | None = None
        self._kept: tuple[Any, ...] | None = None
        self._watched: str | None = None
        threading.Thread(target=self._watch, daemon=True).start()

    def close(self) -> None:
        """End the processes that answer; a run goes on."""
        self._closed.set()
        self._labelling.close()
        with self._opening:
            if self._inspection is not None:
                self._inspection.close()

    def project(self) -> Project:
        """The project; InputError where none was made yet."""
        found = project_of(self.folder)
        if found is None:
            raise InputError("no project yet: choose photographs first")
        return found

    def state(self) -> dict[str, Any]:
        """How far each step is, in a word or two."""
        project = project_of(self.folder)
        run = self.runs.latest()
        running = run is not None and run.state == "running"
        photographs = _sheet_counts(project) if project else None
        done, of = label_counts(project) if project else (0, 0)
        clicks = project is not None and click_weights(project) is not None
        detector = project is not None and has_detector(project)
        return {
            "folder": str(self.folder),
            "name": project.name if project else self.photographs.name,
            "exists": project is not None,
            "photographs": photographs,
            "running": running,
            "click_model": clicks,
            "detector": detector,
            "labels": done,
            "to_label": of,
        }

    def make_project(
        self,
        *,
        size_px: int | None,
        texture: bool | None,
        backbone: str | None = None,
        scale: float | None = None,
    ) -> Project:
        """Write the project of the photographs that are chosen."""
        run = self.runs.latest()
        if run is not None and run.state == "running":
            raise InputError("a run goes on: wait for it, or cancel it, then change the project")
        weights = Path(backbone).expanduser() if backbone else None
        if weights is not None and not (weights.is_absolute() and weights.is_file()):
            raise InputError(
                f"{shown(weights)}: no such file; give the whole path of ResNet-18's weights"
            )
        return self.photographs.make_project(
            size_px=size_px, scale=scale, texture=texture, backbone=weights
        )

    # --- learning --------------------------------------------------------------------------------

    def learn(self, *, unlock: bool = False) -> None:
        """Begin a run of all that can be learnt now."""
        project = self.project()
        done, _ = label_counts(project)
        self.runs.start(targets(project), unlock=unlock, labels=done)

    @property
    def learns_along(self) -> bool:
        """Whether the detector is learnt again, in the background, while somebody labels."""
        return not (self.folder / ".adclick/not-along").exists()

    def set_learns_along(self, along: bool) -> None:
        """Remember whether it is."""
        place = self.folder / ".adclick/not-along"
        place.parent.mkdir(exist_ok=True)
        place.unlink(missing_ok=True) if along else place.touch()

    def _watch(self) -> None:
        """While somebody labels, learn again when enough labels are new, and let a new detector
        look at what is to be labelled. A run that failed or was cancelled is left to a person.
        """
        while not self._closed.wait(WATCH_S):
            try:
                self._look_after()
                self._watched = None
            except (InputError, OSError):
                pass  # such as of a project that is being made: looked at again
            except Exception as error:  # whatever it is: the page tells it, and this goes on
                self._watched = " ".join(str(error).split()) or type(error).__name__

    def _look_after(self) -> None:
        project = project_of(self.folder)
        if project is None:
            return
        labelling = self._labelling.is_open and self.learns_along
        if labelling and self.is_due():
            self.learn()
        made = detector_state(project)
        if made is not None and made != self._kept:
            detector_of(project)  # it can be used, then, while the next one is learnt
            self._kept = made
        if labelling and made is not None:
            self.inspection()

    def is_due(self) -> bool:
        """Whether enough labels are new since what was learnt last."""
        done, _ = label_counts(self.project())
        last = self.runs.latest()
        return (
            done >= FEWEST_LABELS
            and last is not None
            and last.state == "done"
            and done >= int(last.facts.get("labels", 0)) + NEW_LABELS
        )

    def learning_state(self) -> dict[str, Any]:
        """What a run would learn, and what is learnt."""
        project = project_of(self.folder)
        done, of = label_counts(project) if project else (0, 0)
        return {
            "exists": project is not None,
            "click_model": project is not None and click_weights(project) is not None,
            "detector": project is not None and has_detector(project),
            "labels": done,
            "to_label": of,
            "fewest": FEWEST_LABELS,
            "along": self.learns_along,
            "targets": [] if project is None else targets(project),
            "stale": project is not None and detector_is_stale(project),
            "masks": project is not None and project.variant == MASKED,
            "fault": self._watched,
        }

    # --- labelling -------------------------------------------------------------------------------

    @property
    def can_label(self) -> bool:
        """Whether there is a click model, or a desk that is open while it is learnt anew."""
        project = project_of(self.folder)
        return project is not None and (
            self._labelling.is_open or click_weights(project) is not None
        )

    def label_state(self) -> dict[str, Any]:
        """Whether one can label now, or what is in the way."""
        if not self.can_label:
            return {"state": "no model", "error": None}
        ready = self._labelling.is_ready(self.project())
        return {"state": "ready" if ready else "opening", "error": self._labelling.error}

    def label_app(self) -> App:
        """The annotation tool's application, for one request."""
        return self._labelling.app(self.project())

    # --- inspecting ------------------------------------------------------------------------------

    def inspection(self) -> Inspection:
        """The inspection by the present detector, or by the last one while that is learnt again or
        opened. InputError while there is none, or the first is being opened.
        """
        project = self.project()
        made = detector_state(project)
        opened = self._inspection
        if opened is not None and (made is None or made == self._inspected):
            return opened
        if not self._opening.acquire(blocking=False):
            if opened is None:
                raise InputError("the detector is being opened: in a moment")
            return opened
        try:
            return self._opened(project, made)
        finally:
            self._opening.release()

    def _opened(self, project: Project, made: tuple[Any, ...] | None) -> Inspection:
        before = self._inspection
        if before is None or made != self._inspected:
            self._inspection = Inspection(project, detector_of(project))
            self._inspected = made
            if before is not None:
                before.close()
            self._inspection.forget_others()
        assert self._inspection is not None
        return self._inspection

    def inspection_state(self) -> dict[str, Any]:
        """What the inspection shows; without a detector, that there is none."""
        project = project_of(self.folder)
        if project is None or not has_detector(project):
            return {"detector": False}
        if self._inspection is None and self._opening.locked():
            return {"detector": False, "opening": True}
        return {"detector": True, **self.inspection().state()}

    def teaching(self) -> dict[str, float]:
        """What the present detector says that labels would teach, or the last one while that is
        learnt again; nothing while it is not known.
        """
        opened = self._inspection
        with suppress(InputError):
            if opened is not None and detector_state(self.project()) in (None, self._inspected):
                return opened.teaching()
        return {}

    def inspect_new(self, name: str, content: bytes) -> str:
        """Look at a new photograph."""
        return self.inspection().add(name, content)


def product_name(folder: Path) -> str:
    """The product's name: that of the project, else of the folder."""
    found = project_of(folder)
    if found is not None:
        return found.name
    return re.sub(r"[^A-Za-z0-9_.\-]+", "-", folder.absolute().name).strip("-.") or "product"


def targets(project: Project) -> list[str]:
    """What can be learnt now: with enough labels the detector, too; from masks the detector."""
    if project.variant == MASKED:
        return [DETECTORS]
    done, _ = label_counts(project)
    return [CLICKS, DETECTORS] if done >= FEWEST_LABELS else [CLICKS]


def label_counts(project: Project) -> tuple[int, int]:
    """How many defective photographs are labelled, and of how many."""
    done = sum(_state_of(path) == "done" for path in _labels(project))
    return done, _sheet_counts(project)["defective"]


def _labels(project: Project) -> list[Path]:
    found = project.labels.rglob("*.json")
    return [path for path in found if JOURNAL not in path.relative_to(project.labels).parts]


def _state_of(path: Path) -> str:
    return _label_state(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=10_000)
def _label_state(path: Path, _: int) -> str:
    """What a label says of itself; read once while its file is the same."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8")).get("state"))
    except (OSError, ValueError, AttributeError):
        return "damaged"


def _sheet_counts(project: Project) -> dict[str, int]:
    sheet = project.sheet
    return dict(_counted(sheet, sheet.stat().st_mtime_ns))


@lru_cache(maxsize=16)
def _counted(sheet: Path, _: int) -> tuple[tuple[str, int], ...]:
    found = counts(sheet)
    held, defective = found[VALIDATION], found["defective"]
    return ("normal", found["train"] + held), ("defective", defective), ("held_out", held)


def detector_is_stale(project: Project) -> bool:
    """Whether there are other labels than those that the detector learnt from. These were collected
    when its training began, so labels that were saved while it went on are other ones.
    """
    if project.variant == MASKED or not has_detector(project):
        return False
    collected = project.category / "collect_labels/labels.h5"
    maps = detector_state(project)
    try:
        since = collected.stat().st_mtime_ns
    except OSError:
        return True  # they are being collected again
    done = [path for path in _labels(project) if _state_of(path) == "done"]
    return (
        maps is None
        or maps[0] < since
        or len(done) != _collected(collected, since)
        or any(path.stat().st_mtime_ns > since for path in done)
    )


@lru_cache(maxsize=16)
def _collected(labels: Path, _: int) -> int:
    """How many labels were collected; read once while the file is the same."""
    with open_arrays(labels) as file:
        return len(image_ids(file))
