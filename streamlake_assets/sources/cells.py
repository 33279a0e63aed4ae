"""One cell of a table as an exact number, a text or a moment.

Belongs here: what text, number, date and time may look like, local times that do not exist or exist twice. Stays out:
which column is which (``mapping``), the rules of a bar (``market.contract``).
"""

import datetime as dt
import re
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from streamlake_assets.errors import BadRecordError
from streamlake_assets.market.contract import Reason
from streamlake_assets.market.sessions import UTC, daily_bar_time
from streamlake_assets.sources.rejects import RowReason

# ASCII digits only and a short exponent: Decimal alone takes "1_000", other scripts and exponents of a million
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?\Z")
_EPOCH: Final = re.compile(r"[0-9]{10}(?:[0-9]{3})?\Z")
_SECONDS_DIGITS: Final = 10
_MIDNIGHT: Final = dt.time()


def read_number(cell: Any, field: str, reason: Reason, decimals: int | None = None) -> Decimal:
    """Return a number exactly as it is written; a binary float counts as its shortest text.

    Args:
        cell: text, int, float or Decimal.
        field: name for messages.
        reason: code of the refusal.
        decimals: round half to even to this many decimals; None: leave as it is.

    Raises:
        BadRecordError: the cell is empty or no finite number.
    """
    if isinstance(cell, Decimal):
        value = cell
        if not value.is_finite():
            raise BadRecordError(reason, f"{field} {cell} is not finite")
    else:
        text = read_text(cell)
        if text is None:
            raise BadRecordError(RowReason.MISSING_VALUE, f"{field} is empty")
        if isinstance(cell, bool) or not _NUMBER.match(text):
            raise BadRecordError(reason, f"{field} {text[:40]!r} is not a number")
        value = Decimal(text)
    if decimals is None:
        return value
    if value.adjusted() + decimals > 25:
        raise BadRecordError(reason, f"{field} {value} is too large to round")
    return value.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_EVEN)


def read_text(cell: Any) -> str | None:
    """Return a cell as text without surrounding blanks; None if nothing is left."""
    if cell is None:
        return None
    text = cell if isinstance(cell, str) else repr(cell) if isinstance(cell, float) else str(cell)
    return text.strip() or None


def read_moment(cell: Any, clock: Any, date_format: str) -> dt.datetime:
    """Return a date or time as it is written: naive, or aware where it carries an offset.

    Args:
        cell: text, epoch number, date or datetime.
        clock: the time of day from a column of its own, or None.
        date_format: ``strptime`` format; empty: ISO 8601, or epoch seconds (10 digits) or milliseconds (13).

    Raises:
        BadRecordError: the cell is empty or cannot be read.
    """
    if isinstance(cell, dt.datetime):
        return cell
    if isinstance(cell, dt.date) and not isinstance(clock, str):
        return dt.datetime.combine(cell, clock or _MIDNIGHT)
    text, time_of_day = read_text(cell), read_text(clock)
    if text is None:
        raise BadRecordError(RowReason.MISSING_VALUE, "time is empty")
    if time_of_day is not None:
        text = f"{text} {time_of_day}"
    try:
        if date_format:
            return dt.datetime.strptime(text, date_format)  # noqa: DTZ007 - its zone is told apart from its text
        if _EPOCH.match(text):
            return dt.datetime.fromtimestamp(int(text) / (1 if len(text) == _SECONDS_DIGITS else 1000), UTC)
        return dt.datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        wanted = (
            f"of the form {date_format}" if date_format else "ISO 8601; give its form, such as --date-format %d/%m/%Y"
        )
        raise BadRecordError(Reason.BAD_TIME, f"time {text[:40]!r} is not {wanted}") from None


def intraday_bar_time(moment: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    """Return a moment as UTC; a naive one is local time of ``zone``.

    Raises:
        BadRecordError: clocks were put forward over this local time, or back over it, so that it is not one moment.
    """
    if moment.tzinfo is not None:
        return _in_range(moment)
    first = moment.replace(tzinfo=zone)
    utc = _in_range(first)
    if first.utcoffset() != first.replace(fold=1).utcoffset():
        if utc.astimezone(zone).replace(tzinfo=None) != moment:
            raise BadRecordError(RowReason.NONEXISTENT_TIME, f"{moment} does not exist in {zone}: clocks went forward")
        raise BadRecordError(RowReason.AMBIGUOUS_TIME, f"{moment} exists twice in {zone}: write it with an offset")
    return utc


def day_bar_time(moment: dt.datetime, zone: ZoneInfo, exchange: str) -> dt.datetime:
    """Return the bar time of the daily bar whose date a provider wrote as ``moment``.

    A naive moment means its own date, and so does midnight with any offset (a bare date, often sent as UTC). Any other
    moment means its date in ``zone``: a local midnight sent as UTC, or the close of the session.

    Raises:
        BadRecordError: the year is out of range.
    """
    if moment.tzinfo is None:
        session = moment.date()
    else:
        _in_range(moment)
        session = moment.date() if moment.time() == _MIDNIGHT else moment.astimezone(zone).date()
    if not 1901 <= session.year < 2199:
        raise BadRecordError(Reason.BAD_TIME, f"date {session} lies outside 1901 to 2198")
    return daily_bar_time(session, exchange)


def _in_range(moment: dt.datetime) -> dt.datetime:
    # one year inside the contract's range, so that no zone carries a moment over its edge
    if not 1901 <= moment.year < 2199:
        raise BadRecordError(Reason.BAD_TIME, f"time {moment.isoformat()} lies outside 1901 to 2198")
    return moment.astimezone(UTC)
