"""Settings of the data sets, and of simulated and expanded defects."""

from typing import Annotated, Literal

from pydantic import AfterValidator

from adclick.run.kinds import kinds_of
from adclick.run.settings.section import Count, Name, NonNegative, Positive, Section, Share

LAYOUTS = "data/layouts"  # the folder of the readers, a file a layout


def _known_layout(name: str) -> str:
    known = kinds_of(LAYOUTS)
    if name not in known:
        raise ValueError(f"no such layout; known: {known}")
    return name


class Dataset(Section):
    """Where a data set lies, how it is read, and which of its defects are for training."""

    layout: Annotated[Name, AfterValidator(_known_layout)]
    root: str
    categories: list[Name]
    textures: list[Name]
    prompts: str
    split: str
    training_defects: Count
    empty_masks: Literal["error", "drop", "normal"]
    labels: str | None


class Toy(Section):
    """How many pictures of each kind the embedded data set has, per category."""

    normals: Positive
    test_normals: Positive
    defects_per_type: Positive
    seed: int


class Simulation(Section):
    """Simulated defects on normal images."""

    per_normal: Positive
    texture_folder: str | None
    streaks: NonNegative
    blobs: NonNegative
    soft_regions: NonNegative
    minimum_area: Share


class Expansion(Section):
    """How many variants each labelled training defect becomes."""

    copies: Count
