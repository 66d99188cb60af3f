"""Settings of the data sets, and of simulated and expanded defects."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from adclick.run.kinds import kinds_of
from adclick.run.settings.section import Count, Name, NonNegative, Positive, Section, Share

LAYOUTS = "data/layouts"  # the folder of the readers, a file a layout
EmptyMasks = Literal["error", "drop", "normal"]
MaskValues = Literal["ids", "shades"]
Resize = Literal["published", "area"]
Bits = Annotated[int, Field(ge=1, le=16)]


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
    empty_masks: EmptyMasks = Field(
        description="What a defect with an empty mask is: an `error`, left out (`drop`), or"
        " `normal`."
    )
    mask_values: MaskValues | None = Field(
        None,
        description="What is a defect in masks of several values: all but 0 (`ids`), or what is"
        " brighter than half of white (`shades`, of smooth edges). Without it a mask must be clear"
        " by itself (see above); others are an error.",
    )
    bits: Bits | None = Field(
        None,
        description="Bits of the camera whose pictures are stored in 16: 12 for values up to 4095."
        " Without it: the fewest of 8, 12 and 16 that hold the category's largest value, which the"
        " log of `make_manifest` says; 10 and 14 must be set.",
    )
    labels: str | None = Field(
        None,
        description="Folder of a person's labels, for supervision `human`: those of a category are"
        " in its sub-folder `<category>`, as `adclick annotate --labels` wrote them. Without it:"
        " where `adclick annotate results/<run>/<data set>/<category>` keeps them.",
    )


class PictureUse(Section):
    """How pictures of a category became those that its networks saw: `bits` of 16-bit files (None:
    there were none), and how they shrank.
    """

    bits: Bits | None
    resize: Resize


# Of what was made before artifacts and models said it.
EARLIER_USE = PictureUse(bits=None, resize="published")


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
        description="Weight of thin Perlin streaks among the kinds of defect."
    )
    blobs: NonNegative = Field(description="Weight of solid blobs.")
    soft_regions: NonNegative = Field(description="Weight of large soft regions.")
    cracks: NonNegative | None = Field(
        None, description="Weight of hairline cracks. This and the five below: not in the paper."
    )
    pits: NonNegative | None = Field(None, description="Weight of pits, alone or in clusters.")
    scratches: NonNegative | None = Field(None, description="Weight of scratches 1 to 3 px wide.")
    shades: NonNegative | None = Field(
        None, description="Weight of large regions a little darker or lighter."
    )
    missing: NonNegative | None = Field(
        None, description="Weight of pieces out of the object's edge, where the background shows."
    )
    displaced: NonNegative | None = Field(
        None, description="Weight of parts of the picture itself that are out of place."
    )
    minimum_area: Share = Field(
        description="Smallest area of a simulated defect, as a share of the image; of the last six"
        " kinds, which are true to scale, 3 px where that is less."
    )

    @model_validator(mode="after")
    def _some_kind_is_drawn(self) -> "Simulation":
        weights = self.model_dump(exclude={"per_normal", "texture_folder", "minimum_area"})
        if not any(weights.values()):
            raise ValueError(f"no kind has a weight; give one to some of {', '.join(weights)}")
        return self


class Expansion(Section):
    """How many variants each labelled training defect becomes."""

    copies: Count = Field(description="Variants a defect, besides itself.")
    pasting: Literal["published", "lifelike"] = Field(
        description="How a labelled defect comes onto a normal picture: `published`, about its own"
        " place, with a hard edge; or `lifelike`, anywhere on the object where the surface is"
        " alike, in its tone, with a soft edge. With `lifelike`, what is simulated on a labelled"
        " picture lies on its object too, and the last six kinds of `simulation` are as large as"
        " labelled defects."
    )
