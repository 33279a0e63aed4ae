"""The collection ``periods``: key indicators ready to be shown, one document for each grouping and period.

Belongs here: documents out of lines and back. Stays out: the measures (``market.period_lines``), when they are made
again (``flows.periods``), the protocol (``documents``).
"""

import dataclasses
import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from streamlake_assets.market.measures import KeyIndicators, Period, PeriodKind
from streamlake_assets.market.period_lines import ALL, Extent, Grouping, IndicatorLine
from streamlake_assets.stores.documents import PERIODS, DocumentStore

LINES_PER_DOCUMENT = 5_000
"""A line takes half a kilobyte, a document of MongoDB at most 16 MB: a period of more lines has several documents."""
_EXTENTS: Final = "extents"
_NAMES: Final = "names"
_DAYS: Final = ("first_session", "last_session")
_ENDS: Final = ("best", "worst")


def put_lines(store: DocumentStore, made: Mapping[tuple[Grouping, Period], Sequence[IndicatorLine]]) -> int:
    """Replace the lines of these groupings and periods; return how many were written.

    Raises:
        TryLaterError: the store is not available.
    """
    records = [
        record for (grouping, period), lines in made.items() for record in period_records(grouping, period, lines)
    ]
    before = store.keys(PERIODS, *(_prefix(grouping, period.kind, period.name) for grouping, period in made))
    store.replace(PERIODS, records)
    store.remove(PERIODS, before - {record["_id"] for record in records})
    return sum(map(len, made.values()))


def period_lines(store: DocumentStore, grouping: Grouping, kind: PeriodKind, name: str) -> tuple[IndicatorLine, ...]:
    """Return the lines of a period by subject, that of all instruments last; none where there is no such period.

    Raises:
        TryLaterError: the store is not available.
    """
    # by whole keys, never by a range: where keys are not kept in order, a range looks through the collection
    first = store.by_keys(PERIODS, [_key(grouping, kind, name, 0)])
    more = [_key(grouping, kind, name, part) for record in first for part in range(1, record["parts"])]
    found = [_line(line) for record in (*first, *store.by_keys(PERIODS, more)) for line in record["lines"]]
    return tuple(sorted(found, key=lambda line: (line.subject == ALL, line.subject)))


def period_names(store: DocumentStore, kind: PeriodKind) -> tuple[str, ...]:
    """Return the periods from the oldest session to the newest, the newest first; none before the first time.

    Raises:
        TryLaterError: the store is not available.
    """
    return tuple(name for record in store.by_keys(PERIODS, [_NAMES]) for name in record[kind.value])


def extents(store: DocumentStore) -> dict[str, Extent]:
    """Return the extents that the lines were made with, by instrument; none before the first time in this form.

    Raises:
        TryLaterError: the store is not available.
    """
    if not store.by_keys(PERIODS, [_NAMES]):
        # lines of the form before, a document each, which knew no names: all are made again and replace them
        return {}
    return {
        instrument: Extent(dt.date.fromisoformat(first), dt.date.fromisoformat(newest), sector)
        for record in store.by_keys(PERIODS, [_EXTENTS])
        for instrument, first, newest, sector in record["extents"]
    }


def put_made_with(
    store: DocumentStore, made: Mapping[str, Extent], periods: Mapping[PeriodKind, Sequence[Period]]
) -> None:
    """Keep the extents that the lines were made with and the periods there are; to be called after the lines.

    Args:
        store: where they go.
        made: by instrument.
        periods: by kind, the newest first.

    Raises:
        TryLaterError: the store is not available.
    """
    if not made:
        store.remove(PERIODS, [_EXTENTS, _NAMES])
        return
    rows = [[name, one.first.isoformat(), one.newest.isoformat(), one.sector] for name, one in sorted(made.items())]
    names = {kind.value: [period.name for period in found] for kind, found in periods.items()}
    store.replace(PERIODS, [{"_id": _NAMES, **names}, {"_id": _EXTENTS, "extents": rows}])


def period_records(grouping: Grouping, period: Period, lines: Sequence[IndicatorLine]) -> Iterator[dict[str, Any]]:
    """Yield the documents of one period; none where it has no lines."""
    starts = range(0, len(lines), LINES_PER_DOCUMENT)
    for part, start in enumerate(starts):
        records = [_line_record(line) for line in lines[start : start + LINES_PER_DOCUMENT]]
        yield {
            "_id": _key(grouping, period.kind, period.name, part),
            "parts": len(starts),
            "lines": records,
        }


def _prefix(grouping: Grouping, kind: PeriodKind, name: str) -> str:
    return f"{grouping.value}|{kind.value}|{name}|"


def _key(grouping: Grouping, kind: PeriodKind, name: str, part: int) -> str:
    return f"{_prefix(grouping, kind, name)}{part}"


def _line_record(line: IndicatorLine) -> dict[str, Any]:
    measures = dataclasses.asdict(line.measures)
    for name in _DAYS:
        measures[name] = measures[name] and measures[name].isoformat()
    for name in _ENDS:
        measures[name] = measures[name] and [measures[name][0].isoformat(), measures[name][1]]
    return {
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
