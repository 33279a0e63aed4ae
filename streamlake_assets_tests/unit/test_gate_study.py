"""The study of the gate judges as the pipeline does, and its figures come out as theory says."""

import datetime as dt
from typing import Any

import msgspec
import numpy as np
import pytest

from streamlake_assets.learning.engines import engine
from streamlake_assets.learning.gate_study import (
    Market,
    edge_losses,
    frame_evidence,
    range_market,
    return_market,
    run_study,
    series_of,
    share,
    spending_crossed,
    walk_forward_losses,
)
from streamlake_assets.learning.spec import linear_spec
from streamlake_assets.learning.walk_forward import walk_forward
from streamlake_assets.market.frames import training_frame
from streamlake_assets.market.gate import date_losses, log_e_paths
from streamlake_assets.market.targets import Target
from streamlake_assets_tests.series_data import bokeh_series, planted_range, random_walks


@pytest.fixture(scope="module")
def study() -> dict[str, Any]:
    return run_study("quick", seed=1)


@pytest.mark.parametrize("target", list(Target))
def test_many_walks_at_once_are_walked_forward_as_one_frame_is(target: Target) -> None:
    """The last of three walks has the losses that the pipeline's own walk-forward gives for it."""
    spec = linear_spec(target, "sklearn")
    made = return_market(np.random.default_rng(1), 3, 1, 500, ic=0.1)
    (losses,) = walk_forward_losses(made, [spec], np.random.default_rng(2))
    series = series_of(made, np.random.default_rng(2)).tail(500)
    frame = training_frame([series], None, spec.min_history)
    found = walk_forward(spec, engine("sklearn"), frame)
    rows = found.rows
    expected = date_losses(
        frame.sessions[rows],
        frame.y[target][rows],
        found.forecast,
        frame.baseline[target][rows],
        frame.scale[target][rows],
    )
    np.testing.assert_allclose(losses[-1].model, expected.model, rtol=1e-7)
    np.testing.assert_allclose(losses[-1].baseline, expected.baseline, rtol=1e-7)


def test_instruments_of_a_date_are_pooled() -> None:
    """Two copies of one instrument learn what one learns and lose, on average, what one loses."""
    spec = msgspec.structs.replace(linear_spec(Target.LOG_RANGE, "sklearn"), features=("range_1", "range_5"))
    one = range_market(np.random.default_rng(3), 1, 1, 500)
    two = Market(np.repeat(one.returns, 2, axis=1), np.repeat(one.ranges, 2, axis=1))
    ((single,),) = walk_forward_losses(one, [spec], np.random.default_rng(4))
    ((double,),) = walk_forward_losses(two, [spec], np.random.default_rng(4))
    np.testing.assert_allclose(double.model, single.model, rtol=1e-8)


def test_planted_returns_carry_over_by_the_planted_share() -> None:
    made = return_market(np.random.default_rng(5), 20, 5, 2000, ic=0.1).returns
    assert np.corrcoef(made[:, :, 1:].ravel(), made[:, :, :-1].ravel())[0, 1] == pytest.approx(0.1, abs=0.01)
    assert np.corrcoef(made[:, 0].ravel(), made[:, 1].ravel())[0, 1] == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize("noise", ["normal", "heavy", "crash"])
def test_the_edge_has_no_skill_at_all(noise: str) -> None:
    model, baseline = edge_losses(np.random.default_rng(6), noise, 400, 1000)
    difference = baseline - model
    assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(difference.size)
    assert np.mean((log_e_paths(difference) >= np.log(20)).any(axis=0)) <= 0.05


def test_alpha_spending_holds_its_level_over_its_horizon_and_uses_it() -> None:
    rng = np.random.default_rng(7)
    crossed = spending_crossed(rng.normal(size=(1000, 4000)))
    assert 0.035 < crossed[-1].mean() < 0.06
    assert crossed[250].mean() < 0.005, "almost nothing is spent in the first quarter"


def test_a_share_has_the_interval_of_wilson() -> None:
    found = share(0, 2000)
    assert (found["low"], found["high"]) == (0.0, pytest.approx(0.00192, abs=1e-5))
    assert share(10, 20)["low"] == pytest.approx(0.2993, abs=1e-4)


def test_noise_is_not_promoted_and_the_planted_range_is_found(study: dict[str, Any]) -> None:
    assert study["random_walks"]["in_1250_daily_looks"]["share"] <= 0.05
    assert study["random_walks"]["mean_skill"] < 0
    assert study["planted_range"]["by_dates"]["500"]["share"] >= 0.75
    assert study["decay"]["0.13 to -0.13"]["alarm_in_the_next_1000_dates"]["share"] >= 0.8


def test_more_signal_and_more_dates_are_found_more_often(study: dict[str, Any]) -> None:
    for part in ("power_5_instruments", "power_50_instruments"):
        strong, weak = study[part]["0.1"], study[part]["0.02"]
        assert strong["mean_skill"] > weak["mean_skill"]
        hits = [found["hits"] for found in strong["by_dates"].values()]
        assert hits == sorted(hits)


def test_a_frame_is_judged_by_target_and_spec() -> None:
    specs = [linear_spec(target, "sklearn") for target in Target]
    noise = frame_evidence(training_frame(random_walks(700, 8, instruments=2), None, 63), specs)
    assert all(found["first_passed_after_dates"] is None for found in noise.values())
    planted = frame_evidence(training_frame([planted_range(900, 9)], None, 63), specs)
    assert planted["log_range_linear|sklearn"]["first_passed_after_dates"] is not None
    assert planted["adjusted_return_linear|sklearn"]["first_passed_after_dates"] is None


def test_of_the_real_bars_the_range_passes_and_the_return_does_not() -> None:
    frame = training_frame(bokeh_series(), dt.date(2012, 12, 3), 63)
    found = frame_evidence(frame, [linear_spec(target, "sklearn") for target in Target])
    ranges, returns = found["log_range_linear|sklearn"], found["adjusted_return_linear|sklearn"]
    assert ranges["dates"] == returns["dates"] == 2895
    assert ranges["log_e"] > np.log(1e6)
    assert not ranges["decay_alarm"]
    assert returns["log_e"] < 0
    assert returns["first_passed_after_dates"] is None
