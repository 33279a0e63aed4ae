"""The topic contract: what a message may look like, and the one way from bytes to a bar and back.

Belongs here: limits, decoding with reason codes, encoding. Stays out: the shape of a message (``wire``), Kafka itself
(``broker``), which version of a bar wins (``versions``).

Version 1 is the contract of the topics ``finance-data`` and ``corporate-actions``; version 0 is the older flat message
(``ticker``, ``timestamp`` in epoch milliseconds) and stands for a settled daily stock bar. Unknown fields are ignored,
an unknown ``v`` is refused. Every refusal is a ``BadRecordError`` with one of the codes in ``Reason``.
"""

import datetime as dt
import re
from decimal import Context, Decimal
from enum import StrEnum
from typing import Any, Final, TypeVar

import msgspec
from msgspec import UNSET

from streamlake_assets.errors import BadRecordError
from streamlake_assets.market.quick_decode import quick_bar
from streamlake_assets.market.sessions import UTC, daily_bar_time, session_date
from streamlake_assets.market.types import AssetClass, Bar, CorporateAction, Interval, Status
from streamlake_assets.market.wire import (
    EARLIEST,
    LATEST,
    MAX_LEAD,
    SYMBOL_PATTERN,
    WireAction,
    WireBar,
    WireBarV0,
)

BARS_TOPIC: Final = "finance-data"
ACTIONS_TOPIC: Final = "corporate-actions"

MAX_BYTES: Final = 65_536
"""Longest message value; a bar is about 300 bytes."""
MAX_DIGITS: Final = 15
"""Significant digits: what a double carries without loss, so that every reader sees the same number."""
MAX_DECIMALS: Final = 10
MAX_WRITTEN: Final = 40
"""Digits and decimals a number may be written with, zeros included: 0e-999999 is zero, and a megabyte as text."""
PRICE_LIMIT: Final = Decimal(10) ** 10
"""Exclusive bound of a price's size: DECIMAL(20,10) holds ten digits before the point."""
VOLUME_LIMIT: Final = Decimal(10) ** 18
MAX_DEPTH: Final = 64
"""Levels of nesting in a message; a bar has one."""
_WIDE: Final = Context(prec=2 * MAX_WRITTEN)


class Reason(StrEnum):
    """Why a message is a dead letter; stable codes that users filter by."""

    NULL_VALUE = "null_value"
    TOO_LARGE = "too_large"
    BAD_JSON = "bad_json"
    BAD_FIELD = "bad_field"
    UNKNOWN_VERSION = "unknown_version"
    BAD_SYMBOL = "bad_symbol"
    KEY_MISMATCH = "key_mismatch"
    BAD_PRICE = "bad_price"
    PRICE_ORDER = "price_order"
    BAD_VOLUME = "bad_volume"
    BAD_TIME = "bad_time"
    EVENT_TIME_AHEAD = "event_time_ahead"
    BAD_FACTOR = "bad_factor"


class _Prices(msgspec.Struct):
    """The numbers of a bar, exact. Read only after the shape was accepted: this type alone would take strings."""

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal | None = None
    vwap: Decimal | None = None


class _PricesV0(msgspec.Struct):
    """The same of version 0."""

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


class _Factor(msgspec.Struct):
    factor: Decimal


class _Version(msgspec.Struct):
    v: Any = 0


_BAR = msgspec.json.Decoder(WireBar)
_BAR_V0 = msgspec.json.Decoder(WireBarV0)
_ACTION = msgspec.json.Decoder(WireAction)
_PRICES = msgspec.json.Decoder(_Prices)
_PRICES_V0 = msgspec.json.Decoder(_PricesV0)
_FACTOR = msgspec.json.Decoder(_Factor)
_VERSION = msgspec.json.Decoder(_Version)
_ENCODER = msgspec.json.Encoder(decimal_format="number")
_SYMBOL = re.compile(SYMBOL_PATTERN)
_JSON = msgspec.json.Decoder(msgspec.Raw)
_LONG_WORD = re.compile(r"(['\"])(.{40}).+\1", re.DOTALL)
_TEXTS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]")
_REFUSALS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

T = TypeVar("T")


def decode_bar(value: bytes | None, key: bytes | None, broker_time: dt.datetime) -> Bar:
    """Turn one message of ``finance-data`` into a bar.

    Args:
        value: the message's value.
        key: the message's key; must be the symbol.
        broker_time: the message's LogAppendTime, aware.

    Raises:
        BadRecordError: with the code of the first rule that is broken.
    """
    data = _present(value)
    bar = quick_bar(data, key, broker_time)
    return decode_bar_fully(data, key, broker_time) if bar is None else bar


def decode_bar_fully(data: bytes, key: bytes | None, broker_time: dt.datetime) -> Bar:
    """Turn one message into a bar the full way: every rule in its order, with the code of the first that is broken.

    Raises:
        BadRecordError: as ``decode_bar``.
    """
    _check_depth(data)
    try:
        wire = _BAR.decode(data)
    except _REFUSALS as error:
        if _is_version_0(data):
            return _from_v0(data, key, broker_time)
        raise _refusal(error, data) from None
    # a double takes an exponent of any length, a decimal does not
    exact = _decoded(_PRICES, data)
    bar = Bar(
        symbol=wire.symbol,
        exchange=wire.exchange,
        asset_class=wire.asset_class,
        interval=wire.interval,
        bar_time=_utc(wire.bar_time, "bar_time"),
        open=exact.open,
        high=exact.high,
        low=exact.low,
        close=exact.close,
        volume=exact.volume,
        vwap=exact.vwap,
        trades=None if wire.trades is UNSET else wire.trades,
        source=wire.source,
        synthetic=wire.synthetic,
        status=wire.status,
        event_time=_utc(wire.event_time, "event_time"),
        as_of=_utc(wire.bar_time if wire.as_of is UNSET else wire.as_of, "as_of"),
        currency=None if wire.currency is UNSET else wire.currency,
        sector=None if wire.sector is UNSET else wire.sector,
        name=None if wire.name is UNSET else wire.name,
    )
    _check_envelope(bar.symbol, key, bar.event_time, broker_time)
    validate_bar(bar)
    return bar


def decode_action(value: bytes | None, key: bytes | None, broker_time: dt.datetime) -> CorporateAction:
    """Turn one message of ``corporate-actions`` into a corporate action.

    Raises:
        BadRecordError: with the code of the first rule that is broken.
    """
    data = _present(value)
    _check_depth(data)
    wire = _decoded(_ACTION, data, known=(1,))
    ex_midnight = daily_bar_time(_year_in_range(wire.ex_date), wire.exchange)
    action = CorporateAction(
        symbol=wire.symbol,
        exchange=wire.exchange,
        kind=wire.kind,
        ex_date=wire.ex_date,
        factor=_decoded(_FACTOR, data, known=(1,)).factor,
        source=wire.source,
        event_time=_utc(wire.event_time, "event_time"),
        as_of=ex_midnight if wire.as_of is UNSET else _utc(wire.as_of, "as_of"),
    )
    _check_envelope(action.symbol, key, action.event_time, broker_time)
    validate_action(action)
    return action


def validate_bar(bar: Bar) -> None:
    """Check the rules that a bar keeps whatever it came from.

    Raises:
        BadRecordError: symbol, price, price order, volume or time breaks the contract.
    """
    if not _SYMBOL.match(bar.symbol):
        raise BadRecordError(Reason.BAD_SYMBOL, f"symbol {bar.symbol!r} does not match {SYMBOL_PATTERN}")
    for field in ("open", "high", "low", "close"):
        value = getattr(bar, field)
        _check_number(value, field, Reason.BAD_PRICE, PRICE_LIMIT)
        if value <= 0 and bar.asset_class is not AssetClass.COMMODITY:
            raise BadRecordError(Reason.BAD_PRICE, f"{field} {value} is not above zero")
    if not (bar.low <= bar.open <= bar.high and bar.low <= bar.close <= bar.high):
        raise BadRecordError(
            Reason.PRICE_ORDER,
            f"open {bar.open}, high {bar.high}, low {bar.low}, close {bar.close}: high must be largest, low smallest",
        )
    if bar.volume is not None:
        if bar.asset_class in (AssetClass.INDEX, AssetClass.FX):
            raise BadRecordError(Reason.BAD_VOLUME, f"a bar of class {bar.asset_class} has no volume")
        _check_number(bar.volume, "volume", Reason.BAD_VOLUME, VOLUME_LIMIT)
        if bar.volume < 0:
            raise BadRecordError(Reason.BAD_VOLUME, f"volume {bar.volume} is negative")
    if bar.vwap is not None:
        _check_number(bar.vwap, "vwap", Reason.BAD_PRICE, PRICE_LIMIT)
        if bar.vwap < 0:
            raise BadRecordError(Reason.BAD_PRICE, f"vwap {bar.vwap} is negative")
    if bar.interval is Interval.D1:
        midnight = daily_bar_time(session_date(bar.bar_time, bar.exchange), bar.exchange)
        if bar.bar_time != midnight:
            raise BadRecordError(
                Reason.BAD_TIME, f"a daily bar starts at local midnight of its session, {midnight.isoformat()}"
            )


def validate_action(action: CorporateAction) -> None:
    """Check the rules that a corporate action keeps whatever it came from.

    Raises:
        BadRecordError: symbol or factor breaks the contract.
    """
    if not _SYMBOL.match(action.symbol):
        raise BadRecordError(Reason.BAD_SYMBOL, f"symbol {action.symbol!r} does not match {SYMBOL_PATTERN}")
    _check_number(action.factor, "factor", Reason.BAD_FACTOR, PRICE_LIMIT)
    if action.factor <= 0:
        raise BadRecordError(Reason.BAD_FACTOR, f"factor {action.factor} is not above zero")


def encode_bar(bar: Bar, event_time: dt.datetime) -> bytes:
    """Return a bar as a version 1 message put on the wire at ``event_time``; absent values are left out."""
    fields: dict[str, Any] = {"v": 1, **{f: getattr(bar, f) for f in bar.__struct_fields__}}
    fields["event_time"] = event_time
    return _ENCODER.encode({name: value for name, value in fields.items() if value is not None})


def encode_action(action: CorporateAction, event_time: dt.datetime) -> bytes:
    """Return a corporate action as a version 1 message put on the wire at ``event_time``."""
    fields: dict[str, Any] = {"v": 1, **{f: getattr(action, f) for f in action.__struct_fields__}}
    fields["event_time"] = event_time
    return _ENCODER.encode(fields)


def _from_v0(data: bytes, key: bytes | None, broker_time: dt.datetime) -> Bar:
    wire = _decoded(_BAR_V0, data)
    exact = _decoded(_PRICES_V0, data)
    moment = dt.datetime.fromtimestamp(wire.timestamp / 1000, UTC)
    bar_time = daily_bar_time(moment.date(), "XXXX")
    bar = Bar(
        symbol=wire.ticker,
        asset_class=AssetClass.STOCK,
        interval=Interval.D1,
        bar_time=bar_time,
        open=exact.open,
        high=exact.high,
        low=exact.low,
        close=exact.close,
        volume=exact.volume,
        source="v0",
        status=Status.SETTLED,
        event_time=broker_time,
        as_of=bar_time,
    )
    _check_envelope(bar.symbol, key, bar.event_time, broker_time)
    validate_bar(bar)
    return bar


def _present(value: bytes | None) -> bytes:
    if value is None:
        raise BadRecordError(Reason.NULL_VALUE, "the message has no value")
    if len(value) > MAX_BYTES:
        raise BadRecordError(Reason.TOO_LARGE, f"{len(value)} bytes, at most {MAX_BYTES} are read")
    return value


def _check_depth(data: bytes) -> None:
    """Refuse deep nesting by a rule of ours: how deep the parser itself can go depends on the stack of its caller."""
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for bracket in _BRACKETS.findall(_TEXTS.sub(b"", data)):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise BadRecordError(Reason.BAD_JSON, f"nested more than {MAX_DEPTH} levels deep")


def _decoded(decoder: msgspec.json.Decoder[T], data: bytes, known: tuple[int, ...] = (0, 1)) -> T:
    try:
        return decoder.decode(data)
    except _REFUSALS as error:
        raise _refusal(error, data, known) from None


def _is_version_0(data: bytes) -> bool:
    version = _version_of(data)
    return type(version) is int and version == 0


def _version_of(data: bytes) -> Any:
    try:
        return _VERSION.decode(data).v
    except _REFUSALS:
        return None


def _refusal(error: Exception, data: bytes, known: tuple[int, ...] = (0, 1)) -> BadRecordError:
    try:
        # whether it is JSON comes first: the parser stops at the first thing that is wrong, whichever that is
        _JSON.decode(data)
    except _REFUSALS as broken:
        return BadRecordError(Reason.BAD_JSON, str(broken))
    if not isinstance(error, msgspec.ValidationError):
        return BadRecordError(Reason.BAD_JSON, str(error))
    version = _version_of(data)
    # by type: true and 1.0 equal 1, and are not the version 1
    if version is not None and (type(version) is not int or version not in known):
        names = " and ".join(map(str, known))
        return BadRecordError(Reason.UNKNOWN_VERSION, f"version {str(version)[:40]!r}: only {names} is known")
    text = str(error)
    field = text.rpartition("$.")[2].strip("`") if "$." in text else ""
    reason = {
        "symbol": Reason.BAD_SYMBOL,
        "ticker": Reason.BAD_SYMBOL,
        "open": Reason.BAD_PRICE,
        "high": Reason.BAD_PRICE,
        "low": Reason.BAD_PRICE,
        "close": Reason.BAD_PRICE,
        "vwap": Reason.BAD_PRICE,
        "volume": Reason.BAD_VOLUME,
        "factor": Reason.BAD_FACTOR,
        "bar_time": Reason.BAD_TIME,
        "event_time": Reason.BAD_TIME,
        "as_of": Reason.BAD_TIME,
        "ex_date": Reason.BAD_TIME,
        "timestamp": Reason.BAD_TIME,
    }.get(field, Reason.BAD_FIELD)
    # the parser repeats an unknown word whole, and a payload does not belong into logs
    return BadRecordError(reason, _LONG_WORD.sub(r"\1\2…\1", text))


def _utc(value: dt.datetime, field: str) -> dt.datetime:
    if value.utcoffset() != dt.timedelta(0):
        raise BadRecordError(Reason.BAD_TIME, f"{field} {value.isoformat()} is not UTC")
    if not EARLIEST <= value < LATEST:
        raise BadRecordError(Reason.BAD_TIME, f"{field} {value.isoformat()} lies outside 1900 to 2199")
    return value.astimezone(UTC)


def _year_in_range(day: dt.date) -> dt.date:
    if not EARLIEST.date() <= day < LATEST.date():
        raise BadRecordError(Reason.BAD_TIME, f"date {day.isoformat()} lies outside 1900 to 2199")
    return day


def _check_envelope(symbol: str, key: bytes | None, event_time: dt.datetime, broker_time: dt.datetime) -> None:
    if key != symbol.encode():
        raise BadRecordError(Reason.KEY_MISMATCH, f"key {key!r:.80} is not the symbol {symbol}")
    if event_time > broker_time + MAX_LEAD:
        raise BadRecordError(
            Reason.EVENT_TIME_AHEAD,
            f"event_time {event_time.isoformat()} is more than {MAX_LEAD.seconds} s after the broker's time",
        )


def _check_number(value: Decimal, field: str, reason: Reason, limit: Decimal) -> None:
    _, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise BadRecordError(reason, f"{field} {value} is not finite")
    # nothing here rounds: abs() and normalize() of the default context cut a number to 28 digits
    if value.copy_abs() >= limit:
        raise BadRecordError(reason, f"{field} {value:.20g} is not below {limit}")
    if exponent < -MAX_WRITTEN or len(digits) > MAX_WRITTEN:
        raise BadRecordError(reason, f"{field} is written with more than {MAX_WRITTEN} digits or decimals")
    if exponent < -MAX_DECIMALS or len(digits) > MAX_DIGITS:
        # only now, for the few that look long: trailing zeros do not count
        _, digits, exponent = value.normalize(_WIDE).as_tuple()
        if isinstance(exponent, int) and exponent < -MAX_DECIMALS:
            raise BadRecordError(reason, f"{field} {value} has more than {MAX_DECIMALS} decimals")
        if len(digits) > MAX_DIGITS:
            raise BadRecordError(reason, f"{field} {value} has more than {MAX_DIGITS} significant digits")
