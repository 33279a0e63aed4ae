"""The mapping of a table whose header uses the usual names.

Belongs here: the usual names, the guess and what makes it impossible. Stays out: what a mapping is (``mapping``).
"""

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from streamlake_assets.errors import BadRecordError, UsageError
from streamlake_assets.market.types import AssetClass, Interval
from streamlake_assets.sources.cells import read_moment
from streamlake_assets.sources.mapping import (
    CLASSES_WITHOUT_VOLUME,
    COLUMN_FIELDS,
    REQUIRED,
    ColumnMapping,
    columns_found,
)
from streamlake_assets.sources.raw_rows import RawRow, open_table

_USUAL: Final = {
    "time": {"date", "time", "timestamp", "datetime", "date time", "bar time", "day"},
    "open": {"open", "o", "open price"},
    "high": {"high", "h", "high price"},
    "low": {"low", "l", "low price"},
    "close": {"close", "c", "close price"},
    "volume": {"volume", "vol", "v"},
    "adjusted_close": {"adj close", "adjclose", "adjusted close", "adjustedclose"},
    "symbol": {"symbol", "ticker"},
    "name": {"name", "company", "company name"},
    "sector": {"sector"},
    "currency": {"currency"},
}
_DATES: Final = {"date", "day"}
_CLOCKS: Final = {"time"}


def guess_mapping(path: Path, overrides: Mapping[str, Any] | None = None) -> ColumnMapping:
    """Recognise the usual header names of a table, whatever their case, and add what the user says.

    A column "Date" beside a column "Time" is taken for a date with its time of day. Without an interval, bars whose
    first time has no time of day are daily.

    Args:
        path: the file.
        overrides: fields of ``ColumnMapping`` that the user gave; None values count as not given; ``interval`` and
            ``asset_class`` may be text.

    Raises:
        UsageError: a required column is missing or two columns could be it, the interval cannot be told, an override
            cannot be used, or the file cannot be read.
    """
    given = _typed({name: value for name, value in (overrides or {}).items() if value is not None})
    reading = {name: given[name] for name in ("delimiter", "encoding") if name in given}
    with open_table(path, **reading) as table:
        header = table.header
        first = next((row for row in table.rows if isinstance(row, RawRow)), None)
    chosen = {what: given[field] for what, field in COLUMN_FIELDS.items() if field in given and what != "symbol"}
    if "symbol_column" in given:
        chosen["symbol"] = given["symbol_column"]
    columns = _columns(header, chosen)
    if "symbol" in given and "symbol" in columns and "symbol_column" not in given:
        raise UsageError(
            f"{path} has a symbol column {columns['symbol']!r}, so one symbol for all rows would be wrong: leave it out"
        )
    if given.get("asset_class") in CLASSES_WITHOUT_VOLUME and "volume" not in chosen:
        # such files carry a column of zeros; the contract says these classes have no volume
        columns.pop("volume", None)
    if "interval" not in given:
        given["interval"] = _interval(path, header, columns, first, given.get("date_format", ""))
    named = {COLUMN_FIELDS[what]: name for what, name in columns.items()}
    for constant in ("name", "sector", "currency"):
        if constant in given and f"{constant}_column" not in given:
            named.pop(f"{constant}_column", None)
    mapping = ColumnMapping(**{**named, **given})
    mapping.positions(header)
    return mapping


def _typed(given: dict[str, Any]) -> dict[str, Any]:
    known = {field.name for field in fields(ColumnMapping)}
    for name in given:
        if name not in known:
            raise UsageError(f"a mapping has no {name!r}; it has {', '.join(sorted(known))}")
    for name, kind in (("interval", Interval), ("asset_class", AssetClass)):
        if name in given:
            try:
                given[name] = kind(given[name])
            except ValueError:
                raise UsageError(f"{name} {given[name]!r}: one of {', '.join(kind)}") from None
    return given


def _columns(header: Sequence[str], chosen: Mapping[str, str]) -> dict[str, str]:
    """Return what each recognised column is: a key of ``COLUMN_FIELDS`` -> column name."""
    free = [name for name in header if name not in chosen.values()]
    plain = {name: re.sub(r"[\s_.\-]+", " ", name).strip().casefold() for name in free}
    columns = dict(chosen)
    for what, usual in _USUAL.items():
        if what in chosen:
            continue
        found = [name for name in free if plain[name] in usual]
        if what == "time" and len(found) == 2 and "clock" not in chosen:
            dates = [name for name in found if plain[name] in _DATES]
            clocks = [name for name in found if plain[name] in _CLOCKS]
            if len(dates) == 1 and len(clocks) == 1:
                columns["time"], columns["clock"] = dates[0], clocks[0]
                continue
        if len(found) > 1:
            raise UsageError(
                f"columns {', '.join(map(repr, found))} could each be the {what}: choose with --column {what}=NAME"
            )
        if found:
            columns[what] = found[0]
    missing = [what for what in REQUIRED if what not in columns]
    if missing:
        raise UsageError(
            f"no column for {', '.join(missing)}: {columns_found(header)}; "
            f"map {'it' if len(missing) == 1 else 'each'} with --column {missing[0]}=NAME"
        )
    return columns


def _interval(
    path: Path, header: Sequence[str], columns: Mapping[str, str], first: RawRow | None, date_format: str
) -> Interval:
    advice = f"say the interval of the bars in {path}: --interval with one of {', '.join(Interval)}"
    if first is None:
        raise UsageError(f"{path} has no row to tell the interval by; {advice}")
    if "clock" not in columns and columns["time"] in header:
        try:
            moment = read_moment(first.cells[list(header).index(columns["time"])], None, date_format)
        except BadRecordError as error:
            raise UsageError(f"{path}, line {first.line}: {error.detail}; {advice}") from None
        if moment.time() == dt.time() and moment.tzinfo is None:
            return Interval.D1
    raise UsageError(advice)
