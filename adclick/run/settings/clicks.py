"""Settings of clicks and of those who click."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from adclick.run.settings.section import NonNegative, Positive, Section, Share

PEERS = "clicks/peers"  # the folder of the peers that read the picture alone, a file each
MAP_THRESHOLD = "threshold"  # the peer that reads the training-free map


class Clicks(Section):
    """Simulated clicks: after how many the mask is scored, its threshold, and the disks' radius."""

    counts: Annotated[list[Positive], Field(min_length=1)]
    threshold: Share
    radius_px: NonNegative
    label_clicks: Positive


class Robot(Section):
    """A robot user: where it clicks, what share of its clicks has the wrong sign, and how often
    each image is clicked anew.
    """

    place: Literal["deepest", "inside"]
    wrong: Share
    draws: Positive

    @model_validator(mode="after")
    def _draws_differ(self) -> "Robot":
        if self.draws > 1 and self.place == "deepest" and self.wrong == 0:
            raise ValueError("draws of a robot that draws nothing are all equal; set draws to 1")
        return self


class Zoom(Section):
    """A second look at the part of a picture that the answer is about."""

    margin: Annotated[float, Field(ge=1)]
    least_side: Share


PROTOCOL = "deepest"
PROTOCOL_ROBOT = Robot(place="deepest", wrong=0, draws=1)
