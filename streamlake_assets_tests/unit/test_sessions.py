"""Zones of exchanges: the literal table agrees with the calendars, and unknown codes count in UTC."""

import datetime as dt
import re

import exchange_calendars
import pytest

from streamlake_assets.market.sessions import daily_bar_time, exchange_zone

CODES = sorted(
    name for name in exchange_calendars.get_calendar_names(include_aliases=True) if re.fullmatch("[A-Z]{4}", name)
)
SUMMER, WINTER = dt.date(2024, 7, 15), dt.date(2024, 1, 15)


@pytest.mark.parametrize("code", CODES)
def test_an_exchange_whose_calendar_is_known_has_its_zone(code: str) -> None:
    calendar = exchange_calendars.calendar_utils._default_calendar_factories[exchange_calendars.resolve_alias(code)]
    zone = exchange_zone(code)
    assert zone.key != "UTC"
    expected = calendar(start="2024-01-02", end="2024-01-31").tz
    # the library counts Bogota's hours in New York's zone: Colombia has no summer time
    days = [WINTER] if code == "XBOG" else [SUMMER, WINTER]
    noons = [(dt.datetime.combine(day, dt.time(12), tz) for day in days) for tz in (zone, expected)]
    ours, theirs = ([noon.utcoffset() for noon in of] for of in noons)
    assert ours == theirs


@pytest.mark.parametrize("code", ["XXXX", "QQQQ", "NONE"])
def test_unknown_codes_count_in_utc(code: str) -> None:
    assert exchange_zone(code).key == "UTC"
    assert daily_bar_time(dt.date(2024, 7, 15), code) == dt.datetime(2024, 7, 15, tzinfo=dt.UTC)


def test_a_daily_bar_starts_at_local_midnight() -> None:
    assert daily_bar_time(dt.date(2024, 7, 15), "XASX") == dt.datetime(2024, 7, 14, 14, tzinfo=dt.UTC)
