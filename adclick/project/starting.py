"""`adclick init`: photographs are looked at, and a project is made of them."""

import sys
from collections.abc import Sequence
from pathlib import Path

from adclick.project.masks import mask_lines, pair_masks
from adclick.project.survey import survey_lines, survey_photographs, without
from adclick.project.writing import VARIANT, Project, write_project
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
    texture: bool | None,
    held_out: int | None,
    leave_out: Sequence[Path],
    backbone: Path | None,
    mask_dir: Path | None,
    normal_test_dir: Path | None,
) -> None:
    """Survey two folders, write the project and say what was found and what comes next."""
    if backbone is not None and not backbone.is_file():
        raise InputError(f"{shown(backbone)}: no such file; give ResNet-18's weights")
    found = survey_photographs(
        normal_dir, defect_dir, normal_test_dir=normal_test_dir, progress=_count
    )
    survey = without(found, leave_out)
    for line in survey_lines(survey):
        print(line)
    masks = None if mask_dir is None else pair_masks(survey, mask_dir)
    for line in mask_lines(survey, masks) if masks else ():
        print(line)
    project = write_project(
        output,
        survey,
        name=name,
        size_px=size_px,
        texture=texture,
        held_out=held_out,
        backbone=backbone,
        masks=masks,
    )
    for line in next_steps(project):
        print(line)


def next_steps(project: Project) -> list[str]:
    """What to type next, in the project's folder."""
    category = project.category.relative_to(project.folder)
    labelling = [
        "  snakemake click_models --configfile adclick.yaml",
        f"  adclick annotate {category}",
    ]
    return [
        f"{shown(project.overlay)} is written. Next:",
        f"  cd {shown(project.folder)}",
        *(labelling if project.variant == VARIANT else []),
        "  snakemake detectors --configfile adclick.yaml",
        f"  adclick export-model {category} {project.variant} --output model",
        "  adclick predict --model model --images NEW_PHOTOGRAPHS --output found",
    ]


def _count(done: int, of: int) -> None:
    if sys.stderr.isatty() and (done % SHOWN_EVERY == 0 or done == of):
        print(f"\r{done} of {of} photographs", end="\n" if done == of else "", file=sys.stderr)
