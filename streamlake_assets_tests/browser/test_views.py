"""The views beside the live one in Chromium, on real servers: what each shows, and what leaves it as it is."""

import datetime as dt
import io
import re
import zipfile
from urllib.parse import quote

import pytest
from PIL import Image

from benchmarks.sockets import Pages
from panel_app.quality_view import SECTIONS
from panel_app.selection import ViewName
from panel_app.shell import TITLES
from streamlake_assets.broker.publisher import Publisher
from streamlake_assets.flows.documents import refresh_documents
from streamlake_assets.market.contract import BARS_TOPIC
from streamlake_assets.market.forecasts import score
from streamlake_assets.servers.document_store import LocalDocumentStore
from streamlake_assets.servers.kafka import LocalKafka
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.settings import DatabaseRole, Settings
from streamlake_assets.stores import ledger
from streamlake_assets.stores.documents import DocumentStore
from streamlake_assets.stores.mysql import make_engine
from streamlake_assets.stores.operations import beat
from streamlake_assets_tests.browser.viewing import WAIT_MS, Opener, Viewer
from streamlake_assets_tests.panel.page_data import (
    daily,
    day,
    migrate,
    publish,
    put_forecasts,
    store_topic,
)
from streamlake_assets_tests.panel.test_page_parts import PAYLOADS

pytestmark = [pytest.mark.servers, pytest.mark.browser]
DAYS = 90
LETTER = ">payload<"
"""On the button beside a dead letter."""
VIEWS = {
    ViewName.LIVE: (".card", "skill on risk"),
    ViewName.FORECASTS: (".card", "Live skill"),
    ViewName.MODELS: ("section", "Claims audit"),
    ViewName.QUALITY: ("section", "Count ledger"),
    ViewName.INDICATORS: ("section", "Cache proof"),
}

TOO_LOW = """() => {
  const found = [];
  const look = (root) => {
    for (const one of root.querySelectorAll("*")) {
      if (one.shadowRoot && one.clientHeight > 1 && one.scrollHeight > one.clientHeight + 1
          && getComputedStyle(one).overflowY === "visible") { found.push(`${one.className}: ${one.scrollHeight}`); }
      if (one.shadowRoot) { look(one.shadowRoot); }
    }
  };
  look(document);
  return found;
}"""
"""Parts that are lower than what is in them."""
IN_SIGHT = """(title) => {
  const found = (root) => [...root.querySelectorAll("*")].flatMap(one => [
    ...(one.matches("section > h2") && one.textContent === title ? [one] : []),
    ...(one.shadowRoot ? found(one.shadowRoot) : []),
  ]);
  return found(document).some(one => {
    const place = one.getBoundingClientRect();
    return place.height > 0 && place.top > -1 && place.bottom < window.innerHeight;
  });
}"""


@pytest.fixture(scope="module")
def settings(
    broker: LocalKafka, broker_settings: Settings, document_server: LocalDocumentStore, fresh_database: Settings
) -> Settings:
    """90 daily bars of two stocks in all stores, a forecast that came true and one that waits, a dead letter."""
    here = fresh_database.model_copy(update={"kafka_bootstrap": broker_settings.kafka})
    migrate(here)
    history = [daily(symbol, number) for number in range(DAYS) for symbol in ("VIEW", "VOTHER")]
    publish(here, history[:-4])
    store_topic(here)
    put_forecasts(here, "VIEW", known=DAYS - 3)
    publish(here, history[-4:])
    with Publisher(here.kafka) as publisher:
        publisher.send(BARS_TOPIC, "VIEW", b'{"v": 1, "symbol": "<img src=x onerror=alert(1)>"}')
    store_topic(here)
    put_forecasts(here, "VIEW", known=DAYS - 1)
    engine = make_engine(here, DatabaseRole.WRITER)
    documents = DocumentStore(here)
    documents.clear()
    refresh_documents(engine, documents, dt.datetime.now(dt.UTC))
    documents.close()
    ledger.put_scores(engine, [(one.id, score(one.forecast, 0.015)) for one in ledger.due(engine)])
    beat(engine, "consumer", {"pid": 1, "lag": 0})
    engine.dispose()
    return here


def test_what_becomes_known_while_a_page_is_drawn_is_not_lost(pages: Pages) -> None:
    """The first test: nobody has asked before, so the answer is not there when the page is made."""
    early = pages.open("?view=quality", drawn=False)
    # by now the server has the answers that the first page asked for
    assert wait_until(lambda: LETTER in pages.open("?view=quality", drawn=False).document, WAIT_MS / 1000)
    assert LETTER not in early.document
    early.say_drawn()
    assert early.hears(LETTER)


def test_every_view_is_one_click_away_and_the_address_follows(viewer: Opener) -> None:
    page = viewer("?symbol=VIEW")
    for name in [*list(ViewName)[1:], ViewName.LIVE]:
        page.page.get_by_role("tab", name=TITLES[name]).click()
        page.sees(*VIEWS[name])
        page.waits_for(f"location.search.includes('view={name.value}') && location.search.includes('symbol=VIEW')")
        # market time and the age of what is shown stand on every view
        page.sees(".badge", rf"market {day(DAYS - 1)}")
        page.sees(".badge", "all servers answer")
        if name is not ViewName.LIVE:
            page.sees(".age", "as of .* ago")
    page.page.go_back()
    page.sees(*VIEWS[ViewName.INDICATORS])


def test_the_keyboard_reaches_every_view(viewer: Opener) -> None:
    page = viewer("?symbol=VIEW")
    page.page.get_by_role("tab", name="Live").focus()
    page.page.keyboard.press("ArrowRight")
    page.page.keyboard.press("Enter")
    page.sees(*VIEWS[ViewName.FORECASTS])


def test_every_view_fits_a_phone_light_and_dark(viewer: Opener) -> None:
    page = viewer("?view=models&symbol=VIEW", width=390, height=844, see=VIEWS[ViewName.MODELS])
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.page.evaluate(colour)
    for turn in range(2):
        for name in ViewName:
            page.page.get_by_role("tab", name=TITLES[name]).click()
            page.sees(*VIEWS[name])
            assert page.width() <= 390, name
        if turn == 0:
            page.page.get_by_label("Toggle theme").click()
            page.waits_for(f"{colour} !== {light!r}")


def test_what_was_said_stands_beside_what_happened_and_why(viewer: Opener) -> None:
    page = viewer("?view=forecasts&symbol=VIEW", see=("td", "inside"))
    page.sees("p", "Not investment advice")
    page.sees(".badge", "^skill on risk")
    page.sees("section", "Champions and promotions")
    page.page.get_by_role("button", name="why?").first.click()
    page.sees("section", "Why this number")
    page.sees("dd", "range-v1")
    page.sees("dd", r"VIEW\|XNYS\|")
    page.sees("td", BARS_TOPIC)
    page.sees("pre", '"symbol":"VIEW"')
    page.page.get_by_role("button", name="Return (direction)").click()
    page.sees(".badge", "no skill on direction")


def test_another_instrument_is_shown_by_the_forecast_view_too(viewer: Opener) -> None:
    page = viewer("?view=forecasts&symbol=VIEW", see=(".card", "Live skill, VIEW"))
    page.page.get_by_role("combobox", name="Instrument").click()
    page.page.get_by_role("menuitem", name="VOTHER").click()
    page.sees(".card", "Live skill, VOTHER")
    page.sees("p", "no forecasts of this instrument yet")


@pytest.mark.parametrize("name", list(ViewName), ids=lambda one: one.value)
def test_nothing_lies_over_what_follows_in_a_low_window(name: ViewName, viewer: Opener) -> None:
    page = viewer(f"?view={name.value}&symbol=VIEW", width=700, height=420, see=VIEWS[name])
    page.waits_for(f"({TOO_LOW})().length === 0")


def test_a_dead_letter_shows_reason_place_and_payload_and_runs_nothing(viewer: Opener) -> None:
    page = viewer("?view=quality", see=("td", "consumer"))
    page.sees(".badge", "every message is counted once")
    page.sees("section", "Latency by hop")
    page.sees("section", "Lag by partition")
    for title in SECTIONS:
        page.page.get_by_role("navigation").get_by_role("link", name=title, exact=True).click()
        page.waits_for(f"({IN_SIGHT})({title!r})")
    page.page.get_by_role("button", name="payload").first.click()
    page.sees("pre", re.escape("<img src=x onerror=alert(1)>"))
    page.sees("pre", "streamlake dead-letters replay")


def test_reports_that_were_not_made_say_how_to_make_them(viewer: Opener) -> None:
    page = viewer("?view=models", see=("section", "Which engine"))
    page.sees("p", "streamlake demo --reports")
    page.sees("td", "range-v1")


def test_indicators_change_with_period_and_group_and_can_be_taken_away(viewer: Opener, settings: Settings) -> None:
    page = viewer("?view=indicators", see=("td", "VIEW · XNYS"))
    page.page.get_by_role("button", name="month", exact=True).click()
    page.sees("h2", rf"Key indicators, {day(DAYS - 1):%Y-%m}")
    page.page.get_by_role("button", name="class", exact=True).click()
    page.sees("td", "^stock$")
    page.page.get_by_role("button", name="SQL", exact=True).click()
    page.sees(".age", "indicators from SQL as of")
    page.sees("td", "100.00%")
    taken = {name: taken_away(page, name) for name in ("CSV", "Excel", "PNG")}
    text = taken["CSV"].decode("utf-8-sig")
    assert text.startswith("subject,period,") and "\nstock," in text.replace("\r", "")
    with zipfile.ZipFile(io.BytesIO(taken["Excel"])) as workbook:
        assert "stock" in workbook.read("xl/worksheets/sheet1.xml").decode()
    with Image.open(io.BytesIO(taken["PNG"])) as picture:
        picture.verify()
        assert picture.format == "PNG" and picture.width > 800 and picture.height > 200


def taken_away(page: Viewer, button: str) -> bytes:
    with page.page.expect_download() as waiting:
        page.page.get_by_role("button", name=button).click()
    name = waiting.value.suggested_filename
    assert name == "streamlake-indicators." + {"CSV": "csv", "Excel": "xlsx", "PNG": "png"}[button]
    return waiting.value.path().read_bytes()


@pytest.mark.parametrize("payload", [PAYLOADS[1], PAYLOADS[4]])
def test_a_hostile_address_changes_nothing_and_is_said(viewer: Opener, payload: bytes) -> None:
    word = quote(payload)
    page = viewer(f"?view={word}&symbol={word}&interval={word}&range={word}")
    page.sees(".notice", "asks for something that is not here")
    page.sees(".heading", "VIEW")
    assert "Traceback" not in page.page.content()
