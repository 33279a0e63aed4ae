"""Messages out of Kafka between given offsets, without a group: for loading what is there, beside a running consumer.

Belongs here: assignment by hand, from where to where, and knowing when all of it was handed out. Stays out: which
offsets (``commands``), what is done with the messages (``sidecar.ingest``). One thread owns a reader.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka import Message as RawMessage

from streamlake_assets.broker.raw_message import to_message
from streamlake_assets.broker.topics import client_config
from streamlake_assets.errors import IntegrityError, TryLaterError
from streamlake_assets.market.messages import Message

Place = tuple[str, int]
Range = tuple[int, int]
"""First offset, and the first offset that is not wanted any more."""

RANGE_CONFIG: dict[str, Any] = {
    # the client wants a name; nothing joins it and nothing is committed
    "group.id": "streamlake-ranges",
    "enable.auto.commit": False,
    "auto.offset.reset": "error",
    # offsets may end in records that are no messages: only the end of the partition tells that nothing comes
    "enable.partition.eof": True,
    "fetch.wait.max.ms": 100,
    # a load fetches ahead more than the consumer, and still within bounds
    "queued.max.messages.kbytes": 32_768,
    "fetch.message.max.bytes": 4_194_304,
}


class RangeReader:
    """``MessageReader`` of ranges of partitions; ``done`` when each has been handed out to its end."""

    def __init__(self, bootstrap: str, ranges: Mapping[Place, Range]) -> None:
        self._next = {place: first for place, (first, end) in ranges.items() if first < end}
        self._ends = {place: ranges[place][1] for place in self._next}
        self._handed_out: dict[Place, int] = {}
        self._open: set[Place] = set()
        self._held: set[Place] = set()
        self._paused = False
        self._log = structlog.get_logger(component="range_reader")
        self._consumer = Consumer({**client_config(bootstrap), **RANGE_CONFIG})
        self._assign()

    @property
    def done(self) -> bool:
        """Whether nothing more will be handed out, unless ``rewind`` or ``release`` asks for it."""
        return self._open <= self._held

    @property
    def handed_out(self) -> dict[Place, int]:
        """Next offset after the last message of each partition that was handed out and not asked for again."""
        return dict(self._handed_out)

    def take(self, most: int, timeout_s: float) -> list[Message]:
        """Return messages: wait up to ``timeout_s`` for the first, then take what is already here.

        Raises:
            TryLaterError: the broker refused a fetch for now.
            IntegrityError: an offset is not on the broker, or the client failed for good.
        """
        if self.done:
            return []
        first = self._consumer.consume(1, timeout_s)
        raw = first if not first or most == 1 else first + self._consumer.consume(most - 1, 0)
        return [message for one in raw if (message := self._wanted(one)) is not None]

    def pause(self) -> None:
        """Fetch nothing until ``resume``."""
        if not self._paused:
            self._paused = True
            self._consumer.pause(self._consumer.assignment())

    def resume(self) -> None:
        """Fetch again after ``pause``."""
        if self._paused:
            self._paused = False
            self._consumer.resume(_partitions(self._open - self._held))

    def hold(self, places: Iterable[Place]) -> None:
        """Fetch nothing of these places until ``release``: they count as read to their end."""
        self._held |= set(places)
        self._consumer.pause(_partitions(self._open & self._held))

    def release(self, places: Iterable[Place]) -> None:
        """Fetch these places again, from after the last message handed out."""
        released = set(places) & self._held
        self._held -= released
        if not self._paused:
            self._consumer.resume(_partitions(self._open & released))

    def rewind(self, offsets: dict[Place, int]) -> None:
        """Go on from these offsets, further back or further ahead; partitions that are not read here do not count."""
        known = {place: offset for place, offset in offsets.items() if place in self._ends}
        self._next.update(known)
        for place in known:
            self._handed_out.pop(place, None)
        if known:
            self._assign()

    def commit(self, offsets: Mapping[Place, int]) -> None:
        """Do nothing: without a group there is nobody to tell."""

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()

    def _assign(self) -> None:
        # the whole assignment anew: a seek is refused while a partition has not been fetched yet, and drops no less
        self._open = {place for place, end in self._ends.items() if self._next[place] < end}
        self._consumer.assign([TopicPartition(*place, self._next[place]) for place in sorted(self._open)])
        still = self._open if self._paused else self._open & self._held
        self._consumer.pause(_partitions(still))
        # the client remembers a pause over assignments
        self._consumer.resume(_partitions(self._open - still))

    def _wanted(self, raw: RawMessage) -> Message | None:
        error = raw.error()
        if error is not None:
            self._note(raw, error)
            return None
        message = to_message(raw)
        place = (message.topic, message.partition)
        if place not in self._open or message.offset < self._next[place]:
            return None
        if message.offset >= self._ends[place]:
            self._close_place(place)
            return None
        self._next[place] = self._handed_out[place] = message.offset + 1
        if self._next[place] == self._ends[place]:
            self._close_place(place)
        return message

    def _note(self, raw: RawMessage, error: KafkaError) -> None:
        place, offset = (raw.topic() or "", -1 if raw.partition() is None else raw.partition()), raw.offset()
        if error.code() == KafkaError._PARTITION_EOF:
            if place in self._open and offset is not None and offset >= self._ends[place]:
                self._close_place(place)
        elif error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            raise IntegrityError(
                f"{place[0]}[{place[1]}]: an offset is not on the broker ({error.str()}). "
                "Messages may be missing: compare the topic with the tables before going on"
            )
        elif error.fatal() or error.code() == KafkaError._FATAL:
            raise IntegrityError(f"the Kafka client failed for good: {error.str()}")
        elif error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED):
            raise TryLaterError(f"{place[0]}: {error.str()}")
        else:
            self._log.warning("kafka_error", error=error.str())

    def _close_place(self, place: Place) -> None:
        self._open.discard(place)
        # what was fetched beyond its end is thrown away, and nothing more is fetched
        self._consumer.pause(_partitions([place]))


def _partitions(places: Iterable[Place]) -> list[TopicPartition]:
    return [TopicPartition(*place) for place in places]
