"""The CSV layout that the NiFi flow ``market_replay`` reads: one bar a line, all that the contract lets a file say.

Belongs here: column names and writing. Stays out: reading other layouts (``tables``, ``mapping``), what is known of an
instrument beside its bars: the flow takes that from ``nifi/reference/instruments.csv``.
"""

import csv
import datetime as dt
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Final

from streamlake_assets.market.types import Bar

COLUMNS: Final = (
    *("symbol", "interval", "bar_time", "open", "high", "low", "close", "volume", "vwap", "trades"),
    *("status", "synthetic", "source", "as_of"),
)
"""In this order; times are RFC 3339 in UTC, an absent value is empty, prices are raw."""


def write_bar_lines(path: Path, bars: Iterable[Bar]) -> int:
    """Write bars as a file of this layout and return how many.

    The file appears under its name when it is complete: whoever watches the folder never reads half of it.
    """
    count = 0
    unfinished = path.with_name(f".{path.name}")
    with unfinished.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(COLUMNS)
        for bar in bars:
            lines.writerow([_text(getattr(bar, name)) for name in COLUMNS])
            count += 1
    unfinished.rename(path)
    return count


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dt.datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, Decimal):
        return format(value, "f")
    return str(value)
