"""Skill: walk-forward splits by whole dates, and how much better than the baseline a forecast is.

Belongs here: folds, errors, the bootstrap interval, directional accuracy, the conformal quantile, the gate. Stays out:
fitting anything (``learning.walk_forward``), forecasts and their scores (``forecasts``).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from streamlake_assets.errors import UsageError
from streamlake_assets.market.series import FloatArray, IntArray

CONFIDENCE = 0.95
REPLICATES = 2000
BLOCK_DATES = 21
"""Length of a bootstrap block: about a month, longer than the memory of squared errors within a volatility cluster."""


@dataclass(frozen=True)
class Fold:
    """One step of the walk: rows to fit on and rows to predict, as indices into the frame."""

    train: IntArray
    test: IntArray


def walk_forward_folds(
    sessions: IntArray, target_sessions: IntArray, *, first_train: int, step: int, embargo: int
) -> Iterator[Fold]:
    """Yield folds with an expanding window; a date is never split.

    A row is fit on only if its label was known before the first tested session (the purge; exact also where an
    instrument skipped sessions) and its date lies more than ``embargo`` dates before it.

    Args:
        sessions: date of every row, days since 1970-01-01, any order.
        target_sessions: date the row's label came true.
        first_train: dates before the first tested date.
        step: dates tested per fold.
        embargo: dates left out between training and test.
    """
    if first_train < 1 or step < 1 or embargo < 0:
        raise UsageError("walk-forward needs first_train >= 1, step >= 1 and embargo >= 0")
    dates, position = np.unique(sessions, return_inverse=True)
    for start in range(first_train, len(dates), step):
        train = np.flatnonzero((position < start - embargo) & (target_sessions < dates[start]))
        test = np.flatnonzero((position >= start) & (position < start + step))
        if len(train):
            yield Fold(train=train, test=test)


@dataclass(frozen=True)
class Skill:
    """How good out-of-sample forecasts were, over all rows, in the target's own unit.

    ``skill`` = 1 - SSE / SSE of the baseline; ``low`` and ``high`` bound it with 95 % confidence.
    ``direction_accuracy`` counts right signs where forecast and truth both have one, ``direction_base_rate`` is the
    share of the commoner sign among the same rows; both None where the target or the forecast has no direction.
    """

    rows: int
    dates: int
    rmse: float
    baseline_rmse: float
    skill: float
    low: float
    high: float
    direction_accuracy: float | None = None
    direction_base_rate: float | None = None

    @property
    def has_skill(self) -> bool:
        """The gate: better than the baseline beyond doubt, that is the lower bound is above zero."""
        return self.low > 0


def bootstrap_interval(
    loss: FloatArray, baseline_loss: FloatArray, *, seed: int, block: int = BLOCK_DATES, replicates: int = REPLICATES
) -> tuple[float, float]:
    """Return the 95 % percentile interval of 1 - sum(loss) / sum(baseline_loss) by moving blocks of dates.

    Blocks keep the dependence between neighbouring dates (Künsch, 1989); one draw takes the same blocks of both
    losses. Every replicate is a sum of block sums, read from one running sum.

    Args:
        loss: squared errors summed per date, oldest first.
        baseline_loss: the same of the baseline; a sum above zero.
        seed: seed of the draws.
        block: dates per block, at most a quarter of the dates there are.
        replicates: number of resamples.

    Raises:
        UsageError: fewer than 8 dates.
    """
    dates = len(loss)
    if dates < 8:
        raise UsageError(f"an interval needs at least 8 dates, there are {dates}")
    length = max(1, min(block, dates // 4))
    draws = np.random.default_rng(seed).integers(0, dates - length + 1, (replicates, -(-dates // length)))

    def resampled(values: FloatArray) -> FloatArray:
        running = np.concatenate(([0.0], np.cumsum(values)))
        totals: FloatArray = (running[length:] - running[:-length])[draws].sum(axis=1)
        return totals

    baseline = resampled(baseline_loss)
    if not np.all(baseline > 0):
        raise UsageError("the baseline makes no error in a whole resample: skill over it has no meaning")
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(1.0 - resampled(loss) / baseline, [tail, 1 - tail])
    return float(low), float(high)


def measure_skill(
    sessions: IntArray,
    truth: FloatArray,
    forecast: FloatArray,
    baseline: FloatArray,
    *,
    directional: bool,
    seed: int,
) -> Skill:
    """Score forecasts against the truth and the baseline, row by row, and bound the skill by a bootstrap over dates.

    Args:
        sessions: date of every row; rows of one date are resampled together.
        truth: what came true, in the target's own unit.
        forecast: what had been forecast.
        baseline: what the baseline had forecast.
        directional: whether signs mean something.
        seed: seed of the bootstrap.

    Raises:
        UsageError: a value is not finite, or there are too few dates.
    """
    if not (np.isfinite(truth).all() and np.isfinite(forecast).all() and np.isfinite(baseline).all()):
        raise UsageError("skill needs finite values: a forecast that is not a number has no score")
    dates, position = np.unique(sessions, return_inverse=True)
    loss, baseline_loss = (truth - forecast) ** 2, (truth - baseline) ** 2

    def by_date(values: FloatArray) -> FloatArray:
        return np.bincount(position, weights=values).astype(np.float64)

    low, high = bootstrap_interval(by_date(loss), by_date(baseline_loss), seed=seed)
    signed = (truth != 0) & (forecast != 0) if directional else np.zeros(len(truth), dtype=bool)
    accuracy = base_rate = None
    if signed.any():
        up = truth[signed] > 0
        accuracy = float(np.mean(up == (forecast[signed] > 0)))
        base_rate = float(max(up.mean(), 1 - up.mean()))
    return Skill(
        rows=len(truth),
        dates=len(dates),
        rmse=float(np.sqrt(loss.mean())),
        baseline_rmse=float(np.sqrt(baseline_loss.mean())),
        skill=float(1 - loss.sum() / baseline_loss.sum()),
        low=low,
        high=high,
        direction_accuracy=accuracy,
        direction_base_rate=base_rate,
    )


def conformal_quantile(scaled_residuals: FloatArray, coverage: float) -> float:
    """Return q such that the share ``coverage`` of new absolute residuals, divided by their scale, lies within q.

    The split-conformal rank ceil((n + 1) * coverage) of n residuals (Vovk et al., 2005).

    Args:
        scaled_residuals: out-of-sample residuals divided by the row's trailing scale, any sign.
        coverage: share between 0 and 1.

    Raises:
        UsageError: too few residuals to reach the coverage.
    """
    rank = int(np.ceil((len(scaled_residuals) + 1) * coverage))
    if rank > len(scaled_residuals):
        raise UsageError(f"{len(scaled_residuals)} residuals are too few for an interval of {coverage:.0%}")
    return float(np.partition(np.abs(scaled_residuals), rank - 1)[rank - 1])
