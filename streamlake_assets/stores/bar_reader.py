"""Reads of the raw tables for refreshes, checks and summaries; pages have their own (``page_reader``).

Belongs here: SELECTs. Stays out: every write. ``snapshot`` gives one consistent view for several reads.
"""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, NamedTuple

import sqlalchemy as sa

from streamlake_assets.market.session_documents import SessionBar
from streamlake_assets.market.sessions import UTC
from streamlake_assets.market.types import AssetClass, Instrument, Interval
from streamlake_assets.stores import schema
from streamlake_assets.stores.mysql import outages_as_try_later

_SLACK = dt.timedelta(days=2)
"""A session's bars start at most this far from its date in UTC, whatever the exchange's zone."""


class KnownInstrument(NamedTuple):
    """An instrument with its id."""

    id: int
    instrument: Instrument
    asset_class: AssetClass


class StreamEnd(NamedTuple):
    """How far one partition of one stream is in the tables."""

    stream_id: int
    cluster_id: str
    topic_id: str
    topic: str
    partition: int
    next_offset: int


class Touch(NamedTuple):
    """An instrument's month that a batch changed."""

    instrument_id: int
    month: dt.date


@contextmanager
def snapshot(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Open one consistent view of all tables: every read in it sees the same moment.

    Raises:
        TryLaterError: the database is not available.
    """
    with (
        outages_as_try_later("reading"),
        engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection,
    ):
        yield connection


def instruments(connection: sa.Connection) -> dict[int, KnownInstrument]:
    """Return all instruments by id."""
    i, e = schema.instruments, schema.exchanges
    rows = connection.execute(
        sa.select(i.c.id, i.c.symbol, e.c.mic, i.c.asset_class).join(e, e.c.id == i.c.exchange_id).order_by(i.c.id)
    )
    return {
        row.id: KnownInstrument(row.id, Instrument(row.symbol, row.mic), AssetClass(row.asset_class)) for row in rows
    }


def interval_ids(connection: sa.Connection) -> dict[Interval, int]:
    """Return the id of each interval."""
    table = schema.bar_intervals
    return {Interval(row.name): row.id for row in connection.execute(sa.select(table.c.name, table.c.id))}


def stream_ends(connection: sa.Connection) -> list[StreamEnd]:
    """Return how far every partition of every stream is in the tables, oldest stream first."""
    s, o = schema.streams, schema.stream_offsets
    rows = connection.execute(
        sa.select(s.c.id, s.c.cluster_id, s.c.topic_id, s.c.topic, o.c.partition_no, o.c.next_offset)
        .join(o, o.c.stream_id == s.c.id)
        .order_by(s.c.id, o.c.partition_no)
    )
    return [StreamEnd(*row) for row in rows]


def touches_since(connection: sa.Connection, cursor: dict[str, int]) -> set[Touch]:
    """Return what was changed by batches past the cursor: next offset by ``stream_id:partition``; empty: everything."""
    t, b = schema.ingest_touches, schema.ingest_batches
    query = sa.select(t.c.instrument_id, t.c.month).join(b, b.c.id == t.c.batch_id).distinct()
    if cursor:
        # a vector, not one number: batches of different partitions commit in any order; and what lies ahead, partition
        # by partition, not what does not lie behind: the server finds it by index instead of reading every batch
        ahead = [
            sa.and_(
                b.c.stream_id == end.stream_id,
                b.c.partition_no == end.partition,
                b.c.first_offset >= cursor.get(f"{end.stream_id}:{end.partition}", 0),
            )
            for end in stream_ends(connection)
        ]
        query = query.where(sa.or_(sa.false(), *ahead))
    return {Touch(row.instrument_id, row.month) for row in connection.execute(query)}


def settled_bars(
    connection: sa.Connection, instrument_id: int, first: dt.date, last: dt.date
) -> Iterator[tuple[dt.date, int, SessionBar]]:
    """Yield (session, interval id, bar) of the settled bars of one instrument between two sessions, inclusive."""
    b, batch, s = schema.bars, schema.ingest_batches, schema.streams
    query = (
        sa.select(
            b.c.session_date,
            b.c.interval_id,
            b.c.bar_time,
            b.c.open,
            b.c.high,
            b.c.low,
            b.c.close,
            b.c.volume,
            b.c.vwap,
            b.c.synthetic,
            s.c.topic,
            batch.c.partition_no,
            b.c.kafka_offset,
        )
        # from bars to batches, never the other way: without fresh statistics the optimiser reads every batch first
        .prefix_with("STRAIGHT_JOIN")
        .select_from(b)
        .join(batch, batch.c.id == b.c.batch_id)
        .join(s, s.c.id == batch.c.stream_id)
        .where(
            b.c.instrument_id == instrument_id,
            # every part of the primary key as values: with a sub-query there, MySQL may start from another table
            b.c.interval_id.in_(sorted(interval_ids(connection).values())),
            b.c.bar_time >= dt.datetime.combine(first, dt.time()) - _SLACK,
            b.c.bar_time <= dt.datetime.combine(last, dt.time()) + _SLACK,
            b.c.session_date.between(first, last),
            b.c.status == "settled",
        )
    )
    for row in connection.execute(query):
        yield (
            row.session_date,
            row.interval_id,
            SessionBar(
                bar_time=row.bar_time.replace(tzinfo=UTC),
                open=row.open,
                high=row.high,
                low=row.low,
                close=row.close,
                volume=row.volume,
                vwap=row.vwap,
                synthetic=bool(row.synthetic),
                place=f"{row.topic}:{row.partition_no}",
                offset=row.kafka_offset,
            ),
        )


def last_settled_session(
    connection: sa.Connection, instrument_id: int, before: dt.date | None = None
) -> dt.date | None:
    """Return the newest session of an instrument that has a settled bar, before a date or of all."""
    b = schema.bars
    newest = []
    for interval_id in interval_ids(connection).values():
        # one step from the end of the key for each interval; a maximum would read all bars of the instrument
        query = sa.select(b.c.session_date).where(
            b.c.instrument_id == instrument_id, b.c.interval_id == interval_id, b.c.status == "settled"
        )
        if before is not None:
            query = query.where(
                b.c.bar_time < dt.datetime.combine(before, dt.time()) + _SLACK, b.c.session_date < before
            )
        newest.append(sa.select(query.order_by(b.c.bar_time.desc()).limit(1).subquery().c.session_date))
    return max(connection.execute(sa.union_all(*newest)).scalars(), default=None)


class StatedBar(NamedTuple):
    """What a source has stated of a bar that is settled: prices, volume, VWAP and trades; and when."""

    values: tuple[Any, ...]
    as_of: dt.datetime


def stated_bars(
    connection: sa.Connection,
    instrument: Instrument,
    interval: Interval,
    source: str,
    first: dt.datetime,
    last: dt.datetime,
) -> dict[dt.datetime, StatedBar]:
    """Return the settled bars in force of one source by bar time, bounds inclusive."""
    b, i, e, v, d = schema.bars, schema.instruments, schema.exchanges, schema.bar_intervals, schema.data_sources
    values = (b.c.open, b.c.high, b.c.low, b.c.close, b.c.volume, b.c.vwap, b.c.trades)
    query = (
        sa.select(b.c.bar_time, b.c.as_of, *values)
        .join(i, i.c.id == b.c.instrument_id)
        .join(e, e.c.id == i.c.exchange_id)
        .join(v, v.c.id == b.c.interval_id)
        .join(d, d.c.id == b.c.source_id)
        .where(
            *(i.c.symbol == instrument.symbol, e.c.mic == instrument.exchange, v.c.name == interval.value),
            *(d.c.name == source, b.c.status == "settled"),
            b.c.bar_time.between(first.replace(tzinfo=None), last.replace(tzinfo=None)),
        )
    )
    return {
        row[0].replace(tzinfo=UTC): StatedBar(tuple(row[2:]), row[1].replace(tzinfo=UTC))
        for row in connection.execute(query)
    }


def newest_session(connection: sa.Connection, instrument_id: int, interval_id: int, count: int) -> dt.date | None:
    """Return the session of one series that is ``count`` sessions from its end, the newest being the first."""
    b = schema.bars
    found: dt.date | None = None
    for _ in range(count):
        # one step from the end of the key for each session; a list of distinct sessions would read all bars
        query = sa.select(b.c.session_date).where(b.c.instrument_id == instrument_id, b.c.interval_id == interval_id)
        if found is not None:
            query = query.where(b.c.bar_time < dt.datetime.combine(found, dt.time()) + _SLACK, b.c.session_date < found)
        step = connection.execute(query.order_by(b.c.bar_time.desc()).limit(1)).scalar()
        if step is None:
            break
        found = step
    return found


def market_session(connection: sa.Connection) -> dt.date | None:
    """Return market time: the newest session with a settled daily bar."""
    b, v = schema.bars, schema.bar_intervals
    query = (
        sa.select(sa.func.max(b.c.session_date))
        .join(v, v.c.id == b.c.interval_id)
        .where(v.c.name == Interval.D1.value, b.c.status == "settled")
    )
    return connection.execute(query).scalar_one()  # type: ignore[no-any-return]


def market_sessions(connection: sa.Connection) -> list[tuple[str, AssetClass, dt.date]]:
    """Return market time by exchange and asset class: the newest session with a settled daily bar of each."""
    b, i, e = schema.bars, schema.instruments, schema.exchanges
    # one step from the end of the key for each instrument; a maximum would read all daily bars
    newest = (
        sa.select(b.c.session_date)
        .where(b.c.instrument_id == i.c.id, b.c.interval_id == interval_ids(connection)[Interval.D1])
        .where(b.c.status == "settled")
        .order_by(b.c.bar_time.desc())
        .limit(1)
        .correlate(i)
        .scalar_subquery()
    )
    each = sa.select(e.c.mic, i.c.asset_class, newest.label("session")).join(i, i.c.exchange_id == e.c.id).subquery()
    query = (
        sa.select(each.c.mic, each.c.asset_class, sa.func.max(each.c.session))
        .where(each.c.session.is_not(None))
        .group_by(each.c.mic, each.c.asset_class)
        .order_by(each.c.mic, each.c.asset_class)
    )
    return [(mic, AssetClass(asset_class), session) for mic, asset_class, session in connection.execute(query)]


def factors(connection: sa.Connection, instrument_id: int) -> dict[dt.date, Decimal]:
    """Return the product of the corporate-action factors of each ex-date of an instrument."""
    c = schema.corporate_actions
    query = sa.select(c.c.ex_date, c.c.factor).where(c.c.instrument_id == instrument_id).order_by(c.c.ex_date, c.c.kind)
    found: dict[dt.date, Decimal] = {}
    for row in connection.execute(query):
        found[row.ex_date] = found.get(row.ex_date, Decimal(1)) * row.factor
    return found


def daily_bars(
    connection: sa.Connection, instrument_id: int, first: dt.date | None = None, last: dt.date | None = None
) -> dict[dt.date, dict[str, Any]]:
    """Return the settled daily bars of an instrument by session, bounds inclusive.

    Each has open, high, low, close, volume, and its place in the stream: ``place`` (``stream_id:partition``) and
    ``kafka_offset``.
    """
    b, v, batch = schema.bars, schema.bar_intervals, schema.ingest_batches
    daily = sa.select(v.c.id).where(v.c.name == Interval.D1.value).scalar_subquery()
    query = (
        sa.select(
            *(b.c.session_date, b.c.open, b.c.high, b.c.low, b.c.close, b.c.volume, b.c.kafka_offset),
            *(batch.c.stream_id, batch.c.partition_no),
        )
        .prefix_with("STRAIGHT_JOIN")
        .select_from(b)
        .join(batch, batch.c.id == b.c.batch_id)
        .where(b.c.instrument_id == instrument_id, b.c.interval_id == daily, b.c.status == "settled")
        .order_by(b.c.bar_time)
    )
    if first is not None:
        query = query.where(b.c.bar_time >= dt.datetime.combine(first, dt.time()) - _SLACK, b.c.session_date >= first)
    if last is not None:
        query = query.where(b.c.bar_time <= dt.datetime.combine(last, dt.time()) + _SLACK, b.c.session_date <= last)
    return {
        row.session_date: {**row._mapping, "place": f"{row.stream_id}:{row.partition_no}"}
        for row in connection.execute(query)
    }


def bars_by_interval(connection: sa.Connection) -> dict[str, int]:
    """Return the number of bars in force by interval."""
    b, v = schema.bars, schema.bar_intervals
    query = (
        sa.select(v.c.name, sa.func.count())
        .select_from(b)
        .join(v, v.c.id == b.c.interval_id)
        .group_by(v.c.name)
        .order_by(v.c.name)
    )
    return {row[0]: int(row[1]) for row in connection.execute(query)}


def count(connection: sa.Connection, table: sa.Table) -> int:
    """Return the number of rows of a table."""
    return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())
