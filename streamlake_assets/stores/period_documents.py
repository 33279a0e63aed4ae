"""The collection ``periods``: key indicators as documents, one for each group and period, ready to be shown.

Belongs here: documents out of lines and back. Stays out: the measures (``market.period_lines``), when they are made
again (``flows.periods``), the protocol (``documents``).
"""

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final

from streamlake_assets.market.measures import KeyIndicators, Period, PeriodKind
from streamlake_assets.market.period_lines import ALL, Extent, Grouping, IndicatorLine
from streamlake_assets.stores.documents import PERIODS, DocumentStore

_EXTENTS: Final = "extents"
_DAYS: Final = ("first_session", "last_session")
_ENDS: Final = ("best", "worst")


def put_lines(store: DocumentStore, made: Mapping[tuple[Grouping, Period], Sequence[IndicatorLine]]) -> int:
    """Replace the lines of these groupings and periods; return how many were written.

    Raises:
        TryLaterError: the store is not available.
    """
    records = [_record(grouping, period, line) for (grouping, period), lines in made.items() for line in lines]
    # asked once for all: a store without an index on keys looks through the whole collection each time
    before = store.keys(PERIODS, *(_prefix(grouping, period.kind, period.name) for grouping, period in made))
    written = store.replace(PERIODS, records)
    store.remove(PERIODS, before - {record["_id"] for record in records})
    return written


def period_lines(store: DocumentStore, grouping: Grouping, kind: PeriodKind, name: str) -> tuple[IndicatorLine, ...]:
    """Return the lines of a period by subject, that of all instruments last; none where there is no such period.

    Raises:
        TryLaterError: the store is not available.
    """
    found = [_line(record) for record in store.records(PERIODS, _prefix(grouping, kind, name))]
    return tuple(sorted(found, key=lambda line: (line.subject == ALL, line.subject)))


def period_names(store: DocumentStore, kind: PeriodKind) -> tuple[str, ...]:
    """Return the periods there are lines of, the newest first.

    Raises:
        TryLaterError: the store is not available.
    """
    # every period has a line about all, in each grouping
    keys = store.keys(PERIODS, f"{Grouping.CLASS.value}|{kind.value}|")
    return tuple(sorted({key.split("|")[2] for key in keys}, reverse=True))


def extents(store: DocumentStore) -> dict[str, Extent]:
    """Return the extents that the lines were made with, by instrument; none before the first time.

    Raises:
        TryLaterError: the store is not available.
    """
    return {
        instrument: Extent(dt.date.fromisoformat(first), dt.date.fromisoformat(newest), sector)
        for record in store.records(PERIODS, _EXTENTS)
        for instrument, first, newest, sector in record["extents"]
    }


def put_extents(store: DocumentStore, made: Mapping[str, Extent]) -> None:
    """Keep the extents that the lines were made with; to be called after the lines.

    Raises:
        TryLaterError: the store is not available.
    """
    rows = [[name, one.first.isoformat(), one.newest.isoformat(), one.sector] for name, one in sorted(made.items())]
    if rows:
        store.replace(PERIODS, [{"_id": _EXTENTS, "extents": rows}])
    else:
        store.remove(PERIODS, [_EXTENTS])


def _prefix(grouping: Grouping, kind: PeriodKind, name: str) -> str:
    return f"{grouping.value}|{kind.value}|{name}|"


def _record(grouping: Grouping, period: Period, line: IndicatorLine) -> dict[str, Any]:
    measures = dataclasses.asdict(line.measures)
    for name in _DAYS:
        measures[name] = measures[name] and measures[name].isoformat()
    for name in _ENDS:
        measures[name] = measures[name] and [measures[name][0].isoformat(), measures[name][1]]
    return {
        "_id": f"{_prefix(grouping, period.kind, period.name)}{line.subject}",
        "subject": line.subject,
        "members": line.members,
        "sessions_there": line.sessions_there,
        "sessions_due": line.sessions_due,
        **measures,
    }


def _line(record: dict[str, Any]) -> IndicatorLine:
    measures = {field.name: record[field.name] for field in dataclasses.fields(KeyIndicators)}
    for name in _DAYS:
        measures[name] = measures[name] and dt.date.fromisoformat(measures[name])
    for name in _ENDS:
        measures[name] = measures[name] and (dt.date.fromisoformat(measures[name][0]), measures[name][1])
    counts = (record[name] for name in ("sessions_there", "sessions_due"))
    return IndicatorLine(record["subject"], record["members"], KeyIndicators(**measures), *counts)
