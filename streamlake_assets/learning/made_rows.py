"""Made rows of any number for timing engines: a target whose best forecast is known, the same rows on every engine.

Belongs here: the rows and the score of forecasts of them. Stays out: who fits them (``timing``), the bars of the claims
audit (``claims_made``). The target is Friedman's first function (J. Friedman, 1991, Multivariate adaptive regression
splines), which no linear model and no single tree can follow to the end.
"""

from typing import Final, NamedTuple

import numpy as np

from streamlake_assets.errors import UsageError
from streamlake_assets.market.series import FloatArray

LEAST_FEATURES: Final = 5
NOISE: Final = 1.0
"""Standard deviation of what nobody can forecast, in the unit of the target, whose own is near 5."""


class Scores(NamedTuple):
    """Root of the mean squared error, and R² = 1 - SSE / SST, on rows that no engine had seen."""

    rmse: float
    r2: float


def made_rows(rows: int, features: int, seed: int) -> tuple[FloatArray, FloatArray]:
    """Make uniform features (rows by features) and their target.

    y = 10 sin(π x0 x1) + 20 (x2 - 1/2)² + 10 x3 + 5 x4 + noise; the features from the sixth on say nothing.

    Raises:
        UsageError: fewer than 5 features or no row.
    """
    if features < LEAST_FEATURES or rows < 1:
        raise UsageError(f"made rows need at least 1 row and {LEAST_FEATURES} features, not {rows} and {features}")
    rng = np.random.default_rng(seed)
    x = rng.random((rows, features))
    y = rng.normal(0.0, NOISE, rows)
    y += 10.0 * np.sin(np.pi * x[:, 0] * x[:, 1])
    y += 20.0 * (x[:, 2] - 0.5) ** 2
    y += 10.0 * x[:, 3]
    y += 5.0 * x[:, 4]
    return x, y


def score(truth: FloatArray, forecast: FloatArray) -> Scores:
    """Score forecasts of n rows: the one scorer of all engines.

    Raises:
        UsageError: a forecast is not finite, or the truth does not vary.
    """
    if forecast.shape != truth.shape or not np.isfinite(forecast).all():
        raise UsageError("a forecast is missing or not finite: it has no score")
    squared = (truth - forecast) ** 2
    spread = float(((truth - truth.mean()) ** 2).sum())
    if spread == 0.0:
        raise UsageError("the truth does not vary: R² has no meaning")
    return Scores(float(np.sqrt(squared.mean())), float(1.0 - squared.sum() / spread))
