"""Line figures: mIoU against clicks, precision and region overlap, and the loss of trainings.

A line differs from the others in colour (Okabe and Ito's), in dash and in marker, so that
colour-blind readers and grey prints tell them apart. Metrics come in as fractions and are drawn as
percent. Nothing here touches pyplot or the user's matplotlib settings, so that equal input gives
equal bytes.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from adclick.metrics.curves import Steps
from adclick.reporting.style import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY_BLUE, VERMILLION

LINE_COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY_BLUE, BLACK)
LINE_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
LINE_DASHES = ("-", "--", "-.", ":")
TEST_SETS = {
    "unsupervised": "all test images",
    "supervised": "test images without the training defects",
}
SMOOTHED_PARTS = 10  # a loss is averaged over one part in so many of its phase

# Lengths in a legend, in inches: a line with its gaps, a character.
LEGEND_LINE, LEGEND_CHARACTER = 0.65, 0.065

Record = Mapping[str, Any]
Curve = dict[int, list[float]]  # clicks -> mIoU of each seed, as a fraction


@dataclass(frozen=True)
class Losses:
    """The loss of every step of one method's training; a phase that it lacks is empty."""

    network: str
    method: str
    pretraining: Sequence[float]
    training: Sequence[float]


@style.context("default")
def miou_curve(
    records: Sequence[Record],
    *,
    methods: Sequence[str] | None = None,
    titles: Mapping[str, str] | None = None,
) -> Figure:
    """mIoU in percent against the number of clicks: a panel per category, a curve per method.

    `records` are metric records; those of kind `clicks` count. Data sets of several categories have
    a first panel of their average, with the methods that every category has. Bars are one sample
    standard deviation over seeds. `methods` chooses and orders the curves (default: all, by name);
    panels are in the records' order; `titles` are printed names of data sets, categories and
    methods. Raises ValueError without click records.
    """
    names = dict(titles or {})
    clicks = [record for record in records if record["kind"] == "clicks"]
    chosen = list(methods or sorted({record["method"] for record in clicks}))
    panels = _curve_panels(clicks, chosen, names)
    if not any(panels.values()):
        raise ValueError("no click records to draw")
    columns = min(4, len(panels))
    rows = math.ceil(len(panels) / columns)
    width = max(2.7 * columns, 4.5)
    entry = LEGEND_LINE + LEGEND_CHARACTER * max(len(names.get(name, name)) for name in chosen)
    legend_columns = max(1, min(len(chosen), int(width / entry)))
    legend_rows = math.ceil(len(chosen) / legend_columns)
    size = (width, 2.3 * rows + 0.2 * legend_rows + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    for place, (label, curves) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, columns, place + 1)
        _show_curves(axes, label, curves, chosen)
        axes.set_ylim(*_curve_limits(panels))
        axes.set_xlabel("clicks" if place + columns >= len(panels) else "", fontsize=9)
        axes.set_ylabel("mIoU (%)" if place % columns == 0 else "", fontsize=9)
    handles = [
        Line2D([], [], label=names.get(method, method), **line_style(place))
        for place, method in enumerate(chosen)
    ]
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=legend_columns,
        frameon=False,
        fontsize=8,
    )
    return figure


@style.context("default")
def detection_curves(
    records: Sequence[Record],
    *,
    methods: Sequence[str],
    titles: Mapping[str, str] | None = None,
    title: str = "",
) -> Figure:
    """Precision against recall, and region overlap against false positive rate, in percent.

    `records` are curves of one category as `evaluate_maps` writes them. A row per test set, a line
    per method: the mean over its seeds, whose area the legend gives (AP, PRO). `methods` chooses
    and orders the lines; `titles` are their printed names. Raises ValueError without records.
    """
    kept = [record for record in records if record["method"] in methods]
    sets = [name for name in TEST_SETS if any(name in record["test_sets"] for record in kept)]
    if not sets:
        raise ValueError("no curves to draw")
    shown = {name: _mean_curves(kept, methods, name) for name in sets}
    entries = max(len(lines) for lines in shown.values())
    size = (8.4, (2.9 + 0.17 * entries) * len(sets))
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.12))
    figure.suptitle(title, fontsize=11, fontweight="bold")
    for row, name in enumerate(sets):
        for column, kind in enumerate(("precision", "overlap")):
            axes = figure.add_subplot(len(sets), 2, 2 * row + column + 1)
            _show_steps(axes, kind, shown[name], methods, titles or {})
            axes.set_title(TEST_SETS[name], fontsize=9)
    return figure


@style.context("default")
def loss_curves(
    trainings: Sequence[Losses],
    *,
    where: str,
    titles: Mapping[str, str] | None = None,
    title: str = "",
) -> Figure:
    """Loss against steps: a panel per network, a line per training; `where` is the category.

    What a method was pretrained on lies left of the dotted line, its own training right of it;
    methods that share a pretraining share that part of the line. Losses are running means over a
    tenth of a phase. Seeds of one method have the same style. Raises ValueError without any.
    """
    if not trainings:
        raise ValueError("no trainings to draw")
    networks = list(dict.fromkeys(one.network for one in trainings))
    groups = [[one for one in trainings if one.network == name] for name in networks]
    entries = max(len({one.method for one in group}) for group in groups)
    size = (4.6 * len(networks), 3.4 + 0.17 * entries)
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, fontsize=11, fontweight="bold")
    for place, (name, group) in enumerate(zip(networks, groups, strict=True), start=1):
        axes = figure.add_subplot(1, len(networks), place)
        _show_losses(axes, group, where, titles or {})
        axes.set_title(name, fontsize=10, pad=16)
        axes.set_ylabel("loss" if place == 1 else "", fontsize=9)
    return figure


def _curve_panels(
    records: Sequence[Record], methods: Sequence[str], names: Mapping[str, str]
) -> dict[str, dict[str, Curve]]:
    """Per panel title the curve of each method; averages over categories come first."""
    runs: dict[str, dict[str, dict[str, dict[int, Record]]]] = {}
    for record in records:
        if record["method"] in methods:
            categories = runs.setdefault(record["dataset"], {})
            seeds = categories.setdefault(record["category"], {}).setdefault(record["method"], {})
            seeds[int(record["seed"])] = record["counts"]
    panels: dict[str, dict[str, Curve]] = {}
    for dataset, categories in runs.items():
        groups = {category: (category,) for category in categories}
        if len(categories) > 1:
            groups = {f"average of {len(categories)}": tuple(categories), **groups}
        for group, members in groups.items():
            label = f"{names.get(dataset, dataset)}: {names.get(group, group)}"
            found = {
                method: _mean_curve([categories[member].get(method, {}) for member in members])
                for method in methods
            }
            panels[label] = {method: curve for method, curve in found.items() if curve}
    return panels


def _mean_curve(runs: Sequence[Mapping[int, Mapping[str, Mapping[str, float]]]]) -> Curve:
    """mIoU averaged over categories, per number of clicks and per seed that all of them have."""
    curve: Curve = {}
    for seed in sorted(set(runs[0]).intersection(*runs[1:])):
        counts = set(runs[0][seed]).intersection(*(run[seed] for run in runs[1:]))
        for count in sorted(counts, key=int):
            values = [run[seed][count]["miou"] for run in runs]
            curve.setdefault(int(count), []).append(math.fsum(values) / len(values))
    return dict(sorted(curve.items()))


def line_style(place: int) -> dict[str, Any]:
    """Colour, marker and dash of the line at a place: no two neighbours share any."""
    return {
        "color": LINE_COLOURS[place % len(LINE_COLOURS)],
        "marker": LINE_MARKERS[place % len(LINE_MARKERS)],
        "linestyle": LINE_DASHES[place % len(LINE_DASHES)],
        "linewidth": 1.6,
        "markersize": 5.0,
    }


def _curve_limits(panels: Mapping[str, Mapping[str, Curve]]) -> tuple[float, float]:
    """Percent limits in tens that hold the values of every panel, for all panels alike."""
    percents = [
        100 * value
        for curves in panels.values()
        for curve in curves.values()
        for values in curve.values()
        for value in values
    ]
    low, high = math.floor((min(percents) - 3) / 10), math.ceil((max(percents) + 3) / 10)
    return max(0.0, 10.0 * low), min(100.0, 10.0 * high) + 1.0


def _show_curves(
    axes: Axes, label: str, curves: Mapping[str, Curve], methods: Sequence[str]
) -> None:
    counts = sorted({count for curve in curves.values() for count in curve})
    for place, method in enumerate(methods):
        curve = curves.get(method, {})
        means = [100 * statistics.fmean(values) for values in curve.values()]
        axes.plot(list(curve), means, **line_style(place))
        for count, mean in zip(curve, means, strict=True):
            if len(curve[count]) > 1:
                deviation = 100 * statistics.stdev(curve[count])
                axes.errorbar(count, mean, deviation, color=line_style(place)["color"], capsize=3)
    axes.set_title(label, fontsize=9)
    axes.set_xticks(counts)
    axes.margins(x=0.12)
    axes.tick_params(labelsize=8)
    axes.grid(axis="y", color="0.88", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _mean_curves(
    records: Sequence[Record], methods: Sequence[str], test_set: str
) -> dict[str, dict[str, Steps]]:
    """Per method the two curves of one test set, averaged over seeds."""
    found: dict[str, dict[str, Steps]] = {}
    for method in methods:
        runs = [
            record["test_sets"][test_set]
            for record in records
            if record["method"] == method and test_set in record["test_sets"]
        ]
        if runs:
            found[method] = {
                kind: _mean_steps([run[kind] for run in runs]) for kind in ("precision", "overlap")
            }
    return found


def _mean_steps(curves: Sequence[Mapping[str, Sequence[float]]]) -> Steps:
    edges = np.array([curve["edges"] for curve in curves])
    if not (edges == edges[0]).all():
        raise ValueError("curves over different images cannot be averaged")
    return Steps(edges[0], np.mean([curve["means"] for curve in curves], axis=0))


def _show_steps(
    axes: Axes,
    kind: str,
    lines: Mapping[str, Mapping[str, Steps]],
    methods: Sequence[str],
    titles: Mapping[str, str],
) -> None:
    area = {"precision": "AP", "overlap": "PRO"}[kind]
    for method, curves in lines.items():
        steps, place = curves[kind], methods.index(method)
        axes.plot(
            50 * (steps.edges[1:] + steps.edges[:-1]),
            100 * steps.means,
            markevery=(0.02 * place, 0.2),
            label=f"{titles.get(method, method)}: {area} {100 * steps.mean:.1f} %",
            **line_style(place),
        )
    recall = kind == "precision"
    axes.set_xlabel("recall (%)" if recall else "false positive rate (%)", fontsize=9)
    axes.set_ylabel("precision (%)" if recall else "region overlap (%)", fontsize=9)
    axes.set_xlim(0, 100 * max(curves[kind].edges[-1] for curves in lines.values()))
    axes.set_ylim(0, 102)
    finish_axes(axes)


def _show_losses(
    axes: Axes, trainings: Sequence[Losses], where: str, titles: Mapping[str, str]
) -> None:
    methods = list(dict.fromkeys(one.method for one in trainings))
    border = max(len(one.pretraining) for one in trainings)
    length = max(len(one.training) for one in trainings)
    for one in trainings:
        place = methods.index(one.method)
        looks = {**line_style(place), "linewidth": 1.2, "markersize": 4.0}
        label = titles.get(one.method, one.method)
        for start, losses in ((0, one.pretraining), (border, one.training)):
            if len(losses):
                steps, means = _smoothed(losses)
                spacing = max(1, len(means) // 5)
                marks = (place * spacing // len(methods), spacing)
                axes.plot(start + steps, means, markevery=marks, label=label, **looks)
                label = "_"
    phases = [(0, border, "pretraining on others"), (border, length, f"training on {where}")]
    for start, steps, text in phases:
        if steps:
            axes.text(
                *(start + steps / 2, 1.02, text),
                transform=axes.get_xaxis_transform(),
                ha="center",
                fontsize=8,
            )
    if border and length:
        axes.axvline(border, color="0.3", linewidth=0.9, linestyle=":")
    axes.set_xlim(0, border + length)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("step", fontsize=9)
    finish_axes(axes)


def _smoothed(losses: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Running means of the losses, and the step in the middle of each."""
    window = max(1, len(losses) // SMOOTHED_PARTS)
    means = np.convolve(losses, np.full(window, 1 / window), "valid")
    return np.arange(len(means)) + (window + 1) / 2, means


def finish_axes(axes: Axes) -> None:
    """Light grid, no frame at the top and right, a legend below that lists each line once."""
    axes.tick_params(labelsize=8)
    axes.grid(color="0.88", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    axes.legend(
        once.values(),
        once.keys(),
        loc="upper center",
        bbox_to_anchor=(0.5, -0.19),
        frameon=False,
        fontsize=8,
        handlelength=3.2,
    )
