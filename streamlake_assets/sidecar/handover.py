"""From the decoding thread to the database thread: a bounded queue, and what became of what was handed over.

Belongs here: the writing thread, and its twin that writes at once, for tests and bulk loads. Stays out: decoding and
what to do about an outage (``ingest``), the transaction (``stores.bar_store``).

The writing thread takes all that waits, up to a bound, into one transaction: a batch is as large as what arrived during
the one before, so its size grows with the load and a lone message waits for nobody.
"""

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from streamlake_assets.errors import StreamlakeError
from streamlake_assets.market.messages import Counts, IngestStore, ReadyPart

MOST_WAITING: Final = 8_000
"""Weight in the queue beyond which nothing more is handed over; one transaction takes at most as much."""


class Work(NamedTuple):
    """Slices decoded together, and the times of their messages in seconds since 1970."""

    parts: Sequence[ReadyPart]
    broker_times: Sequence[float]
    event_times: Sequence[float]
    weight: int
    """Number of messages, and one more for each KiB of bad ones: those are carried whole."""


class Stored(NamedTuple):
    """Works that were committed together."""

    works: Sequence[Work]
    counts: Counts
    seconds: float
    """Of the transaction."""
    committed_at: float
    """Seconds since 1970."""

    @property
    def messages(self) -> int:
        """Number of messages."""
        return sum(len(work.broker_times) for work in self.works)


class Handover(Protocol):
    """Takes works, and tells what was stored."""

    def submit(self, work: Work) -> None:
        """Hand a work over; ignored after a failure, until ``clear``."""

    def collect(self) -> list[Stored]:
        """Return what was stored since the last call.

        Raises:
            StreamlakeError: what came after could not be stored, and everything behind it was dropped.
        """

    def has_room(self, timeout_s: float) -> bool:
        """Wait until something may be handed over, or something went wrong."""

    def drain(self, timeout_s: float) -> bool:
        """Wait until all is stored or something went wrong; return whether so in time."""

    def busy_s(self) -> float:
        """Return how long the transaction that runs has run; 0 when none does."""

    def clear(self) -> None:
        """Drop what waits, and take works again after a failure."""

    def close(self) -> None:
        """Stop; what waits is dropped."""


class InlineHandover:
    """``Handover`` that stores at once, in the caller's thread."""

    def __init__(self, store: IngestStore) -> None:
        self._store = store
        self._stored: list[Stored] = []
        self._failure: StreamlakeError | None = None
        self._failed = False

    def submit(self, work: Work) -> None:
        """Store now."""
        if not self._failed:
            try:
                self._stored.append(_store(self._store, [work]))
            except StreamlakeError as error:
                self._failure, self._failed = error, True

    def collect(self) -> list[Stored]:
        """Return what was stored, then raise what failed."""
        stored, self._stored = self._stored, []
        if not stored and self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        return stored

    def has_room(self, timeout_s: float) -> bool:
        """There always is."""
        return True

    def drain(self, timeout_s: float) -> bool:
        """Nothing ever waits."""
        return True

    def busy_s(self) -> float:
        """No transaction runs while somebody asks."""
        return 0.0

    def clear(self) -> None:
        """Forget a failure."""
        self._failure, self._failed = None, False

    def close(self) -> None:
        """Nothing runs."""


class ThreadHandover:
    """``Handover`` to a thread of its own; only that thread calls ``store.ingest``.

    Args:
        store: where works go.
        most: weight in the queue beyond which nothing more is handed over, and of one transaction.
    """

    def __init__(self, store: IngestStore, most: int = MOST_WAITING) -> None:
        self._store = store
        self._most = most
        self._changed = threading.Condition()
        self._waiting: deque[Work] = deque()
        self._size = 0
        self._busy = False
        self._busy_since = 0.0
        self._stored: list[Stored] = []
        self._failure: BaseException | None = None
        self._failed = False
        self._epoch = 0
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="database", daemon=True)
        self._thread.start()

    def submit(self, work: Work) -> None:
        """Put a work into the queue; ``has_room`` bounds it."""
        with self._changed:
            if not self._failed:
                self._waiting.append(work)
                self._size += work.weight
                self._changed.notify_all()

    def collect(self) -> list[Stored]:
        """Return what was stored; when there is nothing, raise what failed."""
        with self._changed:
            stored, self._stored = self._stored, []
            if stored or self._failure is None:
                return stored
            failure, self._failure = self._failure, None
        raise failure

    def has_room(self, timeout_s: float) -> bool:
        """Wait for room."""
        with self._changed:
            return self._changed.wait_for(lambda: self._size < self._most or self._failed, timeout_s)

    def drain(self, timeout_s: float) -> bool:
        """Wait until the queue is empty and the thread idle."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._waiting or self._busy) or self._failed, timeout_s)

    def busy_s(self) -> float:
        """Return the age of the transaction that runs."""
        with self._changed:
            return time.monotonic() - self._busy_since if self._busy else 0.0

    def clear(self) -> None:
        """Drop the queue; a transaction that runs goes on, and the stored offset tells whether it was in time."""
        with self._changed:
            self._empty()
            self._epoch += 1
            self._failure = None
            self._failed = False

    def close(self) -> None:
        """End the thread after the transaction that runs."""
        with self._changed:
            self._empty()
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout=30)

    def _empty(self) -> None:
        self._waiting.clear()
        self._size = 0
        self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if self._closing:
                    return
                works, epoch, self._busy = self._take(), self._epoch, True
                self._busy_since = time.monotonic()
            outcome: Stored | BaseException
            try:
                outcome = _store(self._store, works)
            except BaseException as error:  # handed to the thread that collects, which raises it
                outcome = error
            with self._changed:
                self._busy = False
                if isinstance(outcome, Stored):
                    self._stored.append(outcome)
                elif epoch == self._epoch:
                    self._failure, self._failed = outcome, True
                    self._empty()
                self._changed.notify_all()

    def _take(self) -> list[Work]:
        works = [self._waiting.popleft()]
        size = works[0].weight
        while self._waiting and size + self._waiting[0].weight <= self._most:
            works.append(self._waiting.popleft())
            size += works[-1].weight
        self._size -= size
        self._changed.notify_all()
        return works


def _store(store: IngestStore, works: Sequence[Work]) -> Stored:
    start = time.monotonic()
    counts = store.ingest([part for work in works for part in work.parts])
    return Stored(works, counts, time.monotonic() - start, time.time())
