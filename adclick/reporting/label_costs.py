"""What labels buy: a detector's scores against the number of labelled images and clicks, as a table
and as a figure, in percent.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
from matplotlib import style
from matplotlib.figure import Figure

from adclick.reporting.line_figures import finish_axes, line_style

METRICS = {"pixel_ap": "AP", "pixel_pro": "PRO", "pixel_auroc": "P-AUROC"}
TEST_SET = "supervised"  # every method is scored without the training defects, labelled or not
PAINTED = {"full": "true masks", "box": "boxes of true masks"}
Supervision = Literal["unsupervised", "weak", "full", "box"]


@dataclass(frozen=True)
class LabelPoint:
    """A method's scores, as fractions with a value a seed, and what its labels cost."""

    method: str
    supervision: Supervision
    images: int
    clicks: int
    scores: Mapping[str, Sequence[float]]


def collect_points(
    costs: Sequence[Mapping[str, Any]], records: Sequence[Mapping[str, Any]]
) -> list[LabelPoint]:
    """A point for each method of `costs` (method, supervision, images, clicks) from the metric
    records of its seeds, as `evaluate_maps` writes them. ValueError for a method without any.
    """
    found: list[LabelPoint] = []
    for cost in costs:
        own = [
            record["test_sets"][TEST_SET]
            for record in sorted(records, key=lambda record: int(record["seed"]))
            if record["method"] == cost["method"]
        ]
        if not own:
            raise ValueError(f"no metrics of {cost['method']}")
        scores = {name: [float(one[name]) for one in own] for name in METRICS}
        found.append(LabelPoint(**cost, scores=scores))
    return found


def cost_table(points: Sequence[LabelPoint], titles: Mapping[str, str]) -> pd.DataFrame:
    """A row a method, the cheapest first: labels, images, clicks an image and in all, the mean of
    each metric over seeds in percent and, with several seeds, its sample standard deviation.
    """
    rows: list[dict[str, Any]] = []
    for point in sorted(points, key=lambda one: (_order(one), one.images, one.clicks)):
        row: dict[str, Any] = {
            "method": titles.get(point.method, point.method),
            "labels": _label_title(point),
            "labelled images": point.images,
            "clicks an image": point.clicks,
            "clicks in all": point.images * point.clicks,
            "seeds": len(point.scores["pixel_ap"]),
        }
        for name, title in METRICS.items():
            values = [100 * value for value in point.scores[name]]
            row[title] = f"{statistics.fmean(values):.1f}"
            row[f"{title} sd"] = f"{statistics.stdev(values):.1f}" if len(values) > 1 else ""
        rows.append(row)
    return pd.DataFrame(rows)


@style.context("default")
def draw_label_costs(points: Sequence[LabelPoint], *, title: str) -> Figure:
    """AP in percent against labelled images: a line for each number of clicks, one for true masks
    and boxes, and all from the detector without labels at 0 images, where there is one.

    Bars are one sample standard deviation over seeds. ValueError without a labelled point.
    """
    labelled = [point for point in points if point.supervision != "unsupervised"]
    if not labelled:
        raise ValueError("no labelled method to draw")
    starts = [point for point in points if point.supervision == "unsupervised"]
    keys = sorted({(_order(point), point.clicks) for point in labelled})
    figure = Figure(figsize=(4.8, 3.6 + 0.17 * len(keys)), layout="constrained")
    axes = figure.add_subplot()
    for place, key in enumerate(keys):
        own = [point for point in labelled if (_order(point), point.clicks) == key]
        line = sorted([*starts[:1], *own], key=lambda point: point.images)
        images = [point.images for point in line]
        means = [100 * statistics.fmean(point.scores["pixel_ap"]) for point in line]
        errors = [_deviation(point.scores["pixel_ap"]) for point in line]
        looks = line_style(place)
        axes.plot(images, means, label=_label_title(own[0]), **looks)
        if any(errors):
            axes.errorbar(images, means, errors, fmt="none", color=looks["color"], capsize=3)
    axes.set_title(title, fontsize=11, fontweight="bold")
    axes.set_xticks(sorted({point.images for point in [*starts, *labelled]}))
    axes.set_xlabel("labelled images", fontsize=9)
    axes.set_ylabel(f"AP (%), {_seeds_title(points)}", fontsize=9)
    finish_axes(axes)
    return figure


def _order(point: LabelPoint) -> int:
    return ["unsupervised", "weak", "box", "full"].index(point.supervision)


def _label_title(point: LabelPoint) -> str:
    if point.supervision == "weak":
        return f"{point.clicks} click{'s' * (point.clicks != 1)} an image"
    return PAINTED.get(point.supervision, "none")


def _seeds_title(points: Sequence[LabelPoint]) -> str:
    counts = {len(point.scores["pixel_ap"]) for point in points}
    fewest, most = min(counts), max(counts)
    if most == 1:
        return "one seed"
    return f"mean of {most if fewest == most else f'{fewest}-{most}'} seeds"


def _deviation(values: Sequence[float]) -> float:
    return 100 * statistics.stdev(values) if len(values) > 1 else 0.0
