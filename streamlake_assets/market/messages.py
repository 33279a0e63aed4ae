"""What comes out of a topic on its way into a store: messages, decoded or dead, in slices of one partition.

Belongs here: the records that cross from ``broker`` over ``sidecar`` to ``stores``, and the protocols they fill.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from streamlake_assets.market.types import Bar, CorporateAction


class Message(NamedTuple):
    """One message of a topic; ``broker_time`` is its LogAppendTime, aware."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    broker_time: dt.datetime


class StreamIdentity(NamedTuple):
    """A topic as created once on one cluster: a recreated topic has another ``topic_id``."""

    cluster_id: str
    topic_id: str
    topic: str


class Arrival(NamedTuple):
    """A decoded message with its place in the stream."""

    offset: int
    broker_time: dt.datetime
    fact: Bar | CorporateAction


MOST_KEPT = 2**20
"""Bytes kept of a bad message: a broker measures packed batches, and a small one may unpack to hundreds of MB."""


class DeadLetter(NamedTuple):
    """A message that breaks the contract, with the reason code; whole up to ``MOST_KEPT`` bytes."""

    offset: int
    broker_time: dt.datetime
    reason: str
    detail: str
    key: bytes | None
    payload: bytes | None


class RecentDead(NamedTuple):
    """Offsets of the last dead letters of a partition, rising, and the offset from which on they count."""

    begin: int
    offsets: Sequence[int]


class Slice(msgspec.Struct, frozen=True):
    """Consecutive messages of one partition, decoded; ``next_offset`` is the first offset after them.

    ``stop`` says why no consumer may read past this slice, or is empty.
    """

    stream: StreamIdentity
    partition: int
    first_offset: int
    next_offset: int
    arrivals: Sequence[Arrival]
    dead: Sequence[DeadLetter]
    stop: str = ""


class Counts(msgspec.Struct):
    """What became of messages; ``messages`` is the sum of the rest."""

    new: int = 0
    changed: int = 0
    same: int = 0
    older: int = 0
    dead: int = 0

    @property
    def messages(self) -> int:
        """Number of messages."""
        return self.new + self.changed + self.same + self.older + self.dead

    def add(self, other: "Counts") -> None:
        """Add the counts of another batch."""
        self.new += other.new
        self.changed += other.changed
        self.same += other.same
        self.older += other.older
        self.dead += other.dead


class ReadyPart(Protocol):
    """A slice, or what a store made of it before its transaction."""

    @property
    def stream(self) -> StreamIdentity:
        """Identity of the topic."""

    @property
    def partition(self) -> int:
        """Number of the partition."""

    @property
    def first_offset(self) -> int:
        """Where it begins."""

    @property
    def next_offset(self) -> int:
        """First offset after it."""

    @property
    def stop(self) -> str:
        """Why no consumer may read past it, or empty."""


class IngestStore(Protocol):
    """Where slices go: all of a call in one transaction, or nothing of it."""

    def next_offsets(self, stream: StreamIdentity) -> dict[int, int]:
        """Return the stored next offset of each partition that has one."""

    def stopped(self, stream: StreamIdentity) -> dict[int, str]:
        """Return the partitions that nobody may read, with the reason."""

    def recent_dead(self, stream: StreamIdentity, partition: int) -> RecentDead:
        """Return the dead letters that count for the limit of a partition."""

    def prepare(self, part: Slice) -> ReadyPart:
        """Do the part of the work that needs no transaction; may be called by another thread than ``ingest``."""

    def ingest(self, slices: Sequence[Any]) -> Counts:
        """Store slices, prepared or not, and move their offsets, exactly once.

        Those of one partition must follow each other.

        Raises:
            OffsetFencedError: another consumer moved one of the offsets; nothing was stored.
            TryLaterError: the store was not available; whether it was stored, ``next_offsets`` tells.
        """


class MessageReader(Protocol):
    """A consumer of topics in a group, as far as the ingest loop needs it."""

    def take(self, most: int, timeout_s: float) -> list[Message]:
        """Return messages: wait up to ``timeout_s`` for the first, then take what is there, at most ``most``."""

    def pause(self) -> None:
        """Stop fetching, stay in the group; ``take`` must still be called."""

    def resume(self) -> None:
        """Fetch again after ``pause``."""

    def hold(self, places: Iterable[tuple[str, int]]) -> None:
        """Fetch nothing of these (topic, partition) until ``release``, whoever pauses and resumes the reader."""

    def release(self, places: Iterable[tuple[str, int]]) -> None:
        """Fetch these again, from after the last message handed out; ``rewind`` before to begin elsewhere."""

    def rewind(self, offsets: dict[tuple[str, int], int]) -> None:
        """Go back to these offsets by (topic, partition): the messages taken since were not stored."""

    def commit(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Tell the broker how far the store is, for lag tools only; errors are logged, never raised."""

    def close(self) -> None:
        """Leave the group."""
