"""Sizes of the networks."""

from typing import Literal

from pydantic import Field, model_validator

from adclick.run.settings.section import NonNegative, Positive, Section, Share


class ResidualInput(Section):
    """What the network sees of a residual: its square, optionally normalised by that of normal
    images (per channel, or per group of channels), averaged in groups, log1p.
    """

    normalise: Literal["channel", "group"] | None = Field(
        None,
        description="Divide by the mean square of normal images: `channel`, each channel before"
        " groups are averaged; `group`, each group after, so that channels which hardly vary on"
        " normal images do not drown the others. Without it: not divided.",
    )
    clamp: NonNegative | None = Field(
        None, description="Largest value after that; without it there is none."
    )
    groups: Positive | None = Field(
        None, description="Average channels down to this many groups; without it all channels stay."
    )
    log: bool = Field(description="Take log(1 + value).")

    @model_validator(mode="after")
    def _groups_are_given(self) -> "ResidualInput":
        if self.normalise == "group" and self.groups is None:
            raise ValueError("normalise: group needs `groups`, the number of groups")
        return self


class Network(Section):
    """Sizes of the residual trunk, neck and head."""

    dim: Positive = Field(description="Width of the Swin trunk.")
    depth: Positive = Field(description="Its blocks.")
    heads: Positive = Field(description="Its attention heads.")
    window: Positive = Field(description="Its window, in patches.")
    drop_path: Share = Field(description="Stochastic depth.")
    click_init: Literal["default", "visible"] = Field(
        description="`default`, or `visible`: first weights with which one click disk can be seen."
    )
    language_init: Literal["default", "silent"] = Field(
        description="`default`, or `silent`: what enters from the language branch starts at zero,"
        " so that an untrained branch is no noise; short trainings need it."
    )
    click_cells: Positive | None = Field(
        None,
        description="Clicks are also shown diffused over the picture, as a random walker with this"
        " many cells a side would spread them; without it the paper's disks alone. 64 at 256 px: a"
        " click fills its region up to the picture's edges, which short trainings need.",
    )
    image_channels: list[Positive] = Field(
        min_length=3,
        max_length=3,
        description="Widths of the image stem at strides 2, 4 and 8; read by variants whose"
        " `inputs` are not `residual`.",
    )
    neck_channels: list[Positive] = Field(description="Channels of the pyramid's levels.")
    neck_strides: list[Positive] = Field(description="Their strides in pixels.")
    head_hidden: Positive = Field(description="Hidden width of the head.")

    @model_validator(mode="after")
    def _sizes_fit(self) -> "Network":
        if self.dim % self.heads:
            raise ValueError("dim is not a multiple of heads")
        if len(self.neck_channels) != len(self.neck_strides):
            raise ValueError("neck_channels and neck_strides must have equal lengths")
        return self


class SegNetwork(Section):
    """What ADClick-Seg has otherwise than ADClick, or beside it; None where it is the same."""

    window: Positive | None = Field(
        None, description="Window of its trunk, in patches; without it `network.window`."
    )
    normalise: Literal["channel", "group"] | None = Field(
        None, description="As `residual_input.normalise`; without it that."
    )
    shortcut: Literal["none", "unsupervised", "all"] = Field(
        description="Which detectors have it, `none`, `unsupervised` (those without labels, which"
        " then cannot be pretrained) or `all`: a weighted sum of the residual's channels is added"
        " to the logits past the trunk, so that training begins at the order of the training-free"
        " map."
    )
    image_channels: list[Positive] | None = Field(
        None,
        min_length=3,
        max_length=3,
        description="Widths of the three levels of a stem that sees the picture beside the"
        " residual; without it the picture is seen through words alone.",
    )


class FeatureNetwork(Section):
    """Sizes of a detector that reads frozen features beside the residual, and adds to the
    training-free map. Not in the paper.
    """

    width: Positive = Field(description="Channels of its body, at the patches' resolution.")
    upsampling_widths: list[Positive] = Field(
        description="Channels after each doubling of the resolution that follows the body."
    )
    picture_widths: list[Positive] = Field(
        description="Widths of the levels that see the picture itself, fine to coarse, one for each"
        " doubling; `[]`: it does not see the picture."
    )
    matched: bool = Field(
        description="The features of the matched normal patches are read too, beside the"
        " picture's own."
    )
    channel_dropout: float = Field(
        ge=0, lt=1, description="Share of the features' channels that a training step drops."
    )
    dropout: float = Field(ge=0, lt=1, description="Share of the body's values that it drops.")

    @model_validator(mode="after")
    def _levels_fit(self) -> "FeatureNetwork":
        if self.picture_widths and len(self.picture_widths) != len(self.upsampling_widths):
            raise ValueError("picture_widths must be empty or as many as upsampling_widths")
        return self


class VisionLanguage(Section):
    """The Swin of the language-vision branch, its weights, and what of it is trained."""

    embed_dim: Positive = Field(description="Width of its first stage.")
    depths: list[Positive] = Field(description="Blocks of its four stages.")
    heads: list[Positive] = Field(description="Heads of its four stages.")
    window: Positive = Field(description="Its window.")
    trainable: Literal["pwam", "language", "all"] = Field(
        description="`pwam`: all but the pixel-word attentions is frozen (needs LAVT's `weights`);"
        " `language`: the Swin is frozen (needs `weights`, a Swin's alone will do); `all`:"
        " everything is trained."
    )
    weights: str | None = Field(
        None,
        description="A safetensors file of the branch's weights, as `adclick convert-weights`"
        " writes it; without it they start at random.",
    )


class Sliding(Section):
    """Windows of a map: their side as a share of the grid's, and their step as a share of it.

    Model folders keep it: a change needs a new `FORMAT` there.
    """

    window: float = Field(gt=0, le=1, description="Side of a window, as a share of the grid's.")
    step: float = Field(
        gt=0, le=1, description="Distance of windows, as a share of a window's side."
    )
