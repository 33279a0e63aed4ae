"""Arithmetic over trailing windows: weighted means and the textbook indicators, each cut at its window.

Belongs here: pure functions of arrays, and the definition of each indicator. Stays out: which indicators are features
and how they are scaled (``features``), series, instruments.

Rules held here. The value of row t reads rows t, t-1, .., t-window+1 and no other, and is NaN until that many rows are
there or where one of them is NaN. Windows are summed lag by lag, newest first, so that the last rows of a history give
the same bits as the whole of it: a library's sum may round differently for another number of rows.

Prices come in as steps back: step_t = adjusted price of t-1 / price of t, so that the window's prices are known in
units of its newest one (whose level is 1) and no price level ever appears. Definitions that smooth for ever (Wilder's
averages, exponential averages) are begun anew in each window, with the plain mean of its oldest values, which is how
TA-Lib begins; run on that same window it gives the same numbers.
"""

from collections.abc import Iterator
from functools import cache

import numpy as np

from streamlake_assets.market.series import FloatArray

RECURSION_WINDOW = 60
"""Sessions of the indicators that smooth for ever: the mean they begin with still weighs 3.6 % in Wilder's averages of
14 and 7.3 % in the exponential average of 26."""
FLAT = 1e-9
"""Relative movement below which prices stand still: what is left is rounding."""


def lagged(values: FloatArray, rows: int) -> FloatArray:
    """Return the value of ``rows`` rows earlier, NaN where there is none."""
    out = np.full(len(values), np.nan)
    out[rows:] = values[: max(len(values) - rows, 0)]
    return out


def weighted_sum(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the sum of the newest values, each times its weight, newest first; NaN until the window is full."""
    count, window = len(values), len(weights)
    out = np.full(count, np.nan)
    if count < window:
        return out
    total = np.zeros(count - window + 1)
    for lag, weight in enumerate(weights.tolist()):
        total += weight * values[window - 1 - lag : count - lag]
    out[window - 1 :] = total
    return out


def weighted_mean(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the trailing weighted mean, newest weight first; NaN until the window is full."""
    return weighted_sum(values, weights / weights.sum())


def moving_mean(values: FloatArray, window: int) -> FloatArray:
    """Return the plain mean of the newest ``window`` values."""
    return weighted_mean(values, np.ones(window))


def decayed_mean(values: FloatArray, decay: float, window: int) -> FloatArray:
    """Return the mean of the newest ``window`` values, each weighing ``decay`` times the next newer one."""
    return weighted_mean(values, decay ** np.arange(window, dtype=np.float64))


def steps_back(price: FloatArray, factor: FloatArray) -> FloatArray:
    """Return how the adjusted price of the row before stands to each row's own.

    Args:
        price: raw, n values; a price that is not positive has no ratio.
        factor: of the corporate actions of each row, 1 where there is none.

    Returns:
        price_{t-1} * factor_t / price_t, n values without unit; NaN in the first row and beside a price without ratio.
    """
    positive = np.where(price > 0, price, np.nan)
    return lagged(positive, 1) * factor / positive


def _levels(step: FloatArray, window: int) -> Iterator[FloatArray]:
    """Yield lag by lag the price of every full window in units of its newest, newest first; m >= 1 values each."""
    count = len(step)
    level = np.ones(count - window + 1)
    yield level
    for lag in range(window - 1):
        level = level * step[window - 1 - lag : count - lag]
        yield level


def _placed(count: int, values: FloatArray) -> FloatArray:
    """Return the values of the full windows at the rows they belong to, NaN before."""
    out = np.full(count, np.nan)
    out[count - len(values) :] = values
    return out


def _undefined(count: int) -> FloatArray:
    return np.full(count, np.nan)


def level_mean(step: FloatArray, window: int) -> FloatArray:
    """Return the moving average of the adjusted price over its own newest value: below 1 when the price has risen.

    Args:
        step: as ``steps_back`` gives them, n values.
        window: rows of the average, the newest included.
    """
    if len(step) < window:
        return _undefined(len(step))
    total = np.zeros(len(step) - window + 1)
    for level in _levels(step, window):
        total += level
    return _placed(len(step), total / window)


def rsi(step: FloatArray, periods: int = 14, window: int = RECURSION_WINDOW) -> FloatArray:
    """Return the relative strength index, 0 to 100 (Wilder, 1978).

    100 * gain / (gain + loss), where gain and loss are Wilder's averages of the rises and falls of the adjusted price:
    the mean of the window's oldest ``periods`` changes, then (periods - 1) / periods of it and 1 / periods of the next
    change, and so on. A price that stands still is neither strong nor weak: 50 (TA-Lib says 0 there).

    Args:
        step: as ``steps_back`` gives them, n values.
        periods: of the averages.
        window: rows read, above ``periods``.
    """
    if len(step) < window:
        return _undefined(len(step))
    net, moved = np.zeros(len(step) - window + 1), np.zeros(len(step) - window + 1)
    levels = _levels(step, window)
    newer = next(levels)
    for older, weight in zip(levels, _seeded(1.0 / periods, periods, window - 1), strict=True):
        change = weight * (newer - older)
        net += change
        moved += np.abs(change)
        newer = older
    still = moved < FLAT
    # gain - loss and gain + loss say the same as gain and loss
    return _placed(len(step), np.where(still, 50.0, 50.0 + 50.0 * net / np.where(still, 1.0, moved)))


def macd(
    step: FloatArray, fast: int = 12, slow: int = 26, signal: int = 9, window: int = RECURSION_WINDOW
) -> tuple[FloatArray, FloatArray]:
    """Return the line of moving average convergence/divergence and its signal, over the newest price (Appel, 1979).

    The line is the exponential average of ``fast`` less that of ``slow`` rows, each with the constant 2 / (rows + 1);
    the signal is the exponential average of ``signal`` lines. Both averages of the price begin at the window's row
    ``slow``, with the mean of the rows so far that they span. All of it is linear in the prices, so it is two sums.

    Args:
        step: as ``steps_back`` gives them, n values.
        fast: rows of the fast average.
        slow: rows of the slow average, more.
        signal: rows of the average of the line.
        window: rows read, at least slow + signal - 1.
    """
    if len(step) < window:
        return _undefined(len(step)), _undefined(len(step))
    line, smoothed = np.zeros(len(step) - window + 1), np.zeros(len(step) - window + 1)
    of_line, of_signal = _macd_weights(fast, slow, signal, window)
    for level, weight, other in zip(_levels(step, window), of_line.tolist(), of_signal.tolist(), strict=True):
        line += weight * level
        smoothed += other * level
    return _placed(len(step), line), _placed(len(step), smoothed)


def bollinger(step: FloatArray, window: int = 20, width: float = 2.0) -> FloatArray:
    """Return where the adjusted price stands between its Bollinger bands: 0 in the middle, 1 and -1 on them.

    The bands lie ``width`` standard deviations (of the window as a whole: divided by its rows) beside the moving
    average (Bollinger, 1992). His %b is half of this plus a half. A price that stands still is in the middle.

    Args:
        step: as ``steps_back`` gives them, n values.
        window: rows of average and deviation.
        width: standard deviations from the middle to a band.
    """
    if len(step) < window:
        return _undefined(len(step))
    mean, square = np.zeros(len(step) - window + 1), np.zeros(len(step) - window + 1)
    for level in _levels(step, window):
        away = level - 1.0  # from the newest price, not from zero: the difference of squares below keeps its digits
        mean += away
        square += away * away
    mean, square = mean / window, square / window
    deviation = np.sqrt(np.maximum(square - mean * mean, 0.0))
    still = deviation < FLAT
    return _placed(len(step), np.where(still, 0.0, -mean / np.where(still, 1.0, width * deviation)))


def _seeded(share: float, periods: int, values: int) -> list[float]:
    """Return the weights, newest first, of an average of that many values in which the newest has the share given.

    Args:
        share: of each further value once the average has begun.
        periods: oldest values whose mean it begins with.
        values: in all.
    """
    later = values - periods
    smoothed = [share * (1.0 - share) ** lag for lag in range(later)]
    return smoothed + [(1.0 - share) ** later / periods] * periods


@cache
def _macd_weights(fast: int, slow: int, signal: int, window: int) -> tuple[FloatArray, FloatArray]:
    """Return the weights of line and signal on the prices of the window, newest first."""

    def line(rows: int) -> FloatArray:
        """The line of a window of so many rows; its fast average leaves out the rows before those it begins with."""
        weights = -np.array(_seeded(2.0 / (slow + 1), slow, rows))
        quick = _seeded(2.0 / (fast + 1), fast, rows - (slow - fast))
        weights[: len(quick)] += quick
        return weights

    smoothed = np.zeros(window)
    for lag, weight in enumerate(_seeded(2.0 / (signal + 1), signal, window - slow + 1)):
        smoothed[lag:] += weight * line(window - lag)
    return line(window), smoothed
