"""Backtest: what decisions would have earned in money, executed at the next open, adjusted, net of costs.

Belongs here: opens on one calendar, positions carried between decisions, returns that can be earned, costs, turnover,
hold. Stays out: how a decision is made (``signals``, ``risk_signals``), whether a result is luck (``luck``).

The rules. A decision made after session t is executed at the open of t + 1, the first price that can still be had, and
earns from open to open until the next decision is executed. Capital is split in equal parts among the instruments that
are traded at the time and levelled at every open; levelling is paid for like any other trade. A position is a share of
such a part: 1 is fully long, -1 fully short, the rest is cash, which earns nothing. At an instrument's last open its
position is closed, and that is paid for too. Where an instrument has no bar its position is carried: it cannot be
traded, and the next open brings the whole move. Dividends count as reinvested.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from streamlake_assets.errors import UsageError
from streamlake_assets.market.series import FloatArray, IntArray, SessionSeries

SESSIONS_PER_YEAR = 252
BASIS_POINT = 1e-4


class Costs(NamedTuple):
    """Costs in basis points of the money traded, each way; a round trip of a whole position trades it twice.

    The defaults make ``signals.ROUND_TRIP_COST``: 10 basis points a round trip.
    """

    fee_bp: float = 2.0
    slippage_bp: float = 3.0

    @property
    def per_unit(self) -> float:
        """Cost of trading one unit of money, as a share."""
        return (self.fee_bp + self.slippage_bp) * BASIS_POINT

    def times(self, factor: float) -> "Costs":
        """Return costs that are ``factor`` times as high."""
        return Costs(self.fee_bp * factor, self.slippage_bp * factor)


DEFAULT_COSTS = Costs()


@dataclass(frozen=True, eq=False)
class Openings:
    """Opens of N instruments on the T dates on which any of them has a bar.

    ``dates``: days since 1970-01-01. ``price``: T by N, raw, NaN where there is no positive open. ``growth``: T - 1 by
    N, what one unit of money becomes from the open of a date to the open of the next, adjusted for corporate actions;
    1 where the later date has no price, and the whole move then stands at the next price.
    """

    instruments: tuple[str, ...]
    dates: IntArray
    price: FloatArray
    growth: FloatArray

    @property
    def tradable(self) -> npt.NDArray[np.bool_]:
        """Whether there is an open to trade at; T by N."""
        return np.isfinite(self.price)


def openings(series: Sequence[SessionSeries], first: int) -> Openings:
    """Put the opens of all series on one calendar.

    Growth is open_t / (open_{t-1} * f), f the factors of the ex-dates after t - 1 up to t (the rule of adjusted
    returns, at opens). A split's factor is exact at any price; a dividend's was taken at the close before the ex-date,
    so at the open it is right up to that session's move times the dividend's share.

    Args:
        series: one per instrument; the columns are sorted by instrument.
        first: oldest date, days since 1970-01-01.

    Raises:
        UsageError: an instrument twice, or fewer than two dates.
    """
    ordered = sorted(series, key=lambda s: str(s.instrument))
    instruments = tuple(str(s.instrument) for s in ordered)
    if len(set(instruments)) != len(instruments):
        raise UsageError("an instrument appears twice among the series")
    found = [s.sessions[s.sessions >= first] for s in ordered]
    dates = np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.int64)
    if len(dates) < 2:
        raise UsageError("money is earned between two opens: there are fewer than two dates")
    price = np.full((len(dates), len(ordered)), np.nan)
    growth = np.ones((len(dates) - 1, len(ordered)))
    for column, one in enumerate(ordered):
        usable = np.isfinite(one.open) & (one.open > 0) & (one.sessions >= first)
        rows, opens = np.searchsorted(dates, one.sessions[usable]), one.open[usable]
        factor = np.cumprod(one.factor)[usable]
        price[rows, column] = opens
        growth[rows[1:] - 1, column] = opens[1:] / opens[:-1] * (factor[:-1] / factor[1:])
    return Openings(instruments, dates, price, growth)


def decisions(market: Openings, instrument: IntArray, executed: IntArray, position: FloatArray) -> FloatArray:
    """Return decisions as a T by N array, NaN where none is made: there the position is carried.

    A decision for a date without an open is dropped: nothing can be executed then.

    Args:
        market: where they are executed.
        instrument: column of each decision.
        executed: date at whose open it is executed: the session after the one it was made after.
        position: share of the instrument's part of the capital, -1 to 1, or above with leverage; NaN carries.

    Raises:
        UsageError: a date that is not on the calendar, two decisions for one open, or an infinite position.
    """
    rows = np.searchsorted(market.dates, executed)
    if len(rows) and (rows.max() >= len(market.dates) or np.any(market.dates[rows] != executed)):
        raise UsageError("a decision would be executed on a date on which no instrument has a bar")
    if len(np.unique(np.stack([rows, instrument]), axis=1).T) != len(rows):
        raise UsageError("two decisions for one instrument and one open")
    if np.isinf(position).any():
        raise UsageError("a position must be finite")
    made = np.full(market.price.shape, np.nan)
    made[rows, instrument] = position
    made[~market.tradable] = np.nan
    return made


def hold(made: FloatArray) -> FloatArray:
    """Return the decisions of who holds the same instruments from the same opens on, and does nothing else."""
    return np.where(np.isfinite(made), 1.0, np.nan)


@dataclass(frozen=True, eq=False)
class Backtest:
    """What decisions came to, before costs: T dates, N instruments.

    ``position``: T by N, carried and closed at the end. ``weight``: T by N, share of the whole capital after trading.
    ``traded``: T, money traded at each open as a share of the capital (levelling included). ``earned``: T - 1, simple
    return of the capital from each open to the next.
    """

    dates: IntArray
    position: FloatArray
    weight: FloatArray
    traded: FloatArray
    earned: FloatArray

    @property
    def trades(self) -> int:
        """How often a position was changed, closing included; levelling is none."""
        return int(np.count_nonzero(np.diff(self.position, axis=0, prepend=0.0)))

    def returns(self, costs: Costs) -> FloatArray:
        """Return the simple returns of each period net of costs, T - 1 values; closing falls into the last.

        Raises:
            UsageError: costs that are negative, not finite, or above a tenth of the money traded.
        """
        unit = costs.per_unit
        if not (min(costs) >= 0 and unit <= 0.1):
            raise UsageError(f"costs must lie between 0 and 1,000 basis points: {costs}")
        kept = 1.0 - unit * self.traded
        net: FloatArray = kept[:-1] * (1.0 + self.earned)
        net[-1] *= kept[-1]
        return net - 1.0


def active_rows(market: Openings, made: FloatArray) -> npt.NDArray[np.bool_]:
    """Return where an instrument takes part, T by N: from its first decision until its last open, which closes."""
    decided, tradable = np.isfinite(made), market.tradable
    begun = np.logical_or.accumulate(decided, axis=0)
    later = np.logical_or.accumulate(tradable[::-1], axis=0)[::-1]
    open_after: npt.NDArray[np.bool_] = np.zeros_like(later)
    open_after[:-1] = later[1:]
    return begun & open_after


def carried(market: Openings, made: FloatArray) -> FloatArray:
    """Return the position in force after each open, T by N: the last decision, zero before the first and at the end."""
    rows = np.where(np.isfinite(made), np.arange(len(made))[:, None], -1)
    last = np.maximum.accumulate(rows, axis=0)
    values = np.take_along_axis(made, np.maximum(last, 0), axis=0)
    return np.where((last >= 0) & active_rows(market, made), values, 0.0)


def backtest(market: Openings, made: FloatArray) -> Backtest:
    """Execute decisions at their opens and account for every trade, drift of weights between opens included.

    Costs are no part of it: ``Backtest.returns`` takes them off. Trades are sized by the capital before their cost, so
    the result is right to first order in the cost. Capital that is lost entirely stays lost.

    Args:
        market: T dates, N instruments.
        made: decisions, T by N, NaN where there is none.

    Raises:
        UsageError: not a single decision, or decisions of another shape.
    """
    if made.shape != market.price.shape:
        raise UsageError(f"decisions are {made.shape}, the calendar is {market.price.shape}")
    position, tradable = carried(market, made), market.tradable
    taking_part = active_rows(market, made).sum(axis=1)
    if not taking_part.any():
        raise UsageError("not one decision to execute")
    wanted = position / np.maximum(taking_part, 1)[:, None]
    weight, traded = np.zeros_like(wanted), np.zeros(len(wanted))
    earned, held = np.zeros(len(wanted) - 1), np.zeros(wanted.shape[1])
    for row, growth in enumerate(market.growth):
        weight[row] = np.where(tradable[row], wanted[row], held)
        traded[row] = np.abs(weight[row] - held).sum()
        earned[row] = max(weight[row] @ (growth - 1.0), -1.0)
        if earned[row] == -1.0:
            return Backtest(market.dates, position, weight, traded, earned)
        held = weight[row] * growth / (1.0 + earned[row])
    traded[-1] = np.abs(held).sum()
    return Backtest(market.dates, position, weight, traded, earned)


class Performance(NamedTuple):
    """What a backtest was worth, net of costs unless it says gross; returns are simple, as shares.

    ``sharpe``: mean over standard deviation of the returns per period, times the root of 252, cash at zero; None where
    nothing varies. ``drawdown``: largest fall from a peak of the capital, as a positive share. ``turnover``: money
    traded as a multiple of the capital, summed; ``turnover_yearly``: per 252 sessions. ``break_even_bp``: cost in basis
    points per unit of turnover at which the net total is zero, negative where one would have to be paid to trade, None
    without turnover or when all is lost.
    """

    periods: int
    total: float
    annualised: float
    volatility: float
    sharpe: float | None
    drawdown: float
    gross_total: float
    gross_annualised: float
    gross_sharpe: float | None
    turnover: float
    turnover_yearly: float
    trades: int
    break_even_bp: float | None


def measure(run: Backtest, costs: Costs = DEFAULT_COSTS) -> Performance:
    """Sum a backtest up at given costs."""
    net, gross, turnover = run.returns(costs), run.earned, float(run.traded.sum())
    total, gross_total = (float(np.prod(1.0 + returns) - 1.0) for returns in (net, gross))
    break_even = break_even_cost(run)
    return Performance(
        periods=len(net),
        total=total,
        annualised=annualised(total, len(net)),
        volatility=float(np.std(net, ddof=1) * np.sqrt(SESSIONS_PER_YEAR)) if len(net) > 1 else 0.0,
        sharpe=sharpe(net),
        drawdown=drawdown(net),
        gross_total=gross_total,
        gross_annualised=annualised(gross_total, len(gross)),
        gross_sharpe=sharpe(gross),
        turnover=turnover,
        turnover_yearly=turnover * SESSIONS_PER_YEAR / len(net),
        trades=run.trades,
        break_even_bp=None if break_even is None else break_even / BASIS_POINT,
    )


def equity(returns: FloatArray) -> FloatArray:
    """Return the capital at every open, beginning with 1; one value more than there are returns."""
    return np.concatenate(([1.0], np.cumprod(1.0 + returns)))


def annualised(total: float, periods: int) -> float:
    """Return the yearly return that makes ``total`` in so many periods."""
    return float((1.0 + total) ** (SESSIONS_PER_YEAR / periods) - 1.0)


def sharpe(returns: FloatArray) -> float | None:
    """Return the yearly Sharpe ratio of returns per period (Sharpe, 1994), cash at zero; None where nothing varies."""
    spread = float(np.std(returns, ddof=1)) if len(returns) > 1 else 0.0
    # all returns alike leave a spread of rounding errors
    if spread <= 1e-12:
        return None
    return float(np.mean(returns)) / spread * float(np.sqrt(SESSIONS_PER_YEAR))


def drawdown(returns: FloatArray) -> float:
    """Return the largest fall of the capital from an earlier peak, as a positive share."""
    capital = equity(returns)
    return float(np.max(1.0 - capital / np.maximum.accumulate(capital)))


def break_even_cost(run: Backtest) -> float | None:
    """Return the cost per unit of money traded at which the net total return is zero; None where there is none.

    The sum of log(1 - cost * traded) falls with the cost, so bisection finds it.
    """
    if not run.traded.any() or run.earned.min() <= -1.0:
        return None
    gross = float(np.log1p(run.earned).sum())

    def net(cost: float) -> float:
        return gross + float(np.log1p(-cost * run.traded).sum())

    low, high = 0.0, (1.0 - 1e-12) / float(run.traded.max())
    if gross < 0:
        low, high = -1.0, 0.0
        while net(low) < 0:
            low *= 2.0
    for _ in range(80):
        middle = (low + high) / 2.0
        low, high = (middle, high) if net(middle) > 0 else (low, middle)
    return (low + high) / 2.0
