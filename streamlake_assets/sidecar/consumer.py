"""The consumer process: Kafka into MySQL, continuously, until SIGTERM.

Belongs here: joining reader, loop and store; metrics. Stays out: signals, heartbeat, exit codes (``stream_process``);
Dagster, pandas and anything heavy: this process stays small.
"""

import gc
import os
import socket
import sys
from collections.abc import Sequence

import sqlalchemy as sa

from streamlake_assets.broker.reader import KafkaReader
from streamlake_assets.broker.topics import describe_streams
from streamlake_assets.broker.watch import StreamWatch
from streamlake_assets.errors import IntegrityError
from streamlake_assets.market.contract import ACTIONS_TOPIC, BARS_TOPIC
from streamlake_assets.market.dead_letter_limit import DeadLetterLimit
from streamlake_assets.market.messages import Counts
from streamlake_assets.settings import DatabaseRole, Settings
from streamlake_assets.sidecar.handover import Stored, ThreadHandover
from streamlake_assets.sidecar.health import ConsumerMetrics
from streamlake_assets.sidecar.ingest import IngestLoop
from streamlake_assets.sidecar.stream_process import StreamProcess, run_process
from streamlake_assets.stores.bar_store import BarStore
from streamlake_assets.stores.mysql import make_engine
from streamlake_assets.stores.threshold_watch import BarWatch

GROUP = "streamlake-ingest"
PROCESS = "consumer"
SETTING = "STREAMLAKE_CONSUMER_PORT"
TOPICS = (BARS_TOPIC, ACTIONS_TOPIC)
FINISH_S = 3.0
"""How long a stop waits for what was decoded."""


class ConsumerProcess(StreamProcess):
    """One consumer: ``run`` returns when asked to stop."""

    name = PROCESS

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._metrics = ConsumerMetrics()
        self._totals = Counts()

    def run(self) -> None:
        """Consume until stopped.

        Raises:
            IntegrityError: the stream and the tables contradict each other; an alert was raised.
        """
        with self._served(self._settings.consumer_port, self._metrics.registry, SETTING):
            engine = make_engine(self._settings, DatabaseRole.WRITER)
            try:
                self._until_stopped(lambda: self._consume_streams(engine))
                self._log.info("stopped", **_as_dict(self._totals))
            except IntegrityError as error:
                self._alert(engine, error)
                raise
            finally:
                engine.dispose()

    def _consume_streams(self, engine: sa.Engine) -> None:
        streams = self._until_answered(lambda: describe_streams(self._settings.kafka, TOPICS))
        if streams is None:
            return
        store = BarStore(engine, f"{socket.gethostname()}:{os.getpid()}", at=self._crash.passed, watch=BarWatch())
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
        self._turns(watch, lambda: self._turn(loop, reader, engine))

    def _turn(self, loop: IngestLoop, reader: KafkaReader, engine: sa.Engine) -> None:
        outage_before, fenced_before = loop.in_outage, loop.fenced
        self._observe(loop.turn())
        self._pulse.turn()
        # joining a new cluster's first group takes seconds: before that nothing would be consumed
        self._pulse.ready = reader.joined and not loop.in_outage and not loop.stuck
        if loop.in_outage and not outage_before:
            self._metrics.outages.inc()
        self._metrics.fenced.inc(loop.fenced - fenced_before)
        if self._heartbeat_due:
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
        lags = reader.lag()
        for (topic, partition), lag in lags.items():
            self._metrics.lag.labels(topic, str(partition)).set(lag)
        self._metrics.stopped.set(len(loop.stopped))
        stopped = sorted(f"{topic}[{partition}]" for topic, partition in loop.stopped)
        self._write_heartbeat(engine, sum(lags.values()), {**_as_dict(self._totals), "stopped": stopped})


def main() -> int:
    """Run the consumer; return the process's exit code."""
    return run_process(ConsumerProcess, before=_tune_interpreter)


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
