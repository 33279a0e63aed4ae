"""The scorer's loop on twins of broker, tables and ledger: said in time, judged after, complete whatever happens."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import replace
from functools import partial
from typing import Any, cast

import pytest
from msgspec.structs import replace as changed

from streamlake_assets.errors import TryLaterError
from streamlake_assets.learning.serve import ServingModel
from streamlake_assets.market.contract import ACTIONS_TOPIC, BARS_TOPIC
from streamlake_assets.market.features import LOOKBACK
from streamlake_assets.market.forecasts import issue
from streamlake_assets.market.targets import Target
from streamlake_assets.market.types import Instrument, Interval, Status
from streamlake_assets.sidecar.after_work import AtOnce
from streamlake_assets.sidecar.score_loop import LOOK_S
from streamlake_assets.sidecar.serving_champions import EVERY_S, RETRY_S, ServingChampions
from streamlake_assets.stores.ledger import Issued
from streamlake_assets_tests.bars import action, bar, minutes, wire
from streamlake_assets_tests.scorer_twins import NOW, OTHERS, SESSIONS, Clock, Market, Register, Stub, models


@pytest.fixture
def market() -> Market:
    made = Market()
    made.turn(2)
    return made


def test_at_a_start_every_instrument_is_forecast(market: Market) -> None:
    assert set(market.tables.rows) == market.keys(market.coming)
    assert market.tables.sent == set(market.tables.rows)
    assert market.loop.idle


def test_each_settled_session_is_followed_by_the_forecasts_of_the_next_and_scored_when_stored(market: Market) -> None:
    for _ in range(5):
        session = market.next_day()
        done = market.turn()
        assert done.issued == Issued(4, 0, 0)
        assert len(done.since) == 2, "one latency for each bar"
        assert market.keys(market.coming) <= set(market.tables.rows), "before the tables hold the session itself"
        assert not market.keys(session) & set(market.tables.scores)
        market.tables.store()
        assert market.turn(3).scored == 4
        assert market.keys(session) <= set(market.tables.scores)
    assert not any(market.tables.rows.values())
    assert len(market.tables.sent) == 4 * 6 + 4 * 5


def test_the_forecasts_are_those_of_the_whole_history_one_by_one(market: Market) -> None:
    market.next_day()
    market.turn()
    states = market.loop._states
    assert states is not None
    for key in market.keys(market.coming):
        series = states.by_instrument[Instrument(key[0], "XNYS")].series()
        model = next(m for m in market.speakers.models if m.target is key[1])
        assert market.tables.forecasts[key] == issue(model, series, market.coming)


def test_a_split_in_the_same_take_counts_for_the_bar_of_its_date(market: Market) -> None:
    session = market.next_day()
    market.broker.send(ACTIONS_TOPIC, "IBM", wire(action(symbol="IBM", ex_date=session)))
    market.turn()
    states = market.loop._states
    assert states is not None
    assert states.by_instrument[Instrument("IBM", "XNYS")].series().factor[-1] == 0.5
    assert states.by_instrument[Instrument("AAPL", "XNYS")].series().factor[-1] == 1


def test_a_session_that_is_over_already_is_not_forecast(market: Market) -> None:
    market.next_day()
    skipped = market.coming
    market.next_day()
    market.turn()
    assert not market.keys(skipped) & set(market.tables.rows)
    assert market.keys(market.coming) <= set(market.tables.rows)


def test_a_late_forecast_is_marked_and_gets_no_score(market: Market) -> None:
    market.next_day()
    late = market.coming
    market.tables.added += [bar(late, symbol="IBM", interval=Interval.M5, bar_time=minutes(1, late)[0].bar_time)]
    assert market.turn().issued == Issued(4, 2, 0)
    assert {key for key, is_late in market.tables.rows.items() if is_late} == {
        key for key in market.keys(late) if key[0] == "IBM"
    }
    market.next_day()
    market.tables.store()
    market.turn(4)
    assert {key[0] for key in market.tables.scores if key[2] == late} == {"AAPL"}


def test_messages_that_settle_nothing_ask_for_nothing(market: Market) -> None:
    before = set(market.tables.rows)
    coming = market.coming
    market.send(*minutes(3, coming, symbol="IBM"), bar(coming, symbol="IBM", status=Status.PROVISIONAL))
    market.send(bar(SESSIONS[market.day - 3], symbol="IBM", price="10.03", as_of=NOW))
    for value in (None, b"", b'{"interval":"1d"', b"\\", b'{"ticker":1}'):
        market.broker.send(BARS_TOPIC, "IBM", value)
        market.broker.send(ACTIONS_TOPIC, "IBM", value)
    assert market.turn(3).issued == Issued(0, 0, 0)
    assert set(market.tables.rows) == before


def test_a_daily_bar_that_is_spelled_with_escapes_is_one(market: Market) -> None:
    session = SESSIONS[market.day]
    value = wire(bar(session, symbol="IBM", price="10")).replace(b'"1d"', b'"\\u0031d"')
    market.broker.send(BARS_TOPIC, "IBM", value)
    assert market.turn().issued.new == 2


# outages and crashes


def test_an_outage_is_waited_out_and_nothing_is_lost(market: Market) -> None:
    session = market.next_day()
    market.tables.away = True
    assert market.turn(30).issued == Issued(0, 0, 0)
    assert market.loop.in_outage
    market.next_day()
    market.turn(5)
    market.tables.away = False
    market.turn(30)
    assert not market.loop.in_outage
    # while the database was away nothing more was taken: the sessions are answered one after the other
    market.tables.store()
    market.turn(30)
    for day in (session, SESSIONS[market.day - 1], market.coming):
        assert market.keys(day) <= set(market.tables.rows)
    assert market.keys(session) <= set(market.tables.scores)


@pytest.mark.parametrize("point", ["issued", "scored", "published"])
def test_killed_at_any_point_a_restart_completes_ledger_and_topic(market: Market, point: str) -> None:
    session = market.next_day()
    market.tables.store()

    class Killed(BaseException):
        pass

    def die(at: str) -> None:
        if at == point:
            raise Killed

    market.at = die
    with pytest.raises(Killed):
        market.turn(10)
    market.at = lambda _: None
    market.restart()
    market.turn(10)
    assert market.keys(session) | market.keys(market.coming) == set(market.tables.rows)
    assert set(market.tables.scores) == market.keys(session)
    assert market.tables.sent == {*market.tables.rows} | {(key, "score") for key in market.tables.scores}
    assert market.turn(5).issued == Issued(0, 0, 0), "and nothing is said again"


def test_sessions_that_passed_while_it_was_down_are_scored_and_the_newest_answered(market: Market) -> None:
    expected = market.keys(market.coming)
    for _ in range(3):
        market.next_day()
    market.tables.store()
    market.restart()
    market.turn(4)
    assert set(market.tables.scores) == expected
    assert set(market.tables.rows) == expected | market.keys(market.coming)


def test_messages_between_tables_and_topic_are_read_once_more_and_counted_once(market: Market) -> None:
    sessions = [market.next_day() for _ in range(3)]
    market.turn()
    before = dict(market.tables.forecasts)
    market.restart()
    market.turn(3)
    assert market.tables.forecasts == before
    states = market.loop._states
    assert states is not None
    assert states.by_instrument[Instrument("IBM", "XNYS")].newest == sessions[-1]


class Beside(Executor):
    """Work that goes on beside the loop until it is let go."""

    def __init__(self) -> None:
        self.held: list[tuple[Future[Any], partial[Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.held.append((Future(), partial(fn, *args, **kwargs)))
        return self.held[-1][0]

    def go(self) -> None:
        """Do what is held."""
        held, self.held = self.held, []
        for future, work in held:
            done = AtOnce().submit(work)
            if error := done.exception():
                future.set_exception(error)
            else:
                future.set_result(done.result())


def test_forecasts_do_not_wait_for_scores_and_messages_and_none_of_these_is_forgotten(market: Market) -> None:
    beside = market.loop._beside = Beside()
    first = market.next_day()
    market.tables.store()
    market.turn(3)
    assert len(beside.held) == 1, "one piece of work at a time"
    second = market.next_day()
    assert market.turn().issued == Issued(4, 0, 0)
    assert not market.tables.scores
    assert not market.loop.idle
    beside.go()
    market.turn(3)
    market.tables.store()
    for _ in range(40):
        market.turn()
        beside.go()
    assert set(market.tables.scores) == market.keys(first) | market.keys(second)
    assert market.tables.sent == {*market.tables.rows} | {(key, "score") for key in market.tables.scores}
    assert market.loop.idle


def test_what_settles_while_others_are_scored_is_scored_after_them(market: Market) -> None:
    """The tables have its bar before the scores are written, the series that they are made from do not."""
    beside = market.loop._beside = Beside()
    first = market.next_day()
    market.tables.store()
    market.turn()
    beside.go()
    market.turn()
    ((_, scoring),) = beside.held
    assert scoring.args[1].series is not None
    second = market.next_day()
    market.turn()
    market.tables.store()
    beside.go()
    for _ in range(60):
        market.turn()
        beside.go()
    assert set(market.tables.scores) == market.keys(first) | market.keys(second)


def test_an_outage_beside_the_loop_is_tried_again(market: Market) -> None:
    beside = market.loop._beside = Beside()
    session = market.next_day()
    market.turn()
    market.tables.store()
    market.tables.away = True
    beside.go()
    market.turn()
    assert market.loop.in_outage
    market.tables.away = False
    for _ in range(60):
        market.turn()
        beside.go()
    assert not market.loop.in_outage
    assert set(market.tables.scores) == market.keys(session)
    assert market.tables.sent == {*market.tables.rows} | {(key, "score") for key in market.tables.scores}


def test_an_instrument_that_the_tables_do_not_know_yet_is_waited_for() -> None:
    market = Market("AAPL", known=LOOKBACK + 1)
    market.turn()
    market.symbols = ("NEW",)
    for session in SESSIONS[: market.day]:
        market.settle(session)
    assert market.turn(10).issued == Issued(0, 0, 0)
    assert not market.loop.idle
    market.tables.store()
    assert market.turn(10).issued == Issued(2, 0, 0)


def test_too_short_a_history_is_passed_over_with_its_reason() -> None:
    market = Market("IBM", known=LOOKBACK - 2)
    market.turn(3)
    assert market.tables.rows == {}
    assert "too few" in market.loop.passed_over[Instrument("IBM", "XNYS")]
    for _ in range(2):
        market.next_day()
        market.turn()
    assert set(market.tables.rows) == market.keys(market.coming)
    assert market.loop.passed_over == {}


def test_what_comes_into_the_tables_by_another_way_is_seen(market: Market) -> None:
    session = SESSIONS[market.day]
    market.tables.added.append(bar(session, symbol="IBM", price="10"))
    market.tables.others[OTHERS] = 1
    market.turn(1, seconds=LOOK_S + 1)
    assert market.turn(3).issued == Issued(2, 0, 2)
    seeds = market.tables.seeds
    market.turn(3, seconds=LOOK_S + 1)
    assert market.tables.seeds == seeds, "once"


# champions


def test_a_new_champion_speaks_without_a_restart(market: Market) -> None:
    market.speakers.name(*models("2"))
    market.turn()
    assert set(market.tables.rows) == market.keys(market.coming) | market.keys(market.coming, "2")
    market.next_day()
    market.turn()
    assert market.keys(market.coming, "2") <= set(market.tables.rows)
    assert not market.keys(market.coming) & set(market.tables.rows)


def test_without_a_champion_it_waits_for_one() -> None:
    market = Market()
    market.speakers.name()
    market.speakers.look()
    assert market.turn(3).issued == Issued(0, 0, 0)
    market.next_day()
    market.turn(3)
    market.speakers.name(*models())
    market.turn()
    assert set(market.tables.rows) == market.keys(market.coming)


def test_a_champion_that_needs_more_history_gets_it() -> None:
    market = Market(known=LOOKBACK + 60)
    market.turn()
    market.speakers.name(*models("2", min_history=LOOKBACK + 59))
    market.turn(2)
    assert market.keys(market.coming, "2") <= set(market.tables.rows)
    market.speakers.name(*models("3", min_history=LOOKBACK + 99))
    market.turn(2)
    assert not market.keys(market.coming, "3") & set(market.tables.rows)


RANGE = Target.LOG_RANGE


def test_the_register_is_asked_now_and_then_and_a_new_name_is_opened() -> None:
    register, clock = Register(), Clock()
    serving = register.champions(clock)
    assert not serving.look()
    register.named = {RANGE: "log_range-1"}
    assert not serving.look(), "not asked each time"
    clock.now += EVERY_S
    assert serving.look()
    assert serving.versions == {"log_range": "log_range-1"}
    clock.now += EVERY_S
    assert not serving.look()
    assert register.asked == 3


def test_a_champion_that_cannot_be_opened_leaves_the_last_good_one_and_is_tried_again() -> None:
    register, clock = Register(), Clock()
    register.named, register.broken = {RANGE: "log_range-1"}, {"log_range-2"}
    serving = register.champions(clock)
    serving.look()
    register.named = {RANGE: "log_range-2"}
    clock.now += EVERY_S
    assert not serving.look()
    assert serving.versions == {"log_range": "log_range-1"}
    assert "log_range-2: not whole" in serving.refused[RANGE]
    register.broken = set()
    clock.now += EVERY_S
    assert not serving.look()
    clock.now += RETRY_S
    assert serving.look()
    assert serving.versions == {"log_range": "log_range-2"}
    assert serving.refused == {}


def test_with_nothing_loaded_a_refused_champion_is_stood_in_for() -> None:
    register, clock = Register(), Clock()
    register.named, register.broken = {RANGE: "log_range-2"}, {"log_range-2"}
    serving = register.champions(clock)
    assert serving.look()
    assert serving.versions == {"log_range": "log_range-old"}
    assert RANGE in serving.refused
    register.broken |= {"log_range-old"}
    alone = register.champions(clock)
    assert not alone.look()
    assert (alone.models, list(alone.refused)) == ([], [RANGE])


def test_a_model_of_unknown_features_or_another_target_is_refused() -> None:
    clock = Clock()
    strange = cast(ServingModel, replace(Stub(RANGE, "v"), features=("moon",)))
    other = cast(ServingModel, Stub(Target.ADJUSTED_RETURN, "v"))
    for model in (strange, other):
        serving = ServingChampions(lambda: {RANGE: "v"}, lambda _, m=model: m, lambda _, m=model: m, monotonic=clock)
        assert not serving.look()
        assert serving.models == []


def test_a_register_that_is_away_is_an_outage() -> None:
    def away() -> dict[Target, str]:
        raise TryLaterError("away")

    with pytest.raises(TryLaterError):
        ServingChampions(away, lambda _: models()[0], lambda _: models()[0]).look()


def test_a_bar_of_two_versions_settles_once(market: Market) -> None:
    session = market.next_day()
    market.turn()
    again = bar(session, symbol="IBM", price="10.5")
    market.send(again, changed(again, as_of=NOW))
    assert market.turn(2).issued == Issued(0, 0, 0), "what was said stays"
