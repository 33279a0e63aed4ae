"""Daily history from the first message to the last row: publisher, broker, consumer, MySQL, each its own process.

Timed: from before the first ``send`` to the first look at which all rows are stored (looked at every 20 ms). Not timed:
reading the sample, starting anything; one message before has warmed producer and consumer. Checked: number of rows and
sum of volumes.
"""

import datetime as dt
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import psutil
import sqlalchemy as sa

from benchmarks.stack import Stack, fresh_stack
from streamlake_assets.broker.publisher import Publisher
from streamlake_assets.market.contract import ACTIONS_TOPIC, encode_action
from streamlake_assets.market.types import ActionKind, CorporateAction
from streamlake_assets.sidecar.replay import StoredPlaces, now, publish
from streamlake_assets.sources import bokeh_sample
from streamlake_assets.stores import bar_reader, schema

NAME = "ingest"
_WARM = CorporateAction(
    symbol="WARM",
    kind=ActionKind.SPLIT,
    ex_date=dt.date(2000, 1, 3),
    factor=Decimal("0.5"),
    source="benchmark",
    event_time=dt.datetime(2000, 1, 3, tzinfo=dt.UTC),
    as_of=dt.datetime(2000, 1, 3, tzinfo=dt.UTC),
)


def run(rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Run one warm-up and ``rounds`` rounds, each on a fresh stack."""
    bars = bokeh_sample.load().bars
    volume = sum((bar.volume or Decimal(0) for bar in bars), Decimal(0))
    results = []
    for number in range(rounds + 1):
        with fresh_stack(say) as stack:
            result = _round(stack, bars)
            _check(stack, len(bars), volume)
        say(f"{NAME} round {number}{' (warm-up)' if number == 0 else ''}: {result}")
        if number:
            results.append(result)
    return {"case": NAME, "rows": len(bars), "servers": stack.servers, "rounds": results}


def _round(stack: Stack, bars: list[Any]) -> dict[str, float]:
    stored = StoredPlaces(stack.engine, stack.settings.kafka)
    process = psutil.Process(stack.supervisor.child("consumer").pid)
    with Publisher(stack.settings.kafka) as publisher:
        # an idempotent producer gets its id half a second after it was made; its first message is this one
        publisher.send(ACTIONS_TOPIC, "WARM", encode_action(_WARM, now()))
        publisher.flush()
        stored.wait(publisher.places)
        cpu_before = sum(process.cpu_times()[:2])
        start = time.perf_counter()
        publish(publisher, bars)
        published = time.perf_counter() - start
        stored.wait(publisher.places)
        seconds = time.perf_counter() - start
    return {
        "seconds": round(seconds, 3),
        "publish_seconds": round(published, 3),
        "rows_per_s": round(len(bars) / seconds),
        "consumer_cpu_s": round(sum(process.cpu_times()[:2]) - cpu_before, 3),
        "consumer_rss_mib": round(process.memory_info().rss / 2**20, 1),
    }


def _check(stack: Stack, rows: int, volume: Decimal) -> None:
    with bar_reader.snapshot(stack.engine) as connection:
        found = connection.execute(sa.select(sa.func.count(), sa.func.sum(schema.bars.c.volume))).one()
    if tuple(found) != (rows, volume):
        raise SystemExit(f"{NAME}: {tuple(found)} stored, {(rows, volume)} sent: the round does not count")
