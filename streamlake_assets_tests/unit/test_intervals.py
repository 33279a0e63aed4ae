"""Intervals: from errors known by then, near their coverage, counted by calendar quarter."""

import datetime as dt

import numpy as np
import pytest

from streamlake_assets.errors import UsageError
from streamlake_assets.market.intervals import measure_coverage, rolling_intervals, serving_quantile
from streamlake_assets.market.series import ordinal
from streamlake_assets.market.skill import conformal_quantile
from streamlake_assets.market.targets import Target
from streamlake_assets_tests.made_frames import (
    folds_over,
    least_squares,
    made_frame,
    noise_frame,
    real_frame,
    with_truth,
)

RETURN, RANGE = Target.ADJUSTED_RETURN, Target.LOG_RANGE


def day(year: int, month: int, number: int) -> int:
    return ordinal(dt.date(year, month, number))


def test_the_half_width_is_the_conformal_rank_of_errors_known_by_then() -> None:
    frame = noise_frame(60, 3, seed=1, scale=0.5)
    rows, forecast = np.arange(180), np.full(180, 0.9)
    low, high = rolling_intervals(frame, RETURN, rows, forecast, warm_up=10, adapt=0.0)
    errors = (frame.y[RETURN] - forecast) / 0.5
    assert np.isnan(low[:30]).all()
    for row in (30, 31, 100, 179):
        known = frame.target_sessions <= frame.sessions[row]
        assert high[row] == pytest.approx(0.9 + 0.5 * conformal_quantile(errors[known], 0.9))
        assert low[row] == pytest.approx(1.8 - high[row])
    _, windowed = rolling_intervals(frame, RETURN, rows, forecast, window_dates=20, warm_up=10, adapt=0.0)
    for row in range(90, 180, 3):
        newest = errors[row - 60 : row]  # 20 dates of 3 instruments
        assert windowed[row] == pytest.approx(0.9 + 0.5 * conformal_quantile(newest, 0.9))


def test_an_error_counts_only_once_its_target_session_has_settled() -> None:
    """The large error of day 1 comes true on day 9, of an instrument that skips sessions in between."""
    days = list(range(1, 15))
    frame = made_frame(days, [0] * 14, [9.0] + [1.0] * 13, targets=[9, *(d + 1 for d in days[1:])])
    _, high = rolling_intervals(frame, RETURN, np.arange(14), np.zeros(14), 0.8, warm_up=5, adapt=0.0)
    # on day 9 its error is the largest of 8 and the rank is ceil(9 * 0.8) = 8
    np.testing.assert_array_equal(high[6:10], [1, 1, 9, 1])


def test_too_few_errors_for_the_level_give_no_interval() -> None:
    frame = noise_frame(12, 1, seed=0)
    low, _ = rolling_intervals(frame, RETURN, np.arange(12), np.zeros(12), warm_up=1, adapt=0.0)
    assert np.isnan(low).tolist() == [True] * 9 + [False] * 3
    with pytest.raises(UsageError, match="8 errors out of fold are too few"):
        serving_quantile(frame, RETURN, np.arange(8), np.zeros(8), warm_up=1, adapt=0.0)


@pytest.mark.parametrize("adapt", [0.0, 0.01])
@pytest.mark.parametrize("window", [None, 100])
def test_exchangeable_noise_is_covered(window: int | None, adapt: float) -> None:
    frame = noise_frame(800, 4, seed=2)
    rows, forecast = np.arange(3200), np.ones(3200)
    low, high = rolling_intervals(frame, RETURN, rows, forecast, window_dates=window, adapt=adapt)
    found = measure_coverage(frame.target_sessions, frame.y[RETURN], low, high)
    # four standard deviations of a share of 0.9 in 2,948
    assert found.share == pytest.approx(0.9, abs=4 * np.sqrt(0.09 / found.rows))
    assert found.without_interval == 63 * 4


def test_an_adaptive_level_follows_errors_that_grow() -> None:
    frame = noise_frame(600, 4, seed=3)
    growing = with_truth(frame, 1 + (frame.y[RETURN] - 1) * np.repeat(np.linspace(1, 4, 600), 4))
    shares = []
    for adapt in (0.0, 0.01):
        low, high = rolling_intervals(growing, RETURN, np.arange(2400), np.ones(2400), adapt=adapt)
        shares.append(measure_coverage(growing.target_sessions, growing.y[RETURN], low, high).share)
    assert shares[0] < 0.85
    assert shares[1] == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("target", Target)
def test_later_truths_never_move_an_earlier_interval(target: Target) -> None:
    frame = noise_frame(150, 3, seed=4)
    rows, forecast = np.arange(450), np.ones(450)
    low, high = rolling_intervals(frame, target, rows, forecast)
    for cut in frame.sessions[[200, 300, 449]]:
        unknown = frame.sessions >= cut
        later = with_truth(frame, np.where(unknown, 50.0, frame.y[target]))
        new_low, new_high = rolling_intervals(later, target, rows, forecast)
        issued = frame.sessions <= cut
        np.testing.assert_array_equal(new_low[issued], low[issued])
        np.testing.assert_array_equal(new_high[issued], high[issued])
        assert cut == frame.sessions[449] or (new_high[frame.sessions > cut + 1] > high[frame.sessions > cut + 1]).any()


@pytest.mark.parametrize(("window", "adapt"), [(None, 0.0), (40, 0.0), (None, 0.05)])
def test_serving_takes_what_the_next_date_would_get(window: int | None, adapt: float) -> None:
    frame = noise_frame(120, 2, seed=5, scale=0.2)
    rows, forecast = np.arange(240), np.ones(240)
    _, high = rolling_intervals(frame, RETURN, rows, forecast, window_dates=window, adapt=adapt)
    for count in (180, 238):
        served = serving_quantile(frame, RETURN, rows[:count], forecast[:count], window_dates=window, adapt=adapt)
        assert 1 + 0.2 * served == pytest.approx(high[count], rel=1e-12)


def test_the_order_of_the_rows_changes_nothing() -> None:
    frame = noise_frame(100, 3, seed=6)
    rows, forecast = np.arange(20, 300), np.linspace(0.5, 1.5, 280)
    low, high = rolling_intervals(frame, RETURN, rows, forecast)
    shuffled = np.random.default_rng(0).permutation(280)
    new_low, new_high = rolling_intervals(frame, RETURN, rows[shuffled], forecast[shuffled])
    np.testing.assert_array_equal(new_low, low[shuffled])
    np.testing.assert_array_equal(new_high, high[shuffled])


def test_the_interval_of_a_range_never_begins_below_zero() -> None:
    frame = noise_frame(100, 2, seed=7)
    rows, forecast = np.arange(200), np.full(200, 0.1)
    below, _ = rolling_intervals(frame, RETURN, rows, forecast)
    cut, _ = rolling_intervals(frame, RANGE, rows, forecast)
    assert np.nanmin(below) < 0
    assert np.nanmin(cut) == 0


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        ([0, 0], {}),
        ([], {}),
        ([0, 1], {"coverage": 1.0}),
        ([0, 1], {"adapt": -0.1}),
        ([0, 1], {"warm_up": 0}),
        ([0, 1], {"window_dates": 0}),
    ],
)
def test_senseless_arguments_are_refused(rows: list[int], options: dict[str, float]) -> None:
    frame = noise_frame(10, 1, seed=0)
    with pytest.raises(UsageError, match="intervals need"):
        rolling_intervals(frame, RETURN, np.array(rows, dtype=np.int64), np.zeros(len(rows)), **options)  # type: ignore[arg-type]


def test_a_forecast_that_is_not_a_number_has_no_interval() -> None:
    with pytest.raises(UsageError, match="finite"):
        rolling_intervals(noise_frame(10, 1, seed=0), RETURN, np.arange(2), np.array([1.0, np.nan]))


def test_coverage_by_hand() -> None:
    sessions = np.array([day(2007, 12, 31), day(2008, 1, 2), day(2008, 3, 31), day(2008, 4, 1), day(2008, 4, 1)])
    truth = np.array([0.0, 1.0, -1.0, 3.0, 0.5])
    low, high = np.array([np.nan, -1, -1, -1, -1]), np.array([np.nan, 1, 1, 1, 1])
    found = measure_coverage(sessions, truth, low, high)
    assert [(q.quarter, q.dates, q.rows, q.covered, q.share, q.is_full) for q in found.quarters] == [
        ("2008Q1", 2, 2, 2, 1.0, False),
        ("2008Q2", 1, 2, 1, 0.5, False),
    ]
    assert (found.rows, found.without_interval, found.covered, found.share) == (4, 1, 3, 0.75)
    assert (found.full_quarters, found.in_goal) == (0, None)
    # the width, 2, and twenty times the distance of the one outside, 2, shared by four
    assert (found.mean_width, found.interval_score) == (2, pytest.approx(2 + 20 * 2 / 4))


def test_quarters_within_the_goal_are_counted_with_both_limits() -> None:
    starts = [day(2008, 1, 1), day(2008, 4, 1), day(2008, 7, 1), day(2008, 10, 1)]
    sessions = np.concatenate([np.repeat(start + np.arange(50), 2) for start in starts])
    truth = np.zeros(400)
    for quarter, missed in enumerate((5, 15, 16, 4)):
        truth[100 * quarter : 100 * quarter + missed] = 9.0
    found = measure_coverage(sessions, truth, np.full(400, -1.0), np.full(400, 1.0))
    assert [q.share for q in found.quarters] == [0.95, 0.85, 0.84, 0.96]
    assert (found.full_quarters, found.in_goal) == (4, 0.5)


def test_broken_intervals_are_refused() -> None:
    sessions, truth, ends = np.arange(3), np.zeros(3), np.ones(3)
    for low, high in ((np.array([np.nan, 0, 0]), ends), (2 * ends, ends)):
        with pytest.raises(UsageError, match="both ends"):
            measure_coverage(sessions, truth, low, high)
    with pytest.raises(UsageError, match="no row has an interval"):
        measure_coverage(sessions, truth, np.nan * ends, np.nan * ends)


@pytest.mark.parametrize("target", Target)
def test_the_default_holds_the_quarters_of_the_real_bars_at_least_as_well_as_a_fixed_level(target: Target) -> None:
    frame = real_frame()
    rows, forecast = least_squares(frame, folds_over(frame), target)
    found = []
    for options in ({}, {"adapt": 0.0}):
        low, high = rolling_intervals(frame, target, rows, forecast, **options)  # type: ignore[arg-type]
        found.append(measure_coverage(frame.target_sessions[rows], frame.y[target][rows], low, high))
    default, fixed = found
    assert default.full_quarters == 45
    assert default.share == pytest.approx(0.9, abs=0.002)
    assert default.in_goal is not None
    assert fixed.in_goal is not None
    assert default.in_goal >= max(fixed.in_goal, 0.95)
    assert default.interval_score < 1.01 * fixed.interval_score
