"""The README's recording and picture: `python -m tools.browser.record --output docs`.

Drives the page as an annotator would and takes a frame at a time, so that a slow machine gives the
same film. `--model` and `--images` film a model folder; without them the tests' toy model answers.
Needs ffmpeg.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

from tools.browser.browsing import Annotator, launch
from tools.browser.serving import Served, free_port
from tools.browser.timing import wait_until_encoded
from tools.browser.toy import draw, write_images

FRAMES_A_SECOND = 8
WIDTH, HEIGHT = 1280, 720
TIME = "window.filmTime = 0; performance.now = () => window.filmTime;"  # the film's, not filming's
POINTER = """() => {
  if (document.getElementById('pointer')) return;
  const pointer = document.createElement('div');
  pointer.id = 'pointer';
  Object.assign(pointer.style, {position: 'fixed', zIndex: 9, width: '22px', height: '22px',
    borderRadius: '50%', border: '2.5px solid #fff', boxShadow: '0 0 0 2px #000a',
    pointerEvents: 'none', translate: '-50% -50%'});
  const caption = document.createElement('div');
  caption.id = 'caption';
  caption.hidden = true;
  Object.assign(caption.style, {position: 'fixed', zIndex: 9, left: '50%', bottom: '74px',
    translate: '-50% 0', padding: '7px 18px', borderRadius: '10px', background: '#000d',
    color: '#fff', fontSize: '17px', fontWeight: 600, whiteSpace: 'nowrap', pointerEvents: 'none'});
  document.body.append(pointer, caption);
  addEventListener('pointermove', (event) => {
    pointer.style.left = `${event.clientX}px`;
    pointer.style.top = `${event.clientY}px`;
  }, true);
}"""


class Film:
    """Frames of an annotator's page."""

    def __init__(self, one: Annotator, folder: Path) -> None:
        self.one, self.folder, self.count = one, folder, 0
        self.at = (WIDTH / 2, HEIGHT / 2)
        one.page.evaluate(POINTER)

    def frame(self) -> None:
        self.one.page.evaluate(
            "now => { window.filmTime = now; }", 1000 * self.count / FRAMES_A_SECOND
        )
        self.one.page.screenshot(path=self.folder / f"{self.count:04d}.png")
        self.count += 1

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds * FRAMES_A_SECOND)):
            self.frame()

    def say(self, text: str) -> None:
        self.one.page.evaluate(
            """text => {
              const box = document.getElementById('caption');
              box.textContent = text;
              box.hidden = !text;
            }""",
            text,
        )

    def move(self, to: tuple[float, float], seconds: float = 0.5) -> None:
        """The pointer, slower at both ends."""
        start, steps = np.array(self.at), max(1, round(seconds * FRAMES_A_SECOND))
        for share in (1 - np.cos(np.linspace(0, np.pi, steps + 1)[1:])) / 2:
            x, y = start + (np.array(to) - start) * share
            self.one.page.mouse.move(x, y)
            self.frame()
        self.at = to

    def click(self, row: int, column: int, *, positive: bool = True) -> None:
        self.move(self.one.place(row, column))
        self.one.click(row, column, positive=positive)
        self.wait(1.1)

    def press(self, key: str, *, answered: bool = False, seconds: float = 0.8) -> None:
        self.one.press(key, answered=answered)
        self.wait(seconds)


def play(film: Film, numbers: list[int]) -> None:
    """Two images: clicks, a second defect, undo, zoom, brush; a start mask, threshold; the keys."""
    one = film.one
    first, second = draw(numbers[0]).middles
    film.say("One click: the scratch")
    film.click(*first)
    film.say("y: its type")
    film.press("y", answered=True, seconds=0.9)
    film.say("n: another defect")
    film.press("n", answered=True, seconds=0.6)
    film.click(*second)
    film.press("y", answered=True, seconds=0.4)
    film.press("y", answered=True, seconds=0.8)
    film.say("Right click: this is normal")
    film.click(second[0], second[1] + 22, positive=False)
    film.say("z and x: undo and redo anything")
    film.press("z", answered=True)
    film.press("x", answered=True)
    film.press("z", answered=True)
    film.say("Wheel: all panes zoom together")
    for _ in range(4):
        one.page.mouse.wheel(0, -220)
        one.page.wait_for_timeout(60)
        film.frame()
    film.wait(0.6)
    film.say("b, e: brush and eraser on the same mask")
    film.press("b", seconds=0.2)
    start = second[0] - 12, second[1] + 16
    film.move(one.place(*start))
    one.page.mouse.down()
    film.move(one.place(start[0] + 10, start[1] + 10), 0.8)
    one.page.mouse.up()
    one.settled()
    film.wait(0.7)
    film.press("e", seconds=0.3)
    one.page.mouse.down()
    film.move(one.place(start[0] - 2, start[1] + 2), 0.8)
    film.move(one.place(start[0] + 10, start[1] + 12), 0.6)
    one.page.mouse.up()
    one.settled()
    film.wait(0.9)
    film.press("c", seconds=0.1)
    film.press("0", seconds=0.4)
    film.say("Enter: save, next image")
    film.press("Enter", seconds=0.0)
    one.on(f"plate/{numbers[1]:03d}")
    film.wait(1.2)
    film.say("f: start from what the detector finds")
    film.press("f", answered=True, seconds=1.2)
    film.say("… and refine it with a click")
    row, column = draw(numbers[1]).middles[0]
    for by in (-13, 13):
        film.click(row, column + by, positive=False)
    film.say("T: a lower threshold, a larger mask")
    for _ in range(3):
        film.press("T", seconds=0.25)
    one.page.wait_for_timeout(500)
    one.settled()
    film.wait(0.5)
    film.say("g: nothing wrong here. s: skip. ?: all keys")
    film.press("Enter", seconds=0.0)
    one.on(f"plate/{numbers[2]:03d}")
    film.press("?", seconds=2.6)
    film.press("Escape", seconds=0.4)


def encode(frames: Path, path: Path) -> None:
    """The frames as a GIF of few colours."""
    rate = str(FRAMES_A_SECOND)
    command = [
        "ffmpeg",
        "-y",
        "-loglevel",
        "error",
        "-framerate",
        rate,
        "-i",
        str(frames / "%04d.png"),
    ]
    palette = "palettegen=max_colors=96:stats_mode=diff"
    used = "paletteuse=dither=none:diff_mode=rectangle"
    colours = f"split[a][b];[a]{palette}[p];[b][p]{used}"
    subprocess.run(
        [*command, "-vf", f"scale=1024:-1:flags=lanczos,{colours}", str(path)], check=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="annotate.gif and annotate.png")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--images", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "frames").mkdir()
        write_images(folder / "images", count=8)
        served = Served(folder, free_port(), model=asked.model, images=asked.images)
        served.start()
        try:
            with sync_playwright() as playwright:
                size = {"width": WIDTH, "height": HEIGHT}
                one = Annotator(
                    launch(playwright), served.address, "anna", viewport=size, color_scheme="dark"
                )
                one.context.add_init_script(TIME)
                one.visit()
                wait_until_encoded(one)
                film = Film(one, folder / "frames")
                film.say("")
                play(film, [0, 1, 2])
                picture(one, asked.output / "annotate.png")
        finally:
            served.kill()
        encode(folder / "frames", asked.output / "annotate.gif")
    bytes_ = (asked.output / "annotate.gif").stat().st_size
    print(
        json.dumps({"frames": film.count, "seconds": film.count / FRAMES_A_SECOND, "bytes": bytes_})
    )


def picture(one: Annotator, path: Path) -> None:
    """A still of an image in work, without pointer and caption."""
    one.page.evaluate(
        "() => document.querySelectorAll('#pointer, #caption').forEach((one) => one.remove())"
    )
    first, second = draw(2).middles
    one.click(*first)
    one.press("y", answered=True)
    one.press("n", answered=True)
    one.click(*second)
    one.press("y", answered=True)
    one.press("y", answered=True)
    one.click(second[0] + 3, second[1] + 24, positive=False)
    one.page.mouse.move(5, 5)
    one.page.wait_for_timeout(5_500)
    one.page.screenshot(path=path)


if __name__ == "__main__":
    main()
