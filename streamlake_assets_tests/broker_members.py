"""Readers of a test on the real broker, alone or in a group, and what is sent to them."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from itertools import count
from typing import Any

from confluent_kafka.admin import AdminClient  # type: ignore[attr-defined]

from streamlake_assets.broker.publisher import Publisher
from streamlake_assets.broker.reader import PROTOCOL, GroupProtocol, KafkaReader
from streamlake_assets.broker.topics import PARTITIONS
from streamlake_assets.errors import TryLaterError
from streamlake_assets.market.messages import Message
from streamlake_assets.servers.waiting import wait_until

numbers = count()
POLLS = 150


def eventually(ask: Callable[[], Any]) -> Any:
    """Repeat while the cluster has not heard of a change yet."""
    for _ in range(50):
        try:
            return ask()
        except TryLaterError:
            continue
    return ask()


def remove(admin: AdminClient, topic: str) -> None:
    futures: dict[str, Future[None]] = admin.delete_topics([topic])
    futures[topic].result(20)


def send(kafka: str, topic: str, keys: Iterable[str], value: bytes = b"{}") -> Publisher:
    with Publisher(kafka) as publisher:
        for key in keys:
            publisher.send(topic, key, value)
    return publisher


class Member:
    """A reader, in a group of its own unless it is told which, beginning at given offsets, which it moves on."""

    def __init__(
        self,
        kafka: str,
        topic: str,
        offsets: dict[int, int] | None = None,
        group: str | None = None,
        protocol: GroupProtocol = PROTOCOL,
        instance_id: str | None = None,
    ) -> None:
        self.reader = KafkaReader(kafka, group or f"group-{next(numbers)}", protocol=protocol, instance_id=instance_id)
        self.topic = topic
        self.revoked: list[set[int]] = []
        self.stored = {} if offsets is None else offsets
        self.messages: list[Message] = []

        def start(_topic: str, partitions: Iterable[int]) -> dict[int, int]:
            return {number: self.stored[number] for number in partitions if number in self.stored}

        self.reader.subscribe([topic], start, lambda places: self.revoked.append({number for _, number in places}))

    @property
    def partitions(self) -> set[int]:
        return {number for _, number in self.reader.assigned}

    def turn(self, timeout_s: float = 0.05) -> set[int]:
        """Take what is there, store how far it goes, and say from which partitions it came."""
        taken = self.reader.take(5000, timeout_s)
        self.messages += taken
        self.stored.update({message.partition: message.offset + 1 for message in taken})
        return {message.partition for message in taken}

    def take(self, wanted: int, most: int = 5000) -> list[list[Message]]:
        """Batches until so many messages have come."""
        batches: list[list[Message]] = []
        for _ in range(POLLS):
            batch = self.reader.take(most, 0.2)
            if batch:
                batches.append(batch)
            if sum(map(len, batches)) >= wanted:
                return batches
        raise AssertionError(f"{sum(map(len, batches))} of {wanted} messages came")


def all_partitions(kafka: str, topic: str, each: int = 1) -> None:
    """Send messages to every partition."""
    keys = {(murmur2(key.encode()) & 0x7FFFFFFF) % PARTITIONS: key for key in map(str, range(100))}
    send(kafka, topic, [key for key in keys.values() for _ in range(each)])


def turns(members: Iterable[Member], until: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Let members take in turn until the condition holds."""
    settled = list(members)

    def round_of_turns() -> bool:
        for one in settled:
            one.turn()
        return until()

    assert wait_until(round_of_turns, timeout_s)


def murmur2(data: bytes) -> int:
    """The hash of Kafka's Java client, from its definition (seed 0x9747b28c, m 0x5bd1e995, r 24), 32 bits."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(data)
    whole = len(data) // 4 * 4
    for start in range(0, whole, 4):
        k = int.from_bytes(data[start : start + 4], "little") * m & mask
        k = (k ^ (k >> 24)) * m & mask
        h = h * m & mask ^ k
    if rest := data[whole:]:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ (h >> 13)) * m & mask
    return h ^ (h >> 15)
