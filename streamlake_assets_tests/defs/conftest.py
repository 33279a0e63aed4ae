"""The chain on real servers, once for all tests of Dagster definitions: 420 real sessions of three instruments.

``market`` is the good state: history stored by the real consumer, the daily job green, two sessions revealed and
scored, the refresh job green, the consumer stopped. A test that breaks something puts it back (``tables_restored``).
"""

import datetime as dt
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import dagster as dg
import pytest
import sqlalchemy as sa
from confluent_kafka.admin import AdminClient
from pymongo import MongoClient

from streamlake_assets.broker.memory import MemoryBroker
from streamlake_assets.broker.publisher import Publisher
from streamlake_assets.broker.topics import client_config
from streamlake_assets.commands import services
from streamlake_assets.commands.dagster_runs import QUIET, DagsterDriver
from streamlake_assets.commands.data import prepare
from streamlake_assets.definitions import defs
from streamlake_assets.flows import champions
from streamlake_assets.market.contract import ACTIONS_TOPIC, BARS_TOPIC
from streamlake_assets.market.targets import Target
from streamlake_assets.resources import StoreAccess
from streamlake_assets.servers.document_store import LocalDocumentStore
from streamlake_assets.servers.kafka import LocalKafka
from streamlake_assets.servers.mysql import LocalMysql
from streamlake_assets.servers.probes import http_ready
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.settings import DATABASE, LOOPBACK, DatabaseRole, Settings
from streamlake_assets.sidecar.ingest import IngestLoop
from streamlake_assets.sidecar.replay import PublisherOutlet, SessionReplay, StoredPlaces, publish
from streamlake_assets.sidecar.replay_forecasts import OwnForecasts
from streamlake_assets.sidecar.replay_pace import NoPause
from streamlake_assets.sources import bokeh_sample
from streamlake_assets.sources.replay_plan import ReplayPlan, plan_replay
from streamlake_assets.stores import schema
from streamlake_assets.stores.bar_store import BarStore
from streamlake_assets.stores.mysql import make_engine
from streamlake_assets_tests.conftest import recreate_database, settings_in

SYMBOLS = ("AAPL", "IBM", "MSFT")
SESSIONS = 420
HELD_BACK = 2
INGEST = (schema.streams, schema.stream_offsets, schema.ingest_batches, schema.ingest_touches, schema.dead_letters)
"""What the consumer writes beside the facts."""


class Market(NamedTuple):
    """The good state, and ways to it."""

    settings: Settings
    access: StoreAccess
    plan: ReplayPlan
    driver: DagsterDriver


@pytest.fixture(scope="package")
def stack(
    kafka_server: LocalKafka,
    mysql_server: LocalMysql,
    document_server: LocalDocumentStore,
    test_settings: Settings,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Settings]:
    """Settings that name the session's servers as configured ones, with empty tables, topics and documents."""
    recreate_database(test_settings)
    empty_documents(test_settings)
    drop_topics(test_settings.kafka)
    urls = {
        "kafka_bootstrap": test_settings.kafka,
        "mongo_url": test_settings.mongo,
        "mysql_url": test_settings.mysql(DatabaseRole.MIGRATE),
        "mysql_writer_url": test_settings.mysql(DatabaseRole.WRITER),
        "mysql_reader_url": test_settings.mysql(DatabaseRole.READER),
    }
    settings = settings_in(tmp_path_factory.mktemp("defs"), **urls)
    prepare(settings)
    yield settings
    empty_documents(test_settings)
    drop_topics(test_settings.kafka)


@pytest.fixture(scope="package")
def market(stack: Settings) -> Iterator[Market]:
    """The good state."""
    sample = bokeh_sample.load()
    wanted = {bar.bar_time for bar in sample.bars if bar.symbol == SYMBOLS[0]}
    since = sorted(wanted)[-SESSIONS]
    bars = [bar for bar in sample.bars if bar.symbol in SYMBOLS and bar.bar_time >= since]
    actions = [action for action in sample.actions if action.symbol in SYMBOLS and action.ex_date > since.date()]
    plan = plan_replay(bars, actions, held_back=HELD_BACK, bridged=3)
    access = StoreAccess(stack)
    driver = DagsterDriver(stack, services.dagster_home(stack))
    with consuming(stack):
        stored = StoredPlaces(access.reader, stack.kafka)
        with Publisher(stack.kafka) as publisher:
            publish(publisher, plan.history())
        stored.wait(publisher.places, timeout_s=30)
        driver.tick_raw_watermark()
        driver.run("daily")
        speaking = [champions.champion_of(access.reader, access.models, target).model for target in Target]
        with Publisher(stack.kafka) as publisher:
            outlet = PublisherOutlet(publisher, stored)
            SessionReplay(access.writer, outlet, OwnForecasts(access.writer, speaking), access.documents.series()).run(
                plan.live, NoPause(), lambda done: None
            )
        driver.tick_raw_watermark()
        driver.run("refresh")
    yield Market(stack, access, plan, driver)
    driver.close()
    access.close()


@contextmanager
def consuming(settings: Settings) -> Iterator[None]:
    """Run the real consumer; it has ended by itself with exit code 0 afterwards."""
    environment = {**os.environ, **services.environment(settings)}
    log = settings.data_dir / "consumer.log"
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "streamlake_assets.sidecar.consumer"], env=environment, stderr=file
        )
    try:
        ready = f"http://{LOOPBACK}:{settings.consumer_port}/readyz"
        assert wait_until(lambda: http_ready(ready), 30), log.read_text()
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


@contextmanager
def tables_restored(settings: Settings, *tables: sa.Table) -> Iterator[sa.Connection]:
    """Give a connection that may break every rule of the schema, and put the tables back as they were."""
    engine = make_engine(settings, DatabaseRole.MIGRATE)
    with engine.connect() as connection:
        connection.exec_driver_sql("SET SESSION foreign_key_checks=0, check_constraint_checks=0")
        kept = {table: [dict(row._mapping) for row in connection.execute(sa.select(table))] for table in tables}
        connection.commit()
        try:
            yield connection
        finally:
            connection.rollback()
            for table, rows in kept.items():
                connection.exec_driver_sql(f"TRUNCATE TABLE `{table.name}`")  # passes the triggers of the ledger
                if rows:
                    connection.execute(sa.insert(table), rows)
            connection.commit()
    engine.dispose()


def run_job(
    name: str, market: Market, instance: dg.DagsterInstance, tags: dict[str, str] | None = None
) -> dg.ExecuteInProcessResult:
    """Run a job in this process on the stores of the market; a failure is in the result."""
    job = defs().resolve_job_def(name)
    return job.execute_in_process(
        instance=instance, resources={"stores": market.access}, run_config=QUIET, raise_on_error=False, tags=tags
    )


def made(result: dg.ExecuteInProcessResult) -> set[str]:
    """Return the keys of the assets that a run materialised."""
    events = result.get_asset_materialization_events()
    return {event.asset_key.to_user_string() for event in events if event.asset_key}


def ingest(market: Market, sent: Sequence[tuple[str, bytes]]) -> None:
    """Store messages of another stream of bars (key, value), by the loop the consumer runs."""
    broker = MemoryBroker(utc_now)
    for key, value in sent:
        broker.send(BARS_TOPIC, key, value)
    streams = {BARS_TOPIC: broker.identity(BARS_TOPIC)}
    loop = IngestLoop(broker.reader([BARS_TOPIC]), BarStore(market.access.writer, "test"), streams, wait_s=0)
    loop.start_offsets(BARS_TOPIC, range(4))
    stored = 0
    while stored < len(sent):
        found = sum(one.messages for one in loop.turn())
        assert found, "the loop stands still"
        stored += found


def empty_documents(settings: Settings) -> None:
    """Remove everything from the document store."""
    client: MongoClient[dict[str, object]] = MongoClient(settings.mongo)
    for name in client[DATABASE].list_collection_names():
        client[DATABASE].drop_collection(name)
    client.close()


def drop_topics(bootstrap: str) -> None:
    """Delete both topics, if they are there, and return when they are gone."""
    admin = AdminClient(client_config(bootstrap))

    def there() -> set[str]:
        return {BARS_TOPIC, ACTIONS_TOPIC} & admin.list_topics(timeout=10).topics.keys()

    if found := there():
        for future in admin.delete_topics(sorted(found)).values():
            future.result()
    assert wait_until(lambda: not there(), 20)


def whole_number(value: dg.MetadataValue[Any]) -> int:
    """Return a metadata value that must be an integer."""
    assert isinstance(value.value, int)
    return value.value


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
