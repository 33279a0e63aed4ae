"""The count ledger: whether batch records, rows, dead letters and offsets add up, partition by partition.

Belongs here: reading and comparing them. Stays out: the verdict (``market.quality``), the topic (``broker``), the
ledger of forecasts (``ledger``).

Three things hold in every committed state. The batches of a partition tile its offsets, from the first to the stored
offset. Each message is one of new, changed, same, older, dead. A batch has as many versions in the four fact tables and
as many dead letters as its record says: a version keeps the batch that first brought it, wherever it lies.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from streamlake_assets.market.messages import StreamIdentity
from streamlake_assets.market.quality import Imbalance, PartitionCount, partition_imbalances
from streamlake_assets.stores import schema

Marks = Mapping[StreamIdentity, Mapping[int, tuple[int, int]]]
"""First offset held and next to be written of each partition, for the topics as they are now."""

FACTS: Final = (schema.bars, schema.bar_revisions, schema.corporate_actions, schema.corporate_action_revisions)
_OUTCOMES: Final = ("new", "changed", "same", "older", "dead")
_SUMS: Final = ("offsets", "messages", *_OUTCOMES, "versions")
UNKNOWN: Final = "(no batch record)"
"""In place of the topic of rows whose batch record is gone; the hole among the records has its own entry."""


class CountLedger(NamedTuple):
    """The counts of every partition, and what does not add up, in the order of the offsets."""

    partitions: list[PartitionCount]
    imbalances: list[Imbalance]


def read_count_ledger(connection: sa.Connection, marks: Marks | None = None) -> CountLedger:
    """Read the whole ledger; give it a snapshot, and marks that were read after the snapshot began.

    Rows are counted by batch on the index of ``batch_id`` alone, in one pass.
    """
    partitions = _partitions(connection, marks or {})
    imbalances = [*_holes(connection), *_rows(connection)]
    for count in partitions:
        imbalances += partition_imbalances(count)
    # what has no name comes last: the hole it fell into is named before it
    imbalances.sort(key=lambda one: (one.topic == UNKNOWN, one.topic, one.partition, one.first_offset, one.next_offset))
    return CountLedger(partitions, imbalances)


def _partitions(connection: sa.Connection, marks: Marks) -> list[PartitionCount]:
    b, s, o = schema.ingest_batches, schema.streams, schema.stream_offsets
    sums = [sa.func.sum(b.c[name]).label(name) for name in _SUMS[1:]]
    batches = (
        sa.select(
            b.c.stream_id,
            b.c.partition_no,
            sa.func.min(b.c.first_offset).label("first_offset"),
            sa.func.max(b.c.next_offset).label("batches_end"),
            sa.func.sum(b.c.next_offset - b.c.first_offset).label("offsets"),
            *sums,
        )
        .group_by(b.c.stream_id, b.c.partition_no)
        .subquery()
    )
    # from both sides: an offset without batches and batches without an offset are wrong alike
    places = sa.union(sa.select(b.c.stream_id, b.c.partition_no), sa.select(o.c.stream_id, o.c.partition_no)).subquery()
    here = (places.c.stream_id, places.c.partition_no)
    query = (
        sa.select(
            *(s.c.cluster_id, s.c.topic_id, s.c.topic, places.c.partition_no, o.c.next_offset),
            *(batches.c[name] for name in ("first_offset", "batches_end", *_SUMS)),
        )
        .select_from(places)
        .join(s, s.c.id == here[0])
        .outerjoin(batches, sa.and_(batches.c.stream_id == here[0], batches.c.partition_no == here[1]))
        .outerjoin(o, sa.and_(o.c.stream_id == here[0], o.c.partition_no == here[1]))
        .order_by(s.c.topic, s.c.id, places.c.partition_no)
    )
    left = {stream: dict(of) for stream, of in marks.items()}
    found = []
    for row in connection.execute(query):
        stream = StreamIdentity(row.cluster_id, row.topic_id, row.topic)
        low, high = left.get(stream, {}).pop(row.partition_no, (None, None))
        found.append(_count(row, low, high))
    for stream, partitions in left.items():
        # nothing of these is stored: all that is on the topic waits
        found += [
            PartitionCount(
                topic=stream.topic, partition=number, first_offset=low, batches_end=low, stored_offset=low,
                low=low, high=high,
            )
            for number, (low, high) in partitions.items()
        ]  # fmt: skip
    return sorted(found, key=lambda count: (count.topic, count.partition))


def _count(row: sa.Row[Any], low: int | None, high: int | None) -> PartitionCount:
    stored = row.next_offset or 0
    # without any batch all that is stored is a hole
    start = (low or 0) if row.first_offset is None else row.first_offset
    return PartitionCount(
        topic=row.topic,
        partition=row.partition_no,
        first_offset=start,
        batches_end=start if row.batches_end is None else row.batches_end,
        stored_offset=stored,
        low=low,
        high=high,
        **{name: int(row._mapping[name] or 0) for name in _SUMS},
    )


def _holes(connection: sa.Connection) -> list[Imbalance]:
    """Find ranges between batches that no batch covers or that two cover, and records that contradict themselves."""
    b, s = schema.ingest_batches, schema.streams
    before = sa.func.lag(b.c.next_offset).over(
        partition_by=[b.c.stream_id, b.c.partition_no], order_by=b.c.first_offset
    )
    tiles = sa.select(
        b.c.stream_id,
        b.c.partition_no,
        b.c.first_offset,
        b.c.next_offset,
        b.c.messages,
        sum((b.c[name] for name in _OUTCOMES[1:]), b.c[_OUTCOMES[0]]).label("outcomes"),
        before.label("before"),
    ).subquery()
    too_many = tiles.c.messages > tiles.c.next_offset - tiles.c.first_offset
    query = (
        sa.select(s.c.topic, tiles)
        .join(s, s.c.id == tiles.c.stream_id)
        .where(sa.or_(tiles.c.before != tiles.c.first_offset, tiles.c.messages != tiles.c.outcomes, too_many))
    )
    found = []
    for row in connection.execute(query):
        place = (row.topic, row.partition_no)
        if row.before is not None and row.before < row.first_offset:
            found.append(Imbalance(*place, row.before, row.first_offset, "no batch record"))
        elif row.before is not None and row.before > row.first_offset:
            found.append(Imbalance(*place, row.first_offset, row.before, "in two batch records"))
        if row.messages != row.outcomes:
            what = f"{row.messages} messages, {row.outcomes} outcomes"
            found.append(Imbalance(*place, row.first_offset, row.next_offset, what))
        if row.messages > row.next_offset - row.first_offset:
            found.append(
                Imbalance(*place, row.first_offset, row.next_offset, f"{row.messages} messages, fewer offsets")
            )
    return found


def _rows(connection: sa.Connection) -> list[Imbalance]:
    """Find batches that have other numbers of rows than their records say."""
    b, d, s = schema.ingest_batches, schema.dead_letters, schema.streams
    count = sa.func.count()
    none: sa.ColumnElement[int] = sa.literal_column("0")
    parts: list[sa.Select[Any]] = [
        sa.select(table.c.batch_id, count.label("versions"), none.label("dead")).group_by(table.c.batch_id)
        for table in FACTS
    ]
    parts.append(sa.select(d.c.batch_id, none, count).group_by(d.c.batch_id))
    parts.append(sa.select(b.c.id, -b.c.versions, -b.c.dead))
    # rows and records in one list: what does not cancel out is wrong, and rows without a record are found too
    all_parts = sa.union_all(*parts).subquery()
    versions, dead = sa.func.sum(all_parts.c.versions), sa.func.sum(all_parts.c.dead)
    wrong = (
        sa.select(all_parts.c.batch_id, versions.label("versions"), dead.label("dead"))
        .group_by(all_parts.c.batch_id)
        .having(sa.or_(versions != 0, dead != 0))
        .subquery()
    )
    query = (
        sa.select(wrong, s.c.topic, b.c.partition_no, b.c.first_offset, b.c.next_offset)
        .select_from(wrong)
        .outerjoin(b, b.c.id == wrong.c.batch_id)
        .outerjoin(s, s.c.id == b.c.stream_id)
    )
    found = []
    for row in connection.execute(query).all():
        topic, partition, first, end = row.topic, row.partition_no, row.first_offset, row.next_offset
        if topic is None:
            topic, partition = UNKNOWN, -1
            first, end = _offsets_of(connection, row.batch_id)
        found += [
            Imbalance(topic, partition, first, end, _difference(int(number), name))
            for number, name in ((row.versions, "version"), (row.dead, "dead letter"))
            if number
        ]
    return found


def _difference(number: int, name: str) -> str:
    rows = f"{abs(number)} {name}{'' if abs(number) == 1 else 's'}"
    return f"{rows} missing" if number < 0 else f"{rows} more than the batch record says"


def _offsets_of(connection: sa.Connection, batch_id: int) -> tuple[int, int]:
    tables = (*FACTS, schema.dead_letters)
    offsets = sa.union_all(*(sa.select(t.c.kafka_offset).where(t.c.batch_id == batch_id) for t in tables)).subquery()
    least, most = sa.func.min(offsets.c.kafka_offset), sa.func.max(offsets.c.kafka_offset)
    row = connection.execute(sa.select(least, most)).one()
    return (row[0], row[1] + 1)
