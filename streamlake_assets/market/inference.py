"""Tests of equal accuracy and rank correlations: whether a difference between forecasts is more than chance.

Belongs here: Clark-West, Diebold-Mariano, their standard errors, Spearman's correlation with its interval. Stays out:
skill and its interval (``skill``), the record of an evaluation (``evaluation``), decisions made daily (``gate``).
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from streamlake_assets.errors import UsageError
from streamlake_assets.market.series import FloatArray, IntArray
from streamlake_assets.market.skill import BLOCK_DATES, CONFIDENCE

RANK_REPLICATES = 1000
CROSS_SECTION = 5
"""Instruments a date needs for a rank correlation across them."""
_CHUNK = 100
"""Resamples ranked at once, so that their arrays stay in the cache."""


@dataclass(frozen=True)
class MeanTest:
    """A test on the mean of one number per date: the mean, its standard error (``lags`` is the bandwidth), p-value."""

    statistic: float
    p_value: float
    mean: float
    standard_error: float
    dates: int
    lags: int


def newey_west_lags(count: int) -> int:
    """Return the bandwidth floor(4 (count / 100)^(2/9)) (Newey and West, 1994, the rule of thumb)."""
    return int(4 * (count / 100) ** (2 / 9))


def hac_standard_error(values: FloatArray, lags: int) -> float:
    """Return the standard error of the mean of dependent values, by Bartlett weights (Newey and West, 1987).

    Zero ``lags`` gives that of independent values, with n in the denominator of the variance.

    Raises:
        UsageError: fewer than two values, or as many lags as values.
    """
    count = len(values)
    if count < 2 or not 0 <= lags < count:
        raise UsageError(f"a standard error needs two values and fewer lags than values, not {count} and {lags}")
    centred = values - values.mean()
    variance = centred @ centred / count
    for lag in range(1, lags + 1):
        variance += 2 * (1 - lag / (lags + 1)) * (centred[lag:] @ centred[:-lag]) / count
    return math.sqrt(max(float(variance), 0.0) / count)


def normal_upper_tail(value: float) -> float:
    """Return the probability that a standard normal variable exceeds ``value``."""
    return 0.5 * math.erfc(value / math.sqrt(2))


def student_upper_tail(value: float, freedom: int) -> float:
    """Return the probability that Student's t with ``freedom`` degrees of freedom exceeds ``value``.

    With t = sqrt(freedom) tan(a) the density of the angle a is proportional to cos(a)^(freedom - 1), which is
    integrated by Gauss and Legendre from the value's angle to where it vanishes.
    """
    if value < 0:
        return 1.0 - student_upper_tail(-value, freedom)
    start = math.atan(value / math.sqrt(freedom))
    stop = min(math.pi / 2, start + 12 / math.sqrt(freedom))
    nodes, weights = _legendre()
    angles = start + (nodes + 1) * (stop - start) / 2
    area = float(weights @ np.cos(angles) ** (freedom - 1)) * (stop - start) / 2
    return area * math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)


@cache
def _legendre() -> tuple[FloatArray, FloatArray]:
    nodes, weights = np.polynomial.legendre.leggauss(100)
    return nodes, weights


def clark_west(
    sessions: IntArray, truth: FloatArray, small: FloatArray, large: FloatArray, lags: int | None = None
) -> MeanTest | None:
    """Test whether a model knows more than a smaller one nested in it (Clark and West, 2007); one-sided.

    Were the small model true, the large one would still estimate coefficients that are zero, and this noise alone makes
    its squared error the greater: its skill is expected below zero, and a plain comparison of errors hardly ever finds
    what is there. The test takes the noise off, e_small^2 - (e_large^2 - (small - large)^2), in mean per date, and asks
    whether the mean is above zero, by a normal distribution and the standard error of ``hac_standard_error``.

    For a return against zero this is the right test: zero is any model with all coefficients zero, so it is nested in
    every one of them, and the adjusted difference is 2 * truth * forecast. The regression of the range nests its
    baseline likewise (constant one in units of the scale). For trees it holds as an approximation.

    A small p-value says that the large model's features carry information, not that its forecasts are better as they
    stand: the skill says that.

    Args:
        sessions: date of each of n rows.
        truth: what came true.
        small: forecasts of the nested model.
        large: forecasts of the larger model.
        lags: bandwidth; None for ``newey_west_lags`` of the number of dates.

    Returns:
        The test, or None where the adjusted difference is the same on all dates, as with equal forecasts.
    """
    adjusted = (truth - small) ** 2 - (truth - large) ** 2 + (small - large) ** 2
    return _test_of_mean(sessions, adjusted, lags, corrected=False)


def diebold_mariano(
    sessions: IntArray, truth: FloatArray, other: FloatArray, forecast: FloatArray, lags: int | None = None
) -> MeanTest | None:
    """Test whether two forecasts have equal squared errors (Diebold and Mariano, 1995); two-sided.

    The statistic is above zero where ``forecast`` has the smaller error. It carries the correction of Harvey, Leybourne
    and Newbold (1997) for one step ahead, sqrt((n - 1) / n), and is read from Student's t with n - 1 degrees of
    freedom, n dates. It holds for models of which neither nests the other; for nested ones see ``clark_west``.

    Arguments and result as there.
    """
    return _test_of_mean(sessions, (truth - other) ** 2 - (truth - forecast) ** 2, lags, corrected=True)


def _test_of_mean(sessions: IntArray, values: FloatArray, lags: int | None, *, corrected: bool) -> MeanTest | None:
    """Test the mean of the dates' means: two sides of Student's t if ``corrected``, else the normal's upper tail."""
    _, position = np.unique(sessions, return_inverse=True)
    by_date = np.bincount(position, weights=values) / np.bincount(position)
    dates = len(by_date)
    bandwidth = newey_west_lags(dates) if lags is None else lags
    error = hac_standard_error(by_date, bandwidth)
    if error == 0:
        return None
    statistic = float(by_date.mean()) / error
    if corrected:
        statistic *= math.sqrt((dates - 1) / dates)
        p_value = 2 * student_upper_tail(abs(statistic), dates - 1)
    else:
        p_value = normal_upper_tail(statistic)
    return MeanTest(statistic, p_value, float(by_date.mean()), error, dates, bandwidth)


def spearman(left: FloatArray, right: FloatArray) -> float | None:
    """Return Spearman's rank correlation (1904), equal values sharing their mean rank.

    None where it is undefined: fewer than three pairs, or all values of a side equal.
    """
    if len(left) < 3:
        return None
    found = float(_weighted_spearman(left, right, np.ones((1, len(left))))[0])
    return found if math.isfinite(found) else None


def _weighted_spearman(left: FloatArray, right: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the rank correlation of m resamples in which pair i occurs ``weights[m, i]`` times; NaN if undefined."""
    total = weights.sum(axis=1, keepdims=True)
    ranks = []
    for values in (left, right):
        _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
        starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
        shared = np.add.reduceat(weights[:, np.argsort(values, kind="stable")], starts, axis=1)
        # a value's mean rank: all that lies below it and half of what equals it; their mean is half the total
        ranks.append((np.cumsum(shared, axis=1) - shared / 2)[:, place] - total / 2)

    def moment(a: FloatArray, b: FloatArray) -> FloatArray:
        found: FloatArray = np.einsum("ij,ij,ij->i", weights, a, b)
        return found

    spread = moment(ranks[0], ranks[0]) * moment(ranks[1], ranks[1])
    defined = spread > 0
    return np.where(defined, moment(ranks[0], ranks[1]) / np.sqrt(np.where(defined, spread, 1.0)), np.nan)


@dataclass(frozen=True)
class CrossSection:
    """Rank correlation across instruments, averaged over the dates that have at least ``CROSS_SECTION`` of them.

    ``standard_error`` (Newey and West) is None with fewer than two such dates.
    """

    dates: int
    mean: float
    standard_error: float | None


@dataclass(frozen=True)
class InformationCoefficient:
    """Rank correlation between forecast and truth (information coefficient: Grinold and Kahn, 2000).

    ``by_instrument`` is over time, None where undefined; ``mean`` is their average weighted by rows, None if there is
    none; ``low`` and ``high`` bound it with 95 % confidence. ``baseline_mean`` is the same average for the target's
    baseline (None for a constant one): levels that persist give a high correlation to any forecast that follows them.
    ``cross_section`` is None where no date has enough instruments.
    """

    by_instrument: dict[str, float | None]
    mean: float | None
    low: float | None
    high: float | None
    baseline_mean: float | None
    cross_section: CrossSection | None


def information_coefficient(
    instruments: tuple[str, ...],
    instrument: IntArray,
    sessions: IntArray,
    truth: FloatArray,
    forecast: FloatArray,
    baseline: FloatArray,
    *,
    seed: int,
    replicates: int = RANK_REPLICATES,
) -> InformationCoefficient:
    """Measure rank correlations over time and across instruments.

    The interval is the percentile one of resamples by moving blocks of dates, as ``skill.bootstrap_interval`` draws
    them; each resample is ranked anew.

    Args:
        instruments: names by number.
        instrument: number of each of n rows.
        sessions: date of every row; rows of one date are resampled together.
        truth: what came true.
        forecast: what had been forecast.
        baseline: what the target's baseline had forecast.
        seed: seed of the draws.
        replicates: number of resamples.

    Raises:
        UsageError: fewer than 8 dates.
    """
    own = {number: np.flatnonzero(instrument == number) for number in np.unique(instrument)}
    found = {number: spearman(truth[rows], forecast[rows]) for number, rows in own.items()}
    low = high = None
    if any(value is not None for value in found.values()):
        low, high = _mean_interval(own, sessions, truth, forecast, seed, replicates)
    return InformationCoefficient(
        by_instrument={instruments[number]: value for number, value in found.items()},
        mean=_weighted_mean(found, own),
        low=low,
        high=high,
        baseline_mean=_weighted_mean({n: spearman(truth[rows], baseline[rows]) for n, rows in own.items()}, own),
        cross_section=_cross_section(sessions, truth, forecast),
    )


def _weighted_mean(found: dict[int, float | None], own: dict[int, IntArray]) -> float | None:
    defined = [(value, len(own[number])) for number, value in found.items() if value is not None]
    rows = sum(weight for _, weight in defined)
    return sum(value * weight for value, weight in defined) / rows if defined else None


def _mean_interval(
    own: dict[int, IntArray], sessions: IntArray, truth: FloatArray, forecast: FloatArray, seed: int, replicates: int
) -> tuple[float, float]:
    dates, position = np.unique(sessions, return_inverse=True)
    count = len(dates)
    if count < 8:
        raise UsageError(f"an interval needs at least 8 dates, there are {count}")
    length = max(1, min(BLOCK_DATES, count // 4))
    rng = np.random.default_rng(seed)
    means = []
    for first in range(0, replicates, _CHUNK):
        size = min(_CHUNK, replicates - first)
        starts = rng.integers(0, count - length + 1, (size, -(-count // length)))
        steps = np.zeros((size, count + 1))
        lines = np.arange(size)[:, None]
        np.add.at(steps, (lines, starts), 1.0)
        np.add.at(steps, (lines, starts + length), -1.0)
        times = np.cumsum(steps, axis=1)[:, :-1]  # how often each date was drawn
        found = np.column_stack(
            [_weighted_spearman(truth[rows], forecast[rows], times[:, position[rows]]) for rows in own.values()]
        )
        defined = np.isfinite(found)
        weights = np.where(defined, [len(rows) for rows in own.values()], 0)
        total = weights.sum(axis=1)
        sums = (weights * np.where(defined, found, 0.0)).sum(axis=1)
        means.append(sums[total > 0] / total[total > 0])
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return float(low), float(high)


def _cross_section(sessions: IntArray, truth: FloatArray, forecast: FloatArray) -> CrossSection | None:
    order = np.argsort(sessions, kind="stable")
    found = []
    for rows in np.split(order, np.flatnonzero(np.diff(sessions[order])) + 1):
        value = spearman(truth[rows], forecast[rows]) if len(rows) >= CROSS_SECTION else None
        if value is not None:
            found.append(value)
    if not found:
        return None
    error = hac_standard_error(np.array(found), min(newey_west_lags(len(found)), len(found) - 1)) if found[1:] else None
    return CrossSection(dates=len(found), mean=float(np.mean(found)), standard_error=error)
