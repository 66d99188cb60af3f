"""`adclick init`: photographs are looked at, and a project is made of them."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote

from adclick.data.images import read_mask
from adclick.data.lifelike import areas_of
from adclick.project.masks import mask_lines, pair_masks
from adclick.project.scales import Scale, propose
from adclick.project.sheet import counts, left_out_before, sheet_lines, taken_back
from adclick.project.survey import Survey, survey_lines, survey_photographs, without
from adclick.project.writing import MASKED, OVERLAY, Project, open_project, write_project
from adclick.run.artifacts import read_json
from adclick.run.errors import InputError
from adclick.run.folders import shown

SHOWN_EVERY = 25


def init(
    normal_dir: Path,
    defect_dir: Path | None,
    *,
    output: Path,
    name: str | None,
    size_px: int | None,
    scale: float | None = None,
    texture: bool | None,
    held_out: int | None,
    leave_out: Sequence[Path],
    use: Sequence[Path] = (),
    backbone: Path | None,
    mask_dir: Path | None,
    normal_test_dir: Path | None,
) -> None:
    """Survey two folders, write the project and say what was found and what comes next."""
    if backbone is not None and not backbone.is_file():
        raise InputError(f"{shown(backbone)}: no such file; give ResNet-18's weights")
    there = open_project(output) if (output / OVERLAY).is_file() else None
    still = taken_back([] if there is None else left_out_before(there.sheet), use)
    found = survey_photographs(
        normal_dir,
        defect_dir,
        normal_test_dir=normal_test_dir,
        apart_from=output,
        progress=_count,
    )
    survey = without(without(found, _of_survey(found, still)), leave_out)
    masks = None if mask_dir is None else pair_masks(survey, mask_dir)
    sides = labelled_sides(masks, there)
    if sides:
        survey = replace(survey, scale=proposed(survey, sides, output))
    for line in survey_lines(survey):
        print(line)
    for line in mask_lines(survey, masks, mask_dir) if masks and mask_dir else ():
        print(line)
    if masks is None and there is not None and there.variant == MASKED:
        print(
            "its earlier masks are not used: it learns from labels, unless --masks is given again"
        )
    project = write_project(
        output,
        survey,
        name=name,
        size_px=size_px,
        scale=scale,
        texture=texture,
        held_out=held_out,
        backbone=backbone,
        masks=masks,
    )
    for line in (*sheet_lines(project.sheet), *next_steps(project)):
        print(line)


def labelled_sides(masks: Mapping[Path, Path] | None, there: Project | None) -> list[float]:
    """How large labelled defects are, as sides of squares in photographs' pixels: those of masks
    that are given, else those that were labelled in the project. What cannot be read is left out:
    the stages that need it say so.
    """
    if masks is not None:
        areas = [area for path in masks.values() for area in _mask_areas(path)]
    elif there is not None:
        areas = [area for path in there.labels.rglob("*.json") for area in _label_areas(path)]
    else:
        areas = []
    return [area**0.5 for area in areas if area]


def _mask_areas(path: Path) -> list[float]:
    try:
        return areas_of(read_mask(path))
    except InputError:
        return []


def _label_areas(path: Path) -> list[float]:
    try:
        objects = read_json(path).get("objects", [])
        return [float(sum(one["mask"]["counts"][1::2])) for one in objects if one.get("mask")]
    except (InputError, OSError, AttributeError, KeyError, TypeError):
        return []


def proposed(survey: Survey, sides: Sequence[float], folder: Path) -> Scale:
    """What is proposed now that it is known how large defects are."""
    used = (*survey.normals, *survey.defects)
    shapes = [(one.height, one.width) for one in used]
    return propose(len(survey.normals), len(survey.defects), shapes, sides, folder=folder)


def _of_survey(survey: Survey, paths: Sequence[Path]) -> list[Path]:
    """Those paths whose pictures are still there."""
    groups = (*survey.duplicates, *survey.contradictory)
    known = (*survey.normals, *survey.defects, *survey.tests)
    places = {one.path.resolve() for group in (known, *groups) for one in group}
    return [path for path in paths if path.resolve() in places]


def next_steps(project: Project) -> list[str]:
    """What to type next, in the project's folder."""
    category = quote(str(project.category.relative_to(project.folder)))
    written = f"{shown(project.overlay)} is written."
    if not counts(project.sheet)["defective"]:
        return [
            f"{written} There is no defective photograph yet, which it takes to go on: give their"
            " folder to adclick init as well"
        ]
    labelling = [
        "  snakemake click_models --configfile adclick.yaml",
        f"  adclick annotate {category}",
    ]
    return [
        f"{written} Next:",
        f"  cd {quote(shown(project.folder))}",
        *(labelling if project.variant != MASKED else []),
        "  snakemake detectors --configfile adclick.yaml",
        f"  adclick export-model {category} {project.variant} --output model",
        "  adclick predict --model model --images NEW_PHOTOGRAPHS --output found",
    ]


def _count(done: int, of: int) -> None:
    if sys.stderr.isatty() and (done % SHOWN_EVERY == 0 or done == of):
        print(f"\r{done} of {of} photographs", end="\n" if done == of else "", file=sys.stderr)
