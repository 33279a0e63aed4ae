"""Risk signals: how large a position a forecast of the range leaves room for, and what such sizes are worth.

Belongs here: range to volatility, volatility to size, the record that says so, losses of range forecasts, how steady a
risk was. Stays out: direction (``signals``), money (``backtest``). A risk signal says how much, never whether to buy.

Volatility here is Parkinson's (1980): sigma² = mean of ln(high / low)² / (4 ln 2), of one session. Three things make it
an approximation. A forecast is of the range's mean, whose square lies below the mean square (by 8 % under a Brownian
motion, so sigma by 4 %). The move overnight is in no range. And prices seen at intervals have a smaller range than the
path between them. All three scale forecast and outcome alike, so a target stated in the same measure is aimed at well,
while the volatility of returns from close to close is larger.
"""

import datetime as dt
import math
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from streamlake_assets.errors import UsageError
from streamlake_assets.market.features import MIN_SCALE
from streamlake_assets.market.forecasts import Forecast
from streamlake_assets.market.series import FloatArray, IntArray
from streamlake_assets.market.signals import DISCLAIMER, is_actionable
from streamlake_assets.market.skill import bootstrap_interval
from streamlake_assets.market.targets import Target

TARGET_VOLATILITY = 0.01
"""Volatility of a session that a position should have, by Parkinson's measure: 1 %, about 16 % a year."""
LARGEST_SIZE = 1.0
"""Default cap: never more than a full position, that is no leverage."""
_PARKINSON = math.sqrt(4 * math.log(2))
_UTILITY = 0.08
"""Squared Sharpe ratio over risk aversion, 0.4² / 2 (Bollerslev, Hood, Huss and Pedersen, 2018)."""


def parkinson_volatility(log_range: FloatArray) -> FloatArray:
    """Return the volatility of a session from ln(high / low), an observed or a forecast one; see the module's text."""
    return log_range / _PARKINSON


def position_size(
    forecast_range: FloatArray, *, target: float = TARGET_VOLATILITY, largest: float = LARGEST_SIZE
) -> FloatArray:
    """Return the share of a full position whose volatility is forecast to be the target, at most ``largest``.

    Args:
        forecast_range: forecasts of ln(high / low), not negative.
        target: volatility of a session to aim at.
        largest: cap; above 1 is leverage.

    Raises:
        UsageError: target or cap not positive, or a forecast that is negative or not finite.
    """
    if not (0 < target < math.inf and 0 < largest < math.inf):
        raise UsageError(f"target and largest size must be positive, they are {target} and {largest}")
    if not (np.isfinite(forecast_range).all() and (forecast_range >= 0).all()):
        raise UsageError("a size needs a forecast range that is finite and not negative")
    sizes: FloatArray = np.minimum(target / parkinson_volatility(np.maximum(forecast_range, MIN_SCALE)), largest)
    return sizes


class RiskSignal(msgspec.Struct, frozen=True, kw_only=True):
    """How large a position may be in one session, with the numbers it rests on; ``volatility`` is of one session."""

    symbol: str
    exchange: str
    session: dt.date
    size: float
    forecast_range: float
    volatility: float
    target: float
    reason: str
    model_version: str
    disclaimer: str = DISCLAIMER


class RiskReport(msgspec.Struct, frozen=True):
    """The risk signals of one session, perhaps none, and the reason in words."""

    signals: tuple[RiskSignal, ...]
    reason: str


def risk_signals_from(
    forecasts: Sequence[Forecast], *, target: float = TARGET_VOLATILITY, largest: float = LARGEST_SIZE
) -> RiskReport:
    """Derive sizes from forecasts of the range whose model passed the gate; never from version 0.

    Raises:
        UsageError: target or cap not positive, or a forecast that is no range.
    """
    ranges = [f for f in forecasts if f.target is Target.LOG_RANGE]
    usable = [f for f in ranges if is_actionable(f)]
    sizes = position_size(np.array([f.point for f in usable]), target=target, largest=largest)
    signals = tuple(_signal(f, float(size), target) for f, size in zip(usable, sizes, strict=True))
    if signals:
        smaller = sum(s.size < largest for s in signals)
        reason = f"{smaller} of {len(signals)} positions are smaller than {largest:.0%} for a target of {target:.2%}"
        return RiskReport(signals, f"{reason} a session. {DISCLAIMER}")
    if ranges:
        return RiskReport((), "No risk signal: no model of the range has shown skill over its baseline (the average).")
    return RiskReport((), "No risk signal: there is no forecast of the range.")


def _signal(forecast: Forecast, size: float, target: float) -> RiskSignal:
    volatility = forecast.point / _PARKINSON
    said = f"a range of {forecast.point:.2%} is forecast, a volatility of {volatility:.2%}"
    return RiskSignal(
        symbol=forecast.symbol,
        exchange=forecast.exchange,
        session=forecast.session,
        size=size,
        forecast_range=forecast.point,
        volatility=volatility,
        target=target,
        reason=f"{said}; {size:.0%} of a full position aims at {target:.2%}",
        model_version=forecast.model_version,
    )


def qlike(realised_range: FloatArray, forecast_range: FloatArray) -> FloatArray:
    """Return the QLIKE loss of variance forecasts row by row: v/h - ln(v/h) - 1 (Patton, 2011); zero at best.

    v and h are the squares of the realised and the forecast range; Parkinson's constant cancels. A range below one
    basis point counts as one: the logarithm of none is infinite.
    """
    ratio = (np.maximum(realised_range, MIN_SCALE) / np.maximum(forecast_range, MIN_SCALE)) ** 2
    loss: FloatArray = ratio - np.log(ratio) - 1.0
    return loss


def realised_utility(realised_range: FloatArray, forecast_range: FloatArray) -> FloatArray:
    """Return what a forecast was worth to who sizes by it, row by row, as a share of wealth a year; 0.04 at best.

    0.08 (s - s² / 2) with s the realised over the forecast volatility: mean-variance utility of an investor with a
    yearly Sharpe ratio of 0.4 and a risk aversion of 2 (Bollerslev, Hood, Huss and Pedersen, 2018).
    """
    ratio = np.maximum(realised_range, MIN_SCALE) / np.maximum(forecast_range, MIN_SCALE)
    utility: FloatArray = _UTILITY * (ratio - ratio**2 / 2)
    return utility


class RiskQuality(NamedTuple):
    """How good range forecasts were as a guide of size, over all rows.

    ``size``: mean size. ``miss``: mean absolute deviation of the realised risk (size times realised volatility) from
    the target, as a share of the target. ``spread``: standard deviation of the realised risk over its mean, the
    volatility of volatility. ``qlike``: mean loss. ``utility``: mean realised utility.
    """

    size: float
    miss: float
    spread: float
    qlike: float
    utility: float


def risk_misses(realised_range: FloatArray, sizes: FloatArray, target: float) -> FloatArray:
    """Return by how much the realised risk missed the target, row by row, as a share of the target."""
    misses: FloatArray = np.abs(sizes * parkinson_volatility(realised_range) - target) / target
    return misses


def risk_quality(
    realised_range: FloatArray, forecast_range: FloatArray, sizes: FloatArray, target: float
) -> RiskQuality:
    """Sum up forecasts of the range and the sizes that were made of them; all arrays have one value a row."""
    risk = sizes * parkinson_volatility(realised_range)
    return RiskQuality(
        size=float(sizes.mean()),
        miss=float(risk_misses(realised_range, sizes, target).mean()),
        spread=float(risk.std() / risk.mean()),
        qlike=float(qlike(realised_range, forecast_range).mean()),
        utility=float(realised_utility(realised_range, forecast_range).mean()),
    )


class Improvement(NamedTuple):
    """By how much a mean loss is smaller than another, as a share of the other, with its 95 % interval."""

    share: float
    low: float
    high: float

    @property
    def is_sure(self) -> bool:
        """Whether the whole interval is above zero."""
        return self.low > 0


def improvement(sessions: IntArray, loss: FloatArray, other: FloatArray, *, seed: int) -> Improvement:
    """Compare two losses of the same rows: 1 - sum / sum of the other, by moving-block bootstrap over dates.

    Args:
        sessions: date of every row; rows of one date are resampled together.
        loss: not negative, one a row.
        other: the loss to be better than.
        seed: of the bootstrap.

    Raises:
        UsageError: too few dates, or the other makes no loss in a whole resample.
    """
    _, position = np.unique(sessions, return_inverse=True)
    by_date = [np.bincount(position, weights=values).astype(np.float64) for values in (loss, other)]
    low, high = bootstrap_interval(by_date[0], by_date[1], seed=seed)
    return Improvement(float(1.0 - loss.sum() / other.sum()), low, high)
