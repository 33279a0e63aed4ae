"""The Debezium JDBC sink on Kafka Connect, the usual way from a topic to a table without writing code.

Timed as every pipeline (``watching``), in the table ``bars_sink``, whose differences from ``bars`` are told in
``peers.debezium.table``. The worker runs on from round to round. Checked: rows, volumes and digest; its offsets lie in
Kafka and follow every 10 s, so they are not compared.
"""

from contextlib import ExitStack

from benchmarks import checks
from benchmarks.cases.base import NotRunError, Run
from benchmarks.measure import Meter
from benchmarks.peers.debezium.sink import Sink
from benchmarks.peers.debezium.table import BARS_SINK
from benchmarks.rig import Rig
from benchmarks.watching import Background, count_rows, keys_are_there, watch
from streamlake_assets.errors import StreamlakeError


class Debezium:
    """The peer to beat."""

    name = "debezium"

    def __init__(self) -> None:
        self._sink: Sink | None = None

    def setup(self, rig: Rig) -> None:
        """Fetch and start the worker, make the table."""
        try:
            self._sink = Sink(rig)
            self._sink.start()
        except StreamlakeError as error:
            self.close()
            raise NotRunError(str(error)) from error
        BARS_SINK.metadata.create_all(rig.owner)

    def run(self, rig: Rig) -> Run:
        """Let a new connector read the whole topic."""
        sink = self._sink
        if sink is None or sink.child.pid is None:
            raise NotRunError("the worker does not run")
        rig.empty()
        rig.settle()
        keys = [
            {"symbol": symbol, "interval": "1m", "bar_time": at.replace(tzinfo=None)}
            for symbol, at in rig.expected.last.values()
        ]
        with ExitStack() as stack:
            meter = stack.enter_context(Meter({"client": sink.child.pid, **rig.pids()}))
            there = keys_are_there(BARS_SINK, keys)
            work = Background(
                lambda: watch(rig.owner, meter, count_rows(BARS_SINK), there, rig.rows, lambda: sink.child.running)
            )
            work.start()
            try:
                sink.begin()
                seen = work.result()
            except StreamlakeError as error:
                raise StreamlakeError(f"{error} {sink.failure()}") from error
            finally:
                sink.end()
        return Run(
            rows=seen.rows_between,
            seconds=seen.seconds,
            whole_s=round(seen.last_s, 3),
            cpu_s=seen.cpu(),
            peak_mib=meter.peaks(),
            extra={"first_rows": seen.first_rows},
        )

    def check(self, rig: Rig) -> None:
        """Compare the sink's table."""
        checks.require(self.name, checks.sums(rig.owner, sink=True), rig.expected.sums(rig.expected.ends))

    def close(self) -> None:
        """Stop the worker."""
        if self._sink is not None:
            self._sink.stop()
