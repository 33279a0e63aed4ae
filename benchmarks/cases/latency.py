"""From event to row under a steady stream: an open-loop producer at three rates, the consumer as it is.

Timed by the consumer itself: ``streamlake_event_to_row_seconds`` is the time from a message's ``event_time`` (stamped
when it is handed to the producer, linger 5 ms) to the return of the commit that holds its row, for every message. Half
a minute goes before all, two seconds before each rate, so that neither start nor first batch counts. p50 and p99 are
linear inside a bucket, the maximum is the upper edge of the last bucket that holds something. Checked: rows, volumes,
digest.

The topic grows by what is sent here, so this runs after the cases that need it as it was filled. ``cores`` is the
processor time of each process meanwhile as a share of one core, ``late`` how late the producer was against its plan.
"""

import json
import sys
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import httpx
import sqlalchemy as sa

from benchmarks import checks
from benchmarks.figures import Histogram, histogram
from benchmarks.gates import RATES
from benchmarks.made_bars import bars
from benchmarks.measure import cpu_seconds
from benchmarks.rig import Rig
from streamlake_assets.broker.topics import watermarks
from streamlake_assets.commands.services import consumer, environment
from streamlake_assets.errors import StreamlakeError
from streamlake_assets.market.contract import BARS_TOPIC
from streamlake_assets.servers.probes import http_ready
from streamlake_assets.servers.process import ChildProcess
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.settings import LOOPBACK
from streamlake_assets.stores import schema

METRIC = "streamlake_event_to_row_seconds"
WARM_UP_S = 30.0
"""Before the first rate: a broker compiles what it does often, and that takes it a core for half a minute."""
WARM_S = 2.0
PATIENCE_S = 120.0


def measure(rig: Rig, seconds: float) -> list[dict[str, Any]]:
    """Return one record for each rate, with the whole histogram.

    Raises:
        WrongRunError: the table does not hold what was sent.
        StreamlakeError: the consumer does not keep up or has no such metric.
    """
    rig.say(f"warming up for {WARM_UP_S:.0f} s: this does not count")
    _at_rate(rig, sorted(RATES)[len(RATES) // 2], WARM_UP_S)
    return [_at_rate(rig, rate, seconds) for rate in RATES]


def _at_rate(rig: Rig, rate: int, seconds: float) -> dict[str, Any]:
    rig.empty()
    begin_at_end(rig)
    spec = consumer(rig.settings)
    child = rig.child("consumer", spec.argv, dict(spec.env))
    child.start()
    try:
        if not wait_until(lambda: http_ready(spec.ready_url), PATIENCE_S):
            raise StreamlakeError(f"the consumer is not ready: {child.log_tail()}")
        rig.settle()
        with _Paced(rig, rate, seconds) as producer:
            warm = producer.warm()["sent"]
            _wait_stored(rig, warm, child)
            before = _seen(rig, warm)
            spent = _spent(rig, child)
            report = producer.go()
        cores = {name: after - spent[name] for name, after in _spent(rig, child).items()}
        cores["producer"] = report["cpu_s"]
        cores = {name: round(used / report["seconds"], 2) for name, used in cores.items()}
        _wait_stored(rig, warm + report["sent"], child)
        found = histogram(_seen(rig, warm + report["sent"]), before)
    finally:
        child.stop()
    total = warm + report["sent"]
    checks.require(f"latency at {rate}/s", checks.sums(rig.owner), checks.sums_of(bars(total)))
    checks.require(f"latency at {rate}/s, observations", round(found.total), report["sent"])
    batches = rig.scalar(sa.select(sa.func.count()).select_from(schema.ingest_batches))
    result = {
        "rate": rate,
        "seconds": report["seconds"],
        "sent": report["sent"],
        "p50_ms": round(found.quantile(0.5) * 1000, 2),
        "p99_ms": round(found.quantile(0.99) * 1000, 2),
        "max_ms": round(found.greatest * 1000, 2),
        "late_p99_ms": report["late_p99_ms"],
        "late_max_ms": report["late_max_ms"],
        "cores": cores,
        "batch_records": batches,
        "histogram": _as_lists(found),
    }
    rig.say(
        f"latency at {rate:,}/s: p50 {result['p50_ms']} ms, p99 {result['p99_ms']} ms, max below {result['max_ms']} ms "
        f"(producer late by p99 {result['late_p99_ms']} ms; cores used: "
        f"{', '.join(f'{name} {used}' for name, used in cores.items())})"
    )
    return result


def _spent(rig: Rig, child: ChildProcess) -> dict[str, float]:
    pids = {**rig.pids(), "consumer": child.pid or 0}
    return {name: cpu_seconds(pid) for name, pid in pids.items()}


def _seen(rig: Rig, messages: int) -> Mapping[float, float]:
    # a row is there before its metric: the consumer counts at its next turn
    wait_until(lambda: max(read_histogram(_metrics(rig)).values()) >= messages, 10.0)
    return read_histogram(_metrics(rig))


def measure_loop(rig: Rig, seconds: float) -> list[dict[str, Any]]:
    """Return p50, p99 and maximum of the ``consume(5000, 0.1)`` loop of the executemany peer, for comparison.

    It is left out at the highest rate, which it does not keep up with everywhere.
    """
    return [_loop_at_rate(rig, rate, seconds) for rate in RATES[:2]]


def _loop_at_rate(rig: Rig, rate: int, seconds: float) -> dict[str, Any]:
    rig.empty()
    begin_at_end(rig)
    warm, sent = int(rate * WARM_S), int(rate * seconds)
    file = rig.folder / "loop.json"
    file.unlink(missing_ok=True)
    argv = [
        sys.executable,
        "-m",
        "benchmarks.peers.executemany",
        uuid.uuid4().hex,
        str(warm + sent),
        str(file),
        str(warm),
    ]
    child = rig.child("loop", argv, environment(rig.settings))
    child.start()
    try:
        with _Paced(rig, rate, seconds) as producer:
            producer.warm()
            _wait_stored(rig, warm, child)
            producer.go()
        if not wait_until(lambda: file.exists() or not child.running, PATIENCE_S) or not file.exists():
            raise StreamlakeError(f"the loop did not store everything: {child.log_tail()}")
    finally:
        child.stop()
    checks.require(f"loop at {rate}/s", checks.sums(rig.owner), checks.sums_of(bars(warm + sent)))
    values = sorted(json.loads(file.read_text())["latencies_s"])
    found = {f"p{share}_ms": round(values[len(values) * share // 100] * 1000, 1) for share in (50, 99)}
    rig.say(f"consume(5000, 0.1) loop at {rate:,}/s: p50 {found['p50_ms']} ms, p99 {found['p99_ms']} ms")
    return {"rate": rate, **found, "max_ms": round(values[-1] * 1000, 1)}


def _as_lists(found: Histogram) -> dict[str, list[float | str]]:
    edges: list[float | str] = ["inf" if edge == float("inf") else edge for edge in found.edges]
    return {"edges_s": edges, "counts": list(found.counts)}


def begin_at_end(rig: Rig, waiting: int = 0) -> None:
    """Store offsets so that only the last ``waiting`` messages of the topic are left to read."""
    ends = {partition: high for partition, (_, high) in watermarks(rig.settings.kafka, BARS_TOPIC).items()}
    share, stream_id = waiting // len(ends), rig.stream_id()
    rows = [
        {"stream_id": stream_id, "partition_no": partition, "next_offset": max(0, end - share)}
        for partition, end in ends.items()
    ]
    with rig.owner.begin() as connection:
        connection.execute(sa.insert(schema.stream_offsets), rows)


class _Paced:
    """The producer process, from its start to its end."""

    def __init__(self, rig: Rig, rate: int, seconds: float) -> None:
        self._seconds = seconds
        self._folder = Path(tempfile.mkdtemp(prefix="paced-", dir=rig.folder))
        argv = [sys.executable, "-m", "benchmarks.peers.paced", str(rate), str(WARM_S), str(seconds), str(self._folder)]
        self._child = rig.child("paced", argv, environment(rig.settings))

    def __enter__(self) -> Self:
        self._child.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._child.stop()

    def warm(self) -> dict[str, Any]:
        """Wait until the warm part is sent, and return what the producer says of it."""
        return self._report("warm.json")

    def go(self) -> dict[str, Any]:
        """Let it send the rest, and return what it says of it."""
        (self._folder / "go").touch()
        return self._report("sent.json")

    def _report(self, name: str) -> dict[str, Any]:
        file = self._folder / name
        wait_until(lambda: file.exists() or not self._child.running, self._seconds + PATIENCE_S)
        if not file.exists():
            raise StreamlakeError(f"the paced producer failed: {self._child.log_tail()}")
        found: dict[str, Any] = json.loads(file.read_text())
        return found


def _wait_stored(rig: Rig, rows: int, child: ChildProcess) -> None:
    query = sa.select(sa.func.count()).select_from(schema.bars)
    if not wait_until(lambda: not child.running or rig.scalar(query) >= rows, PATIENCE_S) or not child.running:
        raise StreamlakeError(f"the consumer did not store {rows:,} rows: {child.log_tail()}")


def _metrics(rig: Rig) -> str:
    return httpx.get(f"http://{LOOPBACK}:{rig.settings.consumer_port}/metrics", timeout=10).text


def read_histogram(page: str, metric: str = METRIC) -> Mapping[float, float]:
    """Return upper bound -> cumulated count of one histogram of a metrics page.

    Raises:
        StreamlakeError: the page does not have it.
    """
    found = {}
    for line in page.splitlines():
        if line.startswith(f'{metric}_bucket{{le="'):
            edge, _, count = line.partition('le="')[2].partition('"} ')
            found[float(edge)] = float(count)
    if not found:
        raise StreamlakeError(f"the consumer has no metric {metric}")
    return found
