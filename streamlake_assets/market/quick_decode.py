"""The short way from a plain bar message to a bar: it takes what is certainly good, and leaves the rest alone.

Nearly every message is plain: known names, numbers of few digits, times in UTC. For these, one pass by msgspec and a
few comparisons prove all that the contract asks, at a third of the cost of the full way. Belongs here: conditions that
are *sufficient*. Stays out: reasons (``contract``): ``None`` says nothing about a message but that the full way must
judge it. Tests hold that what is taken here is taken there, with the same result.
"""

import datetime as dt
import re
from decimal import Decimal
from typing import Final, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from streamlake_assets.market.sessions import UTC, daily_bar_time, session_date
from streamlake_assets.market.types import AssetClass, Bar, Interval, Status
from streamlake_assets.market.wire import CURRENCY_PATTERN, MAX_LEAD, MIC_PATTERN, SOURCE_PATTERN, SYMBOL_PATTERN

_PLAIN_DIGITS: Final = 10
"""A number whose text has at most ten signs and no exponent is below 10^10 and has at most 8 decimals."""
_REMEMBERED: Final = 50_000
"""Names kept as known to be good; at the bound all are forgotten, so that made-up names cannot fill the memory."""


class _PlainBar(msgspec.Struct, kw_only=True):
    """The fields of a version 1 bar, without patterns and bounds."""

    v: int
    symbol: str
    exchange: str | UnsetType = UNSET
    asset_class: AssetClass
    interval: Interval
    bar_time: dt.datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal | UnsetType = UNSET
    vwap: Decimal | UnsetType = UNSET
    trades: int | UnsetType = UNSET
    source: str
    synthetic: bool | UnsetType = UNSET
    status: Status
    event_time: dt.datetime
    as_of: dt.datetime | UnsetType = UNSET
    currency: str | UnsetType = UNSET
    sector: str | UnsetType = UNSET
    name: str | UnsetType = UNSET


_decode = msgspec.json.Decoder(_PlainBar).decode
_QUOTES: Final = 2 * (12 + 7)
"""Quotation marks of the required fields: 12 names, and 7 values that are texts or times."""
_NAMES: Final = tuple(map(re.compile, (SYMBOL_PATTERN, MIC_PATTERN, SOURCE_PATTERN)))
_LABEL: Final = re.compile(r"(?s)^.{1,128}\Z")
_LABELS: Final = (re.compile(CURRENCY_PATTERN), _LABEL, _LABEL)
_NO_LABELS: Final = (None, None, None)
_good_names: set[tuple[str | None, ...]] = set()
_good_labels: set[tuple[str | None, ...]] = set()
"""(symbol, exchange, source) and (currency, sector, name) that were found good: most messages repeat them. Two sets: a
label may be any text, and must not make a name good."""

T = TypeVar("T")


def quick_bar(data: bytes, key: bytes | None, broker_time: dt.datetime) -> Bar | None:
    """Return the bar of a plain message, or None when the full way must look at it; arguments as ``decode_bar``."""
    try:
        wire = _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    # a decimal is taken from a text too: with one quotation mark more than its fields have, something is a text that
    # must not be, a field comes twice, or there are fields that are not known here
    if data.count(b'"') != _quotes(wire) or wire.v != 1 or key != wire.symbol.encode():
        return None
    exchange = "XXXX" if wire.exchange is UNSET else wire.exchange
    names = (wire.symbol, exchange, wire.source)
    labels = (_or_none(wire.currency), _or_none(wire.sector), _or_none(wire.name))
    as_of = wire.bar_time if wire.as_of is UNSET else wire.as_of
    if not (
        (names in _good_names or _learn(names, _NAMES, _good_names))
        and (labels == _NO_LABELS or labels in _good_labels or _learn(labels, _LABELS, _good_labels))
        and _numbers_are_plain(wire)
        and _times_are_plain(wire, exchange, as_of, broker_time)
    ):
        return None
    return Bar(
        symbol=wire.symbol,
        exchange=exchange,
        asset_class=wire.asset_class,
        interval=wire.interval,
        bar_time=wire.bar_time,
        open=wire.open,
        high=wire.high,
        low=wire.low,
        close=wire.close,
        volume=_or_none(wire.volume),
        vwap=_or_none(wire.vwap),
        trades=_or_none(wire.trades),
        source=wire.source,
        synthetic=wire.synthetic is True,
        status=wire.status,
        event_time=wire.event_time,
        as_of=as_of,
        currency=labels[0],
        sector=labels[1],
        name=labels[2],
    )


def _or_none(value: T | UnsetType) -> T | None:
    return None if value is UNSET else value


def _quotes(wire: _PlainBar) -> int:
    texts = (wire.exchange, wire.as_of, wire.currency, wire.sector, wire.name)
    others = (wire.volume, wire.vwap, wire.trades, wire.synthetic)
    return _QUOTES + 4 * (5 - texts.count(UNSET)) + 2 * (4 - others.count(UNSET))


def _numbers_are_plain(wire: _PlainBar) -> bool:
    low, high = wire.low, wire.high
    if not (low <= wire.open <= high and low <= wire.close <= high):
        return False
    if low <= 0 and wire.asset_class is not AssetClass.COMMODITY:
        return False
    if not (_is_plain(wire.open) and _is_plain(high) and _is_plain(low) and _is_plain(wire.close)):
        return False
    if (volume := wire.volume) is not UNSET and not (
        _is_plain(volume) and volume >= 0 and wire.asset_class not in (AssetClass.INDEX, AssetClass.FX)
    ):
        return False
    if (vwap := wire.vwap) is not UNSET and not (_is_plain(vwap) and vwap >= 0):
        return False
    return wire.trades is UNSET or 0 <= wire.trades < 2**63


def _times_are_plain(wire: _PlainBar, exchange: str, as_of: dt.datetime, broker_time: dt.datetime) -> bool:
    bar_time, event_time = wire.bar_time, wire.event_time
    # msgspec gives a time that ends in Z or +00:00 this very zone
    if bar_time.tzinfo is not UTC or event_time.tzinfo is not UTC or as_of.tzinfo is not UTC:
        return False
    if not (1900 <= bar_time.year < 2200 and 1900 <= as_of.year < 2200 and 1900 <= event_time.year < 2200):
        return False
    if wire.interval is Interval.D1 and bar_time != daily_bar_time(session_date(bar_time, exchange), exchange):
        return False
    return event_time <= broker_time + MAX_LEAD


def _is_plain(value: Decimal) -> bool:
    text = str(value)
    return len(text) <= _PLAIN_DIGITS and "E" not in text


def _learn(
    names: tuple[str | None, ...], patterns: tuple[re.Pattern[str], ...], good: set[tuple[str | None, ...]]
) -> bool:
    if not all(name is None or pattern.match(name) for name, pattern in zip(names, patterns, strict=True)):
        return False
    if len(good) >= _REMEMBERED:
        good.clear()
    good.add(names)
    return True
