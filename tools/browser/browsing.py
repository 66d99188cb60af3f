"""A hand on the page: one annotator's browser, driven by Playwright."""

import os
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, Playwright

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--js-flags=--expose-gc",
    "--enable-precise-memory-info",
]
PATIENCE_MS = 300_000  # a busy machine is slow, not broken


def launch(playwright: Playwright) -> Browser:
    return playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=ARGUMENTS)


class Annotator:
    """Somebody at the page. Places are image pixels (row, column)."""

    def __init__(self, browser: Browser, address: str, name: str, **context: Any) -> None:
        options: dict[str, Any] = {"viewport": {"width": 1366, "height": 768}, **context}
        self.context: BrowserContext = browser.new_context(**options)
        self.context.set_default_timeout(PATIENCE_MS)
        script = f"if (origin !== 'null') localStorage['adclick.annotator'] ??= {name!r}"
        self.context.add_init_script(script)
        self.page: Page = self.context.new_page()
        self.faults: list[str] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.address = address

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning") and "willReadFrequently" not in message.text:
            self.faults.append(f"{message.type}: {message.text}")

    def visit(self, key: str | None = None) -> None:
        """Load the page, at an image."""
        self.page.goto("about:blank")
        self.page.goto(self.address + (f"#{key}" if key else ""))
        self.ready()

    def ready(self) -> None:
        self.page.wait_for_selector("body[data-ready=yes]")
        self.settled()

    def settled(self) -> None:
        """All that was done is answered and shown."""
        self.page.wait_for_selector("#stage[aria-busy=false][data-waiting='0'][data-revision]")

    def on(self, key: str) -> None:
        """Wait until an image is open."""
        self.page.wait_for_selector(f"#stage[aria-busy=false][data-key='{key}'][data-waiting='0']")

    def revision(self) -> int:
        return int(self.page.locator("#stage").get_attribute("data-revision") or -1)

    def at_least(self, revision: int) -> None:
        """Wait until a state of the image is shown."""
        self.page.wait_for_function(
            "n => { const s = document.getElementById('stage').dataset;"
            " return Number(s.revision) >= n && s.waiting === '0'; }",
            arg=revision,
        )

    def place(self, row: float, column: float, pane: str = "picture") -> tuple[float, float]:
        """Where a pixel's centre of the image pane is on the screen."""
        spot = self.page.evaluate(
            """([row, column, pane]) => {
              const {scale, x, y} = document.getElementById('stage').dataset;
              const glass = document.querySelector(`[data-pane=${pane}] .glass`);
              const {left, top} = glass.getBoundingClientRect();
              const inside = [Number(x) + (column + 0.5) * scale, Number(y) + (row + 0.5) * scale];
              return [left + inside[0], top + inside[1]];
            }""",
            [row, column, pane],
        )
        return spot[0], spot[1]

    def click(self, row: int, column: int, *, positive: bool = True, wait: bool = True) -> None:
        before = self.revision()
        x, y = self.place(row, column)
        self.page.mouse.click(x, y, button="left" if positive else "right")
        if wait:
            self.at_least(before + 1)

    def drag(self, points: list[tuple[int, int]]) -> None:
        """A stroke through pixels."""
        before = self.revision()
        self.page.mouse.move(*self.place(*points[0]))
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.place(*point), steps=4)
        self.page.mouse.up()
        self.at_least(before + 1)

    def press(self, *keys: str, answered: bool = False) -> None:
        for key in keys:
            before = self.revision()
            self.page.keyboard.press(key)
            if answered:
                self.at_least(before + 1)

    def press_at_once(self, *keys: str) -> None:
        """Keys in so quick a row that nothing happens between them, however busy the machine is."""
        self.page.evaluate(
            """keys => {
              for (const key of keys) {
                document.body.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
              }
            }""",
            keys,
        )

    def drawn(self) -> None:
        """Wait until what the page has been asked to draw is drawn: on its next frame but one."""
        self.page.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def wheel(self, delta: float, *, times: int) -> None:
        """Turn the wheel under the pointer, and wait until the page has heard all of it."""
        self.page.evaluate(
            """() => {
              if (!('turned' in window)) {
                addEventListener('wheel', (event) => { window.turned += event.deltaY; }, true);
              }
              window.turned = 0;
            }"""
        )
        for _ in range(times):
            self.page.mouse.wheel(0, delta)
        self.page.wait_for_function("all => window.turned === all", arg=times * delta)
        self.drawn()

    def told(self) -> str:
        return self.page.locator("#told").inner_text()

    def close(self) -> None:
        """Close the page; what a request that is being answered for it meets then is no fault."""
        self.page.unroute_all(behavior="ignoreErrors")
        self.context.close()
