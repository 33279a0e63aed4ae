"""Series for tests: made ones with a known truth, and the real bars of the bokeh sample."""

import csv
import datetime as dt
from functools import cache
from pathlib import Path

import numpy as np

from streamlake_assets.market.series import FloatArray, SessionSeries, ordinal

FIRST = ordinal(dt.date(2001, 1, 1))
NOW = dt.datetime(2026, 1, 5, 12, tzinfo=dt.UTC)


def made_series(
    returns: FloatArray, ranges: FloatArray, *, symbol: str = "AAA", seed: int = 0, exchange: str = "XNYS"
) -> SessionSeries:
    """Build sessions whose adjusted returns (from the second on) and log ranges are exactly the given ones."""
    rng = np.random.default_rng(seed)
    close = 50.0 * np.exp(np.cumsum(np.concatenate(([0.0], returns[1:]))))
    low = close * np.exp(-ranges * rng.uniform(0, 1, len(ranges)))
    return SessionSeries(
        symbol=symbol,
        exchange=exchange,
        sessions=np.arange(FIRST, FIRST + len(returns), dtype=np.int64),
        open=low * np.exp(ranges * rng.uniform(0, 1, len(ranges))),
        high=low * np.exp(ranges),
        low=low,
        close=close,
        volume=np.round(1e6 * np.exp(rng.normal(0, 0.3, len(ranges)))),
        factor=np.ones(len(ranges)),
    )


def random_walk(count: int, seed: int, symbol: str = "AAA") -> SessionSeries:
    """Build independent returns and ranges: nothing can be forecast but the mean of the ranges."""
    rng = np.random.default_rng(seed)
    return made_series(
        rng.normal(0, 0.02, count), 0.02 * np.exp(rng.normal(0, 0.3, count)), symbol=symbol, seed=seed + 1
    )


def random_walks(count: int, seed: int, instruments: int = 3) -> list[SessionSeries]:
    return [random_walk(count, 1000 * seed + i, f"S{i}") for i in range(instruments)]


def planted_range(count: int, seed: int, symbol: str = "AAA") -> SessionSeries:
    """Build ranges that double after a falling session: no average of ranges can know it."""
    rng = np.random.default_rng(seed)
    returns = rng.normal(0, 0.02, count)
    level = np.where(np.concatenate(([False], returns[:-1] < 0)), 0.04, 0.02)
    return made_series(returns, level * np.exp(rng.normal(0, 0.2, count)), symbol=symbol, seed=seed)


def planted_return(count: int, seed: int, symbol: str = "AAA") -> SessionSeries:
    """Build returns of which a quarter carries over to the next session."""
    rng = np.random.default_rng(seed)
    noise, returns = rng.normal(0, 0.02, count), np.zeros(count)
    for t in range(1, count):
        returns[t] = 0.25 * returns[t - 1] + noise[t]
    return made_series(returns, 0.02 * np.exp(rng.normal(0, 0.3, count)), symbol=symbol, seed=seed)


@cache
def bokeh_series() -> tuple[SessionSeries, ...]:
    """Return the five real instruments; a factor stands where the adjusted close moves apart by more than rounding."""
    import bokeh_sampledata

    folder = Path(bokeh_sampledata.__file__).parent / "_data"
    found = []
    for symbol in ("AAPL", "FB", "GOOG", "IBM", "MSFT"):
        with (folder / f"{symbol}.csv").open() as file:
            own = list(csv.DictReader(file))
        column = {name: np.array([float(row[name]) for row in own]) for name in own[0] if name != "Date"}
        close, adjusted = column["Close"], column["Adj Close"]
        ratio = (close[1:] / close[:-1]) / (adjusted[1:] / adjusted[:-1])
        rounding = 0.0075 * (1 / adjusted[1:] + 1 / adjusted[:-1])
        factor = np.concatenate(([1.0], np.where(np.abs(np.log(ratio)) > rounding, ratio, 1.0)))
        found.append(
            SessionSeries(
                symbol=symbol,
                exchange="XNYS",
                sessions=np.array([ordinal(dt.date.fromisoformat(row["Date"])) for row in own], dtype=np.int64),
                open=column["Open"],
                high=column["High"],
                low=column["Low"],
                close=close,
                volume=column["Volume"],
                factor=factor,
            )
        )
    return tuple(found)
