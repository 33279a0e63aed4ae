"""Signals: what a forecast of the return would have one do, and why there is none.

Belongs here: the rule from forecast to Buy, Sell or Hold, and the sentence that explains it. Stays out: whether a model
has skill (``skill``, decided at training), what a signal earned (a signal trades at the next open; its value is
measured there). A forecast of the range gives no signal here: it speaks of risk, not of direction.
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


class Action(StrEnum):
    """What a signal says."""

    BUY = "buy"
    SELL = "sell"
    HOLD = "hold"


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


def _action(forecast: Forecast, cost: float) -> Action:
    if forecast.low > cost:
        return Action.BUY
    return Action.SELL if forecast.high < -cost else Action.HOLD


def signals_from(forecasts: Sequence[Forecast], cost: float = ROUND_TRIP_COST) -> SignalReport:
    """Derive signals from forecasts of the return whose model passed the gate; never from version 0.

    Buy when the whole interval lies above the cost, sell when it lies below minus the cost, else hold.

    Raises:
        UsageError: the cost is negative.
    """
    if cost < 0:
        raise UsageError(f"a cost cannot be negative: {cost}")
    returns = [f for f in forecasts if f.target is Target.ADJUSTED_RETURN]
    usable = [f for f in returns if f.has_skill and not f.is_version_zero]
    signals = tuple(
        Signal(
            symbol=f.symbol,
            exchange=f.exchange,
            session=f.session,
            action=_action(f, cost),
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
