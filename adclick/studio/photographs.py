"""The first step: folders of photographs, what was found in them, and the project made of it."""

import json
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2

from adclick.data.images import IMAGE_SUFFIXES, read_image
from adclick.data.reading import GOOD
from adclick.project.survey import Survey, survey_lines, survey_photographs, without
from adclick.project.writing import OVERLAY, SHEETS, Project, open_project, write_project
from adclick.run.artifacts import read_csv, replacing, write_text
from adclick.run.errors import InputError
from adclick.run.folders import fault_of_type, shown, writable

MOST_LISTED = 500  # folders that are listed at once
MOST_NAMED = 5  # files that are named of each kind that is passed over
THUMBNAIL_PX = 160


class Photographs:
    """Which folders are chosen, and what is in them; `folder` is the project's."""

    def __init__(self, folder: Path, name: str) -> None:
        """Takes up what was chosen before, and looks at it anew."""
        self.folder, self.name = folder, name
        self._kept = folder / ".adclick/photographs.json"
        self._lock = threading.RLock()
        self._chosen = self._recalled() or folders_of(project_of(folder))
        self._survey: Survey | None = None
        self._error: str | None = None
        self._done, self._of, self._turn = 0, 0, 0
        if self._chosen.get("normal"):
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
            return {
                "normal": self._chosen.get("normal"),
                "defective": self._chosen.get("defective"),
                "looking": self._error is None and survey is None and self._of >= 0 and self._busy,
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
            "kinds": used.kinds,
            "sizes": [[width, height, count] for (height, width), count in survey.sizes.items()],
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
            "larger": None if scale.larger is None else list(scale.larger),
            "lines": list(survey_lines(used)),
            "samples": {
                "normal": [str(one.path) for one in used.normals[:8]],
                "defective": [str(one.path) for one in _varied(used.defects)[:8]],
            },
        }

    def _left_out(self, survey: Survey) -> list[Path]:
        known = {one.path for one in survey.normals}
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
        given = {"normal": normal, "defective": defective}
        folders = {kind: _folder(path) for kind, path in given.items() if path is not None}
        with self._lock:
            self._chosen = {**self._chosen, **folders}
            self._keep()
            if self._chosen.get("normal"):
                self._begin()

    def add(self, kind: str, name: str, content: bytes) -> Path:
        """Keep a photograph that was dropped on the page: `kind` is good or a kind of defect.

        One of the same name and content is kept once; another of the same name gets a number.
        """
        fault = fault_of_type(kind)
        if fault is not None:
            raise InputError(f"{shown(kind)!r} is no name of a kind of defect: it {fault}")
        path = self.own_folder / kind / _plain_name(name)
        number = 1
        while path.exists() and path.read_bytes() != content:
            number += 1
            path = path.with_name(f"{Path(_plain_name(name)).stem}-{number}{path.suffix}")
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                temporary.write_bytes(content)
        return path

    def added(self, kinds: Sequence[str]) -> None:
        """What was dropped is complete: choose the folder that it lies in."""
        normal = str(self.own_folder / GOOD) if GOOD in kinds else None
        defective = str(self.own_folder) if set(kinds) - {GOOD} else None
        self.choose(normal=normal, defective=defective)

    def leave_out(self, path: str, *, left_out: bool) -> None:
        """Whether a normal photograph is left out of the project."""
        with self._lock:
            others = [one for one in self._chosen.get("left_out", []) if one != path]
            self._chosen["left_out"] = [*others, path] if left_out else others
            self._keep()

    def make_project(
        self, *, size_px: int | None, texture: bool | None, backbone: Path | None = None
    ) -> Project:
        """Write the project of what is chosen. InputError while nothing is, or is looked at."""
        with self._lock:
            if self._survey is None:
                raise InputError(self._error or "choose a folder of normal photographs first")
            used = without(self._survey, self._left_out(self._survey))
            return write_project(
                self.folder,
                used,
                name=self.name,
                size_px=size_px,
                texture=texture,
                backbone=backbone,
            )

    # --- inside ----------------------------------------------------------------------------------

    @property
    def _busy(self) -> bool:
        return bool(self._chosen.get("normal")) and self._turn > 0

    def _begin(self) -> None:
        self._turn += 1
        self._survey, self._error, self._done, self._of = None, None, 0, 0
        threading.Thread(target=self._look, args=(self._turn,), daemon=True).start()

    def _look(self, turn: int) -> None:
        normal, defective = self._chosen.get("normal"), self._chosen.get("defective")
        try:
            found = survey_photographs(
                Path(str(normal)),
                Path(defective) if defective else None,
                progress=lambda done, of: self._tell(turn, done, of),
            )
            error = None
        except (InputError, OSError) as fault:
            found, error = None, " ".join(str(fault).split())
        except _OutOfDateError:
            return
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
        write_text(self._kept, json.dumps(self._chosen, ensure_ascii=False, indent=1) + "\n")


class _OutOfDateError(Exception):
    """Other folders were chosen meanwhile."""


def project_of(folder: Path) -> Project | None:
    """The project of a folder; None where none was made yet."""
    return open_project(folder) if (folder / OVERLAY).is_file() else None


def folders_of(project: Project | None) -> dict[str, Any]:
    """The folders that a project's photographs lie in, for one that was made from the shell."""
    if project is None:
        return {}
    table = read_csv(project.sheet)
    paths = [project.sheet.parent / str(path) for path in table["image_path"]]
    kinds = [str(kind) for kind in table["defect_type"]]
    rows = [*zip(paths, kinds, strict=True)]
    normal = _common([path.parent for path, kind in rows if not kind])
    defective = _common([_above_kind(path, kind) for path, kind in rows if kind])
    return {name: path for name, path in (("normal", normal), ("defective", defective)) if path}


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
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if _is_folder(entry):
                names.append(entry.name)
            elif Path(entry.name).suffix.lower() in IMAGE_SUFFIXES:
                pictures += 1
    return {
        "path": str(folder),
        "parent": None if folder.parent == folder else str(folder.parent),
        "folders": sorted(names, key=str.lower)[:MOST_LISTED],
        "pictures": pictures,
    }


def small_jpeg(path: Path, side_px: int) -> bytes:
    """A picture of any kind as a JPEG with this longest side."""
    image = read_image(path, clipped=True)
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


def _plain_name(name: str) -> str:
    plain = Path(name).name
    if not plain or plain.startswith(".") or not writable(plain):
        raise InputError(f"{shown(name)!r}: a name that no picture can have; rename it")
    if Path(plain).suffix.lower() not in IMAGE_SUFFIXES:
        raise InputError(f"{shown(plain)}: no picture ({', '.join(IMAGE_SUFFIXES)})")
    return plain


def _names(groups: Sequence[Sequence[Any]]) -> list[list[str]]:
    return [[shown(one.path.name) for one in group] for group in groups]


def _varied(photographs: Sequence[Any]) -> list[Any]:
    """Photographs with the kinds in turn."""
    kinds: Mapping[str, list[Any]] = {}
    for one in photographs:
        kinds.setdefault(one.kind, []).append(one)  # type: ignore[attr-defined]
    longest = max(map(len, kinds.values()), default=0)
    return [group[i] for i in range(longest) for group in kinds.values() if i < len(group)]
