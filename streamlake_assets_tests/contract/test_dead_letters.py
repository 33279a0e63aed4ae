"""Dead letters after they are stored: found, shown whole, replayed once whoever asks, dropped, partitions let go."""

import datetime as dt
import threading
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from streamlake_assets.market.contract import MAX_BYTES
from streamlake_assets.market.messages import Counts, DeadLetter, Slice, StreamIdentity
from streamlake_assets.market.sessions import UTC
from streamlake_assets.stores import dead_letters, schema
from streamlake_assets.stores.bad_messages import write_stop
from streamlake_assets.stores.bar_reader import snapshot
from streamlake_assets.stores.bar_store import BarStore
from streamlake_assets.stores.dead_letters import REPLAYS, Letter, Wanted
from streamlake_assets.stores.digests import table_digests
from streamlake_assets.stores.prepared import prepare
from streamlake_assets.stores.stopped_partitions import resume, stopped_partitions
from streamlake_assets_tests.bars import ACTIONS_STREAM, BARS_STREAM, NOW, SESSION, action, arrivals, bar, wire
from streamlake_assets_tests.tables import Database

pytestmark = pytest.mark.servers
DAY = dt.timedelta(days=1)
BY = "ann@desk"
ALL = Wanted(state=None)


def letter(offset: int, value: bytes | None, key: bytes | None = b"AAPL", reason: str = "bad_field") -> DeadLetter:
    return DeadLetter(offset, NOW + offset * dt.timedelta(seconds=1), reason, "as it was then", key, value)


def put(database: Database, dead: Sequence[DeadLetter], stream: StreamIdentity = BARS_STREAM, first: int = 0) -> None:
    BarStore(database.writer, "test").ingest([Slice(stream, 0, first, first + len(dead), [], dead)])


def good(number: int, first: int = 0) -> list[DeadLetter]:
    """Letters that an older decoder refused and today's accepts."""
    return [letter(first + n, wire(bar(SESSION + (first + n) * DAY))) for n in range(number)]


BAD = [
    letter(0, None, reason="null_value"),
    letter(1, b"", reason="bad_json"),
    letter(2, b"\xff\x00{", key=b"\xff\x01", reason="bad_json"),
    letter(3, wire(bar()), key=b"X" * 700, reason="key_mismatch"),
    letter(4, wire(bar()), key=None, reason="key_mismatch"),
    letter(5, b" " * (MAX_BYTES + 1), reason="too_large"),
]


def read(database: Database, wanted: Wanted = ALL) -> list[Letter]:
    with snapshot(database.writer) as connection:
        found = dead_letters.letters(connection, wanted)
        assert dead_letters.count(connection, wanted) == len(found)
        return found


def digests(database: Database) -> dict[str, str]:
    with snapshot(database.writer) as connection:
        return table_digests(connection)


# found and shown


def test_letters_are_found_by_reason_topic_state_and_id_the_newest_first(database: Database) -> None:
    put(database, BAD)
    put(database, [letter(0, b"{}")], ACTIONS_STREAM)
    everything = read(database)
    assert [one.id for one in everything] == sorted((one.id for one in everything), reverse=True)
    assert [
        (one.topic, one.partition, one.offset, one.state) for one in read(database, Wanted(reason="too_large"))
    ] == [(BARS_STREAM.topic, 0, 5, "open")]
    assert {one.reason for one in read(database, Wanted(topic=ACTIONS_STREAM.topic))} == {"bad_field"}
    assert len(read(database, Wanted(topic=BARS_STREAM.topic, reason="bad_json"))) == 2
    two = [everything[0].id, everything[-1].id]
    assert [one.id for one in read(database, Wanted(ids=two))] == two
    assert dead_letters.drop(database.writer, Wanted(reason="null_value"), BY) == 1
    assert [one.reason for one in read(database, Wanted(state="dropped"))] == ["null_value"]
    assert len(read(database, Wanted())) == len(everything) - 1
    with snapshot(database.writer) as connection:
        assert [one.id for one in dead_letters.letters(connection, ALL, limit=2)] == [one.id for one in everything[:2]]


def test_a_letter_is_shown_whole_with_its_place(database: Database) -> None:
    put(database, BAD)
    for one in read(database):
        sent = BAD[one.offset]
        assert (one.reason, one.detail, one.broker_time) == (sent.reason, sent.detail, sent.broker_time)
        assert one.key == (sent.key and sent.key[: dead_letters.KEY_BYTES])
        assert one.payload_bytes == (None if sent.payload is None else len(sent.payload))
        with snapshot(database.writer) as connection:
            assert dead_letters.payload(connection, one.id) == sent.payload
    keys = {one.offset: dead_letters.as_record(one)["key"] for one in read(database)}
    assert (keys[0], keys[2], keys[4]) == ("AAPL", "0xff01", None)


# replayed


def test_a_replay_stores_what_keeps_the_contract_today_as_if_it_had_from_the_start(database: Database) -> None:
    actions = [letter(0, wire(action()))]
    put(database, good(3))
    put(database, actions, ACTIONS_STREAM)
    done = dead_letters.replay(database.writer, Wanted(), BY)
    assert (done.counts, done.still_bad) == (Counts(new=4), [])
    assert database.count(schema.corporate_actions) == 1
    rows = database.rows(schema.bars)
    assert [row.known_from.replace(tzinfo=UTC) for row in rows] == [one.broker_time for one in good(3)]
    for one in read(database):
        assert (one.state, one.resolved_by) == ("replayed", BY)
        assert one.resolved_at is not None
    assert sorted(one.replay_offset or 0 for one in read(database)) == [0, 1, 2, 3]
    assert {row.kafka_offset for row in rows} <= {0, 1, 2, 3}
    (batch,) = [row for row in database.rows(schema.ingest_batches) if row.new]
    assert (batch.first_offset, batch.next_offset, batch.versions, batch.dead) == (0, 4, 4, 0)
    touched = {row.batch_id for row in database.rows(schema.ingest_touches)}
    assert touched == {batch.id}, "documents are made again"

    replayed = digests(database)
    database.empty()
    store = BarStore(database.writer, "accepts all")
    times = [one.broker_time for one in good(3)]
    part = [one._replace(broker_time=times[one.offset]) for one in arrivals([bar(SESSION + n * DAY) for n in range(3)])]
    store.ingest([Slice(BARS_STREAM, 0, 0, 3, part, [])])
    store.ingest([Slice(ACTIONS_STREAM, 0, 0, 1, arrivals([action()], time=actions[0].broker_time), [])])
    assert digests(database) == replayed


def test_replayed_twice_everything_is_stored_once(database: Database) -> None:
    put(database, good(5))
    assert dead_letters.replay(database.writer, Wanted(), BY).counts == Counts(new=5)
    before = database.everything()
    ids = [one.id for one in read(database)]
    for again in (Wanted(), Wanted(ids=ids), Wanted(ids=ids, state="replayed")):
        assert dead_letters.replay(database.writer, again, "bob@desk") == (Counts(), [])
    assert database.everything() == before


def test_what_still_breaks_the_contract_stays_open_and_is_told_with_today_s_reason(database: Database) -> None:
    put(database, [*BAD, letter(6, wire(bar(price="20"))), letter(7, b'{"v":9}', reason="bad_field")])
    done = dead_letters.replay(database.writer, Wanted(), BY)
    assert done.counts == Counts(new=1)
    assert {one.offset: one.reason for one in done.still_bad} == {
        **{one.offset: one.reason for one in BAD}, 7: "unknown_version"
    }  # fmt: skip
    assert {one.offset: one.reason for one in read(database, Wanted())} == {
        **{one.offset: one.reason for one in BAD}, 7: "bad_field"
    }  # fmt: skip
    assert [one.offset for one in read(database, Wanted(state="replayed"))] == [6]


def test_an_event_time_is_judged_by_the_broker_s_time_of_then(database: Database) -> None:
    ahead = wire(bar(event_time=NOW + dt.timedelta(seconds=62)))
    put(database, [letter(0, ahead), letter(1, ahead), letter(2, ahead)])
    done = dead_letters.replay(database.writer, Wanted(), BY)
    assert [(one.offset, one.reason) for one in done.still_bad] == [(0, "event_time_ahead"), (1, "event_time_ahead")]
    assert done.counts == Counts(new=1)


def test_a_replay_takes_only_what_is_wanted(database: Database) -> None:
    put(database, [*good(2), *[one._replace(reason="bad_price") for one in good(2, first=2)]])
    wanted = read(database, Wanted(reason="bad_field"))
    assert dead_letters.replay(database.writer, Wanted(ids=[wanted[0].id]), BY).counts == Counts(new=1)
    assert dead_letters.replay(database.writer, Wanted(reason="bad_field"), BY).counts == Counts(new=1)
    assert [one.reason for one in read(database, Wanted())] == ["bad_price"] * 2


def test_a_replay_of_versions_old_and_known_changes_what_the_order_says(database: Database) -> None:
    store = BarStore(database.writer, "test")
    in_force = bar(price="30", as_of=NOW)
    store.ingest([Slice(ACTIONS_STREAM, 1, 0, 1, arrivals([in_force]), [])])
    older, newer = bar(price="20"), bar(price="40", as_of=NOW + DAY)
    put(database, [letter(n, wire(fact)) for n, fact in enumerate((in_force, older, older, newer))])
    assert dead_letters.replay(database.writer, Wanted(), BY).counts == Counts(same=1, older=2, changed=1)
    assert [row.close for row in database.rows(schema.bars)] == [Decimal(40)]
    assert sorted(row.close for row in database.rows(schema.bar_revisions)) == [Decimal(20), Decimal(30)]


def test_many_letters_go_in_several_transactions(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "_CHUNK_LETTERS", 4)
    put(database, good(10))
    seen: list[int] = []
    assert dead_letters.replay(database.writer, Wanted(), BY, seen.append).counts == Counts(new=10)
    assert seen == [4, 8, 10]
    monkeypatch.setattr(dead_letters, "_CHUNK_BYTES", 1)
    assert dead_letters.drop(database.writer, Wanted(), BY) == 0
    assert BarStore(database.writer, "x").next_offsets(REPLAYS) == {0: 10}


def at_the_same_time(*calls: Callable[[], Any]) -> list[Any]:
    barrier = threading.Barrier(len(calls))
    results: list[Any] = []

    def run(call: Callable[[], Any]) -> None:
        barrier.wait(30)
        try:
            results.append(call())
        except Exception as error:
            results.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not [one for one in results if isinstance(one, Exception)], results
    return results


def test_replays_and_a_drop_at_the_same_time_resolve_every_letter_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "_CHUNK_LETTERS", 7)
    put(database, [*good(40), *(one._replace(offset=40 + one.offset) for one in BAD)])

    def replay() -> int:
        done = dead_letters.replay(database.writer, Wanted(), BY)
        assert len(done.still_bad) <= len(BAD)
        return done.counts.messages

    *replayed, dropped = at_the_same_time(
        replay, replay, replay, lambda: -dead_letters.drop(database.writer, Wanted(reason="bad_field"), BY)
    )
    stored = sum(one for one in (*replayed, dropped) if one > 0)
    marked = read(database, Wanted(state="replayed"))
    assert stored == len(marked) == database.count(schema.bars)
    assert sorted(one.replay_offset or 0 for one in marked) == list(range(stored))
    assert stored + len(read(database, Wanted(state="dropped"))) == 40
    assert len(read(database, Wanted())) == len(BAD)


def test_a_failure_within_a_replay_leaves_neither_rows_nor_marks(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(database, good(3))
    before = database.everything()
    ingest = BarStore.ingest

    def failing(self: BarStore, slices: Sequence[Slice], within: Callable[[sa.Connection], None]) -> Counts:
        def marked_and_then(connection: sa.Connection) -> None:
            within(connection)
            raise ZeroDivisionError

        return ingest(self, slices, within=marked_and_then)

    monkeypatch.setattr(BarStore, "ingest", failing)
    with pytest.raises(ZeroDivisionError):
        dead_letters.replay(database.writer, Wanted(), BY)
    found = database.everything()
    found["streams"] = before["streams"]  # its id is asked for before
    assert found == before


# dropped


def test_a_drop_only_marks_and_only_once(database: Database) -> None:
    put(database, BAD)
    wanted = digests(database)
    assert dead_letters.drop(database.writer, Wanted(reason="bad_json"), BY) == 2
    assert dead_letters.drop(database.writer, Wanted(reason="bad_json"), "bob@desk") == 0
    assert {(one.reason, one.resolved_by) for one in read(database, Wanted(state="dropped"))} == {("bad_json", BY)}
    assert len(read(database)) == len(BAD)
    assert digests(database) == wanted
    done = dead_letters.replay(database.writer, Wanted(state="dropped"), BY)
    assert {one.reason for one in done.still_bad} == {"null_value", "key_mismatch", "too_large"}


# let go


def stop(database: Database, partition: int, stream: StreamIdentity = BARS_STREAM, reason: str = "50 in a row") -> None:
    BarStore(database.writer, "test").next_offsets(stream)
    with database.admin.begin() as connection:
        stream_id = connection.execute(
            sa.select(schema.streams.c.id).where(schema.streams.c.topic_id == stream.topic_id)
        ).scalar_one()
        write_stop(
            connection, (stream_id, partition), prepare(Slice(stream, partition, 0, 100 + partition, [], [], reason))
        )


def recovered(database: Database) -> list[sa.Row[Any]]:
    return [row for row in database.rows(schema.alert_outbox) if row.state == "recovered"]


def test_stopped_partitions_are_let_go_with_an_alert_row_each(database: Database) -> None:
    stop(database, 0)
    stop(database, 1)
    stop(database, 1, ACTIONS_STREAM)
    assert resume(database.writer, BY, topic=BARS_STREAM.topic, partition=7) == []
    done = resume(database.writer, BY, topic=BARS_STREAM.topic, partition=1)
    assert [(one.topic, one.partition, one.next_offset, one.reason) for one in done] == [
        (BARS_STREAM.topic, 1, 101, "50 in a row")
    ]
    assert resume(database.writer, BY, topic=BARS_STREAM.topic, partition=1) == []
    with snapshot(database.writer) as connection:
        assert len(stopped_partitions(connection)) == 2
    assert {one.topic for one in resume(database.writer, BY)} == {BARS_STREAM.topic, ACTIONS_STREAM.topic}
    with snapshot(database.writer) as connection:
        assert stopped_partitions(connection) == []
    alerts = recovered(database)
    assert sorted(row.subject for row in alerts) == [
        f"{ACTIONS_STREAM.topic}[1] is read again", f"{BARS_STREAM.topic}[0] is read again",
        f"{BARS_STREAM.topic}[1] is read again",
    ]  # fmt: skip
    assert all("50 in a row" in row.body and BY in row.body for row in alerts)

    stop(database, 1)
    assert len(resume(database.writer, BY)) == 1
    assert len(recovered(database)) == 4, "stopped and let go again is news again"


def test_let_go_twice_at_the_same_time_is_told_once(database: Database) -> None:
    for partition in range(4):
        stop(database, partition)
    done = at_the_same_time(*[lambda: resume(database.writer, BY)] * 2)
    assert sorted(one.partition for part in done for one in part) == [0, 1, 2, 3]
    assert len(recovered(database)) == 4
