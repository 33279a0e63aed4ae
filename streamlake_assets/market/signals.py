"""Signals: what a forecast of the return would have one do, and why there is none.

Belongs here: the rule from forecast to Buy, Sell or Hold, and the sentence that explains it. Stays out: whether a model
has skill (``skill``, decided at training), what a signal earned (a signal trades at the next open; ``backtest`` counts
its money). A forecast of the range gives no signal here: it speaks of risk, not of direction (``risk_signals``).
"""

import datetime as dt
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from streamlake_assets.errors import UsageError
from streamlake_assets.market.forecasts import Forecast
from streamlake_assets.market.targets import Target

ROUND_TRIP_COST = 0.001
"""Fees and slippage of buying and selling again, as a share of the price: 10 basis points."""
DISCLAIMER = "Not investment advice."
NOT_ACTIONABLE = "not actionable: no skill"
"""Label of whatever is computed for a model that has not passed the gate: it is shown to be judged, never a signal."""


class Action(StrEnum):
    """What a signal says."""

    BUY = "buy"
    SELL = "sell"
    HOLD = "hold"
    """Nothing clears the cost: whoever follows the signals keeps the position there is."""


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """One signal for one session, with the forecast's numbers it rests on."""

    symbol: str
    exchange: str
    session: dt.date
    action: Action
    model_version: str
    point: float
    low: float
    high: float
    cost: float


class SignalReport(msgspec.Struct, frozen=True):
    """The signals of one session, perhaps none, and the reason in words."""

    signals: tuple[Signal, ...]
    reason: str


def is_actionable(forecast: Forecast) -> bool:
    """Tell whether a forecast may become a signal: its model passed the gate and is not version 0."""
    return forecast.has_skill and not forecast.is_version_zero


def action_of(low: float, high: float, cost: float) -> Action:
    """Return what an interval of the return says: buy when all of it lies above the cost, sell when below minus it."""
    if low > cost:
        return Action.BUY
    return Action.SELL if high < -cost else Action.HOLD


def signals_from(forecasts: Sequence[Forecast], cost: float = ROUND_TRIP_COST) -> SignalReport:
    """Derive signals from forecasts of the return whose model passed the gate; never from version 0.

    Buy when the whole interval lies above the cost, sell when it lies below minus the cost, else hold.

    Raises:
        UsageError: the cost is negative.
    """
    if cost < 0:
        raise UsageError(f"a cost cannot be negative: {cost}")
    returns = [f for f in forecasts if f.target is Target.ADJUSTED_RETURN]
    usable = [f for f in returns if is_actionable(f)]
    signals = tuple(
        Signal(
            symbol=f.symbol,
            exchange=f.exchange,
            session=f.session,
            action=action_of(f.low, f.high, cost),
            model_version=f.model_version,
            point=f.point,
            low=f.low,
            high=f.high,
            cost=cost,
        )
        for f in usable
    )
    if signals:
        acting = sum(s.action is not Action.HOLD for s in signals)
        reason = f"{acting} of {len(signals)} signals act: the interval clears a cost of {cost:.2%}. {DISCLAIMER}"
    elif returns:
        reason = "No signal: no model of the return has shown skill over its baseline (zero)."
    else:
        reason = "No signal: there is no forecast of the return."
    return SignalReport(signals, reason)
