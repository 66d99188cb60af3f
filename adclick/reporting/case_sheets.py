"""Sheets of cases: images with clicks and masks, or with anomaly maps, from the best to the worst.

Colours are Okabe and Ito's, which colour-blind readers can tell apart; clicks differ in shape too,
so that a grey print still reads. Metrics come in as fractions and are written as percent. Nothing
here touches pyplot or the user's matplotlib settings, so that equal input gives equal bytes.
"""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, UInt8
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke

from adclick.clicks.click import Click
from adclick.reporting.style import BLUE, SKY_BLUE, VERMILLION, YELLOW

TRUTH_COLOUR, MASK_COLOUR = SKY_BLUE, VERMILLION
MAP_COLOURS = "inferno"
# Lengths on the page, in inches; angles of a click's number around its mark, tried in this order.
PANEL_WIDTH, PANEL_GAP, PAGE_MARGIN = 1.75, 0.08, 0.12
LINE_HEIGHT, LABEL_HEIGHT, LABEL_LINE, ROW_GAP, FOOT_HEIGHT = 0.165, 0.19, 0.14, 0.2, 0.42
CHARACTER_WIDTH, LABEL_CHARACTERS = 0.085, 28
NUMBER_ANGLES = (45, 135, 315, 225, 0, 180, 90, 270)
NUMBER_DISTANCE = 0.13
# A detail spans at least this share of the image; beyond DETAIL_MOST the whole image is shown.
DETAIL_LEAST, DETAIL_MOST, DETAIL_MARGIN = 0.3, 0.8, 1.5


@dataclass(frozen=True, eq=False)
class ClickCase:
    """One image labelled by clicks; `masks` and `ious` are keyed by the number of clicks given."""

    image: UInt8[np.ndarray, "height width 3"]
    truth: Bool[np.ndarray, "height width"]
    clicks: tuple[Click, ...]
    masks: Mapping[int, Bool[np.ndarray, "height width"]]
    title: str
    ious: Mapping[int, float]


@dataclass(frozen=True, eq=False)
class MapCase:
    """One image with its anomaly maps and their AP, keyed by the method's printed name.

    `truth` may be empty; a map without AP has none printed.
    """

    image: UInt8[np.ndarray, "height width 3"]
    truth: Bool[np.ndarray, "height width"]
    maps: Mapping[str, Float[np.ndarray, "height width"]]
    title: str
    scores: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True)
class Sheet:
    """A page of equal panels under titled rows, measured in inches from the top left corner."""

    figure: Figure
    tops: tuple[float, ...]
    panel_height: float
    label_height: float

    def panel(self, row: int, column: int, label: str) -> Axes:
        """An empty panel without ticks under its label."""
        left = PAGE_MARGIN + column * (PANEL_WIDTH + PANEL_GAP)
        axes = self.box(left, self.tops[row] + self.label_height, PANEL_WIDTH, self.panel_height)
        axes.set_title(label, fontsize=8, pad=3)
        axes.set_xticks([])
        axes.set_yticks([])
        return axes

    def box(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes at a place on the page."""
        page_width, page_height = self.figure.get_size_inches()
        bottom = page_height - top - height
        return self.figure.add_axes(
            (left / page_width, bottom / page_height, width / page_width, height / page_height)
        )


@dataclass(frozen=True)
class Window:
    """A part of an image: first row and column, height and width, in pixels."""

    row: int
    column: int
    height: int
    width: int


def choose_cases(scores: Sequence[float], count: int) -> dict[int, str]:
    """`count` places in `scores`, from the highest to the lowest score, and what each one is.

    They are evenly spaced in rank, and named `best`, `median`, `worst`, or by their rank. One case
    is the median. Of equal scores the first counts as the better; fewer scores give fewer cases.
    """
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable").tolist()
    last, wanted = len(order) - 1, min(count, len(order))
    steps = max(1, wanted - 1)
    ranks = [last // 2] if wanted == 1 else [place * last // steps for place in range(wanted)]
    names = {last // 2: "median", last: "worst", 0: "best"}
    return {order[rank]: names.get(rank, f"rank {rank + 1} of {last + 1}") for rank in ranks}


@style.context("default")
def click_sheet(cases: Sequence[ClickCase], *, title: str = "") -> Figure:
    """A row per case: image, true outline, numbered clicks, and the mask after so many clicks.

    Each row carries its case's title, each mask its IoU in percent. When truth, clicks and masks
    lie in a small part of the image, all panels but the first show only that part, framed in the
    first. A case may lack a number of clicks; that panel says so. Raises ValueError without cases.
    """
    counts = sorted({count for case in cases for count in case.masks})
    sheet = _sheet([case.title for case in cases], _aspect(cases), 3 + len(counts), title)
    for row, case in enumerate(cases):
        _click_row(sheet, row, case, counts)
    _click_legend(sheet.figure)
    return sheet.figure


@style.context("default")
def map_sheet(cases: Sequence[MapCase], *, title: str = "") -> Figure:
    """A row per case: image, true outline, and each method's anomaly map.

    A map is labelled with its AP in percent. A method has one colour scale for all rows, given
    below its column, so that its maps can be compared between images; scales differ between
    methods. A case may lack a method's map; that panel says so. Raises ValueError without cases.
    """
    methods = list(dict.fromkeys(method for case in cases for method in case.maps))
    titles = [case.title for case in cases]
    sheet = _sheet(titles, _aspect(cases), 2 + len(methods), title, label_lines=2)
    scales = {
        method: _scale([case.maps[method] for case in cases if method in case.maps])
        for method in methods
    }
    for row, case in enumerate(cases):
        _show_image(sheet.panel(row, 0, "image"), case.image)
        _show_truth(sheet.panel(row, 1, _truth_label(case.truth)), case.image, case.truth)
        for column, method in enumerate(methods, start=2):
            panel = sheet.panel(row, column, _map_label(case, method))
            _show_map(panel, case, method, scales[method])
    for column, method in enumerate(methods, start=2):
        _colour_bar(sheet, column, scales[method])
    return sheet.figure


def _aspect(cases: Sequence[ClickCase] | Sequence[MapCase]) -> float:
    """Height over width of the tallest image."""
    if not cases:
        raise ValueError("no cases to draw")
    return max(case.image.shape[0] / case.image.shape[1] for case in cases)


def _sheet(
    row_titles: Sequence[str], aspect: float, columns: int, title: str, *, label_lines: int = 1
) -> Sheet:
    """A blank page with its title and row titles written."""
    label_height = LABEL_HEIGHT + (label_lines - 1) * LABEL_LINE
    width = 2 * PAGE_MARGIN + columns * PANEL_WIDTH + (columns - 1) * PANEL_GAP
    panel_height = aspect * PANEL_WIDTH
    characters = int((width - 2 * PAGE_MARGIN) / CHARACTER_WIDTH)
    texts = [textwrap.wrap(text, characters) for text in [title, *row_titles]]
    top = PAGE_MARGIN + (len(texts[0]) * LINE_HEIGHT + ROW_GAP if title else 0.0)
    title_tops: list[float] = []
    panel_tops: list[float] = []
    for lines in texts[1:]:
        title_tops.append(top)
        panel_tops.append(top + len(lines) * LINE_HEIGHT)
        top = panel_tops[-1] + label_height + panel_height + ROW_GAP
    height = top + FOOT_HEIGHT
    figure = Figure(figsize=(width, height))
    for lines, place, size in zip(
        texts, [PAGE_MARGIN, *title_tops], [11.0, *(9.0 for _ in title_tops)], strict=True
    ):
        figure.text(
            PAGE_MARGIN / width,
            1 - place / height,
            "\n".join(lines),
            fontsize=size,
            fontweight="bold",
            verticalalignment="top",
        )
    return Sheet(figure, tuple(panel_tops), panel_height, label_height)


def _click_row(sheet: Sheet, row: int, case: ClickCase, counts: Sequence[int]) -> None:
    detail = _detail(case)
    framed = (detail.height, detail.width) != case.truth.shape
    whole = sheet.panel(row, 0, "image, detail framed" if framed else "image")
    _show_image(whole, case.image)
    if framed:
        _frame(whole, detail)
    truth = sheet.panel(row, 1, _truth_label(case.truth))
    _show_truth(truth, case.image, case.truth)
    clicks = sheet.panel(row, 2, _clicks_label(case.clicks))
    _show_clicks(clicks, case, detail)
    masks = [
        sheet.panel(row, column, _mask_label(case, count))
        for column, count in enumerate(counts, start=3)
    ]
    for axes, count in zip(masks, counts, strict=True):
        _show_mask(axes, case, count)
    for axes in [truth, clicks, *masks]:
        axes.set_xlim(detail.column - 0.5, detail.column + detail.width - 0.5)
        axes.set_ylim(detail.row + detail.height - 0.5, detail.row - 0.5)


def _show_image(axes: Axes, image: UInt8[np.ndarray, "height width 3"]) -> None:
    axes.imshow(image, interpolation="nearest")


def _paled(image: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    """The image in light grey, a ground on which coloured overlays stand out."""
    grey = image.mean(axis=2, keepdims=True)
    return np.repeat(80 + 0.68 * grey, 3, axis=2).astype(np.uint8)


def _truth_label(truth: Bool[np.ndarray, "height width"]) -> str:
    return "truth" if truth.any() else "truth: no defect"


def _show_truth(
    axes: Axes,
    image: UInt8[np.ndarray, "height width 3"],
    truth: Bool[np.ndarray, "height width"],
) -> None:
    _show_image(axes, image)
    _outline(axes, truth, TRUTH_COLOUR)


def _outline(axes: Axes, mask: Bool[np.ndarray, "height width"], colour: str) -> None:
    """The mask's border, image border included, in colour on a dark casing."""
    if not mask.any():
        return
    height, width = mask.shape
    drawn = axes.contour(
        np.arange(-1, width + 1, dtype=np.float64),
        np.arange(-1, height + 1, dtype=np.float64),
        np.pad(mask, 1).astype(np.float64),
        levels=[0.5],
        colors=[colour],
        linewidths=1.1,
    )
    drawn.set_path_effects([withStroke(linewidth=2.2, foreground="black", alpha=0.6)])
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)  # contour has widened them by the padding


def _detail(case: ClickCase) -> Window:
    """The square around truth, masks and clicks, or the whole image when that is not much more."""
    height, width = case.truth.shape
    marked = np.logical_or.reduce([case.truth, *case.masks.values()])
    places = np.argwhere(marked).tolist() + [[click.row, click.column] for click in case.clicks]
    if not places:
        return Window(0, 0, height, width)
    first, last = np.min(places, axis=0), np.max(places, axis=0)
    least = DETAIL_LEAST * max(height, width)
    side = round(max(DETAIL_MARGIN * (last - first + 1).max(), least))
    if side > DETAIL_MOST * min(height, width):
        return Window(0, 0, height, width)
    corner = (first + last + 1 - side) // 2
    row, column = np.clip(corner, 0, [height - side, width - side]).tolist()
    return Window(row, column, side, side)


def _frame(axes: Axes, detail: Window) -> None:
    axes.add_patch(
        Rectangle(
            (detail.column - 0.5, detail.row - 0.5),
            detail.width,
            detail.height,
            fill=False,
            edgecolor="white",
            linewidth=1.0,
            path_effects=[withStroke(linewidth=2.2, foreground="black")],
        )
    )


def _click_mark(click: Click, label: str = "") -> Line2D:
    """A blue disc when positive, a yellow square when negative."""
    return Line2D(
        [click.column],
        [click.row],
        linestyle="none",
        marker="o" if click.positive else "s",
        markersize=5.5,
        markerfacecolor=BLUE if click.positive else YELLOW,
        markeredgecolor="white" if click.positive else "black",
        markeredgewidth=0.8,
        label=label,
        clip_on=False,
    )


def _show_clicks(axes: Axes, case: ClickCase, detail: Window) -> None:
    _show_image(axes, _paled(case.image))
    for click in case.clicks:
        axes.add_line(_click_mark(click))
    for number, (row, column) in enumerate(_number_places(case.clicks, detail), start=1):
        axes.text(
            column,
            row,
            str(number),
            fontsize=6.5,
            fontweight="bold",
            horizontalalignment="center",
            verticalalignment="center",
            path_effects=[withStroke(linewidth=1.6, foreground="white")],
        )


def _number_places(clicks: Sequence[Click], detail: Window) -> list[tuple[float, float]]:
    """Where each click's number goes: beside its mark, clear of all other marks and numbers."""
    distance = NUMBER_DISTANCE / PANEL_WIDTH * detail.width
    taken = [(float(click.row), float(click.column)) for click in clicks]
    places: list[tuple[float, float]] = []
    for click in clicks:
        around = [
            (
                click.row - ring * distance * math.sin(math.radians(angle)),
                click.column + ring * distance * math.cos(math.radians(angle)),
            )
            for ring in (1, 2, 3)
            for angle in NUMBER_ANGLES
        ]
        inside = [place for place in around if _holds(detail, place, distance / 2)]
        # The first place that is clear enough; failing that, the clearest.
        best = max(
            inside or around, key=lambda place: min(_clearance(place, taken), 0.75 * distance)
        )
        places.append(best)
        taken.append(best)
    return places


def _clearance(place: tuple[float, float], taken: Sequence[tuple[float, float]]) -> float:
    return min(math.dist(place, other) for other in taken)


def _holds(window: Window, place: tuple[float, float], margin: float) -> bool:
    row, column = place[0] - window.row, place[1] - window.column
    return margin <= row <= window.height - margin and margin <= column <= window.width - margin


def _clicks_label(clicks: Sequence[Click]) -> str:
    return {0: "no click", 1: "click 1"}.get(len(clicks), f"clicks 1 to {len(clicks)}")


def _mask_label(case: ClickCase, count: int) -> str:
    clicks = "1 click" if count == 1 else f"{count} clicks"
    return f"{clicks}: IoU {100 * case.ious[count]:.1f} %" if count in case.ious else clicks


def _show_mask(axes: Axes, case: ClickCase, count: int) -> None:
    _show_image(axes, _paled(case.image))
    if count not in case.masks:
        _say(axes, "not run")
        return
    mask = case.masks[count]
    colour = [int(MASK_COLOUR[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    axes.imshow(np.dstack([*(np.full(mask.shape, part) for part in colour), 0.6 * mask]))
    _outline(axes, case.truth, TRUTH_COLOUR)


def _say(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=8)


def _scale(maps: Iterable[Float[np.ndarray, "height width"]]) -> Normalize:
    """One colour scale from the least to the greatest value of several maps."""
    values = [(float(found.min()), float(found.max())) for found in maps]
    return Normalize(min(low for low, _ in values), max(high for _, high in values))


def _map_label(case: MapCase, method: str) -> str:
    name = textwrap.shorten(method, LABEL_CHARACTERS, placeholder=" …")
    return f"{name}\nAP {100 * case.scores[method]:.1f} %" if method in case.scores else name


def _show_map(axes: Axes, case: MapCase, method: str, scale: Normalize) -> None:
    if method not in case.maps:
        _say(axes, "not run")
        return
    axes.imshow(case.maps[method], cmap=MAP_COLOURS, norm=scale, interpolation="nearest")
    _outline(axes, case.truth, TRUTH_COLOUR)


def _colour_bar(sheet: Sheet, column: int, scale: Normalize) -> None:
    """A colour bar below a column, labelled at both ends."""
    last = sheet.tops[-1] + sheet.label_height + sheet.panel_height
    left = PAGE_MARGIN + column * (PANEL_WIDTH + PANEL_GAP)
    axes = sheet.box(left + 0.15, last + 0.10, PANEL_WIDTH - 0.3, 0.10)
    ticks = sorted({float(scale.vmin or 0.0), float(scale.vmax or 0.0)})
    bar = sheet.figure.colorbar(
        ScalarMappable(scale, MAP_COLOURS), cax=axes, orientation="horizontal", ticks=ticks
    )
    bar.ax.set_xticklabels([f"{tick:.2g}" for tick in ticks], fontsize=6.5)
    bar.ax.tick_params(length=2, pad=1.5)


def _click_legend(figure: Figure) -> None:
    handles = [
        Line2D([], [], color=TRUTH_COLOUR, linewidth=2, label="true outline"),
        Patch(facecolor=MASK_COLOUR, alpha=0.6, label="predicted mask"),
        _click_mark(Click(0, 0, positive=True), "positive click (defect)"),
        _click_mark(Click(0, 0, positive=False), "negative click (no defect)"),
    ]
    figure.legend(handles=handles, loc="lower center", ncols=4, frameon=False, fontsize=8)
