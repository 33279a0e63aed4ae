"""Signals: only from skill, only where the interval clears the cost, and always with a reason."""

import datetime as dt
import math

import msgspec
import pytest

from streamlake_assets.errors import UsageError
from streamlake_assets.market.forecasts import BASELINE_ENGINE, Forecast
from streamlake_assets.market.signals import DISCLAIMER, NOT_ACTIONABLE, Action, action_of, is_actionable, signals_from
from streamlake_assets.market.targets import Target

UP = Forecast(
    symbol="AAA",
    exchange="XNYS",
    target=Target.ADJUSTED_RETURN,
    session=dt.date(2013, 1, 15),
    after_session=dt.date(2013, 1, 14),
    model_version="m-1",
    engine="sklearn",
    point=0.02,
    low=0.005,
    high=0.035,
    baseline=0.0,
    scale=0.01,
    has_skill=True,
)


@pytest.mark.parametrize(
    ("low", "high", "action"),
    [
        (0.005, 0.03, Action.BUY),
        (-0.03, -0.005, Action.SELL),
        (-0.01, 0.03, Action.HOLD),
        (0.0005, 0.03, Action.HOLD),
        (-0.03, -0.0005, Action.HOLD),
    ],
)
def test_a_signal_acts_only_when_the_interval_clears_the_cost(low: float, high: float, action: Action) -> None:
    report = signals_from([msgspec.structs.replace(UP, low=low, high=high)], cost=0.001)
    assert [s.action for s in report.signals] == [action]
    assert DISCLAIMER in report.reason


def test_no_skill_gives_no_signal_and_says_why() -> None:
    report = signals_from([msgspec.structs.replace(UP, has_skill=False)])
    assert report.signals == ()
    assert "no model of the return has shown skill" in report.reason


def test_version_zero_never_signals_even_if_a_record_claims_skill() -> None:
    assert signals_from([msgspec.structs.replace(UP, engine=BASELINE_ENGINE)]).signals == ()


def test_a_forecast_of_the_range_gives_no_signal() -> None:
    report = signals_from([msgspec.structs.replace(UP, target=Target.LOG_RANGE)])
    assert report.signals == ()
    assert "no forecast of the return" in report.reason


def test_a_negative_cost_is_refused() -> None:
    with pytest.raises(UsageError):
        signals_from([UP], cost=-0.01)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"has_skill": False}, False),
        ({"engine": BASELINE_ENGINE}, False),
        ({"engine": BASELINE_ENGINE, "has_skill": False}, False),
    ],
)
def test_only_skill_that_is_not_the_baseline_s_is_actionable(changes: dict[str, object], expected: bool) -> None:
    forecast = msgspec.structs.replace(UP, **changes)
    assert is_actionable(forecast) is expected
    assert len(signals_from([forecast]).signals) == expected


def test_an_interval_that_only_touches_the_cost_does_not_clear_it() -> None:
    assert action_of(0.001, 0.02, 0.001) is action_of(-0.02, -0.001, 0.001) is Action.HOLD
    assert action_of(-math.inf, math.inf, 0.0) is Action.HOLD


def test_the_label_of_what_is_no_signal_says_so() -> None:
    assert "not actionable" in NOT_ACTIONABLE
    assert "no skill" in NOT_ACTIONABLE
