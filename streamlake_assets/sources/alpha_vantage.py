"""Alpha Vantage: raw intraday and daily bars; its errors come as HTTP 200 with another body.

Belongs here: this provider's parameters, shapes and ways to say no. Stays out: HTTP, retries, the key (``http_json``).
"""

import datetime as dt
import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from streamlake_assets.errors import BadRecordError, IntegrityError, SettingError, TryLaterError, UsageError
from streamlake_assets.market.contract import Reason, validate_bar
from streamlake_assets.market.sessions import UTC, daily_bar_time
from streamlake_assets.market.types import AssetClass, Bar, Instrument, Interval, Status
from streamlake_assets.sources.http_json import JsonApi, OnReject, TransientError

SOURCE: Final = "alpha-vantage"
_INTERVALS: Final = {
    Interval.M1: "1min",
    Interval.M5: "5min",
    Interval.M15: "15min",
    Interval.M30: "30min",
    Interval.M60: "60min",
}
_META: Final = "Meta Data"
_PER_MINUTE: Final = re.compile(r"per minute|per second|spreading out", re.IGNORECASE)
_PER_DAY: Final = re.compile(r"per day|daily rate limit", re.IGNORECASE)
_PREMIUM: Final = re.compile(r"premium", re.IGNORECASE)
_KEY: Final = re.compile(r"api ?key .*(invalid|missing)|demo\b.*api ?key", re.IGNORECASE)


def time_series(
    api: JsonApi,
    instrument: Instrument,
    asset_class: AssetClass,
    interval: Interval,
    first: dt.date,
    last: dt.date,
    now: dt.datetime,
    on_reject: OnReject,
    all_hours: bool = False,
) -> Iterator[Bar]:
    """Yield the raw bars of an instrument between two days of the provider's zone, both included, oldest first.

    Intraday bars are asked for month by month, daily ones in one call. Arguments as ``massive.aggregates``;
    ``all_hours``: also bars before and after the sessions.

    Raises:
        SettingError: the key is refused, or the plan does not include this.
        UsageError: the symbol is not known.
        TryLaterError: limits, outages.
        IntegrityError: an answer of an unknown shape, or of another symbol.
    """
    for parameters in _calls(instrument, interval, first, last, all_hours):
        body = msgspec.json.decode(api.get("/query", parameters, _judge))
        meta, rows = _parts(body)
        symbol = next((text for name, text in meta.items() if name.endswith("Symbol")), "")
        if symbol.upper() != instrument.symbol:
            raise IntegrityError(f"{SOURCE}: asked for {instrument.symbol}, got {symbol!r:.40}")
        zone = _zone(meta)
        for stamp in sorted(rows):
            try:
                local = _local(stamp)
                # the day that the provider names: a daily bar's time is midnight somewhere else
                if not first <= local.date() <= last:
                    continue
                bar = _bar(local, rows[stamp], zone, instrument, asset_class, interval, now)
                validate_bar(bar)
            except BadRecordError as error:
                on_reject(error)
            else:
                yield bar


def _calls(
    instrument: Instrument, interval: Interval, first: dt.date, last: dt.date, all_hours: bool
) -> Iterator[dict[str, str]]:
    common = {"symbol": instrument.symbol, "outputsize": "full"}
    if interval is Interval.D1:
        yield {"function": "TIME_SERIES_DAILY", **common}
        return
    month = first.replace(day=1)
    while month <= last:
        yield {
            "function": "TIME_SERIES_INTRADAY",
            "interval": _INTERVALS[interval],
            "month": f"{month:%Y-%m}",
            "adjusted": "false",
            "extended_hours": "true" if all_hours else "false",
            **common,
        }
        month = (month + dt.timedelta(days=32)).replace(day=1)


def _judge(_status: int, body: Any) -> None:
    """Raise what an answer says in its body: here the status is 200 whatever happened."""
    if not isinstance(body, dict):
        raise TransientError(f"{SOURCE} sent JSON that is no object")
    if said := body.get("Error Message"):
        if _KEY.search(said):
            raise SettingError(f"{SOURCE} refuses the key: {said}")
        raise UsageError(f"{SOURCE} refuses the request, often since it does not know the symbol: {said}")
    for name in ("Note", "Information"):
        if said := body.get(name):
            _judge_note(str(said))


def _judge_note(said: str) -> None:
    # one text may speak of both limits: the old note names calls a minute first, and a minute's wait helps with it
    if _PER_MINUTE.search(said):
        raise TransientError(f"{SOURCE}: too many calls in a minute: {said}", after_s=60.0)
    if _PER_DAY.search(said):
        raise TryLaterError(f"{SOURCE}: the calls of the day are used up: {said}")
    if _PREMIUM.search(said):
        raise SettingError(f"{SOURCE}: the plan does not include this: {said}")
    if _KEY.search(said):
        raise SettingError(f"{SOURCE} refuses the key: {said}")
    raise TransientError(f"{SOURCE} sent a note instead of data: {said}")


def _parts(body: dict[str, Any]) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    series = [name for name in body if name.startswith("Time Series")]
    if _META not in body or len(series) != 1:
        # an empty object is how it says that there is nothing
        if not body:
            raise UsageError(f"{SOURCE} has no data for this")
        raise IntegrityError(f"{SOURCE}: the shape of an answer is not known: it has {', '.join(body)[:200]}")
    return body[_META], body[series[0]]


def _zone(meta: dict[str, str]) -> ZoneInfo:
    name = next((text for key, text in meta.items() if key.endswith("Time Zone")), "")
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise IntegrityError(f"{SOURCE}: the zone of an answer is not known: {name!r:.40}") from None


def _local(stamp: str) -> dt.datetime:
    try:
        return dt.datetime.fromisoformat(stamp)
    except ValueError:
        raise BadRecordError(Reason.BAD_TIME, f"time {stamp!r:.40} is not ISO 8601") from None


def _bar(
    local: dt.datetime,
    row: dict[str, str],
    zone: ZoneInfo,
    instrument: Instrument,
    asset_class: AssetClass,
    interval: Interval,
    now: dt.datetime,
) -> Bar:
    if interval is Interval.D1:
        start = daily_bar_time(local.date(), instrument.exchange)
    else:
        start = local.replace(tzinfo=zone).astimezone(UTC)
    numbers = {name.rpartition(" ")[2]: _number(text, name) for name, text in row.items()}
    if missing := {"open", "high", "low", "close"} - numbers.keys():
        raise BadRecordError(Reason.BAD_FIELD, f"{local}: no {', '.join(sorted(missing))}")
    end = start + dt.timedelta(seconds=interval.seconds)
    return Bar(
        symbol=instrument.symbol,
        exchange=instrument.exchange,
        asset_class=asset_class,
        interval=interval,
        bar_time=start,
        open=numbers["open"],
        high=numbers["high"],
        low=numbers["low"],
        close=numbers["close"],
        volume=None if asset_class in (AssetClass.INDEX, AssetClass.FX) else numbers.get("volume"),
        source=SOURCE,
        status=Status.SETTLED if end <= now else Status.PROVISIONAL,
        event_time=now,
        as_of=min(end, now),
    )


def _number(text: str, name: str) -> Decimal:
    try:
        return Decimal(text)
    except (InvalidOperation, TypeError):
        raise BadRecordError(Reason.BAD_PRICE, f"{name} {text!r:.40} is no number") from None
