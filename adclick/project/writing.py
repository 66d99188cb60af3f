"""A project: a folder of plain files that Snakemake runs unchanged."""

import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from adclick.project.scales import LARGEST_RADIUS
from adclick.project.sheet import read_known, sheet_text
from adclick.project.survey import Survey
from adclick.run.artifacts import write_text
from adclick.run.errors import InputError
from adclick.run.folders import shown
from adclick.run.yaml_files import read_yaml

REPOSITORY = Path(__file__).parents[2]
OVERLAY, SHEETS = "adclick.yaml", "photographs"
BASE, SCALE, TEMPLATE = "config/config.yaml", "config/small.yaml", "config/own.yaml"
RUN = DATASET = "own"
MOST_SCALE = 4.0
# Keys of the scale that are about other data sets and tables.
OF_OTHERS = {
    "pretrain_on",
    "robots",
    "robot_methods",
    "run_click_peers",
    "language",
    "vision_language",
}
VARIANT, MASKED = "human", "masks"
OURS = "# The workflow of the installed adclick with this folder's settings."
SNAKEFILE = f"""{OURS}
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
    scale: float | None = None,
    texture: bool | None = None,
    held_out: int | None = None,
    backbone: Path | None = None,
    masks: Mapping[Path, Path] | None = None,
) -> Project:
    """Write (or write again) a project's settings and its list of photographs, each file whole.

    Photographs stay where they are; those below the folder are named relative to it. `name` is the
    product's, by default the folder's. Pictures become squares of `size_px`, or keep their shape at
    `scale` network pixels by one of theirs. What is None is as the survey proposes or, where a
    project is there, as it has it. `held_out` normal photographs (by default a fifth, 100 at most)
    are never trained on: the threshold is set with them. A photograph that was held out or trained
    on before stays so, unless `held_out` asks for more or fewer; it keeps its id, and what was left
    out, or was for tests, is still, unless the survey has it otherwise. `backbone` is a safetensors
    file of ResNet-18's weights, for machines without a network. With `masks` (by photograph) the
    detector learns from these and not from labels, and photographs without one are not used.

    What else is in the folder (results, labels, a profile, settings that were changed by hand in
    `adclick.yaml`) is left, and a file that would say the same is not written. InputError, and
    nothing is written, when the name is none or another than the project's, the settings are no
    configuration, a file is there that is not ours, or photographs are too few.
    """
    if not survey.normals:
        raise InputError(f"{shown(survey.normal_dir)}: no normal photograph is left")
    before = _overlay(folder / OVERLAY)
    there = None if before is None else _project_of(folder, before)
    project = Project(folder, _name(folder, name, there), _variant(there, masks))
    photographs = sheet_text(
        survey, read_known(project.sheet), folder / SHEETS, held_out=held_out, masks=masks
    )
    settings = _settings(
        before, survey, project, size_px=size_px, scale=scale, texture=texture, masks=masks
    )
    if backbone is not None:
        weights = {"source": "file", "file": str(backbone.absolute())}
        settings.setdefault("features", {})["weights"] = weights
    _check(project, settings)
    _write(project.sheet, photographs)
    if settings != before:
        _write(project.overlay, _overlay_text(settings))
    _write(folder / "Snakefile", SNAKEFILE)
    profile = folder / "profiles/default/config.yaml"
    if not profile.exists():
        shipped = REPOSITORY / "workflow/profiles/default/config.yaml"
        _write(profile, shipped.read_text(encoding="utf-8"))
    return project


def open_project(folder: Path) -> Project:
    """The project of a folder that `write_project` wrote; InputError when it is none."""
    before = _overlay(folder / OVERLAY)
    if before is None:
        raise InputError(
            f"{shown(folder)}: no {OVERLAY} in it; make a project with adclick init NORMAL_DIR"
            f" DEFECT_DIR --output {shown(folder)}"
        )
    return _project_of(folder, before)


def project_of(category: Path) -> Project | None:
    """The project whose run a category's folder is of; None where it is of another run."""
    whole = category.resolve()
    above = whole.parents[3:4]
    if not above or not (above[0] / OVERLAY).is_file():
        return None
    project = open_project(above[0])
    return project if project.category == whole else None


def _overlay(path: Path) -> dict[str, Any] | None:
    """The settings that are there; None without a file, or with an empty one."""
    if not path.is_file():
        return None
    values = read_yaml(path, "project")
    if values is not None and not isinstance(values, dict):
        raise InputError(f"{shown(path)}: must be a mapping of keys to values; repair or remove it")
    return values


def _project_of(folder: Path, values: Mapping[str, Any]) -> Project:
    try:
        (name,) = values["datasets"][DATASET]["categories"]
        (variant,) = values["run_adclick_seg"]
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{shown(folder / OVERLAY)}: not of a project: datasets.{DATASET}.categories must have"
            " one name, and run_adclick_seg one"
        ) from None
    return Project(folder, str(name), str(variant))


def _name(folder: Path, name: str | None, there: Project | None) -> str:
    """The product's name: as given, as it is, or like the folder."""
    if there is not None and name in (None, there.name):
        return there.name
    if there is not None:
        raise InputError(
            f"{shown(folder)}: the project of {there.name}; leave --name out, or give another"
            " --output"
        )
    given = folder.absolute().name if name is None else name
    clean = re.sub(r"[^A-Za-z0-9_.\-]+", "-", given).strip("-.")
    if not clean or (name is not None and clean != name):
        raise InputError(
            f"{given!r}: a product's name has the letters A to Z, digits, '_', '-' and '.' alone;"
            " give one with --name"
        )
    return clean


def _variant(there: Project | None, masks: Mapping[Path, Path] | None) -> str:
    """The detector: of the masks, else the project's own, else of labels."""
    if masks is not None:
        return MASKED
    return VARIANT if there is None or there.variant == MASKED else there.variant


def _check(project: Project, settings: Mapping[str, Any]) -> None:
    """InputError where the workflow would refuse the settings, or a file is not ours."""
    from snakemake.utils import update_config

    from adclick.run.config import load_config

    values = _shipped(BASE)
    update_config(values, deepcopy(dict(settings)))
    load_config(values)
    snakefile = project.folder / "Snakefile"
    if snakefile.exists() and not snakefile.read_text(encoding="utf-8").startswith(OURS):
        raise InputError(
            f"{shown(snakefile)}: not of a project of adclick; move it, or give another --output"
        )


def _write(path: Path, text: str) -> None:
    """Write a file whose content is another: an equal one keeps its date, and makes nothing
    stale.
    """
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def _settings(
    before: Mapping[str, Any] | None,
    survey: Survey,
    project: Project,
    *,
    size_px: int | None,
    scale: float | None,
    texture: bool | None,
    masks: Mapping[Path, Path] | None,
) -> dict[str, Any]:
    """A project's settings: those that are there, or the template, with what is asked for, what the
    masks say and, the first time, what is proposed.
    """
    from snakemake.utils import update_config

    values = _template(project.name) if before is None else deepcopy(dict(before))
    if before is None:
        if size_px is None and scale is None:
            size_px, scale = _proposed_size(survey)
        texture = survey.view.texture if texture is None else texture
    _set_size(values, survey, size_px, scale, new=before is None)
    dataset = values["datasets"][DATASET]
    if texture is not None:
        dataset["textures"] = [project.name] if texture else []
    if masks is not None:
        variant = {"pretrain": False, "iis": False, "language": False, "abandon": False}
        defined = {MASKED: {**variant, "supervision": "full", "detector": "features"}}
        update_config(values, {"adclick_seg_variants": defined})
        dataset["training_defects"] = sum(one.path in masks for one in survey.defects)
    elif before is not None and values["run_adclick_seg"] == [MASKED]:
        dataset["training_defects"] = 0
    values["run_adclick_seg"] = [project.variant]
    return values


def _proposed_size(survey: Survey) -> tuple[int | None, float | None]:
    """The side of squares, or the scale at which pictures keep their shape."""
    kept = survey.scale.kept
    return (None, kept.scale) if kept and kept.proposed else (survey.scale.size_px, None)


def _set_size(
    values: dict[str, Any],
    survey: Survey,
    size_px: int | None,
    scale: float | None,
    *,
    new: bool,
) -> None:
    """Have pictures of another size, and what goes with it, where one is asked for."""
    from snakemake.utils import update_config

    dataset = values["datasets"][DATASET]
    if size_px is not None and scale is not None:
        raise InputError("--size makes squares, --scale keeps the shape: give one of them")
    if scale is not None and dataset.get("size") != {"scale": scale}:
        update_config(values, _of_scale(scale, survey))
        dataset["size"] = {"scale": scale}
    elif size_px is not None:
        kept = dataset.pop("size", None)
        values.get("adclick_training", {}).pop("disks", None)
        if new or kept or size_px != values.get("size_px"):
            update_config(values, _of_size(size_px))


def _template(name: str) -> dict[str, Any]:
    """The scale and the settings of a product that photographs are enough for."""
    from snakemake.utils import update_config

    values: dict[str, Any] = {}
    for shipped in (SCALE, TEMPLATE):
        update_config(values, _shipped(shipped))
    values = {key: value for key, value in values.items() if key not in OF_OTHERS}
    own = {
        "layout": "csv",
        "root": SHEETS,
        "categories": [name],
        "split": "drawn",
        "prompts": "prompts.yaml",
    }
    values["datasets"] = {DATASET: {**values["datasets"][DATASET], **own}}
    return {**values, "data_root": "."}


def _of_size(size_px: int) -> dict[str, Any]:
    """What goes with a size: what is counted in pixels or patches grows with the picture."""
    if size_px <= 0:
        raise InputError(f"--size {size_px}: must be a positive number of pixels")
    scale = _shipped(SCALE)
    larger = size_px / scale["size_px"]
    radius = scale["matchings"]["location_aware"]["radius"]
    return {
        "matchings": {"location_aware": {"radius": round(radius * larger, 2)}},
        "clicks": {"radius_px": max(1, round(scale["clicks"]["radius_px"] * larger))},
        "scale_note": f"{size_px} px, ResNet-18, small networks, no words",
        "size_px": size_px,
    }


def _of_scale(scale: float, survey: Survey) -> dict[str, Any]:
    """What goes with a scale: patches are searched as far, in the photographs' pixels, as in
    squares of the usual size, but not endlessly, and click disks have to fit into small defects.
    """
    if not 0 < scale <= MOST_SCALE:
        raise InputError(f"--scale {scale}: must be above 0 and at most {MOST_SCALE}")
    usual = _shipped(SCALE)
    shapes = [(one.height, one.width) for one in (*survey.normals, *survey.defects)]
    side = sorted(height * width for height, width in shapes)[len(shapes) // 2] ** 0.5
    radius = usual["matchings"]["location_aware"]["radius"]
    larger = max(1.0, scale * side / usual["size_px"])
    return {
        "matchings": {"location_aware": {"radius": round(min(LARGEST_RADIUS, radius * larger), 2)}},
        "clicks": {"radius_px": usual["clicks"]["radius_px"]},
        "adclick_training": {"disks": "fitted"},
        "scale_note": f"{scale:g} of the photographs' pixels, ResNet-18, small networks, no words",
        "size_px": usual["size_px"],
    }


def _overlay_text(values: Mapping[str, Any]) -> str:
    body = yaml.safe_dump(
        dict(values), sort_keys=False, default_flow_style=None, width=110, allow_unicode=True
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
