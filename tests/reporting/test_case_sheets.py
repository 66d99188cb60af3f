"""Figures: same input, same bytes; other input, another picture; nothing overlaps."""

import itertools
import json

import matplotlib
import numpy as np
import pytest

from adclick.clicks.click import Click
from adclick.reporting.case_sheets import (
    ClickCase,
    MapCase,
    Window,
    _detail,
    _number_places,
    choose_cases,
    click_sheet,
    map_sheet,
)
from adclick.reporting.style import save
from tests.reporting.pictures import assert_texts_apart, labels, saved

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
        "scores": {"training-free": 0.5, "weak": 0.9876},
    }
    return MapCase(**{**values, **changes})


@pytest.fixture(scope="module")
def unchanged_clicks(tmp_path_factory):
    return saved(click_sheet([click_case()]), tmp_path_factory.mktemp("clicks") / "sheet.png")


@pytest.fixture(scope="module")
def unchanged_maps(tmp_path_factory):
    return saved(map_sheet([map_case()]), tmp_path_factory.mktemp("maps") / "sheet.png")


@pytest.mark.parametrize(
    "draw",
    [
        lambda: click_sheet([click_case()], title="one"),
        lambda: map_sheet([map_case()], title="one"),
    ],
    ids=["clicks", "maps"],
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
        {"scores": {"training-free": 0.5, "weak": 0.9866}},
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
    figure = map_sheet(
        [map_case(), map_case(maps={}, truth=np.zeros((SIDE, SIDE), bool), scores={})]
    )
    assert labels(figure)[:8] == [
        *("image", "truth", "training-free\nAP 50.0 %", "weak\nAP 98.8 %"),
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
    shown = [axes.get_images()[0] for axes in figure.axes if axes.get_title() == "weak\nAP 98.8 %"]
    assert [image.get_clim() for image in shown] == [(-1.0, 2.0)] * 2


def test_a_map_of_one_value_can_be_shown(tmp_path):
    flat = map_case(maps={"weak": np.zeros((SIDE, SIDE), np.float32)})
    save(map_sheet([flat]), tmp_path / "flat.png", stamp={})


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
    names = ("training-free", "a method whose name does not fit above its panel")
    scored = {"maps": dict.fromkeys(names, none * 1.0), "scores": dict.fromkeys(names, 1.0)}
    maps = [map_case(image=image, truth=none, title=long, **scored)] * 2
    assert_texts_apart(click_sheet(clicks, title=long))
    assert_texts_apart(map_sheet(maps, title=long))


def test_cases_are_the_best_the_median_and_the_worst():
    scores = [0.3, 0.9, 0.1, 0.5, 0.7]
    assert choose_cases(scores, 3) == {1: "best", 3: "median", 2: "worst"}
    assert choose_cases(scores, 1) == {3: "median"}
    assert choose_cases(scores, 2) == {1: "best", 2: "worst"}
    assert list(choose_cases(scores, 3)) == [1, 3, 2]


def test_further_cases_are_evenly_spaced_and_say_their_rank():
    scores = [place / 10 for place in range(10)]
    names = ["best", "rank 4 of 10", "rank 7 of 10", "worst"]
    assert choose_cases(scores, 4) == dict(zip([9, 6, 3, 0], names, strict=True))


def test_fewer_scores_than_cases_are_shown_once_each():
    assert choose_cases([0.2, 0.8], 3) == {1: "best", 0: "worst"}
    assert choose_cases([0.2], 3) == {0: "best"}
    assert choose_cases([], 3) == {}
    assert choose_cases([0.5, 0.5, 0.5], 2) == {0: "best", 2: "worst"}


@pytest.mark.parametrize("draw", [click_sheet, map_sheet])
def test_nothing_to_draw_is_an_error(draw):
    with pytest.raises(ValueError, match="no "):
        draw([])


def test_saving_replaces_the_file_whole_and_leaves_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "new" / "sheet.png"
    figure = map_sheet([map_case()])
    first = saved(figure, path)

    def fail(partial, **_):
        partial.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        save(figure, path, stamp={})
    assert path.read_bytes() == first
    left = {file.name for file in path.parent.iterdir()}
    assert left == {"sheet.png", "sheet.png.stamp.json"}


def test_a_saved_figure_has_its_stamp_beside_it(tmp_path):
    save(map_sheet([map_case()]), tmp_path / "sheet.png", stamp={"code": "abc"})
    beside = tmp_path / "sheet.png.stamp.json"
    assert json.loads(beside.read_text(encoding="utf-8")) == {"code": "abc"}


def test_only_png_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"curve\.pdf"):
        save(map_sheet([map_case()]), tmp_path / "curve.pdf", stamp={})


def test_a_sheet_has_150_dots_an_inch(tmp_path):
    figure = click_sheet([click_case()])
    save(figure, tmp_path / "sheet.png", stamp={})
    height, width = matplotlib.image.imread(tmp_path / "sheet.png").shape[:2]
    assert (width, height) == pytest.approx(figure.get_size_inches() * 150, abs=1)
