"""Calendars: holidays, half days and closures of the real exchanges; stated assumptions where none is known."""

import datetime as dt

import pytest

from streamlake_assets.errors import UsageError
from streamlake_assets.market.calendars import is_session, next_session, session_open_close, sessions_between
from streamlake_assets.market.sessions import daily_bar_time, session_date
from streamlake_assets.market.types import AssetClass
from streamlake_assets_tests.series_data import bokeh_series

STOCK, CRYPTO = AssetClass.STOCK, AssetClass.CRYPTO
D = dt.date


def utc(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> dt.datetime:
    return dt.datetime(year, month, day, hour, minute, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("day", "following"),
    [
        (D(2013, 3, 1), D(2013, 3, 4)),
        (D(2013, 3, 2), D(2013, 3, 4)),
        (D(2012, 12, 24), D(2012, 12, 26)),
        (D(2012, 10, 26), D(2012, 10, 31)),
        (D(2001, 9, 10), D(2001, 9, 17)),
        (D(2000, 3, 1), D(2000, 3, 2)),
    ],
)
def test_the_next_session_skips_weekends_holidays_and_closures(day: dt.date, following: dt.date) -> None:
    assert next_session("XNYS", STOCK, day) == following


def test_the_day_of_the_storm_is_no_session() -> None:
    assert not is_session("XNYS", STOCK, D(2012, 10, 29))
    with pytest.raises(UsageError, match="not a session"):
        session_open_close("XNYS", D(2012, 10, 29))


def test_hours_follow_summer_time_and_half_days() -> None:
    assert session_open_close("XNYS", D(2012, 12, 24)) == (utc(2012, 12, 24, 14, 30), utc(2012, 12, 24, 18))
    assert session_open_close("XNYS", D(2012, 7, 2)) == (utc(2012, 7, 2, 13, 30), utc(2012, 7, 2, 20))


def test_the_real_bars_are_exactly_the_sessions_of_the_exchange() -> None:
    series = max(bokeh_series(), key=len)
    days = sessions_between("XNYS", STOCK, D(2000, 3, 1), D(2013, 3, 1))
    assert [(day - D(1970, 1, 1)).days for day in days] == series.sessions.tolist()


def test_crypto_trades_every_day_from_midnight_to_midnight_utc() -> None:
    assert next_session("XXXX", CRYPTO, D(2012, 12, 24)) == D(2012, 12, 25)
    assert len(sessions_between("XNYS", CRYPTO, D(2012, 12, 1), D(2012, 12, 31))) == 31
    assert session_open_close("XXXX", D(2012, 12, 30), CRYPTO) == (utc(2012, 12, 30), utc(2012, 12, 31))


def test_an_unknown_exchange_trades_on_weekdays() -> None:
    assert next_session("XXXX", STOCK, D(2013, 3, 1)) == D(2013, 3, 4)
    assert next_session("XXXX", STOCK, D(2012, 12, 24)) == D(2012, 12, 25)
    assert session_open_close("XXXX", D(2013, 3, 1)) == (utc(2013, 3, 1), utc(2013, 3, 2))
    assert not is_session("XXXX", STOCK, D(2013, 3, 2))


@pytest.mark.parametrize("exchange", ["XNAS", "XLON", "XTKS", "XCME"])
def test_hours_of_an_exchange_fall_on_its_own_date(exchange: str) -> None:
    day = next_session(exchange, STOCK, D(2012, 10, 10))
    opens, closes = session_open_close(exchange, day)
    assert session_date(closes - dt.timedelta(minutes=1), exchange) == day
    assert daily_bar_time(day, exchange) - dt.timedelta(days=1) < opens < closes
    assert opens.tzinfo is dt.UTC


@pytest.mark.parametrize("day", [D(1980, 1, 2), D(2200, 1, 2)])
def test_a_day_outside_the_calendar_is_an_error(day: dt.date) -> None:
    with pytest.raises(UsageError, match="outside the calendar of XNYS"):
        next_session("XNYS", STOCK, day)
    with pytest.raises(UsageError, match="outside the calendar of XNYS"):
        sessions_between("XNYS", STOCK, day, day)


def test_an_empty_span_has_no_sessions() -> None:
    assert sessions_between("XNYS", STOCK, D(2013, 3, 1), D(2013, 2, 1)) == []
