"""Key indicators of instruments, sectors and classes over periods, as lines; series in, records out.

Belongs here: which series make a group, which sessions are expected of it, which periods a change moves. Stays out: the
measures (``measures``), reading series, where lines are kept, how one reads as cells.
"""

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec
import numpy as np

from streamlake_assets.market import calendars
from streamlake_assets.market.measures import (
    IndexReturns,
    KeyIndicators,
    Period,
    PeriodKind,
    completeness,
    equal_weight_index,
    key_indicators,
    period_of,
    periods_between,
)
from streamlake_assets.market.series import IntArray, SessionSeries, from_ordinal, ordinal
from streamlake_assets.market.types import AssetClass, Instrument

ALL: Final = "all instruments"
UNKNOWN_SECTOR: Final = "no sector named"
_EVERY_DAY: Final = "24/7"


class Grouping(StrEnum):
    """What a line is about."""

    INSTRUMENT = "instrument"
    SECTOR = "sector"
    CLASS = "class"


class IndicatorLine(msgspec.Struct, frozen=True):
    """One line: whom it is about, how many instruments that is, the measures, and how complete the sessions are.

    ``sessions_due``: sessions of the calendars, summed over instruments; ``sessions_there``: those of them that have a
    bar, so not a bar on a day without session.
    """

    subject: str
    members: int
    measures: KeyIndicators
    sessions_there: int
    sessions_due: int

    @property
    def completeness(self) -> float | None:
        """Share of the due sessions that have a bar; None where none was due."""
        return completeness(self.sessions_there, self.sessions_due)


class Extent(NamedTuple):
    """What besides sessions decides in which lines an instrument counts: its first, its market's newest, its sector."""

    first: dt.date
    newest: dt.date
    sector: str


class Market:
    """All instruments, and what is computed once for every line about them.

    Args:
        series: whole series; those without a session take no part.
        sectors: sector by instrument; None or absent: none is named.
    """

    def __init__(self, series: Iterable[SessionSeries], sectors: Mapping[Instrument, str | None]) -> None:
        self.series = [one for one in series if len(one)]
        self._all = _Group(ALL, self.series, equal_weight_index(self.series))
        self._sectors = sectors
        self._due = DueSessions(self.series)
        self._groups = {grouping: self._grouped(grouping) for grouping in Grouping}

    def periods(self, kind: PeriodKind) -> tuple[Period, ...]:
        """Return the periods from the oldest to the newest session, the newest first."""
        if not self.series:
            return ()
        first = min(from_ordinal(one.sessions[0]) for one in self.series)
        return tuple(reversed(periods_between(first, max(one.last_session for one in self.series), kind)))

    def lines(self, grouping: Grouping, period: Period) -> tuple[IndicatorLine, ...]:
        """Return a line for each group that has a session in the period or owes one, by name, and one for all together.

        A gap that fills the period is the worst one: whoever owes sessions and has none is shown too.
        """
        made = [self._line(group, period) for group in (*self._groups[grouping], self._all)]
        return tuple(line for line in made if line.measures.sessions or line.sessions_due)

    def moved(self, changed: Iterable[dt.date], before: Mapping[str, Extent]) -> frozenset[dt.date]:
        """Return the first days of the months whose lines change, with months in which sessions changed.

        A session's return is against the one before it: what changes in a month moves the next session after it too.
        And where an instrument begins, its market ends or its sector changes, lines count it in other months.

        Args:
            changed: first days of the months in which sessions changed.
            before: the extents when lines were made last, by instrument.
        """
        months = set(changed)
        for end in [period_of(month, PeriodKind.MONTH).last for month in months]:
            for one in self.series:
                place = int(np.searchsorted(one.sessions, ordinal(end), side="right"))
                if place < len(one):
                    months.add(from_ordinal(one.sessions[place]).replace(day=1))
        for old, new in _pairs(before, self.extents()):
            months.update(
                period.first for span in _spans(old, new) for period in periods_between(*span, PeriodKind.MONTH)
            )
        return frozenset(months)

    def extents(self) -> dict[str, Extent]:
        """Return the extent of each instrument, to be kept with the lines."""
        return {
            str(one.instrument): Extent(
                from_ordinal(one.sessions[0]), self._due.newest[_calendar(one)], self._sector(one)
            )
            for one in self.series
        }

    def _sector(self, one: SessionSeries) -> str:
        return self._sectors.get(one.instrument) or UNKNOWN_SECTOR

    def _line(self, group: "_Group", period: Period) -> IndicatorLine:
        measures = key_indicators(group.members, self._all.own, period.first, period.last, own=group.own)
        return IndicatorLine(group.subject, len(group.members), measures, *self._due.count(group.members, period))

    def _grouped(self, grouping: Grouping) -> list["_Group"]:
        groups: dict[str, list[SessionSeries]] = {}
        for one in self.series:
            subject = {
                Grouping.INSTRUMENT: str(one.instrument).replace("|", " · "),
                Grouping.SECTOR: self._sector(one),
                Grouping.CLASS: one.asset_class.value,
            }[grouping]
            groups.setdefault(subject, []).append(one)
        return [_Group(subject, members, equal_weight_index(members)) for subject, members in sorted(groups.items())]


class _Group(NamedTuple):
    """Instruments that are measured together; their index is made once, not for every period."""

    subject: str
    members: Sequence[SessionSeries]
    own: IndexReturns


class SessionCount(NamedTuple):
    """Sessions that are due, and those of them that have a bar."""

    there: int
    due: int


class DueSessions:
    """The sessions that are due of each instrument.

    From its own first session to the newest that any instrument of its calendar has, so an instrument that stops while
    others go on has gaps, one that began late has none, and nothing is due of days that are still to come. Days that
    the calendar does not cover are left out. The calendar comes from the program, not from a store.
    """

    def __init__(self, series: Sequence[SessionSeries]) -> None:
        ends: dict[str, tuple[SessionSeries, int, int]] = {}
        for one in series:
            known = ends.get(_calendar(one), (one, int(one.sessions[0]), int(one.sessions[-1])))
            begins, until = min(known[1], int(one.sessions[0])), max(known[2], int(one.sessions[-1]))
            ends[_calendar(one)] = (one, begins, until)
        self.newest = {name: from_ordinal(until) for name, (_, _, until) in ends.items()}
        # once for a calendar and an instrument, not for every line
        days = {name: _days(one, from_ordinal(first), self.newest[name]) for name, (one, first, _) in ends.items()}
        self._due: dict[Instrument, IntArray] = {}
        self._there: dict[Instrument, IntArray] = {}
        for one in series:
            due = days[_calendar(one)]
            self._due[one.instrument] = due[due >= one.sessions[0]]
            self._there[one.instrument] = np.intersect1d(due, one.sessions, assume_unique=True)

    def count(self, members: Iterable[SessionSeries], period: Period) -> SessionCount:
        """Return how many due sessions have a bar, and how many are due; a bar on another day counts nowhere."""
        ends = ordinal(period.first), ordinal(period.last) + 1
        there = due = 0
        for one in members:
            there += int(np.diff(np.searchsorted(self._there[one.instrument], ends))[0])
            due += int(np.diff(np.searchsorted(self._due[one.instrument], ends))[0])
        return SessionCount(there, due)


def _calendar(series: SessionSeries) -> str:
    return _EVERY_DAY if series.asset_class is AssetClass.CRYPTO else series.exchange


def _days(of: SessionSeries, first: dt.date, last: dt.date) -> IntArray:
    covered = None if of.asset_class is AssetClass.CRYPTO else calendars.days_covered(of.exchange)
    if covered is not None:
        first, last = max(first, covered[0]), min(last, covered[1])
    days = calendars.sessions_between(of.exchange, of.asset_class, first, last)
    return np.array([ordinal(day) for day in days], dtype=np.int64)


def _pairs(before: Mapping[str, Extent], after: Mapping[str, Extent]) -> Iterator[tuple[Extent | None, Extent | None]]:
    for name in before.keys() | after.keys():
        if before.get(name) != after.get(name):
            yield before.get(name), after.get(name)


def _spans(old: Extent | None, new: Extent | None) -> list[tuple[dt.date, dt.date]]:
    """Days in which an instrument counts in other lines than before."""
    if old is None or new is None or old.sector != new.sector:
        return [(one.first, one.newest) for one in (old, new) if one is not None]
    firsts, ends = sorted((old.first, new.first)), sorted((old.newest, new.newest))
    return [(firsts[0], firsts[1]), (ends[0], ends[1])]
