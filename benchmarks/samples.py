"""Figures out of single samples: percentiles, first sights of updates, growth by number; nothing is measured here.

Belongs here: arithmetic on times and sizes that a case took. Stays out: figures of whole rounds (``figures``), words
(``asked_report``).
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

Sight = tuple[int, float]
"""Number of the newest update that was there, and when it was seen."""


class Spread(NamedTuple):
    """Nearest-rank percentiles of some ``samples``, with the least and the greatest, in the samples' unit."""

    samples: int
    least: float
    p50: float
    p95: float
    p99: float
    most: float

    def rounded(self, digits: int = 1) -> dict[str, float]:
        """Return it as plain data."""
        return {name: round(value, digits) for name, value in self._asdict().items()}


def spread(values: Iterable[float]) -> Spread:
    """Return the spread of some samples.

    Raises:
        ValueError: there are none.
    """
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no sample was taken")
    p50, p95, p99 = (ordered[max(0, math.ceil(share * len(ordered)) - 1)] for share in (0.5, 0.95, 0.99))
    return Spread(len(ordered), ordered[0], p50, p95, p99, ordered[-1])


def first_sights(numbers: Sequence[int], sights: Iterable[Sight]) -> list[float | None]:
    """Return when each update, or a later one in its place, was seen first; None: never.

    An update that is overtaken before anybody looks is seen when what overtook it is.

    Args:
        numbers: the updates in the order of their sending, increasing.
        sights: what was the newest at what time, in order of time.
    """
    found: list[float | None] = []
    waiting = iter(sights)
    newest, at = -1, 0.0
    for number in numbers:
        while newest < number:
            following = next(waiting, None)
            if following is None:
                found.append(None)
                break
            newest, at = following
        else:
            found.append(at)
    return found


def between(starts: Sequence[float], ends: Sequence[float | None]) -> list[float]:
    """Return how long each of them took.

    Raises:
        ValueError: one never ended.
    """
    if any(end is None for end in ends):
        raise ValueError(f"{sum(end is None for end in ends)} of {len(ends)} never ended")
    return [end - start for start, end in zip(starts, ends, strict=True) if end is not None]


def growth(points: Iterable[tuple[float, float]]) -> float:
    """Return the slope of the least-squares line through points (x, y): how much y grows for each x.

    Raises:
        ValueError: fewer than two different x.
    """
    known = list(points)
    xs = [x for x, _ in known]
    middle = sum(xs) / len(xs) if xs else 0.0
    moment = sum((x - middle) ** 2 for x in xs)
    if moment == 0:
        raise ValueError("a line needs two different places")
    return sum((x - middle) * y for x, y in known) / moment


class Goal(NamedTuple):
    """What a figure should be at most, and what it must be at most; None: there is no such bound."""

    goal: float
    gate: float | None = None

    def verdict(self, value: float) -> str:
        """Return how a value stands to the bounds, in words."""
        if value <= self.goal:
            return "goal"
        if self.gate is None:
            return "**not reached**"
        return "gate" if value <= self.gate else "**past the gate**"

    @property
    def said(self) -> str:
        """The bounds in words."""
        return f"≤ {self.goal:g}" + ("" if self.gate is None else f" (gate {self.gate:g})")
