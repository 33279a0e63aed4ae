"""Which features a model takes: a stated rule, applied to training rows and to nothing else.

Belongs here: the rule, and the slope that ranks the features. Stays out: which rows are training rows (``skill``: the
caller applies the rule inside each fold), what features are (``features``), models (``learning``).

The rule. Each feature alone is regressed on the target. Its slope is divided by its standard error, in which the rows
of one date count as one observation and a few neighbouring dates as dependent (Driscoll and Kraay, 1998, with the
weights of Newey and West, 1987): the instruments of a date rise and fall together, and rows of the next dates share
most of a window, so that independent rows would promise far too much. Features are taken by falling size of that t,
each only if it is beyond chance at the stated level and no near copy of one already taken. What the rule names as its
core is taken first, whatever its t.
"""

from collections.abc import Sequence
from statistics import NormalDist

import msgspec
import numpy as np

from streamlake_assets.errors import UsageError
from streamlake_assets.market.series import FloatArray, IntArray

LEAST_DATES = 30
"""Below this many dates a standard error over dates says nothing."""
VARIES = 1e-10
"""Relative size below which what a column moves is rounding."""


class SelectionRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What decides; every number of it is the caller's word, so that it can stand in a spec and in its hash.

    Raises:
        UsageError: a number that decides nothing.
    """

    level: float = 0.01
    """Share of features without any slope that are taken all the same (two-sided, each feature by itself)."""
    max_correlation: float = 0.9
    """Size of the correlation with a taken feature beyond which a feature is its copy."""
    most: int = 12
    """Features taken at most, the core included."""
    core: tuple[str, ...] = ()
    """Features taken whatever their slope, in this order."""
    lags: int = 5
    """Neighbouring dates that are taken as dependent; 0: none."""

    def __post_init__(self) -> None:
        if not (0 < self.level < 1 and 0 < self.max_correlation <= 1 and self.lags >= 0):
            raise UsageError("a selection rule needs 0 < level < 1, 0 < max_correlation <= 1 and lags >= 0")
        if len(set(self.core)) != len(self.core) or self.most < max(len(self.core), 1):
            raise UsageError("a selection rule needs each core feature once, and room for the core and for one feature")

    @property
    def least_t(self) -> float:
        """Size of t from which a slope is beyond chance; normal, so a little too generous with some hundred dates."""
        return NormalDist().inv_cdf(1 - self.level / 2)


def select_features(
    x: FloatArray, y: FloatArray, names: Sequence[str], dates: IntArray, rule: SelectionRule
) -> tuple[int, ...]:
    """Return the columns to fit on, ascending; empty where nothing is beyond chance and the rule names no core.

    The same rows in another order give the same columns, as long as no two features are equally good to the last bits;
    of such two the first column is taken.

    Args:
        x: features of the training rows, n by k.
        y: target of each row, in model units.
        names: of the k features.
        dates: session of each row, any order.
        rule: what decides.

    Raises:
        UsageError: shapes that do not match, a value that is not finite, an unknown core feature, a feature named
            twice, or fewer than ``LEAST_DATES`` dates.
    """
    unknown = sorted(set(rule.core) - set(names))
    if unknown:
        raise UsageError(f"the core of the selection has unknown features: {', '.join(unknown)}")
    if len(names) != x.shape[-1] or len(set(names)) != len(names):
        raise UsageError(f"a selection among {x.shape[-1]} features needs as many names, each once")
    size = np.abs(slope_t(x, y, dates, rule.lags))
    alike = np.abs(_correlations(x))
    taken = [list(names).index(name) for name in rule.core]
    # a stable sort: of two features that are equally good the first column
    for column in np.argsort(-size, kind="stable").tolist():
        if len(taken) == rule.most or size[column] < rule.least_t:
            break
        if column not in taken and not (alike[column, taken] > rule.max_correlation).any():
            taken.append(column)
    return tuple(sorted(taken))


def slope_t(x: FloatArray, y: FloatArray, dates: IntArray, lags: int) -> FloatArray:
    """Return for each feature the slope of y on it alone (with an intercept) over the slope's standard error.

    Args:
        x: n by k.
        y: n values.
        dates: of each row; rows of one date are one observation.
        lags: neighbouring dates whose errors are taken as dependent, with weights falling to zero (Bartlett's).

    Returns:
        k values; 0 where the feature does not vary, infinite where it fits without error.

    Raises:
        UsageError: shapes that do not match, a value that is not finite, or fewer than ``LEAST_DATES`` dates.
    """
    if x.ndim != 2 or y.shape != (len(x),) or dates.shape != (len(x),):
        raise UsageError("a selection needs n by k features, n targets and n dates")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise UsageError("a selection needs finite values")
    found, position = np.unique(dates, return_inverse=True)
    if len(found) < LEAST_DATES:
        raise UsageError(f"a selection needs {LEAST_DATES} dates, there are {len(found)}")
    away, aim = x - x.mean(axis=0), y - y.mean()
    spread = (away * away).sum(axis=0)
    varies = spread > VARIES**2 * (x * x).sum(axis=0)
    spread = np.where(varies, spread, 1.0)
    slope = (away * aim[:, None]).sum(axis=0) / spread
    order = np.argsort(position, kind="stable")
    first = np.flatnonzero(np.diff(position[order], prepend=-1))
    moments = np.add.reduceat((away * (aim[:, None] - away * slope))[order], first, axis=0)
    variance = (moments * moments).sum(axis=0)
    for lag in range(1, lags + 1):
        weight = 2.0 * (1.0 - lag / (lags + 1.0))
        variance += weight * (moments[lag:] * moments[:-lag]).sum(axis=0)
    error = np.sqrt(np.maximum(variance, 0.0) * len(found) / (len(found) - 1.0)) / spread
    exact = error <= 1e-12 * np.abs(slope)
    t: FloatArray = np.where(exact, np.copysign(np.inf, slope), slope / np.where(exact, 1.0, error))
    t[~varies | (slope == 0)] = 0.0
    return t


def _correlations(x: FloatArray) -> FloatArray:
    """Return the correlation of every two columns, k by k; 0 with a column that does not vary."""
    away = x - x.mean(axis=0)
    size = np.sqrt((away * away).sum(axis=0))
    varies = size > VARIES * np.sqrt((x * x).sum(axis=0))
    away = np.where(varies, away, 0.0) / np.where(varies, size, 1.0)
    product: FloatArray = away.T @ away
    return product
