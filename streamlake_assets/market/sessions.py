"""Exchange dates and bar times: which session a moment belongs to, with zoneinfo alone.

Belongs here: zones of exchanges, ``session_date``, the bar time of a daily bar. Stays out: holidays and session
hours (``calendars``, which loads a heavy library).
"""

import datetime as dt
from functools import lru_cache
from zoneinfo import ZoneInfo

UTC = dt.UTC
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
# the exchanges whose calendars market.calendars can ask for; a literal, since the consumer loads no calendars
_ZONES = {
    "AIXK": "Asia/Almaty",
    "ARCX": "America/New_York",
    "ASEX": "Europe/Athens",
    "BATS": "America/New_York",
    "BVMF": "America/Sao_Paulo",
    "CBOT": "America/Chicago",
    "CMES": "America/Chicago",
    "HKEX": "Asia/Hong_Kong",
    "IEPA": "America/New_York",
    "NYFE": "America/New_York",
    "NYSE": "America/New_York",
    "OOTC": "America/New_York",
    "TASE": "Asia/Tel_Aviv",
    "XAMS": "Europe/Amsterdam",
    "XASE": "America/New_York",
    "XASX": "Australia/Sydney",
    "XBDA": "Atlantic/Bermuda",
    "XBEL": "Europe/Belgrade",
    "XBKK": "Asia/Bangkok",
    "XBOG": "America/Bogota",
    "XBOM": "Asia/Kolkata",
    "XBRA": "Europe/Bratislava",
    "XBRU": "Europe/Brussels",
    "XBSE": "Europe/Bucharest",
    "XBUD": "Europe/Budapest",
    "XBUE": "America/Argentina/Buenos_Aires",
    "XCBF": "America/Chicago",
    "XCBT": "America/Chicago",
    "XCME": "America/Chicago",
    "XCSE": "Europe/Copenhagen",
    "XCYS": "Asia/Nicosia",
    "XDUB": "Europe/Dublin",
    "XDUS": "Europe/Brussels",
    "XEEE": "Europe/Berlin",
    "XETR": "Europe/Berlin",
    "XEUR": "Europe/Berlin",
    "XFRA": "Europe/Berlin",
    "XHAM": "Europe/Brussels",
    "XHEL": "Europe/Helsinki",
    "XHKG": "Asia/Hong_Kong",
    "XICE": "Atlantic/Reykjavik",
    "XIDX": "Asia/Jakarta",
    "XIST": "Europe/Istanbul",
    "XJSE": "Africa/Johannesburg",
    "XKAR": "Asia/Karachi",
    "XKLS": "Asia/Kuala_Lumpur",
    "XKRX": "Asia/Seoul",
    "XLIM": "America/Lima",
    "XLIS": "Europe/Lisbon",
    "XLIT": "Europe/Vilnius",
    "XLJU": "Europe/Ljubljana",
    "XLON": "Europe/London",
    "XLUX": "Europe/Luxembourg",
    "XMAD": "Europe/Madrid",
    "XMEX": "America/Mexico_City",
    "XMIL": "Europe/Rome",
    "XMOS": "Europe/Moscow",
    "XNAS": "America/New_York",
    "XNYM": "America/New_York",
    "XNYS": "America/New_York",
    "XNZE": "Pacific/Auckland",
    "XOSL": "Europe/Oslo",
    "XPAR": "Europe/Paris",
    "XPHS": "Asia/Manila",
    "XPRA": "Europe/Prague",
    "XRIS": "Europe/Riga",
    "XSAU": "Asia/Riyadh",
    "XSES": "Asia/Singapore",
    "XSGO": "America/Santiago",
    "XSHG": "Asia/Shanghai",
    "XSTO": "Europe/Stockholm",
    "XSTU": "Europe/Berlin",
    "XSWX": "Europe/Zurich",
    "XTAE": "Asia/Tel_Aviv",
    "XTAI": "Asia/Taipei",
    "XTAL": "Europe/Tallinn",
    "XTKS": "Asia/Tokyo",
    "XTSE": "America/Toronto",
    "XTSX": "America/Toronto",
    "XWAR": "Europe/Warsaw",
    "XWBO": "Europe/Vienna",
    "XZAG": "Europe/Zagreb",
}


@lru_cache(maxsize=256)
def exchange_zone(mic: str) -> ZoneInfo:
    """Return the zone of an exchange by its ISO 10383 code; XXXX and unknown ones count in UTC."""
    return ZoneInfo(_ZONES.get(mic, "UTC"))


def session_date(bar_time: dt.datetime, mic: str) -> dt.date:
    """Return the exchange's date of a bar that starts at ``bar_time`` (aware)."""
    return bar_time.astimezone(exchange_zone(mic)).date()


@lru_cache(maxsize=65536)
def daily_bar_time(session: dt.date, mic: str) -> dt.datetime:
    """Return the bar time of a session's daily bar: its local midnight, as UTC."""
    return dt.datetime.combine(session, dt.time(), exchange_zone(mic)).astimezone(UTC)


def to_microseconds(moment: dt.datetime) -> int:
    """Return an aware time as microseconds since 1970 UTC: how columns of times hold it."""
    return (moment - _EPOCH) // _MICROSECOND


def from_microseconds(value: int) -> dt.datetime:
    """Return the UTC time of so many microseconds since 1970."""
    return _EPOCH + value * _MICROSECOND
