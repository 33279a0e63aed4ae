"""The live page in Chromium, on real servers: what a viewer sees, and what they see when a server goes away.

The broker is this module's own, because one test stops it.
"""

import time
import urllib.request
from typing import Any
from urllib.parse import quote

import panel
import pytest
from playwright.sync_api import Browser

from benchmarks.sockets import Pages
from panel_app.data_store import DataStore
from panel_app.pace import MOST_AHEAD
from panel_app.serving import PATH
from panel_app.shell import make_page
from streamlake_assets.market.types import AssetClass, Instrument, Interval, Status
from streamlake_assets.servers.document_store import LocalDocumentStore
from streamlake_assets.servers.kafka import LocalKafka
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.settings import LOOPBACK, Settings
from streamlake_assets.stores.page_rows import Listed
from streamlake_assets_tests.browser.viewing import (
    CANDLES,
    WAIT_MS,
    Opener,
    answers_at_all,
)
from streamlake_assets_tests.conftest import free_port, print_line
from streamlake_assets_tests.panel.page_data import (
    daily,
    day,
    five_minutes,
    migrate,
    publish,
    put_documents,
    put_forecasts,
    store_topic,
)

pytestmark = [pytest.mark.servers, pytest.mark.browser]
DAYS = 120
LAST_NOTE = """() => {
  const bars = Bokeh.documents[0].get_model_by_name("bars");
  return bars.data.note[bars.data.n.length - 1];
}"""

AVERAGE_APART = """() => {
  const page = Bokeh.documents[0], close = page.get_model_by_name("bars").data.close;
  const means = page.get_model_by_name("means").data, count = close.length;
  let apart = 0;
  for (const [name, window] of [["short", 20], ["long", 50]]) {
    if (means[name].length !== count) { return Infinity; }
    for (let end = window; end <= count; end++) {
      let sum = 0;
      for (let place = end - window; place < end; place++) { sum += close[place]; }
      apart = Math.max(apart, Math.abs(means[name][end - 1] - sum / window));
    }
  }
  return apart;
}"""
"""How far an average is at most from the mean of the closes that are drawn."""


@pytest.fixture(scope="module")
def settings(
    broker: LocalKafka, broker_settings: Settings, document_server: LocalDocumentStore, fresh_database: Settings
) -> Settings:
    """120 daily bars of two stocks, 5-minute bars of one, in all three stores; forecasts of IBM."""
    here = fresh_database.model_copy(update={"kafka_bootstrap": broker_settings.kafka})
    migrate(here)
    history = [daily(symbol, number) for number in range(DAYS) for symbol in ("IBM", "ACME")]
    publish(here, [*history, *five_minutes("IBM", DAYS - 1, 78)])
    store_topic(here)
    put_documents(here, history)
    put_forecasts(here, "IBM", known=DAYS - 1)
    return here


def test_the_page_shows_history_market_time_and_forecasts(viewer: Opener) -> None:
    page = viewer("?symbol=IBM&interval=1d")
    assert page.candles() == DAYS
    page.sees(".candles", rf"candles: {DAYS}; last: {day(DAYS - 1)}")
    page.sees(".badge", f"market {day(DAYS - 1)}, live")
    page.sees(".badge", "last arrival")
    page.sees(".badge", "lag 0")
    page.sees(".badge", "all servers answer")
    page.sees(".card", "no skill on direction")
    page.sees(".card", "skill on risk")
    page.sees(".card", "model range-v1")
    page.sees("p", "Not investment advice")
    assert page.page.title() == "streamlake"


def test_published_bars_appear_as_candles_within_five_seconds(viewer: Opener, settings: Settings) -> None:
    page = viewer("?symbol=ACME&interval=1d")
    for number in range(DAYS, DAYS + 3):
        before = time.monotonic()
        publish(settings, [daily("ACME", number, status=Status.PROVISIONAL)])
        page.waits_for(f"({CANDLES})() == {number + 1}", 5_000)
        print_line(f"a candle after {time.monotonic() - before:.2f} s")
        assert page.page.evaluate(LAST_NOTE) == "provisional"
        publish(settings, [daily("ACME", number)])
        page.waits_for(f"({LAST_NOTE})() == 'settled'", 5_000)
        page.waits_for(f"({AVERAGE_APART})() < 1e-9")
        page.sees(".candles", rf"candles: {number + 1}; last: {day(number)}")


def test_a_browser_that_is_busy_drawing_is_sent_the_newest_bar_when_it_is_ready(
    pages: Pages, settings: Settings
) -> None:
    quick, busy = (pages.open("?symbol=ACME&interval=1d") for _ in range(2))
    busy.draws = False
    bars = [daily("ACME", number, close=f"{number}.125") for number in range(DAYS + 10, DAYS + 22)]
    for bar in bars:
        publish(settings, [bar])
        assert quick.hears(f"{bar.close}")
    frames = [text for _, text in busy.heard() if any(f"{bar.close}" in text for bar in bars)]
    assert 0 < len(frames) <= MOST_AHEAD
    assert f"{bars[-1].close}" not in "".join(frames)
    busy.draw()
    assert busy.hears(f"{bars[-1].close}")


def test_words_come_before_the_scripts(address: str) -> None:
    with urllib.request.urlopen(f"{address}{PATH}", timeout=30) as answer:  # noqa: S310  # ours
        text = answer.read().decode()
    assert text.index("<b>streamlake</b><span>loading</span>") < text.index("<script")


def test_another_instrument_and_interval_can_be_chosen_and_the_address_follows(viewer: Opener) -> None:
    page = viewer("?symbol=ACME")
    page.page.get_by_role("combobox", name="Instrument").click()
    page.page.get_by_role("menuitem", name="IBM").click()
    page.sees(".heading", "IBM")
    page.page.get_by_role("button", name="5m", exact=True).click()
    page.waits_for(f"({CANDLES})() == 78")
    assert page.page.evaluate(LAST_NOTE) == "synthetic"
    page.waits_for("location.search.includes('symbol=IBM') && location.search.includes('interval=5m')")
    again = viewer(page.page.evaluate("location.search"))
    again.waits_for(f"({CANDLES})() == 78")


def test_the_page_fits_a_phone_and_has_a_dark_mode(viewer: Opener) -> None:
    page = viewer("?symbol=IBM", width=390, height=844)
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 390
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.page.evaluate(colour)
    page.page.get_by_label("Toggle theme").click()
    page.waits_for(f"{colour} !== {light!r}")
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("payload", ["<img src=x onerror=alert(1)>", "'; DROP TABLE bars; --", "ＩＢＭ\x00"])
def test_a_hostile_address_shows_the_default_page(viewer: Opener, payload: str) -> None:
    page = viewer(f"?symbol={quote(payload)}&interval={quote(payload)}&range={quote(payload)}")
    page.sees(".heading", "ACME")
    assert "Traceback" not in page.page.content()


def test_a_broker_that_stops_is_named_and_the_page_recovers(
    viewer: Opener, broker: LocalKafka, settings: Settings
) -> None:
    page = viewer("?symbol=IBM")
    broker.stop()
    before = time.monotonic()
    page.sees(".badge.bad", "Kafka does not answer", 5_000)
    print_line(f"badge after {time.monotonic() - before:.2f} s")
    # history does not need the broker
    page.page.get_by_role("button", name="5m", exact=True).click()
    page.waits_for(f"({CANDLES})() == 78")
    broker.start()
    page.sees_not(".badge.bad", "Kafka does not answer", 15_000)
    publish(settings, five_minutes("IBM", DAYS, 1))
    page.waits_for(f"({CANDLES})() == 79")


def test_a_closed_page_frees_its_series(browser: Browser) -> None:
    store = DataStore()
    store.note_listed((Listed(Instrument("IBM", "XNYS"), AssetClass.STOCK, None, (Interval.D1,)),))
    port = free_port()
    serve: Any = panel.serve
    server = serve(
        {PATH: lambda: make_page(store, {})},
        port=port,
        address=LOOPBACK,
        websocket_origin=[f"{LOOPBACK}:{port}"],
        threaded=True,
        show=False,
        check_unused_sessions_milliseconds=500,
        unused_session_lifetime_milliseconds=500,
    )
    try:
        assert wait_until(lambda: answers_at_all(f"http://{LOOPBACK}:{port}{PATH}"), 30)
        page = browser.new_page()
        page.goto(f"http://{LOOPBACK}:{port}{PATH}")
        page.locator(".heading", has_text="IBM").wait_for(timeout=WAIT_MS)
        assert wait_until(lambda: store.viewers() == 1, 30)
        page.close()
        assert wait_until(lambda: store.viewers() == 0 and store.instruments() == set(), 30)
    finally:
        server.stop()
