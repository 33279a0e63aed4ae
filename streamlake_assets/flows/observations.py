"""What the raw tables and the stream look like from outside: what Dagster reports of things it does not make.

Belongs here: reading counts, offset ranges, lag and heartbeats. Stays out: reporting them (``defs``).
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from streamlake_assets.broker.topics import describe_streams, watermarks
from streamlake_assets.market import calendars, quality
from streamlake_assets.market.contract import ACTIONS_TOPIC, BARS_TOPIC
from streamlake_assets.market.messages import StreamIdentity
from streamlake_assets.market.quality import Verdict
from streamlake_assets.market.session_documents import session_key
from streamlake_assets.market.types import Interval
from streamlake_assets.stores import bar_reader, schema
from streamlake_assets.stores.count_ledger import CountLedger, read_count_ledger
from streamlake_assets.stores.operations import heartbeats

RAW_TABLES: Mapping[str, sa.Table] = {
    "bars": schema.bars,
    "instruments": schema.instruments,
    "corporate_actions": schema.corporate_actions,
    "dead_letters": schema.dead_letters,
}


class Watermark(NamedTuple):
    """How far the streams are in the tables, and how many rows each table holds."""

    next_offsets: dict[str, int]
    rows: dict[str, int]
    market_session: dt.date | None


class RowCounts(NamedTuple):
    """Totals of the batch records."""

    messages: int
    new: int
    changed: int
    same: int
    older: int
    dead: int


def read_watermark(engine: sa.Engine) -> Watermark:
    """Read offsets and row counts in one consistent view.

    Raises:
        TryLaterError: the database is not available.
    """
    with bar_reader.snapshot(engine) as connection:
        ends = bar_reader.stream_ends(connection)
        rows = {name: bar_reader.count(connection, table) for name, table in RAW_TABLES.items()}
        session = bar_reader.market_session(connection)
    return Watermark(_by_place(ends), rows, session)


def read_offsets(engine: sa.Engine) -> dict[str, int]:
    """Return how far the streams are in the tables, by ``topic:stream_id:partition``."""
    with bar_reader.snapshot(engine) as connection:
        return _by_place(bar_reader.stream_ends(connection))


def _by_place(ends: Iterable[bar_reader.StreamEnd]) -> dict[str, int]:
    return {f"{end.topic}:{end.stream_id}:{end.partition}": end.next_offset for end in ends}


def offset_ranges(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, str]:
    """Return the range of offsets that came since, for each partition that moved: ``first..last``."""
    return {
        place: f"{before.get(place, 0)}..{offset - 1}"
        for place, offset in sorted(after.items())
        if offset > before.get(place, 0)
    }


def batch_totals(engine: sa.Engine) -> RowCounts:
    """Return what became of all messages, from the batch records."""
    b = schema.ingest_batches
    with bar_reader.snapshot(engine) as connection:
        sums = (sa.func.coalesce(sa.func.sum(b.c[name]), 0) for name in RowCounts._fields)
        return RowCounts(*map(int, connection.execute(sa.select(*sums)).one()))


def lag(engine: sa.Engine, bootstrap: str) -> dict[str, int]:
    """Return messages on the topics that are not in the tables yet, by ``topic:partition``.

    Raises:
        TryLaterError: a server does not answer.
    """
    with bar_reader.snapshot(engine) as connection:
        ends = bar_reader.stream_ends(connection)
    streams = describe_streams(bootstrap, (BARS_TOPIC, ACTIONS_TOPIC))
    current = {stream.topic_id: topic for topic, stream in streams.items()}
    stored = {(current[end.topic_id], end.partition): end.next_offset for end in ends if end.topic_id in current}
    return {
        f"{topic}:{partition}": high - stored.get((topic, partition), low)
        for topic in streams
        for partition, (low, high) in watermarks(bootstrap, topic).items()
    }


def count_ledger(engine: sa.Engine, bootstrap: str | None) -> CountLedger:
    """Return the counts of every partition and what does not add up, in one view of the tables.

    Args:
        engine: of a user that may read the raw tables.
        bootstrap: the cluster to compare with; None: the tables alone.

    Raises:
        TryLaterError: a server does not answer.
    """
    with bar_reader.snapshot(engine) as connection:
        # the view begins with this read: what the topics hold is read later, so a stored offset is never ahead of them
        bar_reader.stream_ends(connection)
        return read_count_ledger(connection, None if bootstrap is None else read_marks(bootstrap))


def read_marks(bootstrap: str) -> dict[StreamIdentity, dict[int, tuple[int, int]]]:
    """Return the first offset held and the next to be written of each partition of both topics.

    Raises:
        TryLaterError: the cluster does not answer.
    """
    streams = describe_streams(bootstrap, (BARS_TOPIC, ACTIONS_TOPIC))
    return {stream: watermarks(bootstrap, topic) for topic, stream in streams.items()}


def heartbeat_age_s(engine: sa.Engine, process: str, now: dt.datetime) -> tuple[float | None, dict[str, Any]]:
    """Return seconds since the last sign of life of a process, and what it said; None when there was none."""
    found = heartbeats(engine).get(process)
    return (None, {}) if found is None else ((now - found[0]).total_seconds(), found[1])


def alive_if_started(engine: sa.Engine, process: str, now: dt.datetime) -> Verdict:
    """Judge a process that need not run: one that never gave a sign of life was not started, and is not missed."""
    age_s, said = heartbeat_age_s(engine, process, now)
    if age_s is None:
        text = f"{process} was never started with these tables: none is expected"
        return Verdict(True, text, {"started": False, "limit_s": quality.HEARTBEAT_LIMIT_S})
    verdict = quality.is_alive(age_s)
    return Verdict(verdict.passed, verdict.text, {**verdict.facts, "started": True, "said": said})


def constraint_violations(engine: sa.Engine) -> dict[str, int]:
    """Count rows that break the contract's rules, for the day somebody switches a CHECK off."""
    b, a = schema.bars, schema.corporate_actions
    wrong = sa.or_(
        b.c.high < b.c.low, b.c.high < b.c.open, b.c.high < b.c.close, b.c.low > b.c.open, b.c.low > b.c.close
    )
    with bar_reader.snapshot(engine) as connection:
        return {
            "price_order": int(connection.execute(sa.select(sa.func.count()).where(wrong)).scalar_one()),
            "negative_volume": int(connection.execute(sa.select(sa.func.count()).where(b.c.volume < 0)).scalar_one()),
            "factor": int(connection.execute(sa.select(sa.func.count()).where(a.c.factor <= 0)).scalar_one()),
        }


def instruments_without_bars(engine: sa.Engine) -> list[str]:
    """Return the symbols of instruments that have no bar in force."""
    b, i = schema.bars, schema.instruments
    has_bar = sa.select(b.c.instrument_id).where(b.c.instrument_id == i.c.id).exists()
    with bar_reader.snapshot(engine) as connection:
        return list(connection.execute(sa.select(i.c.symbol).where(sa.not_(has_bar)).order_by(i.c.symbol)).scalars())


def sessions_stored_twice(engine: sa.Engine) -> list[str]:
    """Return the sessions, as ``symbol date``, of which an instrument has more than one daily bar."""
    b, i, v = schema.bars, schema.instruments, schema.bar_intervals
    query = (
        sa.select(i.c.symbol, b.c.session_date)
        .join(i, i.c.id == b.c.instrument_id)
        .join(v, v.c.id == b.c.interval_id)
        .where(v.c.name == Interval.D1.value)
        .group_by(b.c.instrument_id, i.c.symbol, b.c.session_date)
        .having(sa.func.count() > 1)
        .order_by(i.c.symbol, b.c.session_date)
    )
    with bar_reader.snapshot(engine) as connection:
        return [f"{row.symbol} {row.session_date}" for row in connection.execute(query)]


def sessions_behind(engine: sa.Engine) -> dict[str, int]:
    """Return by how many sessions of its own calendar each instrument is behind market time, by its name.

    An instrument without a daily bar is left out: it has no sessions yet.
    """
    found = {}
    with bar_reader.snapshot(engine) as connection:
        market = bar_reader.market_session(connection)
        daily = bar_reader.interval_ids(connection)[Interval.D1]
        for number, known in bar_reader.instruments(connection).items():
            session = bar_reader.newest_session(connection, number, daily, 1)
            if market is not None and session is not None:
                of = known.instrument.exchange, known.asset_class
                found[str(known.instrument)] = max(0, len(calendars.sessions_between(*of, session, market)) - 1)
    return found


def daily_bars_by_key(engine: sa.Engine, known_to: Mapping[str, int] | None = None) -> dict[str, dict[str, Any]]:
    """Return settled daily bars by the key of their session document.

    Args:
        engine: of a user that may read the raw tables.
        known_to: next offset by ``stream_id:partition``: bars of later messages are left out. None: all bars.
    """
    with bar_reader.snapshot(engine) as connection:
        return {
            session_key(of.instrument, session): bar
            for of in bar_reader.instruments(connection).values()
            for session, bar in bar_reader.daily_bars(connection, of.id).items()
            if known_to is None or bar["kafka_offset"] < known_to.get(bar["place"], 0)
        }
