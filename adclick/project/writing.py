"""A project: a folder of plain files that Snakemake runs unchanged."""

import csv
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import yaml

from adclick.data.reading import VALIDATION
from adclick.project.survey import Photograph, Survey, without
from adclick.run.artifacts import write_text
from adclick.run.errors import InputError
from adclick.run.folders import shown
from adclick.run.yaml_files import read_yaml

REPOSITORY = Path(__file__).parents[2]
OVERLAY, SHEETS = "adclick.yaml", "photographs"
SCALE, TEMPLATE = "config/small.yaml", "config/own.yaml"
RUN = DATASET = "own"
# Keys of the scale that are about other data sets and tables.
OF_OTHERS = {
    "pretrain_on",
    "robots",
    "robot_methods",
    "run_click_peers",
    "language",
    "vision_language",
}
# A photograph that is another under the same name makes the sheet another, too.
COLUMNS = ("image_path", "label", "split", "defect_type", "mask_path", "sha256")
VARIANT, MASKED = "human", "masks"
HELD_OUT_SHARE, MOST_HELD_OUT, LEAST_HELD_OUT = 0.2, 100, 2
SNAKEFILE = """# The workflow of the installed adclick with this folder's settings.
from pathlib import Path

import adclick

ADCLICK = Path(adclick.__file__).parents[1]
CONFIGURED = True


configfile: str(ADCLICK / "config/config.yaml")
configfile: "adclick.yaml"


include: str(ADCLICK / "workflow/Snakefile")
"""


@dataclass(frozen=True)
class Project:
    """Where the parts of a project lie; all paths begin with `folder`.

    `overlay` is what `snakemake --configfile` reads, `sheet` names the photographs and says which
    are held out, `category` is the results' folder, which `adclick annotate` and `adclick
    export-model` take, `labels` what people have labelled, `variant` the detector.
    """

    folder: Path
    name: str
    variant: str

    @property
    def overlay(self) -> Path:
        """The settings."""
        return self.folder / OVERLAY

    @property
    def sheet(self) -> Path:
        """The photographs, a line each."""
        return self.folder / SHEETS / f"{self.name}.csv"

    @property
    def category(self) -> Path:
        """The results of the product."""
        return self.folder / "results" / RUN / DATASET / self.name

    @property
    def labels(self) -> Path:
        """What `adclick annotate CATEGORY` keeps."""
        return self.category / "annotate/labels"


def write_project(
    folder: Path,
    survey: Survey,
    *,
    name: str | None = None,
    size_px: int | None = None,
    texture: bool | None = None,
    held_out: int | None = None,
    backbone: Path | None = None,
    masks: Mapping[Path, Path] | None = None,
) -> Project:
    """Write (or write again) a project's settings and its list of photographs, each file whole.

    Photographs stay where they are; those below the folder are named relative to it. `name` is the
    product's, by default the folder's. What is None is as the survey proposes. `held_out` normal
    photographs (by default a fifth, 100 at most) are never trained on: the threshold is set with
    them. A photograph that was held out or trained on before stays so. `backbone` is a safetensors
    file of ResNet-18's weights, for machines without a network. With `masks` (by photograph) the
    detector learns from these and not from labels, and photographs without one are not used. What
    else is in the folder (results, labels, settings that were added by hand to `adclick.yaml`) is
    left: of an overlay that is there only what the survey determines is changed. InputError when
    the name is none, or photographs are too few.
    """
    if not survey.normals:
        raise InputError(f"{shown(survey.normal_dir)}: no normal photograph is left")
    product = _name(folder, name)
    if masks is not None:
        survey = without(survey, [one.path for one in survey.defects if one.path not in masks])
    project = Project(folder, product, VARIANT if masks is None else MASKED)
    known = _known_splits(project)
    held = _held_out(survey.normals, held_out, known, folder)
    _write(project.sheet, _sheet(survey, held, folder / SHEETS, masks or {}))
    chosen = survey.view.texture if texture is None else texture
    own = _own_settings(product, size_px or survey.scale.size_px, texture=chosen)
    if masks is not None:
        own = _with_masks(own, len(masks))
    if backbone is not None:
        own["features"] = {"weights": {"source": "file", "file": str(backbone.absolute())}}
    _write(project.overlay, _overlay_text(project.overlay, own))
    _write(folder / "Snakefile", SNAKEFILE)
    profile = (REPOSITORY / "workflow/profiles/default/config.yaml").read_text(encoding="utf-8")
    _write(folder / "profiles/default/config.yaml", profile)
    return project


def open_project(folder: Path) -> Project:
    """The project of a folder that `write_project` wrote; InputError when it is none."""
    overlay = folder / OVERLAY
    if not overlay.is_file():
        raise InputError(
            f"{shown(folder)}: no {OVERLAY} in it; make a project with adclick init NORMAL_DIR"
            f" DEFECT_DIR --output {shown(folder)}"
        )
    try:
        values = read_yaml(overlay, "project")
        (name,) = values["datasets"][DATASET]["categories"]
        (variant,) = values["run_adclick_seg"]
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{shown(overlay)}: not of a project: datasets.{DATASET}.categories must have one name,"
            " and run_adclick_seg one"
        ) from None
    return Project(folder, str(name), str(variant))


def _name(folder: Path, name: str | None) -> str:
    given = folder.absolute().name if name is None else name
    clean = re.sub(r"[^A-Za-z0-9_.\-]+", "-", given).strip("-.")
    if not clean or (name is not None and clean != name):
        raise InputError(f"{given!r}: a product's name has letters, digits, '_', '-' and '.' alone")
    return clean


def _held_out(
    normals: Iterable[Photograph], wanted: int | None, known: Mapping[str, str], folder: Path
) -> set[Path]:
    """Which normal photographs are held out: those that were before, then by the digest of their
    pixels, so that photographs that are added later change nothing.
    """
    photographs = list(normals)
    share = min(MOST_HELD_OUT, round(HELD_OUT_SHARE * len(photographs)))
    count = (share if share >= LEAST_HELD_OUT else 0) if wanted is None else wanted
    if count >= len(photographs):
        raise InputError(f"{count} held out of {len(photographs)} normal photographs: none is left")
    root = folder / SHEETS
    before = {one.path for one in photographs if known.get(_path(one, root)) == VALIDATION}
    free = [one for one in photographs if _path(one, root) not in known]
    drawn = sorted(free, key=lambda one: one.pixels)[: max(0, count - len(before))]
    return before | {one.path for one in drawn}


def _known_splits(project: Project) -> dict[str, str]:
    """The split of each photograph of the sheet that is there."""
    if not project.sheet.is_file():
        return {}
    reader = csv.DictReader(StringIO(project.sheet.read_text(encoding="utf-8"), newline=""))
    return {
        line["image_path"]: line["split"]
        for line in reader
        if "image_path" in line and line.get("split")
    }


def _sheet(survey: Survey, held: set[Path], root: Path, masks: Mapping[Path, Path]) -> str:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(list(COLUMNS))
    for one in survey.normals:
        split = VALIDATION if one.path in held else "train"
        writer.writerow([_path(one, root), "normal", split, "", "", one.sha256])
    for one in survey.tests:
        writer.writerow([_path(one, root), "normal_test", "test", "", "", one.sha256])
    for one in survey.defects:
        mask = _relative(masks[one.path], root) if one.path in masks else ""
        writer.writerow([_path(one, root), "abnormal", "train", one.kind, mask, one.sha256])
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    """Write a file whose content is another: an equal one keeps its date, and makes nothing
    stale.
    """
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def _path(photograph: Photograph, root: Path) -> str:
    return _relative(photograph.path, root)


def _relative(file: Path, root: Path) -> str:
    """A file's path: relative where it lies in the project, so that it can be moved."""
    path = Path(os.path.normpath(file.absolute()))
    top = Path(os.path.normpath(root.parent.absolute()))
    return os.path.relpath(path, top / root.name) if path.is_relative_to(top) else str(path)


def _own_settings(name: str, size_px: int, *, texture: bool) -> dict[str, Any]:
    """What this project has otherwise than the template. What is counted in pixels or patches grows
    with the picture.
    """
    scale = _shipped(SCALE)
    larger = size_px / scale["size_px"]
    radius = scale["matchings"]["location_aware"]["radius"]
    return {
        "matchings": {"location_aware": {"radius": round(radius * larger, 2)}},
        "clicks": {"radius_px": max(1, round(scale["clicks"]["radius_px"] * larger))},
        "data_root": ".",
        "scale_note": f"{size_px} px, ResNet-18, small networks, no words",
        "size_px": size_px,
        "datasets": {
            DATASET: {
                "layout": "csv",
                "root": SHEETS,
                "categories": [name],
                "textures": [name] if texture else [],
                "split": "drawn",
                "prompts": "prompts.yaml",
            }
        },
    }


def _with_masks(own: Mapping[str, Any], count: int) -> dict[str, Any]:
    """The settings of a detector that learns from the masks of all defects."""
    variant = {"pretrain": False, "iis": False, "language": False, "abandon": False}
    defined = {**variant, "supervision": "full", "detector": "features"}
    dataset = {**own["datasets"][DATASET], "training_defects": count}
    return {
        **own,
        "datasets": {DATASET: dataset},
        "adclick_seg_variants": {MASKED: defined},
        "run_adclick_seg": [MASKED],
    }


def _overlay_text(overlay: Path, own: Mapping[str, Any]) -> str:
    """Scale and template with the project's own settings over them; an overlay that is there with
    these alone.
    """
    from snakemake.utils import update_config

    values: dict[str, Any] = {}
    if overlay.is_file():
        values = read_yaml(overlay, "project")
    else:
        for name in (SCALE, TEMPLATE):
            update_config(values, _shipped(name))
        values = {key: value for key, value in values.items() if key not in OF_OTHERS}
        values["datasets"] = {DATASET: values["datasets"][DATASET]}
    update_config(values, own)
    body = yaml.safe_dump(
        values, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True
    )
    return (
        "# An overlay over adclick's config/config.yaml, whose README explains every key.\n"
        "# In this folder: snakemake detectors --configfile adclick.yaml\n" + body
    )


def _shipped(name: str) -> dict[str, Any]:
    path = REPOSITORY / name
    if not path.is_file():
        raise InputError(
            f"{shown(path)} is missing: adclick must be installed from its repository (make setup)"
        )
    return read_yaml(path, "configuration")
