"""What exactly-once costs: the store with all it writes beside the rows, and the same store without that.

Timed: ``BarStore.ingest`` from the first to the last batch, in this process, on slices decoded and prepared before:
without Kafka and decoding a difference of a few percent is not lost in their noise. ``store`` is the store as it is.
``store-bare`` writes the same rows by the same statements, but moves no offset, writes no batch record and no touches:
its rows name one batch that was there before. Checked: rows, volumes and digest of both; offsets of ``store``.
"""

import gc
import os
import time
from collections.abc import Sequence

import sqlalchemy as sa

from benchmarks import checks
from benchmarks.cases.base import NotRunError, Run
from benchmarks.made_bars import bars
from benchmarks.measure import Meter
from benchmarks.rig import Rig, write_batches
from streamlake_assets.broker.topics import describe_streams
from streamlake_assets.market.contract import BARS_TOPIC
from streamlake_assets.market.messages import Arrival, Slice, StreamIdentity
from streamlake_assets.settings import DatabaseRole
from streamlake_assets.stores.bar_store import BarStore, Part, Runs
from streamlake_assets.stores.mysql import make_engine
from streamlake_assets.stores.versions_merge import Touch

MOST_ROWS = 200_000
BATCH = 5_000


class BareStore(BarStore):
    """Rows and nothing else: for this comparison only, since a crash would lose or repeat messages."""

    def _move_offsets(self, connection: sa.Connection, parts: Sequence[Part]) -> None:
        """Move nothing."""

    def _write_batches(self, connection: sa.Connection, parts: Sequence[Part]) -> None:
        for part in parts:
            part.batch_id = 1

    def _insert_new(self, connection: sa.Connection, runs: Runs, held: bool) -> set[Touch]:
        super()._insert_new(connection, runs, held)
        return set()


class Store:
    """One of the two; both read the same slices."""

    def __init__(self, bare: bool) -> None:
        self.name = "store-bare" if bare else "store"
        self._kind = BareStore if bare else BarStore
        self._engine: sa.Engine | None = None

    def setup(self, rig: Rig) -> None:
        """Decide how many rows, and whose."""
        self._rows = min(rig.rows, MOST_ROWS)
        self._engine = make_engine(rig.settings, DatabaseRole.WRITER)
        self._topic = describe_streams(rig.settings.kafka, (BARS_TOPIC,))[BARS_TOPIC]
        self._stream = rig.stream_id()

    def run(self, rig: Rig) -> Run:
        """Store all slices, one batch in one transaction."""
        if self._engine is None:
            raise NotRunError("it was not set up")
        rig.empty()
        if self._kind is BareStore:
            with rig.owner.begin() as connection:
                write_batches(connection, self._stream, 1, size=self._rows)
        store = self._kind(self._engine, "benchmark")
        ready = [store.prepare(part) for part in slices(self._topic, self._rows)]
        gc.collect()
        rig.settle()
        with Meter({"client": os.getpid(), **rig.pids()}) as meter:
            store.ingest(ready[:1])
            before, started = meter.cpu(), time.perf_counter()
            for part in ready[1:]:
                store.ingest([part])
            seconds, after = time.perf_counter() - started, meter.cpu()
        store.close()
        spent = {name: round(after[name] - before[name], 3) for name in before}
        return Run(rows=self._rows - BATCH, seconds=seconds, cpu_s=spent, peak_mib=meter.peaks())

    def check(self, rig: Rig) -> None:
        """Compare the table."""
        if self._kind is BarStore:
            checks.require_offsets(self.name, rig.owner, {0: self._rows})
        checks.require(self.name, checks.sums(rig.owner), checks.sums_of(bars(self._rows)))

    def close(self) -> None:
        """Let go of the database."""
        if self._engine is not None:
            self._engine.dispose()


def slices(stream: StreamIdentity, rows: int) -> list[Slice]:
    """Return the first bars as slices of one partition."""
    arrivals = [Arrival(number, bar.as_of, bar) for number, bar in enumerate(bars(rows))]
    return [
        Slice(stream, 0, start, start + BATCH, arrivals[start : start + BATCH], []) for start in range(0, rows, BATCH)
    ]
