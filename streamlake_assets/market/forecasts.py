"""Forecasts of the next session and their scores: frozen before the session is known, judged after.

Belongs here: the two records, how a model issues one, how the truth scores it. Stays out: fitting and loading models
(``learning``), the ledger (``stores``), signals (``signals``). Importing it loads no numerical library; issuing does.
"""

import datetime as dt
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from streamlake_assets.errors import UsageError
from streamlake_assets.market.targets import Target

if TYPE_CHECKING:
    from streamlake_assets.market.features import FeatureMatrix
    from streamlake_assets.market.series import FloatArray, SessionSeries

COVERAGE = 0.9
"""Share of sessions that should fall inside a forecast's interval."""
BASELINE_ENGINE = "baseline"
"""Engine of version 0, which forecasts the target's baseline."""


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """One forecast: of ``target`` for ``session``, made after ``after_session`` had settled; values in natural units.

    ``baseline`` is what the target's baseline says for the same session, so that live skill can be computed from the
    ledger alone. ``scale`` is the trailing scale the interval was stretched by. ``has_skill`` is what the gate said of
    the model when it was trained; version 0 never has it.
    """

    symbol: str
    exchange: str
    target: Target
    session: dt.date
    after_session: dt.date
    model_version: str
    engine: str
    point: float
    low: float
    high: float
    baseline: float
    scale: float
    has_skill: bool
    coverage: float = COVERAGE

    @property
    def is_version_zero(self) -> bool:
        """Whether this is the baseline speaking."""
        return self.engine == BASELINE_ENGINE


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """What a forecast was worth once its session had settled; errors are truth minus forecast, in natural units.

    ``direction_hit`` is None where the target, the forecast or the truth has no direction.
    """

    symbol: str
    exchange: str
    target: Target
    session: dt.date
    model_version: str
    realised: float
    error: float
    squared_error: float
    baseline_error: float
    baseline_squared_error: float
    covered: bool
    direction_hit: bool | None


class Forecaster(Protocol):
    """A fitted model that is ready to serve; ``learning.serve`` provides it.

    ``predict`` takes rows of ``features`` and answers in model units, that is divided by the target's scale.
    ``quantile`` is the conformal half width of the interval in the same units.
    """

    @property
    def target(self) -> Target:
        """Target it was fitted on."""
        ...

    @property
    def version(self) -> str:
        """Version of the model."""
        ...

    @property
    def engine(self) -> str:
        """Name of the engine that fitted it."""
        ...

    @property
    def features(self) -> Sequence[str]:
        """Names of its features, in order."""
        ...

    @property
    def quantile(self) -> float:
        """Half width of the interval in model units."""
        ...

    @property
    def has_skill(self) -> bool:
        """Whether it passed the gate."""
        ...

    @property
    def min_history(self) -> int:
        """Sessions an instrument needs before it is forecast."""
        ...

    def predict(self, x: "FloatArray") -> "FloatArray":
        """Predict n rows (n by features), in model units."""
        ...


def issue(model: Forecaster, series: "SessionSeries", next_session: dt.date) -> Forecast:
    """Forecast the next session of one instrument from its settled sessions.

    Raises:
        UsageError: the session is not after the newest known one, the history is too short, or a feature of the newest
            session is undefined (a price without logarithm, or no movement in the whole window).
    """
    import numpy as np

    from streamlake_assets.market.features import LOOKBACK, feature_matrix
    from streamlake_assets.market.frames import select_columns

    name, needed = series.instrument, max(model.min_history, LOOKBACK)
    if len(series) < needed:
        raise UsageError(f"{name}: {len(series)} settled sessions, a forecast needs {needed}")
    if next_session <= series.last_session:
        raise UsageError(f"{name}: {next_session} is not after {series.last_session}, the newest known session")
    matrix = feature_matrix(series.tail(LOOKBACK))
    x = select_columns(matrix.x[-1:], matrix.names, model.features)
    scale, baseline = float(matrix.scale[model.target][-1]), float(matrix.baseline[model.target][-1])
    if not (np.isfinite(x).all() and math.isfinite(scale)):
        raise UsageError(f"{name}: the features after {series.last_session} are undefined; no forecast")
    return _forecast(model, series, next_session, float(model.predict(x)[0]), scale, baseline)


def issue_together(
    model: Forecaster, series: "Sequence[SessionSeries]", next_sessions: Sequence[dt.date], newest: "FeatureMatrix"
) -> tuple[list[Forecast], list[str]]:
    """Forecast the next session of several instruments with one call of the model, as ``issue`` does each.

    Args:
        model: whose word it is.
        series: settled sessions, long enough for the model.
        next_sessions: of each series, after its newest session.
        newest: row i holds the features of the newest session of ``series[i]``.

    Returns:
        The forecasts, and for each instrument that has none the reason.
    """
    import numpy as np

    from streamlake_assets.market.frames import select_columns

    x = select_columns(newest.x, newest.names, model.features)
    scales, baselines = newest.scale[model.target], newest.baseline[model.target]
    defined = np.isfinite(x).all(axis=1) & np.isfinite(scales)
    predicted = np.full(len(series), np.nan)
    if defined.any():
        predicted[defined] = model.predict(x[defined])
    made: list[Forecast] = []
    passed_over: list[str] = []
    for row, (one, session) in enumerate(zip(series, next_sessions, strict=True)):
        if not defined[row]:
            passed_over.append(f"{one.instrument}: the features after {one.last_session} are undefined; no forecast")
            continue
        try:
            made.append(
                _forecast(model, one, session, float(predicted[row]), float(scales[row]), float(baselines[row]))
            )
        except UsageError as error:
            passed_over.append(str(error))
    return made, passed_over


def _forecast(
    model: Forecaster, series: "SessionSeries", session: dt.date, predicted: float, scale: float, baseline: float
) -> Forecast:
    point = model.target.feasible(predicted * scale)
    if not math.isfinite(point):
        raise UsageError(f"{series.instrument}: model {model.version} gave no finite forecast")
    half = model.quantile * scale
    return Forecast(
        symbol=series.symbol,
        exchange=series.exchange,
        target=model.target,
        session=session,
        after_session=series.last_session,
        model_version=model.version,
        engine=model.engine,
        point=point,
        low=model.target.feasible(point - half),
        high=point + half,
        baseline=baseline,
        scale=scale,
        has_skill=model.has_skill and model.engine != BASELINE_ENGINE,
    )


def realised(series: "SessionSeries", target: Target, session: dt.date) -> float:
    """Return what the target came to be in a settled session of the series.

    Raises:
        UsageError: the session is not in the series, or its value is undefined (the first session has no return).
    """
    from streamlake_assets.market.features import target_values

    known = series.until(session)
    if not len(known) or known.last_session != session:
        raise UsageError(f"{series.instrument}: session {session} is not settled yet")
    value = float(target_values(known.tail(2), target)[-1])
    if not math.isfinite(value):
        raise UsageError(f"{series.instrument}: {target} of {session} is undefined")
    return value


def score(forecast: Forecast, realised: float) -> Score:
    """Judge a forecast by the value its session came to have, in natural units.

    Raises:
        UsageError: the value is not finite.
    """
    if not math.isfinite(realised):
        raise UsageError(f"{forecast.symbol} {forecast.session}: {realised} cannot score a forecast")
    error, baseline_error = realised - forecast.point, realised - forecast.baseline
    directed = forecast.target.has_direction and realised != 0 and forecast.point != 0
    return Score(
        symbol=forecast.symbol,
        exchange=forecast.exchange,
        target=forecast.target,
        session=forecast.session,
        model_version=forecast.model_version,
        realised=realised,
        error=error,
        squared_error=error * error,
        baseline_error=baseline_error,
        baseline_squared_error=baseline_error * baseline_error,
        covered=forecast.low <= realised <= forecast.high,
        direction_hit=(realised > 0) == (forecast.point > 0) if directed else None,
    )
