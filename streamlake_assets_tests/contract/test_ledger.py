"""The forecast ledger: said before, judged after; late is late however close the race, and nothing is said twice."""

import datetime as dt
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from streamlake_assets.errors import IntegrityError, TryLaterError
from streamlake_assets.market.sessions import UTC
from streamlake_assets.market.signals import Action, Signal
from streamlake_assets.market.targets import Target
from streamlake_assets.market.types import Instrument, Status
from streamlake_assets.servers.home import Home
from streamlake_assets.servers.mysql_users import ROOT, ensure_passwords
from streamlake_assets.stores import ledger, model_register, schema
from streamlake_assets.stores.bar_store import BarStore
from streamlake_assets.stores.ledger import Issued
from streamlake_assets_tests.bars import SESSION, bar, minutes, slice_of
from streamlake_assets_tests.ledger_rows import NEXT, a_score, forecast, model
from streamlake_assets_tests.tables import Database

pytestmark = pytest.mark.servers

WAIT_S = 30


@pytest.fixture
def known(database: Database) -> Database:
    """One instrument with one settled session, one registered model."""
    put(database, bar())
    model_register.register_models(database.writer, [model()])
    return database


def put(database: Database, *facts: Any, stream_of: str = "bars") -> None:
    store = BarStore(database.writer, "test")
    stream = slice_of(facts).stream
    store.ingest([slice_of(facts, store.next_offsets(stream).get(0, 0))])


# on time and late


def test_a_forecast_before_any_bar_of_its_session_is_on_time(known: Database) -> None:
    assert ledger.issue(known.writer, [forecast()]) == Issued(new=1, late=0, existing=0)
    (row,) = ledger.rows(known.writer)
    assert row.forecast == forecast()
    assert (row.late, row.realised, row.error, row.covered) == (False, None, None, None)
    assert row.issued_at.tzinfo is UTC


@pytest.mark.parametrize(
    "revealed",
    [
        bar(NEXT),
        bar(NEXT, status=Status.PROVISIONAL),
        minutes(1, NEXT)[0],
        bar(NEXT + dt.timedelta(days=3)),
    ],
    ids=["settled", "provisional", "five minutes", "a later session"],
)
def test_a_forecast_after_any_bar_of_its_session_is_late(known: Database, revealed: Any) -> None:
    put(known, revealed)
    assert ledger.issue(known.writer, [forecast()]) == Issued(new=1, late=1, existing=0)
    assert ledger.rows(known.writer)[0].late


def test_bars_of_other_instruments_and_of_earlier_sessions_make_nothing_late(known: Database) -> None:
    put(known, bar(NEXT, symbol="MSFT"), bar(NEXT, exchange="XLON"), *minutes(2), bar(SESSION - dt.timedelta(days=1)))
    assert ledger.issue(known.writer, [forecast()]).late == 0


MANY = [f"M{number:03d}" for number in range(75)]
"""More than one statement asks for; not a number that one is made for."""


def test_of_many_instruments_each_is_judged_by_its_own_bars(known: Database) -> None:
    put(known, *(bar(symbol=symbol) for symbol in MANY), *(bar(NEXT, symbol=symbol) for symbol in MANY[::3]))
    issued = ledger.issue(known.writer, [forecast(symbol=symbol) for symbol in MANY])
    assert issued == Issued(new=75, late=25, existing=0)
    assert {row.forecast.symbol for row in ledger.rows(known.writer, last=100) if row.late} == set(MANY[::3])


def test_a_repeated_issue_leaves_what_was_said(known: Database) -> None:
    ledger.issue(known.writer, [forecast()])
    put(known, bar(NEXT))
    again = ledger.issue(known.writer, [forecast(point=0.5, high=0.6), forecast(target=Target.LOG_RANGE)])
    assert again == Issued(new=1, late=1, existing=1)
    said = {row.forecast.target: row for row in ledger.rows(known.writer)}
    assert said[Target.ADJUSTED_RETURN].forecast.point == 0.001
    assert not said[Target.ADJUSTED_RETURN].late and said[Target.LOG_RANGE].late


def test_nothing_is_written_when_one_forecast_cannot_be(known: Database) -> None:
    for wrong in (forecast(symbol="NONE"), forecast(exchange="XLON"), forecast(model_version="unregistered")):
        with pytest.raises(IntegrityError, match=r"NONE|XLON|unregistered"):
            ledger.issue(known.writer, [forecast(target=Target.LOG_RANGE), wrong])
    assert known.count(schema.forecasts) == 0


def test_an_outage_is_an_outage(known: Database) -> None:
    closed = sa.create_engine(known.writer.url.set(port=1))
    with pytest.raises(TryLaterError, match="issuing forecasts"):
        ledger._issue(closed, [forecast()])


# the race with the consumer


@contextmanager
def paused_before(engine: sa.Engine, starts_with: str) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Stop whoever is about to send such a statement: the first event says so, the second lets it go on."""
    reached, go_on = threading.Event(), threading.Event()

    def hold(_c: Any, _cur: Any, statement: str, _p: Any, _ctx: Any, _many: bool) -> None:
        if statement.replace("`", "").startswith(starts_with):
            reached.set()
            assert go_on.wait(WAIT_S)

    sa.event.listen(engine, "before_cursor_execute", hold)
    try:
        yield reached, go_on
    finally:
        go_on.set()
        sa.event.remove(engine, "before_cursor_execute", hold)


def is_blocked(database: Database) -> bool:
    """Tell whether a transaction waits for a lock."""
    query = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
    with sa.create_engine(root_url(database)).connect() as connection:
        return bool(connection.exec_driver_sql(query).scalar())


def root_url(database: Database) -> sa.URL:
    password = ensure_passwords(Home.of(database.settings).secrets)[ROOT]
    return database.admin.url.set(username=ROOT, password=password)


def until(condition: Callable[[], bool], *running: Future[Any]) -> None:
    """Wait for a condition, or for a thread that ended before it came true."""
    deadline = threading.Event()
    for _ in range(WAIT_S * 5):
        if condition() or any(one.done() for one in running):
            return
        # the server answers from a cache that it renews only when nobody has asked for a tenth of a second
        deadline.wait(0.2)
    raise AssertionError("the condition did not come true")


@pytest.mark.parametrize("revealed", [bar(NEXT), minutes(1, NEXT)[0]], ids=["daily", "five minutes"])
def test_a_bar_waits_until_the_forecast_that_did_not_see_it_is_committed(known: Database, revealed: Any) -> None:
    with ThreadPoolExecutor(2) as pool, paused_before(known.writer, "INSERT INTO forecasts") as (looked, go_on):
        issued = pool.submit(ledger.issue, known.writer, [forecast()])
        assert looked.wait(WAIT_S)
        stored = pool.submit(put, known, revealed)
        until(lambda: is_blocked(known), stored)
        assert not stored.done()
        assert known.count(schema.bars) == 1
        go_on.set()
        assert issued.result(WAIT_S) == Issued(new=1, late=0, existing=0)
        stored.result(WAIT_S)
    assert known.count(schema.bars) == 2


@pytest.mark.parametrize("symbol", [MANY[0], MANY[63], MANY[64], MANY[74]])
def test_a_bar_of_any_of_many_waits_until_their_forecasts_are_committed(known: Database, symbol: str) -> None:
    put(known, *(bar(symbol=one) for one in MANY))
    with ThreadPoolExecutor(2) as pool, paused_before(known.writer, "INSERT INTO forecasts") as (looked, go_on):
        issued = pool.submit(ledger.issue, known.writer, [forecast(symbol=one) for one in MANY])
        assert looked.wait(WAIT_S)
        stored = pool.submit(put, known, bar(NEXT, symbol=symbol))
        until(lambda: is_blocked(known), stored)
        assert not stored.done()
        go_on.set()
        assert issued.result(WAIT_S) == Issued(new=75, late=0, existing=0)
        stored.result(WAIT_S)


def test_a_forecast_waits_for_a_bar_that_is_being_stored_and_is_late(known: Database) -> None:
    with ThreadPoolExecutor(2) as pool, paused_before(known.writer, "INSERT INTO ingest_touches") as (inserted, go_on):
        stored = pool.submit(put, known, bar(NEXT))
        assert inserted.wait(WAIT_S)
        issued = pool.submit(ledger.issue, known.writer, [forecast()])
        until(lambda: is_blocked(known), issued)
        assert not issued.done()
        go_on.set()
        stored.result(WAIT_S)
        assert issued.result(WAIT_S) == Issued(new=1, late=1, existing=0)


def test_a_forecast_and_a_consumer_that_describes_its_instrument_do_not_lock_each_other_out(known: Database) -> None:
    described = minutes(2, sector="Technology")
    with ThreadPoolExecutor(2) as pool, paused_before(known.writer, "INSERT INTO bars") as (looked, go_on):
        # it holds the instrument's row by now, and is about to ask for a place among its bars
        stored = pool.submit(put, known, *described)
        assert looked.wait(WAIT_S)
        issued = pool.submit(ledger._issue, known.writer, [forecast()])
        until(lambda: is_blocked(known), issued)
        assert not issued.done()
        go_on.set()
        stored.result(WAIT_S)
        assert issued.result(WAIT_S) == Issued(new=1, late=0, existing=0)


def test_the_same_forecasts_issued_at_once_are_written_once(known: Database) -> None:
    put(known, *(bar(symbol=f"S{n}") for n in range(6)))
    wanted = [forecast(symbol=f"S{n}", target=target) for n in range(6) for target in Target]
    barrier = threading.Barrier(3)

    def run() -> Issued:
        barrier.wait(WAIT_S)
        return ledger.issue(known.writer, wanted)

    with ThreadPoolExecutor(3) as pool:
        results = [one.result(60) for one in [pool.submit(run) for _ in range(3)]]
    assert sum(one.new for one in results) == known.count(schema.forecasts) == 12
    assert sum(one.existing for one in results) == 24


# scores


def settle(database: Database) -> None:
    put(database, bar(NEXT))


def test_a_forecast_is_due_once_its_session_has_a_settled_daily_bar(known: Database) -> None:
    ledger.issue(known.writer, [forecast()])
    assert ledger.due(known.writer) == []
    put(known, *minutes(2, NEXT), bar(NEXT, status=Status.PROVISIONAL))
    assert ledger.due(known.writer) == []
    settle(known)
    (waiting,) = ledger.due(known.writer)
    assert waiting.forecast == forecast()
    assert ledger.put_scores(known.writer, [(waiting.id, a_score())]) == 1
    assert ledger.due(known.writer) == []
    (row,) = ledger.rows(known.writer)
    assert (row.realised, row.error, row.covered) == (0.0105, 0.0095, True)


def test_who_knows_what_settled_looks_at_nothing_else(known: Database) -> None:
    ledger.issue(known.writer, [forecast()])
    settle(known)
    this = Instrument(forecast().symbol, forecast().exchange)
    assert ledger.due(known.writer, {(this, NEXT - dt.timedelta(days=1))}) == []
    assert ledger.due(known.writer, {(Instrument("OTHER", this.exchange), NEXT)}) == ledger.due(known.writer, []) == []
    (waiting,) = ledger.due(known.writer, {(this, NEXT), (this, NEXT - dt.timedelta(days=1))})
    assert waiting.forecast == forecast()


def test_a_late_forecast_is_never_due(known: Database) -> None:
    settle(known)
    ledger.issue(known.writer, [forecast()])
    assert ledger.due(known.writer) == []


def test_a_score_is_written_once_by_whoever_comes_first(known: Database) -> None:
    ledger.issue(known.writer, [forecast(), forecast(target=Target.LOG_RANGE)])
    settle(known)
    scores = [(waiting.id, a_score()) for waiting in ledger.due(known.writer)]
    barrier = threading.Barrier(4)

    def run() -> int:
        barrier.wait(WAIT_S)
        return ledger.put_scores(known.writer, scores)

    with ThreadPoolExecutor(4) as pool:
        written = [one.result(60) for one in [pool.submit(run) for _ in range(4)]]
    assert sum(written) == known.count(schema.forecast_scores) == 2


def test_a_score_without_a_forecast_is_no_duplicate_but_an_error(known: Database) -> None:
    with pytest.raises(sa.exc.IntegrityError):
        ledger.put_scores(known.writer, [(999_999, a_score())])


# models, champions, signals


def test_a_model_is_registered_once(known: Database) -> None:
    assert model_register.register_models(known.writer, [model(), model("m2"), model("m2")]) == 1
    stored = {row.version: row for row in known.rows(schema.model_versions)}
    assert stored["m2"].manifest == model("m2")
    assert stored["m2"].spec_name == "linear"


def test_the_last_champion_speaks(known: Database) -> None:
    model_register.register_models(known.writer, [model("m2")])
    assert model_register.champions(known.writer) == {}
    said = [
        model_register.set_champion(known.writer, Target.LOG_RANGE, version, "why")
        for version in ("m1", "m1", "m2", "m1")
    ]
    assert said == [True, False, True, True]
    assert model_register.champions(known.writer) == {Target.LOG_RANGE: "m1"}
    assert known.count(schema.champions) == 3


def signal(**changes: Any) -> Signal:
    made: dict[str, Any] = {
        "symbol": "AAPL", "exchange": "XNYS", "session": NEXT, "action": Action.BUY, "model_version": "m1",
        "point": 0.01, "low": 0.005, "high": 0.022, "cost": 0.001,
    }  # fmt: skip
    return Signal(**{**made, **changes})


def test_signals_are_written_once_and_counted_when_their_model_has_no_skill(known: Database) -> None:
    model_register.register_models(known.writer, [model("skilled", has_skill=True)])
    ledger.issue(known.writer, [forecast(), forecast(model_version="skilled")])
    assert ledger.signals_without_skill(known.writer) == 0
    assert ledger.put_signals(known.writer, [signal(model_version="skilled")], "why") == 1
    assert ledger.signals_without_skill(known.writer) == 0
    assert ledger.put_signals(known.writer, [signal(model_version="skilled"), signal()], "why") == 1
    assert ledger.signals_without_skill(known.writer) == 1
    assert {row.side for row in known.rows(schema.signals)} == {"buy"}


def test_a_signal_without_a_forecast_is_refused(known: Database) -> None:
    with pytest.raises(IntegrityError, match="no forecast"):
        ledger.put_signals(known.writer, [signal()], "why")


def test_the_ledger_is_read_newest_session_first(known: Database) -> None:
    put(known, bar(symbol="MSFT"))
    later = NEXT + dt.timedelta(days=1)
    ledger.issue(known.writer, [forecast(), forecast(symbol="MSFT"), forecast(session=later, after_session=NEXT)])
    assert [(r.forecast.session, r.forecast.symbol) for r in ledger.rows(known.writer)] == [
        (later, "AAPL"), (NEXT, "AAPL"), (NEXT, "MSFT"),
    ]  # fmt: skip
    assert len(ledger.rows(known.writer, last=1)) == 1
    assert [r.forecast.symbol for r in ledger.rows(known.writer, Instrument("MSFT", "XNYS"))] == ["MSFT"]
