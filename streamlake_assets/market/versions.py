"""Which version of a bar or corporate action wins: a total order that does not depend on arrival.

Belongs here: the identity of a version (its digest), the order, and the merge of arrivals into stored state.
Stays out: where versions are stored (``stores``).

Order: higher source rank, then settled over provisional, then later ``as_of``, then the digest. Because the order is
total and only a greater version replaces, any order of arrival leaves the same current version, and the same set of
other distinct versions as revisions.
"""

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from typing import Generic, NamedTuple, Protocol, TypeVar

from streamlake_assets.market.types import Bar, CorporateAction, Status

DIGEST_BYTES = 16
_PLAIN = 27
"""Signs of a number that normalize() cannot round."""


class Outcome(StrEnum):
    """What became of a message; every message ends as exactly one of these (``dead`` is decided before the merge)."""

    NEW = "new"
    CHANGED = "changed"
    SAME = "same"
    OLDER = "older"
    DEAD = "dead"


class Version(NamedTuple):
    """Place of one version in the total order; tuples compare field by field."""

    rank: int
    settled: bool
    as_of: dt.datetime
    digest: bytes


class Versioned(Protocol):
    """Anything with a version: an arrival, or a stored row."""

    @property
    def version(self) -> Version:
        """Place in the total order."""


V = TypeVar("V", bound=Versioned)


class Merged(NamedTuple, Generic[V]):
    """Result of merging arrivals into the stored version of one key.

    ``current`` is the version that is now in force; ``revisions`` are the distinct versions seen in this merge that are
    not in force, in the order they were seen; ``outcomes`` has one entry for each arrival.
    """

    current: V
    revisions: list[V]
    outcomes: list[Outcome]


def bar_digest(bar: Bar) -> bytes:
    """Return the identity of a bar's version: all that its source states, without ``event_time`` and enrichment."""
    return _digest(
        bar.source,
        bar.status,
        _instant(bar.as_of),
        *map(_canonical, (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.vwap)),
        str(bar.trades),
        str(bar.synthetic),
    )


def action_digest(action: CorporateAction) -> bytes:
    """Return the identity of a corporate action's version."""
    return _digest(action.source, _instant(action.as_of), _canonical(action.factor))


def bar_version(bar: Bar, rank: int) -> Version:
    """Return a bar's place in the total order, given the rank of its source."""
    return Version(rank, bar.status is Status.SETTLED, bar.as_of, bar_digest(bar))


def action_version(action: CorporateAction, rank: int) -> Version:
    """Return a corporate action's place in the total order, given the rank of its source."""
    return Version(rank, True, action.as_of, action_digest(action))


def merge(stored: V | None, arrivals: Sequence[V]) -> Merged[V]:
    """Merge the arrivals of one key, in order of arrival, into what is stored.

    Raises:
        ValueError: there is nothing to merge.
    """
    if not arrivals:
        raise ValueError("merge needs at least one arrival")
    current = stored
    revisions: dict[bytes, V] = {}
    outcomes = []
    for arrival in arrivals:
        if current is None:
            outcomes.append(Outcome.NEW)
            current = arrival
        elif arrival.version.digest == current.version.digest:
            outcomes.append(Outcome.SAME)
        elif arrival.version > current.version:
            outcomes.append(Outcome.CHANGED)
            revisions.setdefault(current.version.digest, current)
            current = arrival
        else:
            outcomes.append(Outcome.OLDER)
            revisions.setdefault(arrival.version.digest, arrival)
    assert current is not None  # noqa: S101  # arrivals is not empty
    return Merged(current, list(revisions.values()), outcomes)


@lru_cache(maxsize=4_096)
def _instant(moment: dt.datetime) -> str:
    # many bars are stated at the same moment, and the text of an aware time costs more than a look into a cache, where
    # times are equal that have other zones
    return moment.astimezone(dt.UTC).isoformat()


def _canonical(value: Decimal | None) -> str:
    # 1.50 and 1.5 are the same statement; normalize() writes 100 as 1E+2, which is fine for a digest. Without a nought
    # at its end and an exponent a number is its own normal form: most prices are
    if value is None:
        return ""
    text = str(value)
    return str(value.normalize()) if text[-1] == "0" or "E" in text or len(text) > _PLAIN else text


def _digest(*parts: str) -> bytes:
    return blake2b("\x1f".join(parts).encode(), digest_size=DIGEST_BYTES).digest()
