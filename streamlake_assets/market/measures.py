"""The measures people look at: what a period was worth, how rough it was, how good forecasts and data are.

Belongs here: the definition of every key indicator, as pure functions of arrays; the pages, the documents of periods
and the BI model all mean these. Stays out: reading what is measured, features (``features``), the gate's bootstrap
(``skill``), backtests (``backtest``).

Rules held here. A return is the adjusted simple return of a session, close_t / (close_{t-1} * f_t) - 1, and belongs to
the period its own session lies in, so that the returns of months chain to that of their year. A group of instruments is
measured as its equal-weight index, rebalanced every session. What is undefined is None (in arrays: NaN), never zero.
"""

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np

from streamlake_assets.market.indicators import steps_back
from streamlake_assets.market.series import BoolArray, FloatArray, IntArray, SessionSeries, from_ordinal, ordinal
from streamlake_assets.market.types import AssetClass

SESSIONS_PER_YEAR: Final = dict.fromkeys(AssetClass, 252) | {AssetClass.CRYPTO: 365}
"""By which a session's variance is scaled to a year: crypto trades on every day."""
LEAST_PAIRS: Final = 3
"""Sessions below which beta and correlation are undefined: two points lie on a line whatever they are."""


class PeriodKind(StrEnum):
    """How long a period of the calendar is."""

    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"


class Period(NamedTuple):
    """A calendar month, quarter or year; ``name`` is 2013-01, 2013-Q1 or 2013; both days are included."""

    kind: PeriodKind
    name: str
    first: dt.date
    last: dt.date


def period_of(session: dt.date, kind: PeriodKind) -> Period:
    """Return the calendar period a session lies in."""
    if kind is PeriodKind.MONTH:
        start, months, name = session.month, 1, f"{session:%Y-%m}"
    elif kind is PeriodKind.QUARTER:
        quarter = (session.month + 2) // 3
        start, months, name = 3 * quarter - 2, 3, f"{session.year:04}-Q{quarter}"
    else:
        start, months, name = 1, 12, f"{session.year:04}"
    end = start + months - 1
    last = dt.date(session.year, 12, 31) if end == 12 else dt.date(session.year, end + 1, 1) - dt.timedelta(days=1)
    return Period(kind, name, dt.date(session.year, start, 1), last)


def periods_between(first: dt.date, last: dt.date, kind: PeriodKind) -> list[Period]:
    """Return the periods that hold the days from ``first`` to ``last``, oldest first; none when last is before it."""
    found = []
    day = first
    while day <= last:
        found.append(period_of(day, kind))
        if found[-1].last == dt.date.max:
            break
        day = found[-1].last + dt.timedelta(days=1)
    return found


def session_returns(series: SessionSeries) -> FloatArray:
    """Return the adjusted simple return of every session, close_t / (close_{t-1} * f_t) - 1.

    Returns:
        n values without unit; NaN in the first session and beside a price that is not positive.
    """
    return 1.0 / steps_back(series.close, series.factor) - 1.0


def _known(returns: FloatArray) -> FloatArray:
    return returns[np.isfinite(returns)]


def period_return(returns: FloatArray) -> float | None:
    """Return what the sessions earned together, the product of (1 + r) less 1; None where no return is known.

    Args:
        returns: simple returns, NaN where unknown.
    """
    known = _known(returns)
    return float(np.prod(1.0 + known) - 1.0) if len(known) else None


def annualised_volatility(returns: FloatArray, sessions_per_year: int) -> float | None:
    """Return the sample standard deviation of log returns, times the root of the sessions in a year.

    None where fewer than two returns are known or one lost everything (no logarithm).

    Args:
        returns: simple returns, NaN where unknown.
        sessions_per_year: see ``SESSIONS_PER_YEAR``.
    """
    known = _known(returns)
    if len(known) < 2 or np.any(known <= -1.0):
        return None
    return float(np.std(np.log1p(known), ddof=1) * math.sqrt(sessions_per_year))


def drawdowns(returns: FloatArray) -> FloatArray:
    """Return how far below its highest point so far the value stands after each session, 0 at a high, else negative.

    The value begins at 1 before the first session; an unknown return leaves it where it was.

    Args:
        returns: n simple returns, NaN where unknown.
    """
    value = np.cumprod(1.0 + np.where(np.isfinite(returns), returns, 0.0))
    return value / np.maximum(np.maximum.accumulate(value), 1.0) - 1.0


def max_drawdown(returns: FloatArray) -> float | None:
    """Return the deepest of the ``drawdowns``, 0 where there was none; None where no return is known."""
    if not len(_known(returns)):
        return None
    return float(np.min(drawdowns(returns)))


def dollar_volume(close: FloatArray, volume: FloatArray) -> float | None:
    """Return the sum of close * volume over the sessions whose volume is known, in the currency of the quotes.

    Prices and volumes are both raw, so a split does not move it. None where no volume is known.
    """
    traded = _known(close * volume)
    return float(traded.sum()) if len(traded) else None


def vwap(high: FloatArray, low: FloatArray, close: FloatArray, volume: FloatArray) -> float | None:
    """Return the volume-weighted mean of each session's typical price (high + low + close) / 3, in raw prices.

    Over a split it mixes prices before and after. None where nothing was traded or no volume is known.
    """
    known = np.isfinite(volume)
    shares = volume[known].sum()
    if not shares > 0:
        return None
    typical = (high + low + close)[known] / 3.0
    return float((typical * volume[known]).sum() / shares)


@dataclass(frozen=True, eq=False)
class IndexReturns:
    """The returns of an index: ``sessions`` days since 1970-01-01, increasing, with as many simple returns."""

    sessions: IntArray
    returns: FloatArray

    def between(self, first: dt.date, last: dt.date) -> "IndexReturns":
        """Return the part between two dates, both included."""
        rows = _rows(self.sessions, first, last)
        return IndexReturns(self.sessions[rows], self.returns[rows])


def _rows(sessions: IntArray, first: dt.date, last: dt.date) -> slice:
    start = int(np.searchsorted(sessions, ordinal(first), side="left"))
    return slice(start, max(start, int(np.searchsorted(sessions, ordinal(last), side="right"))))


def equal_weight_index(members: Sequence[SessionSeries]) -> IndexReturns:
    """Return the mean simple return, date by date, of the members that have one: equal weights, each session anew.

    A date on which no member has a return is not in it.
    """
    if not members:
        return IndexReturns(np.empty(0, dtype=np.int64), np.empty(0))
    sessions = np.concatenate([series.sessions for series in members])
    returns = np.concatenate([session_returns(series) for series in members])
    known = np.isfinite(returns)
    dates, position = np.unique(sessions[known], return_inverse=True)
    totals = np.bincount(position, weights=returns[known], minlength=len(dates))
    return IndexReturns(dates, totals / np.bincount(position, minlength=len(dates)))


def against_index(sessions: IntArray, returns: FloatArray, index: IndexReturns) -> tuple[FloatArray, FloatArray]:
    """Return own and index returns of the sessions on which both are known, as two arrays of m values."""
    known = np.isfinite(returns)
    _, own, other = np.intersect1d(sessions[known], index.sessions, assume_unique=True, return_indices=True)
    return returns[known][own], index.returns[other]


def beta(returns: FloatArray, index: FloatArray) -> float | None:
    """Return cov(r, index) / var(index) of paired simple returns (Sharpe, 1964).

    None below ``LEAST_PAIRS`` pairs or where the index stands still. The index holds the instrument itself, so the mean
    beta of its members is near 1.
    """
    moments = _moments(returns, index)
    if moments is None or moments[1] == 0:
        return None
    return moments[2] / moments[1]


def correlation(returns: FloatArray, index: FloatArray) -> float | None:
    """Return the correlation of paired simple returns (Pearson, 1895), -1 to 1; None where either stands still."""
    moments = _moments(returns, index)
    if moments is None or moments[0] == 0 or moments[1] == 0:
        return None
    return max(-1.0, min(1.0, moments[2] / math.sqrt(moments[0] * moments[1])))


def _moments(a: FloatArray, b: FloatArray) -> tuple[float, float, float] | None:
    """Variances of both and their covariance, divided by n; None for too few pairs."""
    if len(a) < LEAST_PAIRS:
        return None
    da, db = a - a.mean(), b - b.mean()
    # the mean of equal values is not always one of them: what is left then is rounding, not movement
    va, vb = (0.0 if np.ptp(x) == 0 else float(np.mean(d * d)) for x, d in ((a, da), (b, db)))
    return va, vb, float(np.mean(da * db))


def best_and_worst(values: Mapping[str, float | None]) -> tuple[tuple[str, float], tuple[str, float]] | None:
    """Return the name with the highest and that with the lowest value, each with it; of equals the first by name.

    Values that are None take no part; None where nothing is left.
    """
    known = sorted((name, value) for name, value in values.items() if value is not None)
    if not known:
        return None
    return max(known, key=lambda pair: pair[1]), min(known, key=lambda pair: pair[1])


@dataclass(frozen=True, kw_only=True)
class KeyIndicators:
    """The measures of one instrument or group over one period; None where undefined.

    ``sessions`` counts session bars; ``expected`` those of the calendars in the period, None where no calendar was
    asked; ``best`` and ``worst`` are the sessions of the highest and lowest return, with it. ``vwap`` is of a single
    instrument only: a mean price of several has no meaning.
    """

    first_session: dt.date | None
    last_session: dt.date | None
    sessions: int
    expected: int | None
    period_return: float | None
    annualised_volatility: float | None
    max_drawdown: float | None
    dollar_volume: float | None
    vwap: float | None
    beta: float | None
    correlation: float | None
    best: tuple[dt.date, float] | None
    worst: tuple[dt.date, float] | None

    @property
    def completeness(self) -> float | None:
        """Share of the expected sessions that have a bar; None where unknown."""
        return None if self.expected is None else completeness(self.sessions, self.expected)


def key_indicators(
    members: Sequence[SessionSeries],
    index: IndexReturns,
    first: dt.date,
    last: dt.date,
    *,
    expected: int | None = None,
    own: IndexReturns | None = None,
) -> KeyIndicators:
    """Measure an instrument (one member) or a group (several) over the sessions between two dates, both included.

    Args:
        members: whole series, not cut: the first return of the period needs the session before it.
        index: of all instruments, from ``equal_weight_index``.
        first: first day of the period.
        last: last day of the period.
        expected: sessions that the calendars of the members have in the period, summed over members.
        own: the members' ``equal_weight_index``, for who measures many periods of them; None: made here.
    """
    own = (equal_weight_index(members) if own is None else own).between(first, last)
    inside = [_cut(series, first, last) for series in members]
    close, high, low, volume = (
        np.concatenate([getattr(series, name) for series in inside]) if inside else np.empty(0)
        for name in ("close", "high", "low", "volume")
    )
    dates = [series.sessions for series in inside if len(series)]
    paired, others = against_index(own.sessions, own.returns, index)
    best = int(np.argmax(own.returns)) if len(own.returns) else None
    worst = int(np.argmin(own.returns)) if len(own.returns) else None
    per_year = max((SESSIONS_PER_YEAR[series.asset_class] for series in members), default=252)
    return KeyIndicators(
        first_session=from_ordinal(min(days[0] for days in dates)) if dates else None,
        last_session=from_ordinal(max(days[-1] for days in dates)) if dates else None,
        sessions=sum(len(days) for days in dates),
        expected=expected,
        period_return=period_return(own.returns),
        annualised_volatility=annualised_volatility(own.returns, per_year),
        max_drawdown=max_drawdown(own.returns),
        dollar_volume=dollar_volume(close, volume),
        vwap=vwap(high, low, close, volume) if len(members) == 1 else None,
        beta=beta(paired, others),
        correlation=correlation(paired, others),
        best=None if best is None else (from_ordinal(own.sessions[best]), float(own.returns[best])),
        worst=None if worst is None else (from_ordinal(own.sessions[worst]), float(own.returns[worst])),
    )


def _cut(series: SessionSeries, first: dt.date, last: dt.date) -> SessionSeries:
    until = series.until(last)
    return until.tail(len(until) - int(np.searchsorted(until.sessions, ordinal(first), side="left")))


class HitRate(NamedTuple):
    """``hits`` of ``rows`` forecasts had the right sign; ``base_rate`` is the share of the commoner sign among them."""

    rows: int
    hits: int
    base_rate: float

    @property
    def rate(self) -> float:
        """Share of right signs."""
        return self.hits / self.rows

    @property
    def edge(self) -> float:
        """Rate less base rate: what saying the commoner sign every time does not give."""
        return self.rate - self.base_rate


def hit_rate(realised: FloatArray, point: FloatArray) -> HitRate | None:
    """Count right signs among the forecasts where forecast and truth both have one; None where there is none.

    Args:
        realised: what came true, n values.
        point: what had been forecast, n values.
    """
    signed = np.isfinite(realised) & np.isfinite(point) & (realised != 0) & (point != 0)
    rows = int(signed.sum())
    if not rows:
        return None
    up = realised[signed] > 0
    share = float(up.mean())
    return HitRate(rows, int((up == (point[signed] > 0)).sum()), max(share, 1.0 - share))


def live_skill(error: FloatArray, baseline_error: FloatArray) -> float | None:
    """Return 1 - SSE / SSE of the baseline over scored forecasts: above 0 is better than the baseline.

    None where nothing is scored or the baseline made no error.

    Args:
        error: truth less forecast, n values, NaN where not scored.
        baseline_error: truth less baseline, of the same rows.
    """
    scored = np.isfinite(error) & np.isfinite(baseline_error)
    of_baseline = float((baseline_error[scored] ** 2).sum())
    return 1.0 - float((error[scored] ** 2).sum()) / of_baseline if of_baseline > 0 else None


def interval_coverage(covered: BoolArray) -> float | None:
    """Return the share of scored forecasts whose interval held the truth; None where nothing is scored."""
    return float(covered.mean()) if len(covered) else None


def completeness(there: int, expected: int) -> float | None:
    """Return the share of the calendar's sessions that have a bar; None where none was expected."""
    return there / expected if expected else None


def dead_letter_rate(messages: int, dead: int) -> float | None:
    """Return the share of messages that broke the contract; None where none came."""
    return dead / messages if messages else None
