"""What an ingest transaction writes of messages that broke the contract: dead letters, and the stop of a partition.

Belongs here: writing within the caller's transaction, and what a limit must know of the past. Stays out: what operators
do with them (``dead_letters``, ``stopped_partitions``).
"""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from streamlake_assets.market.dead_letter_limit import WINDOW
from streamlake_assets.market.messages import DeadLetter, RecentDead, StreamIdentity
from streamlake_assets.stores import schema
from streamlake_assets.stores.operations import put_alert
from streamlake_assets.stores.prepared import ReadySlice

Place = tuple[int, int]
"""Stream id and partition."""


def write_dead(connection: sa.Connection, place: Place, batch_id: int, letters: Sequence[DeadLetter]) -> None:
    """Write dead letters, whole but for keys beyond 512 bytes."""
    stream_id, partition = place
    rows = [
        {
            "stream_id": stream_id,
            "partition_no": partition,
            "kafka_offset": letter.offset,
            "reason": letter.reason,
            "detail": letter.detail[:512],
            "message_key": None if letter.key is None else letter.key[:512],
            "payload": letter.payload,
            "broker_time": letter.broker_time.replace(tzinfo=None),
            "batch_id": batch_id,
        }
        for letter in letters
    ]
    if rows:
        connection.execute(mysql.insert(schema.dead_letters), rows)


def recent_dead(connection: sa.Connection, stream: StreamIdentity, partition: int) -> RecentDead:
    """Read the dead letters of the last 1,000 offsets of a partition, from where it was last released on."""
    s, o, p, d, b = (
        *(schema.streams, schema.stream_offsets, schema.stopped_partitions),
        *(schema.dead_letters, schema.ingest_batches),
    )
    stream_id = connection.execute(
        sa.select(s.c.id).where(s.c.cluster_id == stream.cluster_id, s.c.topic_id == stream.topic_id)
    ).scalar()

    def of_partition(table: sa.Table) -> sa.ColumnElement[bool]:
        return sa.and_(table.c.stream_id == stream_id, table.c.partition_no == partition)

    following = connection.execute(sa.select(o.c.next_offset).where(of_partition(o))).scalar()
    if following is None:
        return RecentDead(0, [])
    released = sa.select(p.c.next_offset).where(of_partition(p), p.c.released_at.is_not(None))
    begin = connection.execute(released).scalar()
    if begin is None:
        begin = connection.execute(sa.select(sa.func.min(b.c.first_offset)).where(of_partition(b))).scalar()
    begin = following if begin is None else begin
    query = sa.select(d.c.kafka_offset).where(of_partition(d), d.c.kafka_offset >= max(begin, following - WINDOW))
    return RecentDead(begin, list(connection.execute(query.order_by(d.c.kafka_offset)).scalars()))


def write_stop(connection: sa.Connection, place: Place, last: ReadySlice) -> None:
    """Stop a partition behind its last slice, and raise an alert."""
    stream_id, partition = place
    values = {"next_offset": last.next_offset, "reason": last.stop, "stopped_at": schema.NOW, "released_at": None}
    stopped = mysql.insert(schema.stopped_partitions).values(stream_id=stream_id, partition_no=partition, **values)
    # it may have stopped before, and been released
    connection.execute(stopped.on_duplicate_key_update(**values))
    name = f"{last.stream.topic}[{partition}]"
    put_alert(
        connection,
        f"stopped:{last.stream.topic_id}:{partition}:{last.next_offset}",
        "error",
        f"{name} is stopped: {last.stop}",
        f"No consumer reads {name} from offset {last.next_offset} on. Look at `streamlake dead-letters list`, mend the "
        "producer or the contract, then say `streamlake dead-letters resume`.",
    )
