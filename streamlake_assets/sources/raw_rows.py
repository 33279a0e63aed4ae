"""Rows of a CSV or Parquet file as they stand there, with their line.

Belongs here: opening files, header, delimiter, damage of a file or of a row's shape. Stays out: what a
column means (``mapping``), what a cell means (``cells``), what becomes of a bad row (``rejects``).

A CSV file is read line by line, each line parsed for itself: a quote that is never closed spoils its own row and not
the rest of the file, and line numbers are exact. The price is that a cell cannot hold a line break; a bar's never does.
"""

import csv
import gzip
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TextIO

from streamlake_assets.errors import UsageError
from streamlake_assets.sources.rejects import Reject, RowReason

if TYPE_CHECKING:
    import pyarrow as pa

CSV_SUFFIXES: Final = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".txt.gz")
PARQUET_SUFFIXES: Final = (".parquet", ".pq")
_DELIMITERS: Final = ",;\t|"
_BATCH_ROWS: Final = 8192


class RawRow(NamedTuple):
    """A row of the right shape; cells are text in a CSV file, Python values in a Parquet file."""

    line: int
    cells: Sequence[Any]
    raw: Any

    def reject(self, reason: str, detail: str) -> Reject:
        """Return this row as rejected."""
        return Reject.of(self.line, reason, detail, self.raw if isinstance(self.raw, str) else repr(self.raw))


class RawTable(NamedTuple):
    """An open table: its column names, and its rows in the order of the file, good and misshapen ones."""

    header: tuple[str, ...]
    rows: Iterator[RawRow | Reject]


@contextmanager
def open_table(path: Path, *, delimiter: str = "", encoding: str = "utf-8-sig") -> Iterator[RawTable]:
    """Open a table; the format follows from the end of the file's name.

    Args:
        path: ``.csv``, ``.tsv`` or ``.txt``, also with ``.gz``; ``.parquet`` or ``.pq``.
        delimiter: of a CSV file; empty: the one its header line uses most.
        encoding: of a CSV file.

    Raises:
        UsageError: the file is missing, of another kind, empty, or damaged (also later, while rows are read).
    """
    if not path.is_file() or not os.access(path, os.R_OK):
        raise UsageError(f"{path} is not a file that can be read")
    name = path.name.lower()
    try:
        if name.endswith(PARQUET_SUFFIXES):
            import pyarrow.parquet as pq

            with pq.ParquetFile(path) as file:
                yield RawTable(tuple(file.schema_arrow.names), _parquet_rows(file))
        elif name.endswith(CSV_SUFFIXES):
            with _open_text(path, encoding) as stream:
                yield _csv_table(path, stream, delimiter)
        else:
            raise UsageError(f"{path}: cannot tell the format; use one of {', '.join(CSV_SUFFIXES + PARQUET_SUFFIXES)}")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UsageError(f"{path} cannot be read to its end: {error}") from error
    except Exception as error:
        # pyarrow's errors, without loading pyarrow for a CSV file
        if type(error).__module__.startswith("pyarrow"):
            raise UsageError(f"{path} is not a whole Parquet file: {error}") from error
        raise


def _open_text(path: Path, encoding: str) -> TextIO:
    # undecodable bytes are marked, so that they spoil their own row only
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "rt", encoding=encoding, errors="replace")
    return path.open(encoding=encoding, errors="replace")


def _csv_table(path: Path, stream: TextIO, delimiter: str) -> RawTable:
    first = stream.readline()
    if not first.strip():
        raise UsageError(f"{path}: the first line is empty; it must name the columns")
    delimiter = delimiter or max(_DELIMITERS, key=first.count)
    try:
        header = tuple(cell.strip() for cell in _split(first, delimiter))
    except csv.Error as error:
        raise UsageError(f"{path}: the header line cannot be read: {error}") from error
    return RawTable(header, _csv_rows(stream, delimiter, len(header)))


def _csv_rows(stream: TextIO, delimiter: str, width: int) -> Iterator[RawRow | Reject]:
    blank: list[int] = []
    for line, text in enumerate(stream, start=2):
        raw = text.rstrip("\r\n")
        if not raw.strip():
            blank.append(line)
            continue
        # blank lines at the end of a file are no fault, so they count only when a row follows
        for empty in blank:
            yield Reject.of(empty, RowReason.BLANK_LINE, "the line is empty", "")
        blank.clear()
        if "\ufffd" in raw:
            yield Reject.of(line, RowReason.BAD_ENCODING, "bytes that are not text in this encoding", raw)
            continue
        try:
            cells = _split(text, delimiter)
        except csv.Error as error:
            yield Reject.of(line, RowReason.BAD_ROW, str(error), raw)
            continue
        if len(cells) != width:
            yield Reject.of(line, RowReason.BAD_ROW, f"{len(cells)} cells, the header has {width}", raw)
            continue
        yield RawRow(line, cells, raw)


def _split(text: str, delimiter: str) -> list[str]:
    return next(csv.reader((text,), delimiter=delimiter, strict=True))


def _parquet_rows(file: Any) -> Iterator[RawRow | Reject]:
    batches = (_plain(batch) for batch in file.iter_batches(batch_size=_BATCH_ROWS))
    rows = chain.from_iterable(zip(*(column.to_pylist() for column in batch.columns), strict=True) for batch in batches)
    for line, cells in enumerate(rows, start=1):
        yield RawRow(line, cells, cells)


def _plain(batch: "pa.RecordBatch") -> "pa.RecordBatch":
    """Make columns that Python would show changed into ones it shows exactly."""
    import pyarrow as pa

    columns = []
    for column in batch.columns:
        kind = column.type
        if pa.types.is_float32(kind) or pa.types.is_float16(kind):
            # shortest text of the narrow float; widened it would be 100.09999847
            columns.append(column.cast(pa.float32()).cast(pa.string()))
        elif pa.types.is_timestamp(kind) and kind.unit == "ns":
            # raises where digits below a microsecond would be lost
            columns.append(column.cast(pa.timestamp("us", tz=kind.tz)))
        else:
            columns.append(column.dictionary_decode() if pa.types.is_dictionary(kind) else column)
    return pa.record_batch(columns, names=batch.schema.names)
