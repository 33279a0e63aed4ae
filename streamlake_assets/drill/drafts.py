"""Valid messages of both topics as the JSON texts of their fields, so that one of them can be made wrong.

Belongs here: seeded messages that keep every rule of the contract, in many forms. Stays out: what is wrong with a
message (``hostile``), and the encoder: these texts are an opinion of their own about the contract.
"""

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

from streamlake_assets.market.contract import ACTIONS_TOPIC, BARS_TOPIC
from streamlake_assets.market.sessions import UTC, daily_bar_time

PRICES: Final = ("open", "high", "low", "close")
NO_VOLUME: Final = ("index", "fx")
CLASSES: Final = ("stock", "crypto", "commodity", "index", "fx")
INTRADAY: Final = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "60m": 60}
EXCHANGES: Final = ("XXXX", "XNYS", "XTKS", "XLON", "XASX", "ZZ99")
SYMBOLS: Final = 200
"""Draft symbols are H0 to H199, so that a table tells at a glance whether a hostile message got in."""


@dataclass(frozen=True)
class Draft:
    """One message: its topic, its key, and each field as JSON text."""

    topic: str
    key: bytes
    fields: Mapping[str, str]

    def but(self, changes: Mapping[str, str]) -> "Draft":
        """Return the message with other or more fields."""
        return Draft(self.topic, self.key, {**self.fields, **changes})

    def without(self, name: str) -> "Draft":
        """Return the message without a field."""
        return Draft(self.topic, self.key, {field: text for field, text in self.fields.items() if field != name})

    def text(self) -> str:
        """Return the message as JSON that ends with its closing brace."""
        return "{" + ",".join([f'"{name}":{text}' for name, text in self.fields.items()]) + "}"

    def value(self) -> bytes:
        """Return the message as it goes on the wire."""
        return self.text().encode()


def bar_draft(rng: Random, now: dt.datetime, **fixed: str) -> Draft:
    """Return a valid bar of version 1; ``fixed`` sets fields by their plain value before others are derived."""
    kind = fixed.get("asset_class") or rng.choice(CLASSES)
    exchange = fixed.get("exchange") or rng.choice(EXCHANGES)
    interval = fixed.get("interval") or rng.choice([*INTRADAY, "1d"])
    symbol = fixed.get("symbol") or f"H{rng.randrange(SYMBOLS)}"
    day = now.date() - dt.timedelta(days=rng.randint(5, 9000))
    start = dt.datetime.combine(day, dt.time(), UTC)
    step = INTRADAY.get(interval, 60)
    moment = daily_bar_time(day, exchange) if interval == "1d" else start + dt.timedelta(minutes=14 * 60 + step)
    fields = {
        "v": "1",
        "symbol": json.dumps(symbol),
        "exchange": json.dumps(exchange),
        "asset_class": json.dumps(kind),
        "interval": json.dumps(interval),
        "bar_time": json.dumps(fixed.get("bar_time") or stamp(moment)),
        **price_texts(rng),
        "source": json.dumps(rng.choice(["made", "drill.v1", "a_b-c.9"])),
        "synthetic": rng.choice(["true", "false"]),
        "status": json.dumps(rng.choice(["settled", "provisional"])),
        "event_time": json.dumps(
            stamp(now - dt.timedelta(seconds=rng.randint(0, 86_400), microseconds=rng.randint(0, 9)))
        ),
    }
    if kind not in NO_VOLUME and rng.random() < 0.8:
        fields["volume"] = rng.choice([str(rng.randrange(10**9)), f"{rng.randrange(10**9)}.{rng.randrange(1, 10**6)}"])
    if rng.random() < 0.3:
        fields |= {"currency": '"USD"', "sector": '"Technology"', "name": json.dumps("Ünïcode 苹果 Ltd.")}
    if rng.random() < 0.3:
        fields |= {"vwap": fields["close"], "trades": str(rng.randrange(10**6)), "as_of": json.dumps(stamp(moment))}
    return Draft(BARS_TOPIC, symbol.encode(), _shuffled(rng, fields))


def flat_draft(rng: Random, now: dt.datetime) -> Draft:
    """Return a valid bar of version 0."""
    symbol = f"H{rng.randrange(SYMBOLS)}"
    day = now - dt.timedelta(days=rng.randint(5, 9000))
    fields = {"ticker": json.dumps(symbol), "timestamp": str(int(day.timestamp() * 1000)), **price_texts(rng)}
    fields["volume"] = str(rng.randrange(10**9))
    if rng.random() < 0.5:
        fields["v"] = "0"
    return Draft(BARS_TOPIC, symbol.encode(), _shuffled(rng, fields))


def action_draft(rng: Random, now: dt.datetime) -> Draft:
    """Return a valid corporate action."""
    symbol = f"H{rng.randrange(SYMBOLS)}"
    day = now.date() - dt.timedelta(days=rng.randint(5, 9000))
    fields = {
        "v": "1",
        "symbol": json.dumps(symbol),
        "exchange": json.dumps(rng.choice(EXCHANGES)),
        "kind": json.dumps(rng.choice(["split", "dividend"])),
        "ex_date": json.dumps(day.isoformat()),
        "factor": rng.choice(["0.5", "0.98", "2", "1e-1", f"0.{rng.randrange(10**8, 10**9)}"]),
        "source": '"made"',
        "event_time": json.dumps(stamp(now - dt.timedelta(seconds=rng.randint(0, 86_400)))),
    }
    if rng.random() < 0.3:
        fields["as_of"] = json.dumps(stamp(dt.datetime.combine(day, dt.time(), UTC)))
    return Draft(ACTIONS_TOPIC, symbol.encode(), _shuffled(rng, fields))


def price_texts(rng: Random) -> dict[str, str]:
    """Return four prices in order, with two units of room above and below the first and last one."""
    middle = rng.randint(1_000, 9_000_000)
    cents = {
        "open": middle + rng.randint(-99, 99),
        "high": middle + rng.randint(300, 900),
        "low": middle - rng.randint(300, 900),
        "close": middle + rng.randint(-99, 99),
    }
    return {name: f"{value // 100}.{value % 100:02d}" for name, value in cents.items()}


def stamp(moment: dt.datetime) -> str:
    """Return a UTC time as RFC 3339 with Z."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _shuffled(rng: Random, fields: dict[str, str]) -> dict[str, str]:
    names = list(fields)
    rng.shuffle(names)
    return {name: fields[name] for name in names}
