from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.browser.browsing import CHROMIUM, Annotator, launch
from tools.browser.serving import Served, free_port
from tools.browser.toy import write_images


# Before `-m` is looked at.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skip = pytest.mark.skip(reason=f"no {CHROMIUM}: apt-get install chromium, or set CHROMIUM")
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if not CHROMIUM.exists():
                item.add_marker(skip)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """No longer than a file: while it is open an event loop runs in this thread, in which other
    files' tests could neither run their own nor fork a command.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = launch(playwright)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of many images; every test takes its own of them."""
    folder = tmp_path_factory.mktemp("annotate")
    write_images(folder / "images", count=24, large=True, corrupt=True)
    server = Served(folder, free_port(), masks=folder / "masks")
    (folder / "masks").mkdir()
    server.start()
    yield server
    server.kill()


@pytest.fixture
def annotator(browser: Any, served: Served) -> Iterator[Callable[..., Annotator]]:
    """Opens the page for somebody; at the end no console may have complained, but of the
    connection where `lost=True`.
    """
    opened: list[tuple[Annotator, bool]] = []

    def open_page(
        name: str, key: str | None = None, *, lost: bool = False, **context: Any
    ) -> Annotator:
        one = Annotator(browser, served.address, name, **context)
        opened.append((one, lost))
        one.visit(key)
        return one

    yield open_page
    for one, _ in opened:
        one.close()
    for one, lost in opened:
        faults = [
            fault for fault in one.faults if not (lost and "Failed to load resource" in fault)
        ]
        assert faults == [], one.faults
