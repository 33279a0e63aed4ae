"""Rows that are not taken, and the file they are written to.

Belongs here: ``Reject``, its reason codes, the rejects file. Stays out: finding what is wrong (``raw_rows``, ``cells``,
``tables``).
"""

import csv
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from streamlake_assets.errors import UsageError

REJECT_COLUMNS: Final = ("line", "reason", "detail", "raw")
_MOST_RAW: Final = 2000
"""Characters of a bad row that are kept."""


class RowReason(StrEnum):
    """Why a row of a file is rejected, beyond the reasons of ``market.contract.Reason``; stable codes."""

    BLANK_LINE = "blank_line"
    BAD_ROW = "bad_row"
    BAD_ENCODING = "bad_encoding"
    MISSING_VALUE = "missing_value"
    NONEXISTENT_TIME = "nonexistent_time"
    AMBIGUOUS_TIME = "ambiguous_time"
    DUPLICATE_KEY = "duplicate_key"


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that is not taken: its line (Parquet: row, from 1), a stable reason code, words, and the row itself."""

    line: int
    reason: str
    detail: str
    raw: str

    @classmethod
    def of(cls, line: int, reason: str, detail: str, raw: str) -> Self:
        """Make one; a very long row is cut."""
        return cls(line, str(reason), detail, raw if len(raw) <= _MOST_RAW else raw[:_MOST_RAW] + "…")


class RejectsFile:
    """A CSV file of rejected rows; made when the first one comes, so that no rejects means no file.

    Use as a context manager and hand ``write`` to ``read_table``. An earlier rejects file at the path is replaced; any
    other file there is left alone.

    Args:
        path: of the file.
        source: the file whose rows are rejected.

    Raises:
        UsageError: (on entering) the path is the source, or something that is no rejects file lies there.
    """

    def __init__(self, path: Path, source: Path) -> None:
        self.path = path
        self.reasons: Counter[str] = Counter()
        self._source = source
        self._stream: IO[str] | None = None

    def write(self, reject: Reject) -> None:
        """Append one rejected row and count it."""
        if self._stream is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self.path.open("w", encoding="utf-8", newline="")
            csv.writer(self._stream).writerow(REJECT_COLUMNS)
        csv.writer(self._stream).writerow((reject.line, reject.reason, reject.detail, reject.raw))
        self.reasons[reject.reason] += 1

    @property
    def count(self) -> int:
        """Number of rejected rows."""
        return self.reasons.total()

    def __enter__(self) -> Self:
        if self.path.resolve() == self._source.resolve() or (self.path.exists() and self.path.samefile(self._source)):
            raise UsageError(f"the rejects would overwrite the input {self.path}: say --rejects with another path")
        if self.path.exists() and not _is_rejects_file(self.path):
            raise UsageError(f"{self.path} is there and is no rejects file: say --rejects with another path")
        # an older run's rejects must not be taken for this run's
        self.path.unlink(missing_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def _is_rejects_file(path: Path) -> bool:
    header = ",".join(REJECT_COLUMNS).encode()
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.readline(len(header) + 2).rstrip(b"\r\n") == header
