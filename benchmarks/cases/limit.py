"""The limit, reference of every round: LOAD DATA LOCAL INFILE of a ready file into ``bars``, one transaction.

Timed: the statement and its commit. The file holds all columns in table order, in the order in which the messages lie
on the topic; the rows that it points to (instruments, source, batches) are there before. So there is no Kafka, no
JSON, no decision which version wins, and no SQL text: what is left is what the server itself needs for these rows with
these indexes and checks. Foreign keys are not checked for each row, as in our own way, or the limit would not be one.
"""

import os
import time

from benchmarks import checks
from benchmarks.cases.base import Run
from benchmarks.measure import Meter
from benchmarks.rig import ROWS_PER_BATCH, Rig, write_batches

_LOAD = "LOAD DATA LOCAL INFILE %s INTO TABLE bars CHARACTER SET latin1"


class Limit:
    """The reference case."""

    name = "limit"

    def setup(self, rig: Rig) -> None:
        """Remember the stream that the batches belong to."""
        self._stream = rig.stream_id()

    def run(self, rig: Rig) -> Run:
        """Load the file once."""
        rig.empty()
        with rig.owner.begin() as connection:
            write_batches(connection, self._stream, -(-rig.rows // ROWS_PER_BATCH))
        rig.settle()
        with Meter({"client": os.getpid(), **rig.pids()}) as meter, rig.owner.connect() as connection:
            connection.exec_driver_sql("SET SESSION foreign_key_checks=0")
            before, started = meter.cpu(), time.perf_counter()
            connection.exec_driver_sql(_LOAD, (str(rig.ready_file),))
            connection.commit()
            seconds, after = time.perf_counter() - started, meter.cpu()
            connection.exec_driver_sql("SET SESSION foreign_key_checks=1")
        spent = {name: round(after[name] - before[name], 3) for name in before}
        return Run(rows=rig.rows, seconds=seconds, cpu_s=spent, peak_mib=meter.peaks())

    def check(self, rig: Rig) -> None:
        """Compare the table."""
        checks.require(self.name, checks.sums(rig.owner), rig.expected.sums(rig.expected.ends))

    def close(self) -> None:
        """End nothing."""
