"""Columns of the collections of documents and where they come from, as Dagster shows them.

Belongs here: what each field of a document is and what it is made of: no schema says so, because a collection has none.
Stays out: how documents are made (``flows``) and stored (``stores``); a test holds the names to those that are stored.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import dagster as dg

from streamlake_assets.defs.columns import BARS, BUCKETS, INSTRUMENTS, RAW_ACTIONS, SESSION_BARS, lineage, schema

Field = tuple[str, str, Sequence[tuple[dg.AssetKey, str]]]
"""Type, meaning, and the columns its value is made of; a type that ends in ``?`` may be null."""


def _of(key: dg.AssetKey, *names: str) -> list[tuple[dg.AssetKey, str]]:
    return [(key, name) for name in names]


_SESSION: Final[Mapping[str, Field]] = {
    "_id": ("string", "Symbol, exchange and session.", _of(BARS, "instrument_id", "session_date")),
    "symbol": ("string", "Ticker symbol.", _of(BARS, "instrument_id")),
    "exchange": ("string", "ISO 10383 code of the market.", _of(BARS, "instrument_id")),
    "session": ("string", "The exchange's date, ISO 8601.", _of(BARS, "session_date")),
    "bar_time": ("date", "Bar time of the session's daily bar, UTC.", _of(BARS, "session_date")),
    "interval": ("string", "Length of the bars it was summed from.", _of(BARS, "interval_id")),
    "bars": ("int", "Number of bars it was summed from.", _of(BARS, "bar_time")),
    "open": ("decimal", "Open of the first bar.", _of(BARS, "open")),
    "high": ("decimal", "Highest price.", _of(BARS, "high")),
    "low": ("decimal", "Lowest price.", _of(BARS, "low")),
    "close": ("decimal", "Close of the last bar.", _of(BARS, "close")),
    "volume": ("decimal?", "Units traded; null where no bar has a volume.", _of(BARS, "volume")),
    "vwap": (
        "decimal?",
        "Volume-weighted price; null where there is one bar, or one without a volume.",
        _of(BARS, "vwap", "high", "low", "close", "volume"),
    ),
    "realised_volatility": (
        "double?",
        "Root of the sum of squared log returns of the bars; null where there is one bar.",
        _of(BARS, "open", "close"),
    ),
    "gaps": ("int", "Bars missing between the first and the last.", _of(BARS, "bar_time", "interval_id")),
    "synthetic": ("bool", "Whether a bar of it was made instead of traded.", _of(BARS, "synthetic")),
    "complete": (
        "bool",
        "Whether no more bars of the session are expected.",
        _of(BARS, "interval_id", "session_date"),
    ),
    "watermark": ("object", "Highest offset among its bars, by topic and partition.", _of(BARS, "kafka_offset")),
}
_BUCKET: Final[Mapping[str, Field]] = {
    "_id": ("string", "Symbol, exchange and year.", _of(SESSION_BARS, "symbol", "exchange", "session")),
    "symbol": ("string", "Ticker symbol.", _of(SESSION_BARS, "symbol")),
    "exchange": ("string", "ISO 10383 code of the market.", _of(SESSION_BARS, "exchange")),
    "asset_class": ("string", "What it is.", ()),
    "year": ("int", "Calendar year of the sessions.", _of(SESSION_BARS, "session")),
    "count": ("int", "Number of complete sessions.", _of(SESSION_BARS, "session", "complete")),
    "sessions": ("int64[]", "Days since 1970-01-01, rising.", _of(SESSION_BARS, "session")),
    **{
        name: ("float64[]", f"Raw {name} of each session.", _of(SESSION_BARS, name))
        for name in ("open", "high", "low", "close", "volume")
    },
    "factor": (
        "float64[]",
        "Product of the corporate-action factors since the session before; 1 without any.",
        [*_of(RAW_ACTIONS, "factor", "ex_date"), *_of(SESSION_BARS, "session")],
    ),
}
_RETURNS: Final = _of(BUCKETS, "close", "factor")
_DATED: Final = _of(BUCKETS, "sessions")
_PERIOD: Final[Mapping[str, Field]] = {
    "_id": ("string", "Grouping, kind of period, period and part.", _DATED),
    "parts": ("int", "How many documents hold the period.", ()),
    "lines": ("object[]", "One for each subject:", ()),
    "lines.subject": (
        "string",
        "Instrument, sector or class; or all instruments.",
        [*_of(BUCKETS, "symbol", "exchange", "asset_class"), *_of(INSTRUMENTS, "sector_id")],
    ),
    "lines.members": ("int", "How many instruments that is.", _of(BUCKETS, "symbol", "exchange")),
    "lines.sessions_there": (
        "int",
        "Due sessions that have a bar.",
        [*_DATED, *_of(BUCKETS, "exchange", "asset_class")],
    ),
    "lines.sessions_due": ("int", "Sessions of the calendars.", [*_DATED, *_of(BUCKETS, "exchange", "asset_class")]),
    "lines.first_session": ("string?", "First session, ISO 8601.", _DATED),
    "lines.last_session": ("string?", "Last session, ISO 8601.", _DATED),
    "lines.sessions": ("int", "Sessions with a bar.", _DATED),
    "lines.expected": ("int?", "Sessions of the calendars, where they were asked.", ()),
    "lines.period_return": ("double?", "Adjusted simple return of the equally weighted members.", _RETURNS),
    "lines.annualised_volatility": ("double?", "Of the session returns.", [*_RETURNS, *_of(BUCKETS, "asset_class")]),
    "lines.max_drawdown": ("double?", "Deepest fall from a peak.", _RETURNS),
    "lines.dollar_volume": ("double?", "Sum of close times volume.", _of(BUCKETS, "close", "volume")),
    "lines.vwap": (
        "double?",
        "Volume-weighted price, of one instrument.",
        _of(BUCKETS, "high", "low", "close", "volume"),
    ),
    "lines.beta": ("double?", "Against the index of all instruments.", [*_RETURNS, *_DATED]),
    "lines.correlation": ("double?", "With the index of all instruments.", [*_RETURNS, *_DATED]),
    "lines.best": ("array?", "Session of the highest return, and the return.", [*_RETURNS, *_DATED]),
    "lines.worst": ("array?", "Session of the lowest return, and the return.", [*_RETURNS, *_DATED]),
}


def session_documents() -> dict[str, Any]:
    """Return schema and lineage of the session documents."""
    return _shown(_SESSION)


def feature_buckets() -> dict[str, Any]:
    """Return schema and lineage of the feature buckets."""
    return _shown(_BUCKET)


def periods() -> dict[str, Any]:
    """Return schema and lineage of the key indicators by period."""
    return _shown(_PERIOD)


def _shown(fields: Mapping[str, Field]) -> dict[str, Any]:
    columns = [
        dg.TableColumn(
            name,
            kind.rstrip("?"),
            description=meaning,
            constraints=dg.TableColumnConstraints(nullable=kind.endswith("?"), unique=name == "_id"),
        )
        for name, (kind, meaning, _) in fields.items()
    ]
    return {**schema(columns), **lineage({name: inputs for name, (_, _, inputs) in fields.items()})}
