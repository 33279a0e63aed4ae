"""The in-memory twin of the broker: the same promises as ``reader`` and ``publisher``, for tests without a server."""

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from streamlake_assets.market.messages import Message, StreamIdentity


class MemoryBroker:
    """Topics as lists; a key always lands on one partition; the clock is passed in."""

    def __init__(self, now: Callable[[], dt.datetime], partitions: int = 4) -> None:
        self._now = now
        self._partitions = partitions
        self._logs: dict[tuple[str, int], list[Message]] = defaultdict(list)

    def send(self, topic: str, key: str | None, value: bytes | None) -> Message:
        """Append one message and return it with its place."""
        raw = None if key is None else key.encode()
        partition = sum(raw or b"") % self._partitions
        log = self._logs[topic, partition]
        message = Message(topic, partition, len(log), raw, value, self._now())
        log.append(message)
        return message

    def identity(self, topic: str) -> StreamIdentity:
        """Return the identity of a topic."""
        return StreamIdentity("memory", f"id-{topic}", topic)

    def messages(self, topic: str) -> list[Message]:
        """Return all messages of a topic in broker order of each partition."""
        return [m for (name, _), log in sorted(self._logs.items()) if name == topic for m in log]

    def reader(self, topics: list[str], start: dict[tuple[str, int], int] | None = None) -> "MemoryReader":
        """Return a reader of all partitions from the given offsets, or from the beginning."""
        return MemoryReader(self._logs, topics, dict(start or {}))


class MemoryReader:
    """``MessageReader`` on a ``MemoryBroker``."""

    def __init__(
        self, logs: dict[tuple[str, int], list[Message]], topics: list[str], start: dict[tuple[str, int], int]
    ) -> None:
        self._logs = logs
        self._topics = topics
        self._next = start
        self._paused = False
        self._held: set[tuple[str, int]] = set()
        self.committed: dict[tuple[str, int], int] = {}

    def take(self, most: int, timeout_s: float) -> list[Message]:
        """Return the next messages of all partitions, at most ``most``; never waits."""
        taken: list[Message] = []
        if self._paused:
            return taken
        for place, log in sorted(self._logs.items()):
            if place[0] in self._topics and place not in self._held:
                start = self._next.get(place, 0)
                part = log[start : start + most - len(taken)]
                self._next[place] = start + len(part)
                taken.extend(part)
        return taken

    def pause(self) -> None:
        """Return nothing until ``resume``."""
        self._paused = True

    def resume(self) -> None:
        """Return messages again, except of what is held."""
        self._paused = False

    def hold(self, places: Iterable[tuple[str, int]]) -> None:
        """Return nothing of these places until ``release``, whoever pauses and resumes."""
        self._held |= set(places)

    def release(self, places: Iterable[tuple[str, int]]) -> None:
        """Return messages of these places again, from after the last one handed out."""
        self._held -= set(places)

    def rewind(self, offsets: dict[tuple[str, int], int]) -> None:
        """Go back to these offsets."""
        self._next.update(offsets)

    def commit(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Remember what was committed."""
        self.committed.update(offsets)

    def close(self) -> None:
        """Nothing to leave."""
