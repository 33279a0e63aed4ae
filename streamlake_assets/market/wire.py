"""The shape of a message: the one set of types that decoding uses and the JSON Schema is generated from.

Belongs here: fields, types, patterns, bounds that a schema can say. Stays out: rules between fields, exact numbers and
reason codes (``contract``).
"""

import datetime as dt
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from streamlake_assets.market.types import ActionKind, AssetClass, Interval, Status

MAX_LEAD: Final = dt.timedelta(seconds=60)
"""How far ``event_time`` may lie after the broker's time (never the wall clock: a rebuild must judge alike)."""
EARLIEST: Final = dt.datetime(1900, 1, 1, tzinfo=dt.UTC)
LATEST: Final = dt.datetime(2200, 1, 1, tzinfo=dt.UTC)
"""Bounds of every time; the latest is the first moment that is not allowed."""
LATEST_MS: Final = 7_258_118_399_999
"""Last millisecond of 2199."""
# \Z and not $: in this engine $ would let a trailing newline through. ASCII only: look-alike letters are refused.
SYMBOL_PATTERN: Final = r"^[A-Z0-9][A-Z0-9.\-]{0,15}\Z"
MIC_PATTERN: Final = r"^[A-Z0-9]{4}\Z"
SOURCE_PATTERN: Final = r"^[a-z0-9][a-z0-9_.\-]{0,63}\Z"
CURRENCY_PATTERN: Final = r"^[A-Z]{3,8}\Z"
Symbol = Annotated[str, Meta(pattern=SYMBOL_PATTERN, description="Ticker symbol, ASCII capitals")]
Mic = Annotated[str, Meta(pattern=MIC_PATTERN, description="ISO 10383 market identifier code")]
Source = Annotated[str, Meta(pattern=SOURCE_PATTERN, description="Provider or data set")]
Currency = Annotated[str, Meta(pattern=CURRENCY_PATTERN, description="ISO 4217 code, or a coin's ticker")]
Time = Annotated[dt.datetime, Meta(tz=True, description="RFC 3339, UTC")]
Label = Annotated[str, Meta(min_length=1, max_length=128)]


class WireBar(msgspec.Struct, kw_only=True, frozen=True):
    """A bar on the wire, version 1. Shape only: the exact numbers are read a second time as decimals."""

    v: Annotated[int, Meta(ge=1, le=1)]
    symbol: Symbol
    exchange: Mic = "XXXX"
    asset_class: AssetClass
    interval: Interval
    bar_time: Time
    open: float
    high: float
    low: float
    close: float
    volume: Annotated[float, Meta(ge=0)] | UnsetType = UNSET
    vwap: Annotated[float, Meta(ge=0)] | UnsetType = UNSET
    trades: Annotated[int, Meta(ge=0, le=2**63 - 1)] | UnsetType = UNSET
    source: Source
    synthetic: bool = False
    status: Status
    event_time: Time
    as_of: Time | UnsetType = UNSET
    currency: Currency | UnsetType = UNSET
    sector: Label | UnsetType = UNSET
    name: Label | UnsetType = UNSET


class WireAction(msgspec.Struct, kw_only=True, frozen=True):
    """A corporate action on the wire, version 1."""

    v: Annotated[int, Meta(ge=1, le=1)]
    symbol: Symbol
    exchange: Mic = "XXXX"
    kind: ActionKind
    ex_date: dt.date
    factor: Annotated[float, Meta(gt=0)]
    source: Source
    event_time: Time
    as_of: Time | UnsetType = UNSET


class WireBarV0(msgspec.Struct, kw_only=True, frozen=True):
    """A bar on the wire, version 0: a settled daily stock bar without an exchange."""

    ticker: Symbol
    timestamp: Annotated[int, Meta(ge=0, le=LATEST_MS, description="Epoch milliseconds of the session")]
    volume: Annotated[float, Meta(ge=0)]
    close: float
    open: float
    high: float
    low: float


def json_schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON Schema of each message by file name; the files in ``market/schemas`` are made from this."""
    made = {"bar.v1": WireBar, "bar.v0": WireBarV0, "corporate_action.v1": WireAction}
    schemas = {}
    for name, wire in made.items():
        schema = msgspec.json.schema(wire)
        # \Z is the end of the text here; JSON Schema writes it $, which Python takes before a last newline too
        text = msgspec.json.encode(schema).replace(rb"\\Z", rb"$(?!\\n)")
        schemas[f"{name}.json"] = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **msgspec.json.decode(text),
        }
    return schemas
