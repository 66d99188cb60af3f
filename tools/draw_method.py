"""The README's picture of the method, from a finished run of the demo: all in it is a result.

    python -m tools.draw_method results/demo --output docs/method.png

Two defects of one category: one with clicks and the mask that ADClick makes of them, and one that
was not labelled, with ADClick-Seg's map. Without --clicked and --detected the picture shows, of
each, the case that has come out best.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from matplotlib import colormaps, style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.patheffects import withStroke
from sklearn.metrics import average_precision_score

from adclick.clicks.click import Click
from adclick.data.rows import defect_rows, read_masks
from adclick.metrics.clicks import iou
from adclick.reporting.style import BLUE, SKY_BLUE, YELLOW
from adclick.run.artifacts import image_ids, open_arrays

CLICKED_BY, DETECTED_BY = "finetuned_lang", "weak"
DRAWN_PX = 640  # side to which pictures are enlarged, so that they are soft and not of squares
HEAT = "inferno"
INK, FAINT = "#1f2328", "#59636e"
RESOLUTION_DPI = 150
# Lengths on the page, in inches.
PANEL, MARGIN, HEAD, LABEL, ROW_GAP = 1.95, 0.16, 0.40, 0.34, 0.34
GAPS = (0.42, 0.42, 1.62)  # between the four columns
BOX = (1.16, 0.34)  # a network's width and height


@dataclass(frozen=True)
class Case:
    """A picture of the run and what the method makes of it; without clicks `answer` is a map."""

    image: np.ndarray
    normal: np.ndarray
    lengths: np.ndarray
    clicks: Sequence[Click]
    answer: np.ndarray


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a finished run, such as results/demo")
    parser.add_argument("--output", type=Path, required=True, help="the PNG to write")
    parser.add_argument("--category", default="toy/washer")
    parser.add_argument("--clicks", type=int, default=3, help="how many clicks are shown")
    parser.add_argument("--clicked", help="id of the picture with clicks, such as test/crack/003")
    parser.add_argument("--detected", help="id of the picture without clicks")
    chosen = parser.parse_args()
    category = chosen.run / chosen.category
    clicked = _clicked(category, chosen.clicks, chosen.clicked)
    detected = _detected(category, chosen.detected)
    with style.context("default"):
        sheet = draw(clicked, detected)
        sheet.savefig(chosen.output, dpi=RESOLUTION_DPI, metadata={"Software": None})


def _clicked(category: Path, count: int, wanted: str | None) -> Case:
    truths = read_masks(category / "make_manifest/masks.h5")
    with open_arrays(category / f"simulate_clicks/{CLICKED_BY}/seed0/maps.h5") as file:
        ids = image_ids(file)
        masks = {
            name: np.unpackbits(file["masks"][row, 0, count - 1], axis=1).astype(bool)
            for row, name in enumerate(ids)
        }
        name = wanted or max(ids, key=lambda one: iou(masks[one], truths[one]))
        given = file["clicks"][ids.index(name), 0, :count]
    print(f"clicked: {name}, IoU {iou(masks[name], truths[name]):.2f}")
    clicks = [Click(int(row), int(column), bool(sign)) for row, column, sign in given if row >= 0]
    return _case(category, name, clicks, masks[name])


def _detected(category: Path, wanted: str | None) -> Case:
    truths = read_masks(category / "make_manifest/masks.h5")
    tested = defect_rows(category / "make_manifest/manifest.csv", roles=["test_defect"])
    with open_arrays(category / f"predict_maps/{DETECTED_BY}/seed0/maps.h5") as file:
        rows = {name: row for row, name in enumerate(image_ids(file))}
        maps = {name: file["maps"][rows[name]] for _, name, _ in tested}
    good = {
        name: average_precision_score(truths[name].ravel(), found.ravel())
        for name, found in maps.items()
    }
    name = wanted or max(good, key=lambda one: good[one])
    print(f"detected: {name}, AP {good[name]:.2f}")
    return _case(category, name, (), maps[name])


def _case(category: Path, name: str, clicks: Sequence[Click], answer: np.ndarray) -> Case:
    with open_arrays(category / "find_neighbours/real.h5") as file:
        nearest = int(file["neighbours"][image_ids(file).index(name), 0])
    with open_arrays(category / "extract_features/features.h5") as file:
        normal = image_ids(file)[nearest]
    with open_arrays(category / "make_manifest/images.h5") as file:
        ids = image_ids(file)
        image, reference = (file["images"][ids.index(one)] for one in (name, normal))
    with open_arrays(category / "compute_residuals/location_aware/real.h5") as file:
        lengths = file["lengths"][image_ids(file).index(name)]
    return Case(image, reference, lengths, clicks, answer)


def draw(clicked: Case, detected: Case) -> Figure:
    """Two rows, labelling and detecting, each from left to right: picture, normal picture,
    difference, answer.
    """
    page = _Page()
    page.heading(0, "Label", "a few clicks become a mask")
    page.heading(1, "Detect", "masks like this one train a detector that needs no clicks")
    for row, case in enumerate((clicked, detected)):
        panels = [page.panel(row, column) for column in range(4)]
        for axes, shown in zip(panels, (case.image, case.normal), strict=False):
            axes.imshow(_enlarged(shown))
        heat = cv2.resize(case.lengths, (DRAWN_PX, DRAWN_PX), interpolation=cv2.INTER_LINEAR)
        panels[2].imshow(heat, cmap=HEAT, vmin=np.median(case.lengths))  # black: as half of it
        _mark_clicks(panels[0], case)
        show = _show_mask if case.clicks else _show_map
        show(panels[3], case)
    page.labels(0, _clicks_label(clicked.clicks), "the good photo most like it")
    page.labels(1, "a new photo", "the good photo most like it")
    page.arrows()
    return page.figure


class _Page:
    """A blank sheet with places for two rows of four panels."""

    def __init__(self) -> None:
        self.width = 2 * MARGIN + 4 * PANEL + sum(GAPS)
        self.row_height = HEAD + PANEL + LABEL
        self.height = 2 * self.row_height + ROW_GAP + 2 * MARGIN
        self.figure = Figure(figsize=(self.width, self.height), facecolor="white")

    def left(self, column: int) -> float:
        return MARGIN + column * PANEL + sum(GAPS[:column])

    def top(self, row: int) -> float:
        """The upper edge of a row's panels, from above."""
        return MARGIN + HEAD + row * (self.row_height + ROW_GAP)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """A place, in inches from the upper left corner, as the figure counts."""
        return x / self.width, 1 - y / self.height

    def panel(self, row: int, column: int) -> Axes:
        x, y = self.at(self.left(column), self.top(row) + PANEL)
        axes = self.figure.add_axes((x, y, PANEL / self.width, PANEL / self.height))
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_edgecolor("#d1d9e0")
        return axes

    def text(self, x: float, y: float, words: str, size: float = 10.5, **form) -> None:
        self.figure.text(*self.at(x, y), words, fontsize=size, **({"color": INK} | form))

    def heading(self, row: int, name: str, words: str) -> None:
        y = self.top(row) - 0.15
        self.text(MARGIN, y, name, 14, fontweight="bold")
        self.text(MARGIN + 0.115 * len(name) + 0.14, y, words, 12, color=FAINT)

    def labels(self, row: int, *words: str) -> None:
        answer = "the mask" if row == 0 else "where the defect is"
        for column, line in enumerate([*words, "how far its features differ", answer]):
            self.text(
                self.left(column) + PANEL / 2, self.top(row) + PANEL + 0.22, line, ha="center"
            )

    def arrow(self, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
        self.figure.add_artist(
            FancyArrowPatch(
                self.at(*start),
                self.at(*end),
                transform=self.figure.transFigure,
                arrowstyle="-|>",
                mutation_scale=15,
                linewidth=1.8,
                color=colour,
                shrinkA=0,
                shrinkB=0,
            )
        )

    def line(self, places: Sequence[tuple[float, float]], colour: str) -> None:
        points = [self.at(*place) for place in places]
        self.figure.add_artist(
            Line2D(*zip(*points, strict=True), color=colour, linewidth=1.8, solid_joinstyle="round")
        )

    def box(self, x: float, y: float, words: str) -> None:
        """A network, around its middle."""
        width, height = BOX
        self.figure.add_artist(
            FancyBboxPatch(
                self.at(x - width / 2, y + height / 2),
                width / self.width,
                height / self.height,
                transform=self.figure.transFigure,
                boxstyle="round,pad=0,rounding_size=0.008",
                mutation_aspect=self.width / self.height,
                facecolor=BLUE,
                edgecolor="none",
            )
        )
        self.text(
            x, y, words, 10.5, color="white", fontweight="bold", ha="center", va="center_baseline"
        )

    def arrows(self) -> None:
        """From panel to panel, the clicks into ADClick, and its mask into ADClick-Seg."""
        middle = self.left(3) - GAPS[2] / 2
        for row, network in enumerate(("ADClick", "ADClick-Seg")):
            y = self.top(row) + PANEL / 2
            self.text(
                self.left(1) - GAPS[0] / 2, y, "vs.", 11, color=FAINT, ha="center", va="center"
            )
            self.arrow((self.left(2) - GAPS[1] + 0.05, y), (self.left(2) - 0.05, y), FAINT)
            self.arrow((middle - GAPS[2] / 2 + 0.05, y), (middle - BOX[0] / 2, y), FAINT)
            self.arrow((middle + BOX[0] / 2, y), (self.left(3) - 0.05, y), FAINT)
            self.box(middle, y, network)
        into = PANEL / 2 - BOX[1] / 2
        self.text(middle, self.top(0) - 0.14, "your clicks", ha="center")
        self.arrow((middle, self.top(0) - 0.06), (middle, self.top(0) + into), BLUE)
        x, under = self.left(3) + PANEL / 2, self.top(0) + PANEL + LABEL
        self.line([(x, under - 0.04), (x, under + 0.08), (middle, under + 0.08)], BLUE)
        self.arrow((middle, under + 0.08), (middle, self.top(1) + into), BLUE)


def _enlarged(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, (DRAWN_PX, DRAWN_PX), interpolation=cv2.INTER_CUBIC)


def _scaled(case: Case) -> float:
    return DRAWN_PX / case.image.shape[0]


def _mark_clicks(axes: Axes, case: Case) -> None:
    """A numbered disc for a click on the defect, a square for one beside it."""
    scale = _scaled(case)
    for number, click in enumerate(case.clicks, start=1):
        x, y = (click.column + 0.5) * scale, (click.row + 0.5) * scale
        axes.plot(
            x,
            y,
            marker="o" if click.positive else "s",
            markersize=11,
            markerfacecolor=BLUE if click.positive else YELLOW,
            markeredgecolor="white" if click.positive else "black",
            markeredgewidth=1.4,
            clip_on=False,
        )
        colour = "white" if click.positive else "black"
        axes.text(
            x, y, str(number), fontsize=8, fontweight="bold", color=colour, ha="center",
            va="center_baseline",
        )  # fmt: skip


def _clicks_label(clicks: Sequence[Click]) -> str:
    """What discs and squares mean, as far as there are any."""
    counted = {True: "on it", False: "beside it"}
    numbers = {sign: sum(click.positive == sign for click in clicks) for sign in counted}
    told = [f"{number} {counted[sign]}" for sign, number in numbers.items() if number]
    return "clicks: " + ", ".join(told)


def _paled(image: np.ndarray) -> np.ndarray:
    grey = image.mean(axis=2, keepdims=True)
    return np.repeat(70 + 0.72 * grey, 3, axis=2).astype(np.uint8)


def _show_mask(axes: Axes, case: Case) -> None:
    axes.imshow(_enlarged(_paled(case.image)))
    soft = cv2.resize(
        case.answer.astype(np.float32), (DRAWN_PX, DRAWN_PX), interpolation=cv2.INTER_CUBIC
    )
    mask = cv2.GaussianBlur(soft, (0, 0), _scaled(case) / 2) > 0.5
    colour = [int(SKY_BLUE[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    axes.imshow(np.dstack([*(np.full(mask.shape, part) for part in colour), 0.75 * mask]))
    drawn = axes.contour(mask, levels=[0.5], colors=[BLUE], linewidths=1.6)
    drawn.set_path_effects([withStroke(linewidth=3.2, foreground="white", alpha=0.8)])


def _show_map(axes: Axes, case: Case) -> None:
    heat = cv2.resize(case.answer, (DRAWN_PX, DRAWN_PX), interpolation=cv2.INTER_CUBIC)
    share = np.clip(heat / heat.max(), 0, 1)
    colours = colormaps[HEAT](share)
    colours[..., 3] = np.clip(1.6 * share, 0, 0.85)
    axes.imshow(_enlarged(_paled(case.image)))
    axes.imshow(colours)


if __name__ == "__main__":
    main()
