"""When a picture is called defective."""

from typing import NamedTuple

from adclick.metrics.false_alarms import RATE, threshold_at
from adclick.models.description import MapUse
from adclick.run.errors import InputError


class Level(NamedTuple):
    """What a map is compared with: pixels above `value` are marked and, where it `decides`, a
    picture with such a pixel is defective. `line` says where it comes from.
    """

    value: float
    decides: bool
    line: str


def level_of(
    detection: MapUse, *, threshold: float | None = None, false_alarms: float | None = None
) -> Level:
    """The level of a detector: the one that is given, or the one that a share of normal pictures
    exceed (`RATE` without a word).

    A detector for which no normal picture was held out decides nothing: then its level is that of
    the pixels of the normal training pictures. InputError for a level or a share outside 0 … 1, for
    both, and for a share where nothing was held out.
    """
    if threshold is not None and false_alarms is not None:
        raise InputError("--threshold or --false-alarms: give one of both")
    for name, value in (("--threshold", threshold), ("--false-alarms", false_alarms)):
        if value is not None and not 0 <= value <= 1:
            raise InputError(f"{name} {value}: must be from 0 to 1")
    if threshold is not None:
        return Level(threshold, True, f"threshold {threshold:g}, as given")
    held_out = detection.held_out
    if held_out is not None:
        found = threshold_at(held_out.scores, RATE if false_alarms is None else false_alarms)
        note = "; they are the test's: do not measure false alarms on those"
        return Level(found.value, True, found.line + note * (held_out.pictures == "test"))
    if false_alarms is not None:
        raise InputError(
            "--false-alarms: the model was made without held-out normal pictures; hold some out"
            " (a split `validation`, as adclick init does), or give --threshold"
        )
    return Level(
        detection.threshold,
        False,
        "no normal pictures were held out, so no picture is called defective:"
        f" {detection.threshold:g} is what 0.1 % of the pixels of the training's normal pictures"
        " exceed; give --threshold",
    )
