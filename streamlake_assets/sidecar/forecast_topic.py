"""The topic ``forecasts`` as a copy of the ledger: every row and every score is sent once, whoever wrote it.

Belongs here: what the topic has already, what it lacks. Stays out: the ledger (``stores``), the form of a message
(``market.forecast_messages``).

Nothing is written down about what was sent: at a start the end of the topic itself tells. Readers get each message at
least once: one that comes a second time, as after an outage of the broker, has the same ``kind`` and ``id``.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from streamlake_assets.broker.topics import FORECASTS_TOPIC
from streamlake_assets.errors import TryLaterError
from streamlake_assets.market import forecast_messages
from streamlake_assets.market.forecast_messages import FORECAST, SCORE, LedgerMessage, ScoreMessage
from streamlake_assets.market.messages import Message
from streamlake_assets.stores.ledger_feed import LedgerEntry

SLACK: Final = 1_000
"""Rows below the newest id that are looked at again: a transaction that took its ids earlier may commit later."""
THOROUGH_S: Final = 30.0
"""How often it is looked that far back."""
MOST: Final = 5_000
_READ_S: Final = 30.0

Entries = Callable[[int, int], list[LedgerEntry]]
"""(after id, most) -> rows of the ledger past that one, by id."""
Scores = Callable[[Collection[int]], list[ScoreMessage]]
"""ids -> scores of those rows that have one."""
Key = tuple[str, int]
"""(kind, id) of a message."""


class Sender(Protocol):
    """Sends keyed messages; ``flush`` returns when the broker has them."""

    def send(self, topic: str, key: str, value: bytes) -> None:
        """Queue one message."""

    def flush(self, timeout_s: float = ...) -> None:
        """Wait until every queued message is acknowledged."""


class Tail(Protocol):
    """The end of a topic, without a group."""

    def start(self, wanted: Mapping[int, int] | None) -> dict[int, int]:
        """Assign every partition and return the offset at which each begins."""

    def take(self, most: int, timeout_s: float) -> list[Message]:
        """Return messages."""

    def high_watermarks(self, timeout_s: float) -> dict[int, int]:
        """Return the next offset to be written of each partition."""


def sent_messages(tail: Tail, timeout_s: float = _READ_S) -> Iterator[Key]:
    """Yield what the end of the topic holds; a message that cannot be read is none of the ledger's.

    Raises:
        TryLaterError: the end was not reached in time.
    """
    at = tail.start({})
    ends = tail.high_watermarks(timeout_s)
    deadline = time.monotonic() + timeout_s
    while any(at.get(partition, 0) < end for partition, end in ends.items()):
        if time.monotonic() > deadline:
            raise TryLaterError(f"the end of {FORECASTS_TOPIC} was not reached within {timeout_s:g} s")
        for message in tail.take(MOST, 0.5):
            at[message.partition] = message.offset + 1
            try:
                said = forecast_messages.decode(message.value or b"")
            except msgspec.MsgspecError:
                continue
            yield _key(said)


class ForecastTopic:
    """What the topic lacks of the ledger goes onto it.

    Args:
        entries: reads the ledger from a place on.
        scores: reads the scores of rows that have one.
        sent: messages that the topic holds, as far back as it was read.
        monotonic: the clock.
    """

    def __init__(
        self, entries: Entries, scores: Scores, sent: Iterable[Key], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._entries = entries
        self._scores = scores
        self._sent = set(sent)
        # what is older than the end of the topic that was read was sent long ago
        self._newest = min((number for _, number in self._sent), default=1) - 1
        self._open: set[int] = set()
        self._monotonic = monotonic
        self._thorough_at = 0.0

    def publish(self, sender: Sender, scores: bool = True) -> int:
        """Send what is lacking; return how many messages.

        Args:
            sender: takes the messages.
            scores: look for scores of rows that were sent before, too: that asks for every one without a score.

        Raises:
            TryLaterError: ledger or broker are away; what was not acknowledged is sent again.
        """
        after, sent = self._newest, 0
        if self._monotonic() >= self._thorough_at:
            self._thorough_at = self._monotonic() + THOROUGH_S
            after -= SLACK
        while True:
            found = self._entries(after, MOST)
            sent += self._send(sender, [message for entry in found for message in entry if message])
            for entry in found:
                if entry.score is None and not entry.forecast.late:
                    self._open.add(entry.forecast.id)
            after = max([after, *(entry.forecast.id for entry in found)])
            self._newest = max(self._newest, after)
            if len(found) < MOST:
                break
        waiting = sorted(self._open) if scores else []
        for start in range(0, len(waiting), MOST):
            sent += self._send(sender, self._scores(waiting[start : start + MOST]))
        return sent

    def _send(self, sender: Sender, messages: Sequence[LedgerMessage]) -> int:
        lacking = [message for message in messages if _key(message) not in self._sent]
        for message in lacking:
            sender.send(FORECASTS_TOPIC, message.symbol, forecast_messages.encode(message))
        if lacking:
            sender.flush()
        self._sent.update(_key(message) for message in lacking)
        self._open.difference_update(message.id for message in messages if isinstance(message, ScoreMessage))
        if len(self._sent) > 20 * SLACK:
            oldest = self._newest - 2 * SLACK
            self._sent = {key for key in self._sent if key[1] > oldest or key[1] in self._open}
        return len(lacking)


def _key(message: LedgerMessage) -> Key:
    return (SCORE if isinstance(message, ScoreMessage) else FORECAST), message.id
