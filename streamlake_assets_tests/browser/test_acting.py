"""Acting on the page in Chromium: log in, replay a rejected bar, acknowledge an alert; nothing without a login.

The tables are real, and so is the process that carries out what is asked for. Neither broker nor document store runs:
the page must do without.
"""

import datetime as dt
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser
from pydantic import SecretStr

from panel_app.login import LOG_IN_FIRST, LOGIN
from panel_app.serving import PATH
from streamlake_assets.market.alerts import Kind, Observation, State
from streamlake_assets.market.messages import DeadLetter, Slice
from streamlake_assets.servers.probes import http_ready
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.settings import LOOPBACK, Settings
from streamlake_assets.stores import alert_states, schema
from streamlake_assets.stores.bar_store import BarStore
from streamlake_assets_tests.bars import BARS_STREAM, NOW, SESSION, bar, wire
from streamlake_assets_tests.browser.viewing import Viewer
from streamlake_assets_tests.conftest import free_port, print_line
from streamlake_assets_tests.tables import Database

pytestmark = [pytest.mark.servers, pytest.mark.browser]
PASSWORD = "Open, sesame"
QUALITY = "?view=quality"
PRESS = """pressed => {
  for (const one of Bokeh.documents[0]._all_models.values()) {
    if (one.data && one.data.html && one.data.html.includes("payload")) { one.data.picked = pressed; return true; }
  }
  return false;
}"""
"""What a browser can send without a button."""


@pytest.fixture(scope="module")
def settings(fresh_database: Settings) -> Settings:
    """A page with a login; its broker and document store are away."""
    away = {"kafka_bootstrap": f"{LOOPBACK}:{free_port()}", "mongo_port": free_port(), "alerts_port": free_port()}
    return fresh_database.model_copy(update={**away, "panel_password": SecretStr(PASSWORD)})


@pytest.fixture(scope="module")
def database(settings: Settings) -> Iterator[Database]:
    """Two bars that were refused once and keep the contract today, and a check that fails."""
    found = Database(settings)
    letters = [
        DeadLetter(number, NOW, "bad_field", "<b>as it was</b>", b"AAPL", wire(bar(SESSION + number * dt.timedelta(1))))
        for number in range(2)
    ]
    BarStore(found.writer, "test").ingest([Slice(BARS_STREAM, 0, 0, 2, [], letters)])
    now = dt.datetime.now(dt.UTC)
    alert_states.record(found.writer, [Observation(Kind.CHECK, "raw/bars:ok", State.ERROR, 1, "<b>wrong</b>", now)])
    yield found
    found.close()


@pytest.fixture(scope="module")
def process(settings: Settings, database: Database) -> Iterator[None]:
    """The process of alerts."""
    argv = [sys.executable, "-m", "streamlake_assets.sidecar.alert_delivery"]
    log = settings.data_dir / "alerts.log"
    with log.open("wb") as output:
        environment = {**os.environ, **settings.as_environment()}
        started = subprocess.Popen(argv, env=environment, stdout=output, stderr=subprocess.STDOUT)
    ready = f"http://{LOOPBACK}:{settings.alerts_port}/readyz"
    try:
        assert wait_until(lambda: http_ready(ready) or started.poll() is not None, 30), log.read_text()
        assert started.poll() is None, log.read_text()
        yield
    finally:
        started.terminate()
        started.wait(20)


def test_a_wrong_password_gives_no_cookie(address: str) -> None:
    for name, password in (("anna", PASSWORD.lower()), ("guest", PASSWORD), ("anna", "")):
        form = urlencode({"username": name, "password": password}).encode()
        with pytest.raises(HTTPError) as refused:
            urllib.request.urlopen(f"{address}{LOGIN}", form, timeout=10)  # noqa: S310  # our own http address
        with refused.value as answer:
            assert answer.code == 403 and "user=" not in str(answer.headers.get_all("Set-Cookie"))


@pytest.fixture
def guest(browser: Browser, address: str, database: Database) -> Iterator[Viewer]:
    """A page on the view of quality, whose viewer is not logged in."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = Viewer(context.new_page(), address).open_view(QUALITY, ".login", "Log in")
    yield opened
    context.close()
    assert opened.errors == [] and opened.strangers == []


def test_a_bar_is_replayed_and_an_alert_acknowledged_by_who_logged_in_and_by_nobody_else(
    guest: Viewer, database: Database, process: None
) -> None:
    # whoever is not logged in has buttons that cannot be pressed, and a press that comes all the same is refused
    button = guest.page.get_by_role("button", name="Replay", exact=True).first
    button.wait_for()
    assert button.is_disabled() and button.get_attribute("title") == LOG_IN_FIRST
    replayed, kept = (row.id for row in database.rows(schema.dead_letters))
    assert guest.page.evaluate(PRESS, f"dead_letter_replay:{replayed}")
    guest.sees("td", LOG_IN_FIRST)
    assert database.count(schema.commands) == 0

    guest.page.locator(".login").click()
    guest.page.get_by_label("Your name").fill("anna <i>")
    guest.page.get_by_label("Password").fill(PASSWORD)
    guest.page.get_by_role("button", name="Log in").click()
    guest.page.wait_for_url(f"**{PATH}{QUALITY}*")
    guest.sees("p", "You act as anna <i>.")

    begun = time.monotonic()
    guest.page.get_by_role("button", name="Replay", exact=True).last.click()
    guest.sees("td", "replayed, its row is new")
    print_line(f"a replay was done and shown after {time.monotonic() - begun:.2f} s")
    assert database.count(schema.bars) == 1
    assert [row.resolved_by for row in database.rows(schema.dead_letters)] == ["page:anna <i>", None]
    guest.page.get_by_role("button", name="Acknowledge").click()
    guest.sees("td", "seen by page:anna <i>")
    assert [row.acked_by for row in database.rows(schema.alert_acks)] == ["page:anna <i>"]

    # a page that is open when its viewer logs out acts no more
    other = Viewer(guest.page.context.new_page(), guest.address).open_view(QUALITY, "p", "You act as anna")
    guest.page.locator(".logout").click()
    guest.page.get_by_role("heading", name="Logged out").wait_for()
    other.page.get_by_role("button", name="Replay", exact=True).first.wait_for()
    other.page.evaluate(PRESS, f"dead_letter_replay:{kept}")
    other.sees("td", LOG_IN_FIRST)
    assert other.errors == []
    assert database.count(schema.commands) == 2
