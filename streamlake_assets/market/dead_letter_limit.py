"""When bad messages are no longer single bad messages: the limit past which a partition is stopped.

Belongs here: the pure judgement, by offsets alone, so that a batch that is read again counts once. Stays out: stopping
(``sidecar.ingest``), what operators do then (``stores.dead_letters``).
"""

from collections import deque
from collections.abc import Iterable

WINDOW = 1_000
"""Messages that the share is taken of."""


class DeadLetterLimit:
    """Judges the dead letters of partitions by their offsets: the same ones, cut in any way, stop at the same offset.

    Args:
        share: of the last 1,000 offsets of a partition that may be dead letters; judged once so many were read; 0: any.
        run: dead letters in a row that are allowed; 0: any number.
    """

    def __init__(self, share: float = 0.0, run: int = 0) -> None:
        self._share = share
        self._run = run
        self._dead: dict[tuple[str, int], deque[int]] = {}
        self._begin: dict[tuple[str, int], int] = {}

    def exceeded(self, place: tuple[str, int], begin: int, offset: int) -> str:
        """Take note of a dead letter; return why its partition must stop, or an empty text.

        Args:
            place: topic and partition.
            begin: first offset of the batch it was read with.
            offset: its own.
        """
        dead = self._dead.setdefault(place, deque())
        first = self._begin[place] = min(begin, self._begin.get(place, begin))
        while dead and dead[-1] >= offset:
            # read again, after an outage
            dead.pop()
        dead.append(offset)
        while dead[0] <= offset - WINDOW:
            dead.popleft()
        run = next((n for n, one in enumerate(reversed(dead)) if one != offset - n), len(dead))
        if self._run and run > self._run:
            return f"{run} dead letters in a row (limit {self._run})"
        if self._share and offset - first + 1 >= WINDOW and len(dead) > self._share * WINDOW:
            return f"{len(dead)} of the last {WINDOW} messages are dead letters (limit {self._share:.0%})"
        return ""

    def remember(self, place: tuple[str, int], begin: int, offsets: Iterable[int]) -> None:
        """Begin with what is stored of a partition: who reads it, and since when, must not matter.

        Args:
            place: topic and partition.
            begin: offset from which on its dead letters count.
            offsets: of those of the last 1,000 offsets, rising.
        """
        self._dead[place] = deque(offsets)
        self._begin[place] = begin

    def forget(self, place: tuple[str, int]) -> None:
        """Begin anew with a partition: it was let go, or belongs to somebody else."""
        self._dead.pop(place, None)
        self._begin.pop(place, None)
