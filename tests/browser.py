"""A browser without a window, whose pages note what goes wrong in them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Page, Request, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")
# Draws by software, asks nobody on the network.
_WORDS = (
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist",
)  # fmt: skip
AXE = Path(__file__).parents[1] / "clients/viewer/node_modules/axe-core/axe.min.js"
VIEWER = Path(__file__).parents[1] / "service/microtome_service/static/viewer/build.json"


def missing() -> str:
    """Say what a test in the browser lacks here, or nothing."""
    if program() is None:
        return "chromium: not installed, see .ci/packages"
    return ""


def program() -> str | None:
    """Return the browser's path."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


# Without slots: Playwright keeps what it calls in attributes of its own.
@dataclass
class Trouble:
    """What went wrong in a page, and which other hosts it asked.

    Requests that the browser itself took back are no fault: so end those that are under way when a
    page is left, and chunks that a viewer no longer waits for before others.
    """

    said: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def watch(self, page: Page) -> None:
        """Note errors of a page and all that it asks for."""
        page.on("console", lambda m: self._note(m.type in {"error", "warning"}, m.text))
        page.on("pageerror", lambda error: self._note(True, str(error)))
        page.on("requestfailed", self._failed)
        page.on("response", lambda r: self._note(r.status >= 400, f"{r.status} {r.url}"))
        page.on("request", lambda r: self.hosts.add(urlsplit(r.url).netloc))

    def _failed(self, request: Request) -> None:
        taken_back = request.failure == "net::ERR_ABORTED"
        self._note(not taken_back, f"{request.failure} {request.url}")

    def _note(self, wrong: bool, text: str) -> None:
        # Chromium's own advice about drawing by software.
        if wrong and "GPU stall" not in text and "swiftshader" not in text.lower():
            self.said.append(text)


@contextmanager
def pages(width: int = 1200, height: int = 800) -> Iterator[tuple[Page, Trouble]]:
    """Yield a new page, and what goes wrong in it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program(), args=list(_WORDS))
        page = browser.new_page(viewport={"width": width, "height": height})
        trouble = Trouble()
        trouble.watch(page)
        try:
            yield page, trouble
        finally:
            browser.close()
