"""The scorer process: forecasts of each next session into the ledger, continuously, beside Dagster, until SIGTERM.

Belongs here: joining reader, loop and book; metrics. Stays out: Dagster; signals, heartbeat, exit codes
(``stream_process``); what is forecast and when (``score_loop``).
"""

import gc
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from streamlake_assets.broker.reader import KafkaReader
from streamlake_assets.broker.topics import FORECASTS_KEPT, FORECASTS_TOPIC, describe_streams, ensure_topics
from streamlake_assets.broker.watch import StreamWatch
from streamlake_assets.errors import IntegrityError
from streamlake_assets.market.contract import ACTIONS_TOPIC, BARS_TOPIC
from streamlake_assets.market.messages import StreamIdentity
from streamlake_assets.settings import Settings
from streamlake_assets.sidecar.health import LatencyHistogram
from streamlake_assets.sidecar.score_loop import Done, ScoreLoop
from streamlake_assets.sidecar.scorer_book import ScorerBook
from streamlake_assets.sidecar.serving_champions import ServingChampions
from streamlake_assets.sidecar.stream_process import StreamProcess, run_process
from streamlake_assets.stores.ledger import Issued

GROUP: Final = "streamlake-score"
PROCESS: Final = "scorer"
TOPICS: Final = (BARS_TOPIC, ACTIONS_TOPIC)
SETTING: Final = "STREAMLAKE_SCORER_PORT"


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


class ScorerProcess(StreamProcess):
    """One scorer: ``run`` returns when asked to stop."""

    name = PROCESS

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._metrics = ScorerMetrics()

    @property
    def total(self) -> Done:
        """What was done since the start."""
        return self._metrics.total

    def run(self) -> None:
        """Forecast and score until stopped.

        Raises:
            IntegrityError: stream, tables and ledger contradict each other; an alert was raised.
        """
        with (
            self._served(self._settings.scorer_port, self._metrics.registry, SETTING),
            ScorerBook(self._settings) as book,
        ):
            champions = book.champions()
            try:
                self._until_stopped(lambda: self._follow_streams(book, champions))
                self._say_what_was_done()
            except IntegrityError as error:
                self._alert(book.engine, error)
                raise

    def _follow_streams(self, book: ScorerBook, champions: ServingChampions) -> None:
        streams = self._until_answered(self._topics)
        if streams is not None:
            self._score_streams(book, champions, streams)

    def _say_what_was_done(self) -> None:
        issued = self.total.issued
        self._log.info("stopped", issued=issued.new, late=issued.late, scored=self.total.scored, sent=self.total.sent)

    def _topics(self) -> dict[str, StreamIdentity]:
        ensure_topics(self._settings.kafka, (FORECASTS_TOPIC,), retention=FORECASTS_KEPT)
        return describe_streams(self._settings.kafka, TOPICS)

    def _score_streams(self, book: ScorerBook, champions: ServingChampions, streams: dict[str, StreamIdentity]) -> None:
        reader = KafkaReader(self._settings.kafka, GROUP)
        beside = ThreadPoolExecutor(1, thread_name_prefix="follow-up")
        loop = ScoreLoop(
            reader,
            book,
            champions,
            streams,
            min_history=self._settings.min_history,
            at=self._crash.passed,
            beside=beside,
        )
        reader.subscribe(TOPICS, loop.start_offsets, lambda _: loop.forget())
        self._log.info("following", group=GROUP, topics=TOPICS)
        gc.freeze()
        try:
            with StreamWatch(self._settings.kafka, streams) as watch:
                self._turns(watch, lambda: self._turn(loop, reader, book, champions))
        finally:
            beside.shutdown()
            reader.close()

    def _turn(self, loop: ScoreLoop, reader: KafkaReader, book: ScorerBook, champions: ServingChampions) -> None:
        outage_before = loop.in_outage
        self._metrics.count(loop.turn())
        self._pulse.turn()
        self._pulse.ready = reader.joined and not loop.in_outage
        if loop.in_outage and not outage_before:
            self._metrics.outages.inc()
        if self._heartbeat_due:
            lag = sum(reader.lag().values())
            self._metrics.lag.set(lag)
            self._metrics.refused.set(len(champions.refused))
            self._write_heartbeat(book.engine, lag, summary(self.total, loop, champions))


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
    return run_process(ScorerProcess)


if __name__ == "__main__":
    sys.exit(main())
