"""Documents on the stand-in for MongoDB: a refresh of what changed equals making everything again, to the byte."""

import dataclasses
import datetime as dt
import random
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from msgspec.structs import replace

from streamlake_assets.errors import SettingError, TryLaterError
from streamlake_assets.flows.documents import refresh_documents
from streamlake_assets.market.measures import PeriodKind
from streamlake_assets.market.period_lines import ALL, Grouping, Market
from streamlake_assets.market.session_documents import SessionBar, session_document
from streamlake_assets.market.types import AssetClass, Instrument, Interval, Status
from streamlake_assets.settings import Settings
from streamlake_assets.stores import period_documents
from streamlake_assets.stores.documents import BUCKETS, PERIODS, SESSIONS, DocumentStore
from streamlake_assets.stores.operations import exclusive
from streamlake_assets.stores.period_documents import period_lines, period_names
from streamlake_assets_tests.bars import (
    ACTIONS_STREAM,
    BARS_STREAM,
    NOW,
    SESSION,
    action,
    bar,
    minutes,
)
from streamlake_assets_tests.conftest import settings_in
from streamlake_assets_tests.document_house import House, day, put_some, random_facts
from streamlake_assets_tests.series_data import planted_range
from streamlake_assets_tests.unit.test_session_documents import sessions

pytestmark = pytest.mark.servers
APPLE = Instrument("AAPL", "XNYS")


# the protocol


@given(sessions())
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_session_documents_come_back_as_they_went(whole_house: House, bars: list[SessionBar]) -> None:
    made = session_document(APPLE, SESSION, Interval.M5, bars, complete=False)
    whole_house.documents.clear()
    assert whole_house.documents.put_sessions([made]) == 1
    assert whole_house.documents.sessions() == [made]


def test_documents_are_found_by_instrument_and_dates(house: House) -> None:
    house.put(*(day(n, symbol=symbol) for symbol in ("AAPL", "AAPL.B", "AA") for n in range(4)))
    house.refresh()
    second, third = SESSION + dt.timedelta(days=1), SESSION + dt.timedelta(days=2)
    assert [d.session for d in house.documents.sessions(APPLE, second, third)] == [second, third]
    assert {d.instrument for d in house.documents.sessions(APPLE)} == {APPLE}
    assert len(house.documents.sessions(first=third)) == 6
    assert [one.instrument for one in house.documents.series(APPLE)] == [APPLE]
    assert len(house.documents.series()) == 3


def test_more_buckets_are_read_than_one_message_holds(house: House) -> None:
    """3,600 of 16 KB: the stand-in would send them at once, and the client takes 48 MB."""
    year = planted_range(252, 1)
    many = [dataclasses.replace(year, symbol=f"S{number:04}") for number in range(3_600)]
    house.documents.put_buckets((2001, one) for one in many)
    found = house.documents.series()
    house.documents.clear()
    assert [one.symbol for one in found] == [one.symbol for one in many]
    assert np.array_equal(found[-1].close, year.close)


def test_reports_replace_each_other(house: House) -> None:
    house.documents.put_report("skill", {"a": 1})
    house.documents.put_report("skill", {"b": [1.5, None]})
    assert house.documents.report("skill") == {"_id": "skill", "b": [1.5, None]}
    assert house.documents.report("none") is None


def test_a_url_that_cannot_be_used_names_its_setting(tmp_path: Any) -> None:
    for url in ("mongodb://", "postgres://127.0.0.1", "mongodb://127.0.0.1:port"):
        with pytest.raises(SettingError, match="STREAMLAKE_MONGO_URL"):
            DocumentStore(settings_in(tmp_path, mongo_url=url))


def test_a_store_that_does_not_answer_is_an_outage(tmp_path: Any) -> None:
    documents = DocumentStore(settings_in(tmp_path, mongo_url="mongodb://127.0.0.1:1"))
    with pytest.raises(TryLaterError, match="reading the cache state"):
        documents.state()
    documents.close()


# what a refresh makes


def test_intraday_documents_equal_the_sums_of_their_bars(house: House) -> None:
    house.put(*minutes(3), *minutes(2, volume=Decimal("0.5"))[1:], bar(price="99", status=Status.PROVISIONAL))
    house.refresh()
    (document,) = house.documents.sessions()
    assert (document.interval, document.bars, document.gaps) == (Interval.M5, 3, 0)
    assert (document.open, document.close, document.complete) == (Decimal("10"), Decimal("10.02"), False)


def test_buckets_hold_complete_sessions_only(house: House) -> None:
    house.put(*minutes(2), *minutes(2, SESSION + dt.timedelta(days=1)))
    house.refresh()
    assert house.keys() == {"2013-01-14": True, "2013-01-15": False}
    (series,) = house.documents.series()
    assert series.last_session == SESSION
    house.put(*minutes(1, SESSION + dt.timedelta(days=2)))
    house.refresh()
    (series,) = house.documents.series()
    assert series.last_session == SESSION + dt.timedelta(days=1)


def test_buckets_carry_class_factors_and_absent_volumes(house: House) -> None:
    house.put(*(day(n, asset_class=AssetClass.INDEX, volume=None) for n in range(3)))
    house.put(action(ex_date=SESSION + dt.timedelta(days=1)), stream=ACTIONS_STREAM)
    house.refresh()
    (series,) = house.documents.series()
    assert series.asset_class is AssetClass.INDEX
    assert series.factor.tolist() == [1.0, 0.5, 1.0]
    assert np.isnan(series.volume).all()


def test_the_last_session_is_complete_when_the_next_begins_months_later(house: House) -> None:
    house.put(*minutes(2, dt.date(2013, 6, 28)))
    house.refresh()
    house.put(*minutes(2, dt.date(2013, 12, 2)))
    house.refresh()
    assert house.keys() == {"2013-06-28": True, "2013-12-02": False}
    assert house.contents() == house.from_nothing()


def test_a_session_that_lost_its_last_settled_bar_has_no_document(house: House) -> None:
    house.put(day(0), day(1))
    house.refresh()
    house.put(day(1, status=Status.PROVISIONAL, source="bokeh_sampledata"))
    house.refresh()
    assert list(house.keys()) == ["2013-01-14"]
    house.put(day(0, status=Status.PROVISIONAL, source="bokeh_sampledata"))
    house.refresh()
    assert house.contents() == {SESSIONS: [], BUCKETS: [], PERIODS: []}


def test_lines_of_periods_are_what_the_series_measure_and_follow_a_late_bar(house: House) -> None:
    house.put(*(day(n, symbol=symbol) for symbol in ("AAPL", "MSFT") for n in range(0, 60, 2)))
    for late in (None, day(3), day(60)):
        if late is not None:
            house.put(late)
        assert house.refresh().lines
        market = Market(house.documents.series(), {})
        for kind in PeriodKind:
            assert period_names(house.documents, kind) == tuple(period.name for period in market.periods(kind))
            for period in market.periods(kind):
                for grouping in Grouping:
                    expected = market.lines(grouping, period)
                    assert period_lines(house.documents, grouping, kind, period.name) == expected
    assert period_lines(house.documents, Grouping.CLASS, PeriodKind.YEAR, "2012") == ()
    assert house.contents() == house.from_nothing()


def test_a_period_of_many_lines_is_several_documents_until_it_has_fewer(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(period_documents, "LINES_PER_DOCUMENT", 2)
    symbols = ("AAPL", "IBM", "MSFT", "ORCL")
    house.put(*(day(n, symbol=symbol) for symbol in symbols for n in range(3)))
    house.refresh()

    def parts() -> list[str]:
        return sorted(house.documents.keys(PERIODS, "instrument|month|2013-01|"))

    def subjects() -> list[str]:
        lines = period_lines(house.documents, Grouping.INSTRUMENT, PeriodKind.MONTH, "2013-01")
        return [line.subject for line in lines]

    assert parts() == [f"instrument|month|2013-01|{number}" for number in range(3)]
    assert subjects() == [*(f"{symbol} · XNYS" for symbol in symbols), ALL]
    house.put(
        *(
            day(n, symbol=one, status=Status.PROVISIONAL, source="bokeh_sampledata")
            for one in ("IBM", "MSFT")
            for n in range(3)
        )
    )
    house.refresh()
    assert parts() == [f"instrument|month|2013-01|{number}" for number in range(2)]
    assert subjects() == ["AAPL · XNYS", "ORCL · XNYS", ALL]


def test_lines_of_the_form_before_are_replaced_by_the_next_refresh(house: House) -> None:
    house.put(*(day(n) for n in range(3)))
    house.refresh()
    expected = house.contents()
    house.raw[PERIODS].delete_one({"_id": "names"})
    house.raw[PERIODS].delete_many({"lines": {"$exists": True}})
    house.raw[PERIODS].insert_one({"_id": "class|month|2013-01|stock", "subject": "stock"})
    house.put(day(2))
    house.refresh()
    assert house.contents()[PERIODS] == expected[PERIODS]


def test_a_late_bar_touches_its_month_alone(house: House) -> None:
    house.put(*(bar(dt.date(2013, month, 15)) for month in range(1, 13)))
    assert house.refresh().months == 12
    house.raw[SESSIONS].update_many({}, {"$set": {"marker": 1}})
    house.put(bar(dt.date(2013, 6, 14)))
    done = house.refresh()
    assert done.months == 1
    unmarked = [record["_id"] for record in house.raw[SESSIONS].find({"marker": {"$exists": False}}).sort("_id", 1)]
    # May is looked at again because its last session might have been incomplete
    assert unmarked == [f"AAPL|XNYS|2013-{d}" for d in ("05-15", "06-14", "06-15")]


@pytest.mark.parametrize("whole", [False, True])
def test_chosen_months_are_made_again_whole_and_what_was_touched_elsewhere_is_left(house: House, whole: bool) -> None:
    house.put(*(bar(dt.date(2013, month, 15), symbol=symbol) for month in range(1, 7) for symbol in ("AAPL", "MSFT")))
    house.refresh()
    expected = house.contents()
    house.put(bar(dt.date(2013, 6, 14)))
    house.raw[SESSIONS].delete_one({"_id": "MSFT|XNYS|2013-02-15"})
    house.raw[SESSIONS].update_one({"_id": "AAPL|XNYS|2013-03-15"}, {"$set": {"close": "broken"}})
    chosen = (dt.date(2013, 2, 1), dt.date(2013, 3, 1))
    done = refresh_documents(house.database.writer, house.documents, NOW, full=whole, months=chosen)
    assert house.contents() == expected, "the month of the late bar is not among them"
    assert done.by_month == {dt.date(2013, 2, 1): 2, dt.date(2013, 3, 1): 2}
    later = house.refresh()
    assert later.by_month == {dt.date(2013, 5, 1): 1, dt.date(2013, 6, 1): 2}, "and is made by the next refresh"
    assert house.contents() == house.from_nothing()


def test_months_chosen_before_the_first_refresh_are_no_refresh(house: House) -> None:
    house.put(*(bar(dt.date(2013, month, 15)) for month in range(1, 4)))
    chosen = (dt.date(2013, 2, 1), dt.date(2013, 2, 1))
    refresh_documents(house.database.writer, house.documents, NOW, months=chosen)
    assert list(house.keys()) == ["2013-02-15"] and house.documents.state() is None
    assert house.refresh().sessions == 3


def test_nothing_new_writes_nothing(house: House) -> None:
    house.put(day(0))
    assert house.refresh().sessions == 1
    house.put(day(0))
    done = house.refresh()
    assert (done.months, done.sessions, done.buckets) == (0, 0, 0)
    assert done.next_offsets == {"finance-data:0": 2}


def test_a_recreated_topic_is_followed(house: House) -> None:
    house.put(day(0), day(1), day(2))
    house.refresh()
    recreated = BARS_STREAM._replace(topic_id="recreated")
    house.put(day(0, price="20", as_of=NOW), stream=recreated)
    done = house.refresh()
    assert done.months == 1
    assert house.documents.sessions(APPLE, SESSION, SESSION)[0].close == 20
    assert done.next_offsets == {"finance-data:0": 1}
    state = house.documents.state()
    assert state is not None and state["topic_id"] == "recreated"
    assert sorted(state["touch_cursor"].values()) == [1, 3]
    assert house.contents() == house.from_nothing()


# incremental equals full


@pytest.mark.parametrize("seed", range(3))
def test_any_sequence_of_refreshes_equals_one_from_nothing(house: House, seed: int) -> None:
    order = random.Random(seed)
    facts = random_facts(order)
    while facts:
        size = order.randint(1, 60)
        put_some(house, facts[:size])
        facts = facts[size:]
        house.refresh(full=order.random() < 0.1)
    grown = house.contents()
    house.refresh(full=True)
    assert house.contents() == grown
    assert house.from_nothing() == grown
    assert len(grown[SESSIONS]) > 20


class DyingStore(DocumentStore):
    """Dies at its nth write, after half of what was to be written."""

    def __init__(self, settings: Settings, lives: int) -> None:
        super().__init__(settings)
        self.lives = lives

    def replace(self, collection: str, records: Any) -> int:
        self.lives -= 1
        whole = list(records)
        if self.lives == 0:
            super().replace(collection, whole[: len(whole) // 2])
            raise KeyboardInterrupt
        return super().replace(collection, whole)

    def put_state(self, state: dict[str, Any]) -> None:
        self.lives -= 1
        if self.lives == 0:
            raise KeyboardInterrupt
        super().put_state(state)


def test_a_refresh_that_died_anywhere_is_made_good_by_the_next(house: House) -> None:
    put_some(house, random_facts(random.Random(7)))
    house.refresh()
    for lives in range(1, 6):
        later = NOW + dt.timedelta(days=lives)
        # two instruments: sessions, sessions, buckets, buckets, state
        changed = [day(n, price=str(70 + lives), as_of=later) for n in range(0, 120, 7)]
        house.put(*changed, *(replace(one, symbol="MSFT") for one in changed))
        state = house.documents.state()
        dying = DyingStore(house.database.settings, lives)
        with pytest.raises(KeyboardInterrupt):
            house.refresh(dying)
        dying.close()
        assert house.documents.state() == state
        house.refresh()
        grown = house.contents()
        assert grown == house.from_nothing()


def test_refreshes_take_turns(house: House) -> None:
    engine = house.database.writer
    with exclusive(engine, "refresh_documents", 0):
        with pytest.raises(TryLaterError, match="another process"), exclusive(engine, "refresh_documents", 0):
            raise AssertionError
        with exclusive(engine, "something_else", 0):
            pass
    with exclusive(engine, "refresh_documents", 0):
        pass
