"""The scorer process: forecasts of each next session into the ledger, continuously, beside Dagster, until SIGTERM.

Belongs here: joining reader, loop and book; signals, metrics, heartbeat, exit codes. Stays out: Dagster; what is
forecast and when (``score_loop``).
"""

import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, TypeVar

import sqlalchemy as sa
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from streamlake_assets.broker.reader import KafkaReader
from streamlake_assets.broker.topics import FORECASTS_KEPT, FORECASTS_TOPIC, describe_streams, ensure_topics
from streamlake_assets.broker.watch import StreamWatch
from streamlake_assets.errors import IntegrityError, StreamlakeError, TryLaterError
from streamlake_assets.market.contract import ACTIONS_TOPIC, BARS_TOPIC
from streamlake_assets.market.messages import StreamIdentity
from streamlake_assets.settings import Settings, load_settings
from streamlake_assets.sidecar.consumer import configure_logs
from streamlake_assets.sidecar.crash_point import CrashPoint
from streamlake_assets.sidecar.health import LatencyHistogram, Pulse, serve
from streamlake_assets.sidecar.score_loop import Done, ScoreLoop
from streamlake_assets.sidecar.scorer_book import ScorerBook
from streamlake_assets.sidecar.serving_champions import ServingChampions
from streamlake_assets.stores.ledger import Issued
from streamlake_assets.stores.operations import beat, raise_alert

GROUP: Final = "streamlake-score"
PROCESS: Final = "scorer"
TOPICS: Final = (BARS_TOPIC, ACTIONS_TOPIC)
HEARTBEAT_S: Final = 5.0
SETTING: Final = "STREAMLAKE_SCORER_PORT"

T = TypeVar("T")


class ScorerMetrics:
    """Counters of the scorer since its start."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.forecasts = Counter(
            "streamlake_forecasts", "Forecasts by what the ledger did with them", ["outcome"], registry=self.registry
        )
        self.scored = Counter("streamlake_forecasts_scored", "Forecasts scored", registry=self.registry)
        self.sent = Counter("streamlake_forecast_messages", "Messages on the topic forecasts", registry=self.registry)
        self.sessions = Counter("streamlake_sessions_settled", "Sessions settled or changed", registry=self.registry)
        self.from_broker = LatencyHistogram(
            "streamlake_broker_to_forecast_seconds",
            "From the broker's time of a settled bar to the commit of the next session's forecasts",
            self.registry,
        )
        self.from_event = LatencyHistogram(
            "streamlake_event_to_forecast_seconds",
            "From event_time of a settled bar to the commit of the next session's forecasts",
            self.registry,
        )
        self.refused = Gauge(
            "streamlake_champions_refused", "Targets whose named champion cannot be opened", registry=self.registry
        )
        self.lag = Gauge("streamlake_scorer_lag_messages", "Messages not yet taken", registry=self.registry)
        self.outages = Counter("streamlake_scorer_outages", "Outages of a server", registry=self.registry)
        self.total = Done()

    def count(self, done: Done) -> None:
        """Add what a turn did."""
        on_time = done.issued.new - done.issued.late
        for outcome, number in (("new", on_time), ("late", done.issued.late), ("existing", done.issued.existing)):
            self.forecasts.labels(outcome).inc(number)
        self.scored.inc(done.scored)
        self.sent.inc(done.sent)
        self.sessions.inc(done.sessions)
        if done.since:
            self.from_broker.add(done.committed_at, [broker for broker, _ in done.since])
            self.from_event.add(done.committed_at, [event for _, event in done.since])
        add(self.total, done)


def add(total: Done, done: Done) -> None:
    """Add the numbers of a turn to a total."""
    total.sessions += done.sessions
    total.issued = Issued(*(a + b for a, b in zip(total.issued, done.issued, strict=True)))
    total.scored += done.scored
    total.sent += done.sent


class ScorerProcess:
    """One scorer: ``run`` returns when asked to stop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping = False
        self._metrics = ScorerMetrics()
        self._pulse = Pulse(limit_s=30.0)
        self._log = structlog.get_logger(component=PROCESS)
        self._beat_at = 0.0
        self._crash = CrashPoint.of_environment()

    @property
    def total(self) -> Done:
        """What was done since the start."""
        return self._metrics.total

    def stop(self, _signal: int, _frame: FrameType | None) -> None:
        """Ask to stop after the current turn; a second time, exit at once: the ledger is safe either way."""
        if self._stopping:
            os._exit(1)
        self._stopping = True

    def run(self) -> None:
        """Forecast and score until stopped.

        Raises:
            IntegrityError: stream, tables and ledger contradict each other; an alert was raised.
        """
        pulse = self._pulse
        server = serve(
            self._settings.scorer_port, self._metrics.registry, pulse.alive, lambda: pulse.ready, setting=SETTING
        )
        try:
            with ScorerBook(self._settings) as book:
                champions = book.champions()
                try:
                    self._follow_streams(book, champions)
                except IntegrityError as error:
                    self._log.error("integrity", error=str(error))
                    self._alert(book.engine, error)
                    raise
        finally:
            server.stop()

    def _follow_streams(self, book: ScorerBook, champions: ServingChampions) -> None:
        while not self._stopping:
            try:
                streams = self._until_answered(self._topics)
                if streams is not None:
                    self._score_streams(book, champions, streams)
            except TryLaterError as error:
                # a topic is gone or was made anew, or the database was away while partitions were assigned: join again
                self._log.warning("joining_again", error=str(error))
                self._pulse.ready = False
                self._wait()
        issued = self.total.issued
        self._log.info("stopped", issued=issued.new, late=issued.late, scored=self.total.scored, sent=self.total.sent)

    def _topics(self) -> dict[str, StreamIdentity]:
        ensure_topics(self._settings.kafka, (FORECASTS_TOPIC,), retention=FORECASTS_KEPT)
        return describe_streams(self._settings.kafka, TOPICS)

    def _score_streams(self, book: ScorerBook, champions: ServingChampions, streams: dict[str, StreamIdentity]) -> None:
        reader = KafkaReader(self._settings.kafka, GROUP)
        loop = ScoreLoop(
            reader, book, champions, streams, min_history=self._settings.min_history, at=self._crash.passed
        )
        reader.subscribe(TOPICS, loop.start_offsets, lambda _: loop.forget())
        self._log.info("following", group=GROUP, topics=TOPICS)
        gc.freeze()
        try:
            with StreamWatch(self._settings.kafka, streams) as watch:
                self._follow(watch, loop, reader, book, champions)
        finally:
            reader.close()

    def _follow(
        self, watch: StreamWatch, loop: ScoreLoop, reader: KafkaReader, book: ScorerBook, champions: ServingChampions
    ) -> None:
        while not self._stopping:
            try:
                before = loop.in_outage
                self._metrics.count(loop.turn())
            except IntegrityError as error:
                # offsets of a topic that is gone mean nothing on the one that has its name
                if watch.look():
                    raise TryLaterError(f"a topic was made anew ({error})") from error
                raise
            if watch.made_anew:
                raise TryLaterError("a topic was made anew")
            self._pulse.turn()
            self._pulse.ready = reader.joined and not loop.in_outage
            if loop.in_outage and not before:
                self._metrics.outages.inc()
            if time.monotonic() - self._beat_at > HEARTBEAT_S:
                self._beat(loop, reader, book, champions)

    def _beat(self, loop: ScoreLoop, reader: KafkaReader, book: ScorerBook, champions: ServingChampions) -> None:
        self._beat_at = time.monotonic()
        lag = sum(reader.lag().values())
        self._metrics.lag.set(lag)
        self._metrics.refused.set(len(champions.refused))
        state = {"pid": os.getpid(), "lag": lag, **summary(self.total, loop, champions)}
        try:
            beat(book.engine, PROCESS, state)
        except TryLaterError as error:
            # the loop itself notices the outage at its next step
            self._log.warning("no_heartbeat", error=str(error))

    def _until_answered(self, ask: Callable[[], T]) -> T | None:
        while not self._stopping:
            try:
                return ask()
            except TryLaterError as error:
                self._log.warning("waiting", error=str(error))
                self._wait()
        return None

    def _wait(self) -> None:
        self._pulse.turn()
        time.sleep(1.0)

    def _alert(self, engine: sa.Engine, error: IntegrityError) -> None:
        try:
            raise_alert(engine, f"scorer:{error}"[:190], "error", "The scorer stopped", str(error))
        except TryLaterError as outage:
            # the error itself must reach the exit code
            self._log.error("no_alert", error=str(outage))


def summary(total: Done, loop: ScoreLoop, champions: ServingChampions) -> dict[str, Any]:
    """Return what was done, and by whom, as plain values."""
    return {
        "instruments": loop.instruments,
        "sessions": total.sessions,
        "issued": total.issued.new,
        "late": total.issued.late,
        "existing": total.issued.existing,
        "scored": total.scored,
        "sent": total.sent,
        "champions": champions.versions,
        "refused": {target.value: why for target, why in champions.refused.items()},
        "passed_over": sorted(loop.passed_over.values()),
    }


def main() -> int:
    """Run the scorer; return the process's exit code."""
    settings = load_settings()
    configure_logs(settings.log_level)
    process = ScorerProcess(settings)
    signal.signal(signal.SIGTERM, process.stop)
    signal.signal(signal.SIGINT, process.stop)
    try:
        process.run()
    except StreamlakeError as error:
        structlog.get_logger(component=PROCESS).error("stopped", kind=type(error).__name__, error=str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
