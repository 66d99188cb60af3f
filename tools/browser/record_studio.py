"""The whole way through the studio, filmed and timed: from photographs to a detector that a script
runs without adclick, by mouse and keyboard; the server is killed in the middle of learning and of
labelling.

`python -m tools.browser.record_studio --output docs` films drawn washers at the demo's sizes, for
the README. With `--tiles FOLDER` (the Magnetic Tile Defects as published) and `--backbone FILE`
(ResNet-18's weights, where there is no network) it goes the same way with these photographs at what
the page proposes. A frame is taken at a time; while it learns, only when something has changed, so
that minutes pass in seconds. Where to click is read from the true masks, what the mask is from the
page's answers. The seconds of each step are printed, and of learning those that processors computed
(other work beside it does not count in these). With `--go-on` a way that was broken off is taken up
where the click model was learnt. Needs ffmpeg.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import cv2
import numpy as np
import psutil
from playwright.sync_api import Browser, Response, TimeoutError, expect, sync_playwright

from adclick.clicks.deepest import next_click
from adclick.project.writing import open_project
from tools.browser.browsing import PATIENCE_MS, launch
from tools.browser.products import Product, draw_washers, take_tiles
from tools.browser.record import HEIGHT, POINTER, WIDTH, Film, encode
from tools.browser.serving import free_port
from tools.browser.small_project import shrink
from tools.browser.studio import LEARN_S, StudioServed, Visitor
from tools.large_pictures import seen_mask

CLICKS, ENOUGH_IOU = 5, 0.85  # a person stops clicking when the mask is good
NEW_SHARE = 0.025  # of the bar, between two frames
KILLED_AT = 0.3  # of the bar
LONG_MS = 1_800_000
SETTLED = "#stage[aria-busy=false][data-waiting='0'][data-key='{key}']"
SAVED = """([key, revision]) => {
  const stage = document.getElementById('stage');
  return stage.dataset.key !== key
    || (stage.ariaBusy === 'false' && Number(stage.dataset.revision) > revision);
}"""  # the next picture is open, or, after the last one, this one again


class Way:
    """A visitor on the way, its film, and what took how long."""

    def __init__(self, one: Visitor, served: StudioServed, product: Product, folder: Path) -> None:
        """Frames and stills go to `folder`."""
        self.one, self.served, self.product = one, served, product
        self.stills = folder / "stills"
        for path in (self.stills, folder / "frames"):
            path.mkdir(parents=True, exist_ok=True)
        self.film = Film(one, folder / "frames")  # type: ignore[arg-type]
        self.film.count = len([*(folder / "frames").glob("*.png")])
        self.took: dict[str, float] = {}
        self.computed: dict[str, float] = {}
        self.clicks_ms: list[float] = []
        self.verdicts: dict[str, str] = {}  # of new photographs, by their names
        self._heard_of: dict[str, dict[str, Any]] = {}  # the last session of each picture
        one.page.on("response", self._heard)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Count what is done as a step's."""
        begun = time.monotonic()
        yield
        self.took[step] = self.took.get(step, 0.0) + time.monotonic() - begun

    def still(self, name: str) -> None:
        """The page as a picture, without pointer and caption."""
        for visibility in ("hidden", "visible"):
            self.one.page.evaluate(
                "how => document.querySelectorAll('#pointer, #caption')"
                ".forEach((one) => { one.style.visibility = how; })",
                visibility,
            )
            if visibility == "hidden":
                self.one.page.screenshot(path=self.stills / f"{name}.png")

    def entered(self) -> None:
        """A page was loaded: the pointer is drawn anew."""
        self.one.page.evaluate(POINTER)
        self.one.page.mouse.move(*self.film.at)
        self.film.say("")

    def press_on(self, selector: str, seconds: float = 0.7) -> None:
        """Move to something and click it, once it can be; where it has gone meanwhile, there."""
        where = self.one.page.locator(selector).first
        where.scroll_into_view_if_needed()
        box = where.bounding_box()
        assert box is not None, selector
        self.film.move((box["x"] + box["width"] / 2, box["y"] + box["height"] / 2))
        where.click()
        self.film.wait(seconds)

    def go(self, step: str) -> None:
        """Go to a step by its link."""
        self.press_on(f"#steps [data-step={step}]", seconds=0)
        self.one.page.wait_for_selector(f"#steps [data-step={step}][aria-current=page]")
        self.one.ready()
        self.entered()

    def learn(self, what: str, *, kill: bool = False) -> None:
        """Learn; a frame whenever the bar has moved. The server is killed on the way, or not."""
        page = self.one.page
        self.press_on("#start", seconds=0.5)
        page.wait_for_selector("#run[data-state=running]")
        shown, begun = -1.0, time.monotonic()
        while page.get_attribute("#run", "data-state") == "running":
            assert time.monotonic() < begun + LEARN_S
            computed = computing_s(self.served.folder)
            self.computed[what] = max(self.computed.get(what, 0.0), computed)
            share = float(page.evaluate("() => document.getElementById('share').value || 0"))
            if share >= shown + NEW_SHARE:
                self.film.wait(0.25)
                shown = share
            if kill and share >= KILLED_AT:
                self.still("learning")
                kill = False
                self._kill("The server is killed: learning goes on by itself")
            page.wait_for_timeout(300)
        page.wait_for_selector("#run[data-state=done]")
        assert not kill, "it was learnt before the server could be killed"
        self.took[what] = time.monotonic() - begun
        self.film.wait(0.8)

    def _kill(self, said: str) -> None:
        """End the server as a power cut would, and start it again."""
        self.served.kill()
        self.film.say(said)
        self.one.page.wait_for_timeout(1_500)
        self.film.wait(1.2)
        self.still("server-away")
        self.served.start()
        self.one.page.wait_for_timeout(3_000)
        self.film.wait(0.8)
        self.film.say("")

    def _heard(self, response: Response) -> None:
        """Keep what is told to the page of what is open."""
        path = urlsplit(response.url).path
        if path.startswith("/label/api/v1/images/") and path.endswith(("/open", "/actions")):
            session: dict[str, Any] = response.json() if response.ok else {}
            if "key" in session:
                self._heard_of[session["key"]] = session

    def _mask(self, key: str) -> np.ndarray:
        """The mask that the page shows; what the page was told is heard here a moment later."""
        shown = int(self.one.page.get_attribute("#stage", "data-revision") or 0)
        end = time.monotonic() + PATIENCE_MS / 1000
        while self._heard_of.get(key, {}).get("revision", -1) < shown:
            assert time.monotonic() < end, f"{key}: the mask of revision {shown} was not heard of"
            self.one.page.wait_for_timeout(10)
        return seen_mask(self._heard_of[key])

    def label(self, name: str, *, shown: bool, kill: bool = False) -> None:
        """Click a defect `kind/stem` until its mask holds, save; filmed or not."""
        page, truth = self.one.page, self.product.masks[name]
        key = self._open(name)
        taken = np.zeros(truth.shape, bool)
        for turn in range(CLICKS):
            mask = self._mask(key)
            if iou(mask, truth) >= ENOUGH_IOU:
                break
            click = next_click(truth, mask, taken)
            taken[click.row, click.column] = True
            self._click(click.row, click.column, positive=click.positive, shown=shown, key=key)
            if kill and turn == 0:
                self._kill("Killed again, between two clicks")
                page.reload()
                self.one.ready()
                page.wait_for_selector(SETTLED.format(key=key))
                self.entered()
                assert page.get_attribute("#stage", "data-revision") == "2", "a click was lost"
        kind = name.split("/")[0]
        own = expect(page.locator("#type"), "a folder's name is the kind of defect")
        own.to_have_value(kind, timeout=PATIENCE_MS)
        self.film.wait(0.5 if shown else 0)
        if shown:
            self.still(f"label-{kind}")
        self._save(key)

    def _save(self, key: str) -> None:
        page = self.one.page
        before = len([*self._saved()])
        revision = int(page.get_attribute("#stage", "data-revision") or 0)
        page.keyboard.press("Enter")
        try:
            page.wait_for_function(SAVED, arg=[key, revision])
        except TimeoutError:
            told = page.locator("#told").inner_text()
            raise AssertionError(f"{key} was not saved; the page says {told!r}") from None
        assert len([*self._saved()]) == before + 1, f"{key} has no label"

    def _saved(self) -> Iterator[Path]:
        return open_project(self.served.folder).labels.rglob("*.png")

    def _open(self, name: str) -> str:
        page = self.one.page
        key = page.evaluate(
            "name => [...document.querySelectorAll('#images [data-key]')]"
            ".map((one) => one.dataset.key).find((key) => key.endsWith(name))",
            name,
        )
        assert key is not None, name
        if page.get_attribute("#stage", "data-key") != key:
            page.click(f"#images [data-key='{key}']")
        page.wait_for_selector(SETTLED.format(key=key))
        return key

    def _click(self, row: int, column: int, *, positive: bool, shown: bool, key: str) -> None:
        page = self.one.page
        spot = page.evaluate(
            """([row, column]) => {
              const {scale, x, y} = document.getElementById('stage').dataset;
              const {left, top} = document.querySelector('[data-pane=picture] .glass')
                .getBoundingClientRect();
              return [left + Number(x) + (column + 0.5) * scale,
                top + Number(y) + (row + 0.5) * scale];
            }""",
            [row, column],
        )
        if shown:
            self.film.move((spot[0], spot[1]), seconds=0.4)
        before = int(page.get_attribute("#stage", "data-revision") or 0)
        begun = time.monotonic()
        page.mouse.click(*spot, button="left" if positive else "right")
        page.wait_for_function(
            "n => Number(document.getElementById('stage').dataset.revision) > n"
            " && document.getElementById('stage').dataset.waiting === '0'",
            arg=before,
        )
        self.clicks_ms.append(1000 * (time.monotonic() - begun))
        if shown:
            self.film.wait(0.6)


def computing_s(folder: Path) -> float:
    """Seconds that processors have computed for the last run and its jobs that have ended."""
    runs = sorted((folder / ".adclick/runs").iterdir(), key=lambda one: int(one.name))
    try:
        pid = json.loads((runs[-1] / "run.json").read_text())["pid"]
        times = psutil.Process(pid).cpu_times()
    except (OSError, ValueError, KeyError, psutil.Error):
        return 0.0
    return times.user + times.system + times.children_user + times.children_system


def iou(mask: np.ndarray, truth: np.ndarray) -> float:
    return float((mask & truth).sum() / max(1, (mask | truth).sum()))


def play_photographs(way: Way, backbone: Path | None) -> None:
    """The first step: two folders are chosen, and the project is made."""
    film, page = way.film, way.one.page
    film.say("Photographs: normal ones, and some of each kind of defect")
    film.wait(1.6)
    film.say("")  # a dialog would be over it
    with way.timed("photographs looked at"):
        for kind, folder in (("normal", way.product.normal), ("defective", way.product.defective)):
            way.press_on(f".drop[data-kind={kind}] .choose", seconds=0.3)
            way.one.open_folder(folder)
            film.wait(0.6)
            way.press_on("#folders button[value=take]", seconds=0.3)
            way.one.chosen(kind, folder)
        page.wait_for_selector("#found:not([hidden])")
        page.wait_for_selector("#looking[hidden]", state="attached")
    page.wait_for_timeout(1_500)
    film.say("What was found: sizes, what to look at, how long it will take")
    film.wait(1.6)
    film.say("")
    if backbone is not None:
        page.locator("#found summary").click()
        page.locator("#backbone").click()
        page.keyboard.type(str(backbone))
    way.still("photographs")
    page.locator("#make").scroll_into_view_if_needed()
    film.wait(1.0)
    with way.timed("project made"):
        way.press_on("#make", seconds=0)
        page.wait_for_selector("#onward:not([hidden])")
    film.wait(0.7)
    if way.product.shrunk:
        shrink(way.served.folder, way.product.shrunk)


def play_clicks(way: Way) -> None:
    """The click model learns."""
    page = way.one.page
    way.go("learn")
    way.film.say("Learn: normal photographs and made-up defects teach the click model")
    way.still("learn-before")
    page.locator("#along").click()  # the film learns when it wants to
    way.learn("click model", kill=True)
    way.still("learn-clicks-done")


def play_labels(way: Way) -> None:
    """Every defect gets its mask."""
    film, page = way.film, way.one.page
    with way.timed("labelling opened"):
        way.go("label")
        page.wait_for_selector("#stage[aria-busy=false][data-revision]")
    way.entered()  # the page of its own is gone
    film.say("Label: a few clicks, no painting")
    with way.timed("labels"):
        kinds: set[str] = set()
        for number, name in enumerate(way.product.masks):
            kind = name.split("/")[0]
            way.label(name, shown=kind not in kinds, kill=number == 1)
            kinds.add(kind)
    assert len([*way._saved()]) == len(way.product.masks), "a label was lost"
    way.still("label-all")


def play_inspect(way: Way) -> None:
    """The detector learns, and is looked at."""
    film, page = way.film, way.one.page
    way.go("learn")
    film.say("Learn again: the detector, from these labels")
    way.learn("detector")
    way.still("learn-detector-done")
    with way.timed("inspection"):
        way.go("inspect")
        page.wait_for_selector("#gallery li", timeout=LONG_MS)
        looked = "() => !document.getElementById('waiting').textContent"
        page.wait_for_function(looked, timeout=LONG_MS)
    page.wait_for_timeout(2_500)
    way.still("inspect")
    film.say("Inspect: what the threshold means, on photographs it was not trained on")
    film.wait(1.6)
    film.say("")
    drag_threshold(way)
    way.press_on("#reset", seconds=0.3)
    film.say("A new photograph")
    with way.timed("new photograph"):
        drop(way, way.product.new[:1])
    page.wait_for_timeout(2_500)
    film.wait(1.0)
    film.say("")
    film.wait(1.6)
    way.still("inspect-new")


def drag_threshold(way: Way) -> None:
    """Pull the threshold down and up again."""
    film, page = way.film, way.one.page
    box = page.locator("#threshold").bounding_box()
    assert box is not None
    at = float(page.input_value("#threshold")) / float(page.get_attribute("#threshold", "max") or 1)
    middle, row = box["x"] + at * box["width"], box["y"] + box["height"] / 2
    low = box["x"] + 0.35 * at * box["width"]
    film.move((middle, row))
    page.mouse.down()
    film.move((low, row), 1.2)
    film.move((middle, row), 1.2)
    page.mouse.up()


def drop(way: Way, pictures: Sequence[Path]) -> None:
    """Choose new photographs, and wait for the map of the last."""
    page = way.one.page
    with page.expect_file_chooser() as chooser:
        way.press_on("#drop", seconds=0)
    chooser.value.set_files([str(path) for path in pictures])
    page.wait_for_function(
        "name => document.getElementById('view-name').textContent === name"
        " && /\\d/.test(document.getElementById('view-verdict').textContent)"
        " && !document.getElementById('waiting').textContent",
        arg=pictures[-1].name,
        timeout=LONG_MS,
    )


def play_take(way: Way) -> None:
    """Everything is taken away."""
    film, page = way.film, way.one.page
    way.go("take")
    film.say("Take away: detector, labels, report")
    page.wait_for_selector("#make-report:not([disabled])")
    film.wait(1.2)
    film.say("")
    for what in ("onnx", "report", "labels-coco"):
        with way.timed(what):
            way.press_on(f"#make-{what}", seconds=0.3)
            page.wait_for_selector(f"#fetch-{what}", timeout=LONG_MS)
            page.wait_for_selector("#make-model:not([disabled])", timeout=LONG_MS)
    film.wait(1.6)
    page.mouse.move(5, 5)
    way.still("take")
    report = way.one.tab()
    report.goto((way.served.folder / "report.html").as_uri())
    report.screenshot(path=way.stills / "report.png", full_page=True)
    report.close()


def without_adclick(way: Way) -> dict[str, str]:
    """What the script in the ONNX folder says of every new photograph."""
    script = next(way.served.folder.glob("models/*-onnx/inspect_picture.py"))
    said = {}
    for picture in way.product.new:
        command = [sys.executable, str(script), str(picture)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        said[picture.name] = done.stdout.strip()
    return said


def in_the_shell(folder: Path) -> bool:
    """Whether Snakemake, typed in the project's folder, has nothing to do."""
    words = ["click_models", "detectors", "--configfile", "adclick.yaml", "--dry-run"]
    command = [sys.executable, "-m", "snakemake", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return "Nothing to be done" in done.stdout + done.stderr


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="where studio.gif goes")
    parser.add_argument("--keep", type=Path, help="a folder for the project, frames and stills")
    parser.add_argument("--tiles", type=Path, help="the Magnetic Tile Defects' folder")
    parser.add_argument("--backbone", type=Path, help="ResNet-18's weights (safetensors)")
    parser.add_argument("--go-on", action="store_true", help="take up what is in --keep")
    parser.add_argument("--scheme", default="dark", choices=["dark", "light"])
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = (asked.keep or Path(name)).absolute()
        given = folder / "photographs"
        product = take_tiles(asked.tiles, given) if asked.tiles else draw_washers(given)
        way = walk(
            launch(playwright),
            product,
            folder,
            backbone=asked.backbone,
            scheme=asked.scheme,
            go_on=asked.go_on,
        )
        encode(folder / "frames", asked.output / "studio.gif")
        bytes_ = (asked.output / "studio.gif").stat().st_size
        print(json.dumps({"frames": way.film.count, "bytes": bytes_, **told(way)}, indent=2))


def walk(
    browser: Browser,
    product: Product,
    folder: Path,
    *,
    backbone: Path | None = None,
    scheme: Literal["dark", "light"] = "dark",
    go_on: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Way:
    """Go the whole way, in a folder that then has the project, the stills and the frames."""
    served = StudioServed(folder / product.name, free_port(), environment)
    served.start()
    try:
        size = {"width": WIDTH, "height": HEIGHT}
        one = Visitor(browser, served.address, viewport=size, color_scheme=scheme)
        one.visit("photographs")
        way = Way(one, served, product, folder)
        way.entered()
        if not go_on:
            play_photographs(way, backbone)
            play_clicks(way)
        play_labels(way)
        play_inspect(way)
        play_take(way)
        drop_the_rest(way)
        one.close()
    finally:
        served.kill()
    return way


def drop_the_rest(way: Way) -> None:
    """The other new photographs, all at once; what is said of all of them."""
    way.go("inspect")
    way.one.page.wait_for_selector("#gallery li")
    way.press_on("#groups label:has([value=new])")
    if len(way.product.new) > 1:
        with way.timed("other new photographs"):
            drop(way, way.product.new[1:])
        way.still("inspect-all-new")
    way.verdicts = way.one.page.evaluate(
        "() => Object.fromEntries([...document.querySelectorAll('#gallery button')].map((one) =>"
        " [one.querySelector('.name').textContent, one.querySelector('.verdict').textContent]))"
    )


def told(way: Way) -> dict[str, Any]:
    """What is to be known of the way."""
    clicks = np.array(way.clicks_ms)
    lost = ("Failed to load resource",)  # while the server was killed
    return {
        "seconds": {step: round(value, 1) for step, value in way.took.items()},
        "computed_s": {step: round(value, 1) for step, value in way.computed.items()},
        "clicks": len(clicks),
        "click_ms": {"median": round(np.median(clicks)), "p95": round(np.quantile(clicks, 0.95))},
        "label_iou": {
            name: round(iou(mask, _saved_mask(way, name)), 3)
            for name, mask in way.product.masks.items()
        },
        "faults": [one for one in way.one.faults if not any(word in one for word in lost)],
        "current_in_the_shell": in_the_shell(way.served.folder),
        "verdicts": way.verdicts,
        "without_adclick": without_adclick(way),
    }


def _saved_mask(way: Way, name: str) -> np.ndarray:
    path = next(one for one in way._saved() if str(one.with_suffix("")).endswith(name))
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)) > 127


if __name__ == "__main__":
    main()
