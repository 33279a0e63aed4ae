"""The one way into the raw tables: exactly once, any order, all or nothing, in few statements."""

import datetime as dt
import select
import threading
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from streamlake_assets.errors import IntegrityError, OffsetFencedError, TryLaterError
from streamlake_assets.market.messages import Arrival, Counts, DeadLetter, RecentDead, Slice, StreamIdentity
from streamlake_assets.market.sessions import UTC
from streamlake_assets.market.types import AssetClass, Bar, Interval
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.stores import schema
from streamlake_assets.stores.bar_store import BarStore
from streamlake_assets_tests.bars import (
    ACTIONS_STREAM,
    BARS_STREAM,
    NOW,
    SESSION,
    action,
    arrivals,
    bar,
    minutes,
    slice_of,
    valid_bars,
)
from streamlake_assets_tests.stored_bars import SECOND, days, put
from streamlake_assets_tests.tables import Database, statements

pytestmark = pytest.mark.servers


# exactly once


def test_the_same_slice_again_is_fenced_and_changes_nothing(store: BarStore, database: Database) -> None:
    facts = days(5)
    assert put(store, *facts) == Counts(new=5)
    before = database.everything()
    for repeated in (store, BarStore(database.writer, "after a restart")):
        with pytest.raises(OffsetFencedError):
            put(repeated, *facts)
    assert database.everything() == before


def test_a_partition_goes_on_only_from_its_stored_offset(store: BarStore, database: Database) -> None:
    facts = days(9)
    put(store, *facts[:3])
    for wrong in (0, 2, 4):
        with pytest.raises(OffsetFencedError):
            put(store, *facts[3:5], first=wrong)
    put(store, *facts[3:5], first=3)
    assert store.next_offsets(BARS_STREAM) == {0: 5}
    assert database.count(schema.bars) == 5


def test_a_recreated_topic_and_another_cluster_begin_at_nought(store: BarStore, database: Database) -> None:
    put(store, *days(3))
    for stream in (BARS_STREAM._replace(topic_id="recreated"), BARS_STREAM._replace(cluster_id="other")):
        assert store.next_offsets(stream) == {}
        assert put(store, *days(3), stream=stream) == Counts(same=3)
    assert database.count(schema.stream_offsets) == 3


def test_a_zombie_that_stores_the_same_slice_at_the_same_time_is_fenced(database: Database) -> None:
    facts = days(200)
    barrier = threading.Barrier(3)
    outcomes: list[Counts | Exception] = []

    def run(name: str) -> None:
        own = BarStore(database.writer, name)
        own.next_offsets(BARS_STREAM)
        barrier.wait(timeout=30)
        try:
            outcomes.append(put(own, *facts))
        except (OffsetFencedError, TryLaterError) as error:
            outcomes.append(error)

    threads = [threading.Thread(target=run, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert [one for one in outcomes if isinstance(one, Counts)] == [Counts(new=200)]
    assert len(outcomes) == 3
    assert database.count(schema.bars) == 200
    assert database.count(schema.ingest_batches) == 1


def test_a_connection_that_the_server_ended_in_a_pause_is_no_outage(
    store: BarStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamlake_assets.stores.bar_store.IDLE_S", 1)
    put(store, *days(2))

    assert store._connection is not None
    socket = store._connection.connection.dbapi_connection._sock  # type: ignore[union-attr]
    assert wait_until(lambda: bool(select.select([socket], [], [], 0)[0]), 10), "the server ends a silent connection"
    assert put(store, bar(SESSION + dt.timedelta(days=2)), first=2) == Counts(new=1)


# all or nothing


def test_one_fenced_partition_rolls_the_whole_call_back(store: BarStore, database: Database) -> None:
    put(store, *days(2, symbol="MSFT"), partition=1)
    before = database.everything()
    good = slice_of(days(3, symbol="NEW", source="unseen", exchange="XLON"), partition=0)
    stale = slice_of(days(2, symbol="MSFT"), partition=1)
    with pytest.raises(OffsetFencedError):
        store.ingest([good, stale])
    assert database.everything() == before
    assert store.ingest([good]) == Counts(new=3)


@pytest.mark.parametrize("table", ["ingest_batches", "bars", "bar_revisions", "ingest_touches", "dead_letters"])
def test_a_failure_anywhere_leaves_nothing_and_the_retry_stores_all(
    store: BarStore, database: Database, table: str
) -> None:
    put(store, *days(2))
    before = database.everything()
    stream = BARS_STREAM._replace(topic_id="unseen")
    unseen = [bar(symbol="NEW", exchange="XLON", source="unseen", sector="Made")]
    part = with_dead(slice_of([*days(3, price="20", as_of=NOW), *unseen], stream=stream), [letter(4)])

    def fail(_c: Any, _cur: Any, statement: str, _p: Any, _ctx: Any, _many: bool) -> None:
        if statement.replace("`", "").startswith(f"INSERT INTO {table} "):
            raise sa.exc.OperationalError(statement, None, Exception(1213, "made deadlock"))

    sa.event.listen(database.writer, "before_cursor_execute", fail)
    try:
        with pytest.raises(TryLaterError):
            store.ingest([part])
    finally:
        sa.event.remove(database.writer, "before_cursor_execute", fail)
    assert database.everything() == before
    assert store.ingest([part]) == Counts(new=2, changed=2, dead=1)
    assert described(database)["NEW"] == ("stock", None, "Made", None)
    assert store.next_offsets(stream) == {0: 5}


# dead letters


def letter(offset: int, key: bytes | None = b"AAPL", payload: bytes | None = b"{") -> DeadLetter:
    return DeadLetter(offset, NOW, "bad_json", "detail ünï \0 苹果 😀", key, payload)


def with_dead(part: Slice, dead: Sequence[DeadLetter]) -> Slice:
    return Slice(part.stream, part.partition, part.first_offset, part.next_offset + len(dead), part.arrivals, dead)


def test_dead_letters_are_whole_and_in_the_same_transaction(store: BarStore, database: Database) -> None:
    payloads = [None, b"", b"\x00\xff'\\\"%s", bytes(range(256)) * 4_000]
    keys = [None, b"", b"\xff\x00'", b"k" * 600]
    dead = [letter(1 + n, key, payload) for n, (key, payload) in enumerate(zip(keys, payloads, strict=True))]
    assert store.ingest([with_dead(slice_of(days(1)), dead)]) == Counts(new=1, dead=4)
    stored = database.rows(schema.dead_letters)
    assert [row.payload for row in stored] == payloads
    assert [row.message_key for row in stored] == [key and key[:512] for key in keys]
    assert {(row.reason, row.detail, row.broker_time) for row in stored} == {
        ("bad_json", "detail ünï \0 苹果 😀", NOW.replace(tzinfo=None))
    }
    assert [row.kafka_offset for row in stored] == [1, 2, 3, 4]
    assert {row.batch_id for row in stored} == {database.rows(schema.ingest_batches)[0].id}


def test_what_the_database_refuses_for_good_is_no_outage(store: BarStore, database: Database) -> None:
    with pytest.raises(IntegrityError, match="the database refuses a batch"):
        store.ingest([Slice(BARS_STREAM, 0, 0, 1, [], [letter(0)._replace(reason="x" * 33)])])
    assert database.count(schema.dead_letters) == 0
    assert store.ingest([Slice(BARS_STREAM, 0, 0, 1, [], [letter(0)])]) == Counts(dead=1)


def test_a_slice_of_dead_letters_alone_moves_the_offset(store: BarStore, database: Database) -> None:
    store.ingest([Slice(BARS_STREAM, 2, 7, 9, [], [letter(7), letter(8)])])
    assert store.next_offsets(BARS_STREAM) == {2: 9}
    assert database.count(schema.bars) == 0


# the stop of a partition


def test_a_stop_is_in_the_transaction_with_its_alert_and_holds_until_released(
    store: BarStore, database: Database
) -> None:
    part = replace(with_dead(slice_of(days(1)), [letter(1)]), stop="2 in a row")
    store.ingest([part])
    assert store.stopped(BARS_STREAM) == {0: "2 in a row"}
    assert store.stopped(ACTIONS_STREAM) == store.stopped(BARS_STREAM._replace(topic_id="made anew")) == {}
    (alert,) = database.rows(schema.alert_outbox)
    assert (alert.severity, alert.subject) == ("error", "finance-data[0] is stopped: 2 in a row")
    assert store.recent_dead(BARS_STREAM, 0) == RecentDead(0, [1])
    with database.admin.begin() as connection:
        connection.execute(sa.update(schema.stopped_partitions).values(released_at=schema.NOW))
    assert store.stopped(BARS_STREAM) == {}
    assert store.recent_dead(BARS_STREAM, 0) == RecentDead(2, [])
    store.ingest([Slice(BARS_STREAM, 0, 2, 3, [], [letter(2)], "again")])
    assert store.stopped(BARS_STREAM) == {0: "again"}
    assert database.count(schema.alert_outbox) == 2


def test_dead_letters_of_long_ago_do_not_count(store: BarStore, database: Database) -> None:
    store.ingest([Slice(BARS_STREAM, 0, 10, 20, [], [letter(n) for n in range(10, 20)])])
    store.ingest([Slice(BARS_STREAM, 0, 20, 1016, [], [letter(1015)])])
    assert store.recent_dead(BARS_STREAM, 0) == RecentDead(10, [16, 17, 18, 19, 1015])
    assert store.recent_dead(BARS_STREAM, 3) == RecentDead(0, [])


# descriptions


def described(database: Database) -> dict[str, tuple[Any, ...]]:
    return {row[0]: row[2:6] for row in database.meaning()["instruments"]}


def test_the_latest_description_is_in_force_whatever_came_last(store: BarStore, database: Database) -> None:
    late, early = bar(name="New", sector="S", as_of=NOW), bar(name="Old", currency="EUR", as_of=NOW - SECOND)
    put(store, late)
    put(BarStore(database.writer, "another"), early, bar(), first=1)
    assert described(database)["AAPL"] == ("stock", "New", "S", None)


def test_a_consumer_that_remembers_an_older_description_does_not_bring_it_back(
    store: BarStore, database: Database
) -> None:
    put(store, bar(name="First", as_of=NOW))
    put(BarStore(database.writer, "took over"), bar(name="Third", as_of=NOW + 2 * SECOND), first=1)
    put(store, bar(name="Second", as_of=NOW + SECOND), first=2)
    assert described(database)["AAPL"][1] == "Third"


def test_an_instrument_first_seen_in_an_action_gets_the_class_of_its_bars(store: BarStore, database: Database) -> None:
    put(store, action(symbol="SPX"), stream=ACTIONS_STREAM)
    put(store, bar(symbol="SPX", asset_class=AssetClass.INDEX, volume=None))
    assert described(database)["SPX"][0] == "index"


def test_looking_up_what_is_known_uses_up_no_ids(store: BarStore, database: Database) -> None:
    put(store, bar(sector="S", name="n"))
    for n in range(1, 8):
        other = BarStore(database.writer, f"restart {n}")
        other.next_offsets(BARS_STREAM)
        put(other, bar(sector="S", name=f"n{n}", as_of=NOW + n * SECOND), first=n)
    put(store, bar(symbol="NEXT", exchange="XLON", sector="T", source="unseen"), first=8)
    tables = (schema.instruments, schema.exchanges, schema.sectors)
    assert [sorted(row.id for row in database.rows(table)) for table in tables] == [[1, 2]] * 3


# books


def test_batches_tell_what_became_of_every_message(store: BarStore, database: Database) -> None:
    slices = [
        with_dead(slice_of([bar(), bar(), bar(price="20", as_of=NOW), bar(price="5")]), [letter(4)]),
        slice_of(days(3, symbol="MSFT"), partition=3, first=70),
    ]
    total = store.ingest(slices)
    assert total == Counts(new=4, changed=1, same=1, older=1, dead=1)
    first, second = database.rows(schema.ingest_batches)
    assert (first.partition_no, first.first_offset, first.next_offset, first.messages) == (0, 0, 5, 5)
    assert (first.new, first.changed, first.same, first.older, first.dead) == (1, 1, 1, 1, 1)
    assert (second.partition_no, second.first_offset, second.next_offset, second.new) == (3, 70, 73, 3)
    assert {row.batch_id for row in database.rows(schema.bars) if row.kafka_offset >= 70} == {second.id}


def test_touches_name_the_months_that_changed_and_no_others(store: BarStore, database: Database) -> None:
    def touched(batch: int) -> set[tuple[int, dt.date]]:
        return {(t.interval_id, t.month) for t in database.rows(schema.ingest_touches) if t.batch_id == batch}

    put(store, bar(dt.date(2013, 1, 31)), bar(dt.date(2013, 2, 1)), *minutes(3))
    put(store, bar(dt.date(2013, 1, 31)), bar(dt.date(2013, 2, 1), price="5", as_of=NOW), first=5)
    put(store, action(ex_date=dt.date(2013, 3, 4)), stream=ACTIONS_STREAM)
    put(store, bar(dt.date(2013, 1, 31)), first=7)
    daily, five = 6, 2
    january, february = dt.date(2013, 1, 1), dt.date(2013, 2, 1)
    batches = [row.id for row in database.rows(schema.ingest_batches)]
    assert [touched(batch) for batch in batches] == [
        {(daily, january), (daily, february), (five, january)},
        {(daily, february)},
        {(daily, dt.date(2013, 3, 1))},
        set(),
    ]


def test_the_session_of_a_bar_is_the_exchanges_date(store: BarStore, database: Database) -> None:
    evening = dt.datetime(2013, 1, 15, 0, 30, tzinfo=UTC)
    put(
        store, bar(interval=Interval.M5, bar_time=evening), bar(exchange="XTKS", interval=Interval.M5, bar_time=evening)
    )
    assert {row.session_date for row in database.rows(schema.bars)} == {dt.date(2013, 1, 14), dt.date(2013, 1, 15)}


# few statements, exact values


def test_five_thousand_rows_take_few_statements(store: BarStore, database: Database) -> None:
    symbols = [f"S{n}" for n in range(5)]
    start = dt.datetime(2013, 1, 14, 14, 30, tzinfo=UTC)
    facts = [
        bar(
            symbol=symbol,
            interval=Interval.M1,
            bar_time=start + dt.timedelta(minutes=n),
            price=str(10 + n),
            as_of=start,
        )
        for n in range(1000)
        for symbol in symbols
    ]
    later = [replace(fact, as_of=NOW, close=fact.high) for fact in facts]
    with statements(database.writer) as first:
        assert put(store, *facts) == Counts(new=5000)
    with statements(database.writer) as second:
        assert put(store, *later, first=5000) == Counts(changed=5000)
    assert len(first) <= 30 and len(second) <= 20
    dead = [letter(10_000 + n) for n in range(5000)]
    with statements(database.writer) as third:
        store.ingest([Slice(BARS_STREAM, 0, 10_000, 15_000, [], dead)])
    assert len(third) <= 10
    assert (database.count(schema.bars), database.count(schema.bar_revisions)) == (5000, 5000)


FACTS: dict[str, Callable[[Bar], Any]] = {
    "open": lambda b: b.open, "high": lambda b: b.high, "low": lambda b: b.low, "close": lambda b: b.close,
    "volume": lambda b: b.volume, "vwap": lambda b: b.vwap, "trades": lambda b: b.trades,
    "status": lambda b: b.status.value, "synthetic": lambda b: b.synthetic,
    "as_of": lambda b: b.as_of.replace(tzinfo=None), "event_time": lambda b: b.event_time.replace(tzinfo=None),
    "bar_time": lambda b: b.bar_time.replace(tzinfo=None),
}  # fmt: skip
serial = count()


@given(st.lists(valid_bars(), min_size=1, max_size=20, unique_by=lambda b: (b.instrument, b.interval, b.bar_time)))
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_valid_bar_is_stored_to_the_last_digit(database: Database, facts: list[Bar]) -> None:
    database.empty()
    stream = StreamIdentity("c", f"t{next(serial)}", "finance-data")
    store = BarStore(database.writer, "exact")
    store.ingest([Slice(stream, 0, 0, len(facts), [Arrival(n, f.event_time, f) for n, f in enumerate(facts)], [])])
    stored = {row.kafka_offset: row for row in database.rows(schema.bars)}
    for offset, fact in enumerate(facts):
        row = stored[offset]
        assert {name: getattr(row, name) for name in FACTS} == {name: read(fact) for name, read in FACTS.items()}
        assert row.known_from == fact.event_time.replace(tzinfo=None)
    # and read back as the same versions
    assert BarStore(database.writer, "again").ingest([Slice(stream, 1, 0, len(facts), arrivals(facts), [])]) == Counts(
        same=len(facts)
    )
