"""ledger, backfill, rebuild and dead-letters on the real broker and MariaDB, through the command line."""

import datetime as dt
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from streamlake_assets import cli
from streamlake_assets.broker.publisher import Publisher
from streamlake_assets.broker.range_reader import RangeReader
from streamlake_assets.broker.topics import describe_streams, watermarks
from streamlake_assets.commands import ingest_load
from streamlake_assets.errors import BadRecordError
from streamlake_assets.market.contract import ACTIONS_TOPIC, BARS_TOPIC, decode_bar
from streamlake_assets.market.types import Bar, CorporateAction, Interval
from streamlake_assets.servers.kafka import LocalKafka
from streamlake_assets.settings import Settings, load_settings
from streamlake_assets.sidecar import ingest as ingest_loop
from streamlake_assets.sidecar.ingest import IngestLoop
from streamlake_assets.stores import schema
from streamlake_assets.stores.bar_reader import snapshot
from streamlake_assets.stores.bar_store import BarStore
from streamlake_assets.stores.digests import table_digests
from streamlake_assets_tests.bars import OPENS, SESSION, action, bar, wire
from streamlake_assets_tests.servers.test_consumer_process import recreate_topics
from streamlake_assets_tests.tables import Database

pytestmark = pytest.mark.servers
TOPICS = [BARS_TOPIC, ACTIONS_TOPIC]
REBUILT = "streamlake_test_rebuild"


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out.splitlines()[-1])


Run = Callable[..., Done]


@pytest.fixture(scope="module")
def migrated(fresh_database: Settings) -> Iterator[Database]:
    found = Database(fresh_database)
    yield found
    found.close()


@pytest.fixture
def database(kafka_server: LocalKafka, migrated: Database, test_settings: Settings) -> Database:
    migrated.empty()
    with migrated.admin.begin() as connection:
        # sources of other tests, which no message of this one brings
        seeds = ("bridge", "bokeh_sampledata")
        connection.execute(sa.delete(schema.data_sources).where(schema.data_sources.c.name.not_in(seeds)))
    recreate_topics(test_settings.kafka)
    return migrated


@pytest.fixture
def run(
    test_settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Run]:
    """Run the command line in this process, on this session's servers."""
    monkeypatch.chdir(tmp_path)
    for name, value in test_settings.as_environment().items():
        monkeypatch.setenv(name, value)
    load_settings.cache_clear()

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["streamlake", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        shown = capsys.readouterr()
        assert isinstance(end.value.code, int)
        return Done(end.value.code, shown.out, shown.err)

    yield run
    load_settings.cache_clear()


def history(count: int) -> list[tuple[str, bytes]]:
    """Messages of several symbols: new, same, changed, older, dead, and actions."""
    made = bar(interval=Interval.M1, event_time=OPENS, sector="Made")
    facts: list[Bar | CorporateAction] = [
        replace(made, symbol=f"S{n % 7}", bar_time=at, as_of=at, sector=f"Sector {n % 3}")
        for n in range(count)
        for at in [OPENS + dt.timedelta(minutes=n // 7)]
    ]
    second = dt.timedelta(seconds=1)
    facts += [replace(one, close=one.high, as_of=one.as_of + second) for one in facts[: count // 5]]
    facts += facts[count // 2 : count // 2 + count // 10]
    facts += [replace(one, close=one.low, as_of=one.as_of - second) for one in facts[: count // 20]] * 2
    facts += [action(factor=Decimal(n) / 8, as_of=OPENS + n * second, event_time=OPENS) for n in (3, 1, 2)]
    sent = [(fact.symbol, wire(fact)) for fact in facts]
    return [*sent[: count // 2], ("S1", b"{"), ("S2", b'{"v":7}'), ("S3", wire(bar(symbol="S4"))), *sent[count // 2 :]]


def send(settings: Settings, messages: Sequence[tuple[str, bytes]]) -> int:
    with Publisher(settings.kafka) as publisher:
        for key, value in messages:
            publisher.send(ACTIONS_TOPIC if b'"kind"' in value else BARS_TOPIC, key, value)
    return len(messages)


def consume(settings: Settings, database: Database, most: int = 10**9) -> int:
    """Store what waits the consumer's way: typed literals, small takes; at most about so many messages."""
    streams = describe_streams(settings.kafka, TOPICS)
    store = BarStore(database.writer, "the consumer's way")
    ranges = {}
    for topic, stream in streams.items():
        stored = store.next_offsets(stream)
        for number, (low, high) in watermarks(settings.kafka, topic).items():
            ranges[topic, number] = (stored.get(number, low), high)
    reader = RangeReader(settings.kafka, ranges)
    loop = IngestLoop(reader, store, streams, most=300)
    stored_messages = 0
    for topic in streams:
        loop.start_offsets(topic, range(4))
    while not reader.done and stored_messages < most:
        stored_messages += sum(one.messages for one in loop.turn())
    stored_messages += sum(one.messages for one in loop.finish(10))
    reader.close()
    store.close()
    return stored_messages


def digests(database: Database) -> dict[str, str]:
    with snapshot(database.writer) as connection:
        return table_digests(connection)


def remove_one(database: Database, table: sa.Table) -> sa.Row[Any]:
    key = list(table.primary_key.columns)
    with database.admin.begin() as connection:
        row = connection.execute(sa.select(table).order_by(*(column.desc() for column in key)).limit(1)).one()
        connection.execute(sa.delete(table).where(*(column == row._mapping[column.name] for column in key)))
    return row


def test_a_backfill_leaves_the_tables_that_the_consumer_leaves(
    database: Database, run: Run, test_settings: Settings
) -> None:
    sent = send(test_settings, history(2000))
    assert consume(test_settings, database) == sent
    wanted, meaning = digests(database), database.meaning()
    assert run("ledger", "--json").code == 0

    database.empty()
    done = run("backfill", "all", "--json")
    assert done.code == 0, done.err
    counts = done.json
    assert counts["messages"] == sent
    assert counts["dead"] == 3
    assert min(counts[name] for name in ("new", "changed", "same", "older")) > 0
    assert digests(database) == wanted
    assert database.meaning() == meaning
    ledger = run("ledger", "--json")
    assert (ledger.code, ledger.json["balances"]) == (0, True)
    assert sum(one["messages"] for one in ledger.json["partitions"]) == sent

    again = run("backfill", "all", "--json").json
    assert (again["messages"], again["by_others"]) == (0, 0)
    assert digests(database) == wanted


def test_a_backfill_of_one_topic_leaves_the_other_and_goes_on_where_the_tables_end(
    database: Database, run: Run, test_settings: Settings
) -> None:
    sent = send(test_settings, history(300))
    assert run("backfill", "corporate-actions", "--json").json["messages"] == 3
    assert database.count(schema.bars) == 0
    ledger = run("ledger", "--json").json
    assert ledger["balances"]
    assert sum(one["waiting"] for one in ledger["partitions"]) == sent - 3
    done = run("backfill", "finance-data")
    assert done.code == 0
    assert f"{sent - 3:,} messages loaded" in done.out
    assert sum(one["waiting"] for one in run("ledger", "--json").json["partitions"]) == 0


def test_a_backfill_beside_a_consumer_stores_every_message_once(
    database: Database, run: Run, test_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = send(test_settings, history(3000))
    waiting, start_offsets = ingest_load._waiting, IngestLoop.start_offsets
    loaders: list[IngestLoop] = []

    def once_read_the_consumer_goes_on(*arguments: Any) -> Any:
        found = waiting(*arguments)
        consume(test_settings, database, most=700)
        loaders.clear()
        return found

    def once_started_it_goes_on_again(self: IngestLoop, topic: str, partitions: Any) -> dict[int, int]:
        found = start_offsets(self, topic, partitions)
        loaders.append(self)
        if self is loaders[0] and topic == BARS_TOPIC:
            consume(test_settings, database, most=700)
        return found

    monkeypatch.setattr(ingest_load, "_waiting", once_read_the_consumer_goes_on)
    monkeypatch.setattr(IngestLoop, "start_offsets", once_started_it_goes_on_again)
    monkeypatch.setattr(ingest_load, "TAKE", 300)
    done = run("backfill", "all", "--json")
    assert done.code == 0, done.err
    assert "put off" in done.err
    assert 0 < done.json["messages"] < sent
    assert done.json["by_others"] == sent - done.json["messages"]
    ledger = run("ledger", "--json").json
    assert ledger["balances"]
    assert sum(one["messages"] for one in ledger["partitions"]) == sent


def test_a_file_is_published_then_loaded(database: Database, run: Run, test_settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "my.csv"
    path.write_text("Date,Open,High,Low,Close,Volume\n2024-01-02,10,12,9,11,100\n2024-01-03,11,13,10,9,200\n")
    done = run("backfill", str(path), "--symbol", "DEMO", "--interval", "1d", "--exchange", "XNAS", "--json")
    assert done.code == 0, done.err
    assert (done.json["bars_sent"], done.json["rejected"], done.json["new"]) == (1, 1, 1)
    assert sum(high for _, high in watermarks(test_settings.kafka, BARS_TOPIC).values()) == 1
    assert database.count(schema.bars) == 1
    wrong = run("backfill", "no-such-file.csv")
    assert wrong.code == 2
    assert "neither a file nor one of finance-data" in wrong.err


def test_the_ledger_says_1_and_names_the_range_of_a_row_that_was_removed(
    database: Database, run: Run, test_settings: Settings
) -> None:
    send(test_settings, history(300))
    consume(test_settings, database)
    row = remove_one(database, schema.bar_revisions)
    (batch,) = [one for one in database.rows(schema.ingest_batches) if one.id == row.batch_id]
    place = f"[{batch.partition_no}] offsets {batch.first_offset}..{batch.next_offset - 1}: 1 version missing"
    for options in ((), ("--tables-only",)):
        done = run("ledger", *options)
        assert done.code == 1
        assert f"does not balance: finance-data{place}" in done.out
        assert "Traceback" not in done.err
    (told,) = run("ledger", "--json").json["imbalances"]
    assert (told["first_offset"], told["last_offset"]) == (batch.first_offset, batch.next_offset - 1)


def test_a_rebuild_from_the_topics_equals_the_live_tables(
    database: Database, run: Run, test_settings: Settings
) -> None:
    sent = send(test_settings, history(1500))
    with database.admin.begin() as connection:
        # a source that an operator ranked: no message says so
        connection.execute(sa.insert(schema.data_sources).values(name="made", source_rank=45))
    consume(test_settings, database)
    before = database.everything()
    # these wait, and are not part of what is compared
    send(test_settings, [("LATE", wire(bar(symbol="LATE", event_time=OPENS)))])
    done = run("rebuild", "--schema", REBUILT, "--json")
    assert done.code == 0, done.out + done.err
    found = done.json
    assert (found["equal"], found["kept"], found["messages"], found["notes"]) == (True, False, sent, [])
    rows = {one["table"]: (one["live_rows"], one["rebuilt_rows"]) for one in found["tables"]}
    assert len(rows) == 10
    assert rows["bars"] == (database.count(schema.bars),) * 2
    assert rows["dead_letters"] == (3, 3)
    assert database.everything() == before, "the live tables are as they were"
    assert REBUILT not in schemas(database)

    removed = remove_one(database, schema.bars)
    done = run("rebuild", "--schema", REBUILT, "--keep")
    assert done.code == 1
    assert "NO" in done.out
    assert f"kept: {REBUILT}" in done.out
    refused = run("rebuild", "--schema", REBUILT)
    assert refused.code == 2
    assert f"schema {REBUILT} holds" in refused.err
    with database.admin.begin() as connection:
        kept = connection.execute(sa.select(sa.func.count()).select_from(sa.table("bars", schema=REBUILT))).scalar_one()
        connection.execute(sa.schema.DropSchema(REBUILT))
        connection.execute(sa.insert(schema.bars).values(removed._mapping))
    assert kept == len(before["bars"])

    part = run("rebuild", "--from-offset", "30", "--schema", REBUILT)
    assert part.code == 0, part.err
    assert "not compared" in part.out
    for name in ("streamlake", "Streamlake; DROP", ""):
        assert run("rebuild", "--schema", name).code == 2


def schemas(database: Database) -> set[str]:
    with database.admin.connect() as connection:
        return set(sa.inspect(connection).get_schema_names())


def test_dead_letters_that_were_replayed_are_in_the_rebuild_what_they_became(
    database: Database, run: Run, test_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def an_older_decoder(value: bytes | None, key: bytes | None, broker_time: dt.datetime) -> Bar:
        found = decode_bar(value, key, broker_time)
        if found.symbol == "S5":
            raise BadRecordError("bad_symbol", "no S5 was known then")
        return found

    send(test_settings, history(300))
    with monkeypatch.context() as then:
        then.setattr(ingest_loop, "decode_bar", an_older_decoder)
        consume(test_settings, database)
    listed = run("dead-letters", "list", "--reason", "bad_symbol", "--json").json
    assert listed["found"] > 40
    assert len(listed["letters"]) == 20
    one = listed["letters"][0]
    shown = run("dead-letters", "show", str(one["id"]), "--json").json
    assert json.loads(shown["payload"])["symbol"] == "S5"
    assert (shown["offset"], shown["detail"]) == (one["offset"], "no S5 was known then")
    done = run("dead-letters", "replay", "--all", "--json")
    assert done.code == 1
    assert done.json["replayed"] == listed["found"]
    assert sorted(bad["reason"] for bad in done.json["still_bad"]) == ["bad_json", "key_mismatch", "unknown_version"]
    assert run("dead-letters", "replay", "--all", "--json").json["replayed"] == 0
    assert run("dead-letters", "drop", "--reason", "bad_json", "--json").json["dropped"] == 1
    assert run("ledger").code == 0
    after = run("rebuild", "--schema", REBUILT, "--json")
    assert (after.code, after.json["equal"]) == (0, True), after.json
    assert after.json["notes"] == [f"{listed['found']} dead letters that were replayed count as what they became"]

    table = run("dead-letters", "list", "--state", "all", "-n", "500").out
    assert all(state in table for state in ("open", "replayed", "dropped"))


def test_a_stopped_partition_is_not_loaded_until_it_is_let_go(
    database: Database, run: Run, test_settings: Settings
) -> None:
    sent = send(test_settings, [("S1", wire(bar(SESSION, symbol="S1", event_time=OPENS)))])
    streams = describe_streams(test_settings.kafka, [BARS_TOPIC])
    store = BarStore(database.writer, "test")
    store.next_offsets(streams[BARS_TOPIC])
    (partition,) = [number for number, (_, high) in watermarks(test_settings.kafka, BARS_TOPIC).items() if high]
    (stream,) = [row for row in database.rows(schema.streams) if row.topic == BARS_TOPIC]
    with database.admin.begin() as connection:
        connection.execute(
            sa.insert(schema.stopped_partitions).values(
                stream_id=stream.id, partition_no=partition, next_offset=0, reason="51 dead letters in a row"
            )
        )
    done = run("backfill", "all")
    assert "0 messages loaded" in done.out
    assert f"not read: finance-data[{partition}] is stopped: 51 dead letters in a row" in done.out
    assert f"stopped: finance-data[{partition}] at offset 0" in run("dead-letters", "list").out
    assert run("dead-letters", "resume", "--partition", "99").out.strip() == "no such partition is stopped"
    resumed = run("dead-letters", "resume", "--json").json
    assert [(one["topic"], one["partition"]) for one in resumed] == [(BARS_TOPIC, partition)]
    assert run("dead-letters", "resume").out.strip() == "no partition is stopped"
    assert run("backfill", "all", "--json").json["messages"] == sent
    assert {row.state for row in database.rows(schema.alert_outbox)} == {"recovered"}
