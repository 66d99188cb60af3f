"""Line figures: what each line is, its area, its phases; nothing overlaps."""

import matplotlib
import numpy as np
import pytest

from adclick.metrics.curves import map_curves
from adclick.metrics.pixels import pixel_metrics
from adclick.reporting.line_figures import Losses, detection_curves, loss_curves, miou_curve
from tests.reporting.pictures import assert_texts_apart, labels, saved


def click_record(category, method, miou, *, seed=0, dataset="toy"):
    return {
        "kind": "clicks",
        "dataset": dataset,
        "category": category,
        "method": method,
        "seed": seed,
        "counts": {str(count): {"miou": value} for count, value in miou.items()},
    }


CURVES = [
    click_record(category, method, {1: start, 3: start + 0.2, 5: start + 0.3}, seed=seed)
    for category in ("cloth", "washer")
    for method, start in (("adclick", 0.5), ("random_walker", 0.3))
    for seed in (0, 1)
]


def test_a_curve_shows_mean_miou_in_percent():
    figure = miou_curve(CURVES)
    assert labels(figure) == ["toy: average of 2", "toy: cloth", "toy: washer"]
    line = figure.axes[0].get_lines()[0]
    assert list(line.get_xdata()) == [1, 3, 5]
    assert line.get_ydata() == pytest.approx([50.0, 70.0, 80.0])


def test_a_curve_averages_what_every_category_has():
    records = [
        *(click_record("cloth", "a", {1: 0.2, 5: 0.4}), click_record("washer", "a", {1: 0.6})),
        click_record("cloth", "b", {1: 0.9}),
    ]
    average, cloth, washer = miou_curve(records).axes
    shown = [
        [list(line.get_ydata()) for line in axes.get_lines()] for axes in (average, cloth, washer)
    ]
    assert shown == [[[40.0], []], [[20.0, 40.0], [90.0]], [[60.0], []]]


def test_a_curve_runs_from_few_clicks_to_many():
    records = [
        click_record("cloth", "a", {5: 0.5}),
        click_record("cloth", "a", {1: 0.1, 5: 0.5}, seed=1),
    ]
    (axes,) = miou_curve(records).axes
    assert list(axes.get_lines()[0].get_xdata()) == [1, 5]


def test_bars_are_the_seeds_standard_deviation():
    records = [
        click_record("cloth", "a", {1: miou}, seed=seed)
        for seed, miou in enumerate((0.4, 0.5, 0.6))
    ]
    (axes,) = miou_curve(records).axes
    (bar,) = axes.containers
    ends = bar.lines[2][0].get_segments()[0][:, 1]
    assert ends == pytest.approx([40.0, 60.0])


def test_curves_follow_the_order_and_names_that_are_asked_for():
    figure = miou_curve(CURVES, methods=["random_walker", "adclick"], titles={"adclick": "ADClick"})
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["random_walker", "ADClick"]
    assert figure.axes[0].get_lines()[0].get_ydata() == pytest.approx([30.0, 50.0, 60.0])


def curve_record(method, *, seed=0, sets=("supervised", "unsupervised"), blind=0.5):
    """Curves of made-up maps as `evaluate_maps` writes them."""
    maps, masks = made_up_maps(seed, blind)
    found = map_curves(maps, masks, slices=20)
    parts = {
        kind: {"edges": steps.edges.tolist(), "means": steps.means.tolist()}
        for kind, steps in (("precision", found.precision), ("overlap", found.overlap))
    }
    return {
        "kind": "curves",
        "method": method,
        "seed": seed,
        "test_sets": dict.fromkeys(sets, parts),
    }


def made_up_maps(seed, blind):
    masks = np.zeros((3, 16, 16), bool)
    masks[:2, 3:8, 4:9] = True
    return np.random.default_rng(seed).normal(size=masks.shape) + masks * (1 - blind), masks


DETECTED = [
    curve_record("training_free"),
    curve_record("weak", sets=("supervised",), blind=0.0),
    curve_record("weak", sets=("supervised",), blind=0.0, seed=1),
]


def falling(first, last, steps):
    return np.linspace(first, last, steps).tolist()


TRAINED = [
    Losses("ADClick", "pretrained", falling(1, 0.5, 40), ()),
    Losses("ADClick", "finetuned", falling(1, 0.5, 40), falling(0.8, 0.2, 30)),
    Losses("ADClick-Seg", "unsupervised", (), falling(0.4, 0.1, 30)),
]
MANY = [f"one of eleven methods with long names, {number}" for number in range(11)]


def drawn(axes):
    return {line.get_label(): line for line in axes.get_lines()}


def test_curves_are_labelled_with_the_reported_numbers():
    figure = detection_curves(DETECTED, methods=["training_free", "weak"])
    own = pixel_metrics(*made_up_maps(0, 0.5))
    weak = [pixel_metrics(*made_up_maps(seed, 0.0)) for seed in (0, 1)]
    ap, pro = (100 * np.mean([getattr(one, name) for one in weak]) for name in ("ap", "pro"))
    texts = [[text.get_text() for text in axes.get_legend().get_texts()] for axes in figure.axes]
    assert texts == [
        [f"training_free: AP {100 * own.ap:.1f} %"],
        [f"training_free: PRO {100 * own.pro:.1f} %"],
        [f"training_free: AP {100 * own.ap:.1f} %", f"weak: AP {ap:.1f} %"],
        [f"training_free: PRO {100 * own.pro:.1f} %", f"weak: PRO {pro:.1f} %"],
    ]
    assert [axes.get_xlabel() for axes in figure.axes[:2]] == [
        "recall (%)",
        "false positive rate (%)",
    ]


def test_a_line_is_the_mean_of_its_seeds():
    figure = detection_curves(DETECTED, methods=["weak"], titles={"weak": "ours"})
    (line,) = figure.axes[0].get_lines()
    means = [run["test_sets"]["supervised"]["precision"]["means"] for run in DETECTED[1:]]
    assert line.get_ydata() == pytest.approx(100 * np.mean(means, axis=0))
    assert line.get_label().startswith("ours: AP")


def test_seeds_of_other_images_are_not_averaged():
    other = curve_record("weak", sets=("supervised",), seed=1)
    other["test_sets"]["supervised"]["precision"]["edges"][1] += 0.01
    with pytest.raises(ValueError, match="different images"):
        detection_curves([DETECTED[1], other], methods=["weak"])


def test_a_method_looks_the_same_in_every_panel():
    figure = detection_curves(DETECTED, methods=["weak", "training_free"])
    found = [drawn(axes) for axes in figure.axes]
    looks = {
        (line.get_color(), line.get_linestyle(), line.get_marker())
        for lines in found
        for label, line in lines.items()
        if label.startswith("training_free")
    }
    assert len(looks) == 1


def test_losses_are_running_means_of_each_phase():
    figure = loss_curves(TRAINED, where="cloth", titles={"finetuned": "ours"})
    assert labels(figure) == ["ADClick", "ADClick-Seg"]
    pretrained, first, second, border = figure.axes[0].get_lines()
    # Means over 4 of 40 steps, then over 3 of 30; the first stands in the middle of steps 1 to 4.
    assert pretrained.get_xdata()[[0, -1]] == pytest.approx([2.5, 38.5])
    assert pretrained.get_ydata()[0] == pytest.approx(np.linspace(1, 0.5, 40)[:4].mean())
    assert first.get_ydata() == pytest.approx(pretrained.get_ydata())
    assert second.get_xdata()[[0, -1]] == pytest.approx([42.0, 69.0])
    assert second.get_ydata()[-1] == pytest.approx(np.linspace(0.8, 0.2, 30)[-3:].mean())
    assert border.get_xdata() == [40, 40]
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert texts == ["pretrained", "ours"]
    assert [text.get_text() for text in figure.axes[0].texts] == [
        "pretraining on others",
        "training on cloth",
    ]


def test_without_pretraining_there_is_no_border():
    (axes,) = loss_curves(TRAINED[2:], where="cloth").axes
    assert len(axes.get_lines()) == 1
    assert [text.get_text() for text in axes.texts] == ["training on cloth"]


def test_seeds_of_a_training_share_a_look_and_a_legend_entry():
    seeds = [Losses("ADClick", "a", (), [value] * 9) for value in (0.5, 0.4)]
    (axes,) = loss_curves(seeds, where="cloth").axes
    one, other = axes.get_lines()
    assert one.get_color() == other.get_color()
    assert len(axes.get_legend().get_texts()) == 1


def draw_miou(methods=("adclick", "random_walker")):
    return miou_curve([click_record("cloth", name, {1: 0.5, 5: 0.7}) for name in methods])


def draw_detection(methods=("training_free", "weak")):
    records = [curve_record(name, seed=seed) for seed, name in enumerate(methods)]
    return detection_curves(records, methods=methods, title="toy, cloth")


def draw_losses(methods=("pretrained", "finetuned")):
    trainings = [
        Losses(network, name, falling(0.9, 0.02, 50), falling(0.8, 0.01, 50))
        for network in ("ADClick", "ADClick-Seg")
        for name in methods
    ]
    return loss_curves(trainings, where="metal nut", title="MVTec AD, metal nut")


@pytest.mark.parametrize("draw", [draw_miou, draw_detection, draw_losses])
def test_no_text_overlaps_another_or_leaves_the_page(draw):
    assert_texts_apart(draw())
    assert_texts_apart(draw(MANY))


@pytest.mark.parametrize("draw", [draw_miou, draw_detection, draw_losses])
def test_every_one_of_many_lines_looks_different(draw):
    lines = [
        (line.get_color(), line.get_linestyle(), line.get_marker())
        for line in draw(MANY).axes[0].get_lines()
        if line.get_marker() not in ("None", "")
    ]
    assert len(set(lines)) == len(MANY)
    in_grey = {look[1:] for look in lines}
    assert len(in_grey) == len(MANY)


@pytest.mark.parametrize("draw", [draw_miou, draw_detection, draw_losses])
def test_equal_input_gives_equal_bytes_whatever_the_users_settings(tmp_path, draw):
    once = saved(draw(), tmp_path / "once.png")
    settings = {"axes.linewidth": 4, "font.family": "monospace", "savefig.facecolor": "red"}
    with matplotlib.rc_context(settings):
        assert saved(draw(), tmp_path / "again.png") == once


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="no click records"):
        miou_curve([])
    with pytest.raises(ValueError, match="no curves"):
        detection_curves(DETECTED, methods=["other"])
    with pytest.raises(ValueError, match="no trainings"):
        loss_curves([], where="cloth")
