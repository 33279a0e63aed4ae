"""The scorer's loop on twins of broker, tables and ledger: said in time, judged after, complete whatever happens."""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest
from msgspec.structs import replace as changed

from streamlake_assets.broker.memory import MemoryBroker, MemoryReader
from streamlake_assets.errors import ModelRefusedError, TryLaterError
from streamlake_assets.learning.serve import ServingModel
from streamlake_assets.market import calendars
from streamlake_assets.market.contract import ACTIONS_TOPIC, BARS_TOPIC, decode_action, decode_bar
from streamlake_assets.market.feature_state import action_of, session_version
from streamlake_assets.market.features import LOOKBACK
from streamlake_assets.market.forecasts import Forecast, issue, realised
from streamlake_assets.market.messages import StreamIdentity
from streamlake_assets.market.series import FloatArray, SessionSeries
from streamlake_assets.market.sessions import UTC, session_date
from streamlake_assets.market.targets import Target
from streamlake_assets.market.types import AssetClass, Bar, Instrument, Interval, Status
from streamlake_assets.sidecar.score_loop import LOOK_S, Done, ScoreLoop
from streamlake_assets.sidecar.serving_champions import EVERY_S, RETRY_S, ServingChampions
from streamlake_assets.stores.ledger import Issued
from streamlake_assets.stores.session_seed import InstrumentSeed, Seed, StreamPlace
from streamlake_assets_tests.bars import action, bar, minutes, wire

NOW = dt.datetime(2024, 1, 2, 12, tzinfo=UTC)
SESSIONS = calendars.sessions_between("XNYS", AssetClass.STOCK, dt.date(2012, 6, 1), dt.date(2013, 3, 1))
TOPICS = (BARS_TOPIC, ACTIONS_TOPIC)
OTHERS: StreamPlace = ("streamlake", "replays", 0)
Key = tuple[str, Target, dt.date, str]


@dataclass(frozen=True)
class Stub:
    """Says the newest range, times its slope."""

    target: Target
    version: str
    engine: str = "stub"
    features: tuple[str, ...] = ("range_1",)
    quantile: float = 0.5
    has_skill: bool = True
    min_history: int = LOOKBACK

    def predict(self, x: FloatArray) -> FloatArray:
        return x[:, 0]


def models(version: str = "1", **changes: Any) -> list[ServingModel]:
    return [cast(ServingModel, Stub(target, f"{target}-{version}", **changes)) for target in Target]


class Speakers:
    """``Champions`` that change when told to."""

    def __init__(self, *speaking: ServingModel) -> None:
        self.models = list(speaking)
        self._changed = bool(speaking)

    def name(self, *speaking: ServingModel) -> None:
        self.models, self._changed = list(speaking), True

    def look(self) -> bool:
        was, self._changed = self._changed, False
        return was


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Tables:
    """``Book``: tables that hold the topics up to some offsets, and a ledger that keeps its own rules."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self.stored: dict[tuple[str, int], int] = {}
        self.others: dict[StreamPlace, int] = {}
        self.added: list[Bar] = []
        self.rows: dict[Key, bool] = {}
        self.forecasts: dict[Key, Forecast] = {}
        self.scores: dict[Key, float] = {}
        self.sent: set[Any] = set()
        self.away = False
        self.seeds = 0

    def store(self) -> None:
        """Store all that is on the topics."""
        for topic in TOPICS:
            for message in self._broker.messages(topic):
                self.stored[topic, message.partition] = message.offset + 1

    def bars(self) -> list[Bar]:
        found = [
            decode_bar(message.value, message.key, message.broker_time)
            for message in self._broker.messages(BARS_TOPIC)
            if message.offset < self.stored.get((BARS_TOPIC, message.partition), 0)
        ]
        return [*found, *self.added]

    def seed(self, keep: int) -> Seed:
        self._answer()
        self.seeds += 1
        by: dict[Instrument, InstrumentSeed] = {}
        for one in self.bars():
            if one.interval is Interval.D1:
                held = by.setdefault(one.instrument, InstrumentSeed(one.instrument, one.asset_class, [], []))
                cast(list[Any], held.bars).append(session_version(one, 20))
        for message in self._broker.messages(ACTIONS_TOPIC):
            if message.offset < self.stored.get((ACTIONS_TOPIC, message.partition), 0):
                split = decode_action(message.value, message.key, message.broker_time)
                cast(list[Any], by[split.instrument].actions).append(action_of(split, 20))
        return Seed(list(by.values()), {}, self.places())

    def places(self) -> dict[StreamPlace, int]:
        self._answer()
        return {("memory", f"id-{topic}", number): at for (topic, number), at in self.stored.items()} | self.others

    def instruments(self) -> set[Instrument]:
        self._answer()
        return {one.instrument for one in self.bars()}

    def issue(self, forecasts: Sequence[Forecast]) -> Issued:
        self._answer()
        new = late = 0
        for one in forecasts:
            key = (one.symbol, one.target, one.session, one.model_version)
            if key not in self.rows:
                dates = {session_date(b.bar_time, b.exchange) for b in self.bars() if b.symbol == one.symbol}
                self.rows[key] = max(dates) >= one.session
                self.forecasts[key] = one
                new, late = new + 1, late + self.rows[key]
        return Issued(new, late, len(forecasts) - new)

    def score(self, series: Sequence[SessionSeries]) -> int:
        self._answer()
        settled = {
            (b.symbol, session_date(b.bar_time, b.exchange))
            for b in self.bars()
            if b.interval is Interval.D1 and b.status is Status.SETTLED
        }
        by = {one.symbol: one for one in series}
        due = [key for key, late in self.rows.items() if not late and (key[0], key[2]) in settled]
        due = [key for key in due if key not in self.scores]
        self.scores |= {key: realised(by[key[0]], key[1], key[2]) for key in due}
        return len(due)

    def publish(self) -> int:
        self._answer()
        lacking = ({*self.rows} | {(key, "score") for key in self.scores}) - self.sent
        self.sent |= lacking
        return len(lacking)

    def _answer(self) -> None:
        if self.away:
            raise TryLaterError("the database is away")


class Market:
    """Topics, tables, champions, and the loop between them."""

    def __init__(self, *symbols: str, known: int = LOOKBACK + 5) -> None:
        self.symbols = symbols or ("AAPL", "IBM")
        self.broker = MemoryBroker(lambda: NOW)
        self.tables = Tables(self.broker)
        self.clock = Clock()
        self.speakers = Speakers(*models())
        self.day = known
        for session in SESSIONS[:known]:
            self.settle(session)
        self.tables.store()
        self.at: Callable[[str], None] = lambda _: None
        self.start()

    def start(self) -> None:
        self.loop = ScoreLoop(
            cast(Any, None), self.tables, self.speakers, {t: StreamIdentity("memory", f"id-{t}", t) for t in TOPICS},
            at=self.passed, monotonic=self.clock,
        )  # fmt: skip
        self.reader: MemoryReader = self.broker.reader(list(TOPICS), self.loop.begins())
        self.loop._reader = self.reader

    def passed(self, point: str) -> None:
        self.at(point)

    def restart(self) -> None:
        """As after a kill: nothing is left but broker, tables and ledger."""
        self.speakers.name(*self.speakers.models)
        self.start()

    def send(self, *bars: Bar) -> None:
        for one in bars:
            self.broker.send(BARS_TOPIC, one.symbol, wire(one))

    def settle(self, session: dt.date) -> None:
        n = (session - SESSIONS[0]).days
        for number, symbol in enumerate(self.symbols):
            low = 10 + (7 * n + 3 * number) % 5 / 100
            prices = {"open": f"{low:.2f}", "low": f"{low:.2f}", "close": f"{low + 0.01 * (n % 3):.2f}"}
            self.send(bar(session, symbol=symbol, high=f"{low + 0.05 + n % 7 / 100:.2f}", **prices))

    def next_day(self) -> dt.date:
        """Settle one more session; return it."""
        session = SESSIONS[self.day]
        self.day += 1
        self.settle(session)
        return session

    @property
    def coming(self) -> dt.date:
        return SESSIONS[self.day]

    def turn(self, times: int = 1, seconds: float = 0.05) -> Done:
        total = Done()
        for _ in range(times):
            self.clock.now += seconds
            done = self.loop.turn()
            total.scored += done.scored
            total.issued = Issued(*(a + b for a, b in zip(total.issued, done.issued, strict=True)))
            total.since += done.since
        return total

    def keys(self, session: dt.date, version: str = "1") -> set[Key]:
        return {(symbol, target, session, f"{target}-{version}") for symbol in self.symbols for target in Target}


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


class Register:
    """What the register names, and which versions open."""

    def __init__(self) -> None:
        self.named: dict[Target, str] = {}
        self.broken: set[str] = set()
        self.asked = 0

    def champions(self, clock: Clock) -> ServingChampions:
        return ServingChampions(self._named, self._open, lambda target: self._open(f"{target}-old"), monotonic=clock)

    def _named(self) -> dict[Target, str]:
        self.asked += 1
        return dict(self.named)

    def _open(self, version: str) -> ServingModel:
        if version in self.broken:
            raise ModelRefusedError(f"{version}: not whole")
        return cast(ServingModel, Stub(Target(version.partition("-")[0]), version))


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
