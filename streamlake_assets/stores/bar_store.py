"""The one way into the raw tables: slices of a topic, exactly once.

Belongs here: the ingest transaction. Rows, revisions, dead letters, the batch record, touches and the offset are
written together or not at all; the offset moves by compare-and-set, so a consumer that lost its partition
writes nothing.
Stays out: decoding (``market.contract``), order of versions (``market.versions``), reading (``bar_reader``).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import IntegrityError as DuplicateOrForeignKey

from streamlake_assets.errors import OffsetFencedError
from streamlake_assets.market.messages import Arrival, Counts, Slice, StreamIdentity
from streamlake_assets.market.types import Bar
from streamlake_assets.market.versions import Outcome, merge
from streamlake_assets.stores import literals, schema
from streamlake_assets.stores.dimensions import UNSEEN_CLASS, Dimensions, ensure_stream
from streamlake_assets.stores.fact_tables import ACTIONS, BARS, FactTable, Key, Row, table_of
from streamlake_assets.stores.mysql import outages_as_try_later

ROWS_PER_STATEMENT = 2_000
"""About half a megabyte of text: beyond a few thousand rows a statement gains nothing, and packets are limited."""


class BarStore:
    """``IngestStore`` on MySQL or MariaDB. One instance serves one consumer process; not thread-safe."""

    def __init__(self, engine: sa.Engine, consumer: str) -> None:
        self._engine = engine
        self._consumer = consumer
        self._ids = Dimensions()
        self._stream_ids: dict[StreamIdentity, int] = {}

    def next_offsets(self, stream: StreamIdentity) -> dict[int, int]:
        """Return the stored next offset of each partition that has one.

        Raises:
            TryLaterError: the database is not available.
        """
        with outages_as_try_later("reading offsets"), self._engine.begin() as connection:
            stream_id = ensure_stream(connection, stream)
            table = schema.stream_offsets
            rows = connection.execute(
                sa.select(table.c.partition_no, table.c.next_offset).where(table.c.stream_id == stream_id)
            )
            offsets = {row.partition_no: row.next_offset for row in rows}
        self._stream_ids[stream] = stream_id
        return offsets

    def ingest(self, slices: Sequence[Slice], within: Callable[[sa.Connection], None] | None = None) -> Counts:
        """Store slices of different partitions and move their offsets, all in one transaction.

        Args:
            slices: at most one of each partition.
            within: called at the end, in the same transaction; what it raises rolls everything back.

        Raises:
            OffsetFencedError: another consumer moved one of the offsets; nothing was stored.
            TryLaterError: the database is not available; after a lost COMMIT only ``next_offsets`` tells.
        """
        total = Counts()
        try:
            with outages_as_try_later("storing a batch"), self._engine.begin() as connection:
                self._move_offsets(connection, slices)
                counts = self._store(connection, slices)
                if within is not None:
                    within(connection)
        except BaseException:
            # ids that were made in this transaction do not exist
            self._ids.forget()
            self._stream_ids.clear()
            raise
        for part in counts:
            total.add(part)
        return total

    def _stream_id(self, connection: sa.Connection, stream: StreamIdentity) -> int:
        if stream not in self._stream_ids:
            self._stream_ids[stream] = ensure_stream(connection, stream)
        return self._stream_ids[stream]

    def _move_offsets(self, connection: sa.Connection, slices: Sequence[Slice]) -> None:
        # first of all: the row lock makes a zombie wait here and then fail, before it has done any work
        table = schema.stream_offsets
        for part in slices:
            where = {"stream_id": self._stream_id(connection, part.stream), "partition_no": part.partition}
            moved = connection.execute(
                sa.update(table)
                .where(*(table.c[name] == value for name, value in where.items()))
                .where(table.c.next_offset == part.first_offset)
                .values(next_offset=part.next_offset, updated_at=schema.NOW)
            ).rowcount
            if moved:
                continue
            try:
                # a partition that was never stored; a row that exists means that somebody else moved it
                with connection.begin_nested():
                    connection.execute(sa.insert(table).values(**where, next_offset=part.next_offset))
            except DuplicateOrForeignKey:
                raise OffsetFencedError(
                    f"{part.stream.topic}[{part.partition}]: the stored offset is not {part.first_offset}; "
                    "another consumer has taken over"
                ) from None

    def _store(self, connection: sa.Connection, slices: Sequence[Slice]) -> list[Counts]:
        arrivals = [(number, arrival) for number, part in enumerate(slices) for arrival in part.arrivals]
        self._prepare_ids(connection, [arrival for _, arrival in arrivals])
        counts = [Counts(dead=len(part.dead)) for part in slices]
        plans = []
        for facts in (BARS, ACTIONS):
            rows = [facts.to_row(a, number, self._ids) for number, a in arrivals if table_of(a) is facts]
            if rows:
                plans.append(self._plan(connection, facts, rows, counts))
        batch_ids = [self._write_batch(connection, part, counts[number]) for number, part in enumerate(slices)]
        for facts, current, revisions in plans:
            key_columns = set(facts.key)
            replaced = [column for column in facts.columns if column not in key_columns]
            _write(connection, facts.table.name, facts.columns, current, batch_ids, replaced)
            _write(connection, facts.revisions.name, facts.columns, revisions, batch_ids, [])
            self._write_touches(connection, facts, current, batch_ids)
        for number, part in enumerate(slices):
            self._write_dead(connection, part, batch_ids[number])
        return counts

    def _prepare_ids(self, connection: sa.Connection, arrivals: Sequence[Arrival]) -> None:
        ids = self._ids
        ids.load_intervals(connection)
        ids.ensure_sources(connection, {arrival.fact.source for arrival in arrivals})
        kinds = {a.fact.instrument: UNSEEN_CLASS.value for a in arrivals}
        kinds.update({a.fact.instrument: a.fact.asset_class.value for a in arrivals if isinstance(a.fact, Bar)})
        ids.ensure_instruments(connection, kinds)
        ids.describe(connection, (a.fact for a in arrivals if isinstance(a.fact, Bar)))

    def _plan(
        self, connection: sa.Connection, facts: FactTable, rows: Sequence[Row], counts: Sequence[Counts]
    ) -> tuple[FactTable, list[Row], list[Row]]:
        by_key: dict[Key, list[Row]] = defaultdict(list)
        for row in rows:
            by_key[row.key].append(row)
        stored = self._stored(connection, facts, by_key)
        current: list[Row] = []
        revisions: list[Row] = []
        # in key order: two writers that lock rows in one order cannot deadlock
        for key in sorted(by_key):
            merged = merge(stored.get(key), by_key[key])
            for row, outcome in zip(by_key[key], merged.outcomes, strict=True):
                _count(counts[row.slice_no], outcome)
            if merged.current.batch_id is None:
                current.append(merged.current)
            revisions.extend(merged.revisions)
        return facts, current, revisions

    def _stored(self, connection: sa.Connection, facts: FactTable, keys: Iterable[Key]) -> dict[Key, Row]:
        found = {}
        for statement in literals.select_by_key(facts.table.name, facts.columns, facts.key, facts.in_list, keys):
            records = connection.exec_driver_sql(statement).all()
            self._ids.know_ranks(connection, {record.source_id for record in records})
            for record in records:
                row = facts.from_row(tuple(record), self._ids)
                found[row.key] = row
        return found

    def _write_batch(self, connection: sa.Connection, part: Slice, counts: Counts) -> int:
        result = connection.execute(
            sa.insert(schema.ingest_batches).values(
                stream_id=self._stream_id(connection, part.stream),
                partition_no=part.partition,
                first_offset=part.first_offset,
                next_offset=part.next_offset,
                messages=counts.messages,
                new=counts.new,
                changed=counts.changed,
                same=counts.same,
                older=counts.older,
                dead=counts.dead,
                versions=counts.new + counts.changed + counts.older,
                consumer=self._consumer,
            )
        )
        return int(result.lastrowid)

    def _write_touches(
        self, connection: sa.Connection, facts: FactTable, current: Sequence[Row], batch_ids: Sequence[int]
    ) -> None:
        daily = self._ids.intervals["1d"]
        # an action changes the adjusted returns from its ex-date on: it touches the daily bars of that month
        touches = {
            (batch_ids[row.slice_no], row.key[0], row.key[1] if facts is BARS else daily, row.session.replace(day=1))
            for row in current
        }
        if touches:
            columns = [column.name for column in schema.ingest_touches.columns]
            connection.exec_driver_sql(literals.upsert("ingest_touches", columns, sorted(touches), []))

    def _write_dead(self, connection: sa.Connection, part: Slice, batch_id: int) -> None:
        if not part.dead:
            return
        stream_id = self._stream_id(connection, part.stream)
        statement = mysql.insert(schema.dead_letters)
        connection.execute(
            statement,
            [
                {
                    "stream_id": stream_id,
                    "partition_no": part.partition,
                    "kafka_offset": letter.offset,
                    "reason": letter.reason,
                    "detail": letter.detail[:512],
                    "message_key": None if letter.key is None else letter.key[:512],
                    "payload": letter.payload,
                    "broker_time": letter.broker_time.replace(tzinfo=None),
                    "batch_id": batch_id,
                }
                for letter in part.dead
            ],
        )


def _write(
    connection: sa.Connection,
    table: str,
    columns: Sequence[str],
    rows: Sequence[Row],
    batch_ids: Sequence[int],
    update: Sequence[str],
) -> None:
    for chunk in _chunks(rows):
        values = [
            (*row.values, batch_ids[row.slice_no] if row.batch_id is None else row.batch_id, row.offset)
            for row in chunk
        ]
        connection.exec_driver_sql(literals.upsert(table, columns, values, update))


def _chunks(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    for start in range(0, len(rows), ROWS_PER_STATEMENT):
        yield rows[start : start + ROWS_PER_STATEMENT]


def _count(counts: Counts, outcome: Outcome) -> None:
    setattr(counts, outcome.value, getattr(counts, outcome.value) + 1)
