"""An image's edits folded into its defects' masks: pure, so that undo and replay are exact.

A state follows from the one before and one edit; nothing is changed in place. A click asks the
model, whose answer is kept in the state; all else is arithmetic on masks. These are planes, so an
edit costs what it touches, however large the picture is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from weakref import WeakKeyDictionary

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32

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
from adclick.annotate.planes import (
    Box,
    Plane,
    Shape,
    array_of,
    blank_plane,
    differing,
    part_of,
    plane_of,
    tiles_of,
    value_at,
    whole_box,
    written,
)
from adclick.annotate.stretching import area_shares, shrunk_box, stretched, stretched_box
from adclick.clicks.click import Click
from adclick.run.errors import InputError

UNTOUCHED, ERASED, PAINTED = -1, 0, 1

Mask = Bool[np.ndarray, "height width"]
Grey = Float[np.ndarray, "box_height box_width"]

# The mask before the last click (M_{t-1} of Eq. 1) in a box of the size in which the model sees the
# image.
Previous = Callable[[Box], Grey]
# The model: what it changes of a defect's probability, box by box, at the size in which it sees the
# image, after clicks in original pixels, so many of which (the last ones) it answers now, of a type
# (None = unknown), from the mask before them (None = empty).
Predict = Callable[
    [Sequence[Click], int, "str | None", "Previous | None"], Sequence[tuple[Box, Grey]]
]
# The mask [height width] that a start action names; InputError when there is none.
StartMask = Callable[[StartAction, tuple[int, int]], Mask]  # of the image's shape


@dataclass(frozen=True, eq=False)
class Defect:
    """One defect: its clicks, what the model last said, and what a hand has changed.

    `probability` (float16) is at the network's size, `base` (bool) a mask that it started from and
    no click has replaced yet, `strokes` (int8, blank where it is untouched) what brush and eraser
    have fixed; both at the image's size, None where there is nothing.
    """

    id: int
    type: str | None
    threshold: float
    clicks: tuple[Click, ...] = ()
    probability: Plane | None = None
    base: Plane | None = None
    strokes: Plane | None = None

    @property
    def untouched(self) -> bool:
        """Whether nothing was ever marked of it."""
        return self.probability is None and self.base is None and self.strokes is None


_MASKS: WeakKeyDictionary[Defect, Plane] = WeakKeyDictionary()  # a defect never changes
_SHRUNK: WeakKeyDictionary[Plane, Plane] = WeakKeyDictionary()  # nor does a mask, or what sees it


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
            return _with(state, replace(defect, strokes=_stroked(state, defect, edit)))
        case ThresholdAction():
            return _with(state, replace(defect, threshold=edit.value))
        case TypeAction():
            return _with(state, _typed(state, replace(defect, type=edit.value), predict))
        case StartAction():
            mask = start_mask(edit, state.shape)
            begun = replace(defect, clicks=(), probability=None, base=plane_of(mask), strokes=None)
            return _with(state, begun)
        case ObjectAction():
            return replace(state, current=_number(state, edit.id))
        case RemoveAction():
            _require(state, edit.id)
            kept = {number: one for number, one in state.defects.items() if number != edit.id}
            return replace(state, defects=kept, current=min(kept, default=1))
        case ClearAction():
            return replace(state, defects={}, current=1)


def mask_plane(state: State, defect: Defect) -> Plane:
    """A defect's mask at the image's size: the model's answer above its threshold, clicked pixels
    being what their last click says, or the mask it started from; strokes over it.
    """
    if defect not in _MASKS:
        nothing = defect.base or blank_plane(state.shape, bool)
        _MASKS[defect] = _drawn(nothing, _touched(nothing, state, defect), defect)
    return _MASKS[defect]


def union(state: State) -> Mask:
    """The mask of all defects."""
    return array_of(union_plane(state))


def union_plane(state: State, *, leaving_out: int | None = None) -> Plane:
    """The mask of all defects but one."""
    whole = blank_plane(state.shape, bool)
    for number, defect in state.defects.items():
        if number != leaving_out:
            own = mask_plane(state, defect)
            for tile in own.tiles:
                box = own.box_of(tile)
                whole = written(whole, box, part_of(whole, box) | part_of(own, box))
    return whole


def shown_probability(state: State, defect: Defect) -> Plane:
    """What the model, or else the mask that a defect started from, says at the network's size."""
    if defect.base is not None:
        return _shrunk(defect.base, state.seen)
    if defect.probability is None:
        return blank_plane(state.seen, np.float16)
    return defect.probability


# --- masks ---------------------------------------------------------------------------------------


def _touched(mask: Plane, state: State, defect: Defect) -> set[Shape]:
    """The tiles of a mask that a defect's answer, clicks or strokes may have something in."""
    boxes = [] if defect.strokes is None else [*map(defect.strokes.box_of, defect.strokes.tiles)]
    if defect.base is None and defect.probability is not None:
        boxes += [Box(click.row, click.column, 1, 1) for click in defect.clicks]
        boxes += _above(defect.probability, defect.threshold, state.shape)
    return {tile for box in boxes for tile in tiles_of(mask, box)}


def _above(probability: Plane, threshold: float, shape: Shape) -> Iterator[Box]:
    """Boxes of the image's pixels that hold whatever is above a threshold once it is stretched."""
    for tile in probability.tiles:
        own = probability.box_of(tile)
        above = part_of(probability, own).astype(np.float32) > threshold
        rows, columns = (np.flatnonzero(above.any(axis=axis)) for axis in (1, 0))
        if len(rows):
            height, width = (int(found[-1] - found[0]) + 1 for found in (rows, columns))
            found = Box(own.top + int(rows[0]), own.left + int(columns[0]), height, width)
            yield stretched_box(found, probability.shape, shape)


def _drawn(mask: Plane, tiles: set[Shape], defect: Defect) -> Plane:
    """A mask with some of its tiles as a defect has them."""
    for tile in tiles:
        box = mask.box_of(tile)
        mask = written(mask, box, _mask_in(mask.shape, defect, box))
    return mask


def _mask_in(shape: Shape, defect: Defect, box: Box) -> Mask:
    """A defect's mask in a box."""
    if defect.base is not None:
        mask = part_of(defect.base, box)
    elif defect.probability is None:
        mask = np.zeros((box.height, box.width), bool)
    else:
        mask = stretched(defect.probability, shape, box) > defect.threshold
        for click in defect.clicks:
            row, column = click.row - box.top, click.column - box.left
            if 0 <= row < box.height and 0 <= column < box.width:
                mask[row, column] = click.positive
    if defect.strokes is not None:
        strokes = part_of(defect.strokes, box)
        mask = np.where(strokes == UNTOUCHED, mask, strokes == PAINTED)
    return mask


# --- edits ---------------------------------------------------------------------------------------


def _with(state: State, defect: Defect) -> State:
    before = state.defects.get(defect.id)
    if before is not None and before in _MASKS:
        _draw_again(before, defect)
    return replace(state, defects={**state.defects, defect.id: defect}, current=defect.id)


def _draw_again(before: Defect, defect: Defect) -> None:
    """The mask that follows from one that is known: the tiles that the edit between them changed,
    unless that may be all.
    """
    same_cut = (before.base, before.threshold) == (defect.base, defect.threshold)
    if not same_cut or before.clicks != defect.clicks[: len(before.clicks)]:
        return
    mask, known = _MASKS[before], before.probability or defect.probability
    boxes = [*differing(before.strokes, defect.strokes)]
    boxes += [Box(new.row, new.column, 1, 1) for new in defect.clicks[len(before.clicks) :]]
    if known is not None:
        changed = differing(before.probability, defect.probability)
        boxes += [stretched_box(box, known.shape, mask.shape) for box in changed]
    tiles = {tile for box in boxes for tile in tiles_of(mask, box)}
    _MASKS[defect] = _drawn(mask, tiles, defect)


def _clicked(state: State, defect: Defect, edit: ClickAction, predict: Predict) -> Defect:
    _check_inside(state, [(edit.row, edit.column)])
    clicks = (*defect.clicks, Click(edit.row, edit.column, edit.positive))
    freed = replace(defect, strokes=_freed(defect.strokes, edit))
    changed = predict(clicks, 1, defect.type, _previous(state, freed))
    return replace(_answered(state, freed, changed), clicks=clicks)


def _typed(state: State, defect: Defect, predict: Predict) -> Defect:
    """Another type is another text: the clicks are answered again."""
    if not defect.clicks:
        return defect
    changed = predict(defect.clicks, len(defect.clicks), defect.type, _previous(state, defect))
    return _answered(state, defect, changed)


def _answered(state: State, defect: Defect, changed: Sequence[tuple[Box, Grey]]) -> Defect:
    """A defect with what the model changes of its probability."""
    probability = shown_probability(state, defect)
    for box, values in changed:
        probability = written(probability, box, values.astype(np.float16))
    return replace(defect, probability=probability, base=None)


def _previous(state: State, defect: Defect) -> Previous | None:
    """M_{t-1}: the last answer, with what strokes have fixed; None when nothing is marked."""
    if defect.untouched:
        return None

    def before(box: Box) -> Float32[np.ndarray, "box_height box_width"]:
        if defect.base is not None:
            last = area_shares(defect.base, state.seen, box)
        else:
            last = part_of(shown_probability(state, defect), box).astype(np.float32)
        if defect.strokes is not None:
            for value in (ERASED, PAINTED):
                share = area_shares(defect.strokes, state.seen, box, value=value)
                last = last * (1 - share) + np.float32(value) * share
        return last

    return before


def _freed(strokes: Plane | None, edit: ClickAction) -> Plane | None:
    """The strokes without the connected piece of the opposite sign that a click falls into."""
    if strokes is None:
        return None
    opposite = ERASED if edit.positive else PAINTED
    if value_at(strokes, edit.row, edit.column) != opposite:
        return strokes
    box = strokes.extent
    freed = part_of(strokes, box)
    _, pieces = cv2.connectedComponents((freed == opposite).astype(np.uint8), connectivity=8)
    labels = np.asarray(pieces)
    freed[labels == labels[edit.row - box.top, edit.column - box.left]] = UNTOUCHED
    left = written(strokes, box, freed)
    return left if left.tiles else None


def _stroked(state: State, defect: Defect, edit: StrokeAction) -> Plane:
    _check_inside(state, edit.points)
    strokes = defect.strokes or blank_plane(state.shape, np.int8, blank=UNTOUCHED)
    box = _stroke_box(edit, strokes)
    canvas = np.zeros((box.height, box.width), np.uint8)
    points = np.array([[column - box.left, row - box.top] for row, column in edit.points], np.int32)
    if len(points) > 1:
        cv2.polylines(canvas, [points], False, 1, max(1, round(2 * edit.radius)), cv2.LINE_8)
    for column, row in points[[0, -1]]:
        cv2.circle(canvas, (int(column), int(row)), round(edit.radius), 1, cv2.FILLED)
    value = np.int8(ERASED if edit.erase else PAINTED)
    for tile in tiles_of(strokes, box):
        shared = strokes.box_of(tile).within(box)
        drawn = canvas[shared.seen_from(box)] > 0
        if drawn.any():
            before = part_of(strokes, shared)
            strokes = written(strokes, shared, np.where(drawn, value, before))
    return strokes


def _stroke_box(edit: StrokeAction, strokes: Plane) -> Box:
    """What a stroke can reach, of a large picture; else all."""
    if strokes.is_whole:
        return whole_box(strokes.shape)
    reach = round(edit.radius) + 2
    (top, left), (bottom, right) = np.min(edit.points, axis=0), np.max(edit.points, axis=0)
    around = Box(
        int(top) - reach,
        int(left) - reach,
        int(bottom - top) + 2 * reach + 1,
        int(right - left) + 2 * reach + 1,
    )
    return around.within(whole_box(strokes.shape))


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


def _shrunk(mask: Plane, seen: Shape) -> Plane:
    """The share of each of the network's pixels that a mask covers."""
    if mask not in _SHRUNK:
        shrunk = blank_plane(seen, np.float16)
        for tile in tiles_of(shrunk, shrunk_box(mask, seen)):
            box = shrunk.box_of(tile)
            shrunk = written(shrunk, box, area_shares(mask, seen, box).astype(np.float16))
        _SHRUNK[mask] = shrunk
    return _SHRUNK[mask]
