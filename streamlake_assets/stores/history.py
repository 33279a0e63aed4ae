"""What was known at a moment: of every key the version that was in force then.

Belongs here: reads of the past, out of the tables of the present. Stays out: the order itself (``market.versions``),
which the queries repeat in the servers' words: rank of the source, settled over provisional, ``as_of``, hash.

A version is known from the broker's time of the first message that brought it, so a rebuild from the topic says the
same of the past. Two facts keep it cheap: the version in force now is the greatest of all, so where it was known
already it is the answer; and only keys whose present version came later need a look at their revisions.
"""

import datetime as dt
from collections.abc import Callable, Iterator
from heapq import merge
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
    interval_id = None
    if interval is not None:
        v = schema.bar_intervals
        interval_id = connection.execute(sa.select(v.c.id).where(v.c.name == interval.value)).scalar_one()
    return _as_of(connection, BARS, _moment(t), instrument, interval_id)


def actions_as_of(
    connection: sa.Connection, t: dt.datetime, instrument: Instrument | None = None
) -> Iterator[sa.Row[Any]]:
    """Yield the splits and dividends that were in force at a moment, as ``bars_as_of`` does bars.

    Raises:
        ValueError: ``t`` has no zone.
    """
    return _as_of(connection, ACTIONS, _moment(t), instrument, None)


def _moment(t: dt.datetime) -> dt.datetime:
    if t.tzinfo is None:
        raise ValueError(f"{t} has no zone")
    return t.astimezone(UTC).replace(tzinfo=None)


def _as_of(
    connection: sa.Connection, facts: FactTable, t: dt.datetime, instrument: Instrument | None, interval_id: int | None
) -> Iterator[sa.Row[Any]]:
    i, e = schema.instruments, schema.exchanges
    ids = sa.select(i.c.id).join(e, e.c.id == i.c.exchange_id).order_by(i.c.id)
    if instrument is not None:
        ids = ids.where(i.c.symbol == instrument.symbol, e.c.mic == instrument.exchange)
    known, since_replaced = _queries(facts, t, interval_id)
    for instrument_id in connection.execute(ids).scalars().all():
        # one instrument after the other, in the order of the primary key: the server sorts only what was replaced
        values = {"instrument": instrument_id}
        replaced = connection.execute(since_replaced, values).all()
        options = {"stream_results": True, "yield_per": _FETCH}
        with connection.execute(known, values, execution_options=options) as still:
            yield from merge(still, replaced, key=_key_order(facts)) if replaced else still


def _queries(facts: FactTable, t: dt.datetime, interval_id: int | None) -> tuple[sa.Select[Any], sa.Select[Any]]:
    b, r, d = facts.table, facts.revisions, schema.data_sources
    wanted: sa.BindParameter[int] = sa.bindparam("instrument")
    known = sa.select(b).where(b.c.instrument_id == wanted, b.c.known_from <= t).order_by(*(b.c[n] for n in facts.key))
    order = [d.c.source_rank.desc(), r.c.as_of.desc(), r.c.version_hash.desc()]
    if "status" in r.c:
        # an ENUM sorts by the order of its members: provisional, settled
        order.insert(1, r.c.status.desc())
    place = sa.func.row_number().over(partition_by=[r.c[name] for name in facts.key], order_by=order).label("place")
    earlier = (
        sa.select(*(r.c[name] for name in facts.columns), place)
        .join(b, sa.and_(*(b.c[name] == r.c[name] for name in facts.key)))
        .join(d, d.c.id == r.c.source_id)
        .where(r.c.instrument_id == wanted, b.c.known_from > t, r.c.known_from <= t)
    )
    if interval_id is not None:
        known = known.where(b.c.interval_id == interval_id)
        earlier = earlier.where(r.c.interval_id == interval_id)
    found = earlier.subquery()
    replaced = sa.select(*(found.c[name] for name in facts.columns)).where(found.c.place == 1)
    return known, replaced.order_by(*(found.c[name] for name in facts.key))


def _key_order(facts: FactTable) -> Callable[[sa.Row[Any]], tuple[Any, ...]]:
    if facts is ACTIONS:
        return lambda row: (row.ex_date, schema.ACTION_KINDS.index(row.kind))
    return lambda row: (row.interval_id, row.bar_time)
