"""Features and targets of daily sessions: one code for training and serving.

Belongs here: the registry of features, the targets' scales and baselines. Stays out: the arithmetic of windows and the
indicators' definitions (``indicators``), which features a model takes (``selection``), the series itself (``series``),
pooling instruments into a training set (``frames``), models (``learning``), anything that reads or writes.

Rules held here. A feature of session t uses sessions <= t only and at most ``lookback`` of them, exactly: weighted
averages are cut at their window and normalised, never recursive, so that the last rows of a history give the same bits
as the whole of it. Every feature is a ratio without unit; no price level and no adjusted level is ever a feature:
averages of the price are in units of the window's newest price (``indicators``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from streamlake_assets.market.indicators import (
    RECURSION_WINDOW,
    bollinger,
    decayed_mean,
    lagged,
    level_mean,
    macd,
    moving_mean,
    rsi,
    steps_back,
)
from streamlake_assets.market.series import FloatArray, IntArray, SessionSeries
from streamlake_assets.market.targets import Target

VOLATILITY_DECAY = 0.94
"""Decay of the squared returns per session (RiskMetrics Technical Document, 1996, daily data)."""
VOLATILITY_WINDOW = 29
RANGE_DECAY = 0.8
"""Decay of the baseline of the log range. Of 0.7, 0.8, 0.85, 0.9, 0.94, 0.97 it gives the smallest error on the default
data: the baseline is the strongest of its family, because skill over a weak baseline is not skill."""
RANGE_WINDOW = 22
MIN_SCALE = 1e-4
"""Below one basis point a session there is no movement to scale by: such rows have no features."""
FEATURE_LIMIT = 10.0
"""Features are cut at this size, so that one bad price cannot throw a linear forecast out of reach."""


def _log(values: FloatArray) -> FloatArray:
    """Return the logarithm; NaN for what has none (a commodity's price may be zero or below)."""
    return np.log(np.where(values > 0, values, np.nan))


def _measurable(scale: FloatArray) -> FloatArray:
    return np.where(scale >= MIN_SCALE, scale, np.nan)


class Derived:
    """Quantities of one series that several features share; each an array of n values."""

    def __init__(self, series: SessionSeries) -> None:
        self._series = series
        self._level_means: dict[int, FloatArray] = {}

    def level_mean(self, window: int) -> FloatArray:
        """Return the moving average of the adjusted close over the newest close."""
        if window not in self._level_means:
            self._level_means[window] = level_mean(self.step_back, window)
        return self._level_means[window]

    @cached_property
    def adjusted_return(self) -> FloatArray:
        """Return r_t = ln(close_t / (close_{t-1} * f_t)); r_0 is NaN."""
        log_close = _log(self._series.close)
        return log_close - lagged(log_close, 1) - np.log(self._series.factor)

    @cached_property
    def log_range(self) -> FloatArray:
        """Return ln(high / low), the range of the session."""
        return _log(self._series.high) - _log(self._series.low)

    @cached_property
    def gap(self) -> FloatArray:
        """Return ln(open_t / (close_{t-1} * f_t)), the adjusted move overnight."""
        return _log(self._series.open) - lagged(_log(self._series.close), 1) - np.log(self._series.factor)

    @cached_property
    def volatility(self) -> FloatArray:
        """Return the trailing volatility of a session's return, by decayed squares around zero; the return's scale."""
        return _measurable(np.sqrt(decayed_mean(self.adjusted_return**2, VOLATILITY_DECAY, VOLATILITY_WINDOW)))

    @cached_property
    def range_level(self) -> FloatArray:
        """Return the decayed mean of the log range: baseline and scale of the range."""
        return _measurable(decayed_mean(self.log_range, RANGE_DECAY, RANGE_WINDOW))

    @cached_property
    def volume_z(self) -> FloatArray:
        """Return how unusual the volume is in its own window of 22 sessions, in standard deviations of its logarithm.

        Zero ("as usual") where the window lacks a volume, as it does for index and fx by contract, or never varies.
        """
        logs = np.log1p(self._series.volume)
        mean = moving_mean(logs, 22)
        variance = np.full(len(logs), np.nan)
        variance[21:] = 0.0
        for lag in range(22 if len(logs) >= 22 else 0):
            variance[21:] += (logs[21 - lag : len(logs) - lag] - mean[21:]) ** 2 / 22
        known = np.isfinite(variance) & (variance > 1e-12)
        return np.where(known, (logs - mean) / np.sqrt(np.where(known, variance, 1.0)), 0.0)

    @cached_property
    def step_back(self) -> FloatArray:
        """Return the adjusted close of the session before in units of each session's own: exp(-adjusted_return)."""
        return steps_back(self._series.close, self._series.factor)

    @cached_property
    def macd(self) -> tuple[FloatArray, FloatArray]:
        """Return line and signal of 12, 26 and 9 sessions, over the newest close."""
        return macd(self.step_back)

    @cached_property
    def weekday(self) -> IntArray:
        """Return the day of the week of each session, Monday 0 to Sunday 6; 1970-01-01 was a Thursday."""
        return (self._series.sessions + 3) % 7


@dataclass(frozen=True)
class Feature:
    """One feature: what it reads, how many sessions it needs (the newest included), how it is computed."""

    name: str
    inputs: tuple[str, ...]
    lookback: int
    compute: Callable[[Derived], FloatArray]
    lag: int = 0
    """Sessions between the newest bar used and the one the row is known after; 0: the row's own bar is the newest."""


def _return_over(window: int) -> Callable[[Derived], FloatArray]:
    return lambda d: moving_mean(d.adjusted_return, window) * np.sqrt(window) / d.volatility


def _fall_over(window: int) -> Callable[[Derived], FloatArray]:
    return lambda d: np.minimum(_return_over(window)(d), 0.0)


def _volatility_over(window: int) -> Callable[[Derived], FloatArray]:
    return lambda d: np.sqrt(moving_mean(d.adjusted_return**2, window)) / d.volatility


def _range_over(window: int) -> Callable[[Derived], FloatArray]:
    return lambda d: moving_mean(d.log_range, window) / d.range_level


def _price_to_mean(window: int) -> Callable[[Derived], FloatArray]:
    """The close above its moving average, in typical moves of the window."""
    return lambda d: (1.0 / d.level_mean(window) - 1.0) / (d.volatility * np.sqrt(window))


def _mean_to_mean(short: int, long: int) -> Callable[[Derived], FloatArray]:
    """The short moving average above the long one, in typical moves of the long window."""
    return lambda d: (d.level_mean(short) / d.level_mean(long) - 1.0) / (d.volatility * np.sqrt(long))


def _is_weekday(day: int) -> Callable[[Derived], FloatArray]:
    return lambda d: (d.weekday == day).astype(np.float64)


_CLOSES = ("close", "factor")
_RANGES = ("high", "low")
_VOLATILITY_SESSIONS = VOLATILITY_WINDOW + 1
_DAYS = ("monday", "tuesday", "wednesday", "thursday")

REGISTRY: dict[str, Feature] = {
    feature.name: feature
    for feature in (
        *(Feature(f"return_{w}", _CLOSES, _VOLATILITY_SESSIONS, _return_over(w)) for w in (1, 2, 5, 10, 22)),
        *(Feature(f"fall_{w}", _CLOSES, _VOLATILITY_SESSIONS, _fall_over(w)) for w in (1, 5)),
        *(Feature(f"volatility_{w}", _CLOSES, _VOLATILITY_SESSIONS, _volatility_over(w)) for w in (1, 5, 10, 22)),
        Feature("gap_1", ("open", *_CLOSES), _VOLATILITY_SESSIONS, lambda d: np.abs(d.gap) / d.volatility),
        # the terms of a heterogeneous autoregression: one session, one week, one month (Corsi, 2009)
        *(Feature(f"range_{w}", _RANGES, RANGE_WINDOW, _range_over(w)) for w in (1, 5, 22)),
        Feature("range_slow", _RANGES, 30, lambda d: decayed_mean(d.log_range, 0.94, 30) / d.range_level),
        Feature(
            "volatility_to_range",
            (*_CLOSES, *_RANGES),
            _VOLATILITY_SESSIONS,
            lambda d: d.volatility / d.range_level,
        ),
        Feature("volume_z", ("volume",), 22, lambda d: d.volume_z),
        *(Feature(f"price_to_mean_{w}", _CLOSES, max(w, _VOLATILITY_SESSIONS), _price_to_mean(w)) for w in (5, 22, 50)),
        *(
            Feature(f"mean_{short}_to_{long}", _CLOSES, max(long, _VOLATILITY_SESSIONS), _mean_to_mean(short, long))
            for short, long in ((5, 22), (22, 50))
        ),
        # -1 to 1: nothing but falls in the window, nothing but rises
        Feature("rsi_14", _CLOSES, RECURSION_WINDOW, lambda d: rsi(d.step_back) / 50.0 - 1.0),
        Feature("macd_line", _CLOSES, RECURSION_WINDOW, lambda d: d.macd[0] / d.volatility),
        Feature("macd_histogram", _CLOSES, RECURSION_WINDOW, lambda d: (d.macd[0] - d.macd[1]) / d.volatility),
        Feature("bollinger_20", _CLOSES, 20, lambda d: bollinger(d.step_back)),
        # of the row's own session, which is always known; that of the session to come would need its calendar. All four
        # are zero from Friday's session to Sunday's: what follows those is a weekend or the week's first session
        *(Feature(f"is_{day}", ("sessions",), 1, _is_weekday(number)) for number, day in enumerate(_DAYS)),
    )
}
"""Every feature by name, in the order of the columns."""

LOOKBACK = max(feature.lookback for feature in REGISTRY.values())
"""Sessions that the hungriest feature needs; never above the least ``min_history`` the settings allow."""


@dataclass(frozen=True, eq=False)
class FeatureMatrix:
    """Features and targets of one instrument: row t is what is known after session t settled, and what came next.

    ``x`` is n by len(names), NaN where the history is too short. ``y`` holds the next session's value per target in
    its own unit, NaN in the last row, whose next session is not known yet (``target_sessions`` is -1 there). A model
    works on y / scale; ``scale`` and ``baseline`` use sessions <= t.
    """

    names: tuple[str, ...]
    sessions: IntArray
    target_sessions: IntArray
    x: FloatArray
    y: dict[Target, FloatArray]
    scale: dict[Target, FloatArray]
    baseline: dict[Target, FloatArray]


def target_values(series: SessionSeries, target: Target) -> FloatArray:
    """Return the target's own value of every session of the series, in its unit."""
    derived = Derived(series)
    return derived.adjusted_return if target is Target.ADJUSTED_RETURN else derived.log_range


def feature_matrix(series: SessionSeries) -> FeatureMatrix:
    """Compute every feature of the registry and every target of one series."""
    derived = Derived(series)
    columns = [np.clip(feature.compute(derived), -FEATURE_LIMIT, FEATURE_LIMIT) for feature in REGISTRY.values()]
    scale = {Target.ADJUSTED_RETURN: derived.volatility, Target.LOG_RANGE: derived.range_level}
    now = {Target.ADJUSTED_RETURN: derived.adjusted_return, Target.LOG_RANGE: derived.log_range}
    return FeatureMatrix(
        names=tuple(REGISTRY),
        sessions=series.sessions,
        target_sessions=np.append(series.sessions[1:], -1)[: len(series)].astype(np.int64),
        x=np.column_stack(columns),
        y={target: np.append(values[1:], np.nan)[: len(series)] for target, values in now.items()},
        scale=scale,
        baseline={target: target.baseline_units * scale[target] for target in Target},
    )
