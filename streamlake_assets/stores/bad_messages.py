"""What an ingest transaction writes of messages that broke the contract: dead letters, and the stop of a partition.

Belongs here: writing within the caller's transaction. Stays out: what operators do with them (``dead_letters``).
"""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from streamlake_assets.market.messages import DeadLetter
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


def write_stop(connection: sa.Connection, place: Place, last: ReadySlice) -> None:
    """Stop a partition behind its last slice, and raise an alert."""
    stream_id, partition = place
    stopped = mysql.insert(schema.stopped_partitions).values(
        stream_id=stream_id, partition_no=partition, next_offset=last.next_offset, reason=last.stop
    )
    connection.execute(stopped.on_duplicate_key_update(next_offset=stopped.inserted.next_offset))
    name = f"{last.stream.topic}[{partition}]"
    put_alert(
        connection,
        f"stopped:{last.stream.topic_id}:{partition}:{last.next_offset}",
        "error",
        f"{name} is stopped: {last.stop}",
        f"No consumer reads {name} from offset {last.next_offset} on. Look at `streamlake dead-letters list`, mend the "
        "producer or the contract, then say `streamlake dead-letters resume`.",
    )
