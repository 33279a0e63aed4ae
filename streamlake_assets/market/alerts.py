"""What deserves a message: states of a subject, the edges between them, how an edge is named once.

Belongs here: pure meaning of states and edges, keys, texts. Stays out: which edge goes to whom (``alert_rules``), where
edges are kept (``stores.alert_states``), sending (``alerts``).

A subject is one thing that can be well or not: an asset check, the freshness of an asset, a job's runs, a sensor, a
process. Its observations have an order; an older one than the last judged says nothing.
"""

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, Final, NamedTuple

import msgspec

NAME: Final = r"\A[a-z0-9][a-z0-9_\-]{0,62}\Z"
Name = Annotated[str, msgspec.Meta(pattern=NAME)]
"""Name that a rule file gives to something."""
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=2_000)]
KEY_LENGTH: Final = 190
"""Longest subject and dedupe key, in characters: what an index of the tables holds."""


class State(StrEnum):
    """How a subject is."""

    PASS = "pass"  # noqa: S105 - no password
    WARN = "warn"
    ERROR = "error"
    CRASHED = "crashed"
    """It could not be judged, because judging it failed."""
    SKIPPED = "skipped"
    """It was not judged: that is no news, the state before stands."""


class Severity(StrEnum):
    """How much an alert matters, from the least on."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"

    @property
    def rank(self) -> int:
        """0 for the least."""
        return list(Severity).index(self)


class Kind(StrEnum):
    """What sort of subject an alert is about; rules choose by it."""

    CHECK = "check"
    FRESHNESS = "freshness"
    RUN = "run"
    SENSOR = "sensor"
    HEARTBEAT = "heartbeat"
    THRESHOLD = "threshold"
    """What the market does, or a forecast says, crossed a limit."""
    PROCESS = "process"
    """Said by a process of itself, such as a stopped partition."""


SEVERITY: Final[Mapping[State, Severity]] = {
    State.PASS: Severity.INFO,
    State.WARN: Severity.WARNING,
    State.ERROR: Severity.ERROR,
    State.CRASHED: Severity.ERROR,
}


class Observation(NamedTuple):
    """A subject as it was seen: ``order`` grows with each new observation of it."""

    kind: Kind
    name: str
    state: State
    order: int
    text: str
    at: dt.datetime
    facts: Mapping[str, Any] = {}

    @property
    def subject(self) -> str:
        """The identity of what was seen."""
        return subject_key(self.kind, self.name)


class Known(NamedTuple):
    """What was judged of a subject before."""

    state: State = State.PASS
    order: int = -1
    edges: int = 0


class Edge(NamedTuple):
    """A change of state; ``number`` counts the edges of the subject from 1."""

    observation: Observation
    before: State
    number: int

    @property
    def recovered(self) -> bool:
        """Whether the subject is well again."""
        return self.observation.state is State.PASS

    @property
    def severity(self) -> Severity:
        """How bad it is now."""
        return SEVERITY[self.observation.state]

    @property
    def worst(self) -> Severity:
        """The worse of before and after: who was told that it is bad is told that it is better."""
        return max(SEVERITY[self.before], self.severity, key=lambda severity: severity.rank)

    @property
    def dedupe_key(self) -> str:
        """The same edge has the same key, whoever sees it."""
        return fitting(f"{self.observation.subject}#{self.number}")

    @property
    def headline(self) -> str:
        """One line that says what happened."""
        name, state = self.observation.name, self.observation.state
        if self.recovered:
            return f"Recovered: {name}"
        if self.before is State.PASS:
            return f"{_WORDS[state]}: {name}"
        return f"{_WORDS[state]} (was {_WORDS[self.before].lower()}): {name}"


_WORDS: Final = {State.WARN: "Warning", State.ERROR: "Failed", State.CRASHED: "Could not be judged"}


def judge(known: Known, seen: Observation) -> Edge | None:
    """Return the edge that an observation makes, or None when it is old, says nothing, or nothing changed."""
    if seen.order <= known.order or seen.state is State.SKIPPED or seen.state is known.state:
        return None
    return Edge(seen, known.state, known.edges + 1)


def judge_all(known: Known, seen: Sequence[Observation]) -> list[Edge]:
    """Return the edges of observations of one subject, in their order: a flip between two looks is two edges."""
    edges = []
    for one in sorted(seen, key=lambda observation: observation.order):
        edge = judge(known, one)
        edges += [] if edge is None else [edge]
        known = advance(known, one)
    return edges


def advance(known: Known, seen: Observation) -> Known:
    """Return what is known of a subject after an observation."""
    if seen.order <= known.order:
        return known
    edge = judge(known, seen)
    state = known.state if seen.state is State.SKIPPED else seen.state
    return Known(state, seen.order, known.edges + (edge is not None))


def alive(name: str, age_s: float, limit_s: float, now: dt.datetime) -> Observation:
    """Return a process as its last sign of life shows it.

    Args:
        name: of the process.
        age_s: seconds since it beat.
        limit_s: seconds it may be silent.
        now: when this is judged.
    """
    late = age_s > limit_s
    text = f"No sign of life for {age_s:.0f} s; at most {limit_s:.0f} s are normal." if late else "It beats again."
    return Observation(Kind.HEARTBEAT, name, State.ERROR if late else State.PASS, order_of(now), text, now)


def order_of(moment: dt.datetime) -> int:
    """Return the order of an observation that has no number of its own: milliseconds since 1970."""
    return int(moment.timestamp() * 1000)


def subject_key(kind: Kind, name: str) -> str:
    """Return the identity of a subject."""
    return fitting(f"{kind}:{name}", KEY_LENGTH - 20)


def reminder_key(subject: str, edge: int, number: int) -> str:
    """Return the key of the reminder of that number, from 1 on, about an edge."""
    return fitting(f"{subject}#{edge}~{number}")


def fitting(text: str, length: int = KEY_LENGTH) -> str:
    """Return a text that fits; a longer one ends in its digest, so that two long ones stay two."""
    if len(text) <= length:
        return text
    return f"{text[: length - 17]}~{hashlib.sha256(text.encode()).hexdigest()[:16]}"
