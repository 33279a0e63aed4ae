"""The plant of a drill: real servers in a folder of its own, empty topics and tables, consumers between them.

Belongs here: start, reset and end of the plant, and what every case asks of it. Stays out: faults (the modules of
``cases.THEMES``), judgement (``checker``).
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa
from confluent_kafka.admin import AdminClient
from pydantic import SecretStr

from streamlake_assets.broker.topics import client_config, describe_streams, ensure_topics, watermarks
from streamlake_assets.drill import oracle, sender, tables
from streamlake_assets.drill.checker import DrillError, Outcome, Place, judge, read_found
from streamlake_assets.drill.consumer_child import MODULE, ROOT, ConsumerChild
from streamlake_assets.drill.manifest import Manifest, Sending, numbered_message
from streamlake_assets.drill.proxy import Proxy
from streamlake_assets.errors import TryLaterError
from streamlake_assets.market.contract import ACTIONS_TOPIC, BARS_TOPIC
from streamlake_assets.market.messages import StreamIdentity
from streamlake_assets.servers.document_store import LocalDocumentStore
from streamlake_assets.servers.home import Home
from streamlake_assets.servers.kafka import LocalKafka
from streamlake_assets.servers.mysql import LocalMysql
from streamlake_assets.servers.process import ChildRegistry, end_own
from streamlake_assets.servers.waiting import Say, wait_until
from streamlake_assets.settings import DATABASE, DatabaseRole, Settings
from streamlake_assets.stores import schema
from streamlake_assets.stores.mysql import make_engine

TOPICS = (BARS_TOPIC, ACTIONS_TOPIC)
STORED_S = 60.0


class Plant:
    """Servers, topics, tables and consumers; use as a context manager.

    Args:
        folder: an empty folder for everything; None: a temporary one.
        fast: the short form of every case.
        flavour: ``auto``, ``mysql`` or ``mariadb``.
        durable: the database at its default durability.
        say: takes progress.

    Attributes:
        settings: where the servers are.
        kafka: the broker; ``kafka.child`` can be killed, ``kafka.start()`` brings it back.
        mysql: the database server, likewise.
        admin: engine of the user that may do everything with the schema.
        manifest: what was sent since the last reset.
        env: variables that every consumer gets.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        fast: bool = False,
        flavour: str = "auto",
        durable: bool = True,
        say: Say = lambda _line: None,
    ) -> None:
        self.fast = fast
        self.say = say
        self._stack = ExitStack()
        self.folder = folder or Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="streamlake-drill-")))
        self.settings = tables.local_settings(self.folder, flavour)
        self.registry = ChildRegistry(Home.of(self.settings).create())
        self.kafka = LocalKafka(self.settings, self.registry)
        self.mysql = LocalMysql(self.settings, self.registry, durable=durable)
        self.manifest = Manifest()
        self.env: dict[str, str] = {}
        self.consumers: list[ConsumerChild] = []
        self._proxies: list[Proxy] = []
        self._streams: list[StreamIdentity] = []
        self._documents: LocalDocumentStore | None = None
        self._reference: tables.PlantSchema | None = None

    def __enter__(self) -> Self:
        self._stack.callback(end_own, self.registry)
        try:
            for server in (self.kafka, self.mysql):
                server.prepare(self.say)
                self._stack.callback(server.stop)
                server.start()
            self.admin = make_engine(self.settings, DatabaseRole.MIGRATE)
            self._schema = tables.PlantSchema(self.admin)
            self._stack.callback(self._schema.close)
            self._home_settings = self.settings
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear_away()
        self._stack.close()

    def reset(self) -> None:
        """Empty topics and tables, end what a case left; servers that a case stopped are started again."""
        self.clear_away()
        self.env.clear()
        for server in (self.kafka, self.mysql):
            if server.child is not None and not server.child.running:
                server.start()
        self._schema.empty()
        self._recreate_topics()
        self.manifest = Manifest()

    def clear_away(self) -> None:
        """End all consumers and proxies."""
        for consumer in self.consumers:
            consumer.clear_away()
        self.consumers.clear()
        for proxy in self._proxies:
            proxy.close()
        self._proxies.clear()

    def servers(self) -> list[str]:
        """Name the servers with their versions."""
        return [server.info().what for server in (self.kafka, self.mysql)]

    def consumer(
        self, env: Mapping[str, str] | None = None, module: str = MODULE, database: Proxy | None = None, **changes: Any
    ) -> ConsumerChild:
        """Start one more consumer.

        Args:
            env: more variables for it.
            module: another program than the consumer.
            database: a proxy that it reaches the database through.
            changes: settings of its own, by field name.
        """
        changes = {"consumer_port": tables.free_port(), **changes}
        if database is not None:
            url = sa.make_url(self.settings.mysql(DatabaseRole.WRITER)).set(port=database.port)
            # in plain text: the proxy must know a COMMIT when it sees one
            url = url.update_query_dict({"ssl_disabled": "true"})
            text = SecretStr(url.render_as_string(hide_password=False))
            changes |= {"mysql_url": text, "mysql_writer_url": text}
        settings = self.settings.model_copy(update=changes)
        name = f"consumer-{time.monotonic_ns()}"
        self.consumers.append(ConsumerChild(name, settings, self.registry, {**self.env, **(env or {})}, module))
        return self.consumers[-1]

    def proxy(self, port: int | None = None) -> Proxy:
        """Open a proxy before the database, or before another port; it is closed at the end of the case."""
        self._proxies.append(Proxy(self.settings.mysql_port if port is None else port).open())
        return self._proxies[-1]

    def documents(self) -> Settings:
        """Start the document store once; return the settings that name it."""
        if self._documents is None:
            self._documents = LocalDocumentStore(self.settings, self.registry)
            self._documents.prepare(self.say)
            self._stack.callback(self._documents.stop)
            self._documents.start()
        return self.settings

    def send(self, sendings: Sequence[Sending], per_second: float | None = None, **config: Any) -> None:
        """Note messages in the manifest and send them; returns when the broker has them all."""
        self.manifest.add(sendings)
        sender.send(self.settings.kafka, sendings, per_second, **config)

    def sending(self, sendings: Sequence[Sending], per_second: float | None = None) -> sender.Background:
        """Note messages in the manifest; they are sent beside the body of the ``with`` that takes this."""
        self.manifest.add(sendings)
        return sender.Background(self.settings.kafka, sendings, per_second)

    def streaming(self, per_second: float, make: Callable[[int], Sending] = numbered_message) -> sender.Background:
        """Send messages without end, each made of its number, beside the body of the ``with`` that takes this."""
        return sender.Background(self.settings.kafka, self._endless(make), per_second, endless=True)

    def _endless(self, make: Callable[[int], Sending]) -> Iterator[Sending]:
        while True:
            # what is made is sent but for the last one, after which the stream was told to end
            message = make(self.manifest.sent)
            yield message
            self.manifest.add([message])

    def stored(self) -> int:
        """Return how many messages of the present topics are in the tables, by the stored offsets."""
        s, o = schema.streams, schema.stream_offsets
        query = sa.select(sa.func.coalesce(sa.func.sum(o.c.next_offset), 0)).join(s, s.c.id == o.c.stream_id)
        with self.admin.connect() as connection:
            return int(connection.execute(query.where(s.c.topic_id.in_(self.topic_ids))).scalar_one())

    @property
    def topic_ids(self) -> list[str]:
        """Ids of the topics as they are now."""
        return [stream.topic_id for stream in self._streams]

    def watermarks(self) -> dict[Place, int]:
        """Return the broker's next offset of each partition."""
        return {
            (topic, partition): high
            for topic in TOPICS
            for partition, (_, high) in watermarks(self.settings.kafka, topic).items()
        }

    def until(self, condition: Callable[[], bool], what: str, timeout_s: float = STORED_S) -> float:
        """Wait for something; return the seconds it took.

        Raises:
            DrillError: it did not come in time.
        """
        begun = time.monotonic()
        if not wait_until(condition, timeout_s):
            tails = "; ".join(one.child.log_tail(2) for one in self.consumers[-2:])
            raise DrillError(f"{what} did not come within {timeout_s:g} s; consumers: {tails}")
        return time.monotonic() - begun

    def until_stored(self, timeout_s: float = STORED_S) -> float:
        """Wait until everything that is on the topics is in the tables; return the seconds it took."""
        wanted = sum(self.watermarks().values())
        return self.until(lambda: self.stored() >= wanted, f"{wanted} stored messages", timeout_s)

    def until_more_stored(self, than: int, timeout_s: float = STORED_S) -> float:
        """Wait until more than so many messages are in the tables; return the seconds it took."""
        return self.until(lambda: self.stored() > than, f"more than {than} stored messages", timeout_s)

    def check(self, compare: bool = True) -> Outcome:
        """Judge the tables against the manifest and, unless told not to, against an undisturbed run."""
        marks = self.watermarks()
        found = read_found(self.admin, self.topic_ids, marks)
        if compare:
            found.digests = self.digests()
            found.reference = self._undisturbed(marks)
        return judge(self.manifest, found)

    def make_schema_anew(self) -> None:
        """Drop the schema and make it again, as on the first day."""
        self._schema.make_anew()

    def digests(self) -> dict[str, str]:
        """Return the digest of every raw table."""
        return tables.digests(self.admin)

    def count(self, table: sa.Table) -> int:
        """Return the number of rows of a table."""
        with self.admin.connect() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())

    def rows(self, table: sa.Table) -> list[sa.Row[Any]]:
        """Return all rows of a table in key order."""
        with self.admin.connect() as connection:
            return list(connection.execute(sa.select(table).order_by(*table.primary_key.columns)))

    def logged(self, event: str) -> int:
        """Return how often the consumers of this case logged an event."""
        return sum(one.log.count(f'"event": "{event}"') for one in self.consumers)

    def fenced(self) -> int:
        """Return how many batches the present consumers had refused because the stored offset had moved."""
        return self.logged("fenced")

    def hold(self, seconds: float, *consumers: ConsumerChild) -> None:
        """Let a fault last; consumers named here must live through it.

        Raises:
            DrillError: one of them ended.
        """
        wait_until(lambda: not all(one.running for one in consumers), seconds)
        for one in consumers:
            if not one.running:
                raise DrillError(f"a consumer ended with {one.child.poll()} during the fault: {one.child.log_tail(3)}")

    @contextmanager
    def elsewhere(self, settings: Settings) -> Iterator[None]:
        """Work with other servers for a while; topics and schema must be there, consumers end before this does.

        Args:
            settings: where the broker and the database are.
        """
        before = (self.settings, self.admin, self._streams)
        self.settings = settings
        self.admin = make_engine(settings, DatabaseRole.MIGRATE)
        try:
            self._describe()
            yield
        finally:
            self.clear_away()
            self.admin.dispose()
            self.settings, self.admin, self._streams = before

    def command(self, *arguments: str) -> tuple[int, str]:
        """Run the project's command line on the plant; return its exit code and what it said."""
        environment = {**os.environ, **self.settings.as_environment(), "PYTHONPATH": str(ROOT)}
        argv = [sys.executable, "-m", "streamlake_assets.cli", *arguments]
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=300, check=False)
        return done.returncode, done.stdout + done.stderr

    def root(self, database: str = DATABASE) -> sa.Engine:
        """Return an engine of the server's root user; dispose of it after use."""
        return tables.root_engine(self.settings, database)

    def _undisturbed(self, marks: Mapping[Place, int]) -> dict[str, str]:
        if self._reference is None:
            self._reference = tables.second_schema(self._home_settings)
            self._stack.callback(self._reference.close)
        self._reference.empty()
        oracle.store_all(self._reference.engine, self.settings.kafka, self._streams, marks)
        return self._reference.digests()

    def _recreate_topics(self) -> None:
        admin = AdminClient(client_config(self.settings.kafka))

        def there() -> set[str]:
            return set(TOPICS) & admin.list_topics(timeout=10).topics.keys()

        for future in admin.delete_topics(sorted(there())).values() if there() else ():
            future.result(20)
        self.until(lambda: not there(), "the end of the old topics", 20)
        ensure_topics(self.settings.kafka, TOPICS)

        self._describe()

    def _describe(self) -> None:
        def described() -> bool:
            try:
                self._streams = list(describe_streams(self.settings.kafka, TOPICS).values())
            except TryLaterError:
                return False
            return True

        self.until(described, "the topics", 20)
