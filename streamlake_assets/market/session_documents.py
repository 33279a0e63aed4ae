"""Session documents: one exchange session of one instrument, summed from its own bars.

Belongs here: the pure sums, exact in decimals and in key order, so that a refresh equals a full recompute to the byte.
Stays out: which sessions were touched (``flows``), where documents lie (``stores.documents``).
"""

import datetime as dt
import math
from collections.abc import Sequence
from decimal import Context, Decimal, localcontext
from itertools import pairwise
from typing import Any, NamedTuple

from streamlake_assets.market.sessions import daily_bar_time
from streamlake_assets.market.types import Instrument, Interval

_EXACT = Context(prec=60)
_VWAP_STEP = Decimal("1e-10")


class SessionBar(NamedTuple):
    """A settled bar with its place in the stream; ``place`` is ``topic:partition``."""

    bar_time: dt.datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal | None
    vwap: Decimal | None
    synthetic: bool
    place: str
    offset: int


def session_key(instrument: Instrument, session: dt.date) -> str:
    """Return the identity of the document of a session."""
    return f"{instrument}|{session.isoformat()}"


def month_of_key(key: str) -> tuple[str, dt.date]:
    """Return the instrument, as its text, and the first day of the month that a document's key is of."""
    instrument, _, session = key.rpartition("|")
    return instrument, dt.date.fromisoformat(session).replace(day=1)


class SessionDocument(NamedTuple):
    """One session; ``volume`` and ``vwap`` are None where the bars have none, the last two where there is one bar.

    ``gaps`` counts the bars missing between the first and the last; ``complete`` says that no more bars of the session
    are expected; ``watermark`` is the highest offset among its bars, by ``topic:partition``.
    """

    instrument: Instrument
    session: dt.date
    interval: Interval
    bars: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal | None
    vwap: Decimal | None
    realised_volatility: float | None
    gaps: int
    synthetic: bool
    complete: bool
    watermark: dict[str, int]

    @property
    def key(self) -> str:
        """Identity of the document."""
        return session_key(self.instrument, self.session)

    @property
    def bar_time(self) -> dt.datetime:
        """Bar time of the session's daily bar."""
        return daily_bar_time(self.session, self.instrument.exchange)

    def values(self) -> dict[str, Any]:
        """Return open, high, low, close and volume, for comparison with a daily bar."""
        return {name: getattr(self, name) for name in ("open", "high", "low", "close", "volume")}


def session_document(
    instrument: Instrument, session: dt.date, interval: Interval, bars: Sequence[SessionBar], complete: bool
) -> SessionDocument:
    """Sum the settled bars of one session at one interval.

    Args:
        instrument: whose session.
        session: the exchange's date.
        interval: of the bars.
        bars: at least one, any order.
        complete: whether no more bars of the session are expected.

    Raises:
        ValueError: there are no bars.
    """
    if not bars:
        raise ValueError("a session document needs at least one bar")
    ordered = sorted(bars, key=lambda bar: bar.bar_time)
    first, last = ordered[0], ordered[-1]
    span = (last.bar_time - first.bar_time).total_seconds()
    watermark: dict[str, int] = {}
    for bar in ordered:
        watermark[bar.place] = max(bar.offset, watermark.get(bar.place, -1))
    return SessionDocument(
        instrument=instrument,
        session=session,
        interval=interval,
        bars=len(ordered),
        open=first.open,
        high=max(bar.high for bar in ordered),
        low=min(bar.low for bar in ordered),
        close=last.close,
        volume=_volume(ordered),
        vwap=_vwap(ordered),
        realised_volatility=_realised_volatility(ordered),
        gaps=round(span / interval.seconds) + 1 - len(ordered),
        synthetic=any(bar.synthetic for bar in ordered),
        complete=complete,
        watermark=dict(sorted(watermark.items())),
    )


def _volume(bars: Sequence[SessionBar]) -> Decimal | None:
    volumes = [bar.volume for bar in bars if bar.volume is not None]
    with localcontext(_EXACT):
        return sum(volumes, Decimal(0)) if volumes else None


def _vwap(bars: Sequence[SessionBar]) -> Decimal | None:
    """Volume-weighted mean of each bar's own VWAP, or of its typical price (high + low + close) / 3."""
    if len(bars) < 2 or any(bar.volume is None for bar in bars):
        return None
    with localcontext(_EXACT):
        volume = sum((bar.volume for bar in bars if bar.volume is not None), Decimal(0))
        if not volume:
            return None
        traded = Decimal(0)
        for bar in bars:
            price = bar.vwap if bar.vwap is not None else (bar.high + bar.low + bar.close) / 3
            traded += price * (bar.volume or 0)
        return (traded / volume).quantize(_VWAP_STEP)


def _realised_volatility(bars: Sequence[SessionBar]) -> float | None:
    """Square root of the sum of squared log returns: first open to first close, then close to close."""
    if len(bars) < 2:
        return None
    prices = [float(bars[0].open), *(float(bar.close) for bar in bars)]
    if min(prices) <= 0:
        return None
    steps = (math.log(after / before) ** 2 for before, after in pairwise(prices))
    return math.sqrt(math.fsum(steps))
