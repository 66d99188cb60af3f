"""Settings of the data sets, and of simulated and expanded defects."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_serializer, model_validator

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


class Geometry(Section):
    """How large a picture is for the networks: one of four ways."""

    stretch: Positive | None = Field(
        None, description="Every picture becomes a square of that side, whatever its shape."
    )
    longest: Positive | None = Field(
        None, description="The longer side of every picture; its shape is kept."
    )
    scale: Annotated[float, Field(gt=0, le=4)] | None = Field(
        None,
        description="Network pixels a photograph's pixel: 1 keeps every pixel. For pictures of"
        " different sizes, taken from one distance.",
    )
    height: Positive | None = Field(None, description="With `width`, the size of every picture.")
    width: Positive | None = Field(None, description="See `height`.")

    @model_validator(mode="after")
    def _is_one_way(self) -> "Geometry":
        if (self.height is None) != (self.width is None):
            raise ValueError("give height and width together")
        ways = [self.stretch, self.longest, self.scale, self.height]
        if sum(way is not None for way in ways) != 1:
            raise ValueError("give one of stretch, longest, scale, or height and width")
        return self

    @property
    def words(self) -> str:
        """It in words, for tables and messages."""
        if self.stretch is not None:
            return f"{self.stretch} x {self.stretch} px"
        if self.longest is not None:
            return f"longer side {self.longest} px"
        if self.scale == 1:
            return "the photographs' own pixels"
        if self.scale is not None:
            return f"{self.scale:g} of the photographs' pixels"
        return f"{self.height} x {self.width} px"


def square(side_px: int) -> Geometry:
    """Every picture a square of that side."""
    return Geometry.model_validate({"stretch": side_px})


def _as_geometry(value: Any) -> Any:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return {"stretch": value} if is_number else value


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
    size: Annotated[Geometry, BeforeValidator(_as_geometry)] | None = Field(
        None,
        description="How large pictures are for the networks: `{stretch: 512}` (or 512) for"
        " squares, `{longest: 1024}` or `{scale: 0.5}` for their own shape, or `{height: 232,"
        " width: 568}`. Larger ones than `size_px` are seen in windows of that side. Without it:"
        " stretched to `size_px`. See above.",
    )
    labels: str | None = Field(
        None,
        description="Folder of a person's labels, for supervision `human`: those of a category are"
        " in its sub-folder `<category>`, as `adclick annotate --labels` wrote them. Without it:"
        " where `adclick annotate results/<run>/<data set>/<category>` keeps them.",
    )


class PictureUse(Section):
    """How pictures of a category became those that its networks saw: `bits` of 16-bit files (None:
    there were none), how they shrank, and to what size (None: to the square of the run).
    """

    bits: Bits | None
    resize: Resize
    size: Geometry | None = None

    @model_serializer(mode="wrap")
    def _as_before(self, dump: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Without a size it is written as it was before there were others than one square."""
        values = dump(self)
        if values["size"] is None:
            del values["size"]
        return values


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
        None, description="Weight of hairline cracks. This and the seven below: not in the paper."
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
    clear_cracks: NonNegative | None = Field(
        None, description="Weight of long cracks that stand out from any surface."
    )
    clear_scratches: NonNegative | None = Field(
        None,
        description="Weight of such scratches. Of these two are the pictures of"
        " `clicks.levels.lines`, whatever weights are given.",
    )
    minimum_area: Share = Field(
        description="Smallest area of a simulated defect, as a share of the image, or of what it"
        " is drawn on of one that is larger than networks see at once: half of the time a window of"
        " `size_px`, else anything up to all of it. Of the last eight kinds, which are true to"
        " scale, 3 px where that is less."
    )

    @model_validator(mode="after")
    def _some_kind_is_drawn(self) -> "Simulation":
        weights = self.kinds()
        if not any(weights.values()):
            raise ValueError(f"no kind has a weight; give one to some of {', '.join(weights)}")
        return self

    def kinds(self) -> dict[str, float | None]:
        """The kinds of defect with their weights."""
        return self.model_dump(exclude={"per_normal", "texture_folder", "minimum_area"})


class Expansion(Section):
    """How many variants each labelled training defect becomes."""

    copies: Count = Field(description="Variants a defect, besides itself.")
    pasting: Literal["published", "lifelike"] = Field(
        description="How a labelled defect comes onto a normal picture: `published`, about its own"
        " place, with a hard edge; or `lifelike`, anywhere on the object where the surface is"
        " alike, in its tone, with a soft edge. With `lifelike`, what is simulated on a labelled"
        " picture lies on its object too, and the last eight kinds of `simulation` are as large as"
        " labelled defects."
    )
