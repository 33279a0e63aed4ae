"""What a careful user writes: batches, the same decoder, SQLAlchemy's executemany, offsets in the same transaction.

``python -m benchmarks.peers.executemany GROUP MOST REPORT [SKIP]``; one thread. With SKIP it reports the latencies from
event to row of all messages after the first SKIP. It upserts without asking which version wins,
and writes one batch record and one offset row for each partition of a batch. Stays out: revisions, dead letters,
touches.
"""

import sys
import time
from collections import defaultdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from benchmarks.peers.simple import Task, task
from streamlake_assets.broker.raw_message import to_message
from streamlake_assets.broker.topics import describe_streams
from streamlake_assets.market.contract import BARS_TOPIC, decode_bar
from streamlake_assets.market.sessions import session_date
from streamlake_assets.market.versions import bar_version
from streamlake_assets.stores import schema

BATCH = 5_000


def main() -> None:
    """Store the messages."""
    bars, offsets = mysql.insert(schema.bars), mysql.insert(schema.stream_offsets)
    keys = {column.name for column in schema.bars.primary_key}
    upsert = bars.on_duplicate_key_update(
        {column.name: bars.inserted[column.name] for column in schema.bars.c if column.name not in keys}
    )
    move = offsets.on_duplicate_key_update(next_offset=offsets.inserted.next_offset)
    with task({"enable.auto.commit": False, "fetch.wait.max.ms": 100}) as work:
        stream = describe_streams(work.settings.kafka, (BARS_TOPIC,))[BARS_TOPIC]
        with work.engine.connect() as connection:
            query = sa.select(schema.streams.c.id).where(schema.streams.c.topic_id == stream.topic_id)
            stream_id = connection.execute(query).scalar_one()
        done, skip = 0, int(sys.argv[4]) if len(sys.argv) > 4 else None
        latencies: list[float] = []
        while done < work.most:
            messages = [message for message in work.consumer.consume(BATCH, 0.1) if message.error() is None]
            if not messages:
                continue
            by_partition: dict[int, list[Any]] = defaultdict(list)
            for message in messages:
                by_partition[message.partition() or 0].append(message)
            with work.engine.begin() as connection:
                for partition, group in by_partition.items():
                    place = {"stream_id": stream_id, "partition_no": partition}
                    batch_id = _write_batch(connection, place, group)
                    connection.execute(upsert, [_row(message, work, batch_id) for message in group])
                    connection.execute(move, {**place, "next_offset": group[-1].offset() + 1})
                    work.places[partition] = group[-1].offset() + 1
            done += len(messages)
            if skip is not None:
                now = time.time()
                latencies += [now - _event_time(message) for message in messages]
        if skip is not None:
            work.report["latencies_s"] = [round(value, 4) for value in latencies[skip:]]


def _event_time(message: Any) -> float:
    plain = to_message(message)
    return decode_bar(plain.value, plain.key, plain.broker_time).event_time.timestamp()


def _write_batch(connection: sa.Connection, place: dict[str, int], group: list[Any]) -> int:
    counts = {"messages": len(group), "new": len(group), "versions": len(group)}
    nothing = dict.fromkeys(("changed", "same", "older", "dead"), 0)
    span = {"first_offset": group[0].offset(), "next_offset": group[-1].offset() + 1}
    insert = sa.insert(schema.ingest_batches).values(**place, **span, **counts, **nothing, consumer="executemany")
    return int(connection.execute(insert).lastrowid)


def _row(message: Any, work: Task, batch_id: int) -> dict[str, Any]:
    plain = to_message(message)
    bar = decode_bar(plain.value, plain.key, plain.broker_time)
    return {
        "instrument_id": work.ids[bar.symbol],
        "interval_id": work.intervals[bar.interval.value],
        "bar_time": bar.bar_time.replace(tzinfo=None),
        "session_date": session_date(bar.bar_time, bar.exchange),
        "open": bar.open,
        "high": bar.high,
        "low": bar.low,
        "close": bar.close,
        "volume": bar.volume,
        "vwap": bar.vwap,
        "trades": bar.trades,
        "status": bar.status.value,
        "synthetic": bar.synthetic,
        "source_id": work.source_id,
        "as_of": bar.as_of.replace(tzinfo=None),
        "event_time": bar.event_time.replace(tzinfo=None),
        "known_from": plain.broker_time.replace(tzinfo=None),
        "version_hash": bar_version(bar, 20).digest,
        "batch_id": batch_id,
        "kafka_offset": plain.offset,
    }


if __name__ == "__main__":
    main()
