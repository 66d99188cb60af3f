"""Settings of features, retrieval, matching, foreground and the maps made of residuals."""

from typing import Literal

from pydantic import Field, model_validator

from adclick.run.settings.section import (
    Count,
    Name,
    NonNegative,
    Positive,
    Section,
    Share,
    Weights,
)


class Features(Section):
    """The frozen backbone and the 3x3 patch features made of it (Sec. 3.2)."""

    backbone: str = Field(
        description="A timm model name: a convolutional network, or a vision transformer (ViT,"
        " DINOv2, DINOv3)."
    )
    weights: Weights = Field(description="Where the backbone's weights come from.")
    input_px: Positive | None = Field(
        None,
        description="What a picture of `size_px` is resized to for the backbone alone, others in"
        " the same proportion; without it as they are, for a transformer rounded up to whole"
        " patches. See above.",
    )
    layers: list[Count] = Field(
        min_length=1,
        description="timm's feature indices, ascending: a ResNet's layer1 is 1 (0 is its stem), a"
        " transformer's first block is 0. The first is used for the global similarity and the"
        " foreground.",
    )
    layer_dimensions: list[Positive] = Field(
        description="Dimensions that each layer's 3x3 neighbourhood is averaged down to; never more"
        " than it has."
    )
    dimension: Positive = Field(description="Dimensions of the joined feature (d_f).")
    stride: Literal[8] = Field(
        description="Pixels a patch: a picture of `size_px` has `size_px / stride` of them a side."
        " The networks are built for 8."
    )
    batch_size: Positive = Field(description="Pictures at once in the backbone, at most 32.")

    @model_validator(mode="after")
    def _one_dimension_a_layer(self) -> "Features":
        if len(self.layers) != len(self.layer_dimensions):
            raise ValueError("layers and layer_dimensions must have equal lengths")
        if list(self.layers) != sorted(set(self.layers)):
            raise ValueError(f"layers = {self.layers}: each once, in ascending order")
        if self.dimension > sum(self.layer_dimensions):
            raise ValueError(
                "dimension exceeds the sum of layer_dimensions: features are never pooled up"
            )
        return self


class Retrieval(Section):
    """The learning-free global similarity and the number of neighbours K (Sec. 3.5)."""

    words: Positive = Field(description="Words of the codebook.")
    blocks: Positive = Field(description="Blocks along one side of the image.")
    kept_blocks: Positive = Field(description="How many blocks, the most alike ones, count.")
    sample_pixels: Positive = Field(description="Pixels that the codebook is fitted on.")
    neighbours: Positive = Field(
        description="K: normal images retrieved for every image (fewer where there are fewer)."
    )

    @model_validator(mode="after")
    def _kept_blocks_are_there(self) -> "Retrieval":
        if self.kept_blocks > self.blocks**2:
            raise ValueError("kept_blocks exceeds blocks squared")
        return self


class Matching(Section):
    """Which normal patches a patch may be matched with (Eq. 3): how far away in grid units, and of
    how many of the K retrieved images; None = everywhere, all. Or several others of which each
    category gets one.
    """

    radius: NonNegative | None = Field(
        None,
        description="Radius in patches: sigma of Eq. 3, 3.2 on a 64 x 64 grid (Sec. 3.5); 0 = same"
        " position. Without it: everywhere.",
    )
    neighbours: Positive | None = Field(
        None,
        description="Of how many of the K retrieved images, the most alike first. Without it: all"
        " (Eq. 3).",
    )
    candidates: list[Name] | None = Field(
        None,
        min_length=2,
        description="In place of both: names of other matchings, the preferred first. Each category"
        " gets the one by which the training-free map finds simulated defects best (not in the"
        " paper).",
    )

    @model_validator(mode="after")
    def _is_one_or_several(self) -> "Matching":
        if self.candidates is not None and (self.radius, self.neighbours) != (None, None):
            raise ValueError("candidates have radius and neighbours of their own")
        return self


class MatchingChoice(Section):
    """On what candidates for a matching are compared."""

    normals: Positive = Field(description="Normal training images, each held out in turn.")
    defects: Positive = Field(description="Simulated defects on each of them.")
    least_gain: Share = Field(
        description="By how much of its score, a mean of pixel APs, the best candidate must be"
        " ahead of a preferred one."
    )


class Foreground(Section):
    """The object's mask estimated from normal images (objects only)."""

    sample_pixels: Positive = Field(description="Pixels of the first clustering.")
    samples_per_class: Positive = Field(description="Pixels a class of the linear classifier.")
    neighbours: Count = Field(
        description="Neighbours whose foreground is joined with the image's own."
    )


class Detection(Section):
    """Zero-click maps: smoothing and foreground weighting."""

    smoothing_px: NonNegative = Field(
        description="Standard deviation of the Gaussian, in network pixels; 0 = none."
    )
    foreground_exponent: NonNegative = Field(
        description="Exponent of the foreground that weights the map."
    )
