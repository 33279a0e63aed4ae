"""Bridged intraday: a made path of 5-minute bars through the four real prices of a daily bar.

Belongs here: the path, the split of the volume, the provisional daily bar on the way. Stays out: session hours
(``market.calendars``; they are passed in), the order of a replay (``replay_plan``).

The path starts at the real open, touches the real high and low, ends at the real close, never leaves the range, and the
bars' volumes sum to the real volume: the session built from these bars is the real daily bar again, to the last digit.
Every bar says that it is made: ``synthetic`` is true, ``source`` is "bridge".

The path depends on (symbol, exchange, session, seed) and the bar alone. It uses raw 64-bit output of PCG64, which is
the same on every machine and version of numpy, and only sums and products of it: distributions and mathematical
functions may differ in the last place, and a replay would then publish other bars than the day before.
"""

import datetime as dt
import hashlib
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamlake_assets.errors import UsageError
from streamlake_assets.market.contract import MAX_DIGITS
from streamlake_assets.market.sessions import daily_bar_time, session_date
from streamlake_assets.market.types import Bar, Interval, Status

SOURCE: Final = "bridge"
STEP: Final = dt.timedelta(minutes=5)
_POINTS: Final = 6
"""Points of the path within one bar; they give a bar its high and low."""
_ROUGHNESS: Final = 0.6
"""Deviation of a free path over the session, in ranges: a Brownian path of deviation s has range 1.6 s on average."""
_U_DEPTH: Final = 2.0
"""Volume at the open and the close against noon: 1 + this."""
_CENTS: Final = 2
_WEIGHT_UNIT: Final = 1 << 20


def bridge_session(daily: Bar, opens: dt.datetime, closes: dt.datetime, *, seed: int = 0) -> list[Bar]:
    """Make the 5-minute bars of one session.

    Args:
        daily: the settled daily bar.
        opens: start of the session, UTC.
        closes: end of the session, UTC; a rest shorter than 5 minutes is left out.
        seed: another seed is another path.

    Returns:
        Bars in time order, each opening at the close of the one before; settled, ``as_of`` the bar's own end,
        ``event_time`` a placeholder equal to it.

    Raises:
        UsageError: the bar is not daily or the hours hold no 5 minutes.
    """
    if daily.interval is not Interval.D1:
        raise UsageError(f"only a daily bar can be bridged, not one of {daily.interval}")
    count = (closes - opens) // STEP
    if count < 1:
        raise UsageError(f"no 5-minute bar fits between {opens.isoformat()} and {closes.isoformat()}")
    session = session_date(daily.bar_time, daily.exchange)
    noise = _Noise(f"{daily.symbol}|{daily.exchange}|{session.isoformat()}|{seed}")
    decimals = max(_CENTS, *(_decimals(price) for price in (daily.open, daily.high, daily.low, daily.close)))
    ticks = tuple(int(price.scaleb(decimals)) for price in (daily.open, daily.high, daily.low, daily.close))
    path = _path(ticks, count, noise)
    price = {tick: Decimal(tick).scaleb(-decimals) for tick in set(path.tolist())}
    edges = path[::_POINTS].tolist()
    inner = np.column_stack((path[:-1].reshape(count, _POINTS), path[_POINTS::_POINTS]))
    highs, lows = inner.max(axis=1).tolist(), inner.min(axis=1).tolist()
    volumes = _volumes(daily.volume, count, noise)
    bars = []
    start = opens
    for index, volume in enumerate(volumes):
        end = start + STEP
        bars.append(
            Bar(
                symbol=daily.symbol,
                exchange=daily.exchange,
                asset_class=daily.asset_class,
                interval=Interval.M5,
                bar_time=start,
                open=price[edges[index]],
                high=price[highs[index]],
                low=price[lows[index]],
                close=price[edges[index + 1]],
                volume=volume,
                source=SOURCE,
                synthetic=True,
                status=Status.SETTLED,
                event_time=end,
                as_of=end,
                currency=daily.currency,
                sector=daily.sector,
                name=daily.name,
            )
        )
        start = end
    return bars


def provisional_daily(bars_so_far: Sequence[Bar]) -> Bar:
    """Return the daily bar as the first bars of a session show it.

    Args:
        bars_so_far: the session's first intraday bars of one instrument, in time order.

    Returns:
        A provisional, synthetic daily bar of source "bridge"; ``as_of`` is that of the last of these bars.

    Raises:
        UsageError: there are no bars, or they are not of one instrument and session.
    """
    if not bars_so_far:
        raise UsageError("a provisional daily bar needs at least one bar")
    first, last = bars_so_far[0], bars_so_far[-1]
    session = session_date(first.bar_time, first.exchange)
    if {(bar.instrument, session_date(bar.bar_time, bar.exchange)) for bar in bars_so_far} != {
        (first.instrument, session)
    }:
        raise UsageError("a provisional daily bar is made of the bars of one instrument and one session")
    volumes = [bar.volume for bar in bars_so_far if bar.volume is not None]
    return Bar(
        symbol=first.symbol,
        exchange=first.exchange,
        asset_class=first.asset_class,
        interval=Interval.D1,
        bar_time=daily_bar_time(session, first.exchange),
        open=first.open,
        high=max(bar.high for bar in bars_so_far),
        low=min(bar.low for bar in bars_so_far),
        close=last.close,
        volume=sum(volumes, Decimal(0)) if volumes else None,
        source=SOURCE,
        synthetic=True,
        status=Status.PROVISIONAL,
        event_time=last.as_of,
        as_of=last.as_of,
        currency=first.currency,
        sector=first.sector,
        name=first.name,
    )


class _Noise:
    """Uniform numbers in [0, 1) that depend on a text alone."""

    def __init__(self, text: str) -> None:
        self._bits = np.random.PCG64(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big"))

    def uniform(self, count: int) -> NDArray[np.float64]:
        # the upper 53 bits fill a double exactly
        raw: NDArray[np.uint64] = self._bits.random_raw(count)
        return (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _path(ticks: tuple[int, ...], count: int, noise: _Noise) -> NDArray[Any]:
    """Return ``count * _POINTS + 1`` prices in ticks from open to close, inside the range, touching both its ends."""
    first, high, low, last = ticks
    # a fine low under a large high would make prices between them longer than the contract allows
    coarse = 10 ** max(0, len(str(max(abs(high), abs(low)))) - MAX_DIGITS)
    steps = count * _POINTS
    # high and low at two different points inside, in either order
    at, other = (int(number) for number in noise.uniform(2) * (steps - 1, steps - 2))
    at_high, at_low = at + 1, other + 1 + (other >= at)
    anchors = sorted([(0, first), (at_high, high), (at_low, low), (steps, last)])
    places = np.array([place for place, _ in anchors])
    values = np.array([value - low for _, value in anchors], dtype=np.float64)
    span = high - low
    # steps of deviation 1/sqrt(12), scaled so that a free path deviates by _ROUGHNESS ranges in the end
    scale = _ROUGHNESS * span * (12.0 / steps) ** 0.5
    walk = np.concatenate(([0.0], np.cumsum((noise.uniform(steps) - 0.5) * scale)))
    every = np.arange(steps + 1)
    # a free walk tied down at the anchors is a bridge between each two of them
    path = walk + np.interp(every, places, values - walk[places])
    if span > 0:
        # a path that leaves the range is mirrored back into it
        folded = np.mod(path, 2.0 * span)
        path = span - np.abs(folded - span)
    whole: NDArray[Any] = np.rint(path / coarse).astype(np.int64)
    if coarse == 1:
        whole = np.clip(whole + low, low, high)
    else:
        # Python's integers: such ticks may not fit 64 bits
        whole = np.clip((whole.astype(object) + low // coarse) * coarse, low, high)
    for place, value in anchors:
        whole[place] = value
    return whole


def _volumes(total: Decimal | None, count: int, noise: _Noise) -> Iterator[Decimal | None]:
    """Yield the U-shaped volumes of the bars; they sum to the total exactly, in its own unit."""
    if total is None:
        yield from [None] * count
        return
    decimals = _decimals(total)
    units = int(total.scaleb(decimals))
    place = np.linspace(-1.0, 1.0, count) if count > 1 else np.zeros(1)
    weights = (1.0 + _U_DEPTH * place * place) * (0.5 + noise.uniform(count))
    running, whole, before = 0, (weights * _WEIGHT_UNIT).astype(np.int64).tolist(), 0
    of_all = sum(whole)
    # differences of whole shares of the total: nothing is lost to rounding, whatever the total's size
    for weight in whole:
        running += weight
        share = units * running // of_all
        yield Decimal(share - before).scaleb(-decimals)
        before = share


def _decimals(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
