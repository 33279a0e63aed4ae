"""Drift: whether the features of recent dates still come from where the training rows came from.

Belongs here: the population stability index of a feature, what it would be by chance, the rule that calls it drift.
Stays out: what drift leads to (``retraining``), whether forecasts got worse (``gate``, ``retraining``).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streamlake_assets.errors import UsageError
from streamlake_assets.market.series import BoolArray, FloatArray, IntArray

BINS = 10
LEAST_LIMIT = 0.25
"""An index above this is called a major shift (Siddiqi, 2006); here it is the least limit, chance taken off."""
WINDOW_DATES = 21
MIN_ROWS = 100
"""Rows a window needs: with fewer, chance alone moves the index by more than a third of the limit."""
MIN_BLOCKS = 8
"""Windows the training dates must fill, so that they can say how far ordinary windows stray."""


@dataclass(frozen=True)
class Stability:
    """The index of one feature and what it would be, on average, if nothing had changed."""

    psi: float
    expected: float

    @property
    def excess(self) -> float:
        """The index less what chance makes of it."""
        return self.psi - self.expected


@dataclass(frozen=True)
class FeatureDrift:
    """One feature in the newest window and in the one before; ``limit`` is for the excess of either."""

    name: str
    newest: Stability
    previous: Stability
    limit: float

    @property
    def drifted(self) -> bool:
        """Above the limit twice in a row, in windows that share no date."""
        return self.newest.excess > self.limit and self.previous.excess > self.limit


@dataclass(frozen=True)
class DriftReport:
    """Drift of every feature, or the reason why it cannot be judged yet (``features`` is empty then)."""

    features: tuple[FeatureDrift, ...]
    window_dates: int
    train_rows: int
    recent_rows: int
    reason: str

    @property
    def drifted(self) -> tuple[str, ...]:
        """Names of the features that drifted."""
        return tuple(feature.name for feature in self.features if feature.drifted)


def bin_edges(train: FloatArray) -> FloatArray:
    """Return the inner edges of ten bins of equal share; fewer where values repeat."""
    deciles = np.unique(np.quantile(train, np.arange(1, BINS) / BINS))
    edges: FloatArray = deciles[deciles > train.min()]
    return edges


def stability(train: FloatArray, recent: FloatArray, edges: FloatArray | None = None) -> Stability:
    """Return the population stability index, sum of (p - q) ln(p / q) over bins of the training values.

    Each bin is given half a row more, so that an empty one has a logarithm. If nothing changed and rows were
    independent, the index would be near (bins - 1) (1/n + 1/m) (Yurdakul and Naranjo, 2020).

    Args:
        train: n values.
        recent: m values.
        edges: inner edges of the bins; default: by deciles of ``train``.

    Raises:
        UsageError: no value, or one that is not finite.
    """
    if not (len(train) and len(recent) and np.isfinite(train).all() and np.isfinite(recent).all()):
        raise UsageError("drift needs finite values on both sides")
    found = bin_edges(train) if edges is None else edges
    bins = len(found) + 1

    def shares(values: FloatArray) -> FloatArray:
        counts = np.bincount(np.searchsorted(found, values, side="right"), minlength=bins).astype(np.float64) + 0.5
        return counts / float(counts.sum())

    p, q = shares(train), shares(recent)
    return Stability(float(np.sum((p - q) * np.log(p / q))), (bins - 1) * (1 / len(train) + 1 / len(recent)))


def drift_report(
    names: Sequence[str],
    train: FloatArray,
    train_sessions: IntArray,
    recent: FloatArray,
    recent_sessions: IntArray,
) -> DriftReport:
    """Hold the two newest windows of whole dates against the training rows.

    Neighbouring rows are alike, so an ordinary window strays further than chance among independent rows would let it.
    The limit of a feature is therefore the largest excess that any window of the training dates has over all training
    rows, and ``LEAST_LIMIT`` at least. A window has ``WINDOW_DATES`` dates, more where that gives fewer than
    ``MIN_ROWS`` rows.

    Args:
        names: k features.
        train: rows the model was fitted on, n by k.
        train_sessions: their dates.
        recent: rows since, m by k.
        recent_sessions: their dates, all after the training dates.

    Raises:
        UsageError: shapes that do not fit, dates that overlap, or values that are not finite.
    """
    if train.shape != (len(train_sessions), len(names)) or recent.shape != (len(recent_sessions), len(names)):
        raise UsageError(f"drift needs rows by {len(names)} features and a date for every row")
    if len(train) and len(recent) and recent_sessions.min() <= train_sessions.max():
        raise UsageError("drift compares what came after training with what was learned from: the dates overlap")
    dates = np.unique(recent_sessions)
    window = WINDOW_DATES
    if len(dates):
        window = max(window, int(np.ceil(MIN_ROWS * len(dates) / len(recent))))
    blocks = _blocks(train_sessions, window)

    def report(features: tuple[FeatureDrift, ...], reason: str) -> DriftReport:
        return DriftReport(features, window, len(train), len(recent), reason)

    if len(blocks) < MIN_BLOCKS:
        return report((), f"training dates fill {len(blocks)} windows of {window}, {MIN_BLOCKS} are needed")
    if len(dates) < 2 * window:
        return report((), f"{len(dates)} dates since training, two windows need {2 * window}")
    newest = recent_sessions >= dates[-window]
    previous = (recent_sessions >= dates[-2 * window]) & ~newest
    if min(newest.sum(), previous.sum()) < MIN_ROWS:
        return report((), f"a window holds fewer than {MIN_ROWS} rows")
    features = tuple(
        _feature(name, train[:, k], blocks, recent[previous, k], recent[newest, k]) for k, name in enumerate(names)
    )
    strayed = ", ".join(feature.name for feature in features if feature.drifted)
    return report(features, f"above the limit twice in a row: {strayed}" if strayed else "no feature drifted")


def drift_since(names: Sequence[str], x: FloatArray, sessions: IntArray, learned: BoolArray) -> DriftReport:
    """Hold the dates after the newest one learned from against the rows learned from: see ``drift_report``.

    Whole dates: where calendars differ, one date may have rows of both, as crypto's target of a Friday has come true
    before that of a stock.

    Args:
        names: k features.
        x: all rows, n by k.
        sessions: their dates.
        learned: whether the model was fitted on each.
    """
    later = sessions > sessions[learned].max(initial=-1)
    return drift_report(names, x[learned], sessions[learned], x[later], sessions[later])


def _feature(
    name: str, train: FloatArray, blocks: Sequence[IntArray], previous: FloatArray, newest: FloatArray
) -> FeatureDrift:
    edges = bin_edges(train)
    ordinary = max(stability(train, train[block], edges).excess for block in blocks)
    return FeatureDrift(
        name,
        stability(train, newest, edges),
        stability(train, previous, edges),
        max(LEAST_LIMIT, ordinary),
    )


def _blocks(sessions: IntArray, window: int) -> list[IntArray]:
    """Return the rows of consecutive windows of whole dates; a last window that is not full is left out."""
    dates, position = np.unique(sessions, return_inverse=True)
    block = position // window
    return [np.flatnonzero(block == b) for b in range(len(dates) // window)]
