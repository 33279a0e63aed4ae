"""Loading much at once: what lies on the topics between two offsets, through the consumer's own loop.

Belongs here: from where to where, progress, and `backfill`. Stays out: rebuilding beside the live tables
(``ingest_rebuild``), the loop (``sidecar.ingest``), options and tables (``ingest_app``).

A load is a consumer without a group. Both may run at once: the stored offset decides who stores a message, and the one
who came too late reads the offset again and goes on from there.
"""

import datetime as dt
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
import structlog

from streamlake_assets.broker.range_reader import Place, Range, RangeReader
from streamlake_assets.broker.topics import describe_streams, watermarks
from streamlake_assets.commands.data import replay_file, require_servers
from streamlake_assets.commands.ingest import who
from streamlake_assets.errors import IntegrityError
from streamlake_assets.market.contract import ACTIONS_TOPIC, BARS_TOPIC
from streamlake_assets.market.dead_letter_limit import DeadLetterLimit
from streamlake_assets.market.messages import Counts, StreamIdentity
from streamlake_assets.servers.waiting import Say
from streamlake_assets.settings import DatabaseRole, Settings
from streamlake_assets.sidecar.handover import Stored, ThreadHandover
from streamlake_assets.sidecar.ingest import IngestLoop
from streamlake_assets.sidecar.stream_process import configure_logs
from streamlake_assets.stores.bar_store import BarStore
from streamlake_assets.stores.mysql import make_engine, outages_as_try_later

_SAY_EVERY_S = 2.0
_DRAIN_S = 1.0
TAKE = 5_000
TRANSACTION = 20_000
"""Messages taken at once, and stored at once: nobody waits for one of them, and each LOAD DATA has its own price."""


class Loaded(NamedTuple):
    """What a load did."""

    counts: Counts
    seconds: float
    by_others: int
    """Messages of the ranges that somebody else stored in the meantime."""
    stopped: list[tuple[Place, str]]
    """Partitions that were not read to their end, and why."""

    def as_record(self) -> dict[str, Any]:
        """Return it as plain data."""
        names = ("messages", "new", "changed", "same", "older", "dead")
        return {
            **{name: getattr(self.counts, name) for name in names},
            "seconds": self.seconds,
            "per_second": self.counts.messages / self.seconds if self.seconds else 0.0,
            "by_others": self.by_others,
            "stopped": [
                {"topic": topic, "partition": partition, "reason": reason}
                for (topic, partition), reason in self.stopped
            ],
        }


def backfill_topics(settings: Settings, what: str, say: Say) -> dict[str, Any]:
    """Load what waits on a topic, from the stored offsets to where the topic ends now.

    Args:
        settings: where the servers are.
        what: a topic of the contract, or ``all``.
        say: takes progress.

    Raises:
        SettingError: a configured server does not answer.
        TryLaterError: a local one is not up.
        IntegrityError: the tables hold offsets that the topic does not have.
    """
    require_servers(settings, "kafka", "mysql")
    topics = (BARS_TOPIC, ACTIONS_TOPIC) if what == "all" else (what,)
    streams = describe_streams(settings.kafka, topics)
    engine = make_engine(settings, DatabaseRole.WRITER, local_infile=True)
    try:
        ranges = _waiting(settings, engine, streams)
        limit = DeadLetterLimit(settings.dead_letter_share, settings.dead_letter_run)
        return load(settings.kafka, engine, streams, ranges, say, limit).as_record()
    finally:
        engine.dispose()


def backfill_file(
    settings: Settings,
    path: Path,
    options: Mapping[str, Any],
    strict: bool,
    rejects: Path | None,
    as_of: dt.datetime | None,
    say: Say,
) -> dict[str, Any]:
    """Publish a file as ``replay`` does, then load what waits on both topics, the file's messages among it.

    Raises:
        UsageError: the file cannot be read as bars, or ``strict`` and a row is bad.
        SettingError: a configured server does not answer.
        TryLaterError: a local one is not up.
    """
    require_servers(settings, "kafka", "mysql")
    sent = replay_file(settings, path, options, strict, rejects, wait=False, as_of=as_of, say=say)
    return {**sent, **backfill_topics(settings, "all", say), "stored": True}


def load(
    bootstrap: str,
    engine: sa.Engine,
    streams: dict[str, StreamIdentity],
    ranges: Mapping[Place, Range],
    say: Say,
    limit: DeadLetterLimit | None = None,
) -> Loaded:
    """Store everything between the offsets of each partition.

    Args:
        bootstrap: address of the cluster.
        engine: of a user that may write; with ``local_infile``.
        streams: identity of each topic of the ranges.
        ranges: first offset, and the first that is not wanted any more, by topic and partition.
        say: takes progress.
        limit: of dead letters; None: none.

    Raises:
        TryLaterError: the broker is not available; what was stored stays so, and the same call goes on from there.
        IntegrityError: an offset is not on the broker.
    """
    with _errors_logged():
        return _load(bootstrap, engine, streams, ranges, say, limit)


@contextmanager
def _errors_logged() -> Iterator[None]:
    """Log errors to standard error while a load runs, as the consumer does; what is put off, progress tells."""
    before = structlog.get_config()
    configure_logs("error")
    try:
        yield
    finally:
        structlog.configure(**before)


def _load(
    bootstrap: str,
    engine: sa.Engine,
    streams: dict[str, StreamIdentity],
    ranges: Mapping[Place, Range],
    say: Say,
    limit: DeadLetterLimit | None,
) -> Loaded:
    total = sum(max(0, end - first) for first, end in ranges.values())
    store = BarStore(engine, f"load:{who()}"[:128], bulk=_may_load_local(engine, say))
    reader = RangeReader(bootstrap, ranges)
    handover = ThreadHandover(store, most=TRANSACTION)
    loop = IngestLoop(reader, store, streams, handover=handover, limit=limit, most=TAKE)
    progress = _Progress(total, say)
    start = time.monotonic()
    try:
        for topic in sorted({topic for topic, _ in ranges}):
            partitions = [number for name, number in ranges if name == topic]
            begin = loop.start_offsets(topic, partitions)
            # the consumer may have gone on since the ranges were made
            reader.rewind({(topic, number): offset for number, offset in begin.items()})
        while True:
            progress.note(loop.turn(), loop.in_outage)
            if reader.done and not loop.in_outage and handover.drain(_DRAIN_S):
                progress.note(loop.turn(), loop.in_outage)
                if not loop.in_outage and _is_stored(store, streams, reader, loop.stopped):
                    break
        progress.note(loop.finish(_DRAIN_S), False)
        stopped = _stopped(store, streams, ranges)
    finally:
        handover.close()
        reader.close()
        store.close()
    seconds = time.monotonic() - start
    counts = progress.counts
    by_others = max(0, total - counts.messages) if loop.fenced else 0
    return Loaded(counts, seconds, by_others, stopped)


class _Progress:
    """Sums up what was stored, and says so now and then."""

    def __init__(self, total: int, say: Callable[[str], None]) -> None:
        self.counts = Counts()
        self._total = total
        self._say = say
        self._start = self._said = time.monotonic()
        self._outage = False

    def note(self, stored: Sequence[Stored], in_outage: bool) -> None:
        for one in stored:
            self.counts.add(one.counts)
        now = time.monotonic()
        if in_outage and not self._outage:
            self._say("put off: MySQL is away, or another consumer was first; reading the offsets again")
        self._outage = in_outage
        if stored and now - self._said > _SAY_EVERY_S:
            self._said = now
            rate = self.counts.messages / (now - self._start)
            self._say(f"{self.counts.messages:,} of {self._total:,} messages, {rate:,.0f}/s")


def _waiting(settings: Settings, engine: sa.Engine, streams: Mapping[str, StreamIdentity]) -> dict[Place, Range]:
    store = BarStore(engine, "load")
    ranges = {}
    for topic, stream in streams.items():
        stored = store.next_offsets(stream)
        for number, (low, high) in watermarks(settings.kafka, topic).items():
            first = stored.get(number, low)
            if first > high:
                raise IntegrityError(
                    f"{topic}[{number}]: the tables hold offsets up to {first - 1}, the topic ends at {high - 1}. "
                    "`streamlake ledger` compares them"
                )
            ranges[topic, number] = (first, high)
    return ranges


def _may_load_local(engine: sa.Engine, say: Say) -> bool:
    with outages_as_try_later("asking for local_infile"), engine.connect() as connection:
        allowed = bool(connection.execute(sa.text("SELECT @@local_infile")).scalar_one())
    if not allowed:
        say("the server refuses LOAD DATA LOCAL (local_infile=0): loading by statements, which is slower")
    return allowed


def _is_stored(
    store: BarStore, streams: Mapping[str, StreamIdentity], reader: RangeReader, stopped: frozenset[Place]
) -> bool:
    wanted = {place: offset for place, offset in reader.handed_out.items() if place not in stopped}
    for topic in {topic for topic, _ in wanted}:
        stored = store.next_offsets(streams[topic])
        if any(stored.get(number, 0) < offset for (name, number), offset in wanted.items() if name == topic):
            return False
    return True


def _stopped(
    store: BarStore, streams: Mapping[str, StreamIdentity], ranges: Mapping[Place, Range]
) -> list[tuple[Place, str]]:
    found = {(topic, number): why for topic, stream in streams.items() for number, why in store.stopped(stream).items()}
    return sorted((place, found[place]) for place, (first, end) in ranges.items() if place in found and first < end)
