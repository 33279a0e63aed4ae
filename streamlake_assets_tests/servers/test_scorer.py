"""The scorer as a process on the real broker and MariaDB: in time, complete after a kill, patient in an outage."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from streamlake_assets.broker.publisher import Publisher
from streamlake_assets.broker.tail import TailReader
from streamlake_assets.broker.topics import FORECASTS_KEPT, FORECASTS_TOPIC, ensure_topics
from streamlake_assets.commands.score import score_once
from streamlake_assets.drill.proxy import Proxy
from streamlake_assets.errors import SettingError, TryLaterError
from streamlake_assets.learning.spec import baseline_spec
from streamlake_assets.learning.train import train
from streamlake_assets.market import calendars
from streamlake_assets.market.contract import BARS_TOPIC
from streamlake_assets.market.frames import training_frame
from streamlake_assets.market.targets import Target
from streamlake_assets.market.types import AssetClass, Bar
from streamlake_assets.servers.home import Home
from streamlake_assets.servers.kafka import LocalKafka
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.settings import LOOPBACK, Settings
from streamlake_assets.sidecar.crash_point import VARIABLE
from streamlake_assets.sidecar.forecast_topic import sent_messages
from streamlake_assets.sidecar.replay_forecasts import ScorerForecasts
from streamlake_assets.stores import ledger, model_register, schema
from streamlake_assets.stores.model_folder import ModelFolder
from streamlake_assets.stores.operations import heartbeats
from streamlake_assets_tests.bars import SESSION, bar, wire
from streamlake_assets_tests.conftest import print_line, settings_in
from streamlake_assets_tests.series_data import NOW, random_walks
from streamlake_assets_tests.servers.test_consumer_process import Plant, drop_topics, recreate_topics
from streamlake_assets_tests.tables import Database

pytestmark = pytest.mark.servers
SYMBOLS = ("AAPL", "IBM")
HISTORY = 70
SESSIONS = calendars.sessions_between("XNYS", AssetClass.STOCK, SESSION, SESSION.replace(year=2014))
WAIT_S = 40


class Scorer:
    """One scorer process and what it shows."""

    def __init__(self, settings: Settings, log: Path, **variables: str) -> None:
        self.port = settings.scorer_port
        self.log = log
        environment = {**os.environ, **settings.as_environment(), **variables}
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streamlake_assets.sidecar.scorer"], env=environment, stderr=file
            )

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{self.port}{path}", timeout=3) as answer:
                return answer.status, answer.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str) -> float:
        found = re.search(rf"^{re.escape(name)} (.*)$", self.get("/metrics")[1], re.MULTILINE)
        return float(found[1]) if found else 0.0

    def until_ready(self) -> "Scorer":
        assert wait_until(lambda: self.get("/readyz")[0] == 200 or self.process.poll() is not None, WAIT_S)
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        return self

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0, self.log.read_text()[-3000:]


class Market:
    """A consumer, a market that settles day by day, champions, and scorers."""

    def __init__(self, settings: Settings, database: Database, folder: Path) -> None:
        self.plant = Plant(settings, database, folder)
        self.database = database
        self.settings = settings_in(folder / "scorer", **self.plant._urls())
        Home.of(self.settings).create()
        self.models = ModelFolder(self.settings.data_dir / "models")
        self.scorers: list[Scorer] = []
        self.day = 0
        self.publisher = Publisher(settings.kafka)

    def scorer(self, settings: Settings | None = None, **variables: str) -> Scorer:
        log = self.settings.data_dir / f"scorer-{len(self.scorers)}.log"
        self.scorers.append(Scorer(settings or self.settings, log, **variables))
        return self.scorers[-1]

    def name_champions(self, seed: int = 0, damaged: bool = False) -> dict[Target, str]:
        """Train version 0 of both targets, publish and register it, and name it champion, whole or not."""
        frame = training_frame(random_walks(400, 5), None, 63)
        specs = [baseline_spec(target, seed=seed) for target in Target]
        for model in train(frame, "hash", specs, offsets={}, trained_at=NOW):
            with self.models.staging() as folder:
                model.save(folder)
                self.models.publish(folder, model.manifest.to_dict())
            version = model.manifest.version
            if damaged:
                (self.models.open(version) / "added.txt").write_text("not published")
            model_register.register_models(self.database.writer, [self.models.manifest(version)])
            model_register.set_champion(self.database.writer, model.manifest.target, version, "test")
        return model_register.champions(self.database.writer)

    def settle(self, days: int = 1) -> None:
        """Publish the settled bars of the next sessions."""
        for session in SESSIONS[self.day : self.day + days]:
            for one in self.bars_of(session):
                self.publisher.send(BARS_TOPIC, one.symbol, wire(one))
        self.publisher.flush()
        self.day += days

    def bars_of(self, session: Any) -> list[Bar]:
        n = (session - SESSION).days
        return [
            bar(session, symbol=symbol, open="10.00", low="9.90", high=f"10.{10 + n % 7 + k}", close=f"10.0{n % 3}")
            for k, symbol in enumerate(SYMBOLS)
        ]

    @property
    def coming(self) -> Any:
        return SESSIONS[self.day]

    def said(self, session: Any) -> int:
        return sum(row.target_session == session for row in self.database.rows(schema.forecasts))

    def until(self, condition: Callable[[], object]) -> None:
        assert wait_until(lambda: bool(condition()), WAIT_S), "\n".join(s.log.read_text()[-3000:] for s in self.scorers)

    def on_topic(self) -> list[tuple[str, int]]:
        tail = TailReader(self.settings.kafka, FORECASTS_TOPIC)
        try:
            return sorted(sent_messages(tail))
        finally:
            tail.close()

    def in_ledger(self) -> list[tuple[str, int]]:
        forecasts = [("forecast", row.id) for row in self.database.rows(schema.forecasts)]
        return sorted([*forecasts, *(("score", row.forecast_id) for row in self.database.rows(schema.forecast_scores))])


@pytest.fixture
def market(kafka_server: LocalKafka, database: Database, test_settings: Settings, tmp_path: Path) -> Iterator[Market]:
    database.empty()
    drop_topics(test_settings.kafka, [FORECASTS_TOPIC])
    recreate_topics(test_settings.kafka)
    made = Market(test_settings, database, tmp_path)
    made.plant.consumer()
    made.settle(HISTORY)
    made.plant.until_stored()
    yield made
    for one in [*made.scorers, *made.plant.consumers]:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait(10)
    drop_topics(test_settings.kafka)


def test_sessions_are_forecast_before_they_are_revealed_and_scored_after(market: Market) -> None:
    scorer = market.scorer().until_ready()
    assert scorer.get("/healthz") == (200, "ok\n")
    market.name_champions()
    waiting = ScorerForecasts(market.database.writer, 63, patience_s=WAIT_S)
    market.until(lambda: market.said(market.coming) == 4)
    for _ in range(8):
        market.settle()
        market.until(lambda: market.said(market.coming) == 4)
    waiting.finish()
    rows = ledger.rows(market.database.writer)
    assert len(rows) == 4 * 9
    assert not any(row.late for row in rows)
    assert {row.forecast.session for row in rows if row.realised is None} == {market.coming}
    market.until(lambda: market.on_topic() == market.in_ledger())
    assert len(market.in_ledger()) == 36 + 32

    # a champion named later speaks of the same open session, and nothing was restarted
    second = market.name_champions(seed=1)
    market.until(lambda: market.said(market.coming) == 8)
    market.until(lambda: state(market)["champions"] == _plain(second))

    assert scorer.metric('streamlake_forecasts_total{outcome="new"}') == 36 + 4
    assert scorer.metric('streamlake_forecasts_total{outcome="late"}') == 0
    assert scorer.metric("streamlake_forecasts_scored_total") == 32
    assert scorer.metric("streamlake_broker_to_forecast_seconds_count") == 16
    mean = scorer.metric("streamlake_broker_to_forecast_seconds_sum") / 16
    print_line(f"scorer: bar to forecast {1000 * mean:.0f} ms in the mean")
    scorer.stop()
    assert json.loads(scorer.log.read_text().splitlines()[-1])["event"] == "stopped"


def state(market: Market) -> dict[str, Any]:
    return heartbeats(market.database.writer).get("scorer", (None, {"champions": {}}))[1]


def test_a_champion_that_is_not_whole_does_not_speak(market: Market) -> None:
    first = market.name_champions()
    scorer = market.scorer().until_ready()
    market.until(lambda: market.said(market.coming) == 4)
    damaged = market.name_champions(seed=1, damaged=True)
    market.until(lambda: "champion_refused" in scorer.log.read_text())
    market.settle()
    market.until(lambda: market.said(market.coming) == 4)
    assert {row.model_version for row in market.database.rows(schema.forecasts)} == set(first.values())
    market.until(lambda: state(market).get("refused"))
    assert state(market)["champions"] == _plain(first)
    assert all(damaged[Target(target)] in why for target, why in state(market)["refused"].items())
    scorer.stop()


def _plain(champions: dict[Target, str]) -> dict[str, str]:
    return {target.value: version for target, version in champions.items()}


def test_killed_between_ledger_and_topic_a_restart_leaves_both_complete_and_once(market: Market) -> None:
    market.name_champions()
    # the point is passed first by what is said of the first session
    doomed = market.scorer(**{VARIABLE: "issued:2"}).until_ready()
    market.until(lambda: market.said(market.coming) == 4)
    market.until(lambda: len(market.on_topic()) == 4)
    market.settle()
    assert doomed.process.wait(WAIT_S) == 137
    assert market.said(market.coming) in (2, 4), "the two bars came together, or one after the other"
    assert len(market.on_topic()) == 4
    again = market.scorer().until_ready()
    market.until(lambda: len(market.in_ledger()) == 4 + 4 + 4)
    market.until(lambda: market.on_topic() == market.in_ledger())
    assert len({(r.instrument_id, r.target, r.target_session) for r in market.database.rows(schema.forecasts)}) == 8
    assert not any(row.late for row in market.database.rows(schema.forecasts))
    again.stop()


def test_without_the_database_it_waits_and_loses_nothing(market: Market) -> None:
    market.name_champions()
    with Proxy(market.plant.settings.mysql_port) as proxy:
        through = {**market.plant._urls(), **market.plant.through(proxy)}
        scorer = market.scorer(settings_in(market.settings.data_dir, **through)).until_ready()
        market.until(lambda: market.said(market.coming) == 4)
        proxy.cut()
        market.settle()
        market.until(lambda: "put_off" in scorer.log.read_text())
        assert scorer.get("/readyz")[0] != 200
        assert scorer.get("/healthz")[0] == 200
        proxy.restore()
        market.until(lambda: market.said(market.coming) == 4)
        market.until(lambda: len(market.on_topic()) == 4 + 4 + 4)
        assert market.on_topic() == market.in_ledger()
        scorer.stop()


def test_once_catches_up_says_what_it_did_and_ends(market: Market) -> None:
    said: list[str] = []
    assert score_once(market.settings, said.append)["issued"] == 0, "nobody was named champion"
    champions = market.name_champions()
    done = score_once(market.settings, said.append)
    assert (done["issued"], done["late"], done["sent"], done["scored"]) == (4, 0, 4, 0)
    assert done["champions"] == _plain(champions)
    market.settle()
    market.plant.until_stored()
    done = score_once(market.settings, said.append)
    assert (done["issued"], done["scored"], done["sent"]) == (4, 4, 8)
    again = score_once(market.settings, said.append)
    assert (again["issued"], again["existing"], again["scored"], again["sent"]) == (0, 4, 0, 0)
    # bars that nobody stores: the forecast is said all the same, in time, and the score is waited for
    market.plant.consumers[-1].stop()
    market.settle()
    with pytest.raises(TryLaterError, match="is the consumer running"):
        score_once(market.settings, said.append, patience_s=1.0)
    assert market.said(market.coming) == 4


def test_a_past_row_cannot_be_changed_and_its_topic_is_kept_for_a_time_of_its_own(market: Market) -> None:
    market.name_champions()
    score_once(market.settings, print_line)
    for engine in (market.database.writer, market.database.admin):
        for change in (sa.update(schema.forecasts).values(point=0), sa.delete(schema.forecasts)):
            with pytest.raises(sa.exc.DBAPIError, match=r"denied|append-only"), engine.begin() as connection:
                connection.execute(change)
    assert market.said(market.coming) == 4
    assert ensure_topics(market.settings.kafka, (FORECASTS_TOPIC,), retention=FORECASTS_KEPT) == []
    with pytest.raises(SettingError, match=r"retention\.ms"):
        ensure_topics(market.settings.kafka, (FORECASTS_TOPIC,))


def test_a_replay_that_waits_for_a_scorer_that_is_not_there_says_so(database: Database) -> None:
    series = random_walks(80, 1)
    following = calendars.next_session("XNYS", AssetClass.STOCK, series[0].last_session)
    with pytest.raises(TryLaterError, match=r"no forecasts of .*streamlake logs scorer"):
        ScorerForecasts(database.writer, 63, patience_s=0.1).before(following, series)
