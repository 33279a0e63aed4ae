"""Forecasts: issued from the past alone, judged against their own baseline; importing them stays light."""

import dataclasses
import datetime as dt
import subprocess
import sys
from dataclasses import dataclass

import msgspec
import numpy as np
import pytest

from streamlake_assets.errors import UsageError
from streamlake_assets.market.features import LOOKBACK, feature_matrix
from streamlake_assets.market.forecasts import Forecast, issue, realised, score
from streamlake_assets.market.series import FloatArray, from_ordinal
from streamlake_assets.market.targets import Target
from streamlake_assets_tests.series_data import random_walk


@dataclass(frozen=True)
class Stub:
    """Answers with a fixed multiple of its first feature."""

    target: Target = Target.LOG_RANGE
    version: str = "m-1"
    engine: str = "stub"
    features: tuple[str, ...] = ("range_1",)
    quantile: float = 0.5
    has_skill: bool = True
    min_history: int = 63
    slope: float = 1.0

    def predict(self, x: FloatArray) -> FloatArray:
        return self.slope * x[:, 0]


SERIES = random_walk(100, 4)
NEXT = SERIES.last_session + dt.timedelta(days=3)


def test_a_forecast_says_what_it_knew_and_stretches_by_the_scale() -> None:
    forecast = issue(Stub(), SERIES, NEXT)
    level = feature_matrix(SERIES).scale[Target.LOG_RANGE][-1]
    today = np.log(SERIES.high[-1] / SERIES.low[-1])
    assert forecast.point == pytest.approx(today)
    assert forecast.high - forecast.point == pytest.approx(0.5 * level)
    assert forecast.baseline == forecast.scale == level
    assert (forecast.session, forecast.after_session) == (NEXT, SERIES.last_session)
    assert forecast.coverage == 0.9


def test_the_same_past_gives_the_same_forecast_whatever_is_stored_before_or_after() -> None:
    cut = SERIES.until(from_ordinal(SERIES.sessions[79]))
    following = from_ordinal(SERIES.sessions[80])
    longer = dataclasses.replace(Stub(), min_history=LOOKBACK)
    assert issue(longer, cut, following) == issue(longer, cut.tail(LOOKBACK + 2), following)


def test_a_range_is_never_forecast_below_zero() -> None:
    forecast = issue(Stub(slope=-1.0), SERIES, NEXT)
    assert (forecast.point, forecast.low) == (0, 0)
    assert issue(Stub(Target.ADJUSTED_RETURN, slope=-1.0), SERIES, NEXT).low < 0


def test_version_zero_never_claims_skill() -> None:
    forecast = issue(Stub(engine="baseline", has_skill=True), SERIES, NEXT)
    assert forecast.is_version_zero
    assert not forecast.has_skill


@pytest.mark.parametrize("session", [SERIES.last_session, SERIES.last_session - dt.timedelta(days=1)])
def test_a_known_session_cannot_be_forecast(session: dt.date) -> None:
    with pytest.raises(UsageError, match="is not after"):
        issue(Stub(), SERIES, session)


def test_a_short_history_is_not_forecast() -> None:
    with pytest.raises(UsageError, match="62 settled sessions, a forecast needs 63"):
        issue(Stub(), SERIES.tail(62), NEXT)


def test_undefined_features_are_not_forecast() -> None:
    low = SERIES.low.copy()
    low[-1] = 0.0
    with pytest.raises(UsageError, match="undefined"):
        issue(Stub(), dataclasses.replace(SERIES, low=low), NEXT)


def test_realised_is_the_sessions_own_value() -> None:
    session = from_ordinal(SERIES.sessions[50])
    assert realised(SERIES, Target.ADJUSTED_RETURN, session) == pytest.approx(
        np.log(SERIES.close[50] / SERIES.close[49])
    )
    with pytest.raises(UsageError, match="not settled yet"):
        realised(SERIES, Target.LOG_RANGE, NEXT)
    with pytest.raises(UsageError, match="undefined"):
        realised(SERIES, Target.ADJUSTED_RETURN, from_ordinal(SERIES.sessions[0]))


def forecast_of(target: Target, point: float, baseline: float) -> Forecast:
    return Forecast(
        symbol="AAA",
        exchange="XNYS",
        target=target,
        session=NEXT,
        after_session=SERIES.last_session,
        model_version="m-1",
        engine="stub",
        point=point,
        low=point - 0.02,
        high=point + 0.02,
        baseline=baseline,
        scale=0.02,
        has_skill=True,
    )


def test_a_score_compares_with_the_baseline_of_the_same_session() -> None:
    judged = score(forecast_of(Target.ADJUSTED_RETURN, 0.01, 0.0), -0.02)
    assert judged.error == pytest.approx(-0.03)
    assert judged.squared_error == pytest.approx(9e-4)
    assert judged.baseline_squared_error == pytest.approx(4e-4)
    assert judged.covered is False
    assert judged.direction_hit is False


def test_direction_counts_only_where_there_is_one() -> None:
    assert score(forecast_of(Target.ADJUSTED_RETURN, 0.01, 0.0), 0.005).direction_hit is True
    assert score(forecast_of(Target.ADJUSTED_RETURN, 0.0, 0.0), 0.005).direction_hit is None
    assert score(forecast_of(Target.ADJUSTED_RETURN, 0.01, 0.0), 0.0).direction_hit is None
    assert score(forecast_of(Target.LOG_RANGE, 0.01, 0.01), 0.005).direction_hit is None


def test_the_bounds_belong_to_the_interval() -> None:
    forecast = forecast_of(Target.ADJUSTED_RETURN, 0.01, 0.0)
    assert score(forecast, forecast.low).covered
    assert score(forecast, forecast.high).covered


def test_nothing_is_scored_by_a_missing_value() -> None:
    with pytest.raises(UsageError, match="cannot score"):
        score(forecast_of(Target.LOG_RANGE, 0.01, 0.01), float("nan"))


def test_a_forecast_survives_json() -> None:
    forecast = issue(Stub(), SERIES, NEXT)
    assert msgspec.json.decode(msgspec.json.encode(forecast), type=Forecast) == forecast


def test_importing_the_records_loads_no_numerical_library() -> None:
    code = (
        "import sys; import streamlake_assets.market.forecasts, streamlake_assets.market.signals, "
        "streamlake_assets.market.clock, streamlake_assets.market.calendars; "
        "print(sorted({'numpy', 'pandas', 'sklearn', 'exchange_calendars'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
