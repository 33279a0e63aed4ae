"""Any table of bars (CSV, gzipped CSV, Parquet) as a stream of bars and a stream of rejected rows.

Belongs here: a mapped row to a bar, duplicated keys. Stays out: the shape of files (``raw_rows``), single cells
(``cells``), the guess of a mapping (``guess``), the rejects file (``rejects``), the dry run (``file_report``).

Good rows go on, bad ones are handed to ``on_reject`` with their line and a reason code; ``strict`` stops at the first.
"""

import datetime as dt
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from streamlake_assets.errors import BadRecordError, UsageError
from streamlake_assets.market.contract import Reason, validate_bar
from streamlake_assets.market.sessions import to_microseconds
from streamlake_assets.market.types import Bar, Interval
from streamlake_assets.market.wire import Currency, Label
from streamlake_assets.sources.cells import day_bar_time, intraday_bar_time, read_moment, read_number, read_text
from streamlake_assets.sources.mapping import ColumnMapping
from streamlake_assets.sources.raw_rows import RawRow, open_table
from streamlake_assets.sources.rejects import Reject, RowReason


class TableRow(NamedTuple):
    """A good row: its bar, and its adjusted close where the table has one."""

    bar: Bar
    adjusted_close: Decimal | None


def read_table(
    path: Path,
    mapping: ColumnMapping,
    *,
    now: Callable[[], dt.datetime],
    on_reject: Callable[[Reject], None],
    strict: bool = False,
    as_of: dt.datetime | None = None,
) -> Iterator[TableRow]:
    """Read a table row by row, in the order of the file.

    Args:
        path: the file; see ``raw_rows.open_table``.
        mapping: what its columns mean.
        now: gives the ``event_time`` of each bar; whoever publishes later sets it anew.
        on_reject: gets each row that is not taken.
        strict: stop at the first bad row.
        as_of: when the source stated all rows, aware; None: each row's ``bar_time``.

    Yields:
        Settled bars that keep the contract, no key twice.

    Raises:
        UsageError: the file or its header does not fit the mapping, or (strict) a row is bad.
    """
    with open_table(path, delimiter=mapping.delimiter, encoding=mapping.encoding) as table:
        build = _RowBuilder(mapping, mapping.positions(table.header), now, as_of)
        for row in table.rows:
            if isinstance(row, Reject):
                reject = row
            else:
                try:
                    made = build(row)
                except BadRecordError as error:
                    reject = row.reject(error.reason, error.detail)
                else:
                    yield made
                    continue
            if strict:
                raise UsageError(f"{path}, line {reject.line}: {reject.reason}: {reject.detail}")
            on_reject(reject)


def read_bars(
    path: Path,
    mapping: ColumnMapping,
    *,
    now: Callable[[], dt.datetime],
    on_reject: Callable[[Reject], None],
    strict: bool = False,
) -> Iterator[Bar]:
    """Read the bars of a table; arguments and errors as in ``read_table``."""
    return (row.bar for row in read_table(path, mapping, now=now, on_reject=on_reject, strict=strict))


class _RowBuilder:
    """Makes bars of one table's rows and remembers which keys it has seen."""

    def __init__(
        self,
        mapping: ColumnMapping,
        places: Mapping[str, int],
        now: Callable[[], dt.datetime],
        as_of: dt.datetime | None,
    ) -> None:
        self._mapping = mapping
        self._places = places
        self._zone = mapping.time_zone
        self._now = now
        self._as_of = as_of
        self._seen: dict[str, _SeenTimes] = {}

    def __call__(self, row: RawRow) -> TableRow:
        mapping, cells = self._mapping, row.cells
        symbol = mapping.symbol or read_text(self._cell(cells, "symbol"))
        if symbol is None:
            raise BadRecordError(RowReason.MISSING_VALUE, "symbol is empty")
        moment = read_moment(self._cell(cells, "time"), self._cell(cells, "clock"), mapping.date_format)
        if mapping.interval is Interval.D1:
            bar_time = day_bar_time(moment, self._zone, mapping.exchange)
        else:
            bar_time = intraday_bar_time(moment, self._zone)
        volume = read_text(self._cell(cells, "volume"))
        bar = Bar(
            symbol=symbol,
            exchange=mapping.exchange,
            asset_class=mapping.asset_class,
            interval=mapping.interval,
            bar_time=bar_time,
            open=self._price(cells, "open"),
            high=self._price(cells, "high"),
            low=self._price(cells, "low"),
            close=self._price(cells, "close"),
            volume=None if volume is None else read_number(volume, "volume", Reason.BAD_VOLUME),
            source=mapping.source,
            synthetic=mapping.synthetic,
            event_time=self._now(),
            as_of=bar_time if self._as_of is None else self._as_of,
            currency=_currency(read_text(self._cell(cells, "currency"))) or mapping.currency,
            sector=_label(read_text(self._cell(cells, "sector"))) or mapping.sector,
            name=_label(read_text(self._cell(cells, "name"))) or mapping.name,
        )
        validate_bar(bar)
        adjusted = self._cell(cells, "adjusted_close")
        kept = None if read_text(adjusted) is None else read_number(adjusted, "adjusted close", Reason.BAD_PRICE)
        earlier = self._seen.setdefault(symbol, _SeenTimes()).add(bar_time, row.line)
        if earlier is not None:
            raise BadRecordError(
                RowReason.DUPLICATE_KEY,
                f"{bar.instrument} {bar.interval} {bar_time.isoformat()} stands in line {earlier}",
            )
        return TableRow(bar, kept)

    def _cell(self, cells: Sequence[Any], what: str) -> Any:
        place = self._places.get(what)
        return None if place is None else cells[place]

    def _price(self, cells: Sequence[Any], what: str) -> Decimal:
        return read_number(cells[self._places[what]], what, Reason.BAD_PRICE, self._mapping.decimals)


class _SeenTimes:
    """The bar times one symbol has had, with their lines: 16 bytes each while the file is sorted, either way."""

    def __init__(self) -> None:
        # times of the sorted run, times -1 in a file that has the newest first, so that they always rise
        self._keys = array("q")
        self._lines = array("q")
        self._sign = 0
        self._others: dict[int, int] = {}

    def add(self, bar_time: dt.datetime, line: int) -> int | None:
        """Remember a bar time; return the line it was seen in before, if it was (then nothing is remembered)."""
        time = to_microseconds(bar_time)
        if self._sign == 0:
            if not self._keys:
                self._keys.append(time)
                self._lines.append(line)
                return None
            if time == self._keys[0]:
                return self._lines[0]
            self._sign = 1 if time > self._keys[0] else -1
            self._keys[0] *= self._sign
        key = time * self._sign
        if key > self._keys[-1]:
            self._keys.append(key)
            self._lines.append(line)
            return None
        place = bisect_left(self._keys, key)
        if place < len(self._keys) and self._keys[place] == key:
            return self._lines[place]
        earlier = self._others.get(key)
        if earlier is None:
            self._others[key] = line
        return earlier


@lru_cache(maxsize=4096)
def _label(text: str | None) -> str | None:
    return _checked(text, Label)


@lru_cache(maxsize=4096)
def _currency(text: str | None) -> str | None:
    return _checked(text, Currency)


def _checked(text: str | None, kind: Any) -> str | None:
    if text is not None:
        try:
            msgspec.convert(text, kind)
        except msgspec.ValidationError as error:
            raise BadRecordError(Reason.BAD_FIELD, f"{text[:40]!r}: {error}") from None
    return text
