"""What an annotator can do to an image, as data: sent by the page, journalled, replayed."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST_POINTS = 20_000
LONGEST_PNG = 12_000_000

Pixel = Annotated[int, Field(ge=0, le=100_000)]
Point = tuple[Pixel, Pixel]


class _Action(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ClickAction(_Action):
    """A click at an original pixel: positive on a defect, negative on a normal place."""

    kind: Literal["click"]
    row: Pixel
    column: Pixel
    positive: bool


class StrokeAction(_Action):
    """A brush stroke through original pixels (row, column); `erase` takes away."""

    kind: Literal["stroke"]
    erase: bool
    radius: Annotated[float, Field(ge=0.5, le=2_000)]
    points: Annotated[list[Point], Field(min_length=1, max_length=MOST_POINTS)]


class ThresholdAction(_Action):
    """Where the probability is cut."""

    kind: Literal["threshold"]
    value: Annotated[float, Field(ge=0, le=1)]


class TypeAction(_Action):
    """The defect's type; null = unknown."""

    kind: Literal["type"]
    value: Annotated[str, Field(max_length=200)] | None


class StartAction(_Action):
    """Start from a mask: the saved one, a detector's zero-click answer, or a PNG (base64)."""

    kind: Literal["start"]
    source: Literal["saved", "zero_click", "png"]
    png: Annotated[str, Field(max_length=LONGEST_PNG)] | None = None


class ObjectAction(_Action):
    """Work on the defect of this number; null = a new one."""

    kind: Literal["object"]
    id: Annotated[int, Field(ge=1, le=1_000)] | None


class RemoveAction(_Action):
    """Take a defect away."""

    kind: Literal["remove_object"]
    id: Annotated[int, Field(ge=1, le=1_000)]


class ClearAction(_Action):
    """Take everything away: an empty mask."""

    kind: Literal["clear"]


class UndoAction(_Action):
    """Take the last action back."""

    kind: Literal["undo"]


class RedoAction(_Action):
    """Do again what was taken back."""

    kind: Literal["redo"]


Edit = (
    ClickAction
    | StrokeAction
    | ThresholdAction
    | TypeAction
    | StartAction
    | ObjectAction
    | RemoveAction
    | ClearAction
)
Action = Annotated[Edit | UndoAction | RedoAction, Field(discriminator="kind")]
