"""What measured costs by rows mean: where one way overtakes another, what a wrong choice costs, which way to take.

Belongs here: arithmetic on curves of cost (seconds or memory) over rows. Stays out: measuring (``flows.benchmark``),
which ways there are, words and charts. A curve is known at the measured sizes and between them, where costs are taken
as straight lines on logarithmic axes; nothing is said beyond its ends.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from streamlake_assets.errors import UsageError

Curve = Mapping[int, float]
"""Cost by rows, all above zero; infinite where the way did not finish (out of memory or time)."""


class Crossover(NamedTuple):
    """Where a challenger first costs no more than the incumbent.

    ``rows``: the size, None when it is not reached. ``first`` and ``last``: the smallest and largest size that both
    were measured at. ``at_once``: the challenger is ahead from the smallest size on, so the true size may be smaller.
    ``by_failure``: the incumbent did not finish at that size. ``stays``: the challenger stays ahead up to ``last``.
    """

    rows: float | None
    first: int
    last: int
    at_once: bool = False
    by_failure: bool = False
    stays: bool = True


class Regret(NamedTuple):
    """How many times the least cost a choice costs: in time and in memory; infinite where it did not finish."""

    name: str
    time: float
    memory: float


class Choice(NamedTuple):
    """The way whose worst regret over the sizes is least, that worst regret, and the size where it occurs."""

    name: str
    worst: float
    rows: int


def crossover(incumbent: Curve, challenger: Curve) -> Crossover:
    """Return where the challenger first overtakes, interpolated on logarithmic axes between measured sizes.

    Raises:
        UsageError: no size that both were measured at, or a cost that is not above zero.
    """
    sizes = sorted(set(incumbent) & set(challenger))
    if not sizes:
        raise UsageError("no size was measured for both: there is no crossover to look for")
    for curve in (incumbent, challenger):
        _check(curve)
    ahead = [challenger[size] <= incumbent[size] and challenger[size] < math.inf for size in sizes]
    first, last = sizes[0], sizes[-1]
    if not any(ahead):
        return Crossover(None, first, last)
    place = ahead.index(True)
    stays = all(ahead[place:])
    size = sizes[place]
    if place == 0:
        return Crossover(float(size), first, last, at_once=True, stays=stays)
    before = sizes[place - 1]
    if math.inf in (incumbent[size], challenger[before]):
        failed = incumbent[size] == math.inf
        return Crossover(float(size), first, last, by_failure=failed, stays=stays)
    # the logarithm of the ratio falls from above zero to zero or below, linearly in the logarithm of rows
    high = math.log(challenger[before] / incumbent[before])
    low = math.log(challenger[size] / incumbent[size])
    share = high / (high - low)
    rows = math.exp(math.log(before) + share * (math.log(size) - math.log(before)))
    return Crossover(rows, first, last, stays=stays)


def cost_at(curve: Curve, rows: float) -> float | None:
    """Return the cost at any size between the measured ones, by a straight line on logarithmic axes; None outside.

    Infinite where either neighbour is.
    """
    _check(curve)
    sizes = sorted(curve)
    if not sizes or not sizes[0] <= rows <= sizes[-1]:
        return None
    if rows in curve:
        return curve[int(rows)]
    left, right = next((a, b) for a, b in pairwise(sizes) if a < rows < b)
    if math.inf in (curve[left], curve[right]):
        return math.inf
    share = math.log(rows / left) / math.log(right / left)
    return math.exp((1 - share) * math.log(curve[left]) + share * math.log(curve[right]))


def regrets(times: Mapping[str, Curve], memory: Mapping[str, Curve], rows: float) -> list[Regret]:
    """Return what each choice costs at a size as a multiple of the least, the best first by time.

    A way that was not measured around that size is left out.

    Args:
        times: seconds by rows, by the name of the way.
        memory: peak memory by rows, by the same names.
        rows: a size.
    """
    seconds = _known(times, rows)
    peaks = _known(memory, rows)
    if not seconds or min(seconds.values()) == math.inf:
        return []
    quickest = min(seconds.values())
    smallest = min(peaks.values(), default=math.inf)
    found = [
        Regret(name, taken / quickest, peaks[name] / smallest if peaks.get(name, math.inf) < math.inf else math.inf)
        for name, taken in seconds.items()
    ]
    return sorted(found, key=lambda one: (one.time, one.memory, one.name))


def least_regret(times: Sequence[Mapping[str, Curve]]) -> Choice | None:
    """Return the choice whose worst ratio to the quickest, over all tasks and sizes, is least (Savage, 1951).

    Every size counts at which at least one way finished. A way that was not measured at a size where another was
    cannot be vouched for and is not chosen.

    Args:
        times: for each task, seconds by rows by the name of the way.
    """
    worst: dict[str, tuple[float, int]] = {}
    unknown: set[str] = set()
    names = {name for task in times for name in task}
    for task in times:
        for size in sorted({size for curve in task.values() for size in curve}):
            seconds = {name: curve[size] for name, curve in task.items() if size in curve}
            unknown |= names - set(seconds)
            quickest = min(seconds.values())
            if quickest == math.inf:
                continue
            for name, taken in seconds.items():
                worst[name] = max(worst.get(name, (0.0, size)), (taken / quickest, size), key=lambda pair: pair[0])
    fit = {name: found for name, found in worst.items() if name not in unknown and found[0] < math.inf}
    if not fit:
        return None
    name = min(fit, key=lambda one: (fit[one][0], one))
    return Choice(name, *fit[name])


def growth(curve: Curve) -> float | None:
    """Return the exponent b of cost = a · rows^b by least squares on logarithms; None with fewer than two sizes.

    1 means that twice the rows cost twice as much; near 0, that start-up is all there is to pay.
    """
    points = [(math.log(size), math.log(cost)) for size, cost in curve.items() if cost < math.inf]
    if len(points) < 2:
        return None
    middle_x = sum(x for x, _ in points) / len(points)
    middle_y = sum(y for _, y in points) / len(points)
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / sum((x - middle_x) ** 2 for x, _ in points)


def _known(curves: Mapping[str, Curve], rows: float) -> dict[str, float]:
    found = {name: cost_at(curve, rows) for name, curve in curves.items()}
    return {name: cost for name, cost in found.items() if cost is not None}


def _check(curve: Curve) -> None:
    if any(not cost > 0 or size < 1 for size, cost in curve.items()):
        raise UsageError("a cost must be above zero, at a size of at least one row")
