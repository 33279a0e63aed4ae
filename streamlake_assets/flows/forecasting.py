"""Champions to the ledger: forecasts of the next session, scores of settled ones, signals.

Belongs here: the joins between champions, series, calendar and ledger; the same functions serve the Dagster assets and
the replay that waits for a session's forecasts before it reveals it. Stays out: how a forecast is made or judged
(``market.forecasts``), how it is stored (``stores.ledger``).
"""

import datetime as dt
from collections.abc import Collection, Sequence
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from streamlake_assets.errors import UsageError
from streamlake_assets.learning.serve import ServingModel, forecast_next
from streamlake_assets.market import calendars
from streamlake_assets.market.forecasts import Forecast, realised, score
from streamlake_assets.market.risk_signals import RiskReport, risk_signals_from
from streamlake_assets.market.series import SessionSeries
from streamlake_assets.market.signals import SignalReport, signals_from
from streamlake_assets.market.targets import Target
from streamlake_assets.market.types import Instrument
from streamlake_assets.stores import ledger
from streamlake_assets.stores.documents import DocumentStore
from streamlake_assets.stores.forecast_watch import ForecastWatch
from streamlake_assets.stores.ledger import SessionKey


class Spoken(NamedTuple):
    """Forecasts made, what the ledger did with them, and why instruments were passed over."""

    forecasts: list[Forecast]
    issued: ledger.Issued
    passed_over: tuple[str, ...]


def next_session(series: SessionSeries) -> dt.date:
    """Return the session that follows the newest settled one, by the exchange's calendar."""
    return calendars.next_session(series.exchange, series.asset_class, series.last_session)


def issue_forecasts(engine: sa.Engine, models: Sequence[ServingModel], series: Sequence[SessionSeries]) -> Spoken:
    """Forecast the next session of every instrument with enough history and commit it to the ledger.

    An instrument that cannot be forecast (a flat series has no scale to forecast by) is passed over with its reason;
    the others are forecast.

    Raises:
        TryLaterError: the database is not available.
    """
    made: list[Forecast] = []
    passed_over: list[str] = []
    for one in series:
        try:
            made.extend(forecast_next(models, [one], next_session))
        except UsageError as error:
            passed_over.append(str(error))
    issued = ledger.issue(engine, made)
    ForecastWatch()(engine, made)
    return Spoken(made, issued, tuple(passed_over))


def score_due(engine: sa.Engine, series: Sequence[SessionSeries], settled: Collection[SessionKey] | None = None) -> int:
    """Score every forecast on time whose session has settled and is in the series; return how many.

    Args:
        engine: of a user that may write scores.
        series: what happened.
        settled: look at the forecasts of these sessions only; None is all.

    Raises:
        TryLaterError: the database is not available.
    """
    by_instrument = {Instrument(one.symbol, one.exchange): one for one in series}
    scores = []
    for waiting in ledger.due(engine, settled):
        forecast = waiting.forecast
        known = by_instrument.get(Instrument(forecast.symbol, forecast.exchange))
        # the table may be ahead of the series: the next refresh brings the session
        if known is not None and len(known) and known.last_session >= forecast.session:
            try:
                value = realised(known, forecast.target, forecast.session)
            except UsageError:
                # the target has no value there (a price at or below zero has no logarithm): the forecast stays open
                continue
            scores.append((waiting.id, score(forecast, value)))
    return ledger.put_scores(engine, scores)


def daily_signals(engine: sa.Engine, forecasts: Sequence[Forecast]) -> SignalReport:
    """Derive signals from the newest forecasts and write them; none when there is no skill.

    Raises:
        UsageError: there are no forecasts to speak of.
    """
    if not forecasts:
        raise UsageError("no forecasts: train a model and issue forecasts first")
    report = signals_from(forecasts)
    ledger.put_signals(engine, report.signals, report.reason)
    return report


def daily_risk(documents: DocumentStore, forecasts: Sequence[Forecast], now: dt.datetime) -> RiskReport:
    """Derive position sizes from the newest forecasts of the range and keep them; none when there is no skill.

    Args:
        documents: where the report ``risk_signals`` is put; pages read it.
        forecasts: of the next session.
        now: aware time of the run.
    """
    report = risk_signals_from(forecasts)
    documents.put_report("risk_signals", {**msgspec.to_builtins(report), "made_at": now})
    return report


def newest_forecasts(engine: sa.Engine) -> list[Forecast]:
    """Return the last word on each instrument and target: of the newest session, not late, not scored yet.

    A champion that followed another may have spoken on the same session: the later word counts. An old session that
    was never scored, because it did not take place, is not the newest.
    """
    newest: dict[tuple[str, str, Target], ledger.LedgerRow] = {}
    for row in ledger.rows(engine):
        said = row.forecast
        key = (said.symbol, said.exchange, said.target)
        known = newest.get(key)
        if not row.late and (known is None or _word(known) < _word(row)):
            newest[key] = row
    return [row.forecast for row in newest.values() if row.realised is None]


def _word(row: ledger.LedgerRow) -> tuple[dt.date, dt.datetime]:
    return row.forecast.session, row.issued_at


def live_skill(rows: Sequence[ledger.LedgerRow], target: Target) -> float | None:
    """Return 1 - SSE / SSE of the baseline over the scored forecasts of a target; None before there are any."""
    scored = [row for row in rows if row.forecast.target is target and row.realised is not None]
    baseline = sum((row.realised - row.forecast.baseline) ** 2 for row in scored if row.realised is not None)
    model = sum((row.realised - row.forecast.point) ** 2 for row in scored if row.realised is not None)
    return 1 - model / baseline if baseline else None
