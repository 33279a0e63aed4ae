"""What a drill sends: messages with numbers in them, and the list of what must come of each.

Belongs here: building messages, the manifest. Stays out: putting them on a topic (``sender``), comparing the manifest
with the tables (``checker``).
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from streamlake_assets.market.contract import ACTIONS_TOPIC, BARS_TOPIC, encode_action, encode_bar
from streamlake_assets.market.sessions import UTC
from streamlake_assets.market.types import ActionKind, AssetClass, Bar, CorporateAction, Interval

FactKey = tuple[str, ...]
"""What makes a fact that fact, as texts: symbol, exchange, then interval and time, or ex-date and kind."""
BadMessage = tuple[bytes | None, bytes | None]
"""Key and value of a message that breaks the contract."""

OPENS = dt.datetime(2013, 1, 14, 14, 30, tzinfo=UTC)
FIRST_EX_DATE = dt.date(1950, 1, 2)
SYMBOLS = tuple(f"S{number}" for number in range(20))
SOURCE = "drill"


class Sending(NamedTuple):
    """One message to send; ``good`` is the key of the fact it brings, None when it must become a dead letter."""

    topic: str
    key: bytes | None
    value: bytes | None
    good: FactKey | None


class Manifest:
    """Everything that was sent: which facts must be stored, which messages must be dead letters."""

    def __init__(self) -> None:
        self.sent = 0
        self.good: set[FactKey] = set()
        self.bad: Counter[BadMessage] = Counter()

    def add(self, sendings: Iterable[Sending]) -> None:
        """Note messages before they are sent."""
        for sending in sendings:
            self.sent += 1
            if sending.good is None:
                self.bad[sending.key, sending.value] += 1
            else:
                self.good.add(sending.good)


def numbered_bars(count: int, first: int = 0) -> list[Bar]:
    """Return distinct one-minute bars of twenty symbols in order of time; the volume is the number."""
    return [numbered_bar(number) for number in range(first, first + count)]


def numbered_bar(number: int) -> Bar:
    """Return the bar of a number."""
    at = OPENS + dt.timedelta(minutes=number // len(SYMBOLS))
    cents = Decimal(number % 100) / 100
    return Bar(
        symbol=SYMBOLS[number % len(SYMBOLS)],
        exchange="XNYS",
        asset_class=AssetClass.STOCK,
        interval=Interval.M1,
        bar_time=at,
        open=10 + cents,
        high=12 + cents,
        low=9 + cents,
        close=11 + cents,
        volume=Decimal(number),
        source=SOURCE,
        event_time=at,
        as_of=at,
    )


def numbered_action(number: int) -> CorporateAction:
    """Return the split of a number: of twenty symbols in turn, each on its next day."""
    ex_date = FIRST_EX_DATE + dt.timedelta(days=number // len(SYMBOLS))
    stated = dt.datetime.combine(ex_date, OPENS.timetz())
    return CorporateAction(
        symbol=SYMBOLS[number % len(SYMBOLS)],
        exchange="XNYS",
        kind=ActionKind.SPLIT,
        ex_date=ex_date,
        factor=Decimal("0.5"),
        source=SOURCE,
        event_time=stated,
        as_of=stated,
    )


def numbered_messages(count: int, first: int = 0) -> list[Sending]:
    """Return bars and actions: something for every partition of both topics."""
    return [numbered_message(number) for number in range(first, first + count)]


def numbered_message(number: int) -> Sending:
    """Return a bar or, for every fourth number, an action."""
    return sending(numbered_bar(number) if number % 4 else numbered_action(number // 4))


def sending(fact: Bar | CorporateAction) -> Sending:
    """Return the message of a fact, with the event time it has."""
    if isinstance(fact, Bar):
        return Sending(BARS_TOPIC, fact.symbol.encode(), encode_bar(fact, fact.event_time), fact_key(fact))
    return Sending(ACTIONS_TOPIC, fact.symbol.encode(), encode_action(fact, fact.event_time), fact_key(fact))


def bad_sending(key: bytes | None, value: bytes | None, topic: str = BARS_TOPIC) -> Sending:
    """Return a message that the contract refuses."""
    return Sending(topic, key, value, None)


def fact_key(fact: Bar | CorporateAction) -> FactKey:
    """Return what makes a fact that fact, as the checker reads it back from the tables."""
    if isinstance(fact, Bar):
        return bar_key(fact.symbol, fact.exchange, fact.interval.value, fact.bar_time)
    return action_key(fact.symbol, fact.exchange, fact.ex_date, fact.kind.value)


def bar_key(symbol: str, exchange: str, interval: str, bar_time: dt.datetime) -> FactKey:
    """Return the key of a bar; the time is in UTC, aware or not."""
    return (symbol, exchange, interval, bar_time.replace(tzinfo=None).isoformat())


def action_key(symbol: str, exchange: str, ex_date: dt.date, kind: str) -> FactKey:
    """Return the key of a corporate action."""
    return (symbol, exchange, ex_date.isoformat(), kind)
