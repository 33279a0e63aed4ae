"""The demo: the whole chain on real servers and real bars, stage by stage, and its summary read back from the servers.

Belongs here: the order of the stages and the summary. Stays out: what each stage does (the rooms), how the summary
looks (``summary``), the command line (``cli``).
"""

import datetime as dt
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import sqlalchemy as sa

from streamlake_assets.broker.publisher import Publisher
from streamlake_assets.broker.topics import watermarks
from streamlake_assets.commands import nifi, nifi_parameters, services
from streamlake_assets.commands.dagster_runs import DagsterDriver, fail_abandoned_runs
from streamlake_assets.commands.data import prepare, table_counts
from streamlake_assets.commands.supervise import urls
from streamlake_assets.errors import StreamlakeError
from streamlake_assets.flows import observations, training
from streamlake_assets.flows.skill import skill_report
from streamlake_assets.learning.snapshot import read_snapshot
from streamlake_assets.market import quality
from streamlake_assets.market.contract import ACTIONS_TOPIC, BARS_TOPIC
from streamlake_assets.market.sessions import session_date
from streamlake_assets.market.targets import Target
from streamlake_assets.servers.home import Home
from streamlake_assets.servers.supervisor import Supervisor
from streamlake_assets.servers.waiting import Say
from streamlake_assets.settings import DatabaseRole, Settings
from streamlake_assets.sidecar.alert_delivery import load_configured
from streamlake_assets.sidecar.nifi_outlet import NifiOutlet
from streamlake_assets.sidecar.replay import Outlet, PublisherOutlet, Revealed, SessionReplay, StoredPlaces, publish
from streamlake_assets.sidecar.replay_forecasts import ScorerForecasts
from streamlake_assets.sidecar.replay_pace import BEAT_S, ControlledPace, ReplayBeats
from streamlake_assets.sources import bokeh_sample
from streamlake_assets.sources.replay_plan import ReplayPlan, plan_replay
from streamlake_assets.stores import bar_reader, model_register, replays
from streamlake_assets.stores.documents import SESSIONS, DocumentStore
from streamlake_assets.stores.model_folder import ModelFolder
from streamlake_assets.stores.mysql import make_engine

SESSION_BARS = 400
"""Of the sample data: 78 five-minute bars, a provisional and a settled one of each of five instruments."""
MOST_RATE = 5_000
"""Bars a second through the local NiFi."""


class Summary(msgspec.Struct, kw_only=True):
    """What the demo did, read back from the servers; the JSON of ``demo --json``.

    ``skill`` is 1 - SSE / SSE of the baseline, with a 95 % interval; ``seconds`` are by stage.
    """

    ok: bool
    bars: int
    bars_by_interval: dict[str, int]
    bars_added: int
    topic_messages: int
    messages_added: int
    revisions: int
    corporate_actions: int
    dead_letters: int
    documents: int
    documents_equal_daily: dict[str, int]
    models: list[dict[str, Any]]
    champions: dict[str, str]
    forecasts: int
    scored: int
    signals: int
    live_skill: dict[str, float | None]
    checks: dict[str, int]
    failed_checks: list[str]
    market_session: str
    servers: list[dict[str, str]]
    urls: dict[str, str]
    seconds: dict[str, float]


class Demo:
    """One demo on a running supervisor. ``run`` does all stages; nothing is stopped by it."""

    def __init__(
        self,
        settings: Settings,
        supervisor: Supervisor,
        say: Say,
        speed: float | None,
        nifi: bool = False,
        reports: bool = False,
    ) -> None:
        self._settings = settings
        self._supervisor = supervisor
        self._say = say
        self._speed = speed
        self._nifi = nifi
        self._reports = reports
        self._seconds: dict[str, float] = {}

    def run(self, once: bool) -> Summary:
        """Run the stages and return the summary.

        Raises:
            StreamlakeError: a stage did not hold.
        """
        specs = services.stream_specs(self._settings) if once else services.service_specs(self._settings)
        for spec in specs:
            spec.require_port()
        with self._stage("servers", "Starting servers"):
            servers = [
                {"name": info.name, "what": info.what, "version": info.version, "address": info.address}
                for info in self._supervisor.start_servers(self._nifi)
            ]
        with self._stage("schema", "Schema, users' rights and topics"):
            prepare(self._settings)
            fail_abandoned_runs(services.dagster_home(self._settings))
        with self._stage(
            "services", "Starting consumer and scorer" if once else "Starting consumer, scorer, Panel, Dagster"
        ):
            self._supervisor.start_all(specs)
        if self._nifi:
            with self._stage("nifi", "Deploying the NiFi flow"):
                parameters = {"replay.rate": str(self._rate())}
                nifi.deploy(self._settings, [nifi_parameters.REPLAY], parameters, self._say)
        reader = make_engine(self._settings, DatabaseRole.READER)
        writer = make_engine(self._settings, DatabaseRole.WRITER)
        documents = DocumentStore(self._settings)
        driver = DagsterDriver(self._settings, services.dagster_home(self._settings))
        try:
            before = (self._topic_messages(), table_counts(reader)["bars"])
            # one publisher for all: an idempotent producer needs half a second before its first message may leave
            with Publisher(self._settings.kafka) as publisher:
                plan = self._history(reader, publisher)
                self._learn(driver, plan)
                self._live(reader, writer, documents, plan, publisher)
            with self._stage("refresh", "Dagster: documents, forecasts, scores, signals, checks"):
                driver.tick_raw_watermark()
                # in ``once`` no daemon ticks the sensor: it is asked here, and what it asks for is run
                driver.tick_refresh() or driver.run("refresh")
            if self._reports:
                with self._stage("reports", "Dagster: benchmark of the engines, claims audit, value of signals"):
                    driver.run("reports")
            return self._summary(reader, documents, driver, servers, before)
        finally:
            driver.close()
            documents.close()
            writer.dispose()
            reader.dispose()

    def _history(self, reader: sa.Engine, publisher: Publisher) -> ReplayPlan:
        with self._stage("load", "Reading the sample data"):
            sample = bokeh_sample.load()
            plan = plan_replay(sample.bars, sample.actions)
            intraday = [bar for step in plan.bridged for bar in step.intraday()]
        stored = StoredPlaces(reader, self._settings.kafka)
        with self._stage("history_daily", f"History: {len(plan.daily):,} daily bars, {len(plan.actions)} actions"):
            publish(publisher, (*plan.actions, *plan.daily))
            stored.wait(publisher.places)
        with self._stage("history_intraday", f"{len(intraday):,} 5-minute bars of {len(plan.bridged)} sessions"):
            publish(publisher, intraday)
            stored.wait(publisher.places)
        return plan

    def _learn(self, driver: DagsterDriver, plan: ReplayPlan) -> None:
        last = plan.daily[-1]
        until = session_date(last.bar_time, last.exchange)
        with self._stage("learn", f"Dagster: documents, training set up to {until}, models, forecasts, checks"):
            driver.tick_raw_watermark()
            driver.run("daily", {"ops": {"features__training_set": {"config": {"until": until.isoformat()}}}})
            # so that the sensor asks only for what comes from here on
            driver.skip_refresh()

    def _live(
        self, reader: sa.Engine, writer: sa.Engine, documents: DocumentStore, plan: ReplayPlan, publisher: Publisher
    ) -> None:
        pace = "without pauses" if self._speed is None else f"at {self._speed:g} sessions/s"
        way = "through NiFi" if self._nifi else "by the Python replay"
        with self._stage("live", f"Live: {len(plan.live)} sessions {way} {pace}, forecasts first") as label:
            forecasts = ScorerForecasts(reader, self._settings.min_history)
            stored = StoredPlaces(reader, self._settings.kafka)
            totals = {"revealed": 0, "scored": 0, "said_at": time.monotonic()}
            number = replays.begin(writer, len(plan.live), None if self._speed is None else 60 * self._speed)
            beats = ReplayBeats(writer)

            def revealed(done: Revealed) -> None:
                totals["revealed"] += 1
                totals["scored"] += done.scored
                replays.advance(writer, number, done.session, int(totals["revealed"]))
                if time.monotonic() - totals["said_at"] > BEAT_S:
                    totals["said_at"] = time.monotonic()
                    self._say(f"{label}: market {done.session}, {totals['scored']:.0f} forecasts scored")

            outlet: Outlet = PublisherOutlet(publisher, stored)
            if self._nifi:
                outlet = NifiOutlet(reader, publisher, stored, nifi_parameters.inbox(self._settings))
            replay = SessionReplay(reader, outlet, forecasts, documents.series())
            try:
                replay.run(plan.live, ControlledPace(writer, number, beats.take), revealed)
            finally:
                replays.end(writer, number)
            forecasts.finish()
            beats.finished()

    def _rate(self) -> int:
        """Return the bars a second that NiFi lets pass: a session's in a third of its time, the rest is for the way."""
        return MOST_RATE if self._speed is None else min(MOST_RATE, max(1, round(self._speed * SESSION_BARS * 3)))

    def _summary(
        self,
        reader: sa.Engine,
        documents: DocumentStore,
        driver: DagsterDriver,
        servers: list[dict[str, str]],
        before: tuple[int, int],
    ) -> Summary:
        with self._stage("summary", "Reading everything back"):
            return read_summary(self._settings, reader, documents, driver, servers, before, self._seconds)

    def _topic_messages(self) -> int:
        return topic_messages(self._settings.kafka)

    @contextmanager
    def _stage(self, name: str, title: str) -> Iterator[str]:
        self._say(f"{title} …")
        start = time.monotonic()
        try:
            yield title
        except StreamlakeError:
            self._say(f"{title}: failed after {time.monotonic() - start:.1f} s")
            raise
        except Exception as error:
            # no stage means to raise it: the user gets one line, the log the traceback
            log = Home.of(self._settings).logs / "demo.log"
            log.write_text(traceback.format_exc())
            cause = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            raise StreamlakeError(f"{title}: {cause} (`streamlake logs demo` has the traceback)") from error
        self._seconds[name] = round(time.monotonic() - start, 2)
        self._say(f"{title}: {self._seconds[name]:.1f} s")


def topic_messages(bootstrap: str) -> int:
    """Return the number of messages the broker holds on both topics."""
    marks = [mark for topic in (BARS_TOPIC, ACTIONS_TOPIC) for mark in watermarks(bootstrap, topic).values()]
    return sum(high - low for low, high in marks)


def read_summary(
    settings: Settings,
    reader: sa.Engine,
    documents: DocumentStore,
    driver: DagsterDriver,
    servers: list[dict[str, str]],
    before: tuple[int, int],
    seconds: dict[str, float],
) -> Summary:
    """Read the summary back from broker, tables, documents and Dagster.

    Args:
        settings: of the servers.
        reader: engine of the reading user.
        documents: the document store.
        driver: of the Dagster instance.
        servers: what runs.
        before: messages on the topics and rows in ``bars`` before the demo.
        seconds: by stage; the total is added.
    """
    from streamlake_assets.flows.forecasting import live_skill
    from streamlake_assets.stores import ledger

    counts = table_counts(reader)
    messages = topic_messages(settings.kafka)
    with bar_reader.snapshot(reader) as connection:
        by_interval = bar_reader.bars_by_interval(connection)
        session: dt.date | None = bar_reader.market_session(connection)
    verdict = quality.documents_equal_daily(documents.sessions(), observations.daily_bars_by_key(reader))
    checks = driver.checks()
    failed = [f"{check.asset}: {check.name}: {check.text}" for check in checks if not check.passed]
    rows, speaking = ledger.rows(reader), model_register.champions(reader)
    spoken = {t: [row for row in rows if row.forecast.model_version == speaking.get(t)] for t in Target}
    # of the training set this demo made: the schedule may have trained on newer data since
    _, data_hash = read_snapshot(training.snapshot_path(settings.data_dir / "training"))
    report = skill_report(ModelFolder(settings.data_dir / "models"), data_hash)
    named = ("engine", "target", "name", "version", "skill", "skill_low", "skill_high", "has_skill")
    return Summary(
        ok=not any(check.severity == "error" and not check.passed for check in checks),
        bars=counts["bars"],
        bars_by_interval=by_interval,
        bars_added=counts["bars"] - before[1],
        topic_messages=messages,
        messages_added=messages - before[0],
        revisions=counts["revisions"],
        corporate_actions=counts["corporate_actions"],
        dead_letters=counts["dead_letters"],
        documents=documents.count(SESSIONS),
        documents_equal_daily={"compared": verdict.facts["compared"], "different": verdict.facts["different"]},
        models=[{name: record[name] for name in named} for record in report],
        champions={target.value: version for target, version in speaking.items()},
        forecasts=counts["forecasts"],
        scored=counts["scored"],
        signals=counts["signals"],
        live_skill={target.value: live_skill(spoken[target], target) for target in Target},
        checks={"passed": len(checks) - len(failed), "failed": len(failed)},
        failed_checks=failed,
        market_session=str(session),
        servers=servers,
        urls={name: url for name, url in urls(settings).items() if name in ("dagster", "panel")},
        seconds={**seconds, "total": round(sum(seconds.values()), 2)},
    )


def run_demo(
    settings: Settings,
    say: Say,
    once: bool,
    speed: float | None,
    with_nifi: bool,
    with_reports: bool,
    on_summary: Callable[[Summary], None],
) -> bool:
    """Run the demo under a supervisor; without ``once`` stay up until Ctrl-C. Return whether every stage held.

    Raises:
        StreamlakeError: a stage did not hold; what was started is stopped.
    """
    load_configured(settings)  # a wrong rule file of alerts is told now
    with Supervisor(settings, say) as supervisor:
        try:
            summary = Demo(settings, supervisor, say, speed, with_nifi, with_reports).run(once)
        except KeyboardInterrupt:
            raise StreamlakeError("stopped before the end") from None
        on_summary(summary)
        if not once:
            supervisor.run_forever()
    return summary.ok
