"""Limits on the real database: an edge is written with the bar that made it, once; the others cost nothing."""

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from streamlake_assets.errors import TryLaterError
from streamlake_assets.market.targets import Target
from streamlake_assets.market.thresholds import ForecastLimit, PriceLimit, Threshold, VolatilityLimit
from streamlake_assets.market.types import Interval, Status
from streamlake_assets.stores import alert_list, schema
from streamlake_assets.stores.bar_store import BarStore
from streamlake_assets.stores.forecast_watch import ForecastWatch
from streamlake_assets.stores.threshold_watch import BarWatch, end_gone
from streamlake_assets_tests.bars import SESSION, bar, slice_of
from streamlake_assets_tests.ledger_rows import forecast
from streamlake_assets_tests.tables import Database, statements

pytestmark = pytest.mark.servers

NOON = dt.datetime(2024, 1, 2, 12, tzinfo=dt.UTC)
CHEAP = PriceLimit(name="cheap", below=10.0, hysteresis=0.1)


class Consumer:
    """A consumer of a test, its clock, and what it stores."""

    def __init__(self, database: Database, *limits: Threshold) -> None:
        self.database = database
        self.now = 0.0
        self.stores: list[BarStore] = []
        self.limits(*limits)
        self.store = self.another()

    def another(self) -> BarStore:
        watch = BarWatch(now=lambda: NOON, monotonic=lambda: self.now)
        self.stores.append(BarStore(self.database.writer, "test", watch=watch))
        return self.stores[-1]

    def limits(self, *limits: Threshold) -> None:
        rules = [{"name": "who", "enabled": True, "targets": ["ops"]}, *(msgspec.to_builtins(one) for one in limits)]
        alert_list.put_rules(self.database.writer, rules)

    def day(self, number: int, **changes: Any) -> None:
        """Store one more daily bar of some instruments."""
        self.put(bar(SESSION + dt.timedelta(days=number), **changes))

    def put(self, *bars: Any) -> None:
        part = slice_of(bars)
        self.store.ingest([slice_of(bars, self.store.next_offsets(part.stream).get(0, 0))])

    def told(self) -> list[tuple[str, str]]:
        """State and name of every alert, the oldest first."""
        return [(row.state, row.name) for row in self.database.rows(schema.alert_outbox)]


Starts = Callable[..., Consumer]


@pytest.fixture
def start(database: Database) -> Iterator[Starts]:
    """Starts consumers; at the end they let go of their connections."""
    started: list[Consumer] = []

    def begin(*limits: Threshold) -> Consumer:
        started.append(Consumer(database, *limits))
        return started[-1]

    yield begin
    for one in started:
        for store in one.stores:
            store.close()


def test_a_price_that_crosses_is_one_alert_and_another_when_it_is_over(database: Database, start: Starts) -> None:
    here = start(CHEAP)
    for number, price in enumerate(["11", "9.9", "9.8", "10.5", "9.7", "11.5", "12"]):
        here.day(number, price=price)
    assert here.told() == [("raised", "cheap:AAPL|XNYS"), ("recovered", "cheap:AAPL|XNYS")]
    raised, over = database.rows(schema.alert_outbox)
    assert (raised.kind, raised.severity) == ("threshold", "warning")
    assert "closed at 9.9, below 10." in raised.body and "closed at 11.5, not below 10 any more." in over.body


def test_who_starts_again_knows_how_a_limit_stood(database: Database, start: Starts) -> None:
    here = start(CHEAP)
    here.day(0, price="9")
    here.store = here.another()
    here.day(1, price="9")
    assert here.told() == [("raised", "cheap:AAPL|XNYS")]
    here.day(2, price="12")
    assert here.told()[1:] == [("recovered", "cheap:AAPL|XNYS")]


def test_an_alert_and_its_bar_are_written_together_or_not_at_all(database: Database, start: Starts) -> None:
    here = start(CHEAP)
    here.day(0, price="11")

    def lost(_: sa.Connection) -> None:
        raise TryLaterError("the database went away before the commit")

    low = slice_of([bar(SESSION + dt.timedelta(days=1), price="9")], 1)
    with pytest.raises(TryLaterError):
        here.store.ingest([low], within=lost)
    assert here.told() == [] and database.count(schema.bars) == 1
    here.store.ingest([low])
    assert here.told() == [("raised", "cheap:AAPL|XNYS")] and database.count(schema.bars) == 2


def test_a_late_bar_says_nothing_and_a_correction_of_the_newest_does(database: Database, start: Starts) -> None:
    here = start(CHEAP)
    here.day(5, price="11")
    here.day(3, price="9")
    assert here.told() == []
    newest = bar(SESSION + dt.timedelta(days=5), price="9")
    here.put(msgspec.structs.replace(newest, as_of=newest.as_of + dt.timedelta(hours=1)))
    assert here.told() == [("raised", "cheap:AAPL|XNYS")]


def test_a_provisional_bar_counts_only_where_the_limit_says_so(database: Database, start: Starts) -> None:
    soon = PriceLimit(name="soon", below=10.0, provisional=True)
    here = start(CHEAP, soon)
    here.day(0, price="11")
    here.day(1, price="9", status=Status.PROVISIONAL)
    assert here.told() == [("raised", "soon:AAPL|XNYS")]
    one = bar(SESSION + dt.timedelta(days=1), price="9")
    here.put(msgspec.structs.replace(one, as_of=one.as_of + dt.timedelta(hours=1)))
    assert here.told()[1:] == [("raised", "cheap:AAPL|XNYS")]


def test_volatility_is_that_of_the_newest_bars_of_the_interval(database: Database, start: Starts) -> None:
    wild = VolatilityLimit(name="wild", above=0.05, bars=2)
    here = start(wild, VolatilityLimit(name="minutes", above=0.001, bars=2, interval=Interval.M5))
    here.day(0, high="10", low="10", open="10", close="10")
    here.day(1, high="10", low="10", open="10", close="10")
    assert here.told() == []
    here.day(2, high="12", low="9", open="10", close="11")
    assert here.told() == [("raised", "wild:AAPL|XNYS")]


def test_instruments_without_a_limit_cost_one_look_now_and_then(database: Database, start: Starts) -> None:
    here = start(PriceLimit(name="cheap", below=10.0, instruments=("IBM",)))
    here.day(0, price="9")
    here.day(1, price="9", symbol="IBM")
    here.day(2, price="9", symbol="IBM")
    with statements(database.writer) as seen:
        here.day(3, price="9")
    assert not [one for one in seen if "alert" in one]
    with statements(database.writer) as seen:
        here.day(4, price="9", symbol="IBM")
    assert not [one for one in seen if "alert" in one], "how a limit stands is remembered"
    assert here.told() == [("raised", "cheap:IBM|XNYS")]


def test_a_changed_rule_file_is_seen_by_a_running_consumer_and_a_limit_that_is_gone_ends_its_alert(
    database: Database, start: Starts
) -> None:
    here = start()
    here.day(0, price="9")
    here.limits(CHEAP)
    here.day(1, price="9")
    assert here.told() == [], "it looks every few seconds"
    here.now = 6.0
    here.day(2, price="9")
    assert here.told() == [("raised", "cheap:AAPL|XNYS")]
    assert end_gone(database.writer, ["cheap"], NOON) == []
    assert [edge.recovered for edge in end_gone(database.writer, ["another"], NOON)] == [True]
    assert end_gone(database.writer, ["another"], NOON) == []
    assert here.told()[1:] == [("recovered", "cheap:AAPL|XNYS")]


def test_a_forecast_that_crosses_is_an_alert_and_the_baseline_s_only_if_asked_for(
    database: Database, start: Starts
) -> None:
    wide = ForecastLimit(name="wide", target=Target.LOG_RANGE, above=0.03)
    any_model = ForecastLimit(name="any", target=Target.LOG_RANGE, above=0.03, with_skill=False)
    here = start(wide, any_model, ForecastLimit(name="up", target=Target.ADJUSTED_RETURN, above=0.5))
    watch = ForecastWatch(now=lambda: NOON, monotonic=lambda: here.now)

    def said(point: float, has_skill: bool) -> None:
        watch(database.writer, [forecast(target=Target.LOG_RANGE, point=point, has_skill=has_skill)])

    said(0.04, False)
    assert here.told() == [("raised", "any:AAPL|XNYS")]
    said(0.04, True)
    assert here.told()[1:] == [("raised", "wide:AAPL|XNYS")]
    body = database.rows(schema.alert_outbox)[1].body
    assert "the forecast of log_range" in body and "is 0.04 (90% from" in body and "by m1), above 0.03." in body
    said(0.02, True)
    assert sorted(here.told()[2:]) == [("recovered", "any:AAPL|XNYS"), ("recovered", "wide:AAPL|XNYS")]
