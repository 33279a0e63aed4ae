import datetime as dt
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlake_assets.errors import BadRecordError
from streamlake_assets.market.contract import Reason
from streamlake_assets.sources.cells import day_bar_time, intraday_bar_time, read_moment, read_number, read_text
from streamlake_assets.sources.rejects import RowReason

NEW_YORK = ZoneInfo("America/New_York")
UTC = dt.UTC


def number(cell: Any, decimals: int | None = None) -> Decimal:
    return read_number(cell, "close", Reason.BAD_PRICE, decimals)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9, places=6))
def test_number_is_read_as_it_is_written(value: Decimal) -> None:
    read = number(f" {value} ")
    assert read.as_tuple() == value.as_tuple()


@given(st.floats(min_value=1e-9, max_value=1e12))
def test_float_counts_as_its_shortest_text(value: float) -> None:
    assert number(value) == Decimal(repr(value))


@pytest.mark.parametrize("cell", ["abc", "1_000", "1,000.5", "nan", "inf", "1e999999", "٣", "--1", "1 2", True])
def test_cell_that_is_no_number_is_refused(cell: Any) -> None:
    with pytest.raises(BadRecordError) as caught:
        number(cell)
    assert caught.value.reason == Reason.BAD_PRICE


@pytest.mark.parametrize("cell", ["", "   ", None])
def test_empty_number_is_a_missing_value(cell: Any) -> None:
    with pytest.raises(BadRecordError) as caught:
        number(cell)
    assert caught.value.reason == RowReason.MISSING_VALUE


def test_rounding_takes_the_noise_of_floats_away() -> None:
    assert number("130.30999755859375", decimals=2) == Decimal("130.31")
    assert number("0.125", decimals=2) == Decimal("0.12")


def test_text_is_stripped_and_nothing_is_none() -> None:
    assert read_text("  AAPL ") == "AAPL"
    assert read_text(" ") is None
    assert read_text(None) is None


@pytest.mark.parametrize(
    ("cell", "date_format", "expected"),
    [
        ("2013-03-01", "", dt.datetime(2013, 3, 1)),  # noqa: DTZ001
        ("20130301", "", dt.datetime(2013, 3, 1)),  # noqa: DTZ001
        ("2013-03-01T09:30:00Z", "", dt.datetime(2013, 3, 1, 9, 30, tzinfo=UTC)),
        ("1362148200", "", dt.datetime(2013, 3, 1, 14, 30, tzinfo=UTC)),
        ("1362148200000", "", dt.datetime(2013, 3, 1, 14, 30, tzinfo=UTC)),
        (1362148200, "", dt.datetime(2013, 3, 1, 14, 30, tzinfo=UTC)),
        ("01/03/2013 09:30", "%d/%m/%Y %H:%M", dt.datetime(2013, 3, 1, 9, 30)),  # noqa: DTZ001
        (dt.date(2013, 3, 1), "", dt.datetime(2013, 3, 1)),  # noqa: DTZ001
    ],
)
def test_times_are_read_in_their_usual_forms(cell: Any, date_format: str, expected: dt.datetime) -> None:
    assert read_moment(cell, None, date_format) == expected


def test_date_and_time_of_day_may_stand_apart() -> None:
    expected = dt.datetime(2013, 3, 1, 9, 35)  # noqa: DTZ001
    assert read_moment("2013-03-01", "09:35", "") == expected
    assert read_moment(dt.date(2013, 3, 1), dt.time(9, 35), "") == expected
    assert read_moment("03/01/2013", "9:35", "%m/%d/%Y %H:%M") == expected


@pytest.mark.parametrize("cell", ["03/01/2013", "yesterday", "2013-02-30", "99999999999999999999"])
def test_time_that_cannot_be_read_names_the_option_that_helps(cell: str) -> None:
    with pytest.raises(BadRecordError, match="--date-format") as caught:
        read_moment(cell, None, "")
    assert caught.value.reason == Reason.BAD_TIME


def test_naive_time_is_local_time_of_the_zone() -> None:
    assert intraday_bar_time(dt.datetime(2013, 7, 1, 9, 30), NEW_YORK) == dt.datetime(2013, 7, 1, 13, 30, tzinfo=UTC)  # noqa: DTZ001


def test_time_the_clocks_skipped_is_refused() -> None:
    with pytest.raises(BadRecordError) as caught:
        intraday_bar_time(dt.datetime(2013, 3, 10, 2, 30), NEW_YORK)  # noqa: DTZ001
    assert caught.value.reason == RowReason.NONEXISTENT_TIME


def test_time_the_clocks_ran_twice_is_refused_unless_written_with_an_offset() -> None:
    twice = dt.datetime(2013, 11, 3, 1, 30)  # noqa: DTZ001
    with pytest.raises(BadRecordError) as caught:
        intraday_bar_time(twice, NEW_YORK)
    assert caught.value.reason == RowReason.AMBIGUOUS_TIME
    with_offset = twice.replace(tzinfo=dt.timezone(dt.timedelta(hours=-5)))
    assert intraday_bar_time(with_offset, NEW_YORK) == dt.datetime(2013, 11, 3, 6, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "written",
    [
        "2013-03-01",
        "2013-03-01T00:00:00Z",
        "2013-03-01T05:00:00Z",
        "2013-03-01T00:00:00-05:00",
        "2013-03-01T16:00:00-05:00",
        "2013-03-01T21:00:00Z",
        "2013-03-01T16:00:00",
    ],
)
def test_every_way_providers_write_a_session_is_its_local_midnight(written: str) -> None:
    moment = read_moment(written, None, "")
    assert day_bar_time(moment, NEW_YORK, "XNYS") == dt.datetime(2013, 3, 1, 5, tzinfo=UTC)


def test_local_midnight_east_of_greenwich_sent_as_utc_is_its_own_session() -> None:
    moment = dt.datetime(2013, 2, 28, 15, tzinfo=UTC)
    assert day_bar_time(moment, ZoneInfo("Asia/Tokyo"), "XTKS") == moment


@pytest.mark.parametrize("year", [1, 1850, 2300, 9999])
def test_years_no_bar_can_have_are_refused(year: int) -> None:
    for moment in (dt.datetime(year, 1, 1), dt.datetime(year, 1, 1, tzinfo=UTC)):  # noqa: DTZ001
        with pytest.raises(BadRecordError):
            day_bar_time(moment, NEW_YORK, "XNYS")
        with pytest.raises(BadRecordError):
            intraday_bar_time(moment, NEW_YORK)
