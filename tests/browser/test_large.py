"""Pictures of many megapixels in the page: tiles, exact pixels, strokes over tiles' borders."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from adclick.data.images import read_mask, write_png
from tools.browser.browsing import Annotator
from tools.browser.serving import Served, free_port
from tools.browser.toy import Drawn, draw_large

SIZE, LINE_SCAN = (2600, 3900), (96, 45_000)
PITS = [(1026, 2048), (300, 3500)]  # the first lies across tiles of masks and of the picture


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    return draw_large(*SIZE, PITS)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, drawn: Drawn) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("large")
    for name in ("clicked", "painted", "cut", "shown"):
        write_png(folder / f"images/plate/{name}.png", drawn.image)
    write_png(folder / "images/scan.png", draw_large(*LINE_SCAN, [(50, 44_000)]).image)
    server = Served(folder, free_port(), native=True)
    server.start()
    yield server
    server.kill()


Open = Callable[..., Annotator]


def zoom_to(one: Annotator, row: int, column: int, *, times: int) -> None:
    """Turn the wheel over a pixel, and bring it into view again where it has left it."""
    for _ in range(times):
        one.page.mouse.move(*one.place(row, column))
        one.wheel(-400, times=1)


def look(one: Annotator, row: int, column: int, layer: str = "picture") -> list[int]:
    """What is drawn at a pixel of the image: red, green, blue, opacity."""
    return one.page.evaluate(
        """([row, column, layer]) => {
          const {scale, x, y} = document.getElementById('stage').dataset;
          const at = (corner, place) =>
            Math.round((Number(corner) + (place + 0.5) * scale) * devicePixelRatio);
          const canvas = document.querySelector(`[data-pane=picture] .${layer}`);
          return [...canvas.getContext('2d').getImageData(at(x, column), at(y, row), 1, 1).data];
        }""",
        [row, column, layer],
    )


def shows(one: Annotator, row: int, column: int, value: int) -> None:
    """Wait until a pixel of the picture is drawn as it is, within what JPEG and smoothing do."""
    one.page.wait_for_function(
        """([row, column, value]) => {
          const {scale, x, y} = document.getElementById('stage').dataset;
          const at = (corner, place) =>
            Math.round((Number(corner) + (place + 0.5) * scale) * devicePixelRatio);
          const context = document.querySelector('[data-pane=picture] .picture').getContext('2d');
          const seen = context.getImageData(at(x, column), at(y, row), 1, 1).data;
          return seen[3] === 255 && Math.abs(seen[0] - value) <= 2;
        }""",
        arg=[row, column, value],
    )


def test_the_pixel_under_the_pointer_is_the_one_that_is_clicked(
    annotator: Open, served: Served, drawn: Drawn
) -> None:
    one = annotator("anna", "plate/clicked")
    row, column = PITS[0]
    before, scale = one.place(row, column), scale_of(one)
    one.page.mouse.move(*map(int, before))
    one.wheel(-400, times=4)
    factor = scale_of(one) / scale
    for now, then in zip(one.place(row, column), before, strict=True):  # at a whole screen pixel
        assert now == pytest.approx(int(then) + (then - int(then)) * factor, abs=1)
    zoom_to(one, row, column, times=2)
    for at in (PITS[0], (1015, 2040), (1020, 2047), (1024, 2056)):
        shows(one, *at, int(drawn.image[at][0]))
    one.click(row, column)
    one.page.keyboard.press("Enter")
    one.page.wait_for_function("() => location.hash !== '#plate/clicked'")
    saved = read_mask(served.labels / "plate/clicked.png")
    expected = drawn.mask.copy()
    expected[:600] = False
    assert np.array_equal(saved, expected)


def scale_of(one: Annotator) -> float:
    return float(one.page.locator("#stage").get_attribute("data-scale") or 0)


def test_a_stroke_over_tiles_is_painted_here_as_on_the_server(
    annotator: Open, served: Served
) -> None:
    one = annotator("bert", "plate/painted")
    zoom_to(one, 1024, 1536, times=5)
    one.press("b")
    one.page.locator("#size").fill("4")
    one.drag([(1000, 1500), (1050, 1560)])
    one.press("e")
    one.drag([(1024, 1520), (1024, 1545)])
    inside = [
        one.page.evaluate(
            "() => fetch('api/v1/images/plate/painted/open', {method: 'POST', headers:"
            " {'Content-Type': 'application/json', 'X-Adclick': '1'}, body:"
            " JSON.stringify({annotator: 'bert'})}).then((answer) => answer.json())"
        )
    ]
    assert len(inside[0]["pieces"]["mask"]) == 3
    assert inside[0]["mask"] is None
    assert look(one, 1004, 1504, "marks")[3] > 0
    assert look(one, 1024, 1532, "marks")[3] == 0
    one.press("Enter")
    one.page.wait_for_function("() => location.hash !== '#plate/painted'")
    saved = read_mask(served.labels / "plate/painted.png")
    assert saved[1004, 1504] and saved[1040, 1550]
    assert not saved[1024, 1532]
    assert saved[:990].sum() == saved[1062:].sum() == 0


def test_the_threshold_is_cut_here_tile_by_tile(annotator: Open, served: Served) -> None:
    one = annotator("carl", "plate/cut")
    one.click(*PITS[0])
    area = one.page.locator("#defects [aria-current=true] small").inner_text()
    one.page.locator("#threshold").fill("0.3")
    one.at_least(one.revision())
    zoom_to(one, *PITS[0], times=6)
    one.drawn()
    assert look(one, *PITS[0], "marks")[3] > 0
    assert look(one, PITS[0][0] + 9, PITS[0][1], "marks")[3] == 0
    assert one.page.locator("#defects [aria-current=true] small").inner_text() == area


def test_a_line_scan_is_seen_from_end_to_end(annotator: Open, served: Served) -> None:
    one = annotator("dora", "scan")
    zoom_to(one, 50, 44_000, times=12)
    one.page.mouse.move(*one.place(50, 44_000))
    shows(one, 50, 44_000, 30)
    one.click(50, 44_000)
    one.press("Enter")
    one.page.wait_for_function("() => location.hash !== '#scan'")
    saved = read_mask(served.labels / "scan.png")
    assert saved.shape == LINE_SCAN
    assert saved.sum() == draw_large(*LINE_SCAN, [(50, 44_000)]).mask.sum()
