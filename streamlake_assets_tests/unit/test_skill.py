"""Skill: folds by whole dates with purge, an interval that covers, a gate that noise does not open."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlake_assets.errors import UsageError
from streamlake_assets.market.skill import bootstrap_interval, conformal_quantile, measure_skill, walk_forward_folds


@given(
    seed=st.integers(0, 1000),
    first=st.integers(1, 60),
    step=st.integers(1, 40),
    embargo=st.integers(0, 10),
)
@settings(max_examples=60, deadline=None)
def test_folds_keep_dates_whole_and_labels_in_the_past(seed: int, first: int, step: int, embargo: int) -> None:
    rng = np.random.default_rng(seed)
    sessions = np.sort(rng.integers(0, 120, 300)).astype(np.int64)
    targets = sessions + rng.integers(1, 15, 300)
    dates = np.unique(sessions)
    tested: list[int] = []
    for fold in walk_forward_folds(sessions, targets, first_train=first, step=step, embargo=embargo):
        start = sessions[fold.test].min()
        assert not set(sessions[fold.train]) & set(sessions[fold.test])
        assert set(fold.test) == set(np.flatnonzero(np.isin(sessions, sessions[fold.test])))
        assert (targets[fold.train] < start).all()
        between = dates[(dates > sessions[fold.train].max()) & (dates < start)]
        assert len(between) >= embargo
        tested += fold.test.tolist()
    assert len(tested) == len(set(tested))


def test_the_window_expands_and_every_later_date_is_tested_once() -> None:
    sessions = np.repeat(np.arange(100, dtype=np.int64), 2)
    folds = list(walk_forward_folds(sessions, sessions + 1, first_train=40, step=25, embargo=3))
    assert [sessions[f.train].max() for f in folds] == [36, 61, 86]
    np.testing.assert_array_equal(np.concatenate([f.test for f in folds]), np.arange(80, 200))


def test_the_purge_drops_the_row_whose_label_is_the_first_tested_session() -> None:
    sessions = np.arange(50, dtype=np.int64)
    (fold, *_) = walk_forward_folds(sessions, sessions + 1, first_train=40, step=10, embargo=0)
    assert sessions[fold.train].max() == 38


def test_no_fold_without_enough_dates() -> None:
    sessions = np.arange(50, dtype=np.int64)
    assert not list(walk_forward_folds(sessions, sessions + 1, first_train=50, step=10, embargo=0))


def test_the_interval_covers_a_known_skill() -> None:
    """Errors of variance 0.8 over a baseline of variance 1 (skill 0.2), correlated from date to date."""
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        shared = np.convolve(rng.normal(size=404), np.ones(5) / np.sqrt(5), "valid")
        loss = 0.8 * np.exp(0.5 * shared + 0.2 * rng.normal(size=400))
        baseline = np.exp(0.5 * shared + 0.2 * rng.normal(size=400))
        low, high = bootstrap_interval(loss, baseline, seed=seed, replicates=400)
        covered += low <= 0.2 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_the_interval_is_the_same_for_the_same_seed_only() -> None:
    rng = np.random.default_rng(0)
    loss, baseline = rng.exponential(size=300), rng.exponential(size=300)
    assert bootstrap_interval(loss, baseline, seed=1) == bootstrap_interval(loss, baseline, seed=1)
    assert bootstrap_interval(loss, baseline, seed=1) != bootstrap_interval(loss, baseline, seed=2)


def test_blocks_widen_the_interval_of_dependent_losses() -> None:
    rng = np.random.default_rng(0)
    baseline = np.ones(600)
    loss = np.repeat(rng.exponential(size=30), 20)
    dependent = bootstrap_interval(loss, baseline, seed=0)
    independent = bootstrap_interval(loss, baseline, seed=0, block=1)
    assert dependent[1] - dependent[0] > 2 * (independent[1] - independent[0])


def test_skill_is_exact_on_a_hand_computed_case() -> None:
    sessions = np.arange(16, dtype=np.int64)
    truth = np.tile([1.0, -1.0, 1.0, 1.0], 4)
    forecast = np.tile([0.5, 0.5, 0.5, 0.0], 4)
    result = measure_skill(sessions, truth, forecast, np.zeros(16), directional=True, seed=0)
    assert result.skill == pytest.approx(1 - (0.25 + 2.25 + 0.25 + 1.0) / 4)
    assert result.rmse == pytest.approx(np.sqrt(3.75 / 4))
    assert result.baseline_rmse == 1
    assert result.direction_accuracy == pytest.approx(2 / 3)
    assert result.direction_base_rate == pytest.approx(2 / 3)
    assert (result.rows, result.dates) == (16, 16)


def test_the_baseline_itself_has_no_skill() -> None:
    rng = np.random.default_rng(1)
    truth, zero = rng.normal(size=100), np.zeros(100)
    result = measure_skill(np.arange(100, dtype=np.int64), truth, zero, zero, directional=True, seed=0)
    assert (result.skill, result.low, result.high) == (0, 0, 0)
    assert not result.has_skill
    assert result.direction_accuracy is None


def test_a_forecast_that_is_not_a_number_is_never_scored() -> None:
    values = np.ones(20)
    with pytest.raises(UsageError, match="finite"):
        measure_skill(np.arange(20), values, np.full(20, np.nan), values * 0, directional=False, seed=0)


def test_too_few_dates_for_an_interval_are_said() -> None:
    with pytest.raises(UsageError, match="at least 8 dates"):
        bootstrap_interval(np.ones(7), np.ones(7), seed=0)


@given(seed=st.integers(0, 1000), coverage=st.sampled_from([0.5, 0.8, 0.9]))
@settings(max_examples=20, deadline=None)
def test_the_conformal_quantile_covers_new_residuals(seed: int, coverage: float) -> None:
    rng = np.random.default_rng(seed)
    old, new = rng.standard_t(4, size=2000), rng.standard_t(4, size=4000)
    # five standard deviations of the coverage of 4,000 by a quantile of 2,000, each sqrt(0.25 / n) at most
    assert np.mean(np.abs(new) <= conformal_quantile(old, coverage)) == pytest.approx(coverage, abs=0.07)


def test_the_conformal_rank_is_the_finite_sample_one() -> None:
    residuals = np.array([-9.0, 1, -2, 3, 4, -5, 6, 7, 8, 10])
    assert conformal_quantile(residuals, 0.9) == 10
    with pytest.raises(UsageError, match="too few"):
        conformal_quantile(residuals[:8], 0.9)
