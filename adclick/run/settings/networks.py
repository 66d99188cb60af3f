"""Sizes of the networks."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from adclick.run.settings.section import NonNegative, Positive, Section, Share


class ResidualInput(Section):
    """What the network sees of a residual: its square, optionally normalised by that of normal
    images (per channel, or per group of channels), averaged in groups, log1p.
    """

    normalise: Literal["channel", "group"] | None
    clamp: NonNegative | None
    groups: Positive | None
    log: bool

    @model_validator(mode="after")
    def _groups_are_given(self) -> "ResidualInput":
        if self.normalise == "group" and self.groups is None:
            raise ValueError("normalise: group needs `groups`, the number of groups")
        return self


class Network(Section):
    """Sizes of the residual trunk, neck and head."""

    dim: Positive
    depth: Positive
    heads: Positive
    window: Positive
    drop_path: Share
    click_init: Literal["default", "visible"]
    language_init: Literal["default", "silent"]
    click_cells: Positive | None
    image_channels: Annotated[list[Positive], Field(min_length=3, max_length=3)]
    neck_channels: list[Positive]
    neck_strides: list[Positive]
    head_hidden: Positive


class SegNetwork(Section):
    """What ADClick-Seg has otherwise than ADClick, or beside it: null where it is the same."""

    window: Positive | None
    normalise: Literal["channel", "group"] | None
    shortcut: Literal["none", "unsupervised", "all"]
    image_channels: Annotated[list[Positive], Field(min_length=3, max_length=3)] | None


class VisionLanguage(Section):
    """The Swin of the language-vision branch, its weights, and what of it is trained."""

    embed_dim: Positive
    depths: list[Positive]
    heads: list[Positive]
    window: Positive
    trainable: Literal["pwam", "language", "all"]
    weights: str | None


class Sliding(Section):
    """Windows of a map: their side as a share of the grid's, and their step as a share of it.

    Model folders keep it: a change needs a new `FORMAT` there.
    """

    window: Annotated[float, Field(gt=0, le=1)]
    step: Annotated[float, Field(gt=0, le=1)]
