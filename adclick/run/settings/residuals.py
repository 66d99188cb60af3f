"""Settings of features, retrieval, matching, foreground and the maps made of residuals."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from adclick.run.settings.section import Count, NonNegative, Positive, Section, Weights


class Features(Section):
    """The frozen backbone and the 3x3 patch features made of it (Sec. 3.2)."""

    backbone: str
    weights: Weights
    input_px: Positive | None
    layers: Annotated[list[Count], Field(min_length=1)]
    layer_dimensions: list[Positive]
    dimension: Positive
    stride: Literal[8]
    batch_size: Positive

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

    words: Positive
    blocks: Positive
    kept_blocks: Positive
    sample_pixels: Positive
    neighbours: Positive


class Matching(Section):
    """Which normal patches a patch may be matched with (Eq. 3): how far away in grid units, and of
    how many of the K retrieved images; null = everywhere, all.
    """

    radius: NonNegative | None
    neighbours: Positive | None


class Foreground(Section):
    """The object's mask estimated from normal images (objects only)."""

    sample_pixels: Positive
    samples_per_class: Positive
    neighbours: Count


class Detection(Section):
    """Zero-click maps: smoothing and foreground weighting."""

    smoothing_px: NonNegative
    foreground_exponent: NonNegative
