"""Hours of work in minutes: `python -m tools.browser.soak --minutes 30`.

Two annotators label toy images without a pause; the server is killed (-9) at random moments and
started again. At the end every answered action must be in the journals, and neither the server's
memory nor a page's may have grown. Prints what it saw as JSON; exit code 1 when something is amiss.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import sync_playwright

from tools.browser.browsing import Annotator, launch
from tools.browser.serving import Served, free_port
from tools.browser.toy import draw, write_images

NAMES = ("anna", "bert")
IMAGES_A_MINUTE = 20  # on a quiet machine two hands finish more: then finished ones are reopened
PAGE_GROWTH_MB = 8.0
SERVER_GROWTH_MB = 60.0
KILLING = 0.35  # of the time; the memory of what then runs undisturbed is looked at
SAMPLES = 40


@dataclass
class Seen:
    """What a soak saw."""

    minutes: float = 0.0
    clicks: int = 0
    images: int = 0
    reopened: int = 0
    kills: int = 0
    acknowledged: int = 0
    lost: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    page_mb: list[list[float]] = field(default_factory=list)
    server_mb: list[float] = field(default_factory=list)
    page_growth_mb: float = 0.0
    server_growth_mb: float = 0.0
    click_p50_ms: float = 0.0
    click_p95_ms: float = 0.0
    next_p50_ms: float = 0.0
    next_p95_ms: float = 0.0

    @property
    def is_well(self) -> bool:
        """Whether nothing was lost, nothing complained, nothing grew."""
        flat = self.page_growth_mb < PAGE_GROWTH_MB and self.server_growth_mb < SERVER_GROWTH_MB
        return not self.lost and not self.faults and flat


class Hand:
    """One annotator at work; remembers every action that the server has answered."""

    def __init__(self, browser: Any, served: Served, name: str, *, seed: int) -> None:
        self.one = Annotator(browser, served.address, name)
        self.one.page.on("response", self._answered)
        self.answered: list[tuple[str, dict[str, Any]]] = []
        self.random = random.Random(f"{name} {seed}")
        self.stuck: list[str] = []
        self.images = self.reopened = self.clicks = 0
        self.times: dict[str, list[float]] = {"click to mask": [], "next image": []}

    def _answered(self, response: Any) -> None:
        if response.ok and response.url.endswith("/actions"):
            key = response.url.split("/images/")[1].removesuffix("/actions")
            self.answered.append((key, json.loads(response.request.post_data)["action"]))

    def key(self) -> str:
        return self.one.page.locator("#stage").get_attribute("data-key") or ""

    def step(self) -> None:
        """One thing that annotators do."""
        key = self.key()
        number = int(key.split("/")[-1])
        places = [*draw(number).middles, (self.random.randrange(256), self.random.randrange(256))]
        row, column = self.random.choice(places)
        what = self.random.random()
        if what < 0.7:
            self.click(row, column)
        elif what < 0.86:
            self.one.press(self.random.choice(["z", "x", "n", "y", "T"]))
        elif what < 0.96:
            self.one.press("b")
            x, y = self.one.place(row, column)
            self.one.page.mouse.move(x, y)
            self.one.page.mouse.down()
            self.one.page.mouse.move(x + 30, y + 10, steps=3)
            self.one.page.mouse.up()
            self.one.press("c")
        else:
            self.finish(key)

    def click(self, row: int, column: int) -> None:
        self.one.click(row, column, positive=self.random.random() < 0.8, wait=False)
        self.clicks += 1

    def hurry(self) -> None:
        """Clicks faster than they can be answered."""
        for _ in range(3):
            self.click(self.random.randrange(256), self.random.randrange(256))

    def finish(self, key: str) -> None:
        """Save; an image with nothing on it is skipped. Where none is left to do, reopen one."""
        self.one.settled()
        before = self.one.revision()
        self.one.press(self.random.choice(["Enter", "Enter", "g"]))
        self.one.settled()
        if (self.key(), self.one.revision()) == (key, before):
            self.one.press("s")
            self.one.settled()
        if (self.key(), self.one.revision()) == (key, before):
            self.stuck.append(f"{self.one.told()!r} at {key}, which cannot be left")
        self.images += 1
        if self.key() == key:
            self.reopen(key)

    def reopen(self, key: str) -> None:
        """Take another image from the list, as who looks through finished work; one that is held
        stays closed, and this one open.
        """
        items = self.one.page.locator(f"#images button:not([data-key='{key}'])")
        items.nth(self.random.randrange(items.count())).click()
        self.one.settled()
        self.reopened += 1

    def forget_times(self) -> None:
        self.one.page.evaluate("() => performance.clearMeasures()")

    def measured_mb(self) -> float:
        """The page's memory after a collection; its timings are taken and cleared."""
        taken = self.one.page.evaluate(
            """() => {
              gc();
              const measures = performance.getEntriesByType('measure');
              const entries = measures.map((one) => [one.name, one.duration]);
              performance.clearMeasures();
              return [performance.memory.usedJSHeapSize, entries];
            }"""
        )
        for name, duration in taken[1]:
            self.times[name].append(duration)
        return taken[0] / 1e6


def server_mb(served: Served) -> float:
    """The resident memory of the server and its model's processes."""
    server = psutil.Process(served.process_id)
    return sum(one.memory_info().rss for one in [server, *server.children(recursive=True)]) / 1e6


def growth(samples: list[float], level: Callable[[list[float]], float]) -> float:
    """How much higher the level of the last third is than that of the first."""
    third = max(1, len(samples) // 3)
    return level(samples[-third:]) - level(samples[:third]) if samples else 0.0


def soak(
    folder: Path, *, minutes: float, kills: int, seed: int = 0, say: Callable[[str], None] = print
) -> Seen:
    """Two annotators for some minutes with some kills of the server; looks at disk and memory."""
    seen, chance = Seen(), random.Random(seed)
    write_images(folder / "images", count=round(4 + IMAGES_A_MINUTE * max(1.0, minutes)))
    served = Served(folder, free_port())
    served.start()
    length = 60 * minutes
    moments = sorted(chance.uniform(0.02, KILLING) * length for _ in range(kills))
    with sync_playwright() as playwright:
        browser = launch(playwright)
        hands = [Hand(browser, served, name, seed=seed) for name in NAMES]
        try:
            for hand in hands:
                hand.one.visit()
            _work(hands, served, seen, moments=moments, length=length, say=say)
            for hand in hands:
                hand.one.settled()
                seen.faults += [fault for fault in hand.one.faults if "Failed to load" not in fault]
                seen.faults += hand.stuck
        finally:
            browser.close()
            served.kill()
    _conclude(hands, served, seen)
    return seen


def _work(
    hands: list[Hand],
    served: Served,
    seen: Seen,
    *,
    moments: list[float],
    length: float,
    say: Callable[[str], None],
) -> None:
    began = sampled = time.monotonic()
    while (now := time.monotonic()) - began < length or moments:
        for hand in hands:
            hand.step()
        if moments and now - began > moments[0]:
            moments.pop(0)
            for hand in hands:
                hand.hurry()
            served.kill()
            hands[0].hurry()
            served.start()
            seen.kills += 1
            for hand in hands:
                hand.one.settled()
        if now - began > KILLING * length and now - sampled > length / SAMPLES:
            sampled = now
            if not seen.page_mb:  # clicks have waited for the server to come back until now
                for hand in hands:
                    hand.forget_times()
            seen.page_mb.append([round(hand.measured_mb(), 2) for hand in hands])
            seen.server_mb.append(round(server_mb(served), 1))
            say(f"{now - began:.0f} s: pages {seen.page_mb[-1]} MB, server {seen.server_mb[-1]} MB")
    seen.minutes = round((time.monotonic() - began) / 60, 2)


def _conclude(hands: list[Hand], served: Served, seen: Seen) -> None:
    seen.clicks = sum(hand.clicks for hand in hands)
    seen.images = sum(hand.images for hand in hands)
    seen.reopened = sum(hand.reopened for hand in hands)
    for hand in hands:
        seen.acknowledged += len(hand.answered)
        seen.lost += missing(served.labels, hand.answered)
    # A heap holds garbage until a collection; what leaks raises its lowest level.
    pages = [growth([sample[index] for sample in seen.page_mb], min) for index in range(len(hands))]
    seen.page_growth_mb = round(max(pages, default=0.0), 2)
    seen.server_growth_mb = round(growth(seen.server_mb, statistics.median), 1)
    for name, short in (("click to mask", "click"), ("next image", "next")):
        times = sorted(time for hand in hands for time in hand.times[name])
        if times:
            setattr(seen, f"{short}_p50_ms", round(times[len(times) // 2], 1))
            setattr(seen, f"{short}_p95_ms", round(times[int(0.95 * (len(times) - 1))], 1))


def missing(labels: Path, answered: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """The answered actions that the journals do not have, in the order in which they were made."""
    lost = []
    for key in sorted({key for key, _ in answered}):
        lines = (labels / ".journal" / f"{key}.jsonl").read_text().splitlines()
        written = iter([json.loads(line).get("action") for line in lines])
        for action in [action for at, action in answered if at == key]:
            expected = {name: value for name, value in action.items() if value is not None}
            if not any(_same(expected, entry) for entry in written):
                lost.append(f"{key}: {json.dumps(expected)[:100]}")
                break
    return lost


def _same(action: dict[str, Any], entry: dict[str, Any] | None) -> bool:
    return entry is not None and all(entry.get(name) == value for name, value in action.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seen = soak(Path(folder), minutes=asked.minutes, kills=asked.kills, seed=asked.seed)
    print(json.dumps(asdict(seen)))
    sys.exit(0 if seen.is_well else 1)


if __name__ == "__main__":
    main()
