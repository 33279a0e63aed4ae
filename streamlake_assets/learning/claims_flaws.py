"""The mistakes of the systems examined, each made on purpose and measured: what it reports on bars it is given.

Belongs here: duplicates across a random split, the forecast scored against the value it had seen, price levels scored
by R2, predictors of the same bar. Stays out: the honest figures and the verdict (``claims``). Nothing here may be used
to judge a model of this project; every function returns a figure that is wrong in a known way, or the same figure with
the mistake taken out.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from streamlake_assets.learning.arima import first_forecast, recursion_forecasts, running_phi
from streamlake_assets.learning.claims_made import Bars
from streamlake_assets.learning.claims_stated import Fit
from streamlake_assets.market.series import FloatArray

SPLIT_SEED: Final = 42
"""Seed of the estimators as Kappa has it, and of the random split, whose seed it does not say."""
KAPPA_TREES: Final = 100
TEST_SHARE: Final = 0.2
LAGS: Final = 5
"""Closes of the past that the forest on levels sees."""


class OffByOne(NamedTuple):
    """ARIMA(1,1,0) scored as stored, aligned, and the last price repeated; RMSE in the unit of the closes."""

    stored_r2: float
    stored_rmse: float
    aligned_rmse: float
    persistence_rmse: float

    @property
    def times_too_good(self) -> float:
        """How many times smaller the error as stored is than the aligned one."""
        return self.aligned_rmse / self.stored_rmse


def kappa_regressions(trees: int = KAPPA_TREES) -> dict[str, Any]:
    """Return Kappa's three estimators, its hyper-parameters, not fitted; one core: sums keep their order."""
    from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor
    from sklearn.linear_model import LinearRegression

    return {
        "linear": LinearRegression(),
        "forest": RandomForestRegressor(n_estimators=trees, random_state=SPLIT_SEED),
        "boosting": GradientBoostingRegressor(n_estimators=100, learning_rate=0.1, random_state=SPLIT_SEED),
    }


def mllib_forest() -> Any:
    """Return scikit-learn's forest with the defaults of Spark MLlib's (20 trees of depth 5), not fitted."""
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor(n_estimators=20, max_depth=5, random_state=SPLIT_SEED)


def random_split(x: FloatArray, y: FloatArray, estimators: Mapping[str, Any], copies: int = 1) -> dict[str, Fit]:
    """Fit and score on a random split, every row present ``copies`` times, as after as many runs of an indexer.

    Args:
        x: n by k.
        y: n values.
        estimators: by name; they are fitted.
        copies: of each row; above 1 the copies of a row fall on both sides.
    """
    rows = np.tile(np.arange(len(y)), copies)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(rows))
    tested = round(len(rows) * TEST_SHARE)
    return _scores(x, y, rows[order[tested:]], rows[order[:tested]], estimators)


def ordered_split(x: FloatArray, y: FloatArray, estimators: Mapping[str, Any]) -> dict[str, Fit]:
    """Fit on the first rows and score on the last, each row once."""
    rows = np.arange(len(y))
    first = len(rows) - round(len(rows) * TEST_SHARE)
    return _scores(x, y, rows[:first], rows[first:], estimators)


def off_by_one(closes: FloatArray) -> OffByOne:
    """Score ARIMA(1,1,0), refit at each step, once as Factory-2 stores its forecasts and once as they were meant.

    As stored: the close of step t joins the history, the model forecasts what comes next, and that forecast is held
    against the close of step t, which it has just seen. The refit is by least squares over running sums.

    Args:
        closes: n prices, the first nine tenths known before the first forecast.
    """
    first = first_forecast(closes)
    truth = closes[first:]
    aligned = recursion_forecasts(closes, first, running_phi(closes, first))
    one_later = np.append(closes, np.nan)  # the step after the newest has no close yet, and needs none
    stored = recursion_forecasts(one_later, first + 1, running_phi(one_later, first + 1))
    return OffByOne(
        stored_r2=_score(truth, stored).r2,
        stored_rmse=float(np.sqrt(_score(truth, stored).mse)),
        aligned_rmse=float(np.sqrt(_score(truth, aligned).mse)),
        persistence_rmse=float(np.sqrt(_score(truth, closes[first - 1 : -1]).mse)),
    )


def copied_price(closes: FloatArray) -> Fit:
    """Score the close of the session before as a forecast of the level, on the last fifth."""
    first = len(closes) - round(len(closes) * TEST_SHARE)
    return _score(closes[first:], closes[first - 1 : -1])


def lagged_levels(closes: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the ``LAGS`` closes before each close (newest first), and the closes themselves."""
    columns = [closes[LAGS - lag : len(closes) - lag] for lag in range(1, LAGS + 1)]
    return np.column_stack(columns), closes[LAGS:]


def same_bar(bars: Bars) -> Fit:
    """Score a linear regression of the close on open, high and low of the same bar, on a random split."""
    from sklearn.linear_model import LinearRegression

    x = np.column_stack([bars.open, bars.high, bars.low])
    return random_split(x, bars.close, {"linear": LinearRegression()})["linear"]


def _scores(x: FloatArray, y: FloatArray, train: Any, test: Any, estimators: Mapping[str, Any]) -> dict[str, Fit]:
    found = {}
    for name, estimator in estimators.items():
        estimator.fit(x[train], y[train])
        found[name] = _score(y[test], estimator.predict(x[test]))
    return found


def _score(truth: FloatArray, made: FloatArray) -> Fit:
    """R2 against the mean of the test rows, the usual one, and the mean squared error."""
    squared = float(np.mean((truth - made) ** 2))
    return Fit(1 - squared / float(np.mean((truth - truth.mean()) ** 2)), squared)
