"""Exchange calendars into the table that views read, before the days they are asked about.

Belongs here: which days are missing, and bringing them. Stays out: the calendars (``market.calendars``), the table
(``stores.calendar_sessions``). Safe to run at any time; where nothing is missing no calendar is loaded.
"""

import datetime as dt
from typing import Final

import sqlalchemy as sa

from streamlake_assets.market import calendars
from streamlake_assets.market.types import AssetClass
from streamlake_assets.stores import calendar_sessions
from streamlake_assets.stores.bar_reader import snapshot
from streamlake_assets.stores.calendar_sessions import Stretch
from streamlake_assets.stores.operations import exclusive

ALWAYS: Final = "XNYS"
"""Calendar that the date dimension shows, whether or not an instrument follows it."""
AHEAD: Final = dt.timedelta(days=30)
"""Days past the last bar that must be known; when they are not, the next year is brought with them."""
_TURN_WAIT_S: Final = 60


def refresh_calendar_sessions(engine: sa.Engine) -> dict[str, int]:
    """Store the sessions of every market that has bars; return how many are stored of each that was brought up to date.

    Args:
        engine: of a user that writes.

    Raises:
        TryLaterError: the database is not available.
    """
    with exclusive(engine, "refresh_calendar_sessions", _TURN_WAIT_S):
        with snapshot(engine) as connection:
            days = calendar_sessions.days_with_bars(connection)
            names = {ALWAYS, *calendar_sessions.markets(connection)} if days else set()
            known = calendar_sessions.stored(connection)
        brought = {}
        for name in sorted(names):
            if days and _is_short(known.get(name), days):
                sessions = _sessions(name, days, known.get(name))
                calendar_sessions.replace(engine, name, sessions)
                brought[name] = len(sessions)
        return brought


def _is_short(known: Stretch | None, wanted: Stretch) -> bool:
    # by year at the start: the first session of a year is not its first day
    first = max(wanted.first, calendars.FIRST_DAY)
    return known is None or known.first.year > first.year or known.last < wanted.last + AHEAD


def _sessions(name: str, wanted: Stretch, known: Stretch | None) -> list[dt.date]:
    """Return whole years of sessions, from the first day wanted or stored to the end of the year after the last."""
    first = dt.date(min(wanted.first.year, known.first.year if known else wanted.first.year), 1, 1)
    last = dt.date(max(wanted.last, known.last if known else wanted.last).year + 1, 12, 31)
    covered = calendars.days_covered(name)
    if covered is not None:
        first, last = max(first, covered[0]), min(last, covered[1])
    return calendars.sessions_between(name, AssetClass.STOCK, first, last)
