"""The one way into the raw tables: slices of a topic, exactly once.

Belongs here: the ingest transaction. Rows, revisions, dead letters, the batch record, touches and the offset are
written together or not at all; the offset moves by compare-and-set, so a consumer that lost its partition writes
nothing. Stays out: decoding (``market.contract``), what needs no database (``prepared``), versions
(``versions_merge``), bad messages (``bad_messages``), reading (``bar_reader``).
"""

import datetime as dt
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import IntegrityError as DuplicateOrForeignKey

from streamlake_assets.errors import IntegrityError, OffsetFencedError, TryLaterError
from streamlake_assets.market.messages import Counts, DeadLetter, RecentDead, Slice, StreamIdentity
from streamlake_assets.market.sessions import UTC
from streamlake_assets.stores import literals, schema
from streamlake_assets.stores.bad_messages import recent_dead, write_dead, write_stop
from streamlake_assets.stores.dimensions import Dimensions, ensure_stream, hold_parents
from streamlake_assets.stores.fact_tables import ACTIONS, BARS, KIND_NUMBER
from streamlake_assets.stores.mysql import outages_as_try_later
from streamlake_assets.stores.prepared import BarSeries, ReadySlice, prepare
from streamlake_assets.stores.row_writers import Block, LoadWriter, RowWriter, StatementWriter
from streamlake_assets.stores.versions_merge import Batch, Pending, Touch, VersionsMerge

IDLE_S = 16
"""After this long without a word the server ends a connection and rolls its transaction back: a consumer that is frozen
in the middle of a batch must not hold the rows of whoever takes its partitions over."""
MANY_ROWS = 100
"""From so many new bars on, one locking read of their parents is cheaper than the check of the keys of each bar and of
each touch; one more parent, the batch record, was written by the same transaction."""
_DUPLICATE = 1062
_MOST_TRIES = 3

_COUNTS = ("messages", "new", "changed", "same", "older", "dead", "versions")
_NEVER = dt.datetime(1, 1, 1, tzinfo=UTC)

Series = tuple[int, int]
"""Ids of an instrument and an interval."""


def _nothing(_: object) -> None:
    """Do nothing at a point of the transaction."""


class Part:
    """What a transaction writes of one partition: one batch record for slices that follow each other."""

    __slots__ = ("batch_id", "counts", "slices", "stream_id", "versions")

    def __init__(self, stream_id: int, first: ReadySlice) -> None:
        self.stream_id = stream_id
        self.slices = [first]
        self.batch_id = 0
        self.counts = Counts()
        self.versions = 0

    @property
    def place(self) -> tuple[int, int]:
        """Stream id and partition."""
        return self.stream_id, self.slices[0].partition

    @property
    def offsets(self) -> tuple[int, int]:
        """First offset, and the first after the last."""
        return self.slices[0].first_offset, self.slices[-1].next_offset

    @property
    def dead(self) -> list[DeadLetter]:
        """All dead letters."""
        return [letter for one in self.slices for letter in one.dead]


Runs = list[tuple[Part, BarSeries]]


class BarStore:
    """``IngestStore`` on MySQL or MariaDB. One instance serves one consumer process.

    One thread calls ``ingest``; ``prepare`` and ``next_offsets`` may be called by another.

    Args:
        engine: of a user that may write.
        consumer: who writes, for the batch records.
        bulk: write by LOAD DATA through a staging table instead of typed literals; the engine must allow LOCAL INFILE.
        at: called with the name of each point of the transaction that it reached: ``offsets``, ``rows``, ``committed``.
        watch: called in each transaction when its rows are written, with the slices; None: nobody watches.
    """

    def __init__(
        self,
        engine: sa.Engine,
        consumer: str,
        bulk: bool = False,
        at: Callable[[str], None] = _nothing,
        watch: Callable[[sa.Connection, Sequence[ReadySlice]], object] | None = None,
    ) -> None:
        self._engine = engine
        self._consumer = consumer
        self._writer: RowWriter = LoadWriter() if bulk else StatementWriter()
        self._at = at
        self._watch = watch
        self._ids = Dimensions()
        self._stream_ids: dict[StreamIdentity, int] = {}
        self._ends: dict[Series, dt.datetime] = {}
        """Latest bar of each series that was met: a later one is new."""
        self._connection: sa.Connection | None = None
        self._used = time.monotonic()
        self._id_step = 1

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
            return {row.partition_no: row.next_offset for row in rows}

    def stopped(self, stream: StreamIdentity) -> dict[int, str]:
        """Return the partitions that nobody may read, with the reason.

        Raises:
            TryLaterError: the database is not available.
        """
        table, s = schema.stopped_partitions, schema.streams
        query = (
            sa.select(table.c.partition_no, table.c.reason)
            .join(s, s.c.id == table.c.stream_id)
            .where(s.c.cluster_id == stream.cluster_id, s.c.topic_id == stream.topic_id, table.c.released_at.is_(None))
        )
        with outages_as_try_later("reading stopped partitions"), self._engine.connect() as connection:
            return {row.partition_no: row.reason for row in connection.execute(query)}

    def recent_dead(self, stream: StreamIdentity, partition: int) -> RecentDead:
        """Return the dead letters that count for the limit of a partition.

        Raises:
            TryLaterError: the database is not available.
        """
        with outages_as_try_later("reading dead letters"), self._engine.connect() as connection:
            return recent_dead(connection, stream, partition)

    def prepare(self, part: Slice) -> ReadySlice:
        """Make a slice ready to be written: the part of the work that needs no database."""
        return prepare(part)

    def ingest(
        self, slices: Sequence[Slice | ReadySlice], within: Callable[[sa.Connection], None] = _nothing
    ) -> Counts:
        """Store slices and move their offsets, all in one transaction.

        Args:
            slices: of any partitions; those of one partition follow each other.
            within: called before the commit, for what must be true together with the slices.

        Raises:
            OffsetFencedError: another consumer moved one of the offsets; nothing was stored.
            TryLaterError: the database is not available; after a lost COMMIT only ``next_offsets`` tells.
            IntegrityError: the database refuses the batch for good.
        """
        ready = [part if isinstance(part, ReadySlice) else prepare(part) for part in slices]
        for attempt in range(_MOST_TRIES):
            try:
                return self._ingest(ready, within, trusting=attempt == 0)
            except DBAPIError as error:
                if _code(error) != _DUPLICATE:
                    # no outage: it would be refused again and again, so somebody must look at it
                    raise IntegrityError(f"the database refuses a batch: {error.orig}") from error
                # somebody else stored a bar that was new by what this store remembers: look everything up
        raise TryLaterError("storing a batch: another writer stores the same bars again and again")

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            # not back into the pool: its session is not like others, and it may be dead
            self._connection.invalidate()
            self._connection.close()
            self._connection = None

    def _ingest(self, slices: Sequence[ReadySlice], within: Callable[[sa.Connection], None], trusting: bool) -> Counts:
        total = Counts()
        with outages_as_try_later("storing a batch"), self._transaction() as connection:
            parts = self._parts(connection, slices)
            self._move_offsets(connection, parts)
            self._at("offsets")
            self._store(connection, parts, trusting)
            self._at("rows")
            if self._watch is not None:
                self._watch(connection, slices)
            within(connection)
            connection.commit()
        self._at("committed")
        for part in parts:
            total.add(part.counts)
        return total

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        # one connection is kept: a pool would ask it for a sign of life before and roll it back after each batch
        if time.monotonic() - self._used > IDLE_S / 2:
            self.close()
        if self._connection is None:
            self._connection = self._engine.connect()
            self._connection.exec_driver_sql(f"SET SESSION wait_timeout={IDLE_S}")
            self._id_step = int(self._connection.exec_driver_sql("SELECT @@auto_increment_increment").scalar_one())
        connection = self._connection
        try:
            yield connection
        except BaseException:
            # ids that were made in this transaction do not exist
            self._ids.forget()
            self._stream_ids.clear()
            self._ends.clear()
            try:
                connection.rollback()
            except DBAPIError:
                self.close()
            if connection.invalidated:
                self.close()
            raise
        finally:
            self._used = time.monotonic()

    def _parts(self, connection: sa.Connection, slices: Sequence[ReadySlice]) -> list[Part]:
        parts: dict[tuple[int, int], Part] = {}
        for one in slices:
            if one.stream not in self._stream_ids:
                self._stream_ids[one.stream] = ensure_stream(connection, one.stream)
            stream_id = self._stream_ids[one.stream]
            known = parts.get((stream_id, one.partition))
            if known is None:
                parts[stream_id, one.partition] = Part(stream_id, one)
            elif known.offsets[1] == one.first_offset:
                known.slices.append(one)
            else:
                raise IntegrityError(
                    f"{one.stream.topic}[{one.partition}]: a slice at offset {one.first_offset} does not follow "
                    f"the one before it, which ends at {known.offsets[1]}"
                )
        return list(parts.values())

    def _move_offsets(self, connection: sa.Connection, parts: Sequence[Part]) -> None:
        # first of all: the row lock makes a zombie wait here and then fail, before it has done any work
        table = schema.stream_offsets
        moves = [(*part.place, *part.offsets) for part in sorted(parts, key=lambda part: part.place)]
        moved = connection.exec_driver_sql(literals.move_offsets(table.name, moves)).rowcount
        if moved == len(moves):
            return
        query = sa.select(table.c.stream_id, table.c.partition_no).where(
            table.c.stream_id.in_({part.stream_id for part in parts})
        )
        there = {tuple(row) for row in connection.execute(query)}
        unseen = [part for part in parts if part.place not in there]
        if moved + len(unseen) == len(moves):
            # partitions that were never stored; a row that exists by now means that somebody else moved it
            rows = [
                {"stream_id": part.place[0], "partition_no": part.place[1], "next_offset": part.offsets[1]}
                for part in unseen
            ]
            try:
                connection.execute(sa.insert(table), rows)
            except DuplicateOrForeignKey:
                moved = -1
            else:
                return
        places = ", ".join(f"{p.slices[0].stream.topic}[{p.place[1]}]@{p.offsets[0]}" for p in parts)
        raise OffsetFencedError(f"a stored offset is not where this batch begins ({places}): somebody has taken over")

    def _store(self, connection: sa.Connection, parts: Sequence[Part], trusting: bool) -> None:
        self._prepare_ids(connection, [one for part in parts for one in part.slices])
        self._write_batches(connection, parts)
        new, rest = self._split(connection, parts, trusting)
        held = sum(len(run.tails) for _, run in new) >= MANY_ROWS and self._hold_parents(connection, new)
        touches = self._insert_new(connection, new, held)
        held = held and not rest and not any(one.actions for part in parts for one in part.slices)
        merge = VersionsMerge(connection, self._ids, self._writer)
        touches |= merge.write(BARS, self._pending_bars(rest))
        touches |= merge.write(ACTIONS, self._pending_actions(parts))
        for batch in merge.batches:
            _correct_batch(connection, batch)
        if touches:
            columns = [column.name for column in schema.ingest_touches.columns]
            text = literals.rows(sorted(touches))
            connection.exec_driver_sql(literals.insert(schema.ingest_touches.name, columns, text, held))
        for part in parts:
            write_dead(connection, part.place, part.batch_id, part.dead)
            if part.slices[-1].stop:
                write_stop(connection, part.place, part.slices[-1])

    def _prepare_ids(self, connection: sa.Connection, slices: Sequence[ReadySlice]) -> None:
        ids = self._ids
        ids.load_intervals(connection)
        ids.ensure_sources(connection, {source for one in slices for source in one.sources})
        for one in slices:
            ids.ensure_instruments(connection, one.classes)
            ids.describe(connection, one.described, one.plain_classes)

    def _split(self, connection: sa.Connection, parts: Sequence[Part], trusting: bool) -> tuple[Runs, Runs]:
        """Tell runs of bars that are new for certain from those that must be looked up."""
        runs = [(part, run) for part in parts for one in part.slices for run in one.series]
        if not trusting:
            return [], runs
        self._load_ends(connection, {self._series(run) for _, run in runs})
        new: Runs = []
        rest: Runs = []
        for part, run in runs:
            series = self._series(run)
            end = self._ends[series]
            (new if run.rising and run.first > end else rest).append((part, run))
            self._ends[series] = max(end, run.last)
        return new, rest

    def _load_ends(self, connection: sa.Connection, wanted: set[Series]) -> None:
        missing = wanted - self._ends.keys()
        if not missing:
            return
        b = schema.bars
        query = (
            sa.select(b.c.instrument_id, b.c.interval_id, sa.func.max(b.c.bar_time))
            .where(b.c.instrument_id.in_(sorted({instrument for instrument, _ in missing})))
            .group_by(b.c.instrument_id, b.c.interval_id)
        )
        found = {(row[0], row[1]): row[2].replace(tzinfo=UTC) for row in connection.execute(query)}
        self._ends.update({series: found.get(series, _NEVER) for series in missing})

    def _hold_parents(self, connection: sa.Connection, runs: Runs) -> bool:
        series = {self._series(run) for _, run in runs}
        sources = {self._ids.sources[run.source].id for _, run in runs}
        return hold_parents(connection, {one for one, _ in series}, {one for _, one in series}, sources)

    def _insert_new(self, connection: sa.Connection, runs: Runs, held: bool) -> set[Touch]:
        blocks: list[Block] = []
        touches = set()
        for part, run in runs:
            series = self._series(run)
            blocks.append(((*series, self._ids.sources[run.source].id, part.batch_id), run.tails))
            part.counts.new += len(run.tails)
            part.versions += len(run.tails)
            touches |= {(part.batch_id, *series, month) for month in run.months}
        # in the order of the primary key: pages are filled one after the other, and two writers lock in one order
        blocks.sort(key=lambda block: block[0])
        self._writer.insert(connection, BARS.table.name, BARS.written, blocks, held)
        return touches

    def _pending_bars(self, runs: Runs) -> Iterator[Pending]:
        for part, run in runs:
            series = self._series(run)
            for bar, row in zip(run.bars, run.rows(), strict=True):
                source = self._ids.sources[bar.source]
                key, ids = (*series, bar.bar_time), (*series, source.id, part.batch_id)
                yield Pending(key, row.version(source.rank), ids, row.tail, part, (*series, row.month))

    def _pending_actions(self, parts: Sequence[Part]) -> Iterator[Pending]:
        # an action changes the adjusted returns from its ex-date on: it touches the daily bars of that month
        daily = self._ids.intervals["1d"]
        for part in parts:
            for action, row in (pair for one in part.slices for pair in one.actions):
                instrument, source = self._ids.instruments[action.instrument], self._ids.sources[action.source]
                key = (instrument, action.ex_date, KIND_NUMBER[action.kind.value])
                ids = (instrument, source.id, part.batch_id)
                yield Pending(key, row.version(source.rank), ids, row.tail, part, (instrument, daily, row.month))

    def _series(self, run: BarSeries) -> Series:
        return self._ids.instruments[run.instrument], self._ids.intervals[run.interval]

    def _write_batches(self, connection: sa.Connection, parts: Sequence[Part]) -> None:
        """Write the batch records as if every fact were new; ``_correct_batch`` mends those where one was not."""
        columns = ("stream_id", "partition_no", "first_offset", "next_offset", *_COUNTS)
        rows = []
        for part in parts:
            dead = part.counts.dead = len(part.dead)
            messages = sum(one.messages for one in part.slices)
            facts = messages - dead
            rows.append((*part.place, *part.offsets, messages, facts, 0, 0, 0, dead, facts))
        statement = literals.insert_with_text(schema.ingest_batches.name, columns, rows, "consumer")
        first = int(connection.exec_driver_sql(statement, (self._consumer,) * len(rows)).lastrowid)
        for number, part in enumerate(parts):
            # the ids of one statement follow each other, in steps of a server variable
            part.batch_id = first + number * self._id_step


def _correct_batch(connection: sa.Connection, batch: Batch) -> None:
    counts, table = batch.counts, schema.ingest_batches
    outcomes = {name: getattr(counts, name) for name in counts.__struct_fields__}
    connection.execute(sa.update(table).where(table.c.id == batch.batch_id).values(**outcomes, versions=batch.versions))


def _code(error: DBAPIError) -> object:
    return error.orig.args[0] if error.orig is not None and error.orig.args else None
