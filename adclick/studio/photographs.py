"""The first step: folders of photographs, what was found in them, and the project made of it."""

import json
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2

from adclick.data.images import IMAGE_SUFFIXES, read_image
from adclick.data.reading import GOOD, VALIDATION
from adclick.project.sheet import left_out_before, photographs_of
from adclick.project.standing import standing_of
from adclick.project.survey import (
    LEAST_DEFECTS,
    LEAST_NORMALS,
    Survey,
    size_line,
    survey_photographs,
    without,
)
from adclick.project.writing import OVERLAY, SHEETS, Project, open_project, write_project
from adclick.run.artifacts import read_csv, write_text
from adclick.run.errors import InputError
from adclick.run.folders import fault_of_type, shown
from adclick.run.provenance import file_sha256
from adclick.studio.keeping import keep_file

MOST_LISTED = 500  # folders that are listed at once
MOST_NAMED = 5  # files that are named of each kind that is passed over
THUMBNAIL_PX = 160
NORMAL, DEFECTIVE, TESTS = KINDS = ("normal", "defective", "normal_test")


class Photographs:
    """Which folders are chosen, and what is in them; `folder` is the project's.

    Of normal and of defective photographs one folder may be chosen, and what was dropped on the
    page counts beside it. The choice belongs to the project's list of photographs as it was then:
    where somebody else has written another (`adclick init`), that is where a change begins.
    """

    def __init__(self, folder: Path, name: str) -> None:
        """Takes up what was chosen before, and looks at it anew."""
        self.folder, self.name = folder, name
        self._kept = folder / ".adclick/photographs.json"
        self._lock = threading.RLock()
        self._chosen = self._recalled()
        self._survey: Survey | None = None
        self._error: str | None = None
        self._done, self._of, self._turn = 0, 0, 0
        self._catch_up()
        self._begin()

    @property
    def own_folder(self) -> Path:
        """Where photographs go that are dropped on the page."""
        return self.folder / SHEETS / self.name

    # --- what is asked ---------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """What is chosen, how far the survey is, and what it found."""
        with self._lock:
            survey = self._survey
            project = project_of(self.folder)
            return {
                "normal": self._chosen.get(NORMAL),
                "defective": self._chosen.get(DEFECTIVE),
                "added": {kind: self._added_folder(kind) for kind in (NORMAL, DEFECTIVE)},
                "has": None if project is None else standing_of(project)._asdict(),
                "looking": self._error is None and survey is None and bool(self._folders(NORMAL)),
                "done": self._done,
                "of": self._of,
                "error": self._error,
                "found": None if survey is None else self._found(survey),
            }

    def _found(self, survey: Survey) -> dict[str, Any]:
        left_out = self._chosen.get("left_out", [])
        used = without(survey, self._left_out(survey))
        scale = survey.scale
        return {
            "normals": len(used.normals),
            "defects": len(used.defects),
            "tests": len(used.tests),
            "left_out": [shown(one.path.name) for one in used.left_out],
            "least": {NORMAL: LEAST_NORMALS, DEFECTIVE: LEAST_DEFECTS},
            "kinds": used.kinds,
            "sizes": size_line(survey.sizes),
            "passed_over": [
                {
                    "what": what,
                    "count": len(paths),
                    "names": [shown(path.name) for path in paths[:MOST_NAMED]],
                }
                for what, paths in survey.passed_over.items()
                if paths
            ],
            "duplicates": _names(survey.duplicates),
            "contradictory": _names(survey.contradictory),
            "odd": [
                {
                    "path": str(one.photograph.path),
                    "name": shown(one.photograph.path.name),
                    "times": round(one.times, 1),
                    "row": one.row,
                    "column": one.column,
                    "left_out": str(one.photograph.path) in left_out,
                }
                for one in survey.odd
            ],
            "aligned": survey.view.aligned,
            "texture": survey.view.texture,
            "size_px": scale.size_px,
            "minutes": scale.minutes,
            "cost": scale.cost.line,
            "kept": None
            if scale.kept is None
            else {**scale.kept._asdict(), "cost": scale.kept.cost.line},
            "larger": None if scale.larger is None else list(scale.larger),
            "samples": {
                "normal": [str(one.path) for one in used.normals[:8]],
                "defective": [str(one.path) for one in _varied(used.defects)[:8]],
            },
        }

    def _left_out(self, survey: Survey) -> list[Path]:
        known = {one.path for one in (*survey.normals, *survey.defects)}
        return [Path(path) for path in self._chosen.get("left_out", []) if Path(path) in known]

    def thumbnail(self, path: Path) -> bytes:
        """A small JPEG of one of the photographs; KeyError for another file."""
        survey = self._survey
        known = () if survey is None else (*survey.normals, *survey.defects)
        if all(one.path != path for one in known):
            raise KeyError(str(path))
        return small_jpeg(path, THUMBNAIL_PX)

    # --- what is done ----------------------------------------------------------------------------

    def choose(self, *, normal: str | None = None, defective: str | None = None) -> None:
        """Take folders, and look at what is in them; None leaves the one that was chosen."""
        given = {NORMAL: normal, DEFECTIVE: defective}
        folders = {kind: _folder(path) for kind, path in given.items() if path is not None}
        with self._lock:
            self._catch_up()
            self._chosen = {**self._chosen, **folders}
            self._keep()
            self._begin()

    def clear(self, kind: str) -> None:
        """Choose nothing of `normal` or `defective`; files that were dropped stay in the folder."""
        with self._lock:
            self._catch_up()
            self._chosen.pop(kind, None)
            self._chosen["added"] = [one for one in self._chosen.get("added", []) if one != kind]
            self._keep()
            self._begin()

    def add(self, kind: str, name: str, content: bytes) -> Path:
        """Keep a photograph that was dropped on the page: `kind` is good or a kind of defect.

        One of the same name and content is kept once; another of the same name gets a number.
        """
        fault = fault_of_type(kind)
        if fault is not None:
            raise InputError(f"{shown(kind)!r} is no name of a kind of defect: it {fault}")
        return keep_file(self.own_folder / kind, name, content)

    def added(self, kinds: Sequence[str]) -> None:
        """What was dropped is complete: it counts beside the folder that is chosen."""
        with self._lock:
            self._catch_up()
            new = {NORMAL} if GOOD in kinds else set()
            new |= {DEFECTIVE} if set(kinds) - {GOOD} else set()
            self._chosen["added"] = sorted({*self._chosen.get("added", []), *new})
            self._keep()
            self._begin()

    def leave_out(self, path: str, *, left_out: bool) -> None:
        """Whether a normal photograph is left out of the project."""
        with self._lock:
            if self._catch_up():
                self._begin()
            others = [one for one in self._chosen.get("left_out", []) if one != path]
            self._chosen["left_out"] = [*others, path] if left_out else others
            self._keep()

    def make_project(
        self,
        *,
        size_px: int | None,
        texture: bool | None,
        backbone: Path | None = None,
        scale: float | None = None,
    ) -> Project:
        """Write the project of what is chosen; what is None is as the project has it, or proposed.

        InputError while nothing is chosen, while it is looked at, and for a project whose detector
        learns from masks: those would be lost.
        """
        with self._lock:
            project = project_of(self.folder)
            has = None if project is None else standing_of(project)
            if has is not None and has.masks:
                raise InputError(
                    "this project learns from masks, which only adclick init --masks takes: add"
                    " photographs with it"
                )
            if self._catch_up():
                self._begin()
                raise InputError(
                    "the project's photographs were changed elsewhere (adclick init?): look at them"
                    " again, then take them"
                )
            survey = self._survey
            if survey is None:
                raise InputError(self._error or "photographs are looked at: wait a moment")
            made = write_project(
                self.folder,
                without(survey, self._left_out(survey)),
                name=self.name,
                size_px=has.size_px
                if has and size_px is None and scale is None and has.scale is None
                else size_px,
                scale=has.scale if has and size_px is None and scale is None else scale,
                texture=has.texture if texture is None and has else texture,
                backbone=backbone,
            )
            self._keep()
            return made

    # --- inside ----------------------------------------------------------------------------------

    def _folders(self, kind: str) -> list[Path]:
        """The folders of a kind: the one that is chosen, and that of what was dropped."""
        found = [self._chosen.get(kind), self._added_folder(kind)]
        return [Path(path) for path in dict.fromkeys(found) if path]

    def _added_folder(self, kind: str) -> str | None:
        folder = self.own_folder / GOOD if kind == NORMAL else self.own_folder
        return str(folder) if kind in self._chosen.get("added", []) and folder.is_dir() else None

    def _begin(self) -> None:
        self._turn += 1
        self._survey, self._error, self._done, self._of = None, None, 0, 0
        if self._folders(NORMAL):
            threading.Thread(target=self._look, args=(self._turn,), daemon=True).start()

    def _look(self, turn: int) -> None:
        with self._lock:
            normal, defective = self._folders(NORMAL), self._folders(DEFECTIVE)
            tests = self._chosen.get(TESTS)
        try:
            found = survey_photographs(
                normal[0],
                next(iter(defective), None),
                more_normal=normal[1:],
                more_defective=defective[1:],
                normal_test_dir=Path(tests) if tests else None,
                apart_from=self.folder,
                progress=lambda done, of: self._tell(turn, done, of),
            )
            error = None
        except _OutOfDateError:
            return
        except Exception as fault:  # whatever it is: the page would wait for ever
            found, error = None, " ".join(str(fault).split()) or type(fault).__name__
        with self._lock:
            if turn == self._turn:
                self._survey, self._error = found, error

    def _tell(self, turn: int, done: int, of: int) -> None:
        if turn != self._turn:
            raise _OutOfDateError
        self._done, self._of = done, of

    def _recalled(self) -> dict[str, Any]:
        try:
            values = json.loads(self._kept.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return values if isinstance(values, dict) else {}

    def _keep(self) -> None:
        self._chosen["sheet"] = _sheet_digest(project_of(self.folder))
        write_text(self._kept, json.dumps(self._chosen, ensure_ascii=False, indent=1) + "\n")

    def _catch_up(self) -> bool:
        """Begin with the project's own photographs where the choice is of another list of them."""
        project = project_of(self.folder)
        sheet = _sheet_digest(project)
        if project is None or self._chosen.get("sheet") == sheet:
            return False
        listed = {str(path) for path in photographs_of(project.sheet)}
        before = [path for path in self._chosen.get("left_out", []) if path not in listed]
        left_out = [*map(str, left_out_before(project.sheet)), *before]
        self._chosen = {**folders_of(project), "left_out": left_out, "sheet": sheet}
        return True


class _OutOfDateError(Exception):
    """Other folders were chosen meanwhile."""


def project_of(folder: Path) -> Project | None:
    """The project of a folder; None where none was made yet."""
    return open_project(folder) if (folder / OVERLAY).is_file() else None


def _sheet_digest(project: Project | None) -> str | None:
    return file_sha256(project.sheet) if project is not None and project.sheet.is_file() else None


def folders_of(project: Project) -> dict[str, Any]:
    """The folders that a project's photographs lie in; `added` are the kinds of which some lie in
    the folder for what was dropped.
    """
    table = read_csv(project.sheet)
    own = project.sheet.parent / project.name
    places: dict[str, list[Path]] = {kind: [] for kind in KINDS}
    added = set()
    columns = ("image_path", "label", "split", "defect_type")
    for file, label, split, kind in zip(*(map(str, table[name]) for name in columns), strict=True):
        if split not in ("train", VALIDATION, "test"):
            continue  # left out
        path = Path(os.path.normpath(project.sheet.parent / file))
        which = TESTS if label == "normal_test" else DEFECTIVE if kind else NORMAL
        if path.is_relative_to(own) and which != TESTS:
            added.add(which)
        else:
            places[which].append(_above_kind(path, kind) if kind else path.parent)
    found = {kind: _common(folders) for kind, folders in places.items()}
    return {**{kind: path for kind, path in found.items() if path}, "added": sorted(added)}


def _above_kind(path: Path, kind: str) -> Path:
    """The folder in which the folder of a kind of defect lies, or the photograph itself."""
    named = [folder for folder in path.parents if folder.name == kind]
    return named[-1].parent if named else path.parent


def _common(folders: Sequence[Path]) -> str | None:
    return os.path.normpath(os.path.commonpath(folders)) if folders else None


def list_folders(path: str | None) -> dict[str, Any]:
    """A folder's subfolders and how many pictures lie in it directly, for choosing one."""
    folder = Path(path).expanduser() if path else Path.home()
    if not folder.is_absolute() or not folder.is_dir():
        raise InputError(f"{shown(folder)}: no such folder")
    names, pictures = [], 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if _is_folder(entry):
                    names.append(entry.name)
                elif Path(entry.name).suffix.lower() in IMAGE_SUFFIXES:
                    pictures += 1
    except PermissionError:
        raise InputError(f"{shown(folder)}: you may not look into this folder") from None
    return {
        "path": str(folder),
        "parent": None if folder.parent == folder else str(folder.parent),
        "folders": sorted(names, key=str.lower)[:MOST_LISTED],
        "more": max(0, len(names) - MOST_LISTED),
        "pictures": pictures,
    }


def small_jpeg(path: Path, side_px: int, *, bits: int | None = None) -> bytes:
    """A picture of any kind as a JPEG with this longest side; `bits` are the camera's, of pictures
    that are stored in 16.
    """
    image = read_image(path, bits=bits, clipped=True)
    height, width = image.shape[:2]
    factor = min(1.0, side_px / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
    done, content = cv2.imencode(".jpg", small)
    if not done:
        raise RuntimeError("a thumbnail could not be encoded")
    return content.tobytes()


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _folder(path: str) -> str:
    folder = Path(path).expanduser()
    if not folder.is_absolute():
        raise InputError(f"{shown(folder)}: give the whole path, from /")
    if not folder.is_dir():
        raise InputError(f"{shown(folder)}: no such folder")
    return os.path.normpath(folder)


def _names(groups: Sequence[Sequence[Any]]) -> list[list[str]]:
    return [[shown(one.path.name) for one in group] for group in groups]


def _varied(photographs: Sequence[Any]) -> list[Any]:
    """Photographs with the kinds in turn."""
    kinds: Mapping[str, list[Any]] = {}
    for one in photographs:
        kinds.setdefault(one.kind, []).append(one)  # type: ignore[attr-defined]
    longest = max(map(len, kinds.values()), default=0)
    return [group[i] for i in range(longest) for group in kinds.values() if i < len(group)]
