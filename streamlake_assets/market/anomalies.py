"""What looks wrong in a series of bars that all keep the contract: holes, jumps, feeds that hang, late arrivals.

Belongs here: finding them in the columns of one instrument and interval. Stays out: reading bars (``flows.detection``),
single bad messages (``contract``).
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

LEAST_REPEATS: Final = 3
"""So many bars in a row that repeat the one before them, number for number, are no quiet market: the feed hangs."""
LEAST_WITHOUT_VOLUME: Final = 10
"""The same where there is no volume, by which two quiet bars would differ."""
LEAST_JUMP: Final = 0.1
LEAST_OVERNIGHT_JUMP: Final = 0.25
"""Log returns below which nothing is called a jump, however calm the series: within a session, and between two. News
moves a share by a tenth overnight every day somewhere; a split of 3 for 2 or more is still seen."""
JUMP_SCALES: Final = 12.0
"""Robust standard deviations (1.4826 times the median absolute deviation) from which on a return is a jump."""
_SPIKE: Final = 0.5
"""A jump of which the next bar takes back at least this share is a spike: the bar itself is wrong."""


class SeriesBars(NamedTuple):
    """Bars of one instrument and interval, in the order of their times; one entry for each bar.

    ``start`` in microseconds since 1970 UTC, ``session`` as proleptic ordinals, raw prices, volume NaN where there is
    none, ``arrival`` rising in the order in which they arrived.
    """

    start: Ints
    session: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    arrival: Ints


class LateBars(NamedTuple):
    """Bars that arrived after later ones: their places in the series, and by how much, in microseconds of bar time."""

    places: Ints
    behind: Ints


def missing(start: Ints, expected: Ints) -> Ints:
    """Return the times of bars that should be there and are not."""
    return np.setdiff1d(expected, start)


def repeats(bars: SeriesBars) -> Ints:
    """Return the places of bars that repeat the one before them, too many in a row for a quiet market."""
    least = LEAST_WITHOUT_VOLUME if np.isnan(bars.volume).all() else LEAST_REPEATS
    columns = np.stack([bars.open, bars.high, bars.low, bars.close, bars.volume])
    same = np.zeros(len(bars.start), dtype=bool)
    same[1:] = ((columns[:, 1:] == columns[:, :-1]) | np.isnan(columns[:, 1:]) & np.isnan(columns[:, :-1])).all(axis=0)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], same.astype(np.int8), [0]))))
    found = [np.arange(begin, end) for begin, end in edges.reshape(-1, 2) if end - begin >= least]
    return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)


def jumps(bars: SeriesBars, factors: Mapping[int, float]) -> Ints:
    """Return the places of bars whose price does not belong to the series: spikes, and shifts without an action.

    Args:
        bars: the series.
        factors: of corporate actions by session; they are taken out of the return to that session.

    Returns:
        Of a spike the bar itself, of a shift its first bar.
    """
    if len(bars.start) < 2:
        return np.zeros(0, dtype=np.int64)
    # a commodity's price may be nought or less: there are no returns then, and no jump can be told
    returns = np.diff(np.log(bars.close, out=np.full(len(bars.close), np.nan), where=bars.close > 0))
    first = np.flatnonzero(np.diff(bars.session)) + 1
    for place in first:
        # actions on days without a bar belong to the next session
        between = range(int(bars.session[place - 1]) + 1, int(bars.session[place]) + 1)
        returns[place - 1] -= sum(np.log(factors[day]) for day in between if day in factors)
    if np.isnan(returns).all():
        return np.zeros(0, dtype=np.int64)
    bound = np.full(len(returns), LEAST_JUMP)
    bound[first - 1] = LEAST_OVERNIGHT_JUMP
    bound = np.maximum(bound, JUMP_SCALES * 1.4826 * np.nanmedian(np.abs(returns - np.nanmedian(returns))))
    found: list[int] = []
    begin = 0
    large: list[int] = np.flatnonzero(np.abs(returns) > bound).tolist()
    for step in large:
        if step < begin:
            continue
        back = returns[step + 1] if step + 1 < len(returns) else 0.0
        found.append(step + 1)
        # the way back of a spike is not a second one
        is_spike = back * returns[step] < 0 and abs(back) >= _SPIKE * abs(returns[step])
        begin = step + 2 if is_spike else step + 1
    return np.array(found, dtype=np.int64)


def late(bars: SeriesBars) -> LateBars:
    """Return the bars that arrived after a later one of the series."""
    order = np.argsort(bars.arrival, kind="stable")
    newest = np.maximum.accumulate(bars.start[order])
    behind = newest - bars.start[order]
    places = order[behind > 0]
    rank = np.argsort(places)
    return LateBars(places[rank], behind[behind > 0][rank])
