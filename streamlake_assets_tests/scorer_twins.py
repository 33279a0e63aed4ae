"""Twins for tests of the scorer: broker, tables, ledger, register and champions in memory."""

import datetime as dt
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, cast

from streamlake_assets.broker.memory import MemoryBroker, MemoryReader
from streamlake_assets.errors import ModelRefusedError, TryLaterError
from streamlake_assets.learning.serve import ServingModel
from streamlake_assets.market import calendars
from streamlake_assets.market.contract import ACTIONS_TOPIC, BARS_TOPIC, decode_action, decode_bar
from streamlake_assets.market.feature_state import action_of, session_version
from streamlake_assets.market.features import LOOKBACK
from streamlake_assets.market.forecasts import Forecast, realised
from streamlake_assets.market.messages import StreamIdentity
from streamlake_assets.market.series import FloatArray, SessionSeries
from streamlake_assets.market.sessions import UTC, session_date
from streamlake_assets.market.targets import Target
from streamlake_assets.market.types import AssetClass, Bar, Instrument, Interval, Status
from streamlake_assets.sidecar.score_loop import Done, ScoreLoop
from streamlake_assets.sidecar.serving_champions import ServingChampions
from streamlake_assets.stores.ledger import Issued, SessionKey
from streamlake_assets.stores.session_seed import InstrumentSeed, Seed, StreamPlace
from streamlake_assets_tests.bars import bar, wire

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

    def score(self, series: Sequence[SessionSeries], sessions: Collection[SessionKey] | None) -> int:
        self._answer()
        settled = {
            (b.symbol, session_date(b.bar_time, b.exchange))
            for b in self.bars()
            if b.interval is Interval.D1 and b.status is Status.SETTLED
        }
        by = {one.symbol: one for one in series}
        due = [key for key, late in self.rows.items() if not late and (key[0], key[2]) in settled]
        if sessions is not None:
            asked = {(instrument.symbol, session) for instrument, session in sessions}
            due = [key for key in due if (key[0], key[2]) in asked]
        # the tables may be ahead of the series
        due = [key for key in due if key not in self.scores and by[key[0]].last_session >= key[2]]
        self.scores |= {key: realised(by[key[0]], key[1], key[2]) for key in due}
        return len(due)

    def publish(self, scores: bool) -> int:
        self._answer()
        told = {(key, "score") for key in self.scores} if scores else set()
        lacking = ({*self.rows} | told) - self.sent
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
