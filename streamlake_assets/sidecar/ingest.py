"""The ingest loop: messages from a reader, decoded, handed to a store, exactly once; no Kafka, no MySQL of its own.

Belongs here: cutting messages into slices, dead letters and their limit, what to do in an outage or when fenced. Stays
out: the writing thread (``handover``), process matters such as signals and metrics servers (``consumer``).

What was decoded runs ahead of what is stored. Whatever goes wrong, the loop drops what is ahead, asks the store for its
offsets and goes on from there.
"""

import time
from collections.abc import Callable, Iterable, Sequence

import structlog

from streamlake_assets.errors import BadRecordError, OffsetFencedError, TryLaterError
from streamlake_assets.market.contract import ACTIONS_TOPIC, decode_action, decode_bar
from streamlake_assets.market.dead_letter_limit import DeadLetterLimit
from streamlake_assets.market.messages import (
    MOST_KEPT,
    Arrival,
    DeadLetter,
    IngestStore,
    Message,
    MessageReader,
    Slice,
    StreamIdentity,
)
from streamlake_assets.sidecar.handover import Handover, InlineHandover, Stored, Work

Place = tuple[str, int]
MOST_MESSAGES = 2_000
"""Taken at once: beyond a few thousand rows a statement gains nothing, and what waits takes memory."""
FEW = 500
GATHER_S = 0.1
"""After fewer messages than this the next are taken when the transaction has ended, or after this long."""
NO_ROOM_S = 5.0
"""After this long without room the reader is paused and polled, or the group would take this member for dead."""
DRAIN_S = 5.0
"""How long a partition that is given up waits for what was decoded of it."""
STUCK_S = 5.0
"""Age of a transaction that is no longer a slow one: thousands of rows take a fraction of a second."""
LOOK_S = 5.0
"""How often stopped partitions are asked about."""
TELL_S = 1.0
"""How often the broker is told how far the tables are: for lag tools, and every time costs the broker a write."""

Judge = Callable[[Place, int, int], str]
"""(place, first offset of the batch, offset of a dead letter) -> why the partition must stop, or an empty text."""


def cut_slice(
    stream: StreamIdentity, messages: Sequence[Message], expected: int | None, judge: Judge = lambda *_: ""
) -> Slice | None:
    """Decode consecutive messages of one partition.

    Args:
        stream: identity of the topic.
        messages: in offset order.
        expected: the next offset that is wanted, or None when nothing of the partition was read yet.
        judge: the limit of dead letters; the slice ends where it says stop.

    Returns:
        The slice, or None when all messages lie before ``expected``: they were taken already.
    """
    last = -1 if expected is None else expected - 1
    decode = decode_action if stream.topic == ACTIONS_TOPIC else decode_bar
    arrivals: list[Arrival] = []
    dead: list[DeadLetter] = []
    first, stop = expected, ""
    for message in messages:
        offset, broker_time = message.offset, message.broker_time
        # a rebalance in the middle of a take can hand out a message twice
        if offset <= last:
            continue
        last = offset
        if first is None:
            first = offset
        try:
            fact = decode(message.value, message.key, broker_time)
        except BadRecordError as error:
            kept = None if message.value is None else message.value[:MOST_KEPT]
            dead.append(DeadLetter(offset, broker_time, error.reason, error.detail, message.key, kept))
            stop = judge((stream.topic, message.partition), first, offset)
            if stop:
                break
        else:
            arrivals.append(Arrival(offset, broker_time, fact))
    if first is None or not (arrivals or dead):
        return None
    return Slice(stream, messages[0].partition, first, last + 1, arrivals, dead, stop)


class IngestLoop:
    """Joins a reader and a store. ``turn`` does one round and never sleeps much longer than ``wait_s``.

    Args:
        reader: where messages come from.
        store: where they go.
        streams: identity of each topic.
        handover: the way to the store; default: at once, in this thread.
        limit: of dead letters; default: none.
        most: messages that are taken at once.
        wait_s: longest wait for a message or for room.
        retry_s: time between two looks at a store that is away.
        monotonic: the clock.
    """

    def __init__(
        self,
        reader: MessageReader,
        store: IngestStore,
        streams: dict[str, StreamIdentity],
        *,
        handover: Handover | None = None,
        limit: DeadLetterLimit | None = None,
        most: int = MOST_MESSAGES,
        wait_s: float = 0.2,
        retry_s: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader
        self._store = store
        self._streams = streams
        self._handover = handover or InlineHandover(store)
        self._limit = limit or DeadLetterLimit()
        self._most = most
        self._wait_s = wait_s
        self._retry_s = retry_s
        self._monotonic = monotonic
        self._next: dict[Place, int] = {}
        """Next offset to decode of each partition that was read or has a stored offset."""
        self._begin: dict[Place, int] = {}
        """First offset that was read of partitions that had no stored offset."""
        self._stopped: set[Place] = set()
        self._retry_at: float | None = None
        self._no_room_since: float | None = None
        self._look_at = 0.0
        self._tell_at = 0.0
        self._untold: dict[Place, int] = {}
        """Stored next offsets that the broker has not been told."""
        self._taken = 0
        self.fenced = 0
        """Batches refused so far because the stored offset had moved."""
        self._log = structlog.get_logger(component="ingest")

    @property
    def in_outage(self) -> bool:
        """Whether the last batch was put off."""
        return self._retry_at is not None

    @property
    def stuck(self) -> bool:
        """Whether a transaction has run for so long that the store cannot be called ready, such as on a full disk."""
        return self._handover.busy_s() > STUCK_S

    @property
    def stopped(self) -> frozenset[Place]:
        """Partitions of this member that are not read, because too many of their messages were bad."""
        return frozenset(self._stopped)

    def start_offsets(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """Read where to begin: called by the reader when partitions are assigned.

        Raises:
            TryLaterError: the store is not available.
        """
        wanted = set(partitions)
        stored = self._store.next_offsets(self._streams[topic])
        stopped = {(topic, partition) for partition in self._store.stopped(self._streams[topic]) if partition in wanted}
        for partition in wanted:
            self._drop((topic, partition))
            if partition in stored:
                self._remember_dead((topic, partition))
        found = {partition: offset for partition, offset in stored.items() if partition in wanted}
        self._next.update({(topic, partition): offset for partition, offset in found.items()})
        self._reader.release({(topic, partition) for partition in wanted} - stopped)
        self._reader.hold(stopped)
        self._stopped |= stopped
        return found

    def forget(self, places: Iterable[Place] | None = None) -> list[Stored]:
        """Give partitions up: they were revoked; None: all. What was decoded is stored first, if it can be at once.

        Returns:
            What was stored meanwhile.
        """
        self._handover.drain(DRAIN_S)
        stored = self._collect()
        self._tell()
        for place in list(self._next) if places is None else places:
            self._drop(place)
        if not self._next and self._retry_at is not None:
            self._retry_at = None
            self._reader.resume()
        return stored

    def turn(self) -> list[Stored]:
        """Do one round: collect what was stored, take, decode, hand over.

        Returns:
            What was stored since the last round.

        Raises:
            IntegrityError: the stream and the store contradict each other.
        """
        stored = self._collect()
        if self._monotonic() >= self._tell_at:
            self._tell()
        if self._retry_at is not None and not self._recovered():
            return stored
        self._look_for_released()
        if not self._has_room():
            return stored
        if self._taken < FEW:
            # at low load let messages come together while a transaction runs: taking them one by one would cost more
            # than the transaction, and take the interpreter away from it
            self._handover.drain(GATHER_S)
        messages = self._reader.take(self._most, self._wait_s)
        self._taken = len(messages)
        if messages:
            self._hand_over(messages)
            stored += self._collect()
        return stored

    def finish(self, timeout_s: float) -> list[Stored]:
        """Store what was decoded, if that is possible in time, and stop the handover."""
        self._handover.drain(timeout_s)
        try:
            stored = self._collect()
            self._tell()
        finally:
            self._handover.close()
        return stored

    def _remember_dead(self, place: Place) -> None:
        self._limit.remember(place, *self._store.recent_dead(self._streams[place[0]], place[1]))

    def _drop(self, place: Place) -> None:
        self._next.pop(place, None)
        self._begin.pop(place, None)
        self._stopped.discard(place)
        self._limit.forget(place)

    def _hand_over(self, messages: Sequence[Message]) -> None:
        by_place: dict[Place, list[Message]] = {}
        for message in messages:
            by_place.setdefault((message.topic, message.partition), []).append(message)
        slices = []
        for place, group in sorted(by_place.items()):
            if place in self._stopped:
                continue
            part = cut_slice(self._streams[place[0]], group, self._next.get(place), self._limit.exceeded)
            if part is None:
                continue
            if place not in self._next:
                self._begin[place] = part.first_offset
            self._next[place] = part.next_offset
            if part.stop:
                self._log.error("stopping", topic=place[0], partition=place[1], why=part.stop)
                self._reader.hold({place})
                self._stopped.add(place)
            slices.append(part)
        if slices:
            arrivals = [arrival for one in slices for arrival in one.arrivals]
            letters = [letter for one in slices for letter in one.dead]
            times = [arrival.broker_time for arrival in arrivals] + [letter.broker_time for letter in letters]
            self._handover.submit(
                Work(
                    [self._store.prepare(part) for part in slices],
                    [moment.timestamp() for moment in times],
                    [arrival.fact.event_time.timestamp() for arrival in arrivals],
                    len(times) + sum(len(letter.payload or b"") for letter in letters) // 1024,
                )
            )

    def _collect(self) -> list[Stored]:
        try:
            stored = self._handover.collect()
        except OffsetFencedError as error:
            self._log.warning("fenced", error=str(error))
            self.fenced += 1
            self._put_off()
            return []
        except TryLaterError as error:
            self._log.warning("put_off", error=str(error))
            self._put_off()
            return []
        for part in (part for one in stored for work in one.works for part in work.parts):
            self._untold[part.stream.topic, part.partition] = part.next_offset
        return stored

    def _tell(self) -> None:
        self._tell_at = self._monotonic() + TELL_S
        if self._untold:
            self._reader.commit(self._untold)
            self._untold = {}

    def _has_room(self) -> bool:
        if self._handover.has_room(self._wait_s):
            if self._no_room_since is not None and self._retry_at is None:
                self._no_room_since = None
                self._reader.resume()
            return True
        now = self._monotonic()
        if self._no_room_since is None:
            self._no_room_since = now
        if now - self._no_room_since > NO_ROOM_S:
            self._reader.pause()
            self._give_back(self._reader.take(1, 0))
        return False

    def _put_off(self) -> None:
        # keep polling while paused, or the group would take this member for dead
        self._handover.clear()
        self._reader.pause()
        self._retry_at = self._monotonic() + self._retry_s

    def _recovered(self) -> bool:
        """Keep the membership alive; when it is time, ask the store what it holds and go on from there."""
        self._give_back(self._reader.take(1, self._wait_s))
        if self._retry_at is None or self._monotonic() < self._retry_at:
            return self._retry_at is None
        try:
            # after a lost COMMIT only the stored offset can tell whether the batch is in
            self._begin_again()
        except TryLaterError as error:
            self._log.warning("still_put_off", error=str(error))
            self._retry_at = self._monotonic() + self._retry_s
            return False
        self._retry_at = None
        self._reader.resume()
        return True

    def _begin_again(self) -> None:
        for topic in {topic for topic, _ in self._next}:
            stored = self._store.next_offsets(self._streams[topic])
            stopped = {(topic, partition) for partition in self._store.stopped(self._streams[topic])}
            for place in [place for place in self._next if place[0] == topic]:
                self._next[place] = stored.get(place[1], self._begin.get(place, self._next[place]))
                if place in self._stopped and place not in stopped:
                    # the stop was not stored either
                    self._stopped.discard(place)
                    self._reader.release({place})
        self._reader.rewind(dict(self._next))

    def _give_back(self, messages: Sequence[Message]) -> None:
        for message in messages:
            # handed out in spite of the pause, and not stored: it must come again
            place = (message.topic, message.partition)
            self._reader.rewind({place: self._next.get(place, message.offset)})

    def _look_for_released(self) -> None:
        if not self._stopped or self._monotonic() < self._look_at:
            return
        self._look_at = self._monotonic() + LOOK_S
        if not self._handover.drain(0):
            return
        try:
            for topic in {topic for topic, _ in self._stopped}:
                held = {(topic, partition) for partition in self._store.stopped(self._streams[topic])}
                released = {place for place in self._stopped if place[0] == topic} - held
                for place in released:
                    self._log.info("released", topic=place[0], partition=place[1])
                    self._remember_dead(place)
                self._stopped -= released
                self._reader.rewind({place: self._next[place] for place in released if place in self._next})
                self._reader.release(released)
        except TryLaterError as error:
            self._log.warning("stopped_partitions_unknown", error=str(error))
