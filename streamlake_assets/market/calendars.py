"""Sessions of exchanges: which day comes next, when it opens and closes.

Belongs here: questions to exchange calendars, answered with plain dates and UTC times. Stays out: zones and bar times
(``sessions``, which is light: this module loads a heavy library at the first question about a known exchange).

Crypto trades every day, from midnight to midnight UTC. An exchange whose calendar is not known is assumed to trade from
Monday to Friday, holidays included, from midnight to midnight of its zone (UTC when that is unknown too): forecasts for
a holiday then stay unscored rather than being wrong.
"""

import datetime as dt
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import lru_cache

from streamlake_assets.errors import UsageError
from streamlake_assets.market.sessions import UTC, exchange_zone
from streamlake_assets.market.types import AssetClass

FIRST_DAY = dt.date(1990, 1, 1)
"""Earliest day asked of a calendar; the library's own default is twenty years ago, too late for older bars."""
_DAY = dt.timedelta(days=1)
_SHARED = {"XCME": "CMES", "XCBT": "CMES", "XNYM": "CMES"}
"""Exchanges whose hours the library keeps under another name: the CME group trades on one platform."""


@dataclass(frozen=True)
class _Calendar:
    """Sessions of one exchange, oldest first, with their hours in UTC; ``end`` is the last day the calendar covers."""

    sessions: tuple[dt.date, ...]
    opens: tuple[dt.datetime, ...]
    closes: tuple[dt.datetime, ...]
    start: dt.date
    end: dt.date

    def check(self, exchange: str, day: dt.date) -> None:
        if not self.start <= day <= self.end:
            raise UsageError(f"{day} is outside the calendar of {exchange} ({self.start} to {self.end})")


@lru_cache(maxsize=256)
def _calendar(exchange: str) -> _Calendar | None:
    """Find one exchange's calendar; None when the library does not know it."""
    import exchange_calendars as library
    from exchange_calendars.errors import InvalidCalendarName

    try:
        name = library.resolve_alias(_SHARED.get(exchange, exchange))
    except InvalidCalendarName:
        return None
    return _load(name)


@lru_cache(maxsize=32)
def _load(name: str) -> _Calendar:
    """Read one calendar of the library once (about half a second), from the first day it can say."""
    import exchange_calendars as library

    bound = library.get_calendar(name).bound_min()
    start = FIRST_DAY if bound is None else max(FIRST_DAY, bound.date())
    calendar = library.get_calendar(name, start=start.isoformat())
    sessions = tuple(calendar.sessions.date)
    return _Calendar(
        sessions=sessions,
        opens=tuple(calendar.opens.array.to_pydatetime()),
        closes=tuple(calendar.closes.array.to_pydatetime()),
        start=start,
        end=sessions[-1],
    )


def _known(exchange: str, asset_class: AssetClass) -> _Calendar | None:
    return None if asset_class is AssetClass.CRYPTO else _calendar(exchange)


def _trades_without_calendar(day: dt.date, asset_class: AssetClass) -> bool:
    return asset_class is AssetClass.CRYPTO or day.weekday() < 5


def is_session(exchange: str, asset_class: AssetClass, day: dt.date) -> bool:
    """Tell whether the exchange trades on a day.

    Raises:
        UsageError: the day is outside the calendar.
    """
    return bool(sessions_between(exchange, asset_class, day, day))


def next_session(exchange: str, asset_class: AssetClass, day: dt.date) -> dt.date:
    """Return the first session strictly after a day.

    Raises:
        UsageError: the day is outside the calendar, or the calendar ends with it.
    """
    calendar = _known(exchange, asset_class)
    if calendar is None:
        following = day + _DAY
        while not _trades_without_calendar(following, asset_class):
            following += _DAY
        return following
    calendar.check(exchange, day)
    position = bisect_right(calendar.sessions, day)
    if position == len(calendar.sessions):
        raise UsageError(f"the calendar of {exchange} ends on {calendar.end}: no session after {day} is known")
    return calendar.sessions[position]


def sessions_between(exchange: str, asset_class: AssetClass, first: dt.date, last: dt.date) -> list[dt.date]:
    """Return every session from ``first`` to ``last``, both included; empty when ``last`` is before ``first``.

    Raises:
        UsageError: a day is outside the calendar.
    """
    if last < first:
        return []
    calendar = _known(exchange, asset_class)
    if calendar is None:
        days = (first + n * _DAY for n in range((last - first).days + 1))
        return [day for day in days if _trades_without_calendar(day, asset_class)]
    calendar.check(exchange, first)
    calendar.check(exchange, last)
    return list(calendar.sessions[bisect_left(calendar.sessions, first) : bisect_right(calendar.sessions, last)])


def days_covered(exchange: str) -> tuple[dt.date, dt.date] | None:
    """Return the first and last day an exchange's calendar can say; None where it has none and any day can be asked."""
    calendar = _calendar(exchange)
    return None if calendar is None else (calendar.start, calendar.end)


def session_open_close(
    exchange: str, day: dt.date, asset_class: AssetClass = AssetClass.STOCK
) -> tuple[dt.datetime, dt.datetime]:
    """Return when a session opens and closes, in UTC; half days are as short as they are.

    Raises:
        UsageError: the day is outside the calendar, or the exchange does not trade on it.
    """
    if not is_session(exchange, asset_class, day):
        raise UsageError(f"{day} is not a session of {exchange}")
    calendar = _known(exchange, asset_class)
    if calendar is None:
        zone = UTC if asset_class is AssetClass.CRYPTO else exchange_zone(exchange)
        opens, closes = (dt.datetime.combine(d, dt.time(), zone).astimezone(UTC) for d in (day, day + _DAY))
        return opens, closes
    position = bisect_left(calendar.sessions, day)
    return calendar.opens[position].astimezone(UTC), calendar.closes[position].astimezone(UTC)
