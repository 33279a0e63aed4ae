"""Risk signals: how much a forecast of the range leaves room for, never from a model without skill, and their worth."""

import datetime as dt
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from streamlake_assets.errors import UsageError
from streamlake_assets.market.forecasts import BASELINE_ENGINE, Forecast
from streamlake_assets.market.risk_signals import (
    improvement,
    parkinson_volatility,
    position_size,
    qlike,
    realised_utility,
    risk_misses,
    risk_quality,
    risk_signals_from,
)
from streamlake_assets.market.signals import DISCLAIMER
from streamlake_assets.market.targets import Target

PARKINSON = math.sqrt(4 * math.log(2))
WIDE = Forecast(
    symbol="AAA",
    exchange="XNYS",
    target=Target.LOG_RANGE,
    session=dt.date(2013, 1, 15),
    after_session=dt.date(2013, 1, 14),
    model_version="m-1",
    engine="sklearn",
    point=0.04,
    low=0.02,
    high=0.06,
    baseline=0.03,
    scale=0.03,
    has_skill=True,
)


def test_the_volatility_of_a_random_walk_is_found_in_its_ranges() -> None:
    steps = np.random.default_rng(0).normal(0, 0.02 / math.sqrt(1000), (3000, 1000))
    paths = np.concatenate([np.zeros((3000, 1)), np.cumsum(steps, axis=1)], axis=1)
    ranges = paths.max(axis=1) - paths.min(axis=1)
    # seen at 1,000 points a path is narrower than it is, by a few per cent
    assert parkinson_volatility(np.sqrt(np.mean(ranges**2))) == pytest.approx(0.02, rel=0.05)
    # what the module says of a mean: 4 % below the root of the mean square
    assert np.mean(ranges) / np.sqrt(np.mean(ranges**2)) == pytest.approx(0.958, abs=0.005)


def test_a_size_by_hand() -> None:
    sizes = position_size(PARKINSON * np.array([0.02, 0.01, 0.005]), target=0.01)
    assert_allclose(sizes, [0.5, 1, 1])
    assert_allclose(position_size(PARKINSON * np.array([0.005, 0.001]), target=0.01, largest=3), [2, 3])
    assert_allclose(position_size(np.zeros(1)), [1]), "a range of nothing is no leave to be infinite"


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20), st.floats(0.001, 0.1), st.floats(0.1, 3))
def test_a_wider_range_never_gives_a_larger_size_and_the_cap_holds(
    ranges: list[float], target: float, largest: float
) -> None:
    sizes = position_size(np.sort(np.array(ranges)), target=target, largest=largest)
    assert (np.diff(sizes) <= 0).all()
    assert ((sizes > 0) & (sizes <= largest)).all()


@pytest.mark.parametrize(("target", "largest"), [(0, 1), (-0.01, 1), (0.01, 0), (math.nan, 1), (0.01, math.inf)])
def test_a_target_or_cap_that_cannot_be_is_refused(target: float, largest: float) -> None:
    with pytest.raises(UsageError, match="must be positive"):
        position_size(np.ones(1), target=target, largest=largest)


@pytest.mark.parametrize("bad", [-0.01, math.nan, math.inf])
def test_a_forecast_that_is_no_range_is_refused(bad: float) -> None:
    with pytest.raises(UsageError, match="finite and not negative"):
        position_size(np.array([bad]))


def test_a_risk_signal_says_how_much_and_why() -> None:
    report = risk_signals_from([WIDE, msgspec.structs.replace(WIDE, symbol="BBB", point=0.01)], target=0.01)
    wide, narrow = report.signals
    assert wide.size == pytest.approx(0.01 / (0.04 / PARKINSON))
    assert wide.volatility == pytest.approx(0.04 / PARKINSON)
    assert (wide.symbol, wide.session, wide.model_version) == ("AAA", dt.date(2013, 1, 15), "m-1")
    assert "range of 4.00%" in wide.reason
    assert "42% of a full position" in wide.reason
    assert wide.disclaimer == DISCLAIMER
    assert narrow.size == 1
    assert report.reason.startswith("1 of 2 positions are smaller than 100%")
    assert DISCLAIMER in report.reason


@pytest.mark.parametrize("change", [{"has_skill": False}, {"engine": BASELINE_ENGINE}])
def test_no_skill_and_version_zero_give_no_risk_signal(change: dict[str, object]) -> None:
    report = risk_signals_from([msgspec.structs.replace(WIDE, **change)])
    assert report.signals == ()
    assert "no model of the range has shown skill" in report.reason


def test_a_forecast_of_the_return_gives_no_risk_signal() -> None:
    report = risk_signals_from([msgspec.structs.replace(WIDE, target=Target.ADJUSTED_RETURN, point=-0.02)])
    assert report.signals == ()
    assert "no forecast of the range" in report.reason
    assert risk_signals_from([]).signals == ()


def test_losses_by_hand() -> None:
    realised, forecast = np.array([0.02, 0.02, 0.02]), np.array([0.02, 0.01, 0.04])
    assert_allclose(qlike(realised, forecast), [0, 4 - math.log(4) - 1, 0.25 + math.log(4) - 1], atol=1e-15)
    assert_allclose(realised_utility(realised, forecast), [0.04, 0.08 * (2 - 2), 0.08 * (0.5 - 0.125)])
    assert np.isfinite(qlike(np.zeros(1), np.zeros(1))).all()
    assert (qlike(np.zeros(1), np.full(1, 0.02)) > 5).all(), "a session without movement was forecast badly"


@given(st.floats(0.001, 0.5), st.floats(0.001, 0.5))
def test_the_truth_is_the_best_forecast(realised: float, forecast: float) -> None:
    row, said = np.array([realised]), np.array([forecast])
    assert qlike(row, said)[0] >= -1e-12
    assert realised_utility(row, said)[0] <= 0.04 + 1e-12


def test_the_quality_of_sizes_by_hand() -> None:
    realised = PARKINSON * np.array([0.01, 0.03])
    sizes = np.array([1.0, 0.5])
    assert_allclose(risk_misses(realised, sizes, 0.01), [0, 0.5], atol=1e-12)
    found = risk_quality(realised, realised, sizes, 0.01)
    assert_allclose(found, (0.75, 0.25, 0.0025 / 0.0125, 0, 0.04), atol=1e-12)


def test_an_improvement_is_sure_when_it_is_there_and_not_when_it_is_not() -> None:
    rng = np.random.default_rng(5)
    sessions = np.repeat(np.arange(600), 2)
    level = 0.02 * np.exp(np.repeat(rng.normal(0, 0.5, 600), 2))
    realised = level * np.exp(rng.normal(0, 0.3, 1200))
    baseline, noise = np.full(1200, realised.mean()), np.exp(rng.normal(0, 0.02, 1200))
    better = improvement(sessions, qlike(realised, level), qlike(realised, baseline), seed=0)
    assert better.is_sure
    assert better.low < better.share < better.high < 1
    same = improvement(sessions, qlike(realised, baseline * noise), qlike(realised, baseline), seed=0)
    assert not same.is_sure
