"""From the click to the mask on the screen, measured in the browser:
`python -m tools.browser.timing --model FOLDER --images DIR` (without `--model`: the toy model).
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from tools.browser.browsing import Annotator, launch
from tools.browser.serving import Served, free_port
from tools.browser.toy import write_images

CLICKS_AN_IMAGE = 5


def measured(one: Annotator, name: str) -> list[float]:
    """Durations in milliseconds that the page has taken."""
    return one.page.evaluate(
        "name => performance.getEntriesByName(name, 'measure').map((entry) => entry.duration)", name
    )


def spread(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    p95 = ordered[int(0.95 * (len(ordered) - 1))] if ordered else float("nan")
    return {
        "n": len(ordered),
        "p50_ms": round(statistics.median(ordered), 1),
        "p95_ms": round(p95, 1),
    }


def wait_until_encoded(one: Annotator, patience_s: float = 300) -> None:
    """Until all images are prepared, as far as the server keeps them."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        health = one.page.evaluate("() => fetch('api/v1/health').then((answer) => answer.json())")
        if not health["encoding"]:
            return
        one.page.wait_for_timeout(500)


def time_clicks(one: Annotator, clicks: int, *, seed: int = 0) -> dict[str, Any]:
    """Clicks at random places, five an image, each once the last is on the screen."""
    chance = random.Random(seed)
    for index in range(clicks):
        width, height = one.page.evaluate(
            "() => document.getElementById('image-size').textContent.split(' × ').map(Number)"
        )
        place = chance.randrange(height), chance.randrange(width)
        one.click(*place, positive=index % CLICKS_AN_IMAGE == 0 or chance.random() < 0.6)
        one.page.wait_for_timeout(150)
        if index % CLICKS_AN_IMAGE == CLICKS_AN_IMAGE - 1:
            key = one.page.locator("#stage").get_attribute("data-key")
            one.press("s")
            one.page.wait_for_function(
                "key => document.getElementById('stage').dataset.key !== key"
                " || document.getElementById('told').textContent.startsWith('Saved.')",
                arg=key,
            )
            one.settled()
            one.page.wait_for_timeout(400)
    return {name: spread(measured(one, name)) for name in ("click to mask", "next image")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--clicks", type=int, default=100)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if asked.images is None:
            write_images(folder / "images", count=24)
        served = Served(folder, free_port(), model=asked.model, images=asked.images)
        served.start()
        try:
            with sync_playwright() as playwright:
                one = Annotator(launch(playwright), served.address, "timer")
                one.visit()
                wait_until_encoded(one)
                print(json.dumps(time_clicks(one, asked.clicks)))
        finally:
            served.kill()


if __name__ == "__main__":
    main()
