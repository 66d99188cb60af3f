"""Masks that a user has of his defective photographs, paired by name and never by order."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from adclick.data.images import picture_files
from adclick.project.survey import Survey
from adclick.run.errors import InputError
from adclick.run.folders import named, shown

ENDING = "_mask"


def pair_masks(survey: Survey, mask_dir: Path) -> dict[Path, Path]:
    """The mask of each defective photograph that has one: of the same path below `mask_dir` as it
    has below the folder of defective ones, or of its name alone where that is the only such mask;
    the name may end in `_mask`.

    InputError when the folder is none, no photograph has a mask, or two masks are of one name.
    """
    masks: dict[str, Path] = {}
    for key, path in picture_files(mask_dir).items():
        plain = key.removesuffix(ENDING)
        if plain in masks:
            raise InputError(
                f"{shown(path)}: {shown(masks[plain].name)} is the same photograph's; remove one"
            )
        masks[plain] = path
    stems: dict[str, list[Path]] = {}
    for key, path in masks.items():
        stems.setdefault(key.rpartition("/")[2], []).append(path)
    names = [one.path.stem for one in survey.defects]
    found: dict[Path, Path] = {}
    for one in survey.defects:
        key = one.path.relative_to(survey.defect_dir or Path()).with_suffix("").as_posix()
        alone = stems.get(one.path.stem, []) if names.count(one.path.stem) == 1 else []
        if key in masks:
            found[one.path] = masks[key]
        elif len(alone) == 1:
            found[one.path] = alone[0]
    if not found:
        raise InputError(
            f"{shown(mask_dir)}: no mask of a defective photograph; a mask is called like its"
            f" photograph, or <name>{ENDING}"
        )
    return found


def mask_lines(survey: Survey, masks: Mapping[Path, Path], mask_dir: Path) -> Iterator[str]:
    """What was found, in lines for people: also photographs without a mask, and masks without."""
    yield f"{len(masks)} of {len(survey.defects)} defective photographs have a mask"
    for one in survey.defects:
        if one.path not in masks:
            yield f"not used, it has no mask: {shown(one.path)}"
    used = set(masks.values())
    unused = [path for path in picture_files(mask_dir).values() if path not in used]
    for line in named(mask_dir, {"masks without a photograph": unused}):
        yield f"not used in {shown(mask_dir)}, {line}"
