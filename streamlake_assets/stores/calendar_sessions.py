"""The sessions of markets as a table, for views that measure completeness.

Belongs here: which markets need which days, and putting sessions. Stays out: which days are sessions
(``market.calendars``), when the table is brought up to date (``flows.calendar_sessions``).
"""

import datetime as dt
from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from streamlake_assets.market.types import AssetClass
from streamlake_assets.stores import schema
from streamlake_assets.stores.mysql import outages_as_try_later


class Stretch(NamedTuple):
    """The first and the last of some days."""

    first: dt.date
    last: dt.date


def markets(connection: sa.Connection) -> set[str]:
    """Return the markets whose calendar an instrument follows; crypto follows none."""
    i, e = schema.instruments, schema.exchanges
    query = sa.select(e.c.mic).join(i, i.c.exchange_id == e.c.id).where(i.c.asset_class != AssetClass.CRYPTO.value)
    return set(connection.execute(query.distinct()).scalars())


def days_with_bars(connection: sa.Connection) -> Stretch | None:
    """Return the days between which there are bars; None where there are none."""
    b = schema.bars
    ends: list[dt.date] = []
    for interval in connection.execute(sa.select(schema.bar_intervals.c.id)).scalars().all():
        # two steps in an index for each interval; without the interval the server would read every bar
        query = sa.select(sa.func.min(b.c.session_date), sa.func.max(b.c.session_date))
        ends += [day for day in connection.execute(query.where(b.c.interval_id == interval)).one() if day is not None]
    return Stretch(min(ends), max(ends)) if ends else None


def stored(connection: sa.Connection) -> dict[str, Stretch]:
    """Return the first and last session stored of each calendar."""
    c = schema.calendar_sessions
    query = sa.select(c.c.calendar, sa.func.min(c.c.session_date), sa.func.max(c.c.session_date)).group_by(c.c.calendar)
    return {row[0]: Stretch(row[1], row[2]) for row in connection.execute(query)}


def replace(engine: sa.Engine, calendar: str, sessions: Sequence[dt.date]) -> None:
    """Put a calendar's sessions in the place of those there are, in one transaction.

    Raises:
        TryLaterError: the database is not available.
    """
    table = schema.calendar_sessions
    with outages_as_try_later("storing sessions"), engine.begin() as connection:
        connection.execute(sa.delete(table).where(table.c.calendar == calendar))
        if sessions:
            connection.execute(
                sa.insert(table), [{"calendar": calendar, "session_date": session} for session in sessions]
            )
