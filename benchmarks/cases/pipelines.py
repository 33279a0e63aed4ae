"""Pipelines in a process of their own: the consumer, and what simple systems write in its place.

Timed for all alike by ``watching``: from the first sight of a row to the sight of the last one. Each is a child
process with its own settings in the environment; each reads the same topic from offset 0 into the same empty table
``bars``:

- ``ours``: the consumer as ``streamlake up`` starts it.
- ``executemany``: consume, the same decoder, SQLAlchemy's executemany upsert, batch record and offset row in the same
  transaction; one thread, 5,000 messages a batch.
- ``per-message``: poll, json.loads, ORM merge, commit, synchronous offset commit, for every message. It is given a
  bounded number of messages; its rate does not depend on how many there are.
- ``per-message-sql``: poll, json.loads, one upsert, commit for every message, Kafka's automatic offset commit.
"""

import json
import sys
import uuid
from contextlib import ExitStack
from pathlib import Path

import sqlalchemy as sa

from benchmarks import checks
from benchmarks.cases.base import Run
from benchmarks.measure import Meter
from benchmarks.rig import Rig, write_batches
from benchmarks.watching import Background, Watched, count_rows, keys_are_there, watch
from streamlake_assets.commands.services import consumer, environment
from streamlake_assets.errors import StreamlakeError
from streamlake_assets.servers.process import ChildProcess
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.stores import schema

PEERS = "benchmarks.peers"


def last_keys(rig: Rig) -> list[dict[str, object]]:
    """Return the keys in ``bars`` of the last message of each partition."""
    ids = rig.references
    return [
        {
            "instrument_id": ids.instruments[symbol],
            "interval_id": ids.intervals["1m"],
            "bar_time": at.replace(tzinfo=None),
        }
        for symbol, at in rig.expected.last.values()
    ]


def measured(rig: Rig, child: ChildProcess, total: int | None = None) -> tuple[Run, Watched]:
    """Start a writer, watch ``bars`` until all is there, and return what it took; the writer runs on."""
    rows = rig.rows if total is None else total
    at_end = keys_are_there(schema.bars, last_keys(rig)) if total is None else _always
    with ExitStack() as stack:
        meter = stack.enter_context(Meter(rig.pids()))
        work = Background(
            lambda: watch(
                rig.owner, meter, count_rows(schema.bars), at_end, rows, lambda: child.pid is None or child.running
            )
        )
        meter.watch("client", child.start())
        work.start()
        try:
            seen = work.result()
        except StreamlakeError as error:
            raise StreamlakeError(f"{child.name}: {error}; its log ends in: {child.log_tail()}") from error
    run = Run(
        rows=seen.rows_between,
        seconds=seen.seconds,
        whole_s=round(seen.last_s, 3),
        cpu_s=seen.cpu(),
        peak_mib=meter.peaks(),
        extra={"first_rows": seen.first_rows},
    )
    return run, seen


def _always(_connection: sa.Connection) -> bool:
    return True


class Ours:
    """The consumer process."""

    name = "ours"

    def setup(self, rig: Rig) -> None:
        """Nothing to do."""

    def run(self, rig: Rig) -> Run:
        """Consume the whole topic."""
        rig.empty()
        rig.settle()
        spec = consumer(rig.settings)
        child = rig.child("consumer", spec.argv, dict(spec.env))
        try:
            run, _ = measured(rig, child)
        finally:
            child.stop()
        run.extra["batches"] = rig.scalar(sa.select(sa.func.count()).select_from(schema.ingest_batches))
        return run

    def check(self, rig: Rig) -> None:
        """Compare table and offsets."""
        checks.require_offsets(self.name, rig.owner, rig.expected.ends)
        checks.require(self.name, checks.sums(rig.owner), rig.expected.sums(rig.expected.ends))

    def close(self) -> None:
        """End nothing."""


class Peer:
    """A simple system of ``benchmarks.peers`` as child process; ``most`` bounds its messages."""

    def __init__(self, name: str, module: str, most: int | None = None) -> None:
        self.name = name
        self._module = module
        self._most = most
        self._places: dict[int, int] = {}

    def setup(self, rig: Rig) -> None:
        """Remember the stream that the batches belong to."""
        self._stream = rig.stream_id()

    def run(self, rig: Rig) -> Run:
        """Consume the topic, or the first ``most`` messages of it."""
        rig.empty()
        if self._most is not None:
            with rig.owner.begin() as connection:
                write_batches(connection, self._stream, 1, size=self._most)
        rig.settle()
        report = rig.folder / f"{self.name}.json"
        report.unlink(missing_ok=True)
        total = rig.rows if self._most is None else self._most
        argv = [sys.executable, "-m", f"{PEERS}.{self._module}", uuid.uuid4().hex, str(total), str(report)]
        child = rig.child(self.name, argv, environment(rig.settings))
        try:
            run, _ = measured(rig, child, self._most)
            self._places = _places(child, report)
        finally:
            child.stop()
        return run

    def check(self, rig: Rig) -> None:
        """Compare table and offsets with the messages that it says it has stored."""
        if self._most is None:
            checks.require_offsets(self.name, rig.owner, rig.expected.ends)
            self._places = rig.expected.ends
        checks.require(f"{self.name}, messages", sum(self._places.values()), self._most or rig.rows)
        checks.require(self.name, checks.sums(rig.owner), rig.expected.sums(self._places))

    def close(self) -> None:
        """End nothing."""


def _places(child: ChildProcess, report: Path) -> dict[int, int]:
    if not wait_until(lambda: report.exists() or not child.running, 30):
        return {}
    return {int(partition): offset for partition, offset in json.loads(report.read_text())["places"].items()}
