"""Partitions that no consumer reads, because too many of their messages broke the contract: shown, and let go again.

Belongs here: what an operator does with them. Stays out: stopping them (``bad_messages``), the letters that made it
necessary (``dead_letters``).
"""

import datetime as dt
from typing import NamedTuple

import sqlalchemy as sa

from streamlake_assets.market.sessions import UTC
from streamlake_assets.stores import schema
from streamlake_assets.stores.mysql import outages_as_try_later
from streamlake_assets.stores.operations import put_alert


class StoppedPartition(NamedTuple):
    """A partition that is not read, from which offset on, since when and why."""

    stream_id: int
    topic: str
    partition: int
    next_offset: int
    reason: str
    stopped_at: dt.datetime


def stopped_partitions(
    connection: sa.Connection, topic: str | None = None, partition: int | None = None
) -> list[StoppedPartition]:
    """Return the partitions that no consumer reads: all, or those of a topic or of one number."""
    p, s = schema.stopped_partitions, schema.streams
    query = (
        sa.select(p.c.stream_id, s.c.topic, p.c.partition_no, p.c.next_offset, p.c.reason, p.c.stopped_at)
        .join(s, s.c.id == p.c.stream_id)
        .where(p.c.released_at.is_(None))
        .order_by(s.c.topic, p.c.partition_no)
    )
    if topic is not None:
        query = query.where(s.c.topic == topic)
    if partition is not None:
        query = query.where(p.c.partition_no == partition)
    return [StoppedPartition(*row[:5], row[5].replace(tzinfo=UTC)) for row in connection.execute(query)]


def resume(
    engine: sa.Engine, by: str, topic: str | None = None, partition: int | None = None
) -> list[StoppedPartition]:
    """Let consumers read stopped partitions again, and put the news into the outbox in the same transaction.

    Raises:
        TryLaterError: the database is not available.
    """
    p = schema.stopped_partitions
    resumed = []
    with outages_as_try_later("letting partitions go"), engine.begin() as connection:
        for one in stopped_partitions(connection, topic, partition):
            here = (p.c.stream_id == one.stream_id, p.c.partition_no == one.partition, p.c.released_at.is_(None))
            # the row stays: dead letters before it do not count against the partition any more
            if not connection.execute(sa.update(p).where(*here).values(released_at=schema.NOW)).rowcount:
                continue  # somebody else was first
            name = f"{one.topic}[{one.partition}]"
            put_alert(
                connection,
                # with the time: a partition may stop at one offset twice
                f"resumed:{one.stream_id}:{one.partition}:{one.next_offset}:{one.stopped_at.isoformat()}",
                "info",
                f"{name} is read again",
                f"{by} let {name} go on from offset {one.next_offset}. It had stopped: {one.reason}",
                state="recovered",
            )
            resumed.append(one)
    return resumed
