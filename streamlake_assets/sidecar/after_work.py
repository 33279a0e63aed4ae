"""What follows a forecast and may wait: scores of settled sessions, and the topic's copy of the ledger.

Belongs here: one piece of such work at a time, in a thread beside the loop or at once. Stays out: what is due and when
(``score_loop``), how it is done (its ``Book``).

A thousand scores take the database a tenth of a second, in which a thousand-a-second stream brings a hundred bars that
want their forecasts: so the loop does not wait for them.
"""

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor, Future
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar

from streamlake_assets.market.series import SessionSeries
from streamlake_assets.stores.ledger import SessionKey
from streamlake_assets.stores.session_seed import StreamPlace

P = ParamSpec("P")
T = TypeVar("T")


class FollowUp(NamedTuple):
    """What is to be done: score what is due of these series, if any; send what the topic lacks, if asked.

    ``settled``: only these sessions; None is all. ``scores``: look for scores that the topic lacks too.
    """

    series: Sequence[SessionSeries] | None
    settled: Collection[SessionKey] | None
    send: bool
    scores: bool


class Followed(NamedTuple):
    """What was done; ``stored`` is how far the tables were when it was scored, None if it was not."""

    stored: dict[StreamPlace, int] | None
    scored: int
    sent: int


class Book(Protocol):
    """Tables, ledger and topic, as far as this work needs them; calls may raise ``TryLaterError``."""

    def places(self) -> dict[StreamPlace, int]:
        """Return how far every place of every stream is in the tables."""

    def score(self, series: Sequence[SessionSeries], settled: Collection[SessionKey] | None) -> int:
        """Score what is due, of some sessions or of all; return how many."""

    def publish(self, scores: bool) -> int:
        """Send what the topic does not have of the ledger yet; return how many messages."""


def follow_up(book: Book, work: FollowUp, at: Callable[[str], None]) -> Followed:
    """Do a piece of work; ``at`` is called after scores and messages were written.

    Raises:
        TryLaterError: database or broker are away; what was done stays done.
        IntegrityError: tables and ledger contradict each other.
    """
    stored = None
    scored = 0
    if work.series is not None:
        stored = book.places()
        scored = book.score(work.series, work.settled)
        if scored:
            at("scored")
    sent = 0
    if work.send or scored:
        sent = book.publish(work.scores or scored > 0)
        if sent:
            at("published")
    return Followed(stored, scored, sent)


class AtOnce(Executor):
    """Does work where it is asked for: for a run that has nothing else to do, and for tests."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Do it now; an error is the future's."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # as any executor: whoever asks for the result gets it
            future.set_exception(error)
        return future
