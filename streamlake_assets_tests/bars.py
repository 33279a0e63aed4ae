"""Builders of bars, corporate actions, messages and slices for tests; every default can be overridden by name."""

import datetime as dt
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from streamlake_assets.market.contract import ACTIONS_TOPIC, BARS_TOPIC, encode_action, encode_bar
from streamlake_assets.market.messages import Arrival, Message, Slice, StreamIdentity
from streamlake_assets.market.sessions import UTC, daily_bar_time
from streamlake_assets.market.types import ActionKind, AssetClass, Bar, CorporateAction, Interval, Status

NOW = dt.datetime(2024, 1, 2, 12, tzinfo=UTC)
SESSION = dt.date(2013, 1, 14)
OPENS = dt.datetime(2013, 1, 14, 14, 30, tzinfo=UTC)
BARS_STREAM = StreamIdentity("cluster", "topic-bars", BARS_TOPIC)
ACTIONS_STREAM = StreamIdentity("cluster", "topic-actions", ACTIONS_TOPIC)

PRICE = ("open", "high", "low", "close")


def bar(session: dt.date = SESSION, **changes: Any) -> Bar:
    """A settled daily bar of AAPL; ``price`` sets all four prices, other names set fields."""
    exchange = changes.get("exchange", "XNYS")
    moment = daily_bar_time(session, exchange)
    values: dict[str, Any] = {
        "symbol": "AAPL",
        "exchange": exchange,
        "asset_class": AssetClass.STOCK,
        "interval": Interval.D1,
        "bar_time": moment,
        "open": Decimal("10"),
        "high": Decimal("12"),
        "low": Decimal("9"),
        "close": Decimal("11"),
        "volume": Decimal("1000"),
        "source": "made",
        "event_time": NOW,
        "as_of": moment,
    }
    if "price" in changes:
        values |= dict.fromkeys(PRICE, Decimal(changes.pop("price")))
    values |= {
        name: Decimal(text) if isinstance(text, str) else text for name, text in changes.items() if name in PRICE
    }
    values |= {name: value for name, value in changes.items() if name not in PRICE}
    return Bar(**values)


def minutes(count: int, session: dt.date = SESSION, **changes: Any) -> list[Bar]:
    """Five-minute bars from the opening of a session, each a cent above the last."""
    start = dt.datetime.combine(session, OPENS.timetz())
    return [
        bar(session, interval=Interval.M5, bar_time=at, as_of=at, price=Decimal("10") + Decimal(n) / 100, **changes)
        for n in range(count)
        for at in [start + dt.timedelta(minutes=5 * n)]
    ]


def action(**changes: Any) -> CorporateAction:
    """A 2-for-1 split of AAPL."""
    moment = daily_bar_time(SESSION, "XNYS")
    values: dict[str, Any] = {
        "symbol": "AAPL",
        "exchange": "XNYS",
        "kind": ActionKind.SPLIT,
        "ex_date": SESSION,
        "factor": Decimal("0.5"),
        "source": "made",
        "event_time": NOW,
        "as_of": moment,
    }
    return CorporateAction(**{**values, **changes})


def arrivals(facts: Iterable[Bar | CorporateAction], first: int = 0, time: dt.datetime = NOW) -> list[Arrival]:
    """Decoded messages at consecutive offsets."""
    return [Arrival(first + n, time, fact) for n, fact in enumerate(facts)]


def slice_of(
    facts: Sequence[Bar | CorporateAction],
    first: int = 0,
    partition: int = 0,
    stream: StreamIdentity = BARS_STREAM,
    time: dt.datetime = NOW,
) -> Slice:
    """A slice of one partition without dead letters."""
    return Slice(stream, partition, first, first + len(facts), arrivals(facts, first, time), [])


def wire(fact: Bar | CorporateAction) -> bytes:
    """The message of a fact, with the event time it has."""
    return encode_bar(fact, fact.event_time) if isinstance(fact, Bar) else encode_action(fact, fact.event_time)


def message(value: bytes | None, offset: int = 0, key: bytes | None = b"AAPL", partition: int = 0) -> Message:
    """A message of the bars' topic."""
    return Message(BARS_TOPIC, partition, offset, key, value, NOW)


@st.composite
def decimals(draw: st.DrawFn, digits: int = 15, whole: int = 10, least: int = 1) -> Decimal:
    """A number of at most 15 significant digits and 10 decimals, ``least`` units of its last place or more."""
    places = draw(st.integers(0, 10))
    room = min(digits, places + whole)
    return Decimal(draw(st.integers(least, 10**room - 1))).scaleb(-places)


@st.composite
def valid_bars(draw: st.DrawFn) -> Bar:
    """Any bar that the contract accepts."""
    kind = draw(st.sampled_from(AssetClass))
    signs = st.sampled_from([1, -1] if kind is AssetClass.COMMODITY else [1])
    prices = sorted(draw(decimals()) * draw(signs) for _ in range(4))
    first, last = draw(st.permutations(prices[1:3]))
    interval = draw(st.sampled_from(Interval))
    exchange = draw(st.sampled_from(["XXXX", "XNYS", "XTKS", "XLON", "ZZ99"]))
    times = st.datetimes(dt.datetime(1900, 1, 2), dt.datetime(2199, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
    moment = draw(times)
    labels = st.none() | st.text(st.characters(codec="utf-8"), min_size=1, max_size=128)
    has_volume = kind not in (AssetClass.INDEX, AssetClass.FX)
    return Bar(
        symbol=draw(st.from_regex(r"[A-Z0-9][A-Z0-9.\-]{0,15}", fullmatch=True)),
        exchange=exchange,
        asset_class=kind,
        interval=interval,
        bar_time=daily_bar_time(moment.date(), exchange) if interval is Interval.D1 else moment,
        open=first,
        high=prices[3],
        low=prices[0],
        close=last,
        volume=draw(st.none() | decimals(whole=15, least=0)) if has_volume else None,
        vwap=draw(st.none() | decimals(least=0)),
        trades=draw(st.none() | st.integers(0, 2**63 - 1)),
        source=draw(st.from_regex(r"[a-z0-9][a-z0-9_.\-]{0,63}", fullmatch=True)),
        synthetic=draw(st.booleans()),
        status=draw(st.sampled_from(Status)),
        event_time=draw(times),
        as_of=draw(times),
        currency=draw(st.none() | st.from_regex(r"[A-Z]{3,8}", fullmatch=True)),
        sector=draw(labels),
        name=draw(labels),
    )
