"""What labels buy: the points, their table and their lines."""

from dataclasses import replace

import pytest

from adclick.reporting.label_costs import LabelPoint, collect_points, cost_table, draw_label_costs
from tests.reporting.pictures import assert_texts_apart

COSTS = [
    {"method": "none", "supervision": "unsupervised", "images": 0, "clicks": 0},
    {"method": "ten", "supervision": "weak", "images": 10, "clicks": 5},
    {"method": "three", "supervision": "weak", "images": 3, "clicks": 5},
    {"method": "quick", "supervision": "weak", "images": 3, "clicks": 1},
    {"method": "masks", "supervision": "full", "images": 10, "clicks": 0},
]
AP = {"none": [0.5], "ten": [0.8, 0.84], "three": [0.7], "quick": [0.6], "masks": [0.9]}


def records() -> list[dict[str, object]]:
    return [
        {
            "method": method,
            "seed": seed,
            "test_sets": {
                "supervised": {"pixel_ap": value, "pixel_pro": 0.9, "pixel_auroc": 0.99},
                "unsupervised": {"pixel_ap": 0.0, "pixel_pro": 0.0, "pixel_auroc": 0.0},
            },
        }
        for method, values in AP.items()
        for seed, value in reversed(list(enumerate(values)))
    ]


def points() -> list[LabelPoint]:
    return collect_points(COSTS, records())


def test_points_have_the_scores_without_the_training_defects_by_seed() -> None:
    assert {point.method: point.scores["pixel_ap"] for point in points()} == AP


def test_a_method_without_metrics_is_named() -> None:
    with pytest.raises(ValueError, match="no metrics of three"):
        collect_points(COSTS, [one for one in records() if one["method"] != "three"])


def test_the_table_goes_from_cheap_to_dear_in_percent() -> None:
    table = cost_table(points(), {"ten": "ADClick-Seg weak"})
    assert table["method"].tolist() == ["none", "quick", "three", "ADClick-Seg weak", "masks"]
    assert table["labels"].tolist() == [
        *("none", "1 click an image", "5 clicks an image", "5 clicks an image", "true masks")
    ]
    assert table["clicks in all"].tolist() == [0, 3, 15, 50, 0]
    assert table["AP"].tolist() == ["50.0", "60.0", "70.0", "82.0", "90.0"]
    assert table["AP sd"].tolist() == ["", "", "", "2.8", ""]


def test_every_line_begins_at_the_detector_without_labels() -> None:
    figure = draw_label_costs(points(), title="toy, cloth")
    lines = {
        str(line.get_label()): (list(line.get_xdata()), list(line.get_ydata()))  # pyright: ignore
        for line in figure.axes[0].get_lines()
        if not str(line.get_label()).startswith("_")
    }
    assert lines == {
        "1 click an image": ([0, 3], pytest.approx([50, 60])),
        "5 clicks an image": ([0, 3, 10], pytest.approx([50, 70, 82])),
        "true masks": ([0, 10], pytest.approx([50, 90])),
    }
    assert_texts_apart(figure)


def test_only_unlabelled_methods_are_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="no labelled method"):
        draw_label_costs(points()[:1], title="")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "mean of 1-2 seeds"),
        ({"ten": [0.8]}, "one seed"),
        ({name: [0.5, 0.6] for name in AP}, "mean of 2 seeds"),
    ],
)
def test_the_axis_says_how_many_seeds_a_point_is_of(
    values: dict[str, list[float]], words: str
) -> None:
    drawn = [replace(one, scores={"pixel_ap": (AP | values)[one.method]}) for one in points()]
    axes = draw_label_costs(drawn, title="toy, cloth").axes[0]
    assert axes.get_ylabel() == f"AP (%), {words}"
