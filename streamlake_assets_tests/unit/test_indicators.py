"""Indicators: equal to TA-Lib run on the same window, the same bits from the tail of a history as from all of it."""

from collections.abc import Callable

import numpy as np
import pytest
import talib

from streamlake_assets.market import indicators
from streamlake_assets.market.indicators import (
    FLAT,
    RECURSION_WINDOW,
    bollinger,
    decayed_mean,
    lagged,
    level_mean,
    macd,
    moving_mean,
    rsi,
    steps_back,
    weighted_mean,
    weighted_sum,
)
from streamlake_assets.market.series import FloatArray
from streamlake_assets_tests.series_data import bokeh_series, random_walk

INDICATORS: dict[str, tuple[int, Callable[[FloatArray], FloatArray]]] = {
    "level_mean_5": (5, lambda step: level_mean(step, 5)),
    "level_mean_22": (22, lambda step: level_mean(step, 22)),
    "level_mean_50": (50, lambda step: level_mean(step, 50)),
    "rsi": (RECURSION_WINDOW, rsi),
    "macd_line": (RECURSION_WINDOW, lambda step: macd(step)[0]),
    "macd_signal": (RECURSION_WINDOW, lambda step: macd(step)[1]),
    "bollinger": (20, bollinger),
}
"""Each with the rows it reads."""


def by_talib(name: str, price: FloatArray) -> float:
    """TA-Lib's newest value on a window of adjusted prices, in the terms of ours."""
    if name.startswith("level_mean"):
        return float(talib.SMA(price, len(price))[-1] / price[-1])
    if name == "rsi":
        return float(talib.RSI(price, 14)[-1])
    if name.startswith("macd"):
        return float(talib.MACD(price, 12, 26, 9)[0 if name == "macd_line" else 1][-1] / price[-1])
    upper, middle, lower = (band[-1] for band in talib.BBANDS(price, 20, 2.0, 2.0))
    return float((price[-1] - middle) / (upper - lower) * 2)


def adjusted(step: FloatArray) -> FloatArray:
    """Adjusted prices whose newest is 37."""
    return 37.0 * np.concatenate((np.cumprod(step[:0:-1])[::-1], [1.0]))


def steps_of(source: str) -> FloatArray:
    if source == "random":
        series = random_walk(700, 12)
        return steps_back(series.close, series.factor)
    real = next(one for one in bokeh_series() if one.symbol == source)
    return steps_back(real.close, real.factor)


@pytest.mark.parametrize("name", INDICATORS)
@pytest.mark.parametrize("source", ["random", "AAPL", "FB", "GOOG", "IBM", "MSFT"])
def test_an_indicator_is_that_of_talib_on_the_same_window(name: str, source: str) -> None:
    step, (window, indicator) = steps_of(source), INDICATORS[name]
    ours = indicator(step)
    ends = range(window, len(step), 17)
    theirs = [by_talib(name, adjusted(step[end - window + 1 : end + 1])) for end in ends]
    np.testing.assert_allclose(ours[list(ends)], theirs, rtol=1e-9, atol=1e-11)
    assert np.std(theirs) > 0


@pytest.mark.parametrize("periods", [(5, 20), (14, 15), (30, 45)])
def test_rsi_of_other_periods_and_windows_is_that_of_talib(periods: tuple[int, int]) -> None:
    step, (count, window) = steps_of("random"), periods
    ours = rsi(step, count, window)
    theirs = [talib.RSI(adjusted(step[end - window + 1 : end + 1]), count)[-1] for end in (100, 300, 500)]
    np.testing.assert_allclose(ours[[100, 300, 500]], theirs, rtol=1e-9)


@pytest.mark.parametrize("rows", [(3, 6, 4, 9), (12, 26, 9, 34), (5, 35, 5, 50)])
def test_macd_of_other_rows_and_windows_is_that_of_talib(rows: tuple[int, int, int, int]) -> None:
    step, (fast, slow, signal, window) = steps_of("random"), rows
    found = macd(step, fast, slow, signal, window)
    for end in (100, 300, 500):
        price = adjusted(step[end - window + 1 : end + 1])
        theirs = [part[-1] / price[-1] for part in talib.MACD(price, fast, slow, signal)[:2]]
        np.testing.assert_allclose([part[end] for part in found], theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", INDICATORS)
def test_the_tail_of_a_history_gives_the_bits_of_all_of_it(name: str) -> None:
    """A window of n prices has n - 1 steps; the step into it is not read."""
    step, (window, indicator) = steps_of("random"), INDICATORS[name]
    whole = indicator(step)
    assert np.isnan(whole[: window - 1]).all()
    assert np.isfinite(whole[window - 1 :]).all()
    for end in range(window, len(step), 53):
        tail = step[end - window + 1 : end + 1].copy()
        tail[0] = np.nan
        assert indicator(tail)[-1] == whole[end]


@pytest.mark.parametrize("name", INDICATORS)
def test_too_few_rows_give_no_value(name: str) -> None:
    window, indicator = INDICATORS[name]
    for count in (0, 1, window - 1):
        assert np.isnan(indicator(np.ones(count))).all()
        assert len(indicator(np.ones(count))) == count


@pytest.mark.parametrize("name", INDICATORS)
def test_an_unknown_price_undefines_the_windows_that_hold_it(name: str) -> None:
    step, (window, indicator) = steps_of("random"), INDICATORS[name]
    step[200] = np.nan
    undefined = np.flatnonzero(np.isnan(indicator(step)))
    np.testing.assert_array_equal(undefined[undefined >= window - 1], np.arange(200, 200 + window - 1))


def test_prices_that_stand_still_are_neither_strong_nor_weak() -> None:
    flat = np.concatenate(([np.nan], np.ones(70) * (1 + 1e-15)))
    assert rsi(flat)[-1] == 50
    assert bollinger(flat)[-1] == 0
    assert [part[-1] for part in macd(flat)] == pytest.approx([0, 0], abs=FLAT)


def test_nothing_but_rises_is_a_hundred_and_nothing_but_falls_is_nought() -> None:
    assert rsi(np.full(70, 0.99))[-1] == 100
    assert rsi(np.full(70, 1.01))[-1] == pytest.approx(0, abs=1e-12)


def test_bands_do_not_lose_their_digits_after_a_crash() -> None:
    step = np.where(np.arange(60) == 45, 1e4, 1 + 1e-3 * np.sin(np.arange(60)))
    price = adjusted(step[-20:])
    expected = (price[-1] - price.mean()) / (2 * price.std())
    assert bollinger(step)[-1] == pytest.approx(expected, rel=1e-9)


def test_steps_are_those_of_the_adjusted_price() -> None:
    price = np.array([10.0, 11.0, 5.0, -1.0, 4.0, 5.0])
    factor = np.array([1.0, 1.0, 0.5, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(steps_back(price, factor), [np.nan, 10 / 11, 1.1, np.nan, np.nan, 0.8])


def test_weighted_sums_are_newest_first_and_need_a_full_window() -> None:
    values = np.array([1.0, 10.0, 100.0, 1000.0])
    np.testing.assert_array_equal(weighted_sum(values, np.array([3.0, 2.0])), [np.nan, 32, 320, 3200])
    np.testing.assert_allclose(weighted_mean(values, np.array([3.0, 1.0])), [np.nan, 7.75, 77.5, 775])
    np.testing.assert_allclose(moving_mean(values, 2), [np.nan, 5.5, 55, 550])
    np.testing.assert_allclose(decayed_mean(values, 0.5, 2), [np.nan, 7, 70, 700])
    assert np.isnan(weighted_sum(values, np.ones(5))).all()
    np.testing.assert_array_equal(lagged(values, 3), [np.nan, np.nan, np.nan, 1])
    assert np.isnan(lagged(values, 9)).all()


def test_the_weight_of_what_an_endless_average_begins_with_is_as_the_module_says() -> None:
    for share, periods, values, said in (
        (1 / 14, 14, RECURSION_WINDOW - 1, 0.036),
        (2 / 27, 26, RECURSION_WINDOW, 0.073),
    ):
        weights = indicators._seeded(share, periods, values)
        assert sum(weights) == pytest.approx(1)
        assert sum(weights[-periods:]) == pytest.approx(said, abs=5e-4)
