"""The consumer process: Kafka into MySQL, continuously, until SIGTERM.

Belongs here: joining reader, loop and store; signals, metrics, heartbeat, exit codes. Stays out: Dagster, pandas and
anything heavy: this process stays small.
"""

import gc
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog

from streamlake_assets.broker.reader import KafkaReader
from streamlake_assets.broker.topics import describe_streams
from streamlake_assets.broker.watch import StreamWatch
from streamlake_assets.errors import IntegrityError, StreamlakeError, TryLaterError
from streamlake_assets.market.contract import ACTIONS_TOPIC, BARS_TOPIC
from streamlake_assets.market.dead_letter_limit import DeadLetterLimit
from streamlake_assets.market.messages import Counts
from streamlake_assets.settings import DatabaseRole, Settings, load_settings
from streamlake_assets.sidecar.crash_point import CrashPoint
from streamlake_assets.sidecar.handover import Stored, ThreadHandover
from streamlake_assets.sidecar.health import ConsumerMetrics, Pulse, serve
from streamlake_assets.sidecar.ingest import IngestLoop
from streamlake_assets.stores.bar_store import BarStore
from streamlake_assets.stores.mysql import make_engine
from streamlake_assets.stores.operations import beat, raise_alert

GROUP = "streamlake-ingest"
PROCESS = "consumer"
TOPICS = (BARS_TOPIC, ACTIONS_TOPIC)
HEARTBEAT_S = 5.0
FINISH_S = 3.0
"""How long a stop waits for what was decoded."""

T = TypeVar("T")


class ConsumerProcess:
    """One consumer: ``run`` returns when asked to stop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping = False
        self._metrics = ConsumerMetrics()
        self._pulse = Pulse(limit_s=30.0)
        self._log = structlog.get_logger(component=PROCESS)
        self._totals = Counts()
        self._beat_at = 0.0
        self._crash = CrashPoint.of_environment()

    def stop(self, _signal: int, _frame: FrameType | None) -> None:
        """Ask to stop after the current batch; a second time, exit at once: the tables are safe either way."""
        if self._stopping:
            os._exit(1)
        self._stopping = True

    def run(self) -> None:
        """Consume until stopped.

        Raises:
            IntegrityError: the stream and the tables contradict each other; an alert was raised.
        """
        engine = make_engine(self._settings, DatabaseRole.WRITER)
        server = serve(
            self._settings.consumer_port, self._metrics.registry, self._pulse.alive, lambda: self._pulse.ready
        )
        try:
            self._consume(engine)
        except IntegrityError as error:
            self._log.error("integrity", error=str(error))
            self._alert(engine, error)
            raise
        finally:
            server.stop()
            engine.dispose()

    def _consume(self, engine: sa.Engine) -> None:
        while not self._stopping:
            try:
                self._consume_streams(engine)
            except TryLaterError as error:
                # a topic is gone or was made anew, or the database was away while partitions were assigned: join again
                self._log.warning("joining_again", error=str(error))
                self._pulse.ready = False
                self._wait()
        self._log.info("stopped", **_as_dict(self._totals))

    def _consume_streams(self, engine: sa.Engine) -> None:
        streams = self._until_answered(lambda: describe_streams(self._settings.kafka, TOPICS))
        if streams is None:
            return
        store = BarStore(engine, f"{socket.gethostname()}:{os.getpid()}", at=self._crash.passed)
        self._until_answered(lambda: [store.next_offsets(stream) for stream in streams.values()])
        limit = DeadLetterLimit(self._settings.dead_letter_share, self._settings.dead_letter_run)
        reader = KafkaReader(self._settings.kafka, GROUP)
        loop = IngestLoop(reader, store, streams, handover=ThreadHandover(store), limit=limit)
        reader.subscribe(TOPICS, loop.start_offsets, lambda places: self._observe(loop.forget(places)))
        self._log.info("consuming", group=GROUP, topics=TOPICS)
        try:
            with StreamWatch(self._settings.kafka, streams) as watch:
                self._follow(watch, loop, reader, engine)
        finally:
            try:
                self._observe(loop.finish(FINISH_S))
            finally:
                # also when the last batch was refused: others take over at once, not when the session has run out
                reader.close()
                store.close()

    def _follow(self, watch: StreamWatch, loop: IngestLoop, reader: KafkaReader, engine: sa.Engine) -> None:
        while not self._stopping:
            try:
                self._turn(loop, reader, engine)
            except IntegrityError as error:
                # offsets of a topic that is gone mean nothing on the one that has its name
                if watch.look():
                    raise TryLaterError(f"a topic was made anew ({error})") from error
                raise
            if watch.made_anew:
                raise TryLaterError("a topic was made anew")

    def _turn(self, loop: IngestLoop, reader: KafkaReader, engine: sa.Engine) -> None:
        outage_before, fenced_before = loop.in_outage, loop.fenced
        self._observe(loop.turn())
        self._pulse.turn()
        # joining a new cluster's first group takes seconds: before that nothing would be consumed
        self._pulse.ready = reader.joined and not loop.in_outage and not loop.stuck
        if loop.in_outage and not outage_before:
            self._metrics.outages.inc()
        self._metrics.fenced.inc(loop.fenced - fenced_before)
        if time.monotonic() - self._beat_at > HEARTBEAT_S:
            self._beat(engine, reader, loop)

    def _observe(self, stored: Sequence[Stored]) -> None:
        for one in stored:
            self._crash.passed("acknowledge")
            self._totals.add(one.counts)
            self._metrics.count(one.counts)
            self._metrics.batch_size.observe(one.messages)
            self._metrics.transaction.observe(one.seconds)
            for work in one.works:
                self._metrics.from_broker.add(one.committed_at, work.broker_times)
                self._metrics.from_event.add(one.committed_at, work.event_times)
            self._log.debug("stored", seconds=round(one.seconds, 4), **_as_dict(one.counts))

    def _beat(self, engine: sa.Engine, reader: KafkaReader, loop: IngestLoop) -> None:
        self._beat_at = time.monotonic()
        lags = reader.lag()
        for (topic, partition), lag in lags.items():
            self._metrics.lag.labels(topic, str(partition)).set(lag)
        self._metrics.stopped.set(len(loop.stopped))
        state: dict[str, Any] = {"pid": os.getpid(), "lag": sum(lags.values()), **_as_dict(self._totals)}
        state["stopped"] = sorted(f"{topic}[{partition}]" for topic, partition in loop.stopped)
        try:
            beat(engine, PROCESS, state)
        except TryLaterError as error:
            # the loop itself notices the outage at its next batch
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
            raise_alert(engine, f"consumer:{error}"[:190], "error", "The consumer stopped", str(error))
        except TryLaterError as outage:
            # the error itself must reach the exit code
            self._log.error("no_alert", error=str(outage))


def configure_logs(level: str) -> None:
    """Log JSON lines to standard error; no payloads and no secrets are ever logged."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=lambda event, **_: json.dumps(event, default=str)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def main() -> int:
    """Run the consumer; return the process's exit code."""
    settings = load_settings()
    configure_logs(settings.log_level)
    process = ConsumerProcess(settings)
    _tune_interpreter()
    signal.signal(signal.SIGTERM, process.stop)
    signal.signal(signal.SIGINT, process.stop)
    try:
        process.run()
    except StreamlakeError as error:
        structlog.get_logger(component=PROCESS).error("stopped", kind=type(error).__name__, error=str(error))
        return error.exit_code
    return 0


def _tune_interpreter() -> None:
    # the database thread wakes for each answer and waits for its turn: by default the decoding thread would let it wait
    # for 5 ms, several times in each transaction (decision 0008 has the figures)
    sys.setswitchinterval(0.0001)
    # what comes and goes by the thousand here is freed by its last reference; looking for cycles among it costs a tenth
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _as_dict(counts: Counts) -> dict[str, int]:
    return {name: getattr(counts, name) for name in counts.__struct_fields__}


if __name__ == "__main__":
    sys.exit(main())
