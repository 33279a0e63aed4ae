"""How the columns of a table of bars are to be read.

Belongs here: ``ColumnMapping`` and its checks. Stays out: guessing one (``guess``), opening files (``raw_rows``),
reading cells (``cells``), making bars (``tables``).
"""

import codecs
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from streamlake_assets.errors import UsageError
from streamlake_assets.market.sessions import exchange_zone
from streamlake_assets.market.types import AssetClass, Interval
from streamlake_assets.market.wire import SYMBOL_PATTERN, Currency, Label, Mic, Source

COLUMN_FIELDS: Final = {
    "time": "time",
    "clock": "clock",
    "open": "open",
    "high": "high",
    "low": "low",
    "close": "close",
    "volume": "volume",
    "adjusted_close": "adjusted_close",
    "symbol": "symbol_column",
    "name": "name_column",
    "sector": "sector_column",
    "currency": "currency_column",
}
"""What a column can be, as the command line calls it, and the field of ``ColumnMapping`` that names the column."""
REQUIRED: Final = ("time", "open", "high", "low", "close")
CLASSES_WITHOUT_VOLUME: Final = (AssetClass.INDEX, AssetClass.FX)


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnMapping:
    """Where each fact of a bar stands in a table, and what the table does not say.

    ``time`` to ``adjusted_close`` and ``*_column`` are column names; ``clock`` is the time of day where date and time
    stand apart. Exactly one of ``symbol_column`` and ``symbol`` is given; ``name``, ``sector`` and ``currency`` may be
    a column or a constant. ``zone`` is that of times without an offset; empty: the zone of the exchange.
    ``date_format`` is a ``strptime`` format; empty: ISO 8601, or epoch seconds (10 digits) or milliseconds (13).
    ``decimals`` rounds prices, for files whose numbers are floats with noise; None takes them exactly as written.
    ``delimiter`` empty: the one the header line uses.

    Raises:
        UsageError: a value cannot be used; the message says which and why.
    """

    time: str
    open: str
    high: str
    low: str
    close: str
    clock: str | None = None
    volume: str | None = None
    adjusted_close: str | None = None
    symbol_column: str | None = None
    symbol: str | None = None
    name_column: str | None = None
    name: str | None = None
    sector_column: str | None = None
    sector: str | None = None
    currency_column: str | None = None
    currency: str | None = None
    exchange: str = "XXXX"
    interval: Interval = Interval.D1
    asset_class: AssetClass = AssetClass.STOCK
    source: str = "file"
    synthetic: bool = False
    zone: str = ""
    date_format: str = ""
    decimals: int | None = None
    delimiter: str = ""
    encoding: str = "utf-8-sig"

    def __post_init__(self) -> None:
        if (self.symbol is None) == (self.symbol_column is None):
            raise UsageError(
                "a table needs either a symbol column (--column symbol=NAME) or one symbol for all rows (--symbol AAPL)"
                f", not {'both' if self.symbol is not None else 'neither'}"
            )
        if self.symbol is not None and not re.match(SYMBOL_PATTERN, self.symbol):
            raise UsageError(f"symbol {self.symbol!r}: capitals, digits, dot and hyphen, at most 16 characters")
        if self.volume is not None and self.asset_class in CLASSES_WITHOUT_VOLUME:
            raise UsageError(f"bars of class {self.asset_class} have no volume: leave the volume column out")
        for field, kind in (
            ("exchange", Mic),
            ("source", Source),
            ("name", Label),
            ("sector", Label),
            ("currency", Currency),
        ):
            value = getattr(self, field)
            if value is not None:
                _checked(field, value, kind)
        if len(self.delimiter) > 1:
            raise UsageError(f"delimiter {self.delimiter!r} is not one character")
        try:
            codecs.lookup(self.encoding)
        except LookupError:
            raise UsageError(f"encoding {self.encoding!r} is not known: use a name such as utf-8 or cp1252") from None
        _ = self.time_zone

    @property
    def time_zone(self) -> ZoneInfo:
        """Zone of times without an offset.

        Raises:
            UsageError: there is no zone of that name.
        """
        if not self.zone:
            return exchange_zone(self.exchange)
        try:
            return ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise UsageError(f"zone {self.zone!r} is not known: use an IANA name such as America/New_York") from None

    @property
    def columns(self) -> dict[str, str]:
        """Mapped columns: what it is (a key of ``COLUMN_FIELDS``) -> name of the column."""
        named = {what: getattr(self, field) for what, field in COLUMN_FIELDS.items()}
        return {what: name for what, name in named.items() if name is not None}

    def positions(self, header: Sequence[str]) -> dict[str, int]:
        """Return the place of each mapped column in a table's header.

        Raises:
            UsageError: a mapped column is missing, or its name stands there twice.
        """
        places = {}
        for what, name in self.columns.items():
            count = list(header).count(name)
            if count == 0:
                raise UsageError(
                    f"no column {name!r} for {what}: {columns_found(header)}; map it with --column {what}=NAME"
                )
            if count > 1:
                raise UsageError(f"column {name!r} for {what} stands {count} times in the header: rename one")
            places[what] = list(header).index(name)
        return places


def column_overrides(options: Iterable[str]) -> dict[str, Any]:
    """Turn ``FIELD=NAME`` options of the command line into overrides for ``guess_mapping``.

    Raises:
        UsageError: an option is malformed or names an unknown field.
    """
    overrides: dict[str, Any] = {}
    for option in options:
        what, equals, name = option.partition("=")
        if not equals or not name or what not in COLUMN_FIELDS:
            raise UsageError(f"--column {option}: write FIELD=NAME with FIELD one of {', '.join(COLUMN_FIELDS)}")
        overrides[COLUMN_FIELDS[what]] = name
    return overrides


def _checked(field: str, value: object, kind: Any) -> None:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise UsageError(f"{field} {value!r}: {error}") from None


def columns_found(header: Sequence[str]) -> str:
    """Return the columns of a table in words, for messages."""
    return "the columns are " + (", ".join(header) or "none")
