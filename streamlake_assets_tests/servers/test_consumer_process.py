"""The consumer as its own process on the real broker and MariaDB: killed, stopped, cut off, and still exactly once."""

import datetime as dt
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa
from confluent_kafka.admin import AdminClient
from msgspec.structs import replace

from streamlake_assets.broker.publisher import Publisher
from streamlake_assets.broker.topics import client_config, describe_streams, ensure_topics, watermarks
from streamlake_assets.drill.proxy import Proxy
from streamlake_assets.errors import TryLaterError
from streamlake_assets.market.contract import ACTIONS_TOPIC, BARS_TOPIC
from streamlake_assets.market.types import Bar, Interval
from streamlake_assets.servers.kafka import LocalKafka
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.settings import LOOPBACK, DatabaseRole, Settings
from streamlake_assets.stores import schema
from streamlake_assets_tests.bars import OPENS, action, bar, wire
from streamlake_assets_tests.conftest import print_line, settings_in
from streamlake_assets_tests.tables import Database

pytestmark = pytest.mark.servers
TOPICS = [BARS_TOPIC, ACTIONS_TOPIC]
SYMBOLS = [f"S{n}" for n in range(20)]
WAIT_S = 40


class Consumer:
    """One consumer process and what it shows."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self.port = settings.consumer_port
        self.log = log
        environment = {**os.environ, **settings.as_environment()}
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streamlake_assets.sidecar.consumer"], env=environment, stderr=file
            )

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{self.port}{path}", timeout=3) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str) -> float:
        found = re.search(rf"^{re.escape(name)} (.*)$", self.get("/metrics")[1], re.MULTILINE)
        return float(found[1]) if found else 0.0

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        return self.get("/readyz")[0] == 200

    def until_ready(self) -> "Consumer":
        assert wait_until(self.is_ready, WAIT_S), self.log.read_text()[-3000:]
        return self

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> float:
        """Ask to stop; return the seconds it took."""
        start = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(20)
        assert code == 0, self.log.read_text()[-3000:]
        return time.monotonic() - start


class Plant:
    """The topics, the tables, and consumers between them."""

    def __init__(self, settings: Settings, database: Database, folder: Path) -> None:
        self.settings = settings
        self.database = database
        self.folder = folder
        self.consumers: list[Consumer] = []

    def consumer(self, **changes: Any) -> Consumer:
        number = len(self.consumers)
        own = settings_in(self.folder / str(number), **self._urls(), **changes)
        own.data_dir.mkdir(parents=True)
        self.consumers.append(Consumer(own, self.folder / f"{number}.log"))
        return self.consumers[-1]

    def through(self, proxy: Proxy) -> dict[str, str]:
        url = sa.make_url(self.settings.mysql(DatabaseRole.WRITER)).set(port=proxy.port)
        return {"mysql_writer_url": url.render_as_string(hide_password=False)}

    def _urls(self) -> dict[str, str]:
        return {"kafka_bootstrap": self.settings.kafka, "mysql_url": self.settings.mysql(DatabaseRole.WRITER)}

    def send(self, facts: Sequence[Bar], pace: int = 10**9) -> None:
        with Publisher(self.settings.kafka) as publisher:
            for number, fact in enumerate(facts, 1):
                publisher.send(BARS_TOPIC, fact.symbol, wire(fact))
                if number % pace == 0:
                    publisher.flush()

    def stored(self) -> int:
        """Messages in the tables, by the stored offsets of the topics as they are now."""
        ids = {stream.topic_id for stream in describe_streams(self.settings.kafka, TOPICS).values()}
        s, o = schema.streams, schema.stream_offsets
        query = sa.select(sa.func.coalesce(sa.func.sum(o.c.next_offset), 0)).join(s, s.c.id == o.c.stream_id)
        with self.database.admin.connect() as connection:
            return int(connection.execute(query.where(s.c.topic_id.in_(ids))).scalar_one())

    def on_topics(self) -> int:
        return sum(high for topic in TOPICS for _, high in watermarks(self.settings.kafka, topic).values())

    def until_about(self, messages: float) -> None:
        assert wait_until(lambda: self.stored() >= messages, WAIT_S), self.consumers[-1].log.read_text()[-3000:]

    def until_stored(self, timeout_s: float = WAIT_S) -> None:
        wanted = self.on_topics()
        assert wait_until(lambda: self.stored() >= wanted, timeout_s), self.consumers[-1].log.read_text()[-3000:]
        assert self.stored() == wanted

    def assert_batches_tile_the_offsets(self) -> None:
        ends: dict[tuple[int, int], int] = {}
        batches = self.database.rows(schema.ingest_batches)
        for batch in sorted(batches, key=lambda b: (b.stream_id, b.partition_no, b.first_offset)):
            place = (batch.stream_id, batch.partition_no)
            assert batch.first_offset == ends.get(place, 0)
            assert batch.messages == batch.next_offset - batch.first_offset
            ends[place] = batch.next_offset
        offsets = {(o.stream_id, o.partition_no): o.next_offset for o in self.database.rows(schema.stream_offsets)}
        assert offsets == ends


@pytest.fixture
def plant(kafka_server: LocalKafka, database: Database, test_settings: Settings, tmp_path: Path) -> Iterator[Plant]:
    database.empty()
    recreate_topics(test_settings.kafka)
    made = Plant(test_settings, database, tmp_path)
    yield made
    for consumer in made.consumers:
        if consumer.process.poll() is None:
            consumer.kill()
    drop_topics(test_settings.kafka)


def drop_topics(bootstrap: str, topics: Sequence[str] = TOPICS) -> None:
    admin = AdminClient(client_config(bootstrap))

    def there() -> set[str]:
        return set(topics) & admin.list_topics(timeout=10).topics.keys()

    for future in admin.delete_topics(sorted(there())).values() if there() else ():
        future.result(20)
    assert wait_until(lambda: not there(), 20)


def recreate_topics(bootstrap: str) -> None:
    drop_topics(bootstrap)
    ensure_topics(bootstrap, TOPICS)

    def are_there() -> bool:
        try:
            # known by name a moment before its partitions have a leader
            return bool(describe_streams(bootstrap, TOPICS)) and all(watermarks(bootstrap, topic) for topic in TOPICS)
        except TryLaterError:
            return False

    assert wait_until(are_there, 20)


def minute_bars(count: int, first: int = 0) -> list[Bar]:
    """Distinct one-minute bars of twenty symbols, in order of time."""
    made = bar(interval=Interval.M1, event_time=OPENS)
    return [
        replace(made, symbol=SYMBOLS[n % 20], bar_time=at, as_of=at)
        for n in range(first, first + count)
        for at in [OPENS + dt.timedelta(minutes=n // 20)]
    ]


def keys_of(facts: Sequence[Bar]) -> set[tuple[str, dt.datetime]]:
    return {(fact.symbol, fact.bar_time.replace(tzinfo=None)) for fact in facts}


def stored_keys(database: Database) -> list[tuple[str, dt.datetime]]:
    i, b = schema.instruments, schema.bars
    with database.admin.connect() as connection:
        rows = connection.execute(sa.select(i.c.symbol, b.c.bar_time).join(i, i.c.id == b.c.instrument_id))
        return [(row.symbol, row.bar_time) for row in rows]


def test_fifty_thousand_messages_fit_in_a_small_process_that_shows_itself_and_stops_under_load(plant: Plant) -> None:
    total = 50_000
    plant.send(minute_bars(total))
    consumer = plant.consumer()
    plant.until_stored(timeout_s=60)
    batches = plant.database.rows(schema.ingest_batches)
    seconds = (max(b.created_at for b in batches) - min(b.created_at for b in batches)).total_seconds()
    largest = max(b.messages for b in batches)
    memory = psutil.Process(consumer.process.pid).memory_info().rss / 2**20
    print_line(f"consumer: {(total - batches[0].messages) / seconds:,.0f} rows/s, RSS {memory:.0f} MB")
    assert memory < 150
    assert largest >= 1000

    assert consumer.get("/healthz") == (200, "ok\n")
    assert consumer.get("/readyz") == (200, "ok\n")
    assert consumer.get("/elsewhere")[0] == 404
    assert wait_until(lambda: consumer.metric('streamlake_messages_total{outcome="new"}') == total, 5)
    assert consumer.metric("streamlake_broker_to_row_seconds_count") > 0
    with socket.create_connection((LOOPBACK, consumer.port)):
        # a connection that says nothing, as browsers make them, holds nobody up
        assert consumer.get("/healthz")[0] == 200
        pid = consumer.process.pid
        assert wait_until(lambda: heartbeat(plant).get("pid") == pid and heartbeat(plant).get("new") == total, 10)

        more = threading.Thread(target=plant.send, args=(minute_bars(20_000, first=total), 200))
        before = plant.stored()
        more.start()
        assert wait_until(lambda: plant.stored() > before, WAIT_S)
        assert consumer.stop() < 5
        more.join(WAIT_S)
    left = plant.on_topics() - plant.stored()
    assert plant.database.count(schema.bars) == total + 20_000 - left
    plant.assert_batches_tile_the_offsets()


def heartbeat(plant: Plant) -> dict[str, Any]:
    states: dict[str, dict[str, Any]] = {row.process: row.state for row in plant.database.rows(schema.heartbeats)}
    return states.get("consumer", {})


def test_partitions_that_come_while_the_database_is_away_are_taken_up_when_it_is_back(plant: Plant) -> None:
    facts = minute_bars(2000)
    with Proxy(plant.settings.mysql_port) as proxy:
        first = plant.consumer(**plant.through(proxy)).until_ready()
        second = plant.consumer(**plant.through(proxy)).until_ready()
        # a member may be ready before it has a partition: those are given up by the others first
        assert wait_until(lambda: "finance-data[" in second.log.read_text(), WAIT_S), second.log.read_text()
        plant.send(facts[:1000])
        plant.until_stored()
        assert len({batch.consumer for batch in plant.database.rows(schema.ingest_batches)}) == 2
        proxy.cut()
        plant.send(facts[1000:])
        second.kill()
        assert wait_until(lambda: "joining_again" in first.log.read_text(), WAIT_S), first.log.read_text()[-3000:]
        assert first.process.poll() is None
        proxy.restore()
        plant.until_stored()
        assert first.stop() < 5
    assert set(stored_keys(plant.database)) == keys_of(facts)
    assert plant.database.count(schema.dead_letters) == 0
    plant.assert_batches_tile_the_offsets()


@pytest.mark.parametrize(("again", "frozen"), [(50, False), (2000, True)], ids=["shorter", "longer, unseen"])
def test_a_topic_that_is_made_anew_is_followed_from_its_beginning(plant: Plant, again: int, frozen: bool) -> None:
    consumer = plant.consumer().until_ready()
    plant.send(minute_bars(400))
    plant.until_stored()
    if frozen:
        consumer.process.send_signal(signal.SIGSTOP)
    # the offset where it stands exists on the longer new topic, and not on the shorter
    recreate_topics(plant.settings.kafka)
    plant.send(minute_bars(again, first=200))
    consumer.process.send_signal(signal.SIGCONT)
    plant.until_stored()
    assert set(stored_keys(plant.database)) == keys_of(minute_bars(max(400, 200 + again)))
    assert consumer.stop() < 5
    plant.assert_batches_tile_the_offsets()
    assert plant.database.count(schema.alert_outbox) == 0


def test_an_offset_that_the_broker_never_had_stops_the_consumer_with_an_alarm(plant: Plant) -> None:
    consumer = plant.consumer().until_ready()
    plant.send(minute_bars(100))
    plant.until_stored()
    consumer.stop()
    with plant.database.admin.begin() as connection:
        connection.execute(sa.update(schema.stream_offsets).values(next_offset=10**6))
    again = plant.consumer()
    assert again.process.wait(WAIT_S) == 7
    (alert,) = plant.database.rows(schema.alert_outbox)
    assert "stored offset is not on the broker" in alert.body
    assert json.loads(again.log.read_text().splitlines()[-1])["kind"] == "IntegrityError"


def test_actions_come_with_the_bars(plant: Plant) -> None:
    consumer = plant.consumer().until_ready()
    with Publisher(plant.settings.kafka) as publisher:
        publisher.send(ACTIONS_TOPIC, "AAPL", wire(action(event_time=OPENS)))
        publisher.send(BARS_TOPIC, "AAPL", wire(bar(event_time=OPENS)))
    plant.until_stored()
    consumer.stop()
    assert (plant.database.count(schema.corporate_actions), plant.database.count(schema.bars)) == (1, 1)


def test_a_second_consumer_on_the_same_port_says_which_setting_to_change(plant: Plant) -> None:
    first = plant.consumer().until_ready()
    second = plant.consumer(consumer_port=first.port)
    assert second.process.wait(WAIT_S) == 2
    assert "STREAMLAKE_CONSUMER_PORT" in second.log.read_text()
    first.stop()
