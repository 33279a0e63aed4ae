"""What runs outside Dagster, in one look: bounded, never a zero for what is away, news only when there is any."""

import datetime as dt
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from streamlake_assets.errors import SettingError, TryLaterError
from streamlake_assets.flows import observations, outside
from streamlake_assets.flows.outside import NIFI_FLOW, TOLD_AGAIN_S, Look, Memory, Sighting, State, look
from streamlake_assets.market import quality
from streamlake_assets.market.contract import ACTIONS_TOPIC, BARS_TOPIC
from streamlake_assets.market.messages import StreamIdentity
from streamlake_assets.settings import Settings
from streamlake_assets.stores import bar_reader
from streamlake_assets.stores.bar_reader import StreamEnd
from streamlake_assets_tests.conftest import settings_in
from streamlake_assets_tests.fake_api import Answer, Asked, fake_api

NOW = dt.datetime(2026, 1, 5, 12, tzinfo=dt.UTC)
NAMES = {"finance_data", "corporate_actions", "consumer", "scorer", "alerts", "dashboard", "nifi_flow", "power_bi"}
ENGINE = sa.create_engine("sqlite://")


class World:
    """The servers of these tests: what the rooms below would read of them."""

    def __init__(self) -> None:
        self.topic_id = "one"
        self.bars = {0: (0, 100), 1: (0, 50)}
        self.stored = {0: 90, 1: 50}
        self.beats: dict[str, tuple[dt.datetime, dict[str, Any]]] = {"consumer": (NOW, {"pid": 7})}
        self.session: dt.date | None = dt.date(2013, 3, 1)
        self.kafka_error: Exception | None = None
        self.tables_error: Exception | None = None

    def read_marks(self, _: str) -> dict[StreamIdentity, dict[int, tuple[int, int]]]:
        if self.kafka_error:
            raise self.kafka_error
        return {
            StreamIdentity("c", self.topic_id, BARS_TOPIC): dict(self.bars),
            StreamIdentity("c", "actions", ACTIONS_TOPIC): {0: (0, 3)},
        }

    def stream_ends(self, _: object) -> list[StreamEnd]:
        ends = [StreamEnd(1, "c", "one", BARS_TOPIC, number, end) for number, end in self.stored.items()]
        return [*ends, StreamEnd(2, "c", "actions", ACTIONS_TOPIC, 0, 3)]

    @contextmanager
    def snapshot(self, _: object) -> Iterator[None]:
        if self.tables_error:
            raise self.tables_error
        yield


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(observations, "read_marks", made.read_marks)
    monkeypatch.setattr(bar_reader, "snapshot", made.snapshot)
    monkeypatch.setattr(bar_reader, "stream_ends", made.stream_ends)
    monkeypatch.setattr(bar_reader, "market_session", lambda _: made.session)
    monkeypatch.setattr(outside, "heartbeats", lambda _: made.beats)
    return made


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Nothing listens at any of its ports."""
    return settings_in(tmp_path)


def seen(settings: Settings, before: Memory | None = None, after_s: float = 0.0) -> Look:
    return look(settings, lambda: ENGINE, NOW + dt.timedelta(seconds=after_s), before)


def plain(sighting: Sighting) -> tuple[str, dict[str, Any]]:
    return sighting.state.value, sighting.facts


def test_topics_are_seen_with_their_ends_and_what_is_not_stored_yet(settings: Settings, world: World) -> None:
    found = seen(settings).seen
    assert found.keys() == NAMES
    assert plain(found["finance_data"]) == (
        "present",
        {"topic": BARS_TOPIC, "messages": 150, "high_watermarks": {"0": 100, "1": 50}, "lag_messages": 10},
    )
    assert found["corporate_actions"].facts["lag_messages"] == 0
    assert found["consumer"].facts["lag_messages"] == 10, "over all its topics"
    assert found["power_bi"].facts == {"market_session": "2013-03-01"}


def test_the_rate_is_what_came_since_the_last_look(settings: Settings, world: World) -> None:
    first = seen(settings)
    world.bars = {0: (0, 220), 1: (0, 80)}
    second = seen(settings, first.memory, 60)
    assert second.seen["finance_data"].facts["messages_per_second"] == 2.5
    assert second.seen["corporate_actions"].facts["messages_per_second"] == 0.0
    assert "messages_per_second" not in first.seen["finance_data"].facts, "the first look knows no rate"


def test_a_topic_that_was_made_anew_has_no_rate_and_all_of_it_waits(settings: Settings, world: World) -> None:
    first = seen(settings)
    world.topic_id, world.bars = "two", {0: (0, 5), 1: (0, 0)}
    facts = seen(settings, first.memory, 60).seen["finance_data"].facts
    assert "messages_per_second" not in facts
    assert facts["lag_messages"] == 5


def test_there_is_no_rate_over_a_time_when_the_cluster_was_away(settings: Settings, world: World) -> None:
    first = seen(settings)
    world.kafka_error = TryLaterError("no broker")
    second = seen(settings, first.memory, 60)
    world.kafka_error = None
    assert "messages_per_second" not in seen(settings, second.memory, 120).seen["finance_data"].facts


@pytest.mark.parametrize(
    ("age_s", "state"),
    [(1.0, State.PRESENT), (quality.HEARTBEAT_LIMIT_S + 1, State.SILENT), (None, State.NEVER_STARTED)],
)
def test_a_process_is_told_by_its_heartbeat(
    age_s: float | None, state: State, settings: Settings, world: World
) -> None:
    world.beats = {} if age_s is None else {"scorer": (NOW - dt.timedelta(seconds=age_s), {"lag": 4})}
    found = seen(settings).seen["scorer"]
    assert found.state is state
    if age_s is None:
        assert found.facts.keys() == {"reason"}
    else:
        assert found.facts == {
            "last_heartbeat": NOW - dt.timedelta(seconds=age_s),
            "age_s": age_s,
            "said": {"lag": 4},
        }


def test_what_is_away_has_a_reason_and_no_number(settings: Settings, world: World) -> None:
    world.kafka_error = TryLaterError("no broker at nowhere:1")

    def no_engine() -> sa.Engine:
        raise SettingError("no local MySQL in nowhere")

    found = look(settings, no_engine, NOW).seen
    assert found.keys() == NAMES
    for name, sighting in found.items():
        assert sighting.state is State.AWAY, name
        assert sighting.facts.keys() == {"reason"}, name
        assert sighting.facts["reason"], name
    assert "nowhere:1" in found["finance_data"].facts["reason"]
    assert "no local MySQL" in found["consumer"].facts["reason"]
    assert str(settings.panel_port) in found["dashboard"].facts["reason"]
    assert "optional" in found["nifi_flow"].facts["reason"]


def test_while_the_tables_are_away_the_lag_is_not_known_and_not_zero(settings: Settings, world: World) -> None:
    world.tables_error = TryLaterError("gone away")
    facts = seen(settings).seen["finance_data"].facts
    assert facts["messages"] == 150
    assert facts["lag_messages"] == "unknown: gone away"


def test_while_the_cluster_is_away_the_consumer_is_seen_without_a_lag(settings: Settings, world: World) -> None:
    world.kafka_error = TryLaterError("no broker")
    found = seen(settings).seen["consumer"]
    assert found.state is State.PRESENT
    assert found.facts["lag_messages"] == "unknown: no broker"


def test_a_server_that_hangs_is_away_after_the_time_limit_and_holds_back_nobody(
    settings: Settings, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = threading.Event()

    def hang(_: str) -> object:
        assert let_go.wait(30)
        raise TryLaterError("too late")

    monkeypatch.setattr(observations, "read_marks", hang)
    found = look(settings, lambda: ENGINE, NOW, within_s=0.2).seen
    assert not let_go.is_set(), "the look ended before the answer"
    let_go.set()
    assert plain(found["finance_data"]) == ("away", {"reason": "no answer within 0.2 s"})
    assert found["consumer"].state is State.PRESENT


def test_a_fault_of_our_own_is_no_server_that_is_away(settings: Settings, world: World) -> None:
    world.kafka_error = TypeError("a bug")
    with pytest.raises(TypeError, match="a bug"):
        seen(settings)


def test_nothing_new_but_age_is_no_news_until_it_is_time_to_tell_again(settings: Settings, world: World) -> None:
    first = seen(settings)
    assert set(first.news) == NAMES
    world.beats = {"consumer": (NOW + dt.timedelta(seconds=60), {"pid": 7})}
    second = seen(settings, first.memory, 60)
    assert set(second.news) == {"finance_data", "corporate_actions"}, "their first rate"
    third = seen(settings, second.memory, 120)
    assert third.news == ()
    assert set(seen(settings, third.memory, TOLD_AGAIN_S).news) == NAMES - {"finance_data", "corporate_actions"}
    assert set(seen(settings, third.memory, 60 + TOLD_AGAIN_S).news) == NAMES


def test_what_changed_is_news_at_once(settings: Settings, world: World) -> None:
    memory = seen(settings, seen(settings).memory, 60).memory
    world.stored[0] = 100
    assert set(seen(settings, memory, 120).news) == {"finance_data", "consumer"}
    assert "consumer" in seen(settings, memory, 300).news, "it is silent now"


def test_what_is_remembered_survives_as_text(settings: Settings, world: World) -> None:
    memory = seen(settings).memory
    assert msgspec.json.decode(msgspec.json.encode(memory), type=Memory) == memory


def test_the_page_answers_or_its_status_is_the_reason(settings: Settings, world: World) -> None:
    with fake_api() as server:
        server.answers(Answer(), Answer(status=503))
        here = settings.model_copy(update={"panel_port": int(server.url.rpartition(":")[2])})
        good, bad = seen(here).seen["dashboard"], seen(here).seen["dashboard"]
        assert server.asked[0].path == "/healthz"
    assert good.state is State.PRESENT
    assert good.facts["address"] == server.url
    assert bad.state is State.AWAY
    assert "503" in bad.facts["reason"]


def nifi(asked: Asked) -> Answer:
    """Answer as a NiFi with the flow."""
    if asked.path.endswith("/flow/process-groups/root"):
        groups = [{"id": "g", "component": {"name": NIFI_FLOW}}]
        return Answer(body={"processGroupFlow": {"flow": {"processGroups": groups}}})
    counts = {"runningCount": 4, "stoppedCount": 1, "invalidCount": 0, "disabledCount": 0}
    return Answer(body={**counts, "status": {"aggregateSnapshot": {"flowFilesQueued": 9}}})


def test_a_nifi_says_what_runs_and_what_waits(settings: Settings, world: World) -> None:
    with fake_api() as server:
        here = settings.model_copy(update={"nifi_url": server.url})
        server.script = nifi
        found = seen(here).seen["nifi_flow"]
        server.script = lambda _: Answer(body={"processGroupFlow": {"flow": {"processGroups": []}}})
        empty = seen(here).seen["nifi_flow"]
        server.script = lambda _: Answer(body="<html>", content_type="text/html")
        foreign = seen(here).seen["nifi_flow"]
    assert found.state is State.PRESENT
    assert {name: found.facts[name] for name in ("deployed", "running", "stopped", "invalid", "queued")} == {
        "deployed": True,
        "running": 4,
        "stopped": 1,
        "invalid": 0,
        "queued": 9,
    }
    assert empty.facts == {"address": server.url, "deployed": False}
    assert foreign.state is State.AWAY
    assert "does not answer as a NiFi" in foreign.facts["reason"]
