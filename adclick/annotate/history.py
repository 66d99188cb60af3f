"""An image's edits folded into its defects' masks: pure, so that undo and replay are exact.

A state follows from the one before and one edit; nothing is changed in place. A click asks the
model, whose answer is kept in the state; all else is arithmetic on masks.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float16, Int8

from adclick.annotate.actions import (
    ClearAction,
    ClickAction,
    Edit,
    ObjectAction,
    RemoveAction,
    StartAction,
    StrokeAction,
    ThresholdAction,
    TypeAction,
)
from adclick.clicks.click import Click
from adclick.run.errors import InputError

UNTOUCHED, ERASED, PAINTED = -1, 0, 1

Mask = Bool[np.ndarray, "height width"]
Strokes = Int8[np.ndarray, "height width"]


@dataclass(frozen=True, eq=False)
class Packed:
    """An array of the image's size, compressed: every state of the history keeps its own."""

    content: bytes
    shape: tuple[int, int]
    kind: str


def packed(array: Mask | Strokes) -> Packed:
    """A mask or strokes, compressed."""
    content = zlib.compress(np.ascontiguousarray(array).tobytes(), 1)
    return Packed(content, (array.shape[0], array.shape[1]), array.dtype.str)


def unpacked(kept: Packed) -> np.ndarray:
    """The array again, to be read only."""
    return np.frombuffer(zlib.decompress(kept.content), np.dtype(kept.kind)).reshape(kept.shape)


# The model: a defect's probability, at the size in which it sees the image, after clicks in
# original pixels, of a type (None = unknown); the last is the mask before the last click (M_{t-1}
# of Eq. 1), None = empty.
Predict = Callable[
    [Sequence[Click], "str | None", "Float[np.ndarray, 'height width'] | None"],
    Float[np.ndarray, "seen_height seen_width"],
]
# The mask [height width] that a start action names; InputError when there is none.
StartMask = Callable[[StartAction, tuple[int, int]], Mask]  # of the image's shape


@dataclass(frozen=True, eq=False)
class Defect:
    """One defect: its clicks, what the model last said, and what a hand has changed.

    `probability` is at the network's size, `base` a mask that it started from and no click has
    replaced yet, `strokes` what brush and eraser have fixed; both at the image's size, None where
    there is nothing.
    """

    id: int
    type: str | None
    threshold: float
    clicks: tuple[Click, ...] = ()
    probability: Float16[np.ndarray, "seen_height seen_width"] | None = None
    base: Packed | None = None
    strokes: Packed | None = None

    @property
    def untouched(self) -> bool:
        """Whether nothing was ever marked of it."""
        return self.probability is None and self.base is None and self.strokes is None


@dataclass(frozen=True, eq=False)
class State:
    """All defects of an image by number, and the one that is worked on; `seen` is the size (height,
    width) in which the model sees the image.
    """

    shape: tuple[int, int]
    seen: tuple[int, int]
    threshold: float
    defects: Mapping[int, Defect] = field(default_factory=dict[int, Defect])
    current: int = 1

    @property
    def defect(self) -> Defect:
        """The defect that is worked on, new when nothing was marked of it yet."""
        return self.defects.get(self.current) or Defect(self.current, None, self.threshold)


def apply(state: State, edit: Edit, *, predict: Predict, start_mask: StartMask) -> State:
    """The state after an edit. InputError, with the state as it was, for one that cannot be."""
    defect = state.defect
    match edit:
        case ClickAction():
            return _with(state, _clicked(state, defect, edit, predict))
        case StrokeAction():
            return _with(state, replace(defect, strokes=packed(_stroked(state, defect, edit))))
        case ThresholdAction():
            return _with(state, replace(defect, threshold=edit.value))
        case TypeAction():
            return _with(state, _typed(state, replace(defect, type=edit.value), predict))
        case StartAction():
            mask = start_mask(edit, state.shape)
            begun = replace(defect, clicks=(), probability=None, base=packed(mask), strokes=None)
            return _with(state, begun)
        case ObjectAction():
            return replace(state, current=_number(state, edit.id))
        case RemoveAction():
            _require(state, edit.id)
            kept = {number: one for number, one in state.defects.items() if number != edit.id}
            return replace(state, defects=kept, current=min(kept, default=1))
        case ClearAction():
            return replace(state, defects={}, current=1)


def defect_mask(state: State, defect: Defect) -> Mask:
    """A defect's mask at the image's size: the model's answer above its threshold, clicked pixels
    being what their last click says, or the mask it started from; strokes over it.
    """
    mask = np.zeros(state.shape, bool)
    if defect.base is not None:
        mask = unpacked(defect.base)
    elif defect.probability is not None:
        height, width = state.shape
        stretched = cv2.resize(
            defect.probability.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR
        )
        mask = stretched > defect.threshold
        for click in defect.clicks:
            mask[click.row, click.column] = click.positive
    if defect.strokes is not None:
        strokes = unpacked(defect.strokes)
        mask = np.where(strokes == UNTOUCHED, mask, strokes == PAINTED)
    return mask


def union(state: State, *, leaving_out: int | None = None) -> Mask:
    """The mask of all defects but one."""
    mask = np.zeros(state.shape, bool)
    for number, defect in state.defects.items():
        if number != leaving_out:
            mask |= defect_mask(state, defect)
    return mask


def shown_probability(state: State, defect: Defect) -> Float[np.ndarray, "seen_height seen_width"]:
    """What the model, or else the mask that a defect started from, says at the network's size."""
    if defect.base is not None:
        return _shrunk(unpacked(defect.base), state.seen)
    if defect.probability is None:
        return np.zeros(state.seen, np.float32)
    return defect.probability.astype(np.float32)


def _with(state: State, defect: Defect) -> State:
    return replace(state, defects={**state.defects, defect.id: defect}, current=defect.id)


def _clicked(state: State, defect: Defect, edit: ClickAction, predict: Predict) -> Defect:
    _check_inside(state, [(edit.row, edit.column)])
    clicks = (*defect.clicks, Click(edit.row, edit.column, edit.positive))
    freed = replace(defect, strokes=_freed(defect.strokes, edit))
    probability = predict(clicks, defect.type, _previous(state, freed))
    return replace(freed, clicks=clicks, probability=probability.astype(np.float16), base=None)


def _typed(state: State, defect: Defect, predict: Predict) -> Defect:
    """Another type is another text: the clicks are answered again."""
    if not defect.clicks:
        return defect
    probability = predict(defect.clicks, defect.type, _previous(state, defect))
    return replace(defect, probability=probability.astype(np.float16), base=None)


def _previous(state: State, defect: Defect) -> Float[np.ndarray, "seen_height seen_width"] | None:
    """M_{t-1}: the last answer, with what strokes have fixed; None when nothing is marked."""
    if defect.untouched:
        return None
    last = shown_probability(state, defect)
    if defect.strokes is not None:
        strokes = unpacked(defect.strokes)
        for value in (ERASED, PAINTED):
            share = _shrunk(strokes == value, state.seen)
            last = last * (1 - share) + np.float32(value) * share
    return last


def _freed(kept: Packed | None, edit: ClickAction) -> Packed | None:
    """The strokes without the connected piece of the opposite sign that a click falls into."""
    if kept is None:
        return None
    strokes = unpacked(kept)
    opposite = ERASED if edit.positive else PAINTED
    if strokes[edit.row, edit.column] != opposite:
        return kept
    _, pieces = cv2.connectedComponents((strokes == opposite).astype(np.uint8), connectivity=8)
    labels = np.asarray(pieces)
    freed = strokes.copy()
    freed[labels == labels[edit.row, edit.column]] = UNTOUCHED
    return packed(freed) if (freed != UNTOUCHED).any() else None


def _stroked(state: State, defect: Defect, edit: StrokeAction) -> Strokes:
    _check_inside(state, edit.points)
    canvas = np.zeros(state.shape, np.uint8)
    points = np.array([[column, row] for row, column in edit.points], np.int32)
    if len(points) > 1:
        cv2.polylines(canvas, [points], False, 1, max(1, round(2 * edit.radius)), cv2.LINE_8)
    for column, row in points[[0, -1]]:
        cv2.circle(canvas, (int(column), int(row)), round(edit.radius), 1, cv2.FILLED)
    untouched = np.full(state.shape, UNTOUCHED, np.int8)
    before = untouched if defect.strokes is None else unpacked(defect.strokes)
    return np.where(canvas > 0, np.int8(ERASED if edit.erase else PAINTED), before)


def _number(state: State, asked: int | None) -> int:
    """The number of a defect, or the next free one."""
    if asked is None:
        return max(state.defects, default=0) + 1
    _require(state, asked)
    return asked


def _require(state: State, number: int) -> None:
    if number not in state.defects:
        known = ", ".join(map(str, state.defects)) or "none"
        raise InputError(f"defect {number}: there is none; known: {known}")


def _check_inside(state: State, points: Sequence[tuple[int, int]]) -> None:
    height, width = state.shape
    for row, column in points:
        if not (0 <= row < height and 0 <= column < width):
            raise InputError(
                f"pixel ({row}, {column}): outside of the image of {width} x {height} pixels"
            )


def _shrunk(mask: Mask, shape: tuple[int, int]) -> Float[np.ndarray, "seen_height seen_width"]:
    if mask.shape == shape:
        return mask.astype(np.float32)
    return cv2.resize(mask.astype(np.float32), shape[::-1], interpolation=cv2.INTER_AREA)
