"""The forecast ledger: what was said and when, and what happened. Append-only.

Belongs here: forecasts, scores, signals in MySQL. Stays out: making and judging forecasts
(``market.forecasts``), which models there are and which speaks (``model_register``).

A forecast counts only if it was committed before any bar of its target session was stored. That is decided under a
lock: the reading of the instrument's bars takes gap locks, so the consumer cannot store such a bar between the look and
the commit; a forecast that finds one is marked late and is never scored.
"""

import datetime as dt
import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
import stamina
from sqlalchemy.exc import IntegrityError as DuplicateKey

from streamlake_assets.errors import IntegrityError, TryLaterError
from streamlake_assets.market.forecasts import Forecast, Score
from streamlake_assets.market.sessions import UTC, daily_bar_time
from streamlake_assets.market.signals import Signal
from streamlake_assets.market.targets import Target
from streamlake_assets.market.types import Instrument, Interval
from streamlake_assets.stores import schema
from streamlake_assets.stores.mysql import insert_unless_there, outages_as_try_later


class Issued(NamedTuple):
    """What became of forecasts handed to the ledger; ``existing`` were there already and stay as they were."""

    new: int
    late: int
    existing: int


class OpenForecast(NamedTuple):
    """A forecast on time whose session has settled since, waiting for its score."""

    id: int
    forecast: Forecast


class LedgerRow(NamedTuple):
    """A forecast and, once scored, what happened."""

    forecast: Forecast
    late: bool
    issued_at: dt.datetime
    realised: float | None
    error: float | None
    covered: bool | None


def issue(engine: sa.Engine, forecasts: Sequence[Forecast]) -> Issued:
    """Write forecasts; one that exists is left as it is, one whose session has a bar is marked late.

    Two processes may issue the same forecasts at once, or meet the consumer in a deadlock: the whole is tried again.

    Raises:
        IntegrityError: an instrument or a model is not registered.
        TryLaterError: the database is not available.
    """
    for attempt in stamina.retry_context(
        # soon: a bar is waiting for its forecast; later and later: a server may be away
        on=(TryLaterError, DuplicateKey),
        attempts=10,
        timeout=30,
        wait_initial=0.01,
        wait_jitter=0.02,
    ):
        with attempt:
            return _issue(engine, forecasts)
    raise AssertionError("retry_context returns or raises")


def _issue(engine: sa.Engine, forecasts: Sequence[Forecast]) -> Issued:
    table = schema.forecasts
    if not forecasts:
        return Issued(0, 0, 0)
    # gap locks need REPEATABLE READ: READ COMMITTED would lock only rows that exist
    with (
        outages_as_try_later("issuing forecasts"),
        engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection,
        connection.begin(),
    ):
        ids = _instrument_ids(connection, {Instrument(f.symbol, f.exchange) for f in forecasts})
        _require_models(connection, {f.model_version for f in forecasts})
        _hold(connection, set(ids.values()))
        # as values: the gaps locked are then those after ``start`` in each interval, and no other
        intervals = connection.execute(sa.select(schema.bar_intervals.c.id)).scalars().all()
        said = _said(connection, set(ids.values()), forecasts)
        mics = {number: instrument.exchange for instrument, number in ids.items()}
        unsaid: dict[tuple[int, str, dt.date, str], Forecast] = {}
        for forecast in sorted(forecasts, key=lambda f: (f.symbol, f.exchange, f.target, f.session)):
            instrument_id = ids[Instrument(forecast.symbol, forecast.exchange)]
            key = (instrument_id, forecast.target.value, forecast.session, forecast.model_version)
            if key not in said:
                unsaid.setdefault(key, forecast)
        revealed = _revealed(connection, {(key[0], key[2]) for key in unsaid}, mics, intervals)
        records = [
            {
                **dict(zip(_KEY, key, strict=True)),
                "known_session": forecast.after_session,
                "point": forecast.point,
                "low": forecast.low,
                "high": forecast.high,
                "baseline": forecast.baseline,
                "scale": forecast.scale,
                "coverage": forecast.coverage,
                "late": (key[0], key[2]) in revealed,
            }
            for key, forecast in unsaid.items()
        ]
        if records:
            connection.execute(sa.insert(table), records)
    late = sum(bool(record["late"]) for record in records)
    return Issued(len(records), late, len(forecasts) - len(records))


_LOOKS = (1, 8, 64)
"""Sessions looked for by one statement."""
SessionKey = tuple[Instrument, dt.date]
"""An instrument's session."""
_Session = tuple[int, dt.date]
"""Instrument's id, session."""
_KEY = ("instrument_id", "target", "target_session", "model_version")


def _hold(connection: sa.Connection, instrument_ids: set[int]) -> None:
    """Lock the instruments first, as the consumer does that describes them: in two orders both would wait for ever."""
    i = schema.instruments
    query = sa.select(i.c.id).where(i.c.id.in_(sorted(instrument_ids))).order_by(i.c.id)
    connection.execute(query.with_for_update(read=True)).all()


def _said(
    connection: sa.Connection, instrument_ids: set[int], forecasts: Sequence[Forecast]
) -> set[tuple[int, str, dt.date, str]]:
    """Return the keys of rows that are there, of all that these forecasts could have."""
    table = schema.forecasts
    found = connection.execute(
        sa.select(*(table.c[name] for name in _KEY)).where(
            table.c.instrument_id.in_(sorted(instrument_ids)),
            table.c.target_session.in_(sorted({f.session for f in forecasts})),
            table.c.model_version.in_(sorted({f.model_version for f in forecasts})),
        )
    )
    return {(row.instrument_id, row.target, row.target_session, row.model_version) for row in found}


def due(engine: sa.Engine, settled: Collection[SessionKey] | None = None) -> list[OpenForecast]:
    """Return forecasts on time, not scored yet, whose session has a settled daily bar.

    Args:
        engine: of a user that may read the ledger.
        settled: look no further than the instruments and dates of these: a stream that brings a thousand sessions a
            second would read the whole ledger for each. None is all.
    """
    f, s, b, v = schema.forecasts, schema.forecast_scores, schema.bars, schema.bar_intervals
    i = schema.instruments
    is_settled = (
        sa.select(b.c.instrument_id)
        .join(v, v.c.id == b.c.interval_id)
        .where(
            b.c.instrument_id == f.c.instrument_id,
            b.c.session_date == f.c.target_session,
            v.c.name == Interval.D1.value,
            b.c.status == "settled",
        )
        .exists()
    )
    query = forecast_query().outerjoin(s, s.c.forecast_id == f.c.id)
    query = query.where(s.c.forecast_id.is_(None), sa.not_(f.c.late), is_settled).order_by(f.c.id)
    if settled is not None:
        # what leads to the columns of the ledger's key, in their order
        query = query.where(
            i.c.symbol.in_(sorted({instrument.symbol for instrument, _ in settled})),
            f.c.target.in_([target.value for target in Target]),
            f.c.target_session.in_(sorted({session for _, session in settled})),
        )
    with outages_as_try_later("reading open forecasts"), engine.connect() as connection:
        return [OpenForecast(row.id, _forecast(row)) for row in connection.execute(query)]


def put_scores(engine: sa.Engine, scores: Iterable[tuple[int, Score]]) -> int:
    """Write the scores of forecasts by id; return how many were written."""
    records = [
        {
            "forecast_id": forecast_id,
            "realised": score.realised,
            "error": score.error,
            "baseline_error": score.baseline_error,
            "covered": score.covered,
            "direction_hit": score.direction_hit,
        }
        for forecast_id, score in scores
    ]
    with outages_as_try_later("scoring"), engine.begin() as connection:
        if not records or insert_unless_there(connection, schema.forecast_scores, records):
            return len(records)
        # some were scored by another process since they were read: a score is a fact, both would write the same
        return sum(insert_unless_there(connection, schema.forecast_scores, [record]) for record in records)


def put_signals(engine: sa.Engine, signals: Iterable[Signal], reason: str) -> int:
    """Write signals that are not there yet; return how many were written.

    Raises:
        IntegrityError: a signal has no forecast in the ledger.
    """
    f, i, e = schema.forecasts, schema.instruments, schema.exchanges
    written = 0
    with outages_as_try_later("writing signals"), engine.begin() as connection:
        for signal in signals:
            forecast_id = connection.execute(
                sa.select(f.c.id)
                .join(i, i.c.id == f.c.instrument_id)
                .join(e, e.c.id == i.c.exchange_id)
                .where(
                    i.c.symbol == signal.symbol,
                    e.c.mic == signal.exchange,
                    f.c.target == Target.ADJUSTED_RETURN.value,
                    f.c.target_session == signal.session,
                    f.c.model_version == signal.model_version,
                )
            ).scalar()
            if forecast_id is None:
                raise IntegrityError(f"a signal for {signal.symbol} {signal.session} has no forecast in the ledger")
            known = connection.execute(
                sa.select(schema.signals.c.forecast_id).where(schema.signals.c.forecast_id == forecast_id)
            )
            if known.first() is None:
                connection.execute(
                    sa.insert(schema.signals).values(
                        forecast_id=forecast_id, side=signal.action.value, reason=reason[:512]
                    )
                )
                written += 1
    return written


def rows(engine: sa.Engine, instrument: Instrument | None = None, last: int | None = None) -> list[LedgerRow]:
    """Return the ledger, newest session first, of one instrument or all."""
    f, s, i, e = schema.forecasts, schema.forecast_scores, schema.instruments, schema.exchanges
    query = forecast_query(s.c.realised, s.c.error, s.c.covered, f.c.late, f.c.issued_at)
    query = query.outerjoin(s, s.c.forecast_id == f.c.id)
    if instrument is not None:
        query = query.where(i.c.symbol == instrument.symbol, e.c.mic == instrument.exchange)
    query = query.order_by(f.c.target_session.desc(), i.c.symbol, f.c.target).limit(last)
    with outages_as_try_later("reading the ledger"), engine.connect() as connection:
        return [
            LedgerRow(
                _forecast(row),
                bool(row.late),
                row.issued_at.replace(tzinfo=UTC),
                row.realised,
                row.error,
                None if row.covered is None else bool(row.covered),
            )
            for row in connection.execute(query)
        ]


def signals_without_skill(engine: sa.Engine) -> int:
    """Count signals whose model never passed the gate; anything but 0 is a fault."""
    g, f, m = schema.signals, schema.forecasts, schema.model_versions
    query = (
        sa.select(sa.func.count())
        .select_from(g)
        .join(f, f.c.id == g.c.forecast_id)
        .join(m, m.c.version == f.c.model_version)
        .where(sa.not_(m.c.has_skill))
    )
    with outages_as_try_later("reading signals"), engine.connect() as connection:
        return int(connection.execute(query).scalar_one())


def _require_models(connection: sa.Connection, wanted: set[str]) -> None:
    table = schema.model_versions
    missing = wanted - set(connection.execute(sa.select(table.c.version).where(table.c.version.in_(wanted))).scalars())
    if missing:
        raise IntegrityError(f"no such model registered: {', '.join(sorted(missing))}")


def forecast_query(*more: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """Return a query of forecasts with their instrument and model, and what else is asked for."""
    f, i, e, m = schema.forecasts, schema.instruments, schema.exchanges, schema.model_versions
    return (
        sa.select(f, i.c.symbol, e.c.mic, m.c.engine, m.c.has_skill, *more)
        .join(i, i.c.id == f.c.instrument_id)
        .join(e, e.c.id == i.c.exchange_id)
        .join(m, m.c.version == f.c.model_version)
    )


def _forecast(row: sa.Row[Any]) -> Forecast:
    return Forecast(
        symbol=row.symbol,
        exchange=row.mic,
        target=Target(row.target),
        session=row.target_session,
        after_session=row.known_session,
        model_version=row.model_version,
        engine=row.engine,
        point=row.point,
        low=row.low,
        high=row.high,
        baseline=row.baseline,
        scale=row.scale,
        has_skill=bool(row.has_skill),
        coverage=row.coverage,
    )


def _instrument_ids(connection: sa.Connection, wanted: set[Instrument]) -> dict[Instrument, int]:
    i, e = schema.instruments, schema.exchanges
    found = connection.execute(
        sa.select(i.c.id, i.c.symbol, e.c.mic)
        .join(e, e.c.id == i.c.exchange_id)
        .where(i.c.symbol.in_({instrument.symbol for instrument in wanted}))
    )
    ids = {Instrument(row.symbol, row.mic): row.id for row in found}
    missing = wanted - ids.keys()
    if missing:
        raise IntegrityError(f"no such instrument stored: {', '.join(map(str, sorted(missing)))}")
    return ids


def _revealed(
    connection: sa.Connection, of: Iterable[_Session], exchanges: Mapping[int, str], intervals: Sequence[int]
) -> set[_Session]:
    """Return which sessions of instruments have a bar, and lock what the others do not have yet.

    One select for each, many in one statement: a condition on all of them at once could make the server scan, and lock,
    the whole table, and a statement for each keeps a thousand bars a second waiting.
    """
    found: set[_Session] = set()
    left = sorted(of)
    while left:
        size = next((size for size in _LOOKS if size >= len(left)), _LOOKS[-1])
        asked, left = left[:size], left[size:]
        values: dict[str, object] = {f"interval{place}": number for place, number in enumerate(intervals)}
        # few sizes, filled up with the last one again: to compile a statement of a new size takes longer than to run it
        for place, (number, session) in enumerate(asked + asked[-1:] * (size - len(asked))):
            values[f"instrument{place}"] = number
            values[f"start{place}"] = daily_bar_time(session, exchanges[number]).replace(tzinfo=None)
        there = connection.execute(_looks(size, len(intervals)), values).scalars()
        found.update(asked[min(int(place), len(asked) - 1)] for place in there)
    return found


@functools.cache
def _looks(size: int, intervals: int) -> sa.Executable:
    """Return the statement that looks for ``size`` sessions, and locks; names are those of its parameters.

    Kept, and with plain parameters: to put 64 selects together takes 20 ms, each list that SQLAlchemy expands at the
    time of execution 0.1 ms, and a bar is waiting for its forecast.
    """
    b = schema.bars
    looks: list[sa.Select[Any]] = [
        sa.select(sa.literal_column(str(place)))
        .where(
            b.c.instrument_id == sa.bindparam(f"instrument{place}"),
            b.c.interval_id.in_([sa.bindparam(f"interval{number}") for number in range(intervals)]),
            b.c.bar_time >= sa.bindparam(f"start{place}"),
        )
        .limit(sa.literal_column("1"))
        .with_for_update()
        for place in range(size)
    ]
    return looks[0] if size == 1 else sa.union_all(*looks)
