"""The one face of all targets: a message goes in, a proof comes out or the reason why there is none.

Belongs here: the Protocol, the receipt, what is kept of an answer. Stays out: the ways to send (modules beside this).
"""

from collections.abc import Iterable
from typing import Final, NamedTuple, Protocol

from streamlake_assets.errors import TryLaterError
from streamlake_assets.market.alert_messages import Message

TIMEOUT_S: Final = 5.0
"""A target that is silent for so long, in seconds, is tried again later."""
MOST_PROOF: Final = 160
"""Characters of an answer that are kept."""


class NotDeliveredError(TryLaterError):
    """A target did not take a message; it is tried again later. The text holds no secret."""


class Receipt(NamedTuple):
    """What a target said when it took a message."""

    response: str


class Notifier(Protocol):
    """Sends messages to one target."""

    def send(self, message: Message) -> Receipt:
        """Send a message, once.

        Raises:
            NotDeliveredError: the target did not take it, or it is not known whether it did.
        """
        ...


def proof(text: str, secrets: Iterable[str] = ()) -> str:
    """Return what is kept of an answer: short, printable, without the secrets that it may repeat."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    return "".join(sign if sign.isprintable() else " " for sign in text)[:MOST_PROOF].strip()
