"""The page under what happens to pages: texts that mean harm, servers that fall silent or are gone.

Fault rows 18 and 36.
"""

import datetime as dt
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from urllib.parse import urlencode

import psutil
import pymongo
import pytest
import sqlalchemy as sa

from panel_app.board import DOCUMENTS, KAFKA, MYSQL
from panel_app.selection import ViewName
from panel_app.serving import PATH
from panel_app.shell import TITLES
from streamlake_assets.drill.injections import INJECTIONS
from streamlake_assets.flows.documents import refresh_documents
from streamlake_assets.servers.document_store import LocalDocumentStore
from streamlake_assets.servers.kafka import LocalKafka
from streamlake_assets.servers.mysql import LocalMysql
from streamlake_assets.settings import DATABASE, DatabaseRole, Settings
from streamlake_assets.stores import schema
from streamlake_assets.stores.documents import DocumentStore
from streamlake_assets.stores.mysql import make_engine
from streamlake_assets_tests.browser.viewing import CANDLES, Opener, Served, Viewer, served_page
from streamlake_assets_tests.conftest import print_line
from streamlake_assets_tests.panel.page_data import daily, migrate, publish, put_forecasts, store_topic

pytestmark = [pytest.mark.servers, pytest.mark.browser, pytest.mark.slow]
DAYS = 60
MARKUP = (
    "<img src=x id=planted onerror=window.planted=1>",
    '"><script id=planted>window.planted=1</script>',
    "<svg id=planted onload=window.planted=1>",
    "</script><script id=planted>window.planted=1</script>",
    '<iframe id=planted src="http://planted.invalid/">',
    "javascript:window.planted=1",
    "{{7*7}}<b id=planted>",
    '{"$ne": null}',
    '{"$where": "sleep(5000)"}',
)
Server = LocalKafka | LocalMysql | LocalDocumentStore
HARM = (*INJECTIONS, *MARKUP)
WORDS = ("view", "symbol", "exchange", "interval", "range")
PUT_EVERYWHERE = """harm => {
  let sent = 0;
  for (const one of Bokeh.documents[0]._all_models.values()) {
    for (const holder of [one, one.data]) {
      for (const name of ["value", "picked", "seen"]) {
        if (!holder || !holder.properties || !(name in holder.properties)) { continue; }
        const was = holder[name];
        // each value gets two of them, each of them goes into several values
        for (const place of [sent, sent + 1]) { holder[name] = harm[place % harm.length]; }
        holder[name] = was;
        sent += 2;
      }
    }
  }
  return sent;
}"""
"""What a browser can send, whatever the widgets offer."""
GO_BACK_TO = """search => {
  history.pushState({}, "", search);
  window.dispatchEvent(new PopStateEvent("popstate"));
}"""


@pytest.fixture(scope="module")
def settings(
    broker: LocalKafka, broker_settings: Settings, document_server: LocalDocumentStore, fresh_database: Settings
) -> Settings:
    """60 daily bars of two stocks in all stores, forecasts of one."""
    here = fresh_database.model_copy(update={"kafka_bootstrap": broker_settings.kafka})
    migrate(here)
    publish(here, [daily(symbol, number) for number in range(DAYS) for symbol in ("FAULT", "FOTHER")])
    store_topic(here)
    put_forecasts(here, "FAULT", known=DAYS - 1)
    engine, documents = make_engine(here, DatabaseRole.WRITER), DocumentStore(here)
    documents.clear()
    refresh_documents(engine, documents, dt.datetime.now(dt.UTC))
    documents.close()
    engine.dispose()
    return here


@pytest.fixture(scope="module")
def served(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    log = tmp_path_factory.mktemp("page") / "page.log"
    with served_page(settings, log) as found:
        yield found
    # Panel logs what it refuses; of the page's own code nothing failed
    assert "question_failed" not in log.read_text()


@pytest.fixture(scope="module")
def address(served: Served) -> str:
    return served.address


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310  # our own http address
        text: str = answer.read().decode()
        return text


# row 18


def stored(settings: Settings) -> dict[str, Any]:
    """Return the shape of all tables, their numbers of rows and checksums, and the numbers of documents."""
    engine = make_engine(settings, DatabaseRole.MIGRATE)
    shape = (
        "SELECT table_name, column_name, column_type FROM information_schema.columns WHERE table_schema = DATABASE()"
    )
    with engine.connect() as connection:
        found: dict[str, Any] = {"columns": sorted(tuple(row) for row in connection.execute(sa.text(shape)))}
        for table in schema.metadata.sorted_tables:
            count = connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            found[table.name] = (count, connection.exec_driver_sql(f"CHECKSUM TABLE `{table.name}`").one()[1])
    engine.dispose()
    with pymongo.MongoClient[dict[str, Any]](settings.mongo) as client:
        database = client[DATABASE]
        found["documents"] = {name: database[name].count_documents({}) for name in database.list_collection_names()}
    return found


def nothing_was_planted(page: Viewer) -> None:
    # locators look into the shadows that the page is made of
    assert page.page.locator("#planted").count() == 0
    assert page.page.evaluate("window.planted === undefined")
    assert page.page.get_by_text("Traceback").count() == 0


def test_fifty_texts_that_mean_harm_change_nothing_wherever_they_are_put(viewer: Opener, settings: Settings) -> None:
    assert len(set(HARM)) >= 50
    before = stored(settings)
    # in an address that is opened: the text is nowhere in the answer, the page is the default one
    page = viewer(f"?{urlencode(dict.fromkeys(WORDS, MARKUP[3]))}")
    page.sees(".notice", "asks for something that is not here")
    page.sees(".heading", "FAULT")
    nothing_was_planted(page)
    begun = time.monotonic()
    for first in range(0, len(HARM), len(WORDS)):
        texts = HARM[first : first + len(WORDS)]
        given = dict(zip(WORDS, texts, strict=False))
        html = fetch(f"{page.address}{PATH}?{urlencode({**given, texts[0]: ''})}")
        assert "planted" not in html and "DROP TABLE" not in html
    print_line(f"{len(HARM)} texts in addresses took {time.monotonic() - begun:.1f} s")

    # in an address that is gone back to, and in every value that a browser can send, on every view
    begun, sent = time.monotonic(), 0
    for number, name in enumerate(ViewName):
        page.page.get_by_role("tab", name=TITLES[name]).click()
        # what was sent before is answered first
        page.waits_for(f"location.search.includes('view={name.value}')", 60_000)
        was = page.page.evaluate("location.search")
        harm = list(HARM[number :: len(ViewName)])
        for text in harm:
            page.page.evaluate(GO_BACK_TO, f"?{urlencode(dict.fromkeys(WORDS, text))}")
        put = page.page.evaluate(PUT_EVERYWHERE, harm)
        assert put >= len(harm)
        sent += put
        page.page.evaluate(GO_BACK_TO, was)
        nothing_was_planted(page)
    print_line(f"{sent} values took {time.monotonic() - begun:.1f} s")
    again = viewer("?view=live&symbol=FAULT")
    assert again.candles() == DAYS
    assert stored(settings) == before


# row 36


@contextmanager
def silent(server: Server) -> Iterator[None]:
    """A server that takes connections and says nothing: harder to tell than one that is gone."""
    assert server.child is not None and server.child.pid is not None
    first = psutil.Process(server.child.pid)
    family = [first, *first.children(recursive=True)]
    try:
        for one in family:
            one.suspend()
        yield
    finally:
        for one in family:
            one.resume()


@contextmanager
def gone(server: Server) -> Iterator[None]:
    """A server that is stopped, and started again."""
    server.stop()
    try:
        yield
    finally:
        server.start()


AWAY = [(KAFKA, silent), (MYSQL, silent), (MYSQL, gone), (DOCUMENTS, silent), (DOCUMENTS, gone)]
"""That the broker is gone is the live page's own test."""


@pytest.mark.parametrize(("name", "way"), AWAY, ids=lambda one: one if isinstance(one, str) else one.__name__)
def test_a_server_that_is_away_is_named_within_five_seconds_and_costs_only_its_part(
    name: str,
    way: Callable[[Server], AbstractContextManager[None]],
    viewer: Opener,
    broker: LocalKafka,
    mysql_server: LocalMysql,
    document_server: LocalDocumentStore,
) -> None:
    server = {KAFKA: broker, MYSQL: mysql_server, DOCUMENTS: document_server}[name]
    page = viewer("?view=indicators&symbol=FAULT", see=(".badge", "same table from both"))
    page.sees_not(".badge.bad", "does not answer")
    with way(server):
        before = time.monotonic()
        page.sees(".badge.bad", f"{name} does not answer", 5_000)
        print_line(f"{name}, {way.__name__}: named after {time.monotonic() - before:.2f} s")
        # a question that nobody asked before, to a store that is there
        if name is DOCUMENTS:
            page.page.get_by_role("button", name="SQL", exact=True).click()
        page.page.get_by_role("button", name="class", exact=True).click()
        page.sees("td", "^stock$")
        page.page.get_by_role("tab", name=TITLES[ViewName.LIVE]).click()
        page.waits_for(f"({CANDLES})() >= {DAYS}")
        assert page.page.locator(".badge.bad").count() == 1
        assert page.page.get_by_text("Traceback").count() == 0
    before = time.monotonic()
    page.sees_not(".badge.bad", "does not answer")
    print_line(f"{name}, {way.__name__}: answers again after {time.monotonic() - before:.2f} s")
    page.page.get_by_role("tab", name=TITLES[ViewName.INDICATORS]).click()
    page.sees(".badge", "same table from both")
    assert page.page.get_by_text("Traceback").count() == 0
