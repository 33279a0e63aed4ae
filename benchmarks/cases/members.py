"""One consumer and two in one group on the same partitions: reported, not gated, since two cores carry everything here.

Timed from the first sight at which both members have stored a batch (for ``one``: the same share of the topic is
stored) to the last row, so that the rebalance of the second one's arrival is left out. Checked as ``ours``: rows,
volumes, digest, offsets.
"""

from contextlib import ExitStack

import sqlalchemy as sa

from benchmarks import checks
from benchmarks.cases.base import Run
from benchmarks.cases.pipelines import last_keys
from benchmarks.measure import Meter
from benchmarks.ports import free_ports
from benchmarks.rig import Rig
from benchmarks.watching import Background, count_rows, keys_are_there, watch
from streamlake_assets.commands.services import consumer
from streamlake_assets.errors import StreamlakeError
from streamlake_assets.stores import schema

LEAST_LEFT = 0.2
"""Share of the topic that must be left when both are at work, or the figure says nothing."""


class Members:
    """``one`` or ``two`` consumers."""

    def __init__(self, count: int) -> None:
        self.name = {1: "one", 2: "two"}[count]
        self._count = count

    def setup(self, rig: Rig) -> None:
        """Nothing to do."""

    def run(self, rig: Rig) -> Run:
        """Start the members side by side and consume the whole topic."""
        rig.empty()
        rig.settle()
        rows, batches = count_rows(schema.bars), schema.ingest_batches
        writers = sa.select(sa.func.count(batches.c.consumer.distinct()))

        def both_at_work(connection: sa.Connection) -> int:
            """Return the rows by now, or 0 while a member has stored nothing yet."""
            return rows(connection) if connection.execute(writers).scalar_one() == self._count else 0

        with ExitStack() as stack:
            meter = stack.enter_context(Meter(rig.pids()))
            children = []
            for number, port in enumerate(free_ports(self._count)):
                spec = consumer(rig.settings.model_copy(update={"consumer_port": port}))
                child = rig.child(f"consumer-{number}", spec.argv, dict(spec.env))
                stack.callback(child.stop)
                children.append(child)
            for number, child in enumerate(children):
                meter.watch("client" if number == 0 else f"client-{number}", child.start())
            there = keys_are_there(schema.bars, last_keys(rig))
            work = Background(
                lambda: watch(
                    rig.owner, meter, both_at_work, there, rig.rows, lambda: all(child.running for child in children)
                )
            )
            work.start()
            try:
                seen = work.result()
            except StreamlakeError as error:
                raise StreamlakeError(f"{self.name}: {error}; {children[-1].log_tail()}") from error
        if seen.rows_between < LEAST_LEFT * rig.rows:
            rig.say(f"{self.name}: only {seen.rows_between:,} rows were left when all members were at work")
        return Run(
            rows=seen.rows_between,
            seconds=seen.seconds,
            whole_s=round(seen.last_s, 3),
            cpu_s=seen.cpu(),
            peak_mib=meter.peaks(),
            extra={"first_rows": seen.first_rows},
        )

    def check(self, rig: Rig) -> None:
        """Compare table and offsets."""
        checks.require_offsets(self.name, rig.owner, rig.expected.ends)
        checks.require(self.name, checks.sums(rig.owner), rig.expected.sums(rig.expected.ends))

    def close(self) -> None:
        """End nothing."""
