"""Settings of the data sets, and of simulated and expanded defects."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

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

    layout: Annotated[Name, AfterValidator(_known_layout)] = Field(
        description="`mvtec`, `ksdd2`, `magnetic_tile`, `csv` (a sample sheet `<category>.csv`), or"
        " `toy` (drawn by the workflow)."
    )
    root: str = Field(description="Folder of the data set below `data_root`.")
    categories: list[Name] = Field(description="Categories that are run.")
    textures: list[Name] = Field(
        description="Those of them that are textures: no foreground is estimated for them."
    )
    prompts: str = Field(
        description="The prompt bank: a YAML file `{category: {defect type: [phrase, …]}}`, with"
        " the types `good` and `contamination` (simulated defects) besides the real ones."
    )
    split: str = Field(
        description="A YAML file `{category: {train_defects: [id], train_normals: [id]}}`, or"
        " `drawn`: types in turn, pictures drawn by their ids, whatever else is there; or `sorted`:"
        " types in turn, files in order, which are alike where they were taken in one go."
    )
    training_defects: Count = Field(
        description="How many defects are for training; where `split` is a file, as many as it"
        " lists. All 246 of KolektorSDD2: `split: drawn` and 246."
    )
    empty_masks: Literal["error", "drop", "normal"] = Field(
        description="What a defect with an empty mask is: an `error`, left out (`drop`), or"
        " `normal`."
    )
    labels: str | None = Field(
        None,
        description="Folder of a person's labels, for supervision `human`: those of a category are"
        " in its sub-folder `<category>`, as `adclick annotate --labels` wrote them. Without it:"
        " where `adclick annotate results/<run>/<data set>/<category>` keeps them.",
    )


class Toy(Section):
    """How many pictures of each kind the embedded data set has, per category."""

    normals: Positive = Field(description="Normal training pictures.")
    test_normals: Positive = Field(description="Normal test pictures.")
    defects_per_type: Positive = Field(description="Pictures of each of the three defect types.")
    seed: int = Field(description="Seed of the drawing.")


class Simulation(Section):
    """Simulated defects on normal images."""

    per_normal: Positive = Field(description="Simulated images a normal image.")
    texture_folder: str | None = Field(
        None,
        description="Folder of texture pictures (such as DTD); without it textures are made up.",
    )
    streaks: NonNegative = Field(
        description="Weight of thin Perlin streaks among the kinds of mask."
    )
    blobs: NonNegative = Field(description="Weight of solid blobs.")
    soft_regions: NonNegative = Field(description="Weight of large soft regions.")
    minimum_area: Share = Field(
        description="Smallest area of a simulated defect, as a share of the image."
    )


class Expansion(Section):
    """How many variants each labelled training defect becomes."""

    copies: Count = Field(description="Variants a defect, besides itself.")
