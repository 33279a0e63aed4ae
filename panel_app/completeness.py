"""How complete settled sessions are against the calendars of their exchanges: days counted, nothing read.

Belongs here: of whom which sessions are due. Stays out: calendars (``market.calendars``), the share
(``market.measures``), reading series, words.

Due of an instrument are the sessions of its exchange's calendar from its own first settled session to the newest
settled session that any instrument of that exchange has, both included and cut by the period. So an instrument that
stops while others of its exchange go on has gaps, one that began late has none, and nothing is due of days that are
still to come. Days before the calendar begins or after it ends are left out. A bar on a day that is no session counts
neither here nor there. The calendar comes from the program, not from a store: the same series give the same counts.
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import numpy as np

from streamlake_assets.market import calendars
from streamlake_assets.market.series import IntArray, SessionSeries, from_ordinal, ordinal
from streamlake_assets.market.types import AssetClass

_EVERY_DAY: Final = "24/7"


class SessionCount(NamedTuple):
    """Sessions that are due, and those of them that have a bar."""

    there: int
    due: int


class DueSessions:
    """The sessions that are due of each series in a period.

    Args:
        series: all series there are, none of them empty: the newest session of an exchange is the newest of them.
        first: first day of the period.
        last: last day of the period.
    """

    def __init__(self, series: Iterable[SessionSeries], first: dt.date, last: dt.date) -> None:
        ends: dict[str, tuple[SessionSeries, int, int]] = {}
        for one in series:
            begins, until = int(one.sessions[0]), int(one.sessions[-1])
            known = ends.setdefault(_calendar(one), (one, begins, until))
            ends[_calendar(one)] = (one, min(known[1], begins), max(known[2], until))
        self._days: Mapping[str, IntArray] = {
            name: _sessions(one, max(first, from_ordinal(begins)), min(last, from_ordinal(until)))
            for name, (one, begins, until) in ends.items()
        }

    def count(self, members: Iterable[SessionSeries]) -> SessionCount:
        """Return the counts of these series together, each against its own calendar."""
        there = due = 0
        for one in members:
            days = self._days[_calendar(one)]
            wanted = days[days >= one.sessions[0]]
            due += len(wanted)
            there += len(np.intersect1d(wanted, one.sessions, assume_unique=True))
        return SessionCount(there, due)


def _calendar(series: SessionSeries) -> str:
    return _EVERY_DAY if series.asset_class is AssetClass.CRYPTO else series.exchange


def _sessions(of: SessionSeries, first: dt.date, last: dt.date) -> IntArray:
    covered = None if of.asset_class is AssetClass.CRYPTO else calendars.days_covered(of.exchange)
    if covered is not None:
        first, last = max(first, covered[0]), min(last, covered[1])
    days = calendars.sessions_between(of.exchange, of.asset_class, first, last)
    return np.array([ordinal(day) for day in days], dtype=np.int64)
