"""A second opinion on messages: the rules of docs/contract.md read once more, with the standard library alone.

Nothing of the decoder is used here. Numbers are exact decimals, made from the text of the JSON. ``judge`` says what is
wrong with a message and what the contract leaves open; ``differences`` compares a decoded fact with the message's text.
"""

import datetime as dt
import json
import re
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from streamlake_assets.market.sessions import UTC, exchange_zone
from streamlake_assets.market.types import Bar, CorporateAction

PRICES = ("open", "high", "low", "close")
CLASSES = {"stock", "crypto", "commodity", "index", "fx"}
INTERVALS = {"1m", "5m", "15m", "30m", "60m", "1d"}
SYMBOL = r"[A-Z0-9][A-Z0-9.\-]{0,15}"
TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]00:00)", re.ASCII)
LOOSE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d*)?([Zz]|[+-]00:?00)", re.ASCII)
MICROSECOND = dt.timedelta(microseconds=1)
WRITTEN = 40


class Whole(Decimal):
    """A number written without a point and without an exponent."""


class Verdict(NamedTuple):
    """What breaks a rule, and what the contract does not decide."""

    wrong: list[str]
    open: list[str]


def exact(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("NaN")


def refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def parse(value: bytes) -> Any:
    """Read JSON exactly: strict UTF-8, no NaN, whole numbers apart from others; of a field given twice the last."""
    return json.loads(value.decode("utf-8"), parse_int=Whole, parse_float=exact, parse_constant=refuse)


def size(number: Decimal) -> tuple[int, int]:
    """Return significant digits and decimals, trailing zeros aside."""
    _, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, digits)).lstrip("0")
    short = text.rstrip("0")
    return len(short), max(0, -(exponent + len(text) - len(short))) if short else 0


def time_of(text: Any) -> dt.datetime | None:
    found = TIME.fullmatch(text) if isinstance(text, str) else None
    if not found:
        return None
    try:
        moment = dt.datetime.fromisoformat(f"{found[1]}T{found[2]}+00:00")
    except ValueError:
        return None
    return moment + dt.timedelta(microseconds=float(Decimal(found[3] or 0) * 10**6))


class Judge:
    """Collects what is wrong with one message."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = fields
        self.wrong: list[str] = []
        self.open: list[str] = []

    def need(self, holds: bool, rule: str) -> bool:
        if not holds:
            self.wrong.append(rule)
        return holds

    def text(self, name: str, pattern: str, default: str | None = None) -> None:
        value = self.fields.get(name, default) if default is not None else self.fields.get(name)
        self.need(isinstance(value, str) and re.fullmatch(pattern, value) is not None, f"{name}: {value!r:.60}")

    def word(self, name: str, words: set[str]) -> None:
        value = self.fields.get(name)
        self.need(isinstance(value, str) and value in words, f"{name}: {value!r:.60}")

    def label(self, name: str) -> None:
        if name in self.fields:
            value = self.fields[name]
            fits = isinstance(value, str) and 1 <= len(value) <= 128
            self.need(fits and not re.search("[\ud800-\udfff]", value), f"{name}: {value!r:.60}")

    def number(self, name: str, limit: int) -> Decimal | None:
        value = self.fields.get(name)
        if not isinstance(value, Decimal) or not value.is_finite():
            self.wrong.append(f"{name} is no finite number")
            return None
        digits, decimals = size(value)
        self.need(
            digits <= 15 and decimals <= 10 and value.copy_abs() < limit,
            f"{name}: {digits} digits, {decimals} decimals",
        )
        _, written, exponent = value.as_tuple()
        if len(written) > WRITTEN or not -WRITTEN <= int(exponent) <= WRITTEN:
            self.open.append(f"{name} is written at length")
        return value

    def time(self, name: str) -> dt.datetime | None:
        value = self.fields.get(name)
        moment = time_of(value)
        if moment is None and isinstance(value, str) and LOOSE_TIME.fullmatch(value):
            self.open.append(f"{name}: a form of time that RFC 3339 mentions or ISO 8601 has")
        elif self.need(moment is not None, f"{name}: {value!r:.60}") and moment is not None:
            self.need(1900 <= moment.year <= 2199, f"{name} in 1900 to 2199")
            if len(str(value)) > len("2013-01-14T05:00:00.000000+00:00"):
                self.open.append(f"{name}: finer than a microsecond")
        return moment


def judge(value: bytes | None, key: bytes | None, broker_time: dt.datetime, action: bool = False) -> Verdict:
    """Return what breaks the contract in a message of the bars' topic, or of the actions' one."""
    if value is None or len(value) > 65_536:
        return Verdict(["no value, or too large"], [])
    try:
        fields = parse(value)
    except (ValueError, RecursionError) as error:
        return Verdict([f"not JSON: {error}"], [])
    if not isinstance(fields, dict):
        return Verdict(["not an object"], [])
    it = Judge(fields)
    version = fields.get("v", Whole(0))
    if action:
        it.need(isinstance(version, Whole) and version == 1, "version")
        _judge_action(it, key, broker_time)
    elif it.need(isinstance(version, Whole) and version in (0, 1), "version"):
        (_judge_bar if version == 1 else _judge_flat)(it, key, broker_time)
    return Verdict(it.wrong, it.open)


def _judge_envelope(it: Judge, symbol: str, key: bytes | None) -> None:
    it.text(symbol, SYMBOL)
    name = it.fields.get(symbol)
    it.need(isinstance(name, str) and key == name.encode("utf-8", "surrogatepass"), "key")


def _judge_sent(it: Judge, broker_time: dt.datetime) -> None:
    sent = it.time("event_time")
    if sent is not None:
        it.need(sent <= broker_time + dt.timedelta(seconds=60), "event_time")
    if "as_of" in it.fields:
        it.time("as_of")


def _judge_prices(it: Judge, kind: Any) -> None:
    found = {name: it.number(name, 10**10) for name in PRICES}
    prices = {name: price for name, price in found.items() if price is not None}
    if kind != "commodity":
        it.need(all(price > 0 for price in prices.values()), "prices above zero")
    if len(prices) == 4:
        it.need(prices["high"] == max(prices.values()) and prices["low"] == min(prices.values()), "order of prices")


def _judge_bar(it: Judge, key: bytes | None, broker_time: dt.datetime) -> None:
    fields = it.fields
    kind = fields.get("asset_class")
    _judge_envelope(it, "symbol", key)
    it.text("exchange", "[A-Z0-9]{4}", "XXXX")
    it.word("asset_class", CLASSES)
    it.word("interval", INTERVALS)
    it.word("status", {"provisional", "settled"})
    it.text("source", r"[a-z0-9][a-z0-9_.\-]{0,63}")
    it.text("currency", "[A-Z]{3,8}", "XXX")
    it.label("sector")
    it.label("name")
    it.need(isinstance(fields.get("synthetic", False), bool), "synthetic")
    _judge_prices(it, kind)
    for name, limit in (("volume", 10**18), ("vwap", 10**10)):
        if name in fields and (number := it.number(name, limit)) is not None:
            it.need(number >= 0, name)
    it.need("volume" not in fields or kind not in ("index", "fx"), "no volume")
    trades = fields.get("trades", Whole(0))
    it.need(isinstance(trades, Whole) and 0 <= trades < 2**63, "trades")
    start = it.time("bar_time")
    _judge_sent(it, broker_time)
    exchange = fields.get("exchange", "XXXX")
    if start is not None and fields.get("interval") == "1d" and not it.wrong:
        # years at the edges have no time in some zone
        local = start.astimezone(exchange_zone(exchange)) if 1 < start.year < 9999 else start
        it.need(local.time() == dt.time(), f"midnight: {local}")


def _judge_flat(it: Judge, key: bytes | None, _broker_time: dt.datetime) -> None:
    _judge_envelope(it, "ticker", key)
    moment = it.fields.get("timestamp")
    it.need(isinstance(moment, Whole) and 0 <= moment < 7_258_118_400_000, "timestamp")
    _judge_prices(it, "stock")
    volume = it.number("volume", 10**18)
    it.need(volume is None or volume >= 0, "volume")


def _judge_action(it: Judge, key: bytes | None, broker_time: dt.datetime) -> None:
    _judge_envelope(it, "symbol", key)
    it.text("exchange", "[A-Z0-9]{4}", "XXXX")
    it.word("kind", {"split", "dividend"})
    it.text("source", r"[a-z0-9][a-z0-9_.\-]{0,63}")
    factor = it.number("factor", 10**10)
    it.need(factor is None or factor > 0, "factor")
    _judge_sent(it, broker_time)
    day = it.fields.get("ex_date")
    good = isinstance(day, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", day, re.ASCII) is not None
    if it.need(good, "ex_date"):
        try:
            it.need(1900 <= dt.date.fromisoformat(str(day)).year <= 2199, "ex_date")
            if day == "1900-01-01" and "as_of" not in it.fields:
                it.open.append("the midnight of the first day lies in 1899 east of Greenwich")
        except ValueError:
            it.wrong.append("ex_date")


def differences(value: bytes, fact: Bar | CorporateAction, broker_time: dt.datetime) -> list[str]:
    """Return the fields of a fact that do not say what the message says."""
    fields = parse(value)
    if "ticker" in fields and fields.get("v", 0) == 0:
        fields = _as_version_1(fields, broker_time)
    wanted: dict[str, Any] = {"exchange": "XXXX", **fields}
    if isinstance(fact, Bar):
        blank = dict.fromkeys(("volume", "vwap", "trades", "currency", "sector", "name"))
        wanted = {**blank, "synthetic": False, "as_of": fields["bar_time"], **wanted}
    found = []
    for name in fact.__struct_fields__:
        have, want = getattr(fact, name), wanted.get(name)
        if name == "as_of" and want is None:
            continue
        if isinstance(have, dt.datetime):
            moment = want if isinstance(want, dt.datetime) else time_of(want)
            same = have.tzinfo is not None and (moment is None or abs(have - moment) <= MICROSECOND)
        elif isinstance(have, dt.date):
            same = have.isoformat() == want
        else:
            # numbers as they are written, 1 and true apart, words as texts
            same = have == want and isinstance(have, bool) == isinstance(want, bool)
        if not same:
            found.append(f"{name}: {have!r} is not {want!r}")
    return found


def _as_version_1(flat: dict[str, Any], broker_time: dt.datetime) -> dict[str, Any]:
    day = (dt.datetime(1970, 1, 1, tzinfo=UTC) + dt.timedelta(milliseconds=int(flat["timestamp"]))).date()
    start = dt.datetime.combine(day, dt.time(), UTC)
    named = {"symbol": flat["ticker"], "asset_class": "stock", "interval": "1d", "status": "settled", "source": "v0"}
    numbers = {name: flat[name] for name in (*PRICES, "volume")}
    return {**named, **numbers, "bar_time": start, "as_of": start, "event_time": broker_time}
