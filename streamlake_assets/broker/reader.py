"""Messages out of Kafka for a group member whose offsets live in the store, not in Kafka.

Belongs here: subscription, assignment from stored offsets, batching, back-pressure. Stays out: what is done with the
messages (``sidecar.consumer``). One thread owns a reader.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as RawMessage

from streamlake_assets.broker.raw_message import to_message
from streamlake_assets.broker.topics import client_config
from streamlake_assets.errors import IntegrityError, TryLaterError
from streamlake_assets.market.messages import Message

CONSUMER_CONFIG: dict[str, Any] = {
    "enable.auto.commit": False,
    # the store says where to begin; an offset that the broker no longer has is an alarm, never a silent skip
    "auto.offset.reset": "error",
    "max.poll.interval.ms": 300_000,
    "fetch.wait.max.ms": 100,
    # memory is bounded however much waits on the topic (default 64 MiB and up to 50 MiB a fetch); a message that is
    # larger still comes, alone
    "queued.max.messages.kbytes": 1_024,
    "fetch.message.max.bytes": 131_072,
    "fetch.max.bytes": 262_144,
    # the client would raise fetch.max.bytes to its default of 1 MB
    "message.max.bytes": 131_072,
    # with the default of 1 s a full queue runs empty before the next fetch
    "fetch.queue.backoff.ms": 10,
    "enable.partition.eof": False,
}


class GroupProtocol(StrEnum):
    """How members of a group share partitions; ``docs/decisions/0007-group-membership.md`` compares them."""

    RANGE = "range"
    """Classic and eager: at every change all members give up everything. Each topic is shared evenly by itself."""
    COOPERATIVE = "cooperative-sticky"
    """Classic and incremental: only what moves is given up. Partitions of all topics are counted together."""
    CONSUMER = "consumer"
    """KIP-848, incremental, planned by the broker (Kafka 4.0 or later), which also holds the session timeout."""


PROTOCOL = GroupProtocol.RANGE
CLASSIC_CONFIG: dict[str, Any] = {
    # a killed member's partitions wait that long (default 45 s); brokers accept no less unless they are told to
    "session.timeout.ms": 6_000,
    # members hear of a change with their next heartbeat, and an incremental one takes two
    "heartbeat.interval.ms": 500,
}

Place = tuple[str, int]
"""(topic, partition)."""
StartOffsets = Callable[[str, Iterable[int]], dict[int, int]]
"""(topic, partitions) -> stored next offset of those partitions that have one."""
OnRevoked = Callable[[set[Place]], None]
"""Told which places were taken, by revocation or loss; the reader keeps the others."""


class KafkaReader:
    """``MessageReader`` on a Kafka consumer group."""

    def __init__(
        self,
        bootstrap: str,
        group: str,
        *,
        protocol: GroupProtocol = PROTOCOL,
        instance_id: str | None = None,
        config: dict[str, Any] | None = None,
    ) -> None:
        """Make the client; ``subscribe`` joins the group.

        Args:
            bootstrap: address of the cluster.
            group: id of the group; all its members use one protocol.
            protocol: how partitions are shared.
            instance_id: name of a static member, whose partitions wait for its restart; one live member for each.
            config: settings of the client that differ from this module's, for measuring.
        """
        self.assigned: set[Place] = set()
        self.joined = False
        self._paused = False
        self._held: set[Place] = set()
        self._taken_away: set[Place] = set()
        self._eager = protocol is GroupProtocol.RANGE
        self._log = structlog.get_logger(component="reader", group=group)
        settings = {**client_config(bootstrap), **CONSUMER_CONFIG, **membership_config(protocol, instance_id)}
        settings |= config or {}
        self._consumer = Consumer({**settings, "group.id": group, "on_commit": self._committed})

    def subscribe(self, topics: Iterable[str], start_offsets: StartOffsets, on_revoked: OnRevoked) -> None:
        """Join the group; the callbacks are called from ``take`` and ``close``."""
        self._start_offsets = start_offsets
        self._on_revoked = on_revoked
        self._consumer.subscribe(list(topics), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked)

    def take(self, most: int, timeout_s: float) -> list[Message]:
        """Return messages: wait up to ``timeout_s`` for the first, then take what is already here.

        So the batch grows by itself under load, and a lone message does not wait for company.

        Raises:
            TryLaterError: the broker refused a fetch for now.
            IntegrityError: a stored offset is not on the broker, or the client failed for good.
        """
        first = self._consumer.consume(1, timeout_s)
        if not first:
            return []
        self._taken_away.clear()
        raw = first if most == 1 else first + self._consumer.consume(most - 1, 0)
        gone = self._taken_away - self.assigned
        if gone:
            # came out before the revocation, in the same call: another member reads them now
            raw = [one for one in raw if (one.topic(), one.partition()) not in gone]
        return [to_message(one) for one in raw if not self._passing(one)]

    def pause(self) -> None:
        """Stop fetching, stay in the group."""
        if not self._paused:
            self._paused = True
            self._consumer.pause(_partitions(self.assigned - self._held))

    def resume(self) -> None:
        """Fetch again after ``pause``, except what is held."""
        if self._paused:
            self._paused = False
            self._consumer.resume(_partitions(self.assigned - self._held))

    def hold(self, places: Iterable[Place]) -> None:
        """Fetch nothing of these places until ``release``, whoever pauses and resumes, and however often they move."""
        added = set(places) - self._held
        self._held |= added
        if not self._paused:
            self._consumer.pause(_partitions(added & self.assigned))

    def release(self, places: Iterable[Place]) -> None:
        """Fetch these places again, from after the last message handed out; ``rewind`` first to begin elsewhere."""
        removed = set(places) & self._held
        self._held -= removed
        if not self._paused:
            self._consumer.resume(_partitions(removed & self.assigned))

    def rewind(self, offsets: dict[tuple[str, int], int]) -> None:
        """Go back to these offsets: the messages taken since were not stored."""
        for (topic, partition), offset in offsets.items():
            if (topic, partition) in self.assigned:
                self._consumer.seek(TopicPartition(topic, partition, offset))

    def commit(self, offsets: Mapping[Place, int]) -> None:
        """Tell the broker how far the store is; for lag tools only, so nothing waits for it and errors are logged."""
        ends = [TopicPartition(*place, offset) for place, offset in offsets.items()]
        try:
            self._consumer.commit(offsets=ends, asynchronous=True)
        except KafkaException as error:
            self._log.warning("kafka_commit_refused", error=error.args[0].str())

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def lag(self) -> dict[tuple[str, int], int]:
        """Return messages not yet taken, for each assigned partition, from what the client knows without asking."""
        lags = {}
        for at in self._consumer.position([TopicPartition(*place) for place in self.assigned]):
            _, high = self._consumer.get_watermark_offsets(at, cached=True)
            if high >= 0 and at.offset >= 0:
                lags[at.topic, at.partition] = max(0, high - at.offset)
        return lags

    def _passing(self, raw: RawMessage) -> bool:
        error = raw.error()
        if error is None:
            return False
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            raise IntegrityError(
                f"{raw.topic()}[{raw.partition()}]: the stored offset is not on the broker ({error.str()}). "
                "Messages may be missing: compare the topic with the tables before going on"
            )
        # as a message a fatal error has this code and not the mark; it comes once, then the client is silent for ever
        if error.fatal() or error.code() == KafkaError._FATAL:
            raise IntegrityError(f"the Kafka client failed for good: {error.str()}")
        if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED):
            raise TryLaterError(f"{raw.topic()}: {error.str()}")
        self._log.warning("kafka_error", error=error.str())
        return True

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        by_topic: dict[str, list[int]] = {}
        for place in partitions:
            by_topic.setdefault(place.topic, []).append(place.partition)
        for topic, numbers in by_topic.items():
            stored = self._start_offsets(topic, numbers)
            for place in partitions:
                if place.topic == topic:
                    place.offset = stored.get(place.partition, OFFSET_BEGINNING)
        added = _places(partitions)
        if self._eager:
            consumer.assign(partitions)
            self.assigned = added
        else:
            consumer.incremental_assign(partitions)
            self.assigned |= added
        self.joined = True
        still = added if self._paused else added & self._held
        consumer.pause(_partitions(still))
        # the client remembers a pause over revocation and return
        consumer.resume(_partitions(added - still))
        self._log.info("assigned", partitions=sorted(f"{p.topic}[{p.partition}]@{p.offset}" for p in partitions))

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._log.info("revoked", partitions=sorted(f"{p.topic}[{p.partition}]" for p in partitions))
        taken = self.assigned if self._eager else _places(partitions)
        self.assigned = self.assigned - taken
        self._taken_away |= taken
        self._on_revoked(taken)
        if self._eager:
            consumer.unassign()
        else:
            consumer.incremental_unassign(partitions)

    def _committed(self, error: KafkaError | None, _partitions: list[TopicPartition]) -> None:
        if error is not None:
            self._log.warning("kafka_commit_failed", error=error.str())


def membership_config(protocol: GroupProtocol, instance_id: str | None) -> dict[str, Any]:
    """Return the client settings of a way to be a member."""
    config: dict[str, Any] = {} if instance_id is None else {"group.instance.id": instance_id}
    if protocol is GroupProtocol.CONSUMER:
        # the client refuses the classic settings beside this one
        return config | {"group.protocol": "consumer"}
    return config | CLASSIC_CONFIG | {"group.protocol": "classic", "partition.assignment.strategy": protocol.value}


def _places(partitions: Iterable[TopicPartition]) -> set[Place]:
    return {(one.topic, one.partition) for one in partitions}


def _partitions(places: Iterable[Place]) -> list[TopicPartition]:
    return [TopicPartition(*place) for place in places]
