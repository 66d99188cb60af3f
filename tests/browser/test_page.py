import base64
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tools.browser.browsing import Annotator
from tools.browser.serving import Served
from tools.browser.toy import draw, write_mask

Open = Callable[..., Annotator]


def saved_mask(served: Served, key: str) -> np.ndarray:
    with Image.open(served.labels / f"{key}.png") as opened:
        pixels = np.asarray(opened)
    assert set(np.unique(pixels)) <= {0, 255}
    return pixels > 0


def label(served: Served, key: str) -> dict:
    return json.loads((served.labels / f"{key}.json").read_text())


def journal(served: Served, key: str) -> list[dict]:
    lines = (served.labels / ".journal" / f"{key}.jsonl").read_text().splitlines()
    return [json.loads(line)["action"] for line in lines if "action" in json.loads(line)]


def iou(mask: np.ndarray, truth: np.ndarray) -> float:
    return float((mask & truth).sum() / (mask | truth).sum())


def shown_area(one: Annotator) -> int:
    """The current defect's pixels, as the page lists them."""
    text = one.page.locator("#defects [aria-current=true] small").inner_text()
    found = re.search(r"([\d,]+) px", text)
    return int(found[1].replace(",", "")) if found else 0


def colour_at(one: Annotator, row: int, column: int) -> list[int]:
    """What is drawn over a pixel of the image pane: red, green, blue, opacity."""
    return one.page.evaluate(
        """([row, column]) => {
          const {scale, x, y} = document.getElementById('stage').dataset;
          const at = (corner, place) =>
            Math.round((Number(corner) + (place + 0.5) * scale) * devicePixelRatio);
          const marks = document.querySelector('[data-pane=picture] .marks').getContext('2d');
          return [...marks.getImageData(at(x, column), at(y, row), 1, 1).data];
        }""",
        [row, column],
    )


def test_three_images_labelled_by_clicks_and_what_they_leave_on_disk(
    annotator: Open, served: Served
) -> None:
    one = annotator("anna", "plate/000")
    for number in range(3):
        key, drawn = f"plate/{number:03d}", draw(number)
        one.on(key)
        first, second = drawn.middles
        one.click(*first)
        one.press("n", answered=True)
        one.click(*second)
        one.press("Enter")
        one.on(f"plate/{number + 1:03d}")
        assert iou(saved_mask(served, key), drawn.mask) > 0.5
        facts = label(served, key)
        assert (facts["state"], facts["annotator"], facts["clicks"]) == ("done", "anna", 2)
        clicked = [
            (click["row"], click["column"]) for each in facts["objects"] for click in each["clicks"]
        ]
        assert clicked == [first, second]
        assert facts["seconds"] > 0
    one.page.wait_for_function(
        "() => document.getElementById('finished').textContent.startsWith('3 of')"
    )
    assert "6 clicks" in one.page.locator("#sums").inner_text()
    row = one.page.locator("[data-key='plate/000']")
    assert "Done" in row.inner_text() and "2 clicks" in row.inner_text()


def test_undo_and_redo_are_one_history_of_clicks_strokes_threshold_and_type(
    annotator: Open, served: Served
) -> None:
    one = annotator("bert", "plate/004")
    middle = draw(4).middles[0]
    areas = [shown_area(one)]
    one.click(*middle)
    areas.append(shown_area(one))
    one.press("b")
    one.drag([(20, 20), (20, 60)])
    areas.append(shown_area(one))
    one.press("c")
    before = one.revision()
    one.press_at_once("T", "T", "T")
    one.at_least(before + 1)
    areas.append(shown_area(one))
    one.press("y", answered=True)
    areas.append(shown_area(one))
    assert areas[0] == 0 < areas[1] < areas[2] < areas[3]
    for expected in areas[-2::-1]:
        one.press("Control+z", answered=True)
        assert shown_area(one) == expected
    assert one.page.locator("#undo").is_disabled()
    for expected in areas[1:]:
        one.press("Control+Shift+Z", answered=True)
        assert shown_area(one) == expected
    assert one.page.locator("#redo").is_disabled()
    assert one.page.locator("#type").input_value() == "scratch"
    one.press("z", answered=True)
    one.press("x", answered=True)
    kinds = [action["kind"] for action in journal(served, "plate/004")]
    assert kinds[:4] == ["click", "stroke", "threshold", "type"]


def test_brush_and_eraser_change_the_mask_where_they_went(annotator: Open, served: Served) -> None:
    one = annotator("cleo", "plate/005")
    one.press("b", "]", "]")
    one.drag([(30, 30), (30, 90)])
    painted = shown_area(one)
    assert colour_at(one, 30, 60)[3] > 0 and colour_at(one, 90, 60)[3] == 0
    one.press("e")
    one.drag([(30, 60), (30, 90)])
    assert 0 < shown_area(one) < painted
    one.press("Enter")
    one.on("plate/006")
    mask = saved_mask(served, "plate/005")
    assert mask[30, 30] and not mask[30, 80] and not mask[90, 60]
    assert label(served, "plate/005")["strokes"] == 2


def test_a_right_click_takes_away_and_shift_does_the_same(annotator: Open, served: Served) -> None:
    one = annotator("dora", "plate/006")
    row, column = draw(6).middles[1]
    one.click(row, column)
    whole = shown_area(one)
    one.click(row + 4, column + 10, positive=False)
    less = shown_area(one)
    assert less < whole
    one.press("z", answered=True)
    one.page.keyboard.down("Shift")
    one.click(row + 4, column + 10)
    one.page.keyboard.up("Shift")
    assert shown_area(one) == less
    assert [
        action["positive"] for action in journal(served, "plate/006") if action["kind"] == "click"
    ] == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("way", ["saved", "dropped", "file"])
def test_a_loaded_mask_is_refined_by_clicks(way: str, annotator: Open, served: Served) -> None:
    number = {"saved": 7, "dropped": 8, "file": 9}[way]
    key, drawn = f"plate/{number:03d}", draw(number)
    given = drawn.mask.copy()
    given[:30, :30] = True  # what a click is to take away
    path = (served.folder / "masks" if way == "saved" else served.folder) / f"{key}.png"
    write_mask(path, given)
    one = annotator("ella", key)
    before = one.revision()
    if way == "saved":
        assert "mask exists" in one.told()
        one.press("m")
    elif way == "file":
        with one.page.expect_file_chooser() as chooser:
            one.press("i")
        chooser.value.set_files(path)
    else:
        content = base64.b64encode(path.read_bytes()).decode()
        one.page.evaluate(
            """content => {
              const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
              const given = new DataTransfer();
              given.items.add(new File([bytes], 'mask.png', {type: 'image/png'}));
              const drop = new DragEvent('drop', {dataTransfer: given, bubbles: true});
              document.getElementById('stage').dispatchEvent(drop);
            }""",
            content,
        )
    one.at_least(before + 1)
    assert shown_area(one) == given.sum()
    one.click(12, 12, positive=False)
    one.press("Enter")
    one.page.wait_for_function(
        "key => document.getElementById('stage').dataset.key !== key", arg=key
    )
    mask = saved_mask(served, key)
    assert not mask[12, 12] and iou(mask, drawn.mask) > 0.5


def test_a_mask_of_another_size_is_refused_in_one_line(annotator: Open, served: Served) -> None:
    path = served.folder / "small.png"
    write_mask(path, np.ones((4, 5), bool))
    one = annotator("ella", "plate/010")
    with one.page.expect_file_chooser() as chooser:
        one.press("i")
    chooser.value.set_files(path)
    one.page.wait_for_selector("#told.bad")
    assert "5 x 4 pixels, the image has 256 x 256" in one.told()
    one.faults = [fault for fault in one.faults if "400" not in fault]
    one.click(*draw(10).middles[0])
    assert shown_area(one) > 0


def test_everything_by_the_keyboard_alone(annotator: Open, served: Served) -> None:
    one = annotator("finn", "plate/011")
    row, column = draw(11).middles[1]
    step = max(1, round(4 / float(one.page.locator("#stage").get_attribute("data-scale") or 1)))
    for distance, back, forth in (
        (row - 128, "ArrowUp", "ArrowDown"),
        (column - 128, "ArrowLeft", "ArrowRight"),
    ):
        for _ in range(round(abs(distance) / step)):
            one.press(forth if distance > 0 else back)
    one.press("Space", answered=True)
    area = shown_area(one)
    assert area > 100
    one.press("Shift+ArrowRight", "Shift+ArrowRight")
    one.press("Shift+Space", answered=True)
    one.press("b", "]", "Shift+ArrowUp")
    one.press("Space", answered=True)
    assert shown_area(one) > area
    one.press("n", answered=True)
    one.press("c", "Shift+ArrowLeft")
    one.press("Space", answered=True)
    assert one.page.locator("#defects li").count() == 2
    one.press("d", answered=True)
    one.press("d", answered=True)
    one.press("Delete", answered=True)
    assert one.page.locator("#defects li").count() == 1
    one.press("?")
    assert one.page.locator("#help").is_visible()
    one.press("Escape")
    one.press("Enter")
    one.on("plate/012")
    assert label(served, "plate/011")["state"] == "done"
    one.press("g")
    one.on("plate/013")
    assert label(served, "plate/012")["state"] == "normal"
    assert not saved_mask(served, "plate/012").any()
    one.press("s")
    one.on("plate/014")
    assert label(served, "plate/013")["state"] == "skipped"
    one.press("k")
    one.on("plate/013")
    one.press("/")
    one.page.keyboard.type("large")
    assert one.page.locator("#images .name").all_text_contents() == ["z/large"]


def test_nothing_marked_is_not_saved_as_a_defect(annotator: Open, served: Served) -> None:
    one = annotator("gina", "plate/014")
    one.press("Enter")
    one.page.wait_for_selector("#told.bad")
    assert "Nothing is marked" in one.told()
    assert not (served.labels / "plate/014.json").exists()


def test_a_reload_goes_on_exactly(annotator: Open, served: Served) -> None:
    one = annotator("hugo", "plate/015")
    first, second = draw(15).middles
    one.click(*first)
    one.press("n", answered=True)
    one.click(*second)
    one.press("y", answered=True)
    revision, area = one.revision(), shown_area(one)
    listed = one.page.locator("#defects").inner_text()
    one.page.reload()
    one.ready()
    assert (one.revision(), shown_area(one)) == (revision, area)
    assert one.page.locator("#defects").inner_text() == listed
    one.press("z", answered=True)
    assert one.page.locator("#type").input_value() == ""


def test_the_server_is_killed_and_nothing_is_lost(annotator: Open, served: Served) -> None:
    one = annotator("ines", "plate/016", lost=True)
    first, second = draw(16).middles
    one.click(*first)
    area = shown_area(one)
    served.kill()
    one.click(*second, wait=False)
    one.page.wait_for_selector("#lost:not([hidden])")
    assert "No connection" in one.page.locator("#lost").inner_text()
    one.click(12, 12, positive=False, wait=False)
    served.start()
    one.at_least(3)
    one.page.wait_for_selector("#lost", state="hidden")
    assert shown_area(one) > area
    assert len(journal(served, "plate/016")) == 3


def test_what_waits_for_a_dead_server_survives_a_reload(annotator: Open, served: Served) -> None:
    one = annotator("ines", "plate/017", lost=True)
    first, second = draw(17).middles
    one.click(*first)
    one.page.route("**/actions", lambda route: route.abort())
    one.click(*second, wait=False)
    one.page.wait_for_selector("#lost:not([hidden])")
    one.page.unroute("**/actions")
    one.page.route("**/actions", lambda route: route.abort(), times=1)
    one.page.reload()
    one.ready()
    one.at_least(2)
    assert [(each["row"], each["column"]) for each in journal(served, "plate/017")] == [
        first,
        second,
    ]


def test_an_answer_that_is_lost_is_not_applied_twice(annotator: Open, served: Served) -> None:
    one = annotator("jana", "plate/018", lost=True)

    def applied_but_unanswered(route):
        route.fetch()
        route.abort()

    one.page.route("**/actions", applied_but_unanswered, times=1)
    one.click(*draw(18).middles[0])
    one.click(12, 12, positive=False)
    one.faults = [fault for fault in one.faults if "409" not in fault]
    assert len(journal(served, "plate/018")) == 2


def test_two_annotators_do_not_write_over_each_other(annotator: Open, served: Served) -> None:
    one = annotator("kim", "plate/019")
    one.click(*draw(19).middles[0])
    other = annotator("lea", "plate/019")
    key = other.page.locator("#stage").get_attribute("data-key")
    assert key != "plate/019"  # it is held: another one is opened
    row = other.page.locator("[data-key='plate/019']")
    assert "held by kim" in row.inner_text()
    row.click()
    other.page.wait_for_selector("#told.bad")
    assert "kim is working on plate/019" in other.told()
    assert other.page.locator("#stage").get_attribute("data-key") == key
    other.faults = [fault for fault in other.faults if "409" not in fault]
    other.click(40, 40)
    one.click(12, 12, positive=False)
    assert len(journal(served, "plate/019")) == 2
    one.press("Enter")
    one.page.wait_for_function("() => document.getElementById('stage').dataset.key !== 'plate/019'")
    row.click()
    other.on("plate/019")


def test_when_another_was_quicker_the_one_after_it_is_opened(
    annotator: Open, served: Served
) -> None:
    one, other = annotator("kim", "plate/000"), annotator("lea")
    other.visit("plate/001")
    other.on("plate/001")
    one.page.route(
        "**/save",
        lambda route: route.fulfill(json={**route.fetch().json(), "next": "plate/001"}),
    )
    one.click(*draw(0).middles[0])
    one.press("Enter")
    one.page.wait_for_function(
        "() => !['plate/000', 'plate/001'].includes(document.getElementById('stage').dataset.key)"
    )
    one.settled()
    one.click(20, 20)
    one.faults = [fault for fault in one.faults if "409" not in fault]
    assert label(served, "plate/000")["annotator"] == "kim"


def test_an_image_can_be_saved_again_when_it_was_the_last(annotator: Open, served: Served) -> None:
    one = annotator("kim", "plate/002")
    one.page.route(
        "**/save", lambda route: route.fulfill(json={**route.fetch().json(), "next": None})
    )
    one.page.route(
        "**/api/v1/images?*", lambda route: route.fulfill(json=only(route.fetch().json()))
    )
    one.page.wait_for_function("() => document.querySelectorAll('#images li').length === 1")
    for row, column in draw(2).middles:
        one.click(row, column)
        revision = one.revision()
        one.press("Enter")
        one.at_least(revision + 1)
        assert "No other image is left to do: all are finished." in one.told()
    assert label(served, "plate/002")["clicks"] >= 2


def test_the_page_says_who_has_the_rest(annotator: Open, served: Served) -> None:
    one = annotator("kim", "plate/002")

    def held(route: Any) -> None:
        answer = only(route.fetch().json(), ("plate/002", "plate/003"))
        answer["images"][1] |= {"state": "in_work", "leased_by": "lea"}
        route.fulfill(json=answer)

    one.page.route("**/api/v1/images?*", held)
    one.page.route(
        "**/save", lambda route: route.fulfill(json={**route.fetch().json(), "next": None})
    )
    one.page.wait_for_function("() => document.querySelectorAll('#images li').length === 2")
    one.press("s")
    one.settled()
    assert "No other image is left to do: the rest is with lea." in one.told()


def only(answer: dict, keys: tuple[str, ...] = ("plate/002",)) -> dict:
    """A queue of some images."""
    return {**answer, "images": [row for row in answer["images"] if row["key"] in keys]}


def test_no_key_finishes_an_image_before_its_picture_is_shown(
    annotator: Open, served: Served
) -> None:
    one = annotator("kim", "plate/012")
    late: list[Any] = []
    one.page.route("**/plate/011/picture", lambda route: late.append(route))
    one.page.route(
        "**/plate/012/save",
        lambda route: route.fulfill(json={**route.fetch().json(), "next": "plate/011"}),
    )
    (served.labels / "plate/011.json").unlink(missing_ok=True)
    one.press("s")
    one.page.wait_for_function("() => location.hash === '#plate/011'")
    one.press("g")
    one.drawn()
    assert one.page.locator("#stage").get_attribute("aria-busy") == "true"
    late[0].continue_()
    one.on("plate/011")
    assert not (served.labels / "plate/011.json").exists()
    one.press("g")
    one.page.wait_for_function("() => location.hash !== '#plate/011'")
    assert label(served, "plate/011")["state"] == "normal"


def test_a_picture_that_the_server_did_not_send_is_asked_for_again(
    annotator: Open, served: Served
) -> None:
    one = annotator("kim", "plate/009", lost=True)
    refused: list[str] = []

    def refuse_once(route: Any) -> None:
        refused.append(route.request.url)
        route.abort() if len(refused) == 1 else route.continue_()

    one.page.route("**/plate/009/picture", refuse_once)
    one.page.reload()
    one.ready()
    one.page.wait_for_function(
        """() => {
          const picture = document.querySelector('[data-pane=picture] .picture');
          const { width, height } = picture;
          return picture.getContext('2d').getImageData(width / 2, height / 2, 1, 1).data[3] === 255;
        }"""
    )
    assert len(refused) == 2


def test_clicks_faster_than_the_model_are_all_applied_in_order(
    annotator: Open, served: Served
) -> None:
    one = annotator("mona", "plate/020")
    places = [(20 + 9 * index, 30 + 7 * index) for index in range(12)]
    for place in places:
        one.click(*place, wait=False)
    one.at_least(12)
    assert [(each["row"], each["column"]) for each in journal(served, "plate/020")] == places


def test_a_picture_of_2000_pixels_a_side(annotator: Open, served: Served) -> None:
    one = annotator("nora", "z/large")
    row, column = draw(7, size_px=2000).middles[1]
    x, y = one.place(row, column)
    scale = float(one.page.locator("#stage").get_attribute("data-scale") or 0)
    one.page.mouse.move(int(x), int(y))
    one.wheel(-300, times=6)
    one.page.wait_for_function("() => document.getElementById('stage').dataset.scale > 2")
    after = one.place(row, column)
    factor = float(one.page.locator("#stage").get_attribute("data-scale") or 0) / scale
    for before, now in zip((x, y), after, strict=True):  # zoomed at the pointer, a whole pixel
        assert now == pytest.approx(int(before) + (before - int(before)) * factor, abs=3)
    one.click(row, column)
    assert shown_area(one) > 10_000
    panned = one.place(row, column)
    one.page.keyboard.down("Space")
    one.page.mouse.down()
    corner = one.page.locator("#stage").get_attribute("data-x")
    one.page.mouse.move(after[0] + 80, after[1] + 50)
    one.page.mouse.up()
    one.page.keyboard.up("Space")
    one.page.wait_for_function(
        "before => document.getElementById('stage').dataset.x !== before", arg=corner
    )
    moved = one.place(row, column)
    assert (round(moved[0] - panned[0]), round(moved[1] - panned[1])) == (80, 50)
    assert one.revision() == 1  # panning marks nothing
    one.press("0")
    one.page.wait_for_function("() => document.getElementById('stage').dataset.scale < 0.5")


def test_the_threshold_slider_cuts_here_and_is_recorded_when_let_go(
    annotator: Open, served: Served
) -> None:
    one = annotator("olga", "plate/021")
    row, column = draw(21).middles[1]
    one.click(row, column)
    area = shown_area(one)
    slider = one.page.locator("#threshold")
    slider.evaluate("s => { s.value = 0.9; s.dispatchEvent(new Event('input')); }")
    one.drawn()
    assert one.revision() == 1
    assert one.page.locator("#threshold-value").inner_text() == "0.90"
    slider.evaluate("s => s.dispatchEvent(new Event('change'))")
    one.at_least(2)
    assert shown_area(one) < area
    assert journal(served, "plate/021")[-1] == {"kind": "threshold", "value": 0.9}


def test_the_page_cuts_the_probability_where_the_server_does(
    annotator: Open, served: Served
) -> None:
    one = annotator("pia", "plate/022")
    one.click(*draw(22).middles[1])
    different = one.page.evaluate(
        """async () => {
          const masks = await import('/masks.js');
          const answer = await fetch('/api/v1/images/plate/022/open', {method: 'POST',
            headers: {'Content-Type': 'application/json', 'X-Adclick': '1'},
            body: '{"annotator": "pia"}'});
          const state = await answer.json();
          const mask = await masks.read(state, 'mask');
          const probability = await masks.read(state, 'probability');
          const cut = masks.cut(probability, state.threshold, mask).tiles.get('0,0');
          const there = mask.tiles.get('0,0');
          return [there.filter((value) => value).length,
            cut.filter((value, index) => value !== there[index]).length];
        }"""
    )
    assert different[0] > 100 and different[1] <= 0.02 * different[0]


def test_a_corrupt_picture_is_named_and_passed_over(annotator: Open, served: Served) -> None:
    one = annotator("rita", "plate/023")
    row = one.page.locator("[data-key='plate/broken']")
    assert "Cannot be read" in row.inner_text()
    row.click()
    one.page.wait_for_selector("#told.bad")
    assert "broken.png" in one.told()
    assert one.page.locator("#stage").get_attribute("data-key") == "plate/023"
    one.press("s")
    one.page.wait_for_function("() => document.getElementById('stage').dataset.key !== 'plate/023'")
    assert one.page.locator("#stage").get_attribute("data-key") != "plate/broken"


def test_panes_are_zoomed_together_and_hidden_one_by_one(annotator: Open, served: Served) -> None:
    one = annotator("sara")
    drawn = """name => {
      const picture = document.querySelector(`[data-pane=${name}] .picture`);
      const {data} = picture.getContext('2d').getImageData(0, 0, picture.width, picture.height);
      return data.reduce((sum, value) => sum + value, 0);
    }"""
    for pane in ("residual", "neighbour"):
        one.page.wait_for_function(f"() => ({drawn})('{pane}') > 0")
    before = [one.page.evaluate(drawn, pane) for pane in ("residual", "neighbour")]
    one.press("+", "+", "+")
    for pane, old in zip(("residual", "neighbour"), before, strict=True):
        one.page.wait_for_function(f"old => ({drawn})('{pane}') !== old", arg=old)
    wide = one.page.locator("[data-pane=picture]").bounding_box()
    one.press("r", "w")
    assert one.page.locator("[data-pane=residual]").is_hidden()
    now = one.page.locator("[data-pane=picture]").bounding_box()
    assert wide and now and now["width"] > wide["width"] + 100


def test_the_health_line_names_model_device_latency_and_what_is_prepared(
    annotator: Open, served: Served
) -> None:
    one = annotator("tom", "plate/000")
    one.click(200, 20)
    one.page.reload()
    one.ready()
    one.page.wait_for_function(
        "() => document.getElementById('health-text').textContent.includes('last answer')"
    )
    text = one.page.locator("#health-text").inner_text()
    assert "Toy model" in text and "on cpu" in text and "images prepared" in text


def test_every_control_has_a_name_and_every_text_enough_contrast(
    annotator: Open, served: Served
) -> None:
    for theme in ("dark", "light"):
        one = annotator("uma", color_scheme=theme)
        unnamed = one.page.evaluate(
            """() => [...document.querySelectorAll('button, input, select, a, [tabindex="0"]')]
              .filter((one) => !(one.innerText?.trim() || one.textContent.trim() || one.ariaLabel
                || one.labels?.length))
              .map((one) => one.outerHTML)"""
        )
        assert unnamed == []
        faint = one.page.evaluate(CONTRAST)
        assert faint == []


CONTRAST = """() => {
  const parse = (text) => {
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = 1;
    const context = canvas.getContext('2d');
    context.fillStyle = text;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const over = (top, ground) => top.slice(0, 3).map((part, index) =>
    (part * top[3] + ground[index] * (255 - top[3])) / 255);
  const ground = (element) => {
    if (!element) return [255, 255, 255];
    const own = parse(getComputedStyle(element).backgroundColor);
    return own[3] === 255 ? own.slice(0, 3) : over(own, ground(element.parentElement));
  };
  const light = (colour) => colour.map((part) => part / 255).map((part) =>
    part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
  const faint = [];
  for (const element of document.querySelectorAll('body *')) {
    const nodes = [...element.childNodes];
    const hasText = nodes.some((node) => node.nodeType === 3 && node.textContent.trim());
    const counts = element.checkVisibility() && !element.closest(':disabled, .spoken, option');
    if (!hasText || !counts) continue;
    const back = ground(element);
    const front = over(parse(getComputedStyle(element).color), back);
    const [low, high] = [light(front), light(back)].sort((one, other) => one - other);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5) faint.push([element.textContent.trim().slice(0, 30), ratio]);
  }
  return faint;
}"""


@pytest.mark.parametrize(("width", "height"), [(820, 1180), (1180, 820), (1280, 720)])
def test_laptop_and_tablet_sizes_show_everything(
    width: int, height: int, annotator: Open, served: Served
) -> None:
    one = annotator("vera", viewport={"width": width, "height": height}, has_touch=True)
    box = one.page.locator("[data-pane=picture]").bounding_box()
    assert box and box["width"] > 0.35 * width and box["height"] > 0.3 * height
    for name in ("save", "good", "skip", "undo"):
        found = one.page.locator(f"#{name}").bounding_box()
        assert found and found["x"] >= 0 and found["x"] + found["width"] <= width
        assert found["y"] + found["height"] <= height
    assert one.page.evaluate("document.documentElement.scrollWidth") <= width
    before = one.revision()
    one.page.touchscreen.tap(*one.place(128, 128))
    one.at_least(before + 1)
    one.press("z", answered=True)


def test_an_image_is_finished_while_the_one_before_is_being_saved(
    annotator: Open, served: Served
) -> None:
    one = annotator("xena", "plate/003")
    late: list[Any] = []
    one.page.route("**/plate/003/save", lambda route: late.append(route))
    for key, number in (("plate/003", 3), ("plate/008", 8)):
        if key != "plate/003":
            one.page.locator(f"[data-key='{key}']").click()
            one.on(key)
        one.click(*draw(number).middles[0])
        one.press("Enter")
    one.page.wait_for_function("() => document.getElementById('stage').dataset.key !== 'plate/008'")
    one.settled()
    assert (label(served, "plate/008")["state"], len(late)) == ("done", 1)
    key = one.page.locator("#stage").get_attribute("data-key")
    with one.page.expect_response("**/plate/003/save"):
        late[0].continue_()
    one.settled()
    assert label(served, "plate/003")["state"] == "done"
    assert one.page.locator("#stage").get_attribute("data-key") == key  # and stays where it went
