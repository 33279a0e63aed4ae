"""What a bar and a corporate action are: frozen, typed, with no way in or out of a wire or a table.

Belongs here: the facts that cross rooms and their closed vocabularies. Stays out: JSON (``contract``), order of
versions (``versions``), calendars (``sessions``).
"""

import datetime as dt
from decimal import Decimal
from enum import StrEnum

import msgspec


class AssetClass(StrEnum):
    """What is traded."""

    STOCK = "stock"
    CRYPTO = "crypto"
    COMMODITY = "commodity"
    INDEX = "index"
    FX = "fx"


class Interval(StrEnum):
    """Length of a bar; the wire uses these names."""

    M1 = "1m"
    M5 = "5m"
    M15 = "15m"
    M30 = "30m"
    M60 = "60m"
    D1 = "1d"

    @property
    def seconds(self) -> int:
        """Nominal length in seconds; a daily bar covers its session, whatever its length."""
        return _SECONDS[self.value]


_SECONDS = {"1m": 60, "5m": 300, "15m": 900, "30m": 1800, "60m": 3600, "1d": 86400}


class Status(StrEnum):
    """Whether the source may still change the bar in the normal course of events."""

    PROVISIONAL = "provisional"
    SETTLED = "settled"


class ActionKind(StrEnum):
    """Kind of a corporate action."""

    SPLIT = "split"
    DIVIDEND = "dividend"


class Instrument(msgspec.Struct, frozen=True, order=True):
    """Identity of what is traded: symbol and ISO 10383 market code."""

    symbol: str
    exchange: str = "XXXX"

    def __str__(self) -> str:
        return f"{self.symbol}|{self.exchange}"


class Bar(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One version of one bar, raw prices, times aware and in UTC.

    ``bar_time`` is the start of the bar (``1d``: local midnight of the session, as UTC) and never shifted;
    ``event_time`` is when the message was put on the wire; ``as_of`` is when the source stated these values.
    """

    symbol: str
    exchange: str = "XXXX"
    asset_class: AssetClass
    interval: Interval
    bar_time: dt.datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal | None = None
    vwap: Decimal | None = None
    trades: int | None = None
    source: str
    synthetic: bool = False
    status: Status = Status.SETTLED
    event_time: dt.datetime
    as_of: dt.datetime
    currency: str | None = None
    sector: str | None = None
    name: str | None = None

    @property
    def instrument(self) -> Instrument:
        """Identity of the instrument."""
        return Instrument(self.symbol, self.exchange)


class CorporateAction(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One version of one corporate action.

    ``factor`` f of the ex-date is such that the adjusted return is r_t = ln(close_t / (close_{t-1} * f)):
    a 2-for-1 split has f = 0.5, a dividend d has f = 1 - d / close_{t-1}.
    """

    symbol: str
    exchange: str = "XXXX"
    kind: ActionKind
    ex_date: dt.date
    factor: Decimal
    source: str
    event_time: dt.datetime
    as_of: dt.datetime

    @property
    def instrument(self) -> Instrument:
        """Identity of the instrument."""
        return Instrument(self.symbol, self.exchange)
