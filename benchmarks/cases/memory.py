"""Memory of the consumer while messages wait: few of them, and a full topic, each with the database away for a while.

Measured at 10 Hz: the peak of the whole run, and the settled value, the median of the last seconds in which the
database was away. The order: the offset rows are locked, the consumer starts and takes its first batch, which then
waits for the lock; the connection to the database is cut; messages keep waiting; connection and lock come back, and
everything is stored. Checked: rows, volumes and offsets in the end, so that memory was not saved by losing something.
"""

import time
from contextlib import ExitStack
from typing import Any

import sqlalchemy as sa

from benchmarks import checks
from benchmarks.cases.latency import begin_at_end
from benchmarks.made_bars import Sums
from benchmarks.measure import Meter
from benchmarks.rig import Rig
from streamlake_assets.commands.services import consumer
from streamlake_assets.drill.proxy import Proxy
from streamlake_assets.errors import StreamlakeError
from streamlake_assets.servers.probes import http_ready
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.stores import schema

FEW = 10_000
SETTLE_S = 3.0
PATIENCE_S = 180.0


def measure(rig: Rig, away_s: float) -> list[dict[str, Any]]:
    """Return one record for few messages and one for the whole topic.

    Raises:
        WrongRunError: something was lost.
    """
    return [_one(rig, waiting, away_s) for waiting in (FEW, rig.rows)]


def _one(rig: Rig, waiting: int, away_s: float) -> dict[str, Any]:
    rig.empty()
    share = waiting // rig.partitions
    ends = rig.expected.ends
    starts = {p: (max(0, end - share) if waiting < rig.rows else 0) for p, end in ends.items()}
    begin_at_end(rig, waiting if waiting < rig.rows else sum(ends.values()) * rig.partitions)
    total = sum(ends.values()) - sum(starts.values())
    query = sa.select(sa.func.count()).select_from(schema.bars)
    with ExitStack() as stack:
        proxy = stack.enter_context(Proxy(rig.settings.mysql_port))
        spec = consumer(rig.settings.model_copy(update={"mysql_port": proxy.port}))
        child = rig.child("consumer", spec.argv, dict(spec.env))
        stack.callback(child.stop)
        lock = stack.enter_context(rig.owner.connect())
        lock.execute(sa.select(schema.stream_offsets).with_for_update()).all()
        rig.settle()
        meter = stack.enter_context(Meter(rig.pids()))
        meter.watch("client", child.start())
        if not wait_until(lambda: http_ready(spec.ready_url), PATIENCE_S):
            raise StreamlakeError(f"the consumer is not ready: {child.log_tail()}")
        wait_until(lambda: False, SETTLE_S)
        proxy.cut()
        lock.rollback()
        wait_until(lambda: not child.running, away_s)
        ended = time.monotonic()
        settled = meter.settled("client", SETTLE_S)
        proxy.restore()
        if not wait_until(lambda: not child.running or rig.scalar(query) >= total, PATIENCE_S) or not child.running:
            raise StreamlakeError(f"the consumer did not store {total:,} rows: {child.log_tail()}")
        drained = time.monotonic() - ended
    checks.require_offsets("memory", rig.owner, ends)
    whole, before = rig.expected.sums(ends), rig.expected.sums(starts)
    sent = Sums(*(a - b for a, b in zip(whole, before, strict=True)))
    checks.require("memory", checks.sums(rig.owner), sent)
    record = {
        "waiting": total,
        "away_s": away_s,
        "settled_mib": round(settled, 1),
        "peak_mib": meter.peaks()["client"],
        "drained_s": round(drained, 2),
        "trace": [[round(at, 1), round(now["client"], 1)] for at, now in meter.trace if "client" in now],
    }
    rig.say(
        f"memory with {total:,} waiting: peak {record['peak_mib']} MiB, settled while away {record['settled_mib']} MiB"
    )
    return record
