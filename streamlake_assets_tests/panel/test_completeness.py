"""Completeness on the page: which sessions are due of whom, and what is seen of a gap."""

import datetime as dt
from dataclasses import replace

import numpy as np

from panel_app.indicator_table import COLUMNS, cells, differences, records, share_there
from streamlake_assets.market.calendars import sessions_between
from streamlake_assets.market.measures import Period, PeriodKind
from streamlake_assets.market.period_lines import ALL, DueSessions, Grouping, IndicatorLine, SessionCount
from streamlake_assets.market.series import SessionSeries, ordinal
from streamlake_assets.market.types import AssetClass
from streamlake_assets_tests.panel.indicators import indicator_lines
from streamlake_assets_tests.panel.test_indicator_table import series

# the exchange was closed on Monday the 2nd and on Monday the 16th
JANUARY = [day for n in range(1, 32) if (day := dt.date(2012, 1, n)).weekday() < 5 and n not in (2, 16)]
N = 20
ALWAYS = (dt.date.min, dt.date.max)


def on(symbol: str, days: list[dt.date], *, exchange: str = "XNYS", crypto: bool = False) -> SessionSeries:
    made = series(symbol, [100.0 + number for number in range(len(days))])
    kind = AssetClass.CRYPTO if crypto else AssetClass.STOCK
    sessions = np.array([ordinal(day) for day in days], dtype=np.int64)
    return replace(made, exchange=exchange, asset_class=kind, sessions=sessions)


def count(one: SessionSeries, *others: SessionSeries, between: tuple[dt.date, dt.date] = ALWAYS) -> SessionCount:
    return DueSessions([one, *others]).count([one], Period(PeriodKind.YEAR, "", *between))


def lines(*of: SessionSeries, kind: PeriodKind = PeriodKind.MONTH) -> dict[str, IndicatorLine]:
    name = {PeriodKind.MONTH: "2012-01", PeriodKind.YEAR: "2012"}[kind]
    return {line.subject: line for line in indicator_lines(of, (), Grouping.INSTRUMENT, kind, name)}


def test_a_removed_session_is_missing_from_all_that_are_due() -> None:
    assert len(JANUARY) == N
    assert sessions_between("XNYS", AssetClass.STOCK, dt.date(2012, 1, 1), dt.date(2012, 1, 31)) == JANUARY
    gap = [day for day in JANUARY if day != JANUARY[7]]
    found = lines(on("WHOLE", JANUARY), on("GAP", gap))
    assert found["WHOLE · XNYS"].completeness == 1.0
    assert found["GAP · XNYS"].completeness == (N - 1) / N
    assert found[ALL].completeness == (2 * N - 1) / (2 * N)
    place = [column.name for column in COLUMNS].index("completeness") + 1
    assert [cells(line)[place] for line in found.values()] == ["95.00%", "100.00%", "97.50%"]
    head, rows = records(found.values(), "2012-01")
    assert [row[head.index("completeness")] for row in rows] == [0.95, 1.0, 0.975]


def test_a_gap_in_one_place_alone_is_a_difference() -> None:
    # the first session has no return, so nothing else but the count and the volume tells
    one = indicator_lines([on("A", JANUARY)], (), Grouping.INSTRUMENT, PeriodKind.MONTH, "2012-01")
    other = indicator_lines([on("A", JANUARY[:5] + JANUARY[6:])], (), Grouping.INSTRUMENT, PeriodKind.MONTH, "2012-01")
    assert "A · XNYS: completeness" in differences(one, other)


def test_holidays_and_weekends_are_not_due_and_a_bar_on_one_fills_no_gap() -> None:
    assert dt.date(2012, 1, 16) not in JANUARY
    odd = sorted([*JANUARY[:7], *JANUARY[8:], dt.date(2012, 1, 16), dt.date(2012, 1, 21)])
    assert count(on("ODD", odd)) == (N - 1, N)


def test_sessions_are_due_from_the_first_one_of_the_instrument_to_the_newest_of_its_exchange() -> None:
    whole = on("WHOLE", JANUARY)
    assert count(on("LATE", JANUARY[12:]), whole) == (N - 12, N - 12)
    assert count(on("STOPPED", JANUARY[:3]), whole) == (3, N)
    # on another exchange nothing is due of it after its own newest session
    assert count(on("STOPPED", JANUARY[:3], exchange="XNAS"), whole) == (3, 3)


def test_the_period_cuts_what_is_due() -> None:
    first, last = dt.date(2012, 1, 9), dt.date(2012, 1, 13)
    assert count(on("A", JANUARY[:6]), on("B", JANUARY), between=(first, last)) == (2, 5)
    assert count(on("A", JANUARY), between=(dt.date(2012, 2, 1), dt.date(2012, 2, 29))) == (0, 0)
    # the year goes on, the data do not
    assert lines(on("A", JANUARY), kind=PeriodKind.YEAR)["A · XNYS"].sessions_due == N


def test_who_owes_a_whole_period_is_shown_with_nothing_there() -> None:
    before = sessions_between("XNYS", AssetClass.STOCK, dt.date(2011, 12, 1), dt.date(2011, 12, 30))
    found = lines(on("GONE", before), on("GOES", before + JANUARY), on("NEW", [dt.date(2012, 1, 31)]))
    assert found["GONE · XNYS"].completeness == 0.0
    assert cells(found["GONE · XNYS"])[2:6] == ["0", "0.00%", "–", "–"]
    assert found["NEW · XNYS"].completeness == 1.0
    # before its first session nobody owes anything: there is no line
    assert "NEW · XNYS" not in {
        line.subject
        for line in indicator_lines(
            [on("NEW", JANUARY[-1:]), on("GOES", before + JANUARY)],
            (),
            Grouping.INSTRUMENT,
            PeriodKind.MONTH,
            "2011-12",
        )
    }


def test_crypto_is_due_every_day_and_an_unknown_exchange_from_monday_to_friday() -> None:
    days = [dt.date(2012, 1, 1) + dt.timedelta(days=number) for number in range(14)]
    assert count(on("BTC", days, crypto=True), on("IBM", days)) == (14, 14)
    assert count(on("BTC", [*days[:4], *days[5:]], crypto=True)) == (13, 14)
    assert count(on("X", days, exchange="XXXX")) == (10, 10)


def test_days_before_the_calendar_begins_are_left_out() -> None:
    old = [dt.date(1980, 1, 2), dt.date(1980, 1, 3)]
    assert count(on("OLD", old)) == (0, 0)
    line = indicator_lines([on("OLD", old)], (), Grouping.INSTRUMENT, PeriodKind.YEAR, "1980")[0]
    assert line.completeness is None and cells(line)[3] == "–"


def test_a_share_is_never_rounded_up_to_all() -> None:
    assert share_there(99_999 / 100_000) == "99.99%"
    assert (share_there(1.0), share_there(0.5), share_there(0.0)) == ("100.00%", "50.00%", "0.00%")
