"""The page in a headless Chromium: opening it, and what is noted inside it of paint and updates.

Belongs here: the browser and the scripts that run in its pages. Stays out: servers (``stack``), what is sent and
judged (``cases.page``).
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.samples import Sight
from streamlake_assets.errors import MissingToolError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

_ARGUMENTS = (
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
SIZE: Any = {"width": 1280, "height": 900}
PATIENCE_MS = 90_000
_PAINT = """
(() => {
  const noted = window.__noted = {};
  const drawn = (root) => {
    for (const one of root.querySelectorAll("canvas")) { if (one.width > 0 && one.height > 0) { return true; } }
    for (const one of root.querySelectorAll("*")) { if (one.shadowRoot && drawn(one.shadowRoot)) { return true; } }
    return false;
  };
  const look = () => {
    const page = window.Bokeh && Bokeh.documents && Bokeh.documents[0];
    const bars = page && page.get_model_by_name("bars");
    if (bars && bars.data.n && bars.data.n.length > 0 && drawn(document)) {
      // candles are drawn in the frame after their data came, which has ended when the next one begins
      requestAnimationFrame(() => requestAnimationFrame(() => { noted.chart_ms = performance.now(); }));
    } else {
      requestAnimationFrame(look);
    }
  };
  requestAnimationFrame(look);
})();
"""
"""Run before anything of the page: notes when its canvas and its candles are there."""
_FIRST = """() => {
  const found = performance.getEntriesByType("paint").find(one => one.name === "first-contentful-paint");
  return found ? found.startTime : null;
}"""
_NOTE_UPDATES = """(first) => {
  const bars = Bokeh.documents[0].get_model_by_name("bars");
  const got = [], shown = [];
  window.__updates = { got, shown };
  let last = -1;
  const look = () => {
    const volume = bars.data.volume, number = volume[volume.length - 1] - first;
    if (number < 0 || number === last) { return; }
    last = number;
    got.push([number, Date.now()]);
    // Bokeh has asked for the next frame already and draws in it; the message comes when that frame is done
    requestAnimationFrame(() => {
      const channel = new MessageChannel();
      channel.port1.onmessage = () => shown.push([number, Date.now()]);
      channel.port2.postMessage(null);
    });
  };
  for (const signal of [bars.streaming, bars.patching, bars.properties.data.change]) { signal.connect(look); }
}"""
_NEWEST = """() => {
  const bars = Bokeh.documents[0].get_model_by_name("bars"), last = bars.data.n.length - 1;
  const values = {};
  for (const name of ["open", "high", "low", "close", "volume", "note"]) { values[name] = bars.data[name][last]; }
  return { candles: last + 1, ...values };
}"""


class Viewer:
    """One open page, and the errors on it."""

    def __init__(self, page: "Page", url: str) -> None:
        self._page = page
        self.errors: list[str] = []
        page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.add_init_script(_PAINT)
        page.goto(url)
        page.wait_for_function("window.__noted.chart_ms !== undefined", timeout=PATIENCE_MS)

    def paint_ms(self) -> dict[str, float]:
        """Return milliseconds from the navigation to the first content, and to canvas and candles."""
        # the browser tells of a paint when it was presented, which may be after the chart's own last frame
        first = self._page.wait_for_function(_FIRST, timeout=PATIENCE_MS).json_value()
        chart = self._page.evaluate("window.__noted.chart_ms")
        return {"first_ms": round(float(first), 1), "chart_ms": round(float(chart), 1)}

    def note_updates(self, first: int) -> None:
        """Begin to note updates: volumes of the newest bar from ``first`` on."""
        self._page.evaluate(_NOTE_UPDATES, first)

    def updates(self) -> dict[str, list[Sight]]:
        """Return what was noted, by the clock in ms: ``got`` when data came in, ``shown`` when its frame was done."""
        found = self._page.evaluate("window.__updates")
        return {name: [(int(number), float(at)) for number, at in found[name]] for name in ("got", "shown")}

    def newest(self) -> dict[str, Any]:
        """Return the newest bar that the chart holds, with the number of candles."""
        found: dict[str, Any] = self._page.evaluate(_NEWEST)
        return found

    def close(self) -> None:
        """Close the page."""
        self._page.close()


@contextmanager
def chromium() -> Iterator["Browser"]:
    """Run the system's browser without a window.

    Raises:
        MissingToolError: Chromium or Playwright is not here.
    """
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise MissingToolError("the page is timed in Chromium, which is not on PATH")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise MissingToolError("the page is driven by playwright, of the extra `dev`") from error
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


def new_context(browser: "Browser") -> "BrowserContext":
    """Return what a viewer who was never here has: no cache."""
    return browser.new_context(viewport=SIZE)
