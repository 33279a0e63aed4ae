"""Rules of alerts: who is told of which edges, how often, and when many messages become one.

Belongs here: the types of a rule file, and the decisions that follow from them, as pure functions. Stays out: reading a
file (``alerts.rules_file``), what an edge is (``alerts`` of this room), sending.
"""

import datetime as dt
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Final, Literal, NamedTuple

import msgspec

from streamlake_assets.market.alerts import Kind, Name, Severity, Text
from streamlake_assets.market.thresholds import Threshold

DURATION: Final = r"\A[1-9][0-9]{0,5}[smhd]\Z"
REFERENCE: Final = r"\A(file|env):\S+\Z"
Duration = Annotated[str, msgspec.Meta(pattern=DURATION)]
"""A whole number and its unit, such as 60s, 5m, 6h or 2d."""
Reference = Annotated[str, msgspec.Meta(pattern=REFERENCE)]
"""Where a secret stands: ``file:PATH``, beside the rule file, or ``env:NAME``."""
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
LONGEST_BACKOFF_S: Final = 900.0
GIVE_UP_S: Final = 3 * 86_400.0
"""A target that does not answer is tried for so long, in seconds."""


class Storm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """In a window of time a target gets at most so many messages, and one digest of all the others."""

    messages: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 2
    window: Duration = "60s"


class Webhook(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="webhook"):
    """A signed JSON message by POST."""

    name: Name
    url: Text
    secret: Reference
    storm: Storm = Storm()


class Mail(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="mail"):
    """An e-mail by SMTP."""

    name: Name
    host: Text
    sender: Text
    to: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1, max_length=50)]
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: Text | None = None
    password: Reference | None = None
    storm: Storm = Storm()


class Chat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="chat"):
    """A chat or paging service that apprise knows; its URL holds a token, so it stands elsewhere."""

    name: Name
    url: Reference
    storm: Storm = Storm()


Target = Webhook | Mail | Chat


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"except_": "except"}):
    """Which edges go to which targets."""

    name: Name
    targets: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1)]
    on: Annotated[tuple[Kind, ...], msgspec.Meta(min_length=1)] = tuple(Kind)
    match: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1)] = ("*",)
    except_: tuple[Text, ...] = ()
    severity: Severity = Severity.WARNING
    cooldown: Duration | None = None
    remind: Duration | None = None
    recovery: bool = True
    enabled: bool = True

    def wants(self, kind: Kind, name: str, worst: Severity, recovered: bool) -> bool:
        """Tell whether an edge is for this rule's targets."""
        return (
            self.enabled
            and kind in self.on
            and worst.rank >= self.severity.rank
            and (self.recovery or not recovered)
            and any(fnmatchcase(name, pattern) for pattern in self.match)
            and not any(fnmatchcase(name, pattern) for pattern in self.except_)
        )


HEARTBEATS: Final = {"consumer": "60s", "scorer": "60s", "dagster-daemon": "3m"}
"""How long each process may be silent; the daemon says its sign of life at each tick of the alert sensor."""
WATCHED_ELSEWHERE: Final = ("stream/consumer:consumer_is_alive", "services/scorer:scorer_is_alive")
"""A heartbeat watches the same, faster: one fault is one message."""


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole rule file."""

    targets: tuple[Target, ...] = ()
    rules: tuple[Rule, ...] = ()
    heartbeats: dict[Name, Duration] = msgspec.field(default_factory=lambda: dict(HEARTBEATS))
    thresholds: tuple[Threshold, ...] = ()

    def target(self, name: str) -> Target:
        """Return a target by its name."""
        return next(target for target in self.targets if target.name == name)

    def routes(self, kind: Kind, name: str, worst: Severity, recovered: bool) -> dict[str, Rule]:
        """Return the targets of an edge, each with the first rule that names it."""
        found: dict[str, Rule] = {}
        for rule in self.rules:
            if rule.wants(kind, name, worst, recovered):
                for target in rule.targets:
                    found.setdefault(target, rule)
        return found


def in_seconds(duration: str) -> float:
    """Return a duration in seconds."""
    return float(int(duration[:-1]) * _UNITS[duration[-1]])


class Told(NamedTuple):
    """What a target was told last about a subject, or is about to be told."""

    recovered: bool
    severity: Severity
    at: dt.datetime


def hold_until(
    severity: Severity, recovered: bool, last_raise: Told | None, cooldown_s: float, now: dt.datetime
) -> dt.datetime:
    """Return when a target is told of an edge: at once, or after the cooldown since it was told of the subject last.

    What got worse, and what is well again, is told at once.
    """
    if recovered or last_raise is None or severity.rank > last_raise.severity.rank:
        return now
    return max(now, last_raise.at + dt.timedelta(seconds=cooldown_s))


def is_news(recovered: bool, last_told: Told | None) -> bool:
    """Tell whether a target must hear of an edge: not that something is well again of which it heard nothing bad."""
    return not recovered or (last_told is not None and not last_told.recovered)


def bundle(due: Sequence[int], sent: int, storm: Storm) -> list[list[int]]:
    """Return the messages to send now: each a list of what is due.

    Few are sent one by one. More than the window has room for become one digest; when that is sent too, they wait: no
    window holds more than ``storm.messages`` + 1 messages.

    Args:
        due: ids, the oldest first.
        sent: messages of the last window.
        storm: of the target.
    """
    if not due or sent > storm.messages:
        return []
    if sent + len(due) <= storm.messages:
        return [[one] for one in due]
    return [list(due)]


def backoff_s(attempts: int) -> float:
    """Return the seconds until the next try after so many failed ones: 5, 10, 20, … at most a quarter of an hour."""
    return min(LONGEST_BACKOFF_S, 5.0 * 2.0 ** min(attempts - 1, 16))
