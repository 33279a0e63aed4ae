"""What a target receives: one alert or a digest of many, as text for people, as JSON for programs, and signed.

Belongs here: the forms of a message, and how a receiver checks who sent it. Stays out: sending it (``alerts``).
"""

import datetime as dt
import hashlib
import hmac
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

MOST_LINES: Final = 100
"""Alerts that a digest tells in words; its JSON has all of them."""
LONGEST_SUBJECT: Final = 200
SIGNATURE_VERSION: Final = "v1"


class Alert(NamedTuple):
    """One row of the outbox, as it is told."""

    id: int
    kind: str
    name: str
    state: str
    severity: str
    headline: str
    text: str
    at: dt.datetime


class Message(NamedTuple):
    """What one target gets at once; ``id`` is the same at every try, so that a receiver can tell a repeat."""

    id: str
    alerts: tuple[Alert, ...]

    @property
    def headline(self) -> str:
        """One line, without ends of lines: it becomes the subject of a mail."""
        if len(self.alerts) == 1:
            only = self.alerts[0]
            return _one_line(f"[streamlake] {only.headline}")
        bad = sum(alert.state != "recovered" for alert in self.alerts)
        return f"[streamlake] {len(self.alerts)} alerts: {bad} raised, {len(self.alerts) - bad} recovered"

    @property
    def text(self) -> str:
        """The whole message, for people."""
        if len(self.alerts) == 1:
            return _paragraph(self.alerts[0])
        parts = [_paragraph(alert) for alert in self.alerts[:MOST_LINES]]
        if len(self.alerts) > MOST_LINES:
            parts.append(f"… and {len(self.alerts) - MOST_LINES} more: `streamlake alerts list` shows all.")
        return "\n\n".join(parts)

    def body(self) -> bytes:
        """The message as JSON, for programs."""
        alerts = [{**alert._asdict(), "at": alert.at.isoformat()} for alert in self.alerts]
        content: dict[str, Any] = {"v": 1, "id": self.id, "headline": self.headline, "alerts": alerts}
        return msgspec.json.encode(content)


def compose(alerts: Sequence[Alert]) -> Message:
    """Return the message about some alerts; its id follows from theirs."""
    ids = ",".join(str(alert.id) for alert in alerts)
    name = f"alert-{ids}" if len(alerts) == 1 else f"digest-{hashlib.sha256(ids.encode()).hexdigest()[:20]}"
    return Message(name, tuple(alerts))


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Return the signature of a message: HMAC-SHA256 (RFC 2104) over timestamp, a full stop and the body, in hex."""
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"{SIGNATURE_VERSION}={digest}"


def verify(secret: str, timestamp: str, body: bytes, signature: str, now_s: float, tolerance_s: float = 300.0) -> bool:
    """Tell whether a message was signed with this secret, not longer than ``tolerance_s`` seconds ago."""
    recent = timestamp.isdecimal() and abs(now_s - int(timestamp)) <= tolerance_s
    return recent and hmac.compare_digest(sign(secret, timestamp, body), signature)


def _paragraph(alert: Alert) -> str:
    when = f"{alert.at:%Y-%m-%d %H:%M:%S} UTC"
    return f"{alert.headline}\n{alert.text}\n({alert.kind}, {alert.severity}, {when}, no. {alert.id})"


def _one_line(text: str) -> str:
    return " ".join(text.split())[:LONGEST_SUBJECT]
