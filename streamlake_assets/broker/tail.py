"""The end of a topic, followed without a group: what a page shows before the tables have it.

Belongs here: assignment from given offsets, messages as they come, watermarks. Stays out: groups and stored offsets
(``reader``), decoding (``market.contract``), what is done with the messages. One thread owns a reader.
"""

from collections.abc import Mapping
from typing import Any, Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as RawMessage

from streamlake_assets.broker.raw_message import to_message
from streamlake_assets.broker.topics import client_config
from streamlake_assets.errors import IntegrityError, TryLaterError
from streamlake_assets.market.messages import Message

MOST_BEHIND: Final = 10_000
"""Messages of one partition that are read again at most: a page must not read a topic from its beginning."""
_START_TIMEOUT_S: Final = 5.0
_CONFIG: Final[dict[str, Any]] = {
    # librdkafka wants a name even where no group is joined and nothing is ever committed
    "group.id": "streamlake-tail",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "fetch.wait.max.ms": 100,
    # bounded memory while whoever takes the messages is busy
    "queued.max.messages.kbytes": 8_192,
    "fetch.message.max.bytes": 1_048_576,
    # the default of 10 s would keep a page blind that long after the broker is back
    "reconnect.backoff.max.ms": 1_000,
}
_GONE: Final = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})
_NO_TOPIC: Final = frozenset(
    {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}
)


class TailReader:
    """Follows all partitions of one topic; use ``start`` once, then ``take``."""

    def __init__(self, bootstrap: str, topic: str, most_behind: int = MOST_BEHIND) -> None:
        self._topic = topic
        self._most_behind = most_behind
        self._partitions: list[int] = []
        self._log = structlog.get_logger(component="tail", topic=topic)
        self._consumer = Consumer({**client_config(bootstrap), **_CONFIG})
        # A question on the follower's own connection is answered after the fetches that wait there for messages, 100 ms
        # for each partition: once a second nothing would be taken for that long.
        self._asking = Consumer({**client_config(bootstrap), **_CONFIG})

    def find(self, timeout_s: float) -> None:
        """Ask the cluster for the topic: the cheapest test whether both are there.

        Raises:
            TryLaterError: one of them is not.
        """
        try:
            described = self._asking.list_topics(self._topic, timeout=timeout_s).topics[self._topic]
        except KafkaException as error:
            raise TryLaterError(f"{self._topic}: {error.args[0].str()}") from error
        if described.error is not None:
            raise TryLaterError(f"{self._topic}: {described.error.str()}")
        self._partitions = sorted(described.partitions)

    def start(self, wanted: Mapping[int, int] | None) -> dict[int, int]:
        """Assign every partition and return the offset at which each begins.

        Args:
            wanted: first offset that is needed of each partition, a partition that is not named is needed from its
                oldest message on; None: nothing that was written before now is needed. Never more than ``most_behind``
                messages back, whatever is wanted.

        Raises:
            TryLaterError: the cluster or the topic does not answer.
            IntegrityError: an offset is wanted that the topic has not reached.
        """
        self.find(_START_TIMEOUT_S)
        begins = {}
        for number, (low, high) in self._watermarks(_START_TIMEOUT_S).items():
            first = high if wanted is None else wanted.get(number, low)
            if first > high:
                raise IntegrityError(
                    f"{self._topic}[{number}]: offset {first} is stored, but the topic ends at {high}: another topic?"
                )
            begins[number] = max(first, low, high - self._most_behind)
        self._consumer.assign([TopicPartition(self._topic, number, offset) for number, offset in begins.items()])
        return begins

    def take(self, most: int, timeout_s: float) -> list[Message]:
        """Return messages: wait up to ``timeout_s`` for the first, then take what is already here.

        Raises:
            TryLaterError: the topic is gone.
            IntegrityError: an offset is no longer on the broker, or the client failed for good.
        """
        first = self._consumer.consume(1, timeout_s)
        if not first:
            return []
        return [to_message(raw) for raw in first + self._consumer.consume(most - 1, 0) if not self._passing(raw)]

    def high_watermarks(self, timeout_s: float) -> dict[int, int]:
        """Ask the broker for the next offset to be written of each partition; also the test whether it answers.

        Raises:
            TryLaterError: it does not answer in time.
        """
        return {number: high for number, (_, high) in self._watermarks(timeout_s).items()}

    def close(self) -> None:
        """Let go of the broker."""
        self._consumer.close()
        self._asking.close()

    def _watermarks(self, timeout_s: float) -> dict[int, tuple[int, int]]:
        found = {}
        for number in self._partitions:
            try:
                marks = self._asking.get_watermark_offsets(TopicPartition(self._topic, number), timeout=timeout_s)
            except KafkaException as error:
                raise TryLaterError(f"{self._topic}[{number}]: {error.args[0].str()}") from error
            if marks is None:
                raise TryLaterError(f"{self._topic}[{number}]: no answer within {timeout_s:g} s")
            found[number] = marks
        return found

    def _passing(self, raw: RawMessage) -> bool:
        error = raw.error()
        if error is None:
            return False
        place = f"{raw.topic()}[{raw.partition()}]"
        if error.code() in _GONE:
            raise IntegrityError(f"{place}: the offset is not on the broker ({error.str()})")
        if error.fatal():
            raise IntegrityError(f"the Kafka client failed for good: {error.str()}")
        if error.code() in _NO_TOPIC:
            raise TryLaterError(f"{place}: {error.str()}")
        self._log.warning("kafka_error", error=error.str())
        return True
