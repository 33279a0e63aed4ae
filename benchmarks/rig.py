"""The servers a benchmark runs on: a real broker with one full topic, and a real MySQL with its schema.

Belongs here: starting them in a temporary folder, filling the topic and the ready file once, what every case may use.
Stays out: what is measured (``cases``). ``stack`` starts the whole chain with documents for the cases that need it.

Both servers run with their default durability (binary log on, every commit flushed). The buffer pool and the redo log
are 1 GiB each, as on any server that is meant to take a million rows: with the 128 MiB of a laptop's set-up every case
would measure checkpoints.
"""

import datetime as dt
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from confluent_kafka import KafkaError, Message, Producer

from benchmarks import checks
from benchmarks.made_bars import EXCHANGE, SOURCE, SOURCE_RANK, SYMBOLS, Expected, bars, ready_line
from benchmarks.ports import free_ports
from streamlake_assets.broker.publisher import PRODUCER_CONFIG
from streamlake_assets.broker.topics import client_config, describe_streams, ensure_topics
from streamlake_assets.errors import TryLaterError
from streamlake_assets.flows.machine import wait_idle
from streamlake_assets.market.contract import ACTIONS_TOPIC, BARS_TOPIC, encode_bar
from streamlake_assets.servers.home import Home
from streamlake_assets.servers.kafka import LocalKafka
from streamlake_assets.servers.mysql import LocalMysql
from streamlake_assets.servers.mysql_users import ROOT, ensure_passwords
from streamlake_assets.servers.process import ChildProcess, ChildRegistry, end_own
from streamlake_assets.servers.waiting import Say
from streamlake_assets.settings import DATABASE, LOOPBACK, DatabaseRole, Settings
from streamlake_assets.stores import migrate, schema
from streamlake_assets.stores.mysql import make_engine

_PORTS = ("kafka_port", "kafka_controller_port", "mysql_port", "mongo_port", "consumer_port")
ROWS_PER_BATCH = 5_000
"""Rows of the ready file that name the same batch."""
TUNING = {
    "mysql": ("SET GLOBAL innodb_buffer_pool_size = 1073741824", "SET GLOBAL innodb_redo_log_capacity = 1073741824"),
    "mariadb": ("SET GLOBAL innodb_buffer_pool_size = 1073741824", "SET GLOBAL innodb_log_file_size = 1073741824"),
}
_FACTS = (
    "version",
    "version_comment",
    "log_bin",
    "sync_binlog",
    "innodb_flush_log_at_trx_commit",
    "innodb_buffer_pool_size",
    "innodb_redo_log_capacity",
    "innodb_log_file_size",
    "innodb_flush_method",
    "innodb_doublewrite",
    "binlog_format",
    "binlog_row_image",
)


class References:
    """Ids of the rows that ``bars`` points to."""

    def __init__(self, connection: sa.Connection) -> None:
        i, s, v = schema.instruments, schema.data_sources, schema.bar_intervals
        self.instruments = dict(connection.execute(sa.select(i.c.symbol, i.c.id)).tuples().all())
        self.intervals = dict(connection.execute(sa.select(v.c.name, v.c.id)).tuples().all())
        self.source = int(connection.execute(sa.select(s.c.id).where(s.c.name == SOURCE)).scalar_one())


@dataclass
class Rig:
    """What a case may use; ``expected`` and ``ready_file`` speak of the messages that are on the topic."""

    settings: Settings
    registry: ChildRegistry
    kafka: LocalKafka
    mysql: LocalMysql
    owner: sa.Engine
    """The migrating user, who may empty tables and load local files."""
    root: sa.Engine
    say: Say
    folder: Path
    rows: int
    partitions: int
    idle_s: float
    """Longest wait for an idle machine before a run."""
    expected: Expected = field(default_factory=Expected)
    busy: float = 0.0
    """Use of the processors in percent just before the last run."""
    facts: dict[str, Any] = field(default_factory=dict)
    references: References = field(init=False)

    @property
    def ready_file(self) -> Path:
        """The bars as a file for ``LOAD DATA``."""
        return self.folder / "bars.tsv"

    def pids(self) -> dict[str, int]:
        """Return the servers' processes by name."""
        found = {"mysql": self.mysql.child, "broker": self.kafka.child}
        return {name: child.pid for name, child in found.items() if child is not None and child.pid is not None}

    def empty(self) -> None:
        """Empty the tables and throw away the binary logs of the runs before."""
        checks.empty_tables(self.owner)
        with self.root.connect() as connection:
            connection.exec_driver_sql("FLUSH BINARY LOGS")
            connection.exec_driver_sql("PURGE BINARY LOGS BEFORE NOW()")

    def settle(self) -> None:
        """Wait until the machine is idle, and remember whether it was."""
        self.busy = wait_idle(self.idle_s)

    def scalar(self, query: sa.Executable) -> Any:
        """Return the one value of a query."""
        with self.owner.connect() as connection:
            return connection.execute(query).scalar_one()

    def child(self, name: str, argv: Sequence[str], env: dict[str, str]) -> ChildProcess:
        """Return a child process of this rig, not started yet; it ends with the rig at the latest."""
        return ChildProcess(name, argv, self.registry, env)

    def stream_id(self) -> int:
        """Return the id of the topic's row in ``streams``."""
        topic_id = describe_streams(self.settings.kafka, (BARS_TOPIC,))[BARS_TOPIC].topic_id
        return int(self.scalar(sa.select(schema.streams.c.id).where(schema.streams.c.topic_id == topic_id)))


@contextmanager
def open_rig(say: Say, rows: int, partitions: int, idle_s: float) -> Iterator[Rig]:
    """Start broker and MySQL in a new folder, fill topic and ready file; stop and delete all at the end."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="streamlake-bench-")))
        ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
        settings = Settings(
            _env_file=None,
            home=folder / "home",
            log_level="warning",
            **ports,  # type: ignore[arg-type]
        )
        registry = ChildRegistry(Home.of(settings).create())
        stack.callback(end_own, registry)
        kafka, mysql = LocalKafka(settings, registry), LocalMysql(settings, registry)
        for server in (kafka, mysql):
            stack.callback(server.stop)
            server.prepare(say)
            server.start()
            say(server.info().line)
        root, owner = root_engine(settings), _owner_engine(settings)
        stack.callback(root.dispose)
        stack.callback(owner.dispose)
        with root.connect() as connection:
            for statement in TUNING[mysql.choice.flavour]:
                connection.exec_driver_sql(statement)
        migrate.upgrade(owner)
        migrate.grant_rights(owner)
        ensure_topics(settings.kafka, (BARS_TOPIC, ACTIONS_TOPIC), partitions)
        rig = Rig(settings, registry, kafka, mysql, owner, root, say, folder, rows, partitions, idle_s)
        rig.facts = {"kafka": kafka.info().what, "mysql": mysql.info().what, "variables": _variables(root)}
        rig.references = ensure_references(rig)
        fill(rig)
        yield rig


def root_engine(settings: Settings) -> sa.Engine:
    """Return an engine of the server's own root, who may set what holds for all."""
    password = ensure_passwords(Home.of(settings).secrets)[ROOT]
    url = sa.URL.create("mysql+pymysql", ROOT, password, LOOPBACK, settings.mysql_port, DATABASE)
    return sa.create_engine(url, isolation_level="AUTOCOMMIT")


def _owner_engine(settings: Settings) -> sa.Engine:
    engine = make_engine(settings, DatabaseRole.MIGRATE)

    @sa.event.listens_for(engine, "do_connect")
    def _local_files(_dialect, _record, _arguments, options) -> None:  # type: ignore[no-untyped-def]
        options["local_infile"] = True

    return engine


def _variables(root: sa.Engine) -> dict[str, str]:
    with root.connect() as connection:
        found = {row[0]: row[1] for row in connection.exec_driver_sql("SHOW GLOBAL VARIABLES")}
    return {name: found[name] for name in _FACTS if name in found}


def ensure_references(rig: Rig) -> References:
    """Insert the instruments, the source and the stream; no case pays for first sight."""
    stream = describe_streams(rig.settings.kafka, (BARS_TOPIC,))[BARS_TOPIC]
    with rig.owner.begin() as connection:
        known = connection.execute(sa.select(schema.exchanges.c.id).where(schema.exchanges.c.mic == EXCHANGE)).scalar()
        if known is None:
            made = connection.execute(sa.insert(schema.exchanges).values(mic=EXCHANGE, zone="America/New_York"))
            known = made.lastrowid
        records = [{"symbol": name, "exchange_id": known, "asset_class": "stock"} for name in SYMBOLS]
        connection.execute(sa.insert(schema.instruments), records)
        connection.execute(sa.insert(schema.data_sources).values(name=SOURCE, source_rank=SOURCE_RANK))
        connection.execute(sa.insert(schema.streams).values(**stream._asdict()))
        return References(connection)


def write_batches(connection: sa.Connection, stream_id: int, count: int, size: int = ROWS_PER_BATCH) -> None:
    """Insert batches 1 to ``count``, which rows that come from elsewhere name."""
    connection.execute(
        sa.insert(schema.ingest_batches),
        [
            {
                "id": number + 1,
                "stream_id": stream_id,
                "partition_no": 0,
                "first_offset": number * size,
                "next_offset": (number + 1) * size,
                "messages": size,
                "new": size,
                "changed": 0,
                "same": 0,
                "older": 0,
                "dead": 0,
                "versions": size,
                "consumer": "benchmark",
            }
            for number in range(count)
        ],
    )


def fill(rig: Rig) -> None:
    """Put every bar on the topic and into the ready file, and remember what was sent."""
    ids = rig.references
    started = time.monotonic()
    partition_of: dict[bytes, int] = {}
    producer = Producer({**client_config(rig.settings.kafka), **PRODUCER_CONFIG})

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            raise TryLaterError(f"a message was not delivered: {error.str()}")
        partition_of[message.key()] = message.partition()  # type: ignore[index, assignment]

    with rig.ready_file.open("wb") as file:
        for number, bar in enumerate(bars(rig.rows)):
            key, value = bar.symbol.encode(), encode_bar(bar, dt.datetime.now(dt.UTC))
            while True:
                try:
                    producer.produce(BARS_TOPIC, value=value, key=key, on_delivery=delivered)
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
            batch = number // ROWS_PER_BATCH + 1
            file.write(ready_line(bar, ids.instruments[bar.symbol], ids.intervals["1m"], ids.source, batch, number))
    if producer.flush(60):
        raise TryLaterError("the topic could not be filled within a minute")
    for bar in bars(rig.rows):
        rig.expected.add(partition_of[bar.symbol.encode()], bar)
    rig.facts["message_bytes"] = len(value)
    took = time.monotonic() - started
    rig.say(f"{rig.rows:,} messages of {len(value)} bytes on {rig.partitions} partitions, {took:.0f} s")
