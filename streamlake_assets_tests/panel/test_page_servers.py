"""The page's feeds on real servers: documents, rows and the tail become one series; an outage costs only its part."""

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from panel_app.board import DOCUMENTS, MYSQL
from panel_app.data_store import DataStore
from panel_app.feeds import Feeds
from panel_app.series import SeriesKey
from streamlake_assets.market.clock import REPLAY_PROCESS, ReplayState
from streamlake_assets.market.contract import BARS_TOPIC
from streamlake_assets.market.targets import Target
from streamlake_assets.market.types import Instrument, Interval, Status
from streamlake_assets.servers.document_store import LocalDocumentStore
from streamlake_assets.servers.kafka import LocalKafka
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.settings import DatabaseRole, Settings
from streamlake_assets.stores import schema
from streamlake_assets.stores.mysql import make_engine
from streamlake_assets.stores.operations import beat
from streamlake_assets.stores.page_documents import PageDocuments
from streamlake_assets.stores.page_reader import PageReader
from streamlake_assets.stores.page_rows import Watermark
from streamlake_assets_tests.conftest import free_port
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

pytestmark = pytest.mark.servers
# a symbol of this module's own: the broker is shared
SYMBOL = "PAGE"
PAGE = Instrument(SYMBOL, "XNYS")
DAILY = SeriesKey(PAGE, Interval.D1)
IN_DOCUMENTS, IN_ROWS, IN_ALL = 40, 50, 55


@pytest.fixture(scope="module")
def filled(kafka_server: LocalKafka, document_server: LocalDocumentStore, fresh_database: Settings) -> Settings:
    """40 sessions in documents, 10 more in rows, 5 more in the stream alone."""
    migrate(fresh_database)
    publish(fresh_database, (daily(SYMBOL, number) for number in range(IN_DOCUMENTS)))
    publish(fresh_database, five_minutes(SYMBOL, 3, 12))
    store_topic(fresh_database)
    put_documents(fresh_database, [daily(SYMBOL, number) for number in range(IN_DOCUMENTS)])
    publish(fresh_database, (daily(SYMBOL, number) for number in range(IN_DOCUMENTS, IN_ROWS)))
    store_topic(fresh_database)
    put_forecasts(fresh_database, SYMBOL, known=IN_ROWS - 1)
    publish(fresh_database, (daily(SYMBOL, number) for number in range(IN_ROWS, IN_ALL)))
    return fresh_database


@contextmanager
def fed(settings: Settings, key: SeriesKey = DAILY) -> Iterator[DataStore]:
    """A data store with running feeds that watches one series."""
    store = DataStore()
    feeds = Feeds(settings, store)
    feeds.start()
    store.watch(key)
    try:
        yield store
    finally:
        store.unwatch(key)
        feeds.close()


def holds(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    return wait_until(condition, seconds)


def closes(store: DataStore, key: SeriesKey = DAILY) -> list[float]:
    delta = store.delta(key, None)
    return [] if delta is None else [bar.close for bar in delta.bars]


def expected(count: int) -> list[float]:
    return [float(daily(SYMBOL, number).close) for number in range(count)]


def test_documents_rows_and_tail_are_one_series_without_a_seam(filled: Settings) -> None:
    with fed(filled) as store:
        assert holds(lambda: store.is_whole(DAILY) and len(closes(store)) == IN_ALL)
        assert closes(store) == expected(IN_ALL)
        assert store.status().lag == IN_ALL - IN_ROWS
        assert store.status().market.session == day(IN_ROWS - 1)
        assert store.status().down == ()


def test_a_heartbeat_of_a_replay_counts_by_its_age(filled: Settings) -> None:
    engine = make_engine(filled, DatabaseRole.WRITER)
    with fed(filled) as store:

        def becomes(state: ReplayState) -> bool:
            return holds(lambda: store.status().market.replay is state)

        assert holds(lambda: store.is_whole(DAILY) and len(closes(store)) == IN_ALL)
        assert store.status().market.replay is ReplayState.LIVE
        beat(engine, REPLAY_PROCESS, {"state": "running", "sessions_per_second": 2.0})
        assert becomes(ReplayState.RUNNING)
        assert store.status().market.sessions_per_second == 2.0
        beat(engine, REPLAY_PROCESS, {"state": "finished", "sessions_per_second": 2.0})
        assert becomes(ReplayState.FINISHED)
        # as if the replay had ended an hour ago: the newest bars came after it
        hour_ago = (dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)).replace(tzinfo=None)
        with engine.begin() as connection:
            connection.execute(sa.update(schema.heartbeats).values(beat_at=hour_ago))
        assert becomes(ReplayState.LIVE)
    engine.dispose()


def test_only_rows_past_the_documents_are_read(filled: Settings) -> None:
    reader, documents = PageReader(filled), PageDocuments(filled)
    watermark = documents.watermark()
    assert watermark is not None

    def rows(of: Watermark | None, **more: frozenset[object]) -> int:
        return len(
            reader.series(
                PAGE,
                Interval.D1,
                topic=BARS_TOPIC,
                stream=None,
                watermark=of,
                most=2000,
                **more,  # type: ignore[arg-type]
            ).bars
        )

    assert rows(watermark) == IN_ROWS - IN_DOCUMENTS
    assert rows(watermark, also=frozenset({daily(SYMBOL, 1).bar_time})) == IN_ROWS - IN_DOCUMENTS + 1
    assert rows(None) == IN_ROWS
    assert rows(Watermark(watermark.cluster_id, "another-topic", watermark.next_offsets)) == IN_ROWS
    reader.close()
    documents.close()


def test_intraday_bars_come_from_rows(filled: Settings) -> None:
    key = SeriesKey(PAGE, Interval.M5)
    with fed(filled, key) as store:
        assert holds(lambda: store.is_whole(key) and len(closes(store, key)) == 12)
        listed = next(one for one in store.listed() if one.instrument == PAGE)
        assert listed.intervals == (Interval.M5, Interval.D1)


def test_without_documents_everything_comes_from_rows_and_the_page_says_what_is_down(filled: Settings) -> None:
    with fed(filled.model_copy(update={"mongo_port": free_port()})) as store:
        assert holds(lambda: store.status().down == (DOCUMENTS,) and len(closes(store)) == IN_ALL)
        assert closes(store) == expected(IN_ALL) and store.is_whole(DAILY)


def test_without_mysql_the_documents_are_shown_and_marked_incomplete(filled: Settings) -> None:
    url = f"mysql+pymysql://nobody@127.0.0.1:{free_port()}/streamlake"
    with fed(filled.model_copy(update={"mysql_reader_url": type(filled.mysql_url)(url)})) as store:
        assert holds(lambda: store.status().down == (MYSQL,) and len(closes(store)) >= IN_DOCUMENTS)
        assert closes(store) == expected(IN_DOCUMENTS)
        assert not store.is_whole(DAILY)
        assert [one.instrument for one in store.listed()] == [PAGE]


def test_both_targets_are_forecast_for_the_session_after_the_newest_settled_one(filled: Settings) -> None:
    with fed(filled) as store:
        assert holds(lambda: store.forecasts(PAGE) is not None)
        said = {one.target: one for one in store.forecasts(PAGE) or ()}
        assert said.keys() == set(Target)
        for one in said.values():
            assert one.values is not None and one.values.session == day(IN_ROWS)
        assert not said[Target.ADJUSTED_RETURN].has_skill and said[Target.LOG_RANGE].has_skill


def test_a_bar_is_there_as_soon_as_it_is_published_and_once_when_it_is_stored(filled: Settings) -> None:
    with fed(filled) as store:
        assert holds(lambda: store.is_whole(DAILY) and len(closes(store)) == IN_ALL)
        publish(filled, [daily(SYMBOL, IN_ALL, close="150", status=Status.PROVISIONAL)])
        assert holds(lambda: closes(store) == [*expected(IN_ALL), 150.0], 3.0)
        publish(filled, [daily(SYMBOL, IN_ALL)])
        assert holds(lambda: closes(store) == expected(IN_ALL + 1), 3.0)
        store_topic(filled)
        assert holds(lambda: store.status().lag == 0, 5.0)
        assert closes(store) == expected(IN_ALL + 1)
        assert store.forecasts(PAGE) is not None
        assert holds(lambda: all(one.values is None for one in store.forecasts(PAGE) or ()), 5.0)


def test_a_real_daily_bar_is_not_called_synthetic_because_its_document_was_summed_from_made_bars(
    filled: Settings,
) -> None:
    # last, because it changes the documents
    put_documents(filled, [daily(SYMBOL, number) for number in range(IN_ROWS)], interval="5m", synthetic=True)
    with fed(filled) as store:
        assert holds(lambda: len(closes(store)) >= IN_ROWS)
        delta = store.delta(DAILY, None)
        assert delta is not None and not any(bar.synthetic for bar in delta.bars)
