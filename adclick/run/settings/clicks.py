"""Settings of clicks and of those who click."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from adclick.run.settings.section import Name, NonNegative, Positive, Section, Share

PEERS = "models/peers"  # the folder of the peers that read the picture alone, a file each
OPENER = "open_peer"  # what each of these files has; its keywords with a value are settings
MAP_THRESHOLD = "threshold"  # the peer that reads the training-free map


class Lines(Section):
    """Which thin lines through positive clicks an answer may follow."""

    contrast: NonNegative = Field(
        description="A clicked pixel is on a line where it is above (or below) both of its sides by"
        " this many times what the surface around is on average."
    )
    likeness: Share = Field(
        description="The line goes on where a pixel is above its sides by this share of that."
    )
    gap_px: Positive = Field(
        description="It goes on behind gaps of twice as many pixels of the network's picture (of"
        " one larger than 384 px, of it shrunk to that)."
    )
    elongation: NonNegative = Field(
        description="Its area, at least, as a multiple of the square of half its width."
    )
    edge_px: NonNegative = Field(
        description="What is farther from the line, in pixels of the network's picture, and no"
        " farther than `side_px`, is beside it, and negative."
    )
    side_px: NonNegative = Field(description="How far what is beside the line reaches.")
    doubt: NonNegative = Field(
        0.0,
        description="A pixel of the line is known to be positive with the probability p / (p +"
        " doubt x c), p being the network's probability there and c its mean at positive clicks: a"
        " line may go on where no defect is. 0: all of the line is positive.",
    )

    @model_validator(mode="after")
    def _there_is_a_side(self) -> "Lines":
        if self.side_px <= self.edge_px:
            raise ValueError("side_px must be larger than edge_px: nothing lies beside a line")
        return self


class Edges(Section):
    """The last stage after a click network: how far its answer is drawn to the picture's edges."""

    trust: NonNegative = Field(
        description="Weight of the network's probability at a pixel of a picture of 128 x 128, a"
        " step on an even surface weighing 1: larger follows the network, smaller the edges."
    )
    least_trust: Share = Field(
        description="The weight falls with the square of the share of clicks that the network"
        " itself honours, to this share of it."
    )
    early_trust: NonNegative = Field(
        description="After n clicks the weight is 1 + this / n² times as large."
    )
    prior_power: float = Field(
        gt=0, description="The odds of the network's probability are taken to this power."
    )
    sharpness: NonNegative = Field(
        description="What a step of the picture's mean squared difference of colour costs, as"
        " exponent: larger makes more of weak edges."
    )
    likeness: NonNegative = Field(
        description="Pixels nearer than `clicks.radius_px` to a click are of its kind where their"
        " squared difference of colour is at most this many times the picture's mean squared step."
    )
    lines: Lines | None = Field(
        None,
        description="Another answer follows thin lines through positive clicks, and the estimate"
        " of `clicks.levels` takes the best; without that none is followed.",
    )
    loose: Share | None = Field(
        None,
        description="Before there is a mask, another answer for `clicks.levels` to choose from,"
        " which gives the network's probability this share of its weight. Needs levels.",
    )
    local: bool = Field(
        False,
        description="Once there is a mask, another answer for `clicks.levels` to choose from, which"
        " changes that mask only where what changes hangs together with the last click. Needs"
        " levels.",
    )


class Zoom(Section):
    """A second look, enlarged, at the part of a picture that a network's answer is about."""

    margin: float = Field(
        ge=1,
        description="Side of the square that is looked at, as a multiple of the extent of mask and"
        " positive clicks.",
    )
    least_side: Share = Field(description="Its least side, as a share of the picture's.")


class Levels(Section):
    """How the estimate is trained that says at which level an answer is cut, and which of several
    answers, and the second one that says whether to follow a line; a minute or two each at the end
    of a training, by a robot user on simulated pictures.
    """

    pictures: Positive = Field(description="Simulated pictures that the robot user clicks on.")
    lines: Positive | None = Field(
        None,
        description="So many more, with a simulated crack or scratch each, for a second estimate,"
        " which says whether to follow a line (`clicks.edges.lines`). Without it the first one"
        " does, which has seen few thin defects.",
    )
    clicks: Positive = Field(description="Clicks on each.")
    hidden: Positive = Field(description="Width of the two hidden layers.")
    steps: Positive = Field(
        description="Steps of AdamW, 512 masks each; done twice for each estimate."
    )
    learning_rate: float = Field(gt=0, description="Its peak rate, of one cycle.")
    weight_decay: NonNegative = Field(description="Its decay.")
    noise: NonNegative = Field(
        description="Noise on what is read, in standard deviations: simulated defects are not real"
        " ones."
    )


class Clicks(Section):
    """Simulated clicks: after how many the mask is scored, its threshold, and the disks' radius."""

    counts: list[Positive] = Field(
        min_length=1, description="After how many clicks the mask is scored."
    )
    threshold: Share = Field(description="Probability above which a pixel belongs to the mask.")
    radius_px: NonNegative = Field(
        description="Radius of click disks and of the discs of Eq. 8, in network pixels."
    )
    label_clicks: Positive = Field(description="Clicks a training defect when labels are made.")
    zoom: Zoom | None = Field(
        None,
        description="The second look of a click network, for robot users, labels and the annotation"
        " tool. Without it, as in the paper, the first.",
    )
    edges: Edges | None = Field(
        None,
        description="The last stage after a click network, for the same: the answer follows the"
        " picture's edges, and the mask holds every positive click and no negative one. Without it"
        " the network's answer, as in the paper.",
    )
    levels: Levels | None = Field(
        None,
        description="An answer that follows the picture's edges is cut at the level where its mask"
        " is estimated to be best, and not at `threshold`; the estimate is trained with the"
        " network. Needs `edges`. Without it the threshold, as in the paper.",
    )

    @model_validator(mode="after")
    def _levels_are_of_edges(self) -> "Clicks":
        if self.levels is not None and self.edges is None:
            raise ValueError(
                "levels are of answers that follow edges; set edges too, or levels to null"
            )
        return self


class Robot(Section):
    """A robot user: where it clicks, what share of its clicks has the wrong sign, and how often
    each image is clicked anew.
    """

    place: Literal["deepest", "inside"] = Field(
        description="`deepest`, or `inside`: uniform over the pixels of more than half the largest"
        " depth, drawn from a seed made of draw and image."
    )
    wrong: Share = Field(description="Share of clicks with the wrong sign.")
    draws: Positive = Field(
        description="How often every image is clicked anew; the spread over draws is reported."
    )

    @model_validator(mode="after")
    def _draws_differ(self) -> "Robot":
        if self.draws > 1 and self.place == "deepest" and self.wrong == 0:
            raise ValueError("draws of a robot that draws nothing are all equal; set draws to 1")
        return self


PROTOCOL = "deepest"
PROTOCOL_ROBOT = Robot(place="deepest", wrong=0, draws=1)


def _others_than_the_protocols(robots: dict[str, Robot]) -> dict[str, Robot]:
    known = [name for name, robot in robots.items() if robot == PROTOCOL_ROBOT]
    if known or PROTOCOL in robots:
        raise ValueError(
            f"{(known or [PROTOCOL])[0]}: the user of the protocol is always run, under the name"
            f" {PROTOCOL}; define others"
        )
    return robots


Robots = Annotated[dict[Name, Robot], AfterValidator(_others_than_the_protocols)]
