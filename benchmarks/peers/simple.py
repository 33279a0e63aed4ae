"""What the simple systems have in common: their settings, the topic from its beginning, ids, and the report at the end.

Belongs here: what is not their point. Stays out: how each of them writes.
"""

import datetime as dt
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from streamlake_assets.broker.topics import client_config
from streamlake_assets.market.contract import BARS_TOPIC
from streamlake_assets.servers.home import write_atomic
from streamlake_assets.settings import DatabaseRole, Settings, load_settings
from streamlake_assets.stores import schema
from streamlake_assets.stores.mysql import make_engine


class Task(NamedTuple):
    """What a simple system is given; ``ids`` and ``intervals`` by symbol and name."""

    settings: Settings
    engine: sa.Engine
    consumer: Consumer
    most: int
    ids: dict[str, int]
    intervals: dict[str, int]
    source_id: int
    places: dict[int, int]
    """Next offset of each partition, kept by the one who stores."""
    report: dict[str, Any]
    """What the report says beside the places."""


@contextmanager
def task(config: dict[str, Any]) -> Iterator[Task]:
    """Read the arguments GROUP MOST REPORT, subscribe at the stored offsets, write the report at the end."""
    group, most, report = sys.argv[1:4]
    settings = load_settings()
    engine = make_engine(settings, DatabaseRole.WRITER)
    consumer = Consumer({**client_config(settings.kafka), "group.id": group, "auto.offset.reset": "earliest", **config})
    with engine.connect() as connection:
        i, s, v = schema.instruments, schema.data_sources, schema.bar_intervals
        ids = dict(connection.execute(sa.select(i.c.symbol, i.c.id)).tuples().all())
        intervals = dict(connection.execute(sa.select(v.c.name, v.c.id)).tuples().all())
        source = connection.execute(sa.select(s.c.id).where(s.c.name == "benchmark")).scalar_one()
        o = schema.stream_offsets
        starts = dict(connection.execute(sa.select(o.c.partition_no, o.c.next_offset)).tuples().all())

    def begin(consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for place in partitions:
            place.offset = starts.get(place.partition, OFFSET_BEGINNING)
        consumer.assign(partitions)

    work = Task(settings, engine, consumer, int(most), ids, intervals, source, {}, {})
    consumer.subscribe([BARS_TOPIC], on_assign=begin)
    yield work
    consumer.close()
    engine.dispose()
    write_atomic(Path(report), json.dumps({"places": work.places, **work.report}))


def plain_row(message: Any, work: Task) -> dict[str, Any]:
    """Return a row from json.loads, believed as it is."""
    value = message.value()
    bar = json.loads(value)
    bar_time = _plain(bar["bar_time"])
    return {
        "instrument_id": work.ids[bar["symbol"]],
        "interval_id": work.intervals[bar["interval"]],
        "bar_time": bar_time,
        "session_date": bar_time.date(),
        "open": bar["open"],
        "high": bar["high"],
        "low": bar["low"],
        "close": bar["close"],
        "volume": bar["volume"],
        "vwap": bar.get("vwap"),
        "trades": bar.get("trades"),
        "status": bar["status"],
        "synthetic": bar["synthetic"],
        "source_id": work.source_id,
        "as_of": _plain(bar["as_of"]),
        "event_time": _plain(bar["event_time"]),
        "known_from": dt.datetime.fromtimestamp(message.timestamp()[1] / 1000, dt.UTC).replace(tzinfo=None),
        "version_hash": hashlib.md5(value, usedforsecurity=False).digest(),
        "batch_id": 1,
        "kafka_offset": message.offset(),
    }


def _plain(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=None)


def for_each(work: Task, store: Callable[[Any], None]) -> None:
    """Poll messages one by one and hand each to ``store``, until there were enough."""
    done = 0
    while done < work.most:
        message = work.consumer.poll(1.0)
        if message is None or message.error():
            continue
        store(message)
        partition, offset = message.partition(), message.offset()
        if partition is not None and offset is not None:
            work.places[partition] = offset + 1
        done += 1
