"""ARIMA(1,1,0) as a reference: one-step forecasts of a price, walk-forward, honestly aligned.

Belongs here: three ways to the same forecasts (refit at each step, one filter pass, running sums), what each costs, and
what the model is worth over repeating the last price. Stays out: the same model scored wrongly (``claims_flaws``).

Aligned means: the forecast of step t is made from the values before t, frozen, and only then is value t revealed.
The model is (y_t - y_{t-1}) = phi (y_{t-1} - y_{t-2}) + e_t, without drift (Box and Jenkins, 1970). Its forecast of
y_t is y_{t-1} + phi (y_{t-1} - y_{t-2}), so with phi known no filter is needed.
"""

import time
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from streamlake_assets.errors import UsageError
from streamlake_assets.market.series import FloatArray, IntArray
from streamlake_assets.market.skill import Skill, measure_skill

ORDER: Final = (1, 1, 0)
TRAIN_SHARE: Final = 0.9
MIN_TRAIN: Final = 30
"""Values below which phi is noise."""
MIN_STEPS: Final = 8
"""Forecasts below which an interval of the skill cannot be had."""


@dataclass(frozen=True)
class Method:
    """One way to the forecasts: seconds from the values to all forecasts, RMSE, and distance from the refit forecasts.

    Seconds are processor time: what else runs on the machine must not decide which way is quicker. ``refits`` says
    whether phi is estimated again at each step; ``most_apart`` is the largest absolute difference, in the unit of the
    values.
    """

    name: str
    refits: bool
    seconds: float
    rmse: float
    most_apart: float


@dataclass(frozen=True)
class ArimaComparison:
    """What each way costs and gives on one series; errors in the unit of its values.

    ``phi`` was estimated on the first ``train`` values in ``fit_seconds``, which the pass and the recursion need once
    and which is not in their ``seconds``.
    """

    train: int
    steps: int
    phi: float
    fit_seconds: float
    refit: Method
    filter_pass: Method
    recursion: Method
    least_squares: Method
    persistence_rmse: float

    @property
    def rmse_ratio(self) -> float:
        """RMSE of the filter pass over that of refit at each step."""
        return self.filter_pass.rmse / self.refit.rmse

    @property
    def speed_up(self) -> float:
        """How many times longer refit at each step takes than the filter pass, phi given."""
        return self.refit.seconds / self.filter_pass.seconds

    @property
    def speed_up_with_fit(self) -> float:
        """The same, the pass's one estimation of phi counted; bounded by the number of steps."""
        return self.refit.seconds / (self.filter_pass.seconds + self.fit_seconds)

    @property
    def skill(self) -> float:
        """1 - SSE / SSE of persistence, refit at each step."""
        return 1 - (self.refit.rmse / self.persistence_rmse) ** 2

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready plain values, the ratios included."""
        names = ("rmse_ratio", "speed_up", "speed_up_with_fit", "skill")
        return {**asdict(self), **{name: getattr(self, name) for name in names}}


def first_forecast(values: FloatArray, train_share: float = TRAIN_SHARE) -> int:
    """Return the index of the first value to forecast, after checking that the series can be forecast at all.

    Args:
        values: n values, oldest first.
        train_share: share of the values that are known before the first forecast.

    Raises:
        UsageError: not one row of finite values, too few before or after the split, or values that never vary in their
            steps (constant, or a straight line).
    """
    if values.ndim != 1 or not np.isfinite(values).all():
        raise UsageError("ARIMA needs one row of finite values: NaN and infinity have no forecast")
    if not 0 < train_share < 1:
        raise UsageError(f"the share of values to learn from is between 0 and 1, not {train_share:g}")
    first = int(len(values) * train_share)
    if first < MIN_TRAIN or len(values) - first < MIN_STEPS:
        raise UsageError(
            f"ARIMA needs {MIN_TRAIN} values to learn from and {MIN_STEPS} to forecast; "
            f"{len(values)} values give {first} and {len(values) - first}"
        )
    steps = np.diff(values[:first])
    if np.ptp(steps) <= 1e-12 * max(float(np.abs(values[:first]).max()), 1e-300):
        raise UsageError("ARIMA cannot learn from values that are constant or a straight line")
    return first


def fit_phi(values: FloatArray) -> tuple[float, float]:
    """Return phi and the variance of the errors by exact maximum likelihood (statsmodels).

    Raises:
        UsageError: the likelihood has no finite maximum for these values.
    """
    from statsmodels.tsa.arima.model import ARIMA

    unit = float(np.diff(values).std())  # the search for the maximum stops too early on steps of a thousandth
    phi, variance = (float(value) for value in ARIMA(values / unit, order=ORDER).fit().params)
    if not np.isfinite([phi, variance]).all():
        raise UsageError("ARIMA found no finite parameters for these values")
    return phi, variance * unit**2


def refit_forecasts(values: FloatArray, first: int) -> FloatArray:
    """Forecast each value from ``first`` on, with parameters estimated again on all values before it (statsmodels)."""
    from statsmodels.tsa.arima.model import ARIMA

    made = [float(ARIMA(values[:step], order=ORDER).fit().forecast(1)[0]) for step in range(first, len(values))]
    return np.array(made)


def filter_forecasts(values: FloatArray, first: int, phi: float, variance: float) -> FloatArray:
    """Forecast each value from ``first`` on by one pass of statsmodels' Kalman filter with given parameters."""
    from statsmodels.tsa.arima.model import ARIMA

    passed = ARIMA(values, order=ORDER).filter([phi, variance])
    out: FloatArray = np.asarray(passed.predict(first, len(values) - 1), dtype=np.float64)
    return out


def recursion_forecasts(values: FloatArray, first: int, phi: float | FloatArray) -> FloatArray:
    """Forecast each value from ``first`` on as y_{t-1} + phi (y_{t-1} - y_{t-2}).

    Args:
        values: n values, oldest first.
        first: index of the first forecast, 2 or more.
        phi: one number, or one for each of the n - first steps.
    """
    last, before = values[first - 1 : -1], values[first - 2 : -2]
    return last + phi * (last - before)


def running_phi(values: FloatArray, first: int) -> FloatArray:
    """Return, for each value from ``first`` on, the least-squares phi of all values before it, from running sums."""
    steps = np.diff(values)
    products = np.cumsum(steps[1:] * steps[:-1])
    squares = np.cumsum(steps[:-1] ** 2)
    known = np.arange(first, len(values)) - 3  # the newest product before value t ends in step t - 2
    return products[known] / squares[known]


def compare_arima(values: FloatArray, *, train_share: float = TRAIN_SHARE) -> ArimaComparison:
    """Forecast the last values of a series by every way, time each, and score all against the same truth.

    Refit at each step estimates the model once a step and takes nearly all of the time.

    Args:
        values: n prices or log prices, oldest first.
        train_share: share of the values known before the first forecast.

    Raises:
        UsageError: the series cannot be forecast (see ``first_forecast``).
    """
    first = first_forecast(values, train_share)
    truth = values[first:]
    fit_phi(values[:first])  # the library's import and first call are not what is timed
    started = time.process_time()
    phi, variance = fit_phi(values[:first])
    fitted = time.process_time()
    refit = refit_forecasts(values, first)
    refitted = time.process_time()
    passed = filter_forecasts(values, first, phi, variance)
    filtered = time.process_time()
    recursed = recursion_forecasts(values, first, phi)
    done = time.process_time()
    summed = recursion_forecasts(values, first, running_phi(values, first))
    ended = time.process_time()

    def method(name: str, made: FloatArray, seconds: float, refits: bool) -> Method:
        return Method(name, refits, seconds, _rmse(truth, made), float(np.abs(made - refit).max()))

    return ArimaComparison(
        train=first,
        steps=len(truth),
        phi=phi,
        fit_seconds=fitted - started,
        refit=method("refit at each step", refit, refitted - fitted, True),
        filter_pass=method("one filter pass", passed, filtered - refitted, False),
        recursion=method("recursion", recursed, done - filtered, False),
        least_squares=method("least squares by running sums", summed, ended - done, True),
        persistence_rmse=_rmse(truth, values[first - 1 : -1]),
    )


def return_forecasts(values: FloatArray, first: int) -> tuple[FloatArray, FloatArray]:
    """Return truth and aligned forecasts of the steps y_t - y_{t-1} from ``first`` on, phi learned before ``first``."""
    phi, _ = fit_phi(values[:first])
    last = values[first - 1 : -1]
    return values[first:] - last, recursion_forecasts(values, first, phi) - last


def return_skill(
    log_prices: FloatArray, sessions: IntArray, *, train_share: float = TRAIN_SHARE, seed: int = 0
) -> Skill:
    """Return the skill of ARIMA(1,1,0) on the log returns over zero, that is over persistence of the price.

    Args:
        log_prices: logarithm of adjusted closes, oldest first.
        sessions: their dates, days since 1970-01-01.
        train_share: share of the values known before the first forecast.
        seed: of the bootstrap.

    Raises:
        UsageError: the series cannot be forecast (see ``first_forecast``).
    """
    first = first_forecast(log_prices, train_share)
    truth, made = return_forecasts(log_prices, first)
    return measure_skill(sessions[first:], truth, made, np.zeros(len(truth)), directional=True, seed=seed)


def _rmse(truth: FloatArray, made: FloatArray) -> float:
    return float(np.sqrt(np.mean((truth - made) ** 2)))
