"""Messages into Kafka: acknowledged by all replicas, in order for each symbol, each on the partition its key says.

Belongs here: the producer and its settings. Stays out: what is sent (``market.contract``), when (``sidecar.replay``).
"""

from types import TracebackType
from typing import Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from streamlake_assets.broker.topics import client_config
from streamlake_assets.errors import StreamlakeError, TryLaterError

PRODUCER_CONFIG = {
    "enable.idempotence": True,
    "acks": "all",
    "linger.ms": 5,
    "compression.type": "lz4",
    # Java's partitioner; librdkafka's own default would put one symbol on two partitions when NiFi writes too
    "partitioner": "murmur2_random",
}


class Publisher:
    """Sends keyed messages and knows whether each arrived; use as a context manager, which flushes at the end."""

    def __init__(self, bootstrap: str, delivery_timeout_s: float = 60.0) -> None:
        timeout = {"delivery.timeout.ms": int(delivery_timeout_s * 1000)}
        self._producer = Producer({**client_config(bootstrap), **PRODUCER_CONFIG, **timeout})
        self._failure: KafkaError | None = None
        self.delivered = 0
        self.refused = 0
        """Messages that the client would not take, as too large ones."""
        self.places: dict[tuple[str, int], int] = {}
        """Next offset after the last delivered message, by topic and partition."""

    def send(self, topic: str, key: str, value: bytes) -> None:
        """Queue one message; waits while the queue is full.

        Raises:
            TryLaterError: an earlier message could not be delivered.
            StreamlakeError: this one can never be, as it is too large.
        """
        while True:
            self._raise_failure()
            try:
                self._producer.produce(topic, value=value, key=key.encode(), on_delivery=self._delivered)
            except BufferError:
                self._producer.poll(0.1)
                continue
            except KafkaException as error:
                self.refused += 1
                raise StreamlakeError(f"a message was refused: {error.args[0].str()}") from error
            self._producer.poll(0)
            return

    def flush(self, timeout_s: float = 60.0) -> None:
        """Wait until every queued message is acknowledged.

        Raises:
            TryLaterError: a message could not be delivered in time.
        """
        left = self._producer.flush(timeout_s)
        self._raise_failure()
        if left:
            raise TryLaterError(f"{left} messages were not acknowledged within {timeout_s:g} s")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.flush()
        else:
            self._producer.purge()

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failure = error
            return
        self.delivered += 1
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        if topic is not None and partition is not None and offset is not None:
            place = (topic, partition)
            self.places[place] = max(self.places.get(place, 0), offset + 1)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            kind = (
                TryLaterError if failure.retriable() or failure.code() == KafkaError._MSG_TIMED_OUT else StreamlakeError
            )
            raise kind(f"a message was not delivered: {failure.str()}") from KafkaException(failure)
