"""The record of an evaluation: known answers, what must not change it, what is refused."""

import dataclasses
import datetime as dt
import json

import numpy as np
import pytest

from streamlake_assets.errors import UsageError
from streamlake_assets.learning.spec import WalkForwardPlan
from streamlake_assets.market.baselines import baseline_forecasts
from streamlake_assets.market.evaluation import Evaluation, evaluate, over_seeds
from streamlake_assets.market.frames import TrainingFrame
from streamlake_assets.market.intervals import rolling_intervals
from streamlake_assets.market.series import FloatArray, IntArray, from_ordinal
from streamlake_assets.market.skill import Fold
from streamlake_assets.market.targets import Target
from streamlake_assets_tests.made_frames import folds_over, least_squares, noise_frame, real_frame

RETURN, RANGE = Target.ADJUSTED_RETURN, Target.LOG_RANGE
PLAN = WalkForwardPlan(first_train=20, step=25, embargo=2)


def frame_folds_rows(seed: int = 0) -> tuple[TrainingFrame, list[Fold], IntArray]:
    frame = noise_frame(120, 5, seed=seed)
    folds = folds_over(frame, PLAN)
    return frame, folds, np.arange(100, 600)


def noisy(frame: TrainingFrame, rows: IntArray, seed: int = 9) -> FloatArray:
    made: FloatArray = frame.y[RETURN][rows] + np.random.default_rng(seed).normal(size=len(rows))
    return made


@pytest.mark.parametrize("target", Target)
def test_a_perfect_forecast(target: Target) -> None:
    frame, folds, rows = frame_folds_rows()
    found = evaluate(frame, target, rows, frame.y[target][rows], folds, seed=0)
    assert (found.rmse, found.mae, found.skill, found.low, found.high) == (0, 0, 1, 1, 1)
    assert all(baseline.skill == 1 for baseline in found.baselines)
    assert (found.ic.mean, found.ic.low, found.ic.high) == pytest.approx((1, 1, 1))
    assert found.ic.cross_section is not None
    assert (found.ic.cross_section.mean, found.ic.cross_section.dates) == (pytest.approx(1), 100)
    assert found.direction_accuracy == (1 if target is RETURN else None)
    assert all(fold.skill == 1 for fold in found.folds)
    assert found.clark_west is not None
    assert found.clark_west.p_value < 1e-6


@pytest.mark.parametrize("target", Target)
def test_the_baseline_as_a_forecast_has_no_skill_and_nothing_to_test(target: Target) -> None:
    frame, folds, rows = frame_folds_rows()
    found = evaluate(frame, target, rows, frame.baseline[target][rows], folds, seed=0)
    own = {baseline.name: baseline for baseline in found.baselines}["zero" if target is RETURN else "ewma"]
    assert (found.skill, own.skill, own.low, own.high) == (0, 0, 0, 0)
    assert (own.diebold_mariano, found.clark_west, found.ic.mean) == (None, None, None)
    assert own.rmse == found.rmse == found.baseline_rmse


def test_the_fold_table_by_hand() -> None:
    frame, folds, rows = frame_folds_rows()
    forecast = frame.y[RETURN][rows] + np.where(rows < 225, 3.0, -1.0)
    found = evaluate(frame, RETURN, rows, forecast, folds, seed=0)
    first = frame.sessions[0]
    assert [(f.number, f.first, f.last, f.train_rows, f.rows) for f in found.folds] == [
        (n, from_ordinal(first + 20 + 25 * n), from_ordinal(first + 44 + 25 * n), 5 * (18 + 25 * n), 125)
        for n in range(4)
    ]
    assert [(f.rmse, f.mae) for f in found.folds] == [pytest.approx((3, 3))] + [pytest.approx((1, 1))] * 3
    truth = frame.y[RETURN][100:225]
    assert found.folds[0].skill == pytest.approx(1 - 9 * 125 / (truth @ truth))
    assert found.rmse == pytest.approx(np.sqrt((9 + 3) / 4))
    assert found.mae == pytest.approx(1.5)
    assert (found.rows, found.dates) == (500, 100)


@pytest.mark.parametrize("target", Target)
def test_skill_stands_beside_every_baseline_the_strongest_first(target: Target) -> None:
    frame, folds, rows = frame_folds_rows()
    forecast = noisy(frame, rows)
    found = evaluate(frame, target, rows, forecast, folds, seed=0)
    made = baseline_forecasts(frame, folds, target)
    assert {b.name for b in found.baselines} == set(made)
    assert [b.rmse for b in found.baselines] == sorted(b.rmse for b in found.baselines)
    truth = frame.y[target][rows]
    for baseline in found.baselines:
        errors = truth - made[baseline.name][rows]
        assert baseline.skill == pytest.approx(1 - ((truth - forecast) ** 2).sum() / (errors @ errors))
        assert baseline.mae == pytest.approx(np.abs(errors).mean())
        assert baseline.low < baseline.skill < baseline.high


def test_the_order_of_the_rows_changes_nothing() -> None:
    frame, folds, rows = frame_folds_rows()
    forecast = noisy(frame, rows)
    low, high = rolling_intervals(frame, RETURN, rows, forecast, warm_up=10)
    shuffled = np.random.default_rng(1).permutation(len(rows))
    columns = [values[shuffled] for values in (rows, forecast)]
    ends = [values[shuffled] for values in (low, high)]
    straight = evaluate(frame, RETURN, rows, forecast, folds, low, high, seed=3)
    assert evaluate(frame, RETURN, *columns, folds, *ends, seed=3) == straight
    assert straight.coverage is not None
    assert straight.coverage.without_interval == 50


def test_the_record_is_plain() -> None:
    frame, folds, rows = frame_folds_rows()
    forecast = noisy(frame, rows)
    low, high = rolling_intervals(frame, RETURN, rows, forecast, warm_up=10)
    found = evaluate(frame, RETURN, rows, forecast, folds, low, high, seed=3)
    plain = found.to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert type(plain["target"]) is str
    assert plain["folds"][0]["first"] == found.folds[0].first.isoformat()
    assert dt.date.fromisoformat(plain["folds"][-1]["last"]) == found.folds[-1].last
    assert plain["coverage"]["quarters"][0]["rows"] > 0


def test_only_tested_rows_are_evaluated_and_each_once() -> None:
    frame, folds, rows = frame_folds_rows()
    with pytest.raises(UsageError, match="tested by a fold"):
        evaluate(frame, RETURN, rows - 1, np.zeros(500), folds, seed=0)
    twice = rows.copy()
    twice[1] = twice[0]
    with pytest.raises(UsageError, match="every row once"):
        evaluate(frame, RETURN, twice, np.zeros(500), folds, seed=0)


def test_incomplete_arguments_are_refused() -> None:
    frame, folds, rows = frame_folds_rows()
    with pytest.raises(UsageError, match="both ends"):
        evaluate(frame, RETURN, rows, np.ones(500), folds, low=np.zeros(500), seed=0)
    with pytest.raises(UsageError, match="one forecast a row"):
        evaluate(frame, RETURN, rows, np.ones(499), folds, seed=0)
    with pytest.raises(UsageError, match="finite"):
        evaluate(frame, RETURN, rows, np.full(500, np.nan), folds, seed=0)


def test_figures_over_seeds_by_hand() -> None:
    frame, folds, rows = frame_folds_rows()
    one = evaluate(frame, RETURN, rows, noisy(frame, rows), folds, seed=0)
    three = [dataclasses.replace(one, seed=seed, skill=skill) for seed, skill in enumerate((0.1, 0.2, 0.6))]
    found = over_seeds(three)
    assert (found["skill"].mean, found["skill"].deviation) == pytest.approx((0.3, np.sqrt(0.07)))
    assert found["skill"].seeds == 3
    assert found["ic"].deviation == 0
    assert set(found) == {
        *("rmse", "mae", "skill", "direction_accuracy", "ic", "clark_west"),
        *("skill_over_zero", "skill_over_drift", "skill_over_pooled_mean", "skill_over_seasonal"),
    }


def test_seeds_must_differ_and_the_rows_agree() -> None:
    frame, folds, rows = frame_folds_rows()
    one = evaluate(frame, RETURN, rows, noisy(frame, rows), folds, seed=0)
    for wrong in ([one], [one, one]):
        with pytest.raises(UsageError, match="each with its own seed"):
            over_seeds(wrong)
    with pytest.raises(UsageError, match="same target and rows"):
        over_seeds([one, dataclasses.replace(one, seed=1, rows=499)])


def real(target: Target) -> Evaluation:
    frame = real_frame()
    folds = folds_over(frame)
    rows, forecast = least_squares(frame, folds, target)
    return evaluate(frame, target, rows, forecast, folds, *rolling_intervals(frame, target, rows, forecast), seed=0)


def test_on_the_real_bars_the_range_is_forecast_better_than_by_every_naive_method() -> None:
    found = real(RANGE)
    assert len(found.folds) == 47
    assert all(baseline.low > 0 for baseline in found.baselines)
    assert found.clark_west is not None
    assert found.clark_west.p_value < 1e-3
    weakest = found.baselines[-1]
    assert weakest.name == "persistence"
    assert weakest.skill > 5 * found.skill  # which is why skill is never told without its baseline


def test_on_the_real_bars_nothing_is_known_of_the_return() -> None:
    found = real(RETURN)
    assert found.low < 0 < found.high
    assert found.clark_west is not None
    assert found.clark_west.p_value > 0.05
    assert found.ic.low is not None
    assert found.ic.high is not None
    assert found.ic.low < 0 < found.ic.high
