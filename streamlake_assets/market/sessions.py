"""Exchange dates and bar times: which session a moment belongs to, with zoneinfo alone.

Belongs here: zones of exchanges, ``session_date``, the bar time of a daily bar. Stays out: holidays and session
hours (``calendars``, which loads a heavy library).
"""

import datetime as dt
from functools import lru_cache
from zoneinfo import ZoneInfo

UTC = dt.UTC
_ZONES = {
    "XNYS": "America/New_York",
    "XNAS": "America/New_York",
    "ARCX": "America/New_York",
    "XCME": "America/Chicago",
    "XCBT": "America/Chicago",
    "XNYM": "America/New_York",
    "XLON": "Europe/London",
    "XPAR": "Europe/Paris",
    "XETR": "Europe/Berlin",
    "XTKS": "Asia/Tokyo",
    "XHKG": "Asia/Hong_Kong",
}


@lru_cache(maxsize=256)
def exchange_zone(mic: str) -> ZoneInfo:
    """Return the zone of an exchange by its ISO 10383 code; unknown ones (and crypto) count in UTC."""
    return ZoneInfo(_ZONES.get(mic, "UTC"))


def session_date(bar_time: dt.datetime, mic: str) -> dt.date:
    """Return the exchange's date of a bar that starts at ``bar_time`` (aware)."""
    return bar_time.astimezone(exchange_zone(mic)).date()


@lru_cache(maxsize=65536)
def daily_bar_time(session: dt.date, mic: str) -> dt.datetime:
    """Return the bar time of a session's daily bar: its local midnight, as UTC."""
    return dt.datetime.combine(session, dt.time(), exchange_zone(mic)).astimezone(UTC)
