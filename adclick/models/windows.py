"""Clicks on a picture of any size: each is answered in a window of the network around it."""

from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np

from adclick.clicks.click import Click
from adclick.clicks.robot import Predict
from adclick.data.geometry import Shape, cells_in, cropped, in_frame
from adclick.networks.parts import Part, weight_of

INNER = 0.25  # of a window: a click nearer to its edge, where the picture goes on, opens another
FADED = 0.125  # of a window: where its answer goes over into what was known before
MOST_OPENED = 64  # windows of a picture that are kept open

Open = Callable[[Part], Predict]  # a network on a part of a picture


def answer_in_parts(open_part: Open, *, content: Shape, window: int, stride: int) -> Predict:
    """A click method on a picture of `content` pixels, from one on its parts; a window has `window`
    patches a side.

    A picture that one window covers is its only part. In a larger one each click is answered in the
    windows that it lies in (`click_parts`), which see what is known of them so far; elsewhere the
    last answer stays, so a click costs the same in a picture of any size. Towards a window's edge
    its answer fades into the last one. A part is opened anew for every answer, unless `open_part`
    is one of `opened_once`.
    """
    grid = cells_in(content, stride)
    shape = (grid[0] * stride, grid[1] * stride)

    def in_part(part: Part, clicks: Sequence[Click], previous: np.ndarray | None) -> np.ndarray:
        return open_part(part)(clicks, previous)

    def of_whole(clicks: Sequence[Click], previous: np.ndarray | None) -> np.ndarray:
        before = None if previous is None else in_frame(previous, shape)
        whole = Part(0, 0, *grid)
        return cropped(in_part(whole, _inside(clicks, whole, stride), before), content)

    def of_parts(clicks: Sequence[Click], previous: np.ndarray | None) -> np.ndarray:
        found = np.zeros(shape, np.float32)
        if previous is not None:
            found[: content[0], : content[1]] = previous

        def write(part: Part, values: np.ndarray) -> None:
            found[part.pixels(stride)] = values

        change_in_parts(
            in_part,
            clicks,
            asked=clicks if previous is None else clicks[-1:],
            grid=grid,
            window=window,
            stride=stride,
            from_nothing=previous is None,
            read=lambda part: found[part.pixels(stride)].copy(),
            write=write,
        )
        return cropped(found, content)

    return of_whole if window >= max(grid) else of_parts


def opened_once(open_part: Open) -> Open:
    """The same, with the parts that were opened last kept."""
    opened: OrderedDict[Part, Predict] = OrderedDict()

    def kept(part: Part) -> Predict:
        if part not in opened:
            opened[part] = open_part(part)
            while len(opened) > MOST_OPENED:
                opened.popitem(last=False)
        opened.move_to_end(part)
        return opened[part]

    return kept


def change_in_parts(
    ask: Callable[[Part, Sequence[Click], np.ndarray | None], np.ndarray],
    clicks: Sequence[Click],
    *,
    asked: Sequence[Click],
    grid: Shape,
    window: int,
    stride: int,
    from_nothing: bool,
    read: Callable[[Part], np.ndarray],
    write: Callable[[Part, np.ndarray], None],
) -> None:
    """Lay a network's answers in the windows that some of the clicks, `asked`, lie in over what is
    known of a picture.

    `ask` answers the clicks in a part, in its pixels, from what is known of it (None, with
    `from_nothing`: nothing is); `read` gives what is known of a part, and `write` keeps what is
    known then.
    """
    answers = [  # all before any is written: no window sees what another answers to the same click
        (part, ask(part, _inside(clicks, part, stride), None if from_nothing else read(part)))
        for part in click_parts(clicks, grid, window, stride)
        if _inside(asked, part, stride)
    ]
    for part, own in answers:
        known = read(part)
        weight = weight_of(part, grid, round(FADED * window), stride)
        write(part, known + weight * (own - known))


def click_parts(clicks: Sequence[Click], grid: Shape, window: int, stride: int) -> list[Part]:
    """The windows that clicks open, in order: around a click, unless it lies well inside one that
    is open. They depend on the clicks before alone, so a click moves no window.
    """
    parts: list[Part] = []
    for click in clicks:
        cell = (click.row // stride, click.column // stride)
        if not any(_is_within(cell, part, grid, round(INNER * window)) for part in parts):
            parts.append(_around(cell, grid, window))
    return parts


def _around(cell: Shape, grid: Shape, window: int) -> Part:
    sides = [min(window, length) for length in grid]
    top, left = (
        min(max(place - side // 2, 0), length - side)
        for place, side, length in zip(cell, sides, grid, strict=True)
    )
    return Part(top, left, *sides)


def _is_within(cell: Shape, part: Part, grid: Shape, margin: int) -> bool:
    spans = ((part.top, part.height), (part.left, part.width))
    return all(
        first + (margin if first > 0 else 0)
        <= place
        < first + side - (margin if first + side < length else 0)
        for place, (first, side), length in zip(cell, spans, grid, strict=True)
    )


def _inside(clicks: Sequence[Click], part: Part, stride: int) -> list[Click]:
    """The clicks in a part, in its pixels."""
    top, left = part.top * stride, part.left * stride
    height, width = part.height * stride, part.width * stride
    moved = [Click(one.row - top, one.column - left, one.positive) for one in clicks]
    return [one for one in moved if 0 <= one.row < height and 0 <= one.column < width]
