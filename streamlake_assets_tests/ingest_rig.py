"""The loop of ingestion on a broker and a store in memory, with faults that can be ordered."""

import datetime as dt
from collections.abc import Sequence

from streamlake_assets.broker.memory import MemoryBroker, MemoryReader
from streamlake_assets.errors import OffsetFencedError, TryLaterError
from streamlake_assets.market.contract import ACTIONS_TOPIC, BARS_TOPIC
from streamlake_assets.market.messages import Counts, Message, RecentDead, Slice, StreamIdentity
from streamlake_assets.sidecar.ingest import IngestLoop
from streamlake_assets_tests.bars import NOW, SESSION, action, bar, wire

TOPICS = [BARS_TOPIC, ACTIONS_TOPIC]
WHOLE = wire(bar())


class MemoryStore:
    """``IngestStore`` in memory: compare-and-set on the offset, all of a call or nothing; can be told to fail."""

    def __init__(self) -> None:
        self.offsets: dict[StreamIdentity, dict[int, int]] = {}
        self.stored: list[Slice] = []
        self.stops: dict[StreamIdentity, dict[int, str]] = {}
        self.released: dict[int, int] = {}
        self.down = False
        self.lose_next_commit = False

    def next_offsets(self, stream: StreamIdentity) -> dict[int, int]:
        if self.down:
            raise TryLaterError("down")
        return dict(self.offsets.get(stream, {}))

    def stopped(self, stream: StreamIdentity) -> dict[int, str]:
        if self.down:
            raise TryLaterError("down")
        return dict(self.stops.get(stream, {}))

    def recent_dead(self, stream: StreamIdentity, partition: int) -> RecentDead:
        parts = [part for part in self.stored if (part.stream, part.partition) == (stream, partition)]
        begin = self.released.get(partition, parts[0].first_offset if parts else 0)
        return RecentDead(begin, [one.offset for part in parts for one in part.dead if one.offset >= begin])

    def prepare(self, part: Slice) -> Slice:
        return part

    def ingest(self, slices: Sequence[Slice]) -> Counts:
        if self.down:
            raise TryLaterError("down")
        for part in slices:
            if self.offsets.get(part.stream, {}).get(part.partition, part.first_offset) != part.first_offset:
                raise OffsetFencedError("moved")
        for part in slices:
            self.offsets.setdefault(part.stream, {})[part.partition] = part.next_offset
            if part.stop:
                self.stops.setdefault(part.stream, {})[part.partition] = part.stop
        self.stored += slices
        if self.lose_next_commit:
            self.lose_next_commit = False
            raise TryLaterError("the connection was lost during COMMIT")
        return Counts(new=sum(len(part.arrivals) for part in slices), dead=sum(len(part.dead) for part in slices))

    def places(self) -> list[tuple[str, int, int]]:
        """Topic, partition and offset of every message stored, dead or not."""
        return sorted(
            (part.stream.topic, part.partition, offset)
            for part in self.stored
            for offset in (*(one.offset for one in part.arrivals), *(one.offset for one in part.dead))
        )


class CountingReader(MemoryReader):
    """Counts polls and remembers pauses; what is in ``slips`` comes out in spite of a pause."""

    polls = 0
    is_paused = False
    slips: tuple[Message, ...] = ()

    def take(self, most: int, timeout_s: float) -> list[Message]:
        self.polls += 1
        if self.is_paused and self.slips:
            slipped, self.slips = self.slips, ()
            return list(slipped)
        return super().take(most, timeout_s)

    def pause(self) -> None:
        self.is_paused = True
        super().pause()

    def resume(self) -> None:
        self.is_paused = False
        super().resume()


class Rig:
    """A broker, a reader, a store and the loop between them; ``clock`` is the loop's monotonic time."""

    def __init__(self, most: int = 5000) -> None:
        self.broker = MemoryBroker(lambda: NOW, partitions=2)
        self.store = MemoryStore()
        self.clock = 0.0
        self.reader = CountingReader(self.broker._logs, TOPICS, {})
        self.streams = {topic: self.broker.identity(topic) for topic in TOPICS}
        self.loop = IngestLoop(self.reader, self.store, self.streams, monotonic=lambda: self.clock)

    def send(self, count: int, symbols: str = "AB", topic: str = BARS_TOPIC) -> None:
        for n in range(count):
            symbol = symbols[n % len(symbols)]
            fact = bar(SESSION + dt.timedelta(days=n), symbol=symbol) if topic == BARS_TOPIC else action(symbol=symbol)
            self.broker.send(topic, symbol, wire(fact))

    def assign(self) -> None:
        """What the reader does when partitions are assigned: begin at the stored offsets."""
        for topic in TOPICS:
            offsets = self.loop.start_offsets(topic, range(2))
            self.reader.rewind({(topic, partition): offsets.get(partition, 0) for partition in range(2)})

    def turns(self, count: int = 3, seconds: float = 0.6) -> None:
        for _ in range(count):
            self.loop.turn()
            self.clock += seconds

    def stored_offsets(self) -> dict[tuple[str, int], int]:
        return {
            (topic, partition): offset
            for topic in TOPICS
            for partition, offset in self.store.offsets.get(self.streams[topic], {}).items()
        }

    def sent(self) -> list[tuple[str, int, int]]:
        return sorted((m.topic, m.partition, m.offset) for topic in TOPICS for m in self.broker.messages(topic))
