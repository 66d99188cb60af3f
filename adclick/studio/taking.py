"""The fifth step: the detector, the labels and a report as files that leave with the user."""

import shutil
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from adclick.project.writing import SHEETS, Project
from adclick.run.artifacts import new_folder
from adclick.run.errors import InputError
from adclick.run.folders import shown
from adclick.studio.inspecting import Inspection, detector_of

LABEL_FORMS = ("mvtec", "anomalib", "coco", "yolo", "png")
Make = Callable[[Project, Path], None]


class Taking:
    """What can be taken away of a project, made one at a time in the background."""

    def __init__(self, makers: Mapping[str, Make]) -> None:
        """`makers` write each into a new folder or file."""
        self._makers = makers
        self._lock = threading.Lock()
        self._making: str | None = None
        self._errors: dict[str, str] = {}

    @property
    def names(self) -> list[str]:
        """What there is to take."""
        return [*self._makers]

    def state(self, project: Project) -> list[dict[str, Any]]:
        """Each thing that can be taken: where it lies, when it was made, and what went wrong."""
        return [
            {
                "what": what,
                "place": str(place_of(project, what)),
                "made": _time_of(place_of(project, what)),
                "bytes": _size_of(place_of(project, what)),
                "making": self._making == what,
                "error": self._errors.get(what),
            }
            for what in self._makers
        ]

    def begin(self, project: Project, what: str) -> None:
        """Make one anew. InputError for an unknown one, and while another is made."""
        if what not in self._makers:
            raise InputError(f"{shown(what)!r}: nothing of that name can be taken away")
        make = self._makers[what]
        with self._lock:
            if self._making is not None:
                raise InputError("another one is being made; wait for it")
            self._making = what
            self._errors.pop(what, None)
        threading.Thread(target=self._make, args=(project, what, make), daemon=True).start()

    def _make(self, project: Project, what: str, make: Make) -> None:
        target = place_of(project, what)
        new = target.with_name(f".{target.name}.new")
        try:
            _remove(new)
            target.parent.mkdir(parents=True, exist_ok=True)
            make(project, new)
            _replace(target, new)
        except Exception as error:  # of this one, whatever it is: the page tells it
            self._errors[what] = " ".join(str(error).split()) or type(error).__name__
            _remove(new)
        finally:
            self._making = None


def place_of(project: Project, what: str) -> Path:
    """Where a thing lies in the project's folder."""
    names = {
        "model": f"models/{project.name}",
        "onnx": f"models/{project.name}-onnx",
        "report": "report.html",
    }
    return project.folder / names.get(what, what)


def makers(inspection: Callable[[], Inspection]) -> dict[str, Make]:
    """What can be taken, and how each is made; the report is of the inspection."""

    def make_report(_: Project, output: Path) -> None:
        from adclick.studio.report import write_report

        write_report(inspection(), output)

    labels = {f"labels-{form}": _labels_maker(form) for form in LABEL_FORMS}
    return {"model": _make_model, "onnx": _make_onnx, "report": make_report, **labels}


def zipped(folder: Path) -> Iterator[bytes]:
    """A folder as a ZIP file's content, piece by piece; its files lie in a folder of its name."""
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    archive.write(path, str(folder.name / path.relative_to(folder)))
        file.seek(0)
        while piece := file.read(1 << 20):
            yield piece


def _make_model(project: Project, output: Path) -> None:
    shutil.copytree(detector_of(project), output)
    output.touch()  # the page says when it was made


def _make_onnx(project: Project, output: Path) -> None:
    from adclick.models.onnx_folder import export_onnx

    export_onnx(detector_of(project), output)


def _labels_maker(form: str) -> Make:
    def make(project: Project, output: Path) -> None:
        from adclick.annotate.export import FORMATS, finished_labels
        from adclick.annotate.run_pictures import find_manifest_pictures
        from adclick.annotate.store import saved_labels

        pictures = find_manifest_pictures(project.category, project.folder / SHEETS)
        saved = saved_labels(project.labels)
        finished = finished_labels(project.labels, saved, {one.key: one for one in pictures})
        with new_folder(output) as folder:
            FORMATS[form](finished, folder)

    return make


def _replace(target: Path, new: Path) -> None:
    old = target.with_name(f".{target.name}.old")
    _remove(old)
    if target.exists():
        target.rename(old)
    new.rename(target)
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _time_of(path: Path) -> str | None:
    if not path.exists():
        return None
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(path.stat().st_mtime))


def _size_of(path: Path) -> int | None:
    if path.is_file():
        return path.stat().st_size
    if not path.is_dir():
        return None
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
