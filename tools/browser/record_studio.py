"""The README's recording of the studio: `python -m tools.browser.record_studio --output docs`.

Drives the five steps with photographs of drawn washers, at the demo's sizes, and takes a frame at a
time; while it learns, only when something has changed, so that minutes pass in seconds. Needs
ffmpeg.
"""

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

from adclick.data.images import write_png
from adclick.data.toy import draw_defect, draw_normal
from tools.browser.browsing import launch
from tools.browser.record import HEIGHT, POINTER, WIDTH, Film, encode
from tools.browser.serving import free_port
from tools.browser.small_project import DEMO, shrink
from tools.browser.studio import LEARN_S, StudioServed, Visitor

CATEGORY, SIZE_PX, NORMALS = "washer", 256, 40
KINDS = {"chipped": 3, "rust": 3, "scratch": 2}
NEW_SHARE = 0.025  # of the bar, between two frames


class StudioFilm(Film):
    """Frames of the studio's pages."""

    def entered(self) -> None:
        """A page was loaded: the pointer is drawn anew."""
        self.one.page.evaluate(POINTER)
        self.one.page.mouse.move(*self.at)
        self.say("")

    def press_on(self, selector: str, seconds: float = 0.7) -> None:
        """Move to something and click it."""
        box = self.one.page.locator(selector).bounding_box()
        assert box is not None, selector
        self.move((box["x"] + box["width"] / 2, box["y"] + box["height"] / 2))
        self.one.page.mouse.click(*self.at)
        self.wait(seconds)

    def go(self, step: str) -> None:
        """Go to a step by its link."""
        self.press_on(f"#steps [data-step={step}]", seconds=0)
        self.one.ready()
        self.entered()

    def learn(self) -> None:
        """Learn; a frame whenever the bar has moved."""
        page = self.one.page
        self.press_on("#start", seconds=0.5)
        shown, end = -1.0, time.monotonic() + LEARN_S
        page.wait_for_selector("#run[data-state=running]")
        while page.get_attribute("#run", "data-state") == "running":
            assert time.monotonic() < end
            share = float(page.evaluate("() => document.getElementById('share').value || 0"))
            if share >= shown + NEW_SHARE:
                self.wait(0.25)
                shown = share
            page.wait_for_timeout(300)
        page.wait_for_selector("#run[data-state=done]")
        self.wait(0.8)


def truth(kind: str, number: int) -> np.ndarray:
    return draw_defect(CATEGORY, kind, SIZE_PX, np.random.default_rng([8, number]))[1]


def write_photographs(folder: Path) -> None:
    for number in range(NORMALS):
        picture = draw_normal(CATEGORY, SIZE_PX, np.random.default_rng([7, number]))
        write_png(folder / f"normal/{number:03}.png", picture)
    for kind, count in KINDS.items():
        for number in range(count):
            image, _ = draw_defect(CATEGORY, kind, SIZE_PX, np.random.default_rng([8, number]))
            write_png(folder / f"defective/{kind}/{number:03}.png", image)
    image, _ = draw_defect(CATEGORY, "rust", SIZE_PX, np.random.default_rng([9, 1]))
    write_png(folder / "just-arrived.png", image)


def play_to_labels(film: StudioFilm, given: Path, project: Path, took: dict[str, float]) -> None:
    """The first three steps."""
    page = film.one.page
    film.say("Photographs: normal ones, and some of each kind of defect")
    film.wait(1.0)
    for kind in ("normal", "defective"):
        film.press_on(f".drop[data-kind={kind}] .choose", seconds=0.3)
        page.fill("#path", str(given / kind))
        page.press("#path", "Enter")
        page.wait_for_timeout(500)
        film.wait(0.6)
        film.press_on("#folders button[value=take]", seconds=0.3)
    page.wait_for_selector("#found:not([hidden])")
    page.wait_for_timeout(2_000)
    film.say("What was found: sizes, what to look at, how long it will take")
    film.wait(1.6)
    page.locator("#make").scroll_into_view_if_needed()
    film.wait(0.6)
    film.press_on("#make")
    shrink(project, DEMO)
    film.go("learn")
    film.say("Learn: normal photographs and made-up defects teach the click model")
    page.uncheck("#along")
    begun = time.monotonic()
    film.learn()
    took["click model"] = time.monotonic() - begun
    film.go("label")
    page.wait_for_selector("#stage[aria-busy=false][data-revision]")  # the page of its own is gone
    film.entered()
    film.say("Label: a few clicks, no painting")
    begun = time.monotonic()
    for kind, count in KINDS.items():
        for number in range(count):
            label(film, kind, number, shown=number == 0)
    took["labels"] = time.monotonic() - begun


def play_to_files(film: StudioFilm, given: Path, took: dict[str, float]) -> None:
    """The detector, and the last two steps."""
    one, page = film.one, film.one.page
    film.go("learn")
    film.say("Learn again: the detector, from these labels")
    begun = time.monotonic()
    film.learn()
    took["detector"] = time.monotonic() - begun
    film.go("inspect")
    page.wait_for_selector("#gallery li", timeout=600_000)
    page.wait_for_function("() => !document.getElementById('waiting').textContent", timeout=600_000)
    page.wait_for_timeout(2_500)
    film.say("Inspect: what the threshold means, on photographs it was not trained on")
    film.wait(1.2)
    end = float(page.get_attribute("#threshold", "max") or 1)
    middle = float(page.input_value("#threshold"))
    for value in [*np.linspace(middle, 0.35 * end, 8), *np.linspace(0.35 * end, middle, 8)]:
        page.locator("#threshold").fill(f"{value:.5f}")
        film.frame()
    film.press_on("#reset", seconds=0.3)
    film.say("A new photograph")
    page.set_input_files("#file", given / "just-arrived.png")
    page.wait_for_function(
        "() => /\\d/.test(document.getElementById('view-verdict').textContent)", timeout=600_000
    )
    page.wait_for_timeout(2_500)
    film.wait(2.0)
    film.go("take")
    film.say("Take away: detector, labels, report")
    page.wait_for_selector("#make-report:not([disabled])")
    film.press_on("#make-model", seconds=0.3)
    page.wait_for_selector("#fetch-model", timeout=600_000)
    page.wait_for_selector("#make-report:not([disabled])", timeout=600_000)
    film.wait(1.6)
    one.page.mouse.move(5, 5)


def label(film: StudioFilm, kind: str, number: int, *, shown: bool) -> None:
    """Click a defect until its mask holds, name its kind, save; filmed or not."""
    page = film.one.page
    key = page.evaluate(
        "name => [...document.querySelectorAll('#images [data-key]')]"
        ".map((one) => one.dataset.key).find((key) => key.endsWith(name))",
        f"{kind}/{number:03}",
    )
    page.click(f"#images [data-key='{key}']")
    page.wait_for_selector(f"#stage[aria-busy=false][data-key='{key}'][data-waiting='0']")
    rows, columns = np.nonzero(truth(kind, number))
    for turn, share in enumerate((0.5, 0.2, 0.8)):
        place = int(share * (len(rows) - 1))
        spot = page.evaluate(
            """([row, column]) => {
              const {scale, x, y} = document.getElementById('stage').dataset;
              const {left, top} = document.querySelector('[data-pane=picture] .glass')
                .getBoundingClientRect();
              return [left + Number(x) + (column + 0.5) * scale,
                top + Number(y) + (row + 0.5) * scale];
            }""",
            [int(rows[place]), int(columns[place])],
        )
        if shown:
            film.move((spot[0], spot[1]), seconds=0.4)
        page.mouse.click(*spot)
        page.wait_for_function(
            "n => Number(document.getElementById('stage').dataset.revision) >= n"
            " && document.getElementById('stage').dataset.waiting === '0'",
            arg=turn + 1,
        )
        if shown:
            film.wait(0.6)
    page.select_option("#type", kind)
    page.wait_for_timeout(800)
    film.wait(0.5 if shown else 0)
    page.keyboard.press("Enter")
    page.wait_for_timeout(1_200)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="where studio.gif goes")
    parser.add_argument("--keep", type=Path, help="a folder for the project and the frames")
    parser.add_argument(
        "--from-labels", action="store_true", help="go on with what is kept: all is labelled"
    )
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = asked.keep or Path(name)
        frames, given, project = folder / "frames", folder / "photographs", folder / "washers"
        if not asked.from_labels:
            shutil.rmtree(frames, ignore_errors=True)
            write_photographs(given)
        frames.mkdir(parents=True, exist_ok=True)
        served = StudioServed(project, free_port())
        served.start()
        took: dict[str, float] = {}
        try:
            with sync_playwright() as playwright:
                size = {"width": WIDTH, "height": HEIGHT}
                one = Visitor(
                    launch(playwright), served.address, viewport=size, color_scheme="dark"
                )
                one.visit("learn" if asked.from_labels else "photographs")
                film = StudioFilm(one, frames)  # type: ignore[arg-type]
                film.count = len([*frames.glob("*.png")])
                film.entered()
                if not asked.from_labels:
                    play_to_labels(film, given, project, took)
                play_to_files(film, given, took)
        finally:
            served.kill()
        encode(frames, asked.output / "studio.gif")
    seconds = {step: round(value) for step, value in took.items()}
    bytes_ = (asked.output / "studio.gif").stat().st_size
    print(json.dumps({"frames": film.count, "bytes": bytes_, "seconds": seconds}))


if __name__ == "__main__":
    main()
