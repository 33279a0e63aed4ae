"""The count ledger adds up after anything the consumer does, and names the range when one row is gone."""

import datetime as dt
import random
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

import pytest
import sqlalchemy as sa

from streamlake_assets.market.messages import DeadLetter, Slice
from streamlake_assets.market.quality import ledger_balances
from streamlake_assets.stores import dead_letters, schema
from streamlake_assets.stores.bar_reader import snapshot
from streamlake_assets.stores.bar_store import BarStore
from streamlake_assets.stores.count_ledger import UNKNOWN, CountLedger, Marks, read_count_ledger
from streamlake_assets.stores.dead_letters import REPLAYS, Wanted
from streamlake_assets_tests.bars import ACTIONS_STREAM, BARS_STREAM, NOW, SESSION, action, arrivals, bar, wire
from streamlake_assets_tests.tables import Database

pytestmark = pytest.mark.servers
DAY = dt.timedelta(days=1)
MARKS: Marks = {BARS_STREAM: {0: (0, 30), 1: (5, 31), 2: (0, 0)}, ACTIONS_STREAM: {0: (0, 4)}}
REPLAY = f"{REPLAYS.topic}[0]"
BATCHES = schema.ingest_batches


def read(database: Database, marks: Marks | None = None) -> CountLedger:
    with snapshot(database.writer) as connection:
        return read_count_ledger(connection, marks)


def wrong(database: Database, marks: Marks | None = None) -> list[str]:
    return [str(one) for one in read(database, marks).imbalances]


def letter(offset: int, value: bytes = b"{") -> DeadLetter:
    return DeadLetter(offset, NOW, "bad_json", "detail", b"LATE", value)


def fill(database: Database) -> None:
    """Two partitions and a second topic in slices of several kinds, a gap of control records, a replayed letter."""
    order = random.Random(5)
    store = BarStore(database.writer, "test")
    facts = [bar(SESSION + n * DAY) for n in range(12)]
    facts += [bar(SESSION + n * DAY, price=str(order.randrange(20, 23)), as_of=NOW + n * DAY) for n in range(8)]
    older = [bar(SESSION + n * DAY, price="5") for n in range(8)]
    facts += [*older[:4], *older[:4]]  # an older version again is no second version
    for first, end in ((0, 3), (3, 12), (12, 20), (20, 28)):
        store.ingest([Slice(BARS_STREAM, 0, first, end, arrivals(facts[first:end], first), [])])
    letters = [letter(6), letter(7, wire(bar(symbol="LATE")))]
    msft = [bar(SESSION + n * DAY, symbol="MSFT") for n in range(5)]
    # offsets 10 and 11 are no messages
    store.ingest(
        [Slice(BARS_STREAM, 1, 5, 14, [arrivals(msft)[0]._replace(offset=5), *arrivals(msft[1:3], 8)], letters)]
    )
    store.ingest([Slice(BARS_STREAM, 1, 14, 16, arrivals(msft[3:], 14), [])])
    actions = [action(), action(factor=Decimal("0.25"), as_of=NOW), action(ex_date=SESSION + DAY)]
    store.ingest([Slice(ACTIONS_STREAM, 0, 0, 3, arrivals(actions), [])])
    assert dead_letters.replay(database.writer, Wanted(), "me").counts.new == 1


def test_everything_adds_up_and_the_counts_are_those_of_the_messages(database: Database) -> None:
    assert read(database) == ([], [])
    fill(database)
    found = read(database, MARKS)
    assert found.imbalances == []
    by_place = {f"{one.topic}[{one.partition}]": one for one in found.partitions}
    assert list(by_place) == sorted(by_place)
    one = by_place[f"{BARS_STREAM.topic}[0]"]
    assert (one.messages, one.new, one.changed, one.older, one.same, one.dead) == (28, 12, 8, 8, 0, 0)
    assert (one.versions, one.no_messages, one.waiting) == (24, 0, 2)
    one = by_place[f"{BARS_STREAM.topic}[1]"]
    assert (one.messages, one.new, one.dead, one.no_messages, one.waiting) == (7, 5, 2, 4, 15)
    assert (one.first_offset, one.stored_offset, one.low) == (5, 16, 5)
    one = by_place[f"{BARS_STREAM.topic}[2]"]
    assert (one.messages, one.stored_offset, one.waiting) == (0, 0, 0)
    assert by_place[f"{ACTIONS_STREAM.topic}[0]"].waiting == 1
    assert (by_place[REPLAY].messages, by_place[REPLAY].waiting) == (1, None)
    for one in found.partitions:
        if one.high is not None and one.low is not None:
            assert one.offsets + (one.waiting or 0) == one.high - one.low, "stored + waiting is the topic"
    verdict = ledger_balances(*found)
    assert verdict.passed
    assert (verdict.facts["messages"], verdict.facts["waiting"]) == (39, 18)


def test_what_nobody_consumed_yet_waits(database: Database) -> None:
    found = read(database, MARKS)
    assert found.imbalances == []
    assert {(one.topic, one.partition): one.waiting for one in found.partitions} == {
        (stream.topic, number): high - low for stream, of in MARKS.items() for number, (low, high) in of.items()
    }


@contextmanager
def broken(database: Database) -> Iterator[sa.Connection]:
    """A connection that may break every rule of the schema by hand; what it changed is gone afterwards."""
    with database.admin.connect() as connection:
        connection.exec_driver_sql("SET SESSION foreign_key_checks=0")
        yield connection
        connection.invalidate()


def told(connection: sa.Connection, change: sa.Executable, marks: Marks | None = MARKS) -> list[str]:
    """What the ledger says after a change, which is then undone."""
    done = connection.execute(change)
    assert done.rowcount > 0, "there was something to change"
    found = [str(one) for one in read_count_ledger(connection, marks).imbalances]
    connection.rollback()
    return found


def one_of(connection: sa.Connection, table: sa.Table, *where: sa.ColumnElement[bool]) -> sa.Delete:
    """A deletion of one of the rows."""
    key = list(table.primary_key.columns)
    row = connection.execute(sa.select(table).where(*where).order_by(*key).limit(1)).one()
    return sa.delete(table).where(*(column == row._mapping[column.name] for column in key))


def batch_from(first: int, stream: str = BARS_STREAM.topic, partition: int = 0) -> list[sa.ColumnElement[bool]]:
    topic = sa.select(schema.streams.c.topic).where(schema.streams.c.id == BATCHES.c.stream_id).scalar_subquery()
    return [BATCHES.c.first_offset == first, BATCHES.c.partition_no == partition, topic == stream]


def of_batch(
    table: sa.Table, first: int, stream: str = BARS_STREAM.topic, partition: int = 0
) -> list[sa.ColumnElement[bool]]:
    ids = sa.select(BATCHES.c.id).where(*batch_from(first, stream, partition))
    return [table.c.batch_id.in_(ids)]


def test_a_row_that_is_removed_by_hand_is_named_by_its_range(database: Database) -> None:
    bars, actions = BARS_STREAM.topic, ACTIONS_STREAM.topic
    places = [
        (schema.bars, bars, 0, 3, "3..11: 1 version missing"),
        (schema.bar_revisions, bars, 0, 0, "0..2: 1 version missing"),
        (schema.bar_revisions, bars, 0, 20, "20..27: 1 version missing"),
        (schema.dead_letters, bars, 1, 5, "5..13: 1 dead letter missing"),
        (schema.corporate_actions, actions, 0, 0, "0..2: 1 version missing"),
        (schema.corporate_action_revisions, actions, 0, 0, "0..2: 1 version missing"),
        (schema.bars, REPLAYS.topic, 0, 0, "0..0: 1 version missing"),
    ]
    cases = [
        (table, of_batch(table, first, topic, partition), f"{topic}[{partition}] offsets {told}")
        for table, topic, partition, first, told in places
    ]
    fill(database)
    with broken(database) as connection:
        for table, where, what in cases:
            removal = one_of(connection, table, *where)
            assert told(connection, removal) == [what]
            assert told(connection, removal, marks=None) == [what], "the tables alone tell it"
        connection.execute(removal)
        found = read_count_ledger(connection, MARKS)
    verdict = ledger_balances(*found)
    assert not verdict.passed
    assert what in verdict.text


def test_a_batch_record_that_is_removed_by_hand_leaves_a_hole(database: Database) -> None:
    cases = [
        (0, 3, "finance-data[0] offsets 0..2: on the topic, before the first batch record"),
        (3, 12, "finance-data[0] offsets 3..11: no batch record"),
        (20, 28, "finance-data[0] offsets 20..27: no batch record; the stored offset lies behind them"),
    ]
    fill(database)
    with broken(database) as connection:
        for first, end, what in cases:
            removal = one_of(connection, BATCHES, *batch_from(first))
            found = told(connection, removal)
            assert what in found
            (orphans,) = [one for one in found if one != what]
            assert orphans.startswith(f"{UNKNOWN}[-1] offsets ")
            assert orphans.endswith("more than the batch record says")
            first_offset, last = map(int, orphans.split(": ")[0].rpartition(" ")[2].split(".."))
            assert first <= first_offset <= last < end
            assert told(connection, removal, marks=None), "the tables alone tell it"
        whole = "finance-data[0] offsets 0..27: no batch record; the stored offset lies behind them"
        assert whole in told(connection, sa.delete(BATCHES))


def test_numbers_that_are_changed_by_hand_are_told(database: Database) -> None:
    o = schema.stream_offsets
    fill(database)
    named = schema.streams.c.topic_id == BARS_STREAM.topic_id
    stream_id = sa.select(schema.streams.c.id).where(named).scalar_subquery()
    offset_of = (o.c.stream_id == stream_id, o.c.partition_no == 0)

    def batch(first: int, **values: int) -> sa.Update:
        return (
            sa.update(BATCHES).where(BATCHES.c.stream_id == stream_id, BATCHES.c.first_offset == first).values(values)
        )

    cases = [
        (sa.update(o).where(*offset_of).values(next_offset=31), [
            "finance-data[0] offsets 28..30: no batch record; the stored offset lies behind them",
            "finance-data[0] offsets 30..30: stored, beyond the end of the topic",
        ]),
        (sa.update(o).where(*offset_of).values(next_offset=20), [
            "finance-data[0] offsets 20..27: batch records beyond the stored offset"
        ]),
        (sa.delete(o).where(*offset_of), ["finance-data[0] offsets 0..27: batch records beyond the stored offset"]),
        (batch(12, next_offset=22), ["finance-data[0] offsets 20..21: in two batch records"]),
        (batch(14, first_offset=15), [
            "finance-data[1] offsets 14..14: no batch record",
            "finance-data[1] offsets 15..15: 2 messages, fewer offsets",
        ]),
    ]  # fmt: skip
    with broken(database) as connection:
        for change, what in cases:
            assert told(connection, change) == what


def test_a_topic_that_is_shorter_or_was_cut_is_told_from_one_that_waits(database: Database) -> None:
    fill(database)
    assert wrong(database, {**MARKS, ACTIONS_STREAM: {0: (0, 2)}}) == [
        "corporate-actions[0] offsets 2..2: stored, beyond the end of the topic"
    ]
    assert wrong(database, {**MARKS, ACTIONS_STREAM: {0: (2, 3)}}) == [], "old messages may be gone, the rows are not"
    recreated = {BARS_STREAM._replace(topic_id="again"): {0: (0, 3)}}
    found = read(database, recreated)
    assert found.imbalances == []
    assert [(one.stored_offset, one.waiting) for one in found.partitions if one.high == 3] == [(0, 3)]
