"""Lines of periods: who is in them, which sessions are expected, and which periods a change moves."""

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlake_assets.market.measures import PeriodKind, equal_weight_index, key_indicators, period_of
from streamlake_assets.market.period_lines import ALL, UNKNOWN_SECTOR, Grouping, IndicatorLine, Market
from streamlake_assets.market.series import SessionSeries, ordinal
from streamlake_assets.market.types import AssetClass

JANUARY = period_of(dt.date(2013, 1, 15), PeriodKind.MONTH)
WEEKDAYS_2013 = [day for n in range(365) if (day := dt.date(2013, 1, 1) + dt.timedelta(days=n)).weekday() < 5]


def series(symbol: str, days: list[dt.date], seed: int = 0, **changes: object) -> SessionSeries:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, len(days))))
    made = SessionSeries(
        symbol=symbol,
        exchange="XNYS",
        asset_class=AssetClass.STOCK,
        sessions=np.array([ordinal(day) for day in days], dtype=np.int64),
        open=close,
        high=close + 1,
        low=close - 1,
        close=close,
        volume=np.full(len(days), 1000.0),
        factor=np.ones(len(days)),
    )
    return replace(made, **changes)


def line_of(lines: tuple[IndicatorLine, ...], subject: str) -> IndicatorLine:
    return next(line for line in lines if line.subject == subject)


def test_a_missing_session_is_missing_in_every_group_of_its_instrument() -> None:
    # 21 sessions of January 2013: New Year's Day and Martin Luther King Day are none
    days = [day for day in WEEKDAYS_2013 if day.month == 1 and day.day not in (1, 21)]
    whole, short = series("IBM", days), series("AAPL", [day for day in days if day.day != 15], 1)
    market = Market([whole, short], {whole.instrument: "Technology"})
    by_name = market.lines(Grouping.INSTRUMENT, JANUARY)
    assert [line.subject for line in by_name] == ["AAPL · XNYS", "IBM · XNYS", ALL]
    assert [(line.sessions_there, line.sessions_due) for line in by_name] == [(20, 21), (21, 21), (41, 42)]
    assert by_name[0].completeness == pytest.approx(20 / 21)
    by_sector = market.lines(Grouping.SECTOR, JANUARY)
    assert [(line.subject, line.members) for line in by_sector] == [("Technology", 1), (UNKNOWN_SECTOR, 1), (ALL, 2)]


def test_before_its_first_session_and_after_the_market_s_newest_nothing_is_expected() -> None:
    days = [day for day in WEEKDAYS_2013 if day.month == 1 and day.day not in (1, 21)]
    old, young = series("IBM", days[:10]), series("AAPL", days[5:8])
    market = Market([old, young], {})
    lines = market.lines(Grouping.INSTRUMENT, JANUARY)
    found = {line.subject: (line.sessions_there, line.sessions_due) for line in lines}
    assert found["IBM · XNYS"] == (10, 10), "the rest of January has not settled anywhere"
    assert found["AAPL · XNYS"] == (3, 5), "two sessions behind its market"


def test_a_gap_that_fills_a_period_is_shown_and_a_bar_on_a_day_without_session_counts_nowhere() -> None:
    market = Market([series("IBM", [dt.date(2013, 1, 31), dt.date(2013, 2, 2), dt.date(2013, 3, 1)])], {})
    february = period_of(dt.date(2013, 2, 1), PeriodKind.MONTH)
    (line, _) = market.lines(Grouping.INSTRUMENT, february)
    assert (line.measures.sessions, line.sessions_there, line.sessions_due) == (1, 0, 19), "the 2nd was a Saturday"
    gone = Market([series("IBM", [dt.date(2013, 1, 31), dt.date(2013, 3, 1)])], {})
    (line, _) = gone.lines(Grouping.INSTRUMENT, february)
    assert (line.measures.sessions, line.completeness) == (0, 0.0)


def test_where_the_calendar_cannot_say_nothing_is_claimed() -> None:
    days = [dt.date(1880, 1, 5), dt.date(1880, 1, 6)]
    (line, _) = Market([series("OLD", days)], {}).lines(Grouping.CLASS, period_of(days[0], PeriodKind.MONTH))
    assert (line.measures.sessions, line.sessions_due, line.completeness) == (2, 0, None)


def test_crypto_is_due_on_every_day_wherever_it_trades() -> None:
    weekend = [dt.date(2013, 1, 4), dt.date(2013, 1, 5)]
    coins = [
        series("BTC", weekend, asset_class=AssetClass.CRYPTO, exchange="XCBS"),
        series("ETH", [dt.date(2013, 1, 4), dt.date(2013, 1, 7)], asset_class=AssetClass.CRYPTO, exchange="XKRK"),
    ]
    lines = Market(coins, {}).lines(Grouping.INSTRUMENT, JANUARY)
    assert [(line.sessions_there, line.sessions_due) for line in lines[:2]] == [(2, 4), (2, 4)]


def test_a_line_is_what_its_members_are_measured_as() -> None:
    members = [series("IBM", WEEKDAYS_2013, 1), series("AAPL", WEEKDAYS_2013, 2)]
    market = Market(members, {})
    quarter = period_of(dt.date(2013, 5, 1), PeriodKind.QUARTER)
    line = line_of(market.lines(Grouping.CLASS, quarter), "stock")
    plain = key_indicators(members, equal_weight_index(members), quarter.first, quarter.last)
    assert line.measures == plain
    assert market.lines(Grouping.CLASS, period_of(dt.date(2012, 5, 1), PeriodKind.QUARTER)) == ()
    assert [one.name for one in market.periods(PeriodKind.QUARTER)] == ["2013-Q4", "2013-Q3", "2013-Q2", "2013-Q1"]


def test_a_market_without_sessions_has_no_lines() -> None:
    market = Market([series("IBM", [])], {})
    assert market.periods(PeriodKind.YEAR) == () and market.lines(Grouping.CLASS, JANUARY) == ()
    assert market.moved([], {}) == frozenset()


@given(st.data())
@settings(max_examples=40)
def test_every_line_that_a_change_moves_is_among_those_made_again(data: st.DataObject) -> None:
    pool = WEEKDAYS_2013[:130:3]

    def drawn(symbol: str) -> SessionSeries:
        days = sorted(data.draw(st.sets(st.sampled_from(pool), max_size=12)))
        return series(symbol, days, data.draw(st.integers(0, 3)))

    before = [drawn(symbol) for symbol in ("IBM", "AAPL", "F")]
    after = [drawn("IBM") if data.draw(st.booleans()) else before[0], before[1], before[2]]
    if data.draw(st.booleans()):
        after = after[:2]
    sectors = {one.instrument: data.draw(st.sampled_from(["A", "B"])) for one in before}
    named = {one.instrument: data.draw(st.sampled_from(["A", "B"])) for one in after}
    old, new = Market(before, sectors), Market(after, named)
    changed = _changed_months(before, after)
    moved = new.moved(changed, old.extents())
    for kind in PeriodKind:
        made_again = {period_of(month, kind) for month in moved}
        for grouping in Grouping:
            for period in {*old.periods(kind), *new.periods(kind)} - made_again:
                assert new.lines(grouping, period) == old.lines(grouping, period), (kind, grouping, period)


def _changed_months(before: list[SessionSeries], after: list[SessionSeries]) -> set[dt.date]:
    """Months in which some session differs, as the touches of a stream would tell."""

    def rows(all_series: list[SessionSeries]) -> set[tuple[str, int, float]]:
        return {
            (s.symbol, int(day), float(close))
            for s in all_series
            for day, close in zip(s.sessions, s.close, strict=True)
        }

    return {(dt.date(1970, 1, 1) + dt.timedelta(days=day)).replace(day=1) for _, day, _ in rows(before) ^ rows(after)}
