"""Messages of the topic ``forecasts``: their form is fixed, and they go out once each, whoever wrote the ledger."""

import datetime as dt
import json
import subprocess
import sys
from collections.abc import Collection

import msgspec
import pytest
from msgspec.structs import replace

from streamlake_assets.broker.memory import MemoryBroker
from streamlake_assets.broker.topics import FORECASTS_TOPIC
from streamlake_assets.errors import TryLaterError
from streamlake_assets.market.forecast_messages import ForecastMessage, LedgerMessage, ScoreMessage, decode, encode
from streamlake_assets.market.messages import Message
from streamlake_assets.market.sessions import UTC
from streamlake_assets.market.targets import Target
from streamlake_assets.sidecar import forecast_topic
from streamlake_assets.sidecar.forecast_topic import SLACK, THOROUGH_S, ForecastTopic, sent_messages
from streamlake_assets.stores.ledger_feed import LedgerEntry

SAID = ForecastMessage(
    id=7, symbol="IBM", exchange="XNYS", target=Target.LOG_RANGE, session=dt.date(2013, 1, 15),
    after_session=dt.date(2013, 1, 14), model_version="m1", engine="sklearn", has_skill=True, point=0.0125, low=0.005,
    high=0.02, coverage=0.9, baseline=0.012, scale=0.012, late=False,
    issued_at=dt.datetime(2026, 1, 5, 12, 0, 0, 250_000, UTC),
)  # fmt: skip
CAME = ScoreMessage(
    id=7, symbol="IBM", exchange="XNYS", target=Target.LOG_RANGE, session=dt.date(2013, 1, 15), model_version="m1",
    realised=0.0105, error=-0.002, baseline_error=-0.0015, covered=True, direction_hit=None,
    scored_at=dt.datetime(2026, 1, 5, 12, 0, 1, tzinfo=UTC),
)  # fmt: skip
GOLDEN_FORECAST = (
    b'{"kind":"forecast","v":1,"id":7,"symbol":"IBM","exchange":"XNYS","target":"log_range","session":"2013-01-15",'
    b'"after_session":"2013-01-14","model_version":"m1","engine":"sklearn","has_skill":true,"point":0.0125,"low":0.005,'
    b'"high":0.02,"coverage":0.9,"baseline":0.012,"scale":0.012,"late":false,"issued_at":"2026-01-05T12:00:00.250000Z"}'
)
GOLDEN_SCORE = (
    b'{"kind":"score","v":1,"id":7,"symbol":"IBM","exchange":"XNYS","target":"log_range","session":"2013-01-15",'
    b'"model_version":"m1","realised":0.0105,"error":-0.002,"baseline_error":-0.0015,"covered":true,'
    b'"direction_hit":null,"scored_at":"2026-01-05T12:00:01Z"}'
)


@pytest.mark.parametrize(("message", "golden"), [(SAID, GOLDEN_FORECAST), (CAME, GOLDEN_SCORE)])
def test_the_form_of_a_message_is_the_golden_one(message: LedgerMessage, golden: bytes) -> None:
    assert encode(message) == golden
    assert decode(golden) == message
    assert decode(golden[:-1] + b',"more":1}') == message, "a field that a later writer adds is ignored"


@pytest.mark.parametrize(
    "change",
    [{"v": 2}, {"kind": "rumour"}, {"target": "price"}, {"symbol": "ibm"}, {"point": "1"}, {"issued_at": "2026-01-05"}],
    ids=str,
)
def test_another_version_kind_or_type_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode(json.dumps({**json.loads(GOLDEN_FORECAST), **change}).encode())
    for name in json.loads(GOLDEN_FORECAST):
        if name != "v":
            left = {key: value for key, value in json.loads(GOLDEN_FORECAST).items() if key != name}
            with pytest.raises(msgspec.MsgspecError):
                decode(json.dumps(left).encode())


def test_reading_messages_loads_no_numerical_library() -> None:
    code = "import sys, streamlake_assets.market.forecast_messages; assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# what goes onto the topic


class Ledger:
    """Rows and scores in memory."""

    def __init__(self) -> None:
        self.rows: dict[int, ForecastMessage] = {}
        self.scored: dict[int, ScoreMessage] = {}

    def say(self, *ids: int, late: bool = False) -> None:
        self.rows |= {number: replace(SAID, id=number, late=late) for number in ids}

    def judge(self, *ids: int) -> None:
        self.scored |= {number: replace(CAME, id=number) for number in ids}

    def entries(self, after: int, most: int) -> list[LedgerEntry]:
        found = [row for number, row in sorted(self.rows.items()) if number > after][:most]
        return [LedgerEntry(row, self.scored.get(row.id)) for row in found]

    def scores(self, ids: Collection[int]) -> list[ScoreMessage]:
        return [self.scored[number] for number in ids if number in self.scored]


class Topic:
    """The topic in memory: sender and tail."""

    def __init__(self) -> None:
        self.broker = MemoryBroker(lambda: dt.datetime(2026, 1, 5, tzinfo=UTC))
        self.queue: list[tuple[str, str, bytes]] = []
        self.away = False

    def send(self, topic: str, key: str, value: bytes) -> None:
        self.queue.append((topic, key, value))

    def flush(self, timeout_s: float = 60.0) -> None:
        queue, self.queue = self.queue, []
        if self.away:
            raise TryLaterError("the broker is away")
        for one in queue:
            self.broker.send(*one)

    def keys(self) -> list[tuple[str, int]]:
        found = []
        for message in self.broker.messages(FORECASTS_TOPIC):
            said = decode(message.value or b"")
            assert (message.key or b"").decode() == said.symbol
            found.append(("score" if isinstance(said, ScoreMessage) else "forecast", said.id))
        return sorted(found)

    def start(self, _wanted: object) -> dict[int, int]:
        self.reader = self.broker.reader([FORECASTS_TOPIC])
        return {}

    def take(self, most: int, timeout_s: float) -> list[Message]:
        return self.reader.take(most, timeout_s)

    def high_watermarks(self, _timeout_s: float) -> dict[int, int]:
        ends: dict[int, int] = {}
        for message in self.broker.messages(FORECASTS_TOPIC):
            ends[message.partition] = message.offset + 1
        return ends


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def started(ledger: Ledger, topic: Topic, clock: Clock) -> ForecastTopic:
    return ForecastTopic(ledger.entries, ledger.scores, sent_messages(topic), clock)


def test_every_row_and_score_goes_out_once_whoever_wrote_it() -> None:
    ledger, topic, clock = Ledger(), Topic(), Clock()
    copy = started(ledger, topic, clock)
    ledger.say(1, 2)
    ledger.say(3, late=True)
    assert copy.publish(topic) == 3
    assert copy.publish(topic) == 0
    ledger.judge(1)
    ledger.say(4)
    assert copy.publish(topic) == 2
    ledger.judge(2, 4)
    assert copy.publish(topic) == 2
    assert topic.keys() == [*(("forecast", n) for n in (1, 2, 3, 4)), *(("score", n) for n in (1, 2, 4))]


def test_after_a_crash_the_topic_itself_tells_what_it_lacks() -> None:
    ledger, topic, clock = Ledger(), Topic(), Clock()
    ledger.say(1, 2)
    started(ledger, topic, clock).publish(topic)
    # written, and the process died before they were sent
    ledger.say(3)
    ledger.judge(1)
    topic.broker.send(FORECASTS_TOPIC, "IBM", b"not of the ledger")
    assert started(ledger, topic, clock).publish(topic) == 2
    assert started(ledger, topic, clock).publish(topic) == 0


def test_what_the_broker_did_not_take_is_sent_again() -> None:
    ledger, topic, clock = Ledger(), Topic(), Clock()
    copy = started(ledger, topic, clock)
    ledger.say(1, 2)
    topic.away = True
    with pytest.raises(TryLaterError):
        copy.publish(topic)
    topic.away = False
    assert copy.publish(topic) == 2
    assert topic.keys() == [("forecast", 1), ("forecast", 2)]


def test_a_transaction_that_took_lower_ids_and_committed_later_is_seen() -> None:
    ledger, topic, clock = Ledger(), Topic(), Clock()
    copy = started(ledger, topic, clock)
    ledger.say(SLACK)
    copy.publish(topic)
    ledger.say(SLACK - 10)
    assert copy.publish(topic) == 0, "not looked for each time"
    clock.now += THOROUGH_S
    assert copy.publish(topic) == 1


def test_a_long_ledger_is_sent_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast_topic, "MOST", 10)
    ledger, topic, clock = Ledger(), Topic(), Clock()
    ledger.say(*range(1, 36))
    ledger.judge(*range(1, 30))
    copy = started(ledger, topic, clock)
    assert copy.publish(topic) == 35 + 29
    ledger.judge(*range(30, 36))
    assert copy.publish(topic) == 6
    assert len(topic.keys()) == len(set(topic.keys())) == 70


def test_an_end_that_is_never_reached_is_an_outage() -> None:
    topic = Topic()
    topic.broker.send(FORECASTS_TOPIC, "IBM", GOLDEN_FORECAST)
    topic.take = lambda most, timeout_s: []  # type: ignore[method-assign]
    with pytest.raises(TryLaterError, match="not reached"):
        list(sent_messages(topic, timeout_s=0.01))
