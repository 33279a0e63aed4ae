"""What browser tests share: the page's server process, Chromium, and an open page with all that went wrong on it.

Belongs here: starting, looking, waiting. Stays out: data and what is expected of the page.
"""

import os
import re
import subprocess
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError

from playwright.sync_api import Browser, Dialog, Page
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from panel_app.serving import ENVIRONMENT, LIVENESS, PATH, serve_argv
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.settings import LOOPBACK, Settings
from streamlake_assets_tests.conftest import free_port

WAIT_MS = 20_000
CANDLES = """() => {
  const document = window.Bokeh && Bokeh.documents[0], bars = document && document.get_model_by_name("bars");
  return bars ? bars.data.n.length : -1;
}"""


class Served(NamedTuple):
    """The page's server process."""

    address: str
    pid: int


@contextmanager
def serve_page(settings: Settings, log: Path) -> Iterator[str]:
    """Run the page's server process; yields its address."""
    with served_page(settings, log) as served:
        yield served.address


@contextmanager
def served_page(settings: Settings, log: Path, more: Sequence[str] = ()) -> Iterator[Served]:
    """Run the page's server process, with more arguments of ``panel serve``."""
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("STREAMLAKE_")},
        **ENVIRONMENT,
        **settings.as_environment(),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*serve_argv(port), *more],
            cwd=Path(__file__).parents[2],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        here = f"http://{LOOPBACK}:{port}"
        assert wait_until(lambda: answers(here + LIVENESS) or process.poll() is not None, 30), log.read_text()
        assert process.poll() is None, log.read_text()
        yield Served(here, process.pid)
    finally:
        process.terminate()
        process.wait(10)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as response:  # noqa: S310  # our own http address
            return bool(response.read() == b"ok")
    except (URLError, OSError):
        return False


def answers_at_all(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=20):  # noqa: S310  # our own http address
            return True
    except (URLError, OSError):
        return False


class Viewer:
    """One open page, and what went wrong on it."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self.errors: list[str] = []
        self.strangers: list[str] = []
        self.sockets: list[str] = []
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._note(request.url))
        page.on("websocket", lambda socket: self.sockets.append(socket.url))
        page.on("dialog", self._refuse)

    def _refuse(self, dialog: Dialog) -> None:
        self.errors.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _note(self, url: str) -> None:
        if not url.startswith((self.address, "data:", "blob:")):
            self.strangers.append(url)

    def open(self, query: str = "") -> "Viewer":
        """Open the live view and wait for its candles."""
        self.page.goto(f"{self.address}{PATH}{query}")
        self.page.wait_for_function(f"({CANDLES})() > 0", timeout=WAIT_MS)
        return self

    def open_view(self, query: str, selector: str, pattern: str) -> "Viewer":
        """Open a view and wait for a part of it."""
        self.page.goto(f"{self.address}{PATH}{query}")
        self.sees(selector, pattern)
        return self

    def candles(self) -> int:
        return int(self.page.evaluate(CANDLES))

    def sees(self, selector: str, pattern: str, timeout_ms: int = WAIT_MS) -> None:
        self.page.locator(selector, has_text=re.compile(pattern)).first.wait_for(timeout=timeout_ms, state="attached")

    def sees_not(self, selector: str, pattern: str, timeout_ms: int = WAIT_MS) -> None:
        self.page.locator(selector, has_text=re.compile(pattern)).first.wait_for(timeout=timeout_ms, state="detached")

    def waits_for(self, condition: str, timeout_ms: int = WAIT_MS) -> None:
        try:
            self.page.wait_for_function(condition, timeout=timeout_ms)
        except PlaywrightTimeout as error:
            texts = [self.page.locator(part).all_inner_texts() for part in (".heading", ".badge", ".candles")]
            raise AssertionError(
                f"{condition}\nnever held; {self.candles()} candles at {self.page.url}, page says {texts}"
            ) from error

    def width(self) -> int:
        return int(self.page.evaluate("document.documentElement.scrollWidth"))


Opener = Callable[..., Viewer]


@contextmanager
def viewers(browser: Browser, address: str) -> Iterator[Opener]:
    """Yield what opens pages; at the end none of them may have had an error or asked another host."""
    opened: list[Viewer] = []

    def open_page(query: str = "", width: int = 1280, height: int = 900, see: tuple[str, str] | None = None) -> Viewer:
        page = browser.new_page(viewport={"width": width, "height": height})
        opened.append(Viewer(page, address))
        return opened[-1].open(query) if see is None else opened[-1].open_view(query, *see)

    yield open_page
    for one in opened:
        one.page.close()
        # both are told: what an error is about is often seen by the host that was asked
        assert not one.errors and not one.strangers, (one.errors, one.strangers)
        assert len(one.sockets) == 1
