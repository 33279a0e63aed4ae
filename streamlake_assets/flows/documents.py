"""MySQL to documents: session documents and feature buckets, made again only where bars changed.

Belongs here: what to make again and from which rows. Stays out: the sums (``market.session_documents``), SQL and the
document protocol (``stores``). Safe to run at any time, by anyone, twice: documents are replaced whole, and the record
of what they were made from is written last.
"""

import datetime as dt
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa

from streamlake_assets.flows.periods import refresh_periods
from streamlake_assets.market.contract import BARS_TOPIC
from streamlake_assets.market.measures import PeriodKind, periods_between
from streamlake_assets.market.series import SessionSeries, ordinal
from streamlake_assets.market.session_documents import SessionBar, SessionDocument, month_of_key, session_document
from streamlake_assets.market.types import AssetClass, Instrument, Interval
from streamlake_assets.stores import bar_reader
from streamlake_assets.stores.bar_reader import KnownInstrument, StreamEnd, Touch
from streamlake_assets.stores.documents import DocumentStore
from streamlake_assets.stores.operations import exclusive

_TURN_WAIT_S = 120


def one_at_a_time(engine: sa.Engine) -> AbstractContextManager[None]:
    """Hold the documents: no refresh writes them meanwhile.

    Raises:
        TryLaterError: another process held them too long, or the database is not available.
    """
    return exclusive(engine, "refresh_documents", _TURN_WAIT_S)


class Refreshed(NamedTuple):
    """What a refresh did: months made again; documents, buckets and lines of periods written; offsets now reflected.

    ``by_month``: session documents written by first day of their month, 0 for a month that was looked at in vain.
    """

    months: int
    sessions: int
    buckets: int
    lines: int
    next_offsets: dict[str, int]
    by_month: dict[dt.date, int]


def refresh_documents(
    engine: sa.Engine,
    documents: DocumentStore,
    now: dt.datetime,
    full: bool = False,
    months: tuple[dt.date, dt.date] | None = None,
) -> Refreshed:
    """Bring the documents up to what is stored.

    Args:
        engine: of a user that may read the raw tables.
        documents: where they go.
        now: written as the time of the refresh.
        full: make every document again, and remove those that no bar stands behind; the result is the same to the byte.
            With ``months`` it says nothing more: of these all are made anyway.
        months: first day of the first and of the last month to make again, of every instrument, touched or not; what
            was touched elsewhere is left to the next refresh. None: all that was touched.

    Raises:
        TryLaterError: a store is not available.
    """
    # one at a time: the slower of two would put its older documents over the newer ones
    with one_at_a_time(engine):
        return _refresh(engine, documents, now, full, months)


def _refresh(
    engine: sa.Engine,
    documents: DocumentStore,
    now: dt.datetime,
    full: bool,
    chosen: tuple[dt.date, dt.date] | None,
) -> Refreshed:
    state = None if full else documents.state()
    cursor: dict[str, int] = state["touch_cursor"] if state else {}
    with bar_reader.snapshot(engine) as connection:
        ends = bar_reader.stream_ends(connection)
        known = bar_reader.instruments(connection)
        if chosen is None:
            touches = bar_reader.touches_since(connection, cursor)
            to_make = with_the_open_session(connection, touches)
        else:
            months = periods_between(*chosen, PeriodKind.MONTH)
            touches = to_make = {Touch(number, month.first) for number in known for month in months}
        by_month = dict.fromkeys(sorted({touch.month for touch in to_make}), 0)
        intervals = intervals_by_id(connection)
        years: dict[Instrument, set[int]] = defaultdict(set)
        kept: set[str] = set()
        for of, first, last in _ranges(to_make, known):
            made = documents_of(connection, of, first, last, intervals)
            kept.update(document.key for document in made)
            gone = documents.session_keys(of.instrument, first, last) - {document.key for document in made}
            documents.put_sessions(made)
            for document in made:
                by_month[document.session.replace(day=1)] += 1
            documents.remove_sessions(gone)
            years[of.instrument].update(range(first.year, last.year + 1))
        moved = set(by_month)
        whole = full and chosen is None
        if whole:
            moved |= _remove_unfounded(documents, kept)
        factors = {of.instrument: bar_reader.factors(connection, of.id) for of in known.values()}
        classes = {of.instrument: of.asset_class for of in known.values()}
        buckets = 0
        made_years: set[tuple[Instrument, int]] = set()
        for instrument, wanted in sorted(years.items()):
            made_buckets = list(_buckets(instrument, classes[instrument], wanted, documents, factors[instrument]))
            buckets += documents.put_buckets(made_buckets)
            made_years.update((instrument, year) for year, _ in made_buckets)
            documents.remove_buckets(instrument, wanted - {year for year, _ in made_buckets})
        if whole:
            documents.remove_all_buckets_but(made_years)
        lines = refresh_periods(connection, documents, moved)
    if chosen is None:
        documents.put_state(_state(ends, now))
    return Refreshed(len(touches), sum(by_month.values()), buckets, lines, _offsets(ends), by_month)


def _remove_unfounded(documents: DocumentStore, kept: set[str]) -> set[dt.date]:
    """Remove the documents that no bar stands behind, wherever they are; return the first days of their months."""
    gone = documents.session_sizes().keys() - kept
    documents.remove_sessions(gone)
    return {month_of_key(key)[1] for key in gone}


def with_the_open_session(connection: sa.Connection, touches: set[Touch]) -> set[Touch]:
    """Add the month of the session before each run of touched months: it is complete once the next one begins."""
    found = set(touches)
    for touch in touches:
        if Touch(touch.instrument_id, (touch.month - dt.timedelta(days=1)).replace(day=1)) not in touches:
            before = bar_reader.last_settled_session(connection, touch.instrument_id, before=touch.month)
            if before is not None:
                found.add(Touch(touch.instrument_id, before.replace(day=1)))
    return found


def _ranges(
    touches: Iterable[Touch], known: dict[int, KnownInstrument]
) -> Iterator[tuple[KnownInstrument, dt.date, dt.date]]:
    """Join touched months that follow each other: one read for a whole history, not one for each month."""
    months: dict[int, list[dt.date]] = defaultdict(list)
    for touch in sorted(touches):
        months[touch.instrument_id].append(touch.month)
    for instrument_id, starts in months.items():
        first = starts[0]
        for month, following in zip(starts, [*starts[1:], None], strict=True):
            end = _next_month(month)
            if following != end:
                yield known[instrument_id], first, end - dt.timedelta(days=1)
                if following is not None:
                    first = following


def _next_month(month: dt.date) -> dt.date:
    return (month.replace(day=1) + dt.timedelta(days=32)).replace(day=1)


def intervals_by_id(connection: sa.Connection) -> dict[int, Interval]:
    """Return each interval by its id."""
    return {number: interval for interval, number in bar_reader.interval_ids(connection).items()}


def documents_of(
    connection: sa.Connection,
    of: KnownInstrument,
    first: dt.date,
    last: dt.date,
    intervals: Mapping[int, Interval],
) -> list[SessionDocument]:
    """Make the documents of an instrument's sessions between two dates inclusive from its bars, in key order.

    Args:
        connection: of a snapshot.
        of: whose.
        first: session.
        last: session.
        intervals: by their id, as ``intervals_by_id`` gives them.
    """
    last_session = bar_reader.last_settled_session(connection, of.id)
    grouped: dict[dt.date, dict[Interval, list[SessionBar]]] = defaultdict(lambda: defaultdict(list))
    for session, interval_id, bar in bar_reader.settled_bars(connection, of.id, first, last):
        grouped[session][intervals[interval_id]].append(bar)
    made = []
    for session, by_interval in sorted(grouped.items()):
        finest = min(by_interval, key=lambda interval: interval.seconds)
        # settled for the day, or the next session has begun
        complete = Interval.D1 in by_interval or (last_session is not None and session < last_session)
        made.append(session_document(of.instrument, session, finest, by_interval[finest], complete))
    return made


def _buckets(
    instrument: Instrument,
    asset_class: AssetClass,
    years: set[int],
    documents: DocumentStore,
    factors: dict[dt.date, Decimal],
) -> Iterator[tuple[int, SessionSeries]]:
    for year in sorted(years):
        found = documents.sessions(instrument, dt.date(year, 1, 1), dt.date(year, 12, 31))
        complete = [document for document in found if document.complete]
        if complete:
            before = documents.session_keys(instrument, dt.date(year - 1, 1, 1), dt.date(year - 1, 12, 31))
            last = max((key.rpartition("|")[2] for key in before), default="")
            after = dt.date.fromisoformat(last) if last else dt.date.min
            yield year, _series(instrument, asset_class, complete, _carried(factors, complete, after))


def _carried(factors: dict[dt.date, Decimal], found: list[SessionDocument], after: dt.date) -> dict[dt.date, Decimal]:
    """Give each action past ``after`` to the first session on or after its ex-date: that day may have no bar."""
    carried: dict[dt.date, Decimal] = {}
    sessions = [document.session for document in found]
    for ex_date, factor in factors.items():
        place = bisect_left(sessions, ex_date)
        if ex_date > after and place < len(sessions):
            carried[sessions[place]] = carried.get(sessions[place], Decimal(1)) * factor
    return carried


def _series(
    instrument: Instrument, asset_class: AssetClass, found: list[SessionDocument], factors: dict[dt.date, Decimal]
) -> SessionSeries:
    def column(values: Iterable[Any]) -> Any:
        return np.array([np.nan if value is None else float(value) for value in values], dtype=np.float64)

    return SessionSeries(
        symbol=instrument.symbol,
        exchange=instrument.exchange,
        asset_class=asset_class,
        sessions=np.array([ordinal(document.session) for document in found], dtype=np.int64),
        open=column(document.open for document in found),
        high=column(document.high for document in found),
        low=column(document.low for document in found),
        close=column(document.close for document in found),
        volume=column(document.volume for document in found),
        factor=column(factors.get(document.session, Decimal(1)) for document in found),
    )


def _offsets(ends: Iterable[StreamEnd]) -> dict[str, int]:
    """Next offset by ``topic:partition`` of the newest stream of each topic."""
    newest: dict[str, int] = {}
    for end in ends:
        newest[end.topic] = max(end.stream_id, newest.get(end.topic, 0))
    return {f"{e.topic}:{e.partition}": e.next_offset for e in ends if newest[e.topic] == e.stream_id}


def _state(ends: list[StreamEnd], now: dt.datetime) -> dict[str, Any]:
    bars = [end for end in ends if end.topic == BARS_TOPIC]
    return {
        "next_offsets": _offsets(ends),
        "touch_cursor": {f"{end.stream_id}:{end.partition}": end.next_offset for end in ends},
        "cluster_id": bars[-1].cluster_id if bars else None,
        "topic_id": bars[-1].topic_id if bars else None,
        "refreshed_at": now,
    }
