import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from streamlake_assets.errors import IntegrityError, StreamlakeError, TryLaterError
from streamlake_assets.market.messages import Counts, RecentDead, Slice, StreamIdentity
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.sidecar.handover import MOST_WAITING, Handover, InlineHandover, Stored, ThreadHandover, Work
from streamlake_assets_tests.bars import BARS_STREAM


class GatedStore:
    """A store whose transactions wait for a gate, and fail when told to."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.began = 0
        self.calls: list[list[int]] = []
        self.error: StreamlakeError | None = None

    def next_offsets(self, stream: StreamIdentity) -> dict[int, int]:
        return {}

    def stopped(self, stream: StreamIdentity) -> dict[int, str]:
        return {}

    def recent_dead(self, stream: StreamIdentity, partition: int) -> RecentDead:
        return RecentDead(0, [])

    def prepare(self, part: Slice) -> Slice:
        return part

    def ingest(self, slices: Sequence[Any]) -> Counts:
        self.began += 1
        assert self.gate.wait(20)
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        self.calls.append([part.first_offset for part in slices])
        return Counts(new=sum(part.next_offset - part.first_offset for part in slices))


def work(first: int, size: int = 1, weight: int | None = None) -> Work:
    return Work([Slice(BARS_STREAM, 0, first, first + size, [], [])], [1.0] * size, [1.0] * size, weight or size)


@pytest.fixture
def store() -> GatedStore:
    return GatedStore()


@pytest.fixture(params=[InlineHandover, ThreadHandover], ids=["inline", "thread"])
def handover(request: pytest.FixtureRequest, store: GatedStore) -> Iterator[Handover]:
    made = request.param(store)
    yield made
    store.gate.set()
    made.close()


@pytest.fixture
def thread(store: GatedStore) -> Iterator[ThreadHandover]:
    made = ThreadHandover(store)
    yield made
    store.gate.set()
    made.close()


def all_of(stored: Sequence[Stored]) -> list[int]:
    return [part.first_offset for one in stored for work in one.works for part in work.parts]


def failure(handover: Handover) -> BaseException:
    """What the next collections raise."""
    caught: list[BaseException] = []

    def try_once() -> bool:
        try:
            handover.collect()
        except StreamlakeError as error:
            caught.append(error)
        return bool(caught)

    assert wait_until(try_once, 10)
    return caught[0]


def test_what_is_handed_over_is_stored_in_order_and_told_once(handover: Handover) -> None:
    for first in range(5):
        handover.submit(work(first))
    assert handover.drain(10)
    stored = handover.collect()
    assert all_of(stored) == [0, 1, 2, 3, 4]
    assert sum(one.messages for one in stored) == sum(one.counts.new for one in stored) == 5
    assert handover.collect() == []


def test_after_a_failure_nothing_is_stored_until_it_was_cleared(handover: Handover, store: GatedStore) -> None:
    store.error = TryLaterError("away")
    handover.submit(work(0))
    assert isinstance(failure(handover), TryLaterError)
    handover.submit(work(1))
    assert handover.drain(10)
    assert store.calls == []
    handover.clear()
    handover.submit(work(0))
    assert handover.drain(10)
    assert all_of(handover.collect()) == [0]


def test_a_contradiction_reaches_the_thread_that_collects(handover: Handover, store: GatedStore) -> None:
    store.error = IntegrityError("broken")
    handover.submit(work(0))
    assert str(failure(handover)) == "broken"


def test_what_came_before_a_failure_is_told_before_it(thread: ThreadHandover, store: GatedStore) -> None:
    thread.submit(work(0))
    assert thread.drain(10)
    store.error = TryLaterError("away")
    thread.submit(work(1))
    assert thread.drain(10)
    assert all_of(thread.collect()) == [0]
    assert isinstance(failure(thread), TryLaterError)


def test_what_arrives_during_a_transaction_is_one_batch(thread: ThreadHandover, store: GatedStore) -> None:
    store.gate.clear()
    thread.submit(work(0))
    assert wait_until(lambda: store.began == 1, 10)
    assert wait_until(lambda: thread.busy_s() > 0.05, 10)
    for first in range(1, 8):
        thread.submit(work(first))
    store.gate.set()
    assert thread.drain(10)
    assert store.calls == [[0], [1, 2, 3, 4, 5, 6, 7]]
    assert thread.busy_s() == 0


def test_the_queue_is_bounded(thread: ThreadHandover, store: GatedStore) -> None:
    store.gate.clear()
    thread.submit(work(0))
    assert wait_until(lambda: store.began == 1, 10)
    assert thread.has_room(0)
    thread.submit(work(1, MOST_WAITING))
    assert not thread.has_room(0.01)
    assert not thread.drain(0.01)
    store.gate.set()
    assert thread.has_room(10)


def test_few_heavy_works_fill_the_queue_too(thread: ThreadHandover, store: GatedStore) -> None:
    store.gate.clear()
    thread.submit(work(0))
    assert wait_until(lambda: store.began == 1, 10)
    thread.submit(work(1, weight=MOST_WAITING - 1))
    thread.submit(work(2, weight=MOST_WAITING))
    assert not thread.has_room(0.01)
    store.gate.set()
    assert thread.drain(10)
    assert store.calls == [[0], [1], [2]]


def test_a_failure_behind_a_clear_is_not_told(thread: ThreadHandover, store: GatedStore) -> None:
    store.gate.clear()
    store.error = TryLaterError("late")
    thread.submit(work(0))
    assert wait_until(lambda: store.began == 1, 10)
    thread.clear()
    store.gate.set()
    assert thread.drain(10)
    assert thread.collect() == []


def test_closing_ends_the_thread(store: GatedStore) -> None:
    def names() -> list[str]:
        return [one.name for one in threading.enumerate()]

    before: Callable[[], int] = lambda: names().count("database")  # noqa: E731
    count = before()
    made = ThreadHandover(store)
    assert before() == count + 1
    made.close()
    assert before() == count
