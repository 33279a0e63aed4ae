"""The data store joins what the feeds bring, marks what is missing, and frees what nobody looks at."""

import datetime as dt
from decimal import Decimal

from panel_app.board import MYSQL, header_badges
from panel_app.data_store import DataStore
from panel_app.series import SeriesKey, tail_bar
from panel_app.tail_buffer import TailBuffer
from streamlake_assets.errors import TryLaterError
from streamlake_assets.market.messages import Message, StreamIdentity
from streamlake_assets.market.types import Bar, Instrument, Interval, Status
from streamlake_assets.stores.page_rows import Overview, Snapshot
from streamlake_assets_tests.panel.page_data import SOURCE, daily

IBM = SeriesKey(Instrument("IBM", "XNYS"), Interval.D1)
STREAM = StreamIdentity("cluster", "topic", "finance-data")
NOW = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)
RANKS = {SOURCE: 50, "bridge": 10}


def store_at(offset: int, tail_from: int | None = None) -> DataStore:
    """A store whose tables reach up to ``offset`` of partition 0, followed from ``tail_from`` on."""
    store = DataStore(lambda: NOW)
    store.note_stream(STREAM)
    store.note_overview(Overview(stream=STREAM, ranks=RANKS, next_offsets={0: offset}), None)
    store.check(MYSQL, lambda: None)
    store.begin_tail({0: offset if tail_from is None else tail_from})
    return store


def arrive(store: DataStore, *bars: Bar, offset: int) -> None:
    store.arrived(
        (Message("finance-data", 0, offset + number, b"IBM", b"", NOW), bar) for number, bar in enumerate(bars)
    )


def rows(*bars: Bar, offset: int) -> Snapshot:
    return Snapshot(tuple(tail_bar(bar, RANKS[bar.source]) for bar in bars), {0: offset}, False)


def closes(store: DataStore) -> list[float]:
    delta = store.delta(IBM, None)
    assert delta is not None
    return [bar.close for bar in delta.bars]


def away() -> None:
    raise TryLaterError("away")


def test_bars_that_arrive_while_rows_are_read_are_not_lost() -> None:
    store = store_at(2)
    store.watch(IBM)
    assert store.begin_load(IBM) is not None
    arrive(store, daily("IBM", 2), offset=2)
    # the tables took it in meanwhile, but the rows that are on their way were read before
    store.note_overview(Overview(stream=STREAM, ranks=RANKS, next_offsets={0: 3}), None)
    assert not store.release()
    store.end_load(IBM, (), rows(daily("IBM", 0), daily("IBM", 1), offset=2))
    assert closes(store) == [100, 101, 102]
    assert store.is_whole(IBM)
    assert store.release()


def test_a_tail_that_begins_after_the_rows_leaves_the_series_incomplete_until_the_tables_caught_up() -> None:
    store = store_at(2, tail_from=5)
    store.watch(IBM)
    store.begin_load(IBM)
    store.end_load(IBM, (), rows(daily("IBM", 0), offset=2))
    assert not store.is_whole(IBM) and store.has_gap() and store.due() == []
    store.note_overview(Overview(stream=STREAM, ranks=RANKS, next_offsets={0: 5}), None)
    assert store.due() == [IBM]
    store.begin_load(IBM)
    store.end_load(IBM, (), rows(daily("IBM", 0), daily("IBM", 1), offset=5))
    assert store.is_whole(IBM) and closes(store) == [100, 101]


def test_a_new_tail_joins_every_series_again() -> None:
    store = store_at(2)
    store.watch(IBM)
    store.begin_load(IBM)
    store.end_load(IBM, (), rows(daily("IBM", 0), offset=2))
    assert store.due() == []
    store.begin_tail({0: 2})
    assert store.due() == [IBM]


def test_documents_are_shown_while_mysql_is_away_and_completed_when_it_is_back() -> None:
    store = store_at(2)
    store.watch(IBM)
    store.check(MYSQL, away)
    store.begin_load(IBM)
    document = tail_bar(daily("IBM", 0), 50)
    store.end_load(IBM, [document], None)
    assert closes(store) == [100] and not store.is_whole(IBM)
    assert store.due() == []
    store.check(MYSQL, lambda: None)
    assert store.due() == [IBM]
    store.begin_load(IBM)
    store.end_load(IBM, (), rows(daily("IBM", 0), daily("IBM", 1), offset=2))
    assert closes(store) == [100, 101] and store.is_whole(IBM)


def test_what_is_shown_stays_when_a_later_read_fails() -> None:
    store = store_at(2)
    store.watch(IBM)
    store.begin_load(IBM)
    store.end_load(IBM, (), rows(daily("IBM", 0), daily("IBM", 1), offset=2))
    store.begin_load(IBM)
    store.end_load(IBM, (), None)
    assert closes(store) == [100, 101] and not store.is_whole(IBM)


def test_the_higher_ranked_source_stays_in_force_whatever_arrives() -> None:
    store = store_at(2)
    store.watch(IBM)
    store.begin_load(IBM)
    store.end_load(IBM, (), rows(daily("IBM", 0), offset=2))
    made = daily("IBM", 0, close="150", source="bridge", synthetic=True)
    arrive(store, made, daily("IBM", 1, status=Status.PROVISIONAL), daily("IBM", 1, close="111"), offset=2)
    assert closes(store) == [100, 111]


def test_offsets_of_an_earlier_topic_never_release_bars_of_the_new_one() -> None:
    store = store_at(900)
    other = StreamIdentity("cluster", "recreated", "finance-data")
    store.note_stream(other)
    store.begin_tail({0: 0})
    arrive(store, daily("IBM", 0), offset=0)
    store.release()
    store.watch(IBM)
    store.begin_load(IBM)
    store.end_load(IBM, (), Snapshot((), {}, False))
    assert closes(store) == [100] and store.is_whole(IBM)


def test_the_last_viewer_frees_the_series() -> None:
    store = store_at(2)
    store.watch(IBM)
    store.watch(IBM)
    store.begin_load(IBM)
    store.end_load(IBM, (), rows(daily("IBM", 0), offset=2))
    store.unwatch(IBM)
    assert store.delta(IBM, None) is not None
    store.unwatch(IBM)
    assert store.delta(IBM, None) is None and store.viewers() == 0 and store.instruments() == set()


def test_lag_counts_what_the_tables_do_not_have_and_is_unknown_while_mysql_is_away() -> None:
    store = store_at(2)
    assert store.status().lag is None
    store.note_high({0: 7, 1: 3})
    assert store.status().lag == 8
    store.check(MYSQL, away)
    assert store.status().lag is None
    assert store.status().down == (MYSQL,)


def header(store: DataStore) -> list[str]:
    return [badge.text for badge in header_badges(store.status(), store.now())]


def test_after_a_finished_replay_live_data_are_called_live_and_become_stale() -> None:
    clock = [NOW]
    store = DataStore(lambda: clock[0])
    session = dt.date(2013, 1, 14)
    finished = (NOW - dt.timedelta(hours=3), {"state": "finished", "sessions_per_second": 2.0})
    stored = Overview(session=session, last_batch_at=finished[0] - dt.timedelta(seconds=1))
    store.note_overview(stored, finished)
    assert header(store) == ["market 2013-01-14, replay finished", "last arrival 3 h ago", "all servers answer"]
    arrive(store, daily("IBM", 0), offset=0)
    assert header(store) == ["market 2013-01-14, live", "last arrival 0 s ago", "all servers answer"]
    clock[0] += dt.timedelta(minutes=10)
    assert "stale: nothing for 10 min" in header(store)


def test_bars_of_a_replay_that_are_stored_late_do_not_make_it_live() -> None:
    store = DataStore(lambda: NOW + dt.timedelta(hours=2))
    arrive(store, daily("IBM", 0), offset=0)
    late = Overview(session=dt.date(2013, 1, 14), last_batch_at=NOW + dt.timedelta(hours=1))
    store.note_overview(late, (NOW, {"state": "finished"}))
    assert header(store)[0] == "market 2013-01-14, replay finished"


def test_a_killed_replay_is_shown_as_paused() -> None:
    clock = [NOW]
    store = DataStore(lambda: clock[0])
    beat = (NOW, {"state": "running", "sessions_per_second": 1.0})
    store.note_overview(Overview(session=dt.date(2013, 1, 14), last_batch_at=NOW), beat)
    assert header(store)[0] == "market 2013-01-14, replay 1 session/s"
    clock[0] += dt.timedelta(seconds=31)
    assert header(store)[0] == "market 2013-01-14, replay paused"


def test_the_tail_keeps_a_bounded_number_of_bars_and_says_from_where_on_it_is_complete() -> None:
    buffer = TailBuffer(most=10)
    buffer.begin({0: 0})
    for number in range(30):
        buffer.add(IBM, tail_bar(daily("IBM", number), 50), 0, number)
    buffer.release({})
    assert len(buffer) <= 10
    assert not buffer.complete_from({0: 10})
    assert buffer.complete_from({0: 30 - len(buffer)})


def test_the_tail_keeps_one_bar_per_key_and_the_place_of_its_last_message() -> None:
    buffer = TailBuffer()
    buffer.begin({0: 0})
    buffer.add(IBM, tail_bar(daily("IBM", 0), 50), 0, 0)
    buffer.add(IBM, tail_bar(daily("IBM", 0, status=Status.PROVISIONAL), 50), 0, 1)
    buffer.release({0: 1})
    assert [bar.status for bar in buffer.of(IBM)] == [Status.SETTLED]
    buffer.release({0: 2})
    assert list(buffer.of(IBM)) == [] and len(buffer) == 0


def test_prices_are_shown_as_sent() -> None:
    shown = tail_bar(daily("IBM", 0, close="101.25"), 50)
    assert Decimal(str(shown.close)) == Decimal("101.25")


def test_the_way_to_the_page_is_timed_for_what_came_since_the_tail_began() -> None:
    store = store_at(1)
    store.arrived([(Message("finance-data", 0, 1, b"IBM", b"", NOW - dt.timedelta(hours=1)), None)])
    assert store.to_page() == [] and store.status().rate == 0
    store.arrived([(Message("finance-data", 0, 2, b"IBM", b"", NOW), None)])
    assert store.to_page() == [0.0] and store.status().rate > 0
    assert any("rows/s" in badge.text for badge in header_badges(store.status(), NOW))


def test_the_lag_of_a_partition_is_unknown_until_the_broker_speaks() -> None:
    store = store_at(5)
    assert [(one.partition, one.stored, one.lag) for one in store.partitions()] == [(0, 5, None)]
    store.note_high({0: 9, 1: 4})
    assert [one.lag for one in store.partitions()] == [4, 4]
    assert dict(store.servers())[MYSQL] is True
