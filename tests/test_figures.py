"""Figures: same input, same bytes; other input, another picture; nothing overlaps."""

import itertools

import matplotlib
import numpy as np
import pytest

from adclick.clicks import Click
from adclick.figures import (
    ClickCase,
    MapCase,
    Window,
    _detail,
    _number_places,
    click_sheet,
    map_sheet,
    miou_curve,
    save,
)

SIDE = 32


def disc(row=16, column=16, radius=4):
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def click_case(**changes):
    values = {
        "image": picture(),
        "truth": disc(),
        "clicks": (Click(16, 16, positive=True), Click(16, 22, positive=False)),
        "masks": {1: disc(radius=6), 3: disc(radius=4)},
        "title": "best: toy, cloth, ADClick, test/scratch/000, IoU after 3 clicks 95.0 %",
        "ious": {1: 0.4567, 3: 0.95},
    }
    return ClickCase(**{**values, **changes})


def map_case(**changes):
    values = {
        "image": picture(),
        "truth": disc(),
        "maps": {
            "training-free": disc().astype(np.float32) * 3,
            "weak": disc(radius=2) * np.float32(0.5),
        },
        "title": "toy, cloth, test/scratch/000",
    }
    return MapCase(**{**values, **changes})


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


def saved(figure, path):
    save(figure, path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def unchanged_clicks(tmp_path_factory):
    return saved(click_sheet([click_case()]), tmp_path_factory.mktemp("clicks") / "sheet.png")


@pytest.fixture(scope="module")
def unchanged_maps(tmp_path_factory):
    return saved(map_sheet([map_case()]), tmp_path_factory.mktemp("maps") / "sheet.png")


def labels(figure):
    return [axes.get_title() for axes in figure.axes]


def undrawn_ticks(figure):
    """Labels of ticks that lie outside their axis: they exist, but are not drawn."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks():
                if not low <= tick.get_loc() <= high:
                    yield from (tick.label1, tick.label2)


def text_boxes(figure):
    """Where each drawn text stands on the page, in pixels."""
    figure.draw_without_rendering()
    hidden = set(undrawn_ticks(figure))
    texts = [
        text
        for text in figure.findobj(matplotlib.text.Text)
        if text.get_visible() and text.get_text()
    ]
    return {text: text.get_window_extent() for text in texts if text not in hidden}


@pytest.mark.parametrize(
    "draw",
    [
        lambda: click_sheet([click_case()], title="one"),
        lambda: map_sheet([map_case()], title="one"),
        lambda: miou_curve(CURVES),
    ],
    ids=["clicks", "maps", "curve"],
)
def test_equal_input_gives_equal_bytes_whatever_the_users_settings(tmp_path, draw):
    once = saved(draw(), tmp_path / "once.png")
    assert once.startswith(b"\x89PNG")
    settings = {"axes.linewidth": 4, "font.family": "monospace", "savefig.facecolor": "red"}
    with matplotlib.rc_context(settings):
        assert saved(draw(), tmp_path / "again.png") == once
    assert b"Software" not in once
    assert b"Creation" not in once


@pytest.mark.parametrize(
    "changes",
    [
        {"image": picture(1)},
        {"truth": disc(row=15)},
        {"clicks": (Click(16, 16, positive=True), Click(16, 22, positive=True))},
        {"masks": {1: disc(radius=6), 3: disc(radius=5)}},
        {"title": "another"},
        {"ious": {1: 0.4567, 3: 0.94}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_click_sheet_shows_all_of_its_case(tmp_path, unchanged_clicks, changes):
    assert saved(click_sheet([click_case(**changes)]), tmp_path / "after.png") != unchanged_clicks


@pytest.mark.parametrize(
    "changes",
    [
        {"image": picture(1)},
        {"truth": disc(row=15)},
        {
            "maps": {
                "training-free": disc().astype(np.float32),
                "weak": disc(radius=3) * np.float32(0.5),
            }
        },
        {"title": "another"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_map_sheet_shows_all_of_its_case(tmp_path, unchanged_maps, changes):
    assert saved(map_sheet([map_case(**changes)]), tmp_path / "after.png") != unchanged_maps


def test_a_click_sheet_labels_its_panels():
    cases = [click_case(), click_case(masks={5: disc()}, ious={5: 1.0}, clicks=())]
    assert labels(click_sheet(cases)) == [
        *("image, detail framed", "truth", "clicks 1 to 2"),
        *("1 click: IoU 45.7 %", "3 clicks: IoU 95.0 %", "5 clicks"),
        *("image, detail framed", "truth", "no click"),
        *("1 click", "3 clicks", "5 clicks: IoU 100.0 %"),
    ]


def test_a_map_sheet_labels_its_panels_and_says_what_is_missing():
    figure = map_sheet([map_case(), map_case(maps={}, truth=np.zeros((SIDE, SIDE), bool))])
    assert labels(figure)[:8] == [
        *("image", "truth", "training-free", "weak"),
        *("image", "truth: no defect", "training-free", "weak"),
    ]
    assert [axes.texts[0].get_text() for axes in figure.axes[6:8]] == ["not run", "not run"]


def test_positive_clicks_are_blue_discs_and_negative_ones_yellow_squares():
    (axes,) = [
        axes for axes in click_sheet([click_case()]).axes if axes.get_title() == "clicks 1 to 2"
    ]
    shown = [(line.get_marker(), line.get_markerfacecolor()) for line in axes.get_lines()]
    assert shown == [("o", "#0072B2"), ("s", "#F0E442")]


def test_truth_is_outlined_wherever_it_is_compared():
    outlined = [bool(axes.collections) for axes in click_sheet([click_case()]).axes]
    assert outlined == [False, True, False, True, True]
    outlined = [bool(axes.collections) for axes in map_sheet([map_case()]).axes[:4]]
    assert outlined == [False, True, True, True]
    normal = map_case(truth=np.zeros((SIDE, SIDE), bool))
    assert not any(axes.collections for axes in map_sheet([normal]).axes[:4])


def test_one_method_has_one_colour_scale_in_all_rows():
    low = map_case(maps={"weak": np.full((SIDE, SIDE), -1.0)})
    high = map_case(maps={"weak": np.full((SIDE, SIDE), 2.0)})
    figure = map_sheet([low, high])
    shown = [axes.get_images()[0] for axes in figure.axes if axes.get_title() == "weak"]
    assert [image.get_clim() for image in shown] == [(-1.0, 2.0)] * 2


def test_a_map_of_one_value_can_be_shown(tmp_path):
    flat = map_case(maps={"weak": np.zeros((SIDE, SIDE), np.float32)})
    save(map_sheet([flat]), tmp_path / "flat.png")


def test_the_detail_is_the_middle_of_what_is_marked():
    case = click_case(truth=disc(radius=1), masks={}, clicks=())
    # Marked 15..17; side 10 = 0.3 x 32; 11..21 has its middle at 16.
    assert _detail(case) == Window(11, 11, 10, 10)
    corner = click_case(truth=disc(0, 31, radius=1), masks={}, clicks=())
    assert _detail(corner) == Window(0, 22, 10, 10)


@pytest.mark.parametrize("seed", range(20))
def test_the_detail_holds_truth_masks_and_clicks(seed):
    draw = np.random.default_rng(seed)
    truth, mask = (disc(*draw.integers(4, 28, 2), radius=draw.integers(1, 4)) for _ in range(2))
    clicks = (Click(*map(int, draw.integers(0, SIDE, 2)), positive=True),)
    detail = _detail(click_case(truth=truth, masks={1: mask}, clicks=clicks))
    for row, column in [*np.argwhere(truth | mask), (clicks[0].row, clicks[0].column)]:
        assert detail.row <= row < detail.row + detail.height
        assert detail.column <= column < detail.column + detail.width
    assert detail.row + detail.height <= SIDE
    assert detail.column + detail.width <= SIDE


def test_a_wide_defect_is_shown_in_the_whole_image():
    case = click_case(truth=disc(radius=14), masks={}, clicks=())
    assert _detail(case) == Window(0, 0, SIDE, SIDE)
    empty = click_case(truth=np.zeros((SIDE, SIDE), bool), masks={}, clicks=())
    assert _detail(empty) == Window(0, 0, SIDE, SIDE)


def test_numbers_of_crowded_clicks_stand_apart_and_inside():
    window = Window(0, 0, SIDE, SIDE)
    clicks = [
        Click(0, 31, positive=True),
        Click(1, 31, positive=True),
        Click(0, 30, positive=False),
    ]
    places = _number_places(clicks, window)
    distance = 0.13 / 1.75 * SIDE
    for one, other in itertools.combinations(places, 2):
        assert np.hypot(one[0] - other[0], one[1] - other[1]) > 0.7 * distance
    assert all(0 <= row <= SIDE and 0 <= column <= SIDE for row, column in places)


@pytest.mark.parametrize("aspect", [1.0, 2.5])
def test_no_text_overlaps_another_or_leaves_the_page(aspect):
    side = int(SIDE * aspect)
    image = np.zeros((side, SIDE, 3), np.uint8)
    long = (
        "a title that is much longer than its page is wide, and has to go on in another line " * 2
    )
    none = np.zeros((side, SIDE), bool)
    clicks = [click_case(image=image, truth=none, masks={1: none}, ious={1: 1.0}, title=long)] * 2
    names = ("training-free", "unsupervised")
    maps = [
        map_case(image=image, truth=none, maps=dict.fromkeys(names, none * 1.0), title=long)
    ] * 2
    for figure in (
        click_sheet(clicks, title=long),
        map_sheet(maps, title=long),
        miou_curve(CURVES),
    ):
        boxes = text_boxes(figure)
        page = figure.bbox
        for text, box in boxes.items():
            inside = (
                page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1
            )
            assert inside, text.get_text()
        for (one, box), (other, second) in itertools.combinations(boxes.items(), 2):
            assert not box.overlaps(second), (one.get_text(), other.get_text())


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


@pytest.mark.parametrize("draw", [click_sheet, map_sheet, miou_curve])
def test_nothing_to_draw_is_an_error(draw):
    with pytest.raises(ValueError, match="no "):
        draw([])


def test_saving_replaces_the_file_whole_and_leaves_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "new" / "curve.png"
    figure = miou_curve(CURVES[:1])
    first = saved(figure, path)

    def fail(partial, **_):
        partial.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        save(figure, path)
    assert path.read_bytes() == first
    assert [file.name for file in path.parent.iterdir()] == ["curve.png"]


def test_only_png_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"curve\.pdf"):
        save(miou_curve(CURVES[:1]), tmp_path / "curve.pdf")


def test_a_sheet_has_150_dots_an_inch(tmp_path):
    figure = click_sheet([click_case()])
    save(figure, tmp_path / "sheet.png")
    height, width = matplotlib.image.imread(tmp_path / "sheet.png").shape[:2]
    assert (width, height) == pytest.approx(figure.get_size_inches() * 150, abs=1)
