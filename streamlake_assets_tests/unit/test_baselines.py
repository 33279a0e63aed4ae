"""Naive forecasts: known answers, and nothing from after the row's session."""

import datetime as dt

import numpy as np
import pytest

from streamlake_assets.errors import UsageError
from streamlake_assets.learning.spec import WalkForwardPlan
from streamlake_assets.market.baselines import baseline_forecasts
from streamlake_assets.market.features import target_values
from streamlake_assets.market.frames import TrainingFrame, training_frame
from streamlake_assets.market.series import ordinal
from streamlake_assets.market.skill import Fold
from streamlake_assets.market.targets import Target
from streamlake_assets_tests.made_frames import folds_over, made_frame, noise_frame, with_truth
from streamlake_assets_tests.series_data import random_walks

MONDAY = ordinal(dt.date(2024, 1, 1))
PLAN = WalkForwardPlan(first_train=20, step=10, embargo=2)


def fold(train: list[int], test: list[int]) -> Fold:
    return Fold(train=np.array(train, dtype=np.int64), test=np.array(test, dtype=np.int64))


def two_instruments() -> TrainingFrame:
    return made_frame([1, 1, 2, 2, 3, 3], [0, 1, 0, 1, 0, 1], [1.0, 10.0, 3.0, 20.0, 8.0, 60.0])


def test_the_naive_returns_by_hand() -> None:
    made = baseline_forecasts(
        two_instruments(), [fold([0, 1], [2, 3]), fold([0, 1, 2, 3], [4, 5])], Target.ADJUSTED_RETURN
    )
    nan = np.nan
    np.testing.assert_array_equal(made["zero"], [nan, nan, 0, 0, 0, 0])
    np.testing.assert_array_equal(made["drift"], [nan, nan, 1, 10, 2, 15])
    np.testing.assert_array_equal(made["pooled_mean"], [nan, nan, 5.5, 5.5, 8.5, 8.5])
    assert list(made) == ["zero", "drift", "pooled_mean", "seasonal"]


def test_the_drift_of_an_instrument_without_a_past_is_zero() -> None:
    frame = made_frame([1, 2, 2], [0, 0, 1], [5.0, 6.0, 7.0])
    made = baseline_forecasts(frame, [fold([0], [1, 2])], Target.ADJUSTED_RETURN)
    np.testing.assert_array_equal(made["drift"], [np.nan, 5, 0])


def test_the_season_is_the_weekday_of_the_session_that_settled() -> None:
    sessions = [MONDAY, MONDAY + 1, MONDAY + 7, MONDAY + 8, MONDAY + 14, MONDAY + 15, MONDAY + 16]
    frame = made_frame(sessions, [0] * 7, [1.0, -4.0, 3.0, -6.0, 9.0, 9.0, 9.0])
    made = baseline_forecasts(frame, [fold([0, 1], [2, 3, 4, 5, 6])], Target.ADJUSTED_RETURN)
    np.testing.assert_array_equal(made["seasonal"][2:], [1, -4, 2, -5, 0])


def test_persistence_is_the_range_of_the_settled_session() -> None:
    series = random_walks(160, 4)
    frame = training_frame(series, None, 63)
    made = baseline_forecasts(frame, folds_over(frame, PLAN), Target.LOG_RANGE)
    tested = np.isfinite(made["persistence"])
    assert tested.sum() == 3 * (160 - 63 - 20)
    for number, one in enumerate(series):
        rows = tested & (frame.instrument == number)
        place = np.searchsorted(one.sessions, frame.sessions[rows])
        np.testing.assert_allclose(made["persistence"][rows], target_values(one, Target.LOG_RANGE)[place], rtol=1e-12)
    np.testing.assert_array_equal(made["ewma"][tested], frame.baseline[Target.LOG_RANGE][tested])


def test_har_finds_the_weights_that_made_the_ranges() -> None:
    frame = noise_frame(60, 2, seed=1)
    terms = frame.x @ np.array([0.4, 0.3, 0.2])
    scale = np.random.default_rng(5).uniform(0.5, 2.0, len(frame))
    levels = made_frame(
        frame.sessions.tolist(), frame.instrument.tolist(), (0.1 + terms * scale).tolist(), scale=scale, x=frame.x
    )
    in_units = with_truth(levels, (0.1 + terms) * scale)
    for truth, name, other in ((levels, "har", "har_scaled"), (in_units, "har_scaled", "har")):
        made = baseline_forecasts(truth, folds_over(truth, PLAN), Target.LOG_RANGE)
        tested = np.isfinite(made[name])
        np.testing.assert_allclose(made[name][tested], truth.y[Target.LOG_RANGE][tested], rtol=1e-9)
        assert np.abs(made[other] - truth.y[Target.LOG_RANGE])[tested].max() > 1e-3


def test_har_never_forecasts_a_negative_range() -> None:
    frame = noise_frame(60, 2, seed=2)
    falling = with_truth(frame, 0.2 - frame.x[:, 0])
    made = baseline_forecasts(falling, folds_over(falling, PLAN), Target.LOG_RANGE)
    assert np.nanmin(made["har"]) == 0
    assert np.nanmin(made["har_scaled"]) == 0


@pytest.mark.parametrize("target", Target)
def test_later_truths_never_move_an_earlier_forecast(target: Target) -> None:
    frame = noise_frame(90, 3, seed=3)
    folds = folds_over(frame, PLAN)
    before = baseline_forecasts(frame, folds, target)
    for cut in (frame.sessions[75], frame.sessions[150]):
        unknown = frame.sessions >= cut
        later = with_truth(frame, np.where(unknown, 7.0 - frame.y[target], frame.y[target]))
        after = baseline_forecasts(later, folds, target)
        for name, made in before.items():
            np.testing.assert_array_equal(after[name][frame.sessions <= cut], made[frame.sessions <= cut], err_msg=name)
        learning = {"drift", "seasonal", "pooled_mean", "har", "har_scaled"} & set(before)
        assert all(not np.array_equal(after[name], before[name], equal_nan=True) for name in learning)


def test_a_row_tested_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="fold 1 tests rows"):
        baseline_forecasts(two_instruments(), [fold([0], [2, 3]), fold([0], [3])], Target.ADJUSTED_RETURN)


@pytest.mark.parametrize(("target", "name"), [(Target.ADJUSTED_RETURN, "pooled_mean"), (Target.LOG_RANGE, "har")])
def test_a_fold_without_training_rows_is_said(target: Target, name: str) -> None:
    with pytest.raises(UsageError, match=f"baseline {name}: fold 0 has 0 training rows"):
        baseline_forecasts(two_instruments(), [fold([], [2, 3])], target)
