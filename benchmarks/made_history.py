"""Made daily history of many instruments: as series, and as lines that ``LOAD DATA`` reads.

Belongs here: the numbers and their text. Stays out: loading them (``cases.cache``), bars of minutes (``made_bars``).
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from streamlake_assets.market import calendars
from streamlake_assets.market.series import IntArray, SessionSeries, ordinal
from streamlake_assets.market.sessions import daily_bar_time
from streamlake_assets.market.types import AssetClass

EXCHANGE = "XNYS"
FIRST_DAY = dt.date(2010, 1, 4)
SEED = 20100104


class Days(NamedTuple):
    """Sessions of the exchange: dates, days since 1970-01-01, and their bars' times as text."""

    dates: list[dt.date]
    ordinals: IntArray
    times: list[str]


def days(count: int) -> Days:
    """Return the first sessions from ``FIRST_DAY`` on; the calendar covers some thousands."""
    until = FIRST_DAY + dt.timedelta(days=int(count * 1.5) + 10)
    dates = calendars.sessions_between(EXCHANGE, AssetClass.STOCK, FIRST_DAY, until)[:count]
    times = [f"{daily_bar_time(day, EXCHANGE):%Y-%m-%d %H:%M:%S}" for day in dates]
    return Days(dates, np.array([ordinal(day) for day in dates], dtype=np.int64), times)


def symbol(number: int) -> str:
    """Return the name of an instrument by number."""
    return f"H{number:04d}"


class Numbers(NamedTuple):
    """Prices in cents and volumes, n values each."""

    open: IntArray
    high: IntArray
    low: IntArray
    close: IntArray
    volume: IntArray


def numbers(instrument: int, count: int) -> Numbers:
    """Return the walk of an instrument, the same for every call."""
    made = np.random.default_rng([SEED, instrument])
    walk = made.integers(2_000, 50_000) * np.exp(np.cumsum(made.normal(0.0, 0.012, count)))
    closes = np.maximum(100, np.rint(walk)).astype(np.int64)
    opens = np.concatenate([closes[:1], closes[:-1]])
    above, below = (made.integers(0, 40, count) for _ in range(2))
    return Numbers(
        opens,
        np.maximum(opens, closes) + above,
        np.maximum(1, np.minimum(opens, closes) - below),
        closes,
        made.integers(1_000, 1_000_000, count),
    )


def series(instrument: int, of: Days) -> SessionSeries:
    """Return an instrument's history as the documents hold it; it has no corporate actions."""
    made = numbers(instrument, len(of.dates))
    prices = {name: getattr(made, name) / 100.0 for name in ("open", "high", "low", "close")}
    return SessionSeries(
        symbol=symbol(instrument),
        exchange=EXCHANGE,
        asset_class=AssetClass.STOCK,
        sessions=of.ordinals,
        volume=made.volume.astype(np.float64),
        factor=np.ones(len(of.dates)),
        **prices,
    )


def by_year(of: SessionSeries) -> Iterator[tuple[int, SessionSeries]]:
    """Yield a series cut by calendar year, as buckets hold it."""
    years = of.sessions.astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970
    for year in np.unique(years):
        last = dt.date(int(year), 12, 31)
        yield int(year), of.until(last).tail(int(np.sum(years == year)))


def lines(instrument: int, instrument_id: int, of: Days, offset: int) -> Iterator[str]:
    """Yield a line for each bar: id, time, session, open, high, low, close, volume, offset; tabs between."""
    made = numbers(instrument, len(of.dates))
    columns: Sequence[list[int]] = [column.tolist() for column in made]
    for place, (time, day, first, high, low, last, volume) in enumerate(zip(of.times, of.dates, *columns, strict=True)):
        prices = "\t".join(f"{cents / 100:.2f}" for cents in (first, high, low, last))
        yield f"{instrument_id}\t{time}\t{day}\t{prices}\t{volume}\t{offset + place}\n"
