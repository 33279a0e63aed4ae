"""The cache is its source: documents of the newest months are made of their bars again, and any byte apart is found."""

import datetime as dt
import random
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from streamlake_assets.flows.document_proof import first_session, judge_documents
from streamlake_assets.market.quality import Verdict
from streamlake_assets.stores import schema
from streamlake_assets.stores.documents import BUCKETS, SESSIONS
from streamlake_assets_tests.bars import SESSION, bar, minutes
from streamlake_assets_tests.document_house import House, day, put_some, random_facts

pytestmark = pytest.mark.servers
NEXT = SESSION + dt.timedelta(days=1)
KEY = f"AAPL|XNYS|{SESSION}"


def judged(house: House, most_bars: int = 100_000) -> Verdict:
    return judge_documents(house.database.writer, house.documents, most_bars)


def changed(house: House, **fields: Any) -> None:
    assert house.raw[SESSIONS].update_one({"_id": KEY}, {"$set": fields}).modified_count == 1


def removed(house: House) -> None:
    house.raw[SESSIONS].delete_one({"_id": KEY})


def invented(house: House) -> None:
    put(house, "AAPL|XNYS", "2013-06-11")


def of_nobody(house: House) -> None:
    put(house, "NOBODY|XNYS", "2013-01-11")


def put(house: House, instrument: str, session: str) -> None:
    record = house.raw[SESSIONS].find_one({"_id": KEY})
    house.raw[SESSIONS].insert_one({**record, "_id": f"{instrument}|{session}", "session": session})


def bar_changed(house: House) -> None:
    with house.database.admin.begin() as connection:
        bars = schema.bars
        time = connection.execute(sa.select(sa.func.min(bars.c.bar_time))).scalar_one()
        connection.execute(sa.update(bars).where(bars.c.bar_time == time).values(volume=bars.c.volume + 1))


FAULTS: dict[str, tuple[Callable[[House], None], str, str]] = {
    "a value that no daily bar has": (lambda house: changed(house, realised_volatility=0.5), "different", KEY),
    "an offset": (lambda house: changed(house, watermark={"market.bars.v1:0": 10**6}), "different", KEY),
    "a field more": (lambda house: changed(house, note="by hand"), "different", KEY),
    "a session that is said to be open": (lambda house: changed(house, complete=False), "different", KEY),
    "a document that is gone": (removed, "missing", KEY),
    "a document of a month without bars": (invented, "without_bars", "AAPL|XNYS|2013-06-11"),
    "a document of no instrument": (of_nobody, "without_bars", "NOBODY|XNYS|2013-01-11"),
    "a bar": (bar_changed, "different", KEY),
}


@pytest.mark.parametrize("name", FAULTS)
def test_whatever_is_apart_is_found_and_named(house: House, name: str) -> None:
    """Sessions of 5-minute bars alone: no daily bar would tell."""
    fault, kind, key = FAULTS[name]
    house.put(*minutes(3), *minutes(3, NEXT))
    house.refresh()
    good = judged(house)
    assert good.passed and good.facts["compared"] == 2
    fault(house)
    bad = judged(house)
    assert not bad.passed
    assert bad.facts[kind] == 1 and bad.facts["first_apart"] == [key]
    house.refresh(full=True)
    assert judged(house).passed
    assert house.contents() == house.from_nothing()


@pytest.mark.parametrize("seed", range(3))
def test_no_moment_of_a_stream_looks_like_a_fault(house: House, seed: int) -> None:
    """What bars have touched since the last refresh is not compared; what they have not is."""
    order = random.Random(seed)
    facts = random_facts(order)
    compared = 0
    while facts:
        size = order.randint(1, 60)
        put_some(house, facts[:size])
        facts = facts[size:]
        before = judged(house)
        assert before.passed, before.text
        assert before.facts["left_out"] and "wait for the next refresh" in before.text
        compared += before.facts["compared"]
        house.refresh()
        after = judged(house)
        assert after.passed, after.text
        assert after.facts["compared"] == house.documents.count(SESSIONS)
        assert not after.facts["left_out"]
    assert compared > 0


def test_a_session_with_a_daily_bar_that_has_no_document_is_told_by_another_check(house: House) -> None:
    house.put(day(0), day(1))
    house.refresh()
    removed(house)
    found = judged(house)
    assert found.passed and found.facts["compared"] == 1


def test_a_bucket_that_no_document_stands_behind_is_gone_after_a_full_refresh(house: House) -> None:
    house.put(day(0), day(1))
    house.refresh()
    expected = house.contents()
    record = house.raw[BUCKETS].find_one({})
    for key in ("AAPL|XNYS|1999", "NOBODY|XNYS|2013"):
        house.raw[BUCKETS].insert_one({**record, "_id": key, "year": int(key[-4:]), "symbol": key.split("|")[0]})
    house.refresh(full=True)
    assert house.contents() == expected


def test_only_the_newest_months_are_read(house: House) -> None:
    house.put(*(bar(dt.date(2013, month, number)) for month in (1, 2, 3) for number in (11, 12)))
    house.refresh()
    for most, first, compared in ((6, "2013-01-01", 6), (5, "2013-02-01", 4), (0, "2013-03-01", 2)):
        found = judged(house, most)
        assert (found.facts["first_session"], found.facts["compared"]) == (first, compared)
    house.raw[SESSIONS].update_one({"_id": "AAPL|XNYS|2013-01-11"}, {"$set": {"gaps": 7}})
    assert judged(house, 5).passed and not judged(house, 6).passed


def test_before_the_first_refresh_there_is_nothing_to_compare(house: House) -> None:
    assert judged(house).facts["compared"] == 0
    house.put(day(0))
    found = judged(house)
    assert found.passed and found.facts["compared"] == 0


def test_a_month_without_documents_counts_no_bars() -> None:
    sizes = {"A|X|2013-01-11": 3, "A|X|2013-03-11": 3}
    assert first_session(sizes, dt.date(2013, 3, 12), 5) == dt.date(2013, 3, 1)
    assert first_session(sizes, dt.date(2013, 5, 12), 5) == dt.date(2013, 3, 1)
    assert first_session({}, dt.date(2013, 5, 12), 5) == dt.date(2013, 5, 1)
