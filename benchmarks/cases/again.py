"""The whole topic once more when all of it is stored: every message is *same*, nothing may change.

Timed by the stored offsets, from the first sight of one to the sight of the last. To let the consumer begin anew, the
batches are handed to another stream and the offsets removed, as after a topic was made anew with the same messages. It
runs right after ``ours`` on the tables that ``ours`` left. Checked: rows, volumes, digest and offsets; every message
counted as same.
"""

from contextlib import ExitStack

import sqlalchemy as sa

from benchmarks import checks
from benchmarks.cases.base import Run
from benchmarks.measure import Meter
from benchmarks.rig import Rig
from benchmarks.watching import Background, count_offsets, watch
from streamlake_assets.commands.services import consumer
from streamlake_assets.stores import schema


class Replay:
    """Messages that are stored already."""

    name = "replay"

    def setup(self, rig: Rig) -> None:
        """Make the stream that takes the old batches."""
        self._stream = rig.stream_id()
        with rig.owner.begin() as connection:
            made = connection.execute(sa.insert(schema.streams).values(cluster_id="old", topic_id="old", topic="old"))
            self._old = int(made.lastrowid)

    def run(self, rig: Rig) -> Run:
        """Consume the whole topic again."""
        batches = schema.ingest_batches
        with rig.owner.begin() as connection:
            connection.execute(sa.update(batches).values(stream_id=self._old))
            connection.execute(sa.delete(schema.stream_offsets))
        rig.settle()
        spec = consumer(rig.settings)
        child = rig.child("consumer", spec.argv, dict(spec.env))
        count = count_offsets(schema.stream_offsets)
        with ExitStack() as stack:
            stack.callback(child.stop)
            meter = stack.enter_context(Meter(rig.pids()))
            work = Background(
                lambda: watch(
                    rig.owner,
                    meter,
                    count,
                    lambda connection: count(connection) >= rig.rows,
                    rig.rows,
                    lambda: child.pid is None or child.running,
                )
            )
            meter.watch("client", child.start())
            work.start()
            seen = work.result()
        self._same = rig.scalar(sa.select(sa.func.sum(batches.c.same)).where(batches.c.stream_id == self._stream))
        return Run(
            rows=seen.rows_between,
            seconds=seen.seconds,
            whole_s=round(seen.last_s, 3),
            cpu_s=seen.cpu(),
            peak_mib=meter.peaks(),
        )

    def check(self, rig: Rig) -> None:
        """Compare the tables: nothing may have changed."""
        checks.require("replay, same", int(self._same), rig.rows)
        checks.require_offsets(self.name, rig.owner, rig.expected.ends)
        checks.require(self.name, checks.sums(rig.owner), rig.expected.sums(rig.expected.ends))

    def close(self) -> None:
        """End nothing."""
