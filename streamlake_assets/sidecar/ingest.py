"""The ingest loop: messages from a reader, decoded, into a store, exactly once; no Kafka and no MySQL of its own.

Belongs here: cutting messages into slices, dead letters, what to do in an outage or when fenced. Stays out: process
matters such as signals and metrics servers (``consumer``).
"""

import time
from collections.abc import Callable, Iterable, Sequence

import structlog

from streamlake_assets.errors import BadRecordError, OffsetFencedError, TryLaterError
from streamlake_assets.market.contract import ACTIONS_TOPIC, decode_action, decode_bar
from streamlake_assets.market.messages import (
    Arrival,
    Counts,
    DeadLetter,
    IngestStore,
    Message,
    MessageReader,
    Slice,
    StreamIdentity,
)

Place = tuple[str, int]
MOST_MESSAGES = 5_000
"""Beyond a few thousand rows a statement gains nothing."""


def cut_slice(stream: StreamIdentity, messages: Sequence[Message], expected: int | None) -> Slice | None:
    """Decode consecutive messages of one partition.

    Args:
        stream: identity of the topic.
        messages: in offset order.
        expected: the stored next offset, or None when nothing of the partition is stored yet.

    Returns:
        The slice, or None when all messages lie before ``expected``: they are stored already.
    """
    fresh: list[Message] = []
    last = -1 if expected is None else expected - 1
    for message in messages:
        # a rebalance in the middle of a take can hand out a message twice
        if message.offset > last:
            fresh.append(message)
            last = message.offset
    if not fresh:
        return None
    decode = decode_action if stream.topic == ACTIONS_TOPIC else decode_bar
    arrivals: list[Arrival] = []
    dead: list[DeadLetter] = []
    for message in fresh:
        try:
            fact = decode(message.value, message.key, message.broker_time)
        except BadRecordError as error:
            at = (message.offset, message.broker_time)
            dead.append(DeadLetter(*at, error.reason, error.detail, message.key, message.value))
        else:
            arrivals.append(Arrival(message.offset, message.broker_time, fact))
    first = fresh[0].offset if expected is None else expected
    return Slice(stream, fresh[0].partition, first, fresh[-1].offset + 1, arrivals, dead)


class IngestLoop:
    """Joins a reader and a store. ``turn`` does one round and never sleeps longer than ``wait_s``."""

    def __init__(
        self,
        reader: MessageReader,
        store: IngestStore,
        streams: dict[str, StreamIdentity],
        *,
        wait_s: float = 0.2,
        retry_s: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader
        self._store = store
        self._streams = streams
        self._wait_s = wait_s
        self._retry_s = retry_s
        self._monotonic = monotonic
        self._next: dict[Place, int] = {}
        self._pending: set[Place] = set()
        self._retry_at: float | None = None
        self.fenced = 0
        """Batches refused so far because the stored offset had moved."""
        self._log = structlog.get_logger(component="ingest")

    @property
    def in_outage(self) -> bool:
        """Whether the last batch was put off."""
        return self._retry_at is not None

    def start_offsets(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """Read where to begin: called by the reader when partitions are assigned.

        Raises:
            TryLaterError: the store is not available.
        """
        stored = self._store.next_offsets(self._streams[topic])
        wanted = set(partitions)
        for partition in wanted:
            self._next.pop((topic, partition), None)
        found = {partition: offset for partition, offset in stored.items() if partition in wanted}
        self._next.update({(topic, partition): offset for partition, offset in found.items()})
        return found

    def forget(self) -> None:
        """Drop what is known of partitions: they were revoked."""
        self._next.clear()
        self._pending.clear()
        if self._retry_at is not None:
            self._retry_at = None
            self._reader.resume()

    def turn(self) -> tuple[Counts, list[Message]]:
        """Do one round: take, decode, store.

        Returns:
            What became of the messages, and the messages themselves; both empty when there was nothing to do or the
            store was not available.

        Raises:
            IntegrityError: the stream and the store contradict each other.
        """
        if self._retry_at is not None and not self._recovered():
            return Counts(), []
        messages = self._reader.take(MOST_MESSAGES, self._wait_s)
        if not messages:
            return Counts(), []
        by_place: dict[Place, list[Message]] = {}
        for message in messages:
            by_place.setdefault((message.topic, message.partition), []).append(message)
        slices = []
        for place, group in sorted(by_place.items()):
            part = cut_slice(self._streams[place[0]], group, self._next.get(place))
            if part is not None:
                slices.append(part)
        if not slices:
            return Counts(), []
        return self._store_slices(slices, messages)

    def _store_slices(self, slices: Sequence[Slice], messages: list[Message]) -> tuple[Counts, list[Message]]:
        places = {(part.stream.topic, part.partition): part for part in slices}
        try:
            counts = self._store.ingest(slices)
        except OffsetFencedError as error:
            self._log.warning("fenced", error=str(error))
            self.fenced += 1
            self._put_off(places)
            return Counts(), []
        except TryLaterError as error:
            self._log.warning("put_off", error=str(error))
            self._put_off(places)
            return Counts(), []
        for place, part in places.items():
            self._next[place] = part.next_offset
            self._reader.commit(*place, part.next_offset)
        return counts, messages

    def _put_off(self, places: dict[Place, Slice]) -> None:
        # keep polling while paused, or the group would take this member for dead
        self._reader.pause()
        self._pending = set(places)
        for place, part in places.items():
            self._next.setdefault(place, part.first_offset)
        self._retry_at = self._monotonic() + self._retry_s

    def _recovered(self) -> bool:
        """Keep the membership alive; when it is time, ask the store what it holds and go on from there."""
        for message in self._reader.take(1, self._wait_s):
            # handed out in spite of the pause, and not stored: it must come again
            place = (message.topic, message.partition)
            self._reader.rewind({place: self._next.get(place, message.offset)})
        if self._retry_at is None or self._monotonic() < self._retry_at:
            return self._retry_at is None
        try:
            # after a lost COMMIT only the stored offset can tell whether the batch is in
            for topic in {topic for topic, _ in self._pending}:
                stored = self._store.next_offsets(self._streams[topic])
                self._next.update({(topic, p): n for p, n in stored.items() if (topic, p) in self._next})
        except TryLaterError as error:
            self._log.warning("still_put_off", error=str(error))
            self._retry_at = self._monotonic() + self._retry_s
            return False
        self._reader.rewind({place: self._next[place] for place in self._next})
        self._retry_at = None
        self._pending.clear()
        self._reader.resume()
        return True
