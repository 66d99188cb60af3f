"""The studio's server in a process of its own, and a hand on its pages."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

from tools.browser.browsing import PATIENCE_MS

START_S = 300
LEARN_S = 3600


class StudioServed:
    """`adclick studio` of a folder; `kill` is -9, after which a run goes on by itself.
    `environment` is laid over this process's own.
    """

    def __init__(
        self, folder: Path, port: int, environment: Mapping[str, str] | None = None
    ) -> None:
        self.folder, self.port = folder, port
        self.environment = dict(environment or {})
        self.address = f"http://127.0.0.1:{port}/"
        self.log = folder.with_name(f"{folder.name}.server.log")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "adclick.cli", "studio", str(self.folder), "--no-open"]
        root = Path(__file__).parents[2]
        environment = {**os.environ, "PYTHONPATH": str(root), **self.environment}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--port", str(self.port)],
                cwd=root,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + START_S
        while time.monotonic() < end and self._process.poll() is None:
            with (
                contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError),
                urllib.request.urlopen(f"{self.address}api/v1/project", timeout=5),
            ):
                return
            time.sleep(0.05)
        raise RuntimeError(f"the studio does not answer:\n{self.log.read_text()}")

    def kill(self) -> None:
        """End it as a power cut would, with the processes that answer clicks."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


class Visitor:
    """Somebody in the studio. What the pages complain of is in `faults`."""

    def __init__(self, browser: Browser, address: str, **context: Any) -> None:
        options: dict[str, Any] = {"viewport": {"width": 1366, "height": 768}, **context}
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(PATIENCE_MS)
        self.address = address
        self.faults: list[str] = []
        self.page = self.tab()

    def tab(self) -> Page:
        """One more page of the same browser."""
        page = self.context.new_page()
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        return page

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning") and "willReadFrequently" not in message.text:
            self.faults.append(f"{message.type}: {message.text}")

    def visit(self, step: str) -> None:
        """Load the page of a step, also where only what is after the `#` differs."""
        self.page.goto("about:blank")
        self.page.goto(self.address + step)
        self.ready()

    def ready(self) -> None:
        self.page.wait_for_selector("body[data-ready=yes]")

    def step(self, name: str) -> None:
        """Go to a step by its link."""
        self.page.click(f"#steps [data-step={name}]")
        self.page.wait_for_selector(f"#steps [data-step={name}][aria-current=page]")
        self.ready()

    def choose_folder(self, kind: str, folder: Path) -> None:
        """Choose a folder in the dialog, by its path."""
        self.page.click(f".drop[data-kind={kind}] .choose")
        self.open_folder(folder)
        self.page.click("#folders button[value=take]")
        self.chosen(kind, folder)

    def open_folder(self, folder: Path) -> None:
        """Type a folder's path in the dialog, and wait until what is in it is listed."""
        self.page.click("#path", click_count=3)
        self.page.keyboard.type(str(folder))
        with self.page.expect_response(lambda answer: "/api/v1/folders?" in answer.url):
            self.page.keyboard.press("Enter")

    def chosen(self, kind: str, folder: Path) -> None:
        """Wait until the page has taken a folder."""
        self.page.wait_for_function(
            "([kind, wanted]) => document.querySelector(`.drop[data-kind=${kind}] .chosen`)"
            ".textContent === wanted",
            arg=[kind, str(folder)],
        )

    def make_project(self) -> None:
        """Wait for what was found, and make the project."""
        self.page.wait_for_selector("#found:not([hidden])")
        self.page.click("#make")
        self.page.wait_for_selector("#onward:not([hidden])")

    def learn(self) -> None:
        """Begin to learn."""
        self.page.click("#start")
        self.page.wait_for_selector("#run[data-state=running]")

    def learnt(self, state: str = "done") -> None:
        """Wait until a run has ended."""
        self.page.wait_for_selector(f"#run[data-state={state}]", timeout=1000 * LEARN_S)

    def close(self) -> None:
        self.context.close()
