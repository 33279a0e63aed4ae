"""Drift: chance is no drift, nor is the ordinary wandering of slow features; a shift is, once it has lasted."""

import numpy as np
import pytest

from streamlake_assets.errors import UsageError
from streamlake_assets.market.drift import (
    LEAST_LIMIT,
    MIN_ROWS,
    WINDOW_DATES,
    DriftReport,
    FeatureDrift,
    Stability,
    drift_report,
    stability,
)
from streamlake_assets.market.series import FloatArray, IntArray

RNG = np.random.default_rng


def dates(count: int, first: int = 0, instruments: int = 5) -> IntArray:
    return np.repeat(np.arange(first, first + count, dtype=np.int64), instruments)


def report(recent: FloatArray, train: FloatArray, instruments: int = 5) -> DriftReport:
    count = len(train) // instruments
    since = dates(len(recent) // instruments, count, instruments)
    return drift_report(("a",), train[:, None], dates(count, 0, instruments), recent[:, None], since)


def test_the_index_is_the_sum_over_bins() -> None:
    """Half of the recent values in the first of two bins of training values that are split 1 to 1, then 3 to 1."""
    train = np.repeat([0.0, 1.0], 5000)
    recent = np.repeat([0.0, 1.0], [7500, 2500])
    found = stability(train, recent, np.array([0.5]))
    assert found.psi == pytest.approx((0.5 - 0.75) * np.log(0.5 / 0.75) + (0.5 - 0.25) * np.log(0.5 / 0.25), rel=1e-3)
    assert found.expected == pytest.approx(2e-4)


@pytest.mark.parametrize(("n", "m"), [(2000, 105), (500, 500)])
def test_without_a_change_the_index_is_what_chance_makes_of_it(n: int, m: int) -> None:
    found = [stability(RNG(seed).normal(size=n), RNG(seed + 9000).normal(size=m)) for seed in range(400)]
    assert np.mean([one.psi for one in found]) == pytest.approx(found[0].expected, rel=0.1)
    assert abs(np.mean([one.excess for one in found])) < 0.01


def test_values_that_repeat_and_values_never_seen_have_an_index() -> None:
    assert stability(np.ones(200), np.ones(50)).psi == 0.0
    far = stability(RNG(1).normal(size=1000), np.full(100, 99.0))
    assert np.isfinite(far.psi)
    assert far.psi > 2


@pytest.mark.parametrize("bad", [np.array([np.nan]), np.array([np.inf]), np.empty(0)])
def test_what_is_no_number_is_refused(bad: FloatArray) -> None:
    with pytest.raises(UsageError):
        stability(np.ones(10), bad)


def test_a_lasting_shift_is_drift_and_a_passing_one_is_not() -> None:
    train = RNG(2).normal(size=2000)
    window = WINDOW_DATES * 5
    calm, shifted = RNG(3).normal(size=window), RNG(4).normal(1.5, 1, size=window)
    assert report(np.concatenate([shifted, shifted]), train).drifted == ("a",)
    assert report(np.concatenate([calm, shifted]), train).drifted == ()
    assert report(np.concatenate([shifted, calm]), train).drifted == ()
    found = report(np.concatenate([calm, shifted]), train).features[0]
    assert found.newest.excess > found.limit > found.previous.excess


def test_a_small_shift_is_no_drift_however_steady_the_training_was() -> None:
    train = RNG(10).normal(size=20_000)
    found = report(RNG(11).normal(0.4, 1, size=2 * WINDOW_DATES * 5), train)
    assert 0.1 < min(found.features[0].newest.excess, found.features[0].previous.excess) < LEAST_LIMIT
    assert found.features[0].limit == LEAST_LIMIT
    assert found.drifted == ()


def test_twice_in_a_row_means_both() -> None:
    high, low = Stability(1.0, 0.1), Stability(0.2, 0.1)
    assert FeatureDrift("a", high, high, 0.25).drifted
    assert not FeatureDrift("a", high, low, 0.25).drifted
    assert not FeatureDrift("a", low, high, 0.25).drifted


def test_a_slow_feature_may_wander_as_far_as_it_always_did() -> None:
    """A feature with a memory of 100 dates strays far in every window: above the textbook limit, and yet no drift."""
    rng, state, values = RNG(5), 0.0, []
    for _ in range(1600):
        state = 0.99 * state + rng.normal(0, 0.14)
        values += [state + 0.1 * rng.normal() for _ in range(5)]
    found = report(np.array(values[7500:]), np.array(values[:7500]))
    assert found.features[0].newest.excess > LEAST_LIMIT
    assert found.features[0].limit > LEAST_LIMIT
    assert not found.drifted


def test_too_little_is_not_judged_and_says_why() -> None:
    train = RNG(6).normal(size=2000)
    early = report(RNG(7).normal(5, 1, size=(2 * WINDOW_DATES - 1) * 5), train)
    assert early.features == ()
    assert f"two windows need {2 * WINDOW_DATES}" in early.reason
    small = report(RNG(7).normal(5, 1, size=300), RNG(6).normal(size=500))
    assert small.features == ()
    assert "training dates" in small.reason
    none = drift_report(("a",), train[:, None], dates(400), np.empty((0, 1)), np.empty(0, dtype=np.int64))
    assert none.drifted == ()


def test_one_instrument_gets_longer_windows() -> None:
    found = report(RNG(8).normal(2, 1, size=2 * MIN_ROWS), RNG(9).normal(size=2000), instruments=1)
    assert found.window_dates == MIN_ROWS
    assert found.drifted == ("a",)


def test_recent_rows_come_after_the_training_rows() -> None:
    x = np.zeros((500, 1))
    with pytest.raises(UsageError, match="overlap"):
        drift_report(("a",), x, dates(100), x, dates(100, 99))
    with pytest.raises(UsageError, match="features"):
        drift_report(("a", "b"), x, dates(100), x, dates(100, 100))
