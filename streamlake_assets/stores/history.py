"""What was known at a moment: of every key the version that was in force then.

Belongs here: reads of the past, out of the tables of the present. Stays out: the order itself (``market.versions``),
which the queries repeat in the servers' words: rank of the source, settled over provisional, ``as_of``, hash.

A version is known from the broker's time of the first message that brought it, so a rebuild from the topic says the
same of the past. Two facts keep it cheap: the version in force now is the greatest of all, so where it was known
already it is the answer; and only keys whose present version came later need a look at their revisions.
"""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from streamlake_assets.market.sessions import UTC
from streamlake_assets.market.types import Instrument, Interval
from streamlake_assets.stores import schema
from streamlake_assets.stores.fact_tables import ACTIONS, BARS, FactTable

_FETCH = 5_000


def bars_as_of(
    connection: sa.Connection, t: dt.datetime, instrument: Instrument | None = None, interval: Interval | None = None
) -> Iterator[sa.Row[Any]]:
    """Yield the bars that were in force at a moment, in key order, with the columns of ``bars``.

    Args:
        connection: a snapshot, so that bars and revisions are of one moment.
        t: the moment, aware; what the broker took at ``t`` itself was known.
        instrument: only of this one.
        interval: only of this length.

    Raises:
        ValueError: ``t`` has no zone.
    """
    b, r, v = schema.bars, schema.bar_revisions, schema.bar_intervals
    wanted = []
    for table in (b, r):
        conditions = _of_instrument(table, instrument)
        if interval is not None:
            named = sa.select(v.c.id).where(v.c.name == interval.value).scalar_subquery()
            conditions.append(table.c.interval_id == named)
        wanted.append(conditions)
    return _as_of(connection, BARS, t, *wanted)


def actions_as_of(
    connection: sa.Connection, t: dt.datetime, instrument: Instrument | None = None
) -> Iterator[sa.Row[Any]]:
    """Yield the splits and dividends that were in force at a moment, as ``bars_as_of`` does bars.

    Raises:
        ValueError: ``t`` has no zone.
    """
    wanted = [_of_instrument(table, instrument) for table in (ACTIONS.table, ACTIONS.revisions)]
    return _as_of(connection, ACTIONS, t, *wanted)


def _of_instrument(table: sa.Table, instrument: Instrument | None) -> list[sa.ColumnElement[bool]]:
    if instrument is None:
        return []
    i, e = schema.instruments, schema.exchanges
    found = (
        sa.select(i.c.id)
        .join(e, e.c.id == i.c.exchange_id)
        .where(i.c.symbol == instrument.symbol, e.c.mic == instrument.exchange)
    )
    return [table.c.instrument_id == found.scalar_subquery()]


def _as_of(
    connection: sa.Connection,
    facts: FactTable,
    t: dt.datetime,
    current_where: list[sa.ColumnElement[bool]],
    revisions_where: list[sa.ColumnElement[bool]],
) -> Iterator[sa.Row[Any]]:
    if t.tzinfo is None:
        raise ValueError(f"{t} has no zone")
    moment = t.astimezone(UTC).replace(tzinfo=None)
    b, r, d = facts.table, facts.revisions, schema.data_sources
    known = sa.select(b).where(b.c.known_from <= moment, *current_where)
    order = [d.c.source_rank.desc(), r.c.as_of.desc(), r.c.version_hash.desc()]
    if "status" in r.c:
        # an ENUM sorts by the order of its members: provisional, settled
        order.insert(1, r.c.status.desc())
    place = sa.func.row_number().over(partition_by=[r.c[name] for name in facts.key], order_by=order).label("place")
    earlier = (
        sa.select(*(r.c[name] for name in facts.columns), place)
        .join(b, sa.and_(*(b.c[name] == r.c[name] for name in facts.key)))
        .join(d, d.c.id == r.c.source_id)
        .where(b.c.known_from > moment, r.c.known_from <= moment, *revisions_where)
        .subquery()
    )
    since_replaced = sa.select(*(earlier.c[name] for name in facts.columns)).where(earlier.c.place == 1)
    both = sa.union_all(known, since_replaced).subquery()
    query = sa.select(both).order_by(*(both.c[name] for name in facts.key))
    return iter(connection.execute(query, execution_options={"stream_results": True, "yield_per": _FETCH}))
