"""Massive (formerly Polygon): REST aggregates page by page, splits and dividends.

Belongs here: this provider's addresses, shapes and ways to say no. Stays out: HTTP, retries, the key (``http_json``).

Only raw bars are asked for, and an answer that calls itself adjusted is refused: adjusted and raw prices in one table
would be jumps without an action. A daily bar's time is the local midnight of its session, whatever hour is sent.
"""

import datetime as dt
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, TypeVar

import msgspec

from streamlake_assets.errors import BadRecordError, IntegrityError, SettingError, UsageError
from streamlake_assets.market.contract import MAX_DECIMALS, validate_bar
from streamlake_assets.market.sessions import UTC, daily_bar_time, session_date
from streamlake_assets.market.types import ActionKind, AssetClass, Bar, CorporateAction, Instrument, Interval, Status
from streamlake_assets.sources.http_json import LIMIT_WAIT_S, JsonApi, OnReject, TransientError

SOURCE: Final = "massive"
PAGE: Final = 50_000
"""Aggregates asked for in one call: the most that is allowed."""
ACTIONS_PAGE: Final = 1_000
MOST_PAGES: Final = 1_000
_SPANS: Final = {
    Interval.M1: (1, "minute"),
    Interval.M5: (5, "minute"),
    Interval.M15: (15, "minute"),
    Interval.M30: (30, "minute"),
    Interval.M60: (60, "minute"),
    Interval.D1: (1, "day"),
}
_DENIED: Final = "NOT_AUTHORIZED"
_LIMIT_WORDS: Final = ("maximum requests", "rate limit", "too many requests")
_EXACT: Final = Decimal(1).scaleb(-MAX_DECIMALS)


class _Aggregate(msgspec.Struct):
    t: int
    o: Decimal
    h: Decimal
    l: Decimal  # noqa: E741  # the provider's name
    c: Decimal
    v: Decimal | None = None
    vw: Decimal | None = None
    n: int | None = None


class _Page(msgspec.Struct):
    results: list[_Aggregate] | None = None
    adjusted: bool | None = None
    next_url: str | None = None


class _Split(msgspec.Struct):
    execution_date: dt.date
    split_from: Decimal
    split_to: Decimal


class _Splits(msgspec.Struct):
    results: list[_Split] | None = None
    next_url: str | None = None


class _Dividend(msgspec.Struct):
    ex_dividend_date: dt.date
    cash_amount: Decimal


class _Dividends(msgspec.Struct):
    results: list[_Dividend] | None = None
    next_url: str | None = None


Parameters = Mapping[str, str | int]
Shape = TypeVar("Shape", _Page, _Splits, _Dividends)


def aggregates(
    api: JsonApi,
    instrument: Instrument,
    asset_class: AssetClass,
    interval: Interval,
    first: dt.date,
    last: dt.date,
    now: dt.datetime,
    on_reject: OnReject,
) -> Iterator[Bar]:
    """Yield the raw bars of an instrument between two days of its exchange, both included, oldest first.

    Args:
        api: of this provider.
        instrument: whose bars; its symbol is the provider's ticker.
        asset_class: of the instrument.
        interval: of the bars.
        first: first day.
        last: last day.
        now: a bar that ends later is provisional.
        on_reject: gets each aggregate that breaks the contract.

    Raises:
        SettingError: the key is refused, or the plan does not include this.
        UsageError: the ticker is not known.
        TryLaterError: limits, outages.
        IntegrityError: adjusted bars came, or pages without end.
    """
    count, span = _SPANS[interval]
    address = f"/v2/aggs/ticker/{instrument.symbol}/range/{count}/{span}/{first.isoformat()}/{last.isoformat()}"
    parameters: Parameters = {"adjusted": "false", "sort": "asc", "limit": PAGE}
    for page in _pages(api, address, parameters, _Page):
        if page.adjusted:
            raise IntegrityError(
                f"{SOURCE}: adjusted bars of {instrument.symbol} came although raw ones were asked for: not taken"
            )
        for one in page.results or ():
            bar = _bar(one, instrument, asset_class, interval, now)
            try:
                validate_bar(bar)
            except BadRecordError as error:
                on_reject(error)
            else:
                yield bar


def corporate_actions(
    api: JsonApi, instrument: Instrument, first: dt.date, last: dt.date, closes: Mapping[dt.date, Decimal]
) -> tuple[list[CorporateAction], int]:
    """Return splits and dividends of an instrument, and how many dividends had no close before their ex-date.

    Args:
        api: of this provider.
        instrument: whose actions.
        first: first ex-date.
        last: last ex-date.
        closes: raw closes by session; a dividend's factor is 1 - d / (close before its ex-date).

    Raises:
        SettingError: the key is refused, or the plan does not include this.
        TryLaterError: limits, outages.
    """
    found, skipped = [], 0
    range_of: Parameters = {"ticker": instrument.symbol, "limit": ACTIONS_PAGE}

    def action(kind: ActionKind, day: dt.date, factor: Decimal) -> CorporateAction:
        as_of = daily_bar_time(day, instrument.exchange)
        return CorporateAction(
            symbol=instrument.symbol,
            exchange=instrument.exchange,
            kind=kind,
            ex_date=day,
            factor=factor.quantize(_EXACT),
            source=SOURCE,
            event_time=as_of,
            as_of=as_of,
        )

    dates = {"execution_date.gte": first.isoformat(), "execution_date.lte": last.isoformat()}
    for splits in _pages(api, "/v3/reference/splits", {**range_of, **dates}, _Splits):
        for split in splits.results or ():
            found.append(action(ActionKind.SPLIT, split.execution_date, split.split_from / split.split_to))
    dates = {"ex_dividend_date.gte": first.isoformat(), "ex_dividend_date.lte": last.isoformat()}
    paid: dict[dt.date, Decimal] = {}
    for dividends in _pages(api, "/v3/reference/dividends", {**range_of, **dates}, _Dividends):
        for dividend in dividends.results or ():
            # a regular and a special one may share their day
            day = dividend.ex_dividend_date
            paid[day] = paid.get(day, Decimal(0)) + dividend.cash_amount
    days = sorted(closes)
    for day, amount in sorted(paid.items()):
        before = [one for one in days if one < day]
        if not before or amount >= closes[before[-1]]:
            skipped += 1
            continue
        found.append(action(ActionKind.DIVIDEND, day, 1 - amount / closes[before[-1]]))
    return sorted(found, key=lambda one: (one.ex_date, one.kind)), skipped


def _pages(api: JsonApi, address: str, parameters: Parameters, shape: type[Shape]) -> Iterator[Shape]:
    seen: set[str] = set()
    for _ in range(MOST_PAGES):
        body = api.get(address, parameters, _judge)
        try:
            page = msgspec.json.decode(body, type=shape)
        except msgspec.ValidationError as error:
            raise IntegrityError(f"{SOURCE}: the shape of an answer is not known: {error}") from None
        yield page
        if not page.next_url:
            return
        if page.next_url in seen:
            break
        seen.add(page.next_url)
        address, parameters = page.next_url, {}
    raise IntegrityError(f"{SOURCE}: pages without end, the last address came before")


def _judge(status: int, body: Any) -> None:
    """Raise what an answer says in its body, whatever its status."""
    if not isinstance(body, dict):
        raise TransientError(f"{SOURCE} sent JSON that is no object")
    said = str(body.get("error") or body.get("message") or "")
    if any(words in said.lower() for words in _LIMIT_WORDS):
        # the limit is one of a minute
        raise TransientError(f"{SOURCE}: too many calls: {said}", after_s=LIMIT_WAIT_S)
    if body.get("status") == _DENIED:
        raise SettingError(f"{SOURCE}: the plan does not include this: {said}")
    if status == 200 and body.get("status") == "ERROR":
        raise UsageError(f"{SOURCE} refuses the request: {said}")


def _bar(one: _Aggregate, instrument: Instrument, asset_class: AssetClass, interval: Interval, now: dt.datetime) -> Bar:
    start = dt.datetime.fromtimestamp(one.t / 1000, UTC)
    if interval is Interval.D1:
        start = daily_bar_time(session_date(start, instrument.exchange), instrument.exchange)
    end = start + dt.timedelta(seconds=interval.seconds)
    has_volume = asset_class not in (AssetClass.INDEX, AssetClass.FX)
    return Bar(
        symbol=instrument.symbol,
        exchange=instrument.exchange,
        asset_class=asset_class,
        interval=interval,
        bar_time=start,
        open=one.o,
        high=one.h,
        low=one.l,
        close=one.c,
        volume=one.v if has_volume else None,
        vwap=one.vw if has_volume else None,
        trades=one.n,
        source=SOURCE,
        status=Status.SETTLED if end <= now else Status.PROVISIONAL,
        event_time=now,
        # the end of the bar and not the time of the call: what is fetched again unchanged is the same version
        as_of=min(end, now),
    )
