"""What a project that is there has: where a change of its photographs begins."""

from typing import NamedTuple

from adclick.project.writing import DATASET, MASKED, Project
from adclick.run.errors import InputError
from adclick.run.folders import shown
from adclick.run.yaml_files import read_yaml


class Standing(NamedTuple):
    """The side that pictures are seen at, whether the product is a texture, whether the detector
    learns from masks that were given, and the `scale` at which pictures keep their shape, if any.
    """

    size_px: int
    texture: bool
    masks: bool
    scale: float | None = None


def standing_of(project: Project) -> Standing:
    """What the settings of a project say. InputError where they are not of a project."""
    values = read_yaml(project.overlay, "project")
    try:
        textures = values["datasets"][DATASET]["textures"] or []
        size_px = int(values["size_px"])
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{shown(project.overlay)}: not of a project: size_px or datasets.{DATASET}.textures"
            " is missing"
        ) from None
    size = values["datasets"][DATASET].get("size")
    scale = size.get("scale") if isinstance(size, dict) else None
    return Standing(size_px, project.name in textures, project.variant == MASKED, scale)
