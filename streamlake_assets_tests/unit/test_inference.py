"""Tests of equal accuracy and rank correlations: known answers, size, power, the libraries' own figures."""

import numpy as np
import pytest
import scipy.stats

from streamlake_assets.errors import UsageError
from streamlake_assets.market.inference import (
    InformationCoefficient,
    clark_west,
    diebold_mariano,
    hac_standard_error,
    information_coefficient,
    newey_west_lags,
    normal_upper_tail,
    spearman,
    student_upper_tail,
)
from streamlake_assets.market.series import FloatArray, IntArray

NAMES = tuple("abcde")


def test_the_standard_error_by_hand() -> None:
    values = np.array([1.0, 2, 3, 4])
    assert hac_standard_error(values, 0) == pytest.approx(np.sqrt(1.25 / 4))
    # autocovariances 1.25 and 0.3125; the Bartlett weight of lag 1 of 1 is a half, counted on both sides
    assert hac_standard_error(values, 1) == pytest.approx(np.sqrt((1.25 + 0.3125) / 4))
    with pytest.raises(UsageError, match="fewer lags"):
        hac_standard_error(values, 4)


def test_the_standard_error_of_dependent_values_is_the_wider_one() -> None:
    """Of a moving sum of 5 the long-run variance is 5 times that of one value."""
    sums = np.convolve(np.random.default_rng(0).normal(size=20_004), np.ones(5), "valid")
    assert hac_standard_error(sums, 50) == pytest.approx(5 / np.sqrt(20_000), rel=0.1)
    assert hac_standard_error(sums, 0) == pytest.approx(np.sqrt(5 / 20_000), rel=0.1)


def test_the_bandwidth_grows_slowly() -> None:
    assert [newey_west_lags(n) for n in (2, 100, 2955)] == [1, 4, 8]


@pytest.mark.parametrize("freedom", [1, 2, 7, 30, 500, 5000])
def test_tails_are_those_of_scipy(freedom: int) -> None:
    for value in (-30.0, -2.5, -0.1, 0.0, 0.3, 1.0, 2.0, 4.5, 8.0):
        expected = scipy.stats.t.sf(value, freedom)
        assert student_upper_tail(value, freedom) == pytest.approx(expected, rel=1e-8)
        assert normal_upper_tail(value) == pytest.approx(scipy.stats.norm.sf(value), rel=1e-12)


def test_clark_west_by_hand() -> None:
    sessions = np.array([1, 2, 3, 4, 4])
    truth, large = np.array([1.0, -1, 2, 0, 1]), np.array([0.5, 0.5, 1, 1, -1])
    found = clark_west(sessions, truth, np.zeros(5), large, lags=0)
    # twice truth times forecast: 1, -1, 4 and the mean of 0 and -2
    assert found is not None
    assert found.mean == pytest.approx(0.75)
    assert found.standard_error == pytest.approx(np.sqrt((0.25**2 + 1.75**2 + 3.25**2 + 1.75**2) / 4 / 4))
    assert found.statistic == pytest.approx(found.mean / found.standard_error)
    assert found.p_value == pytest.approx(scipy.stats.norm.sf(found.statistic))
    assert (found.dates, found.lags) == (4, 0)


def test_diebold_mariano_by_hand() -> None:
    sessions, truth = np.arange(5), np.zeros(5)
    other, forecast = np.array([1.0, 2, 1, 2, 1]), np.array([1.0, 1, 1, 1, 2])
    found = diebold_mariano(sessions, truth, other, forecast, lags=0)
    differences = np.array([0.0, 3, 0, 3, -3])
    assert found is not None
    plain = differences.mean() / np.sqrt(differences.var() / 5)
    assert found.statistic == pytest.approx(plain * np.sqrt(4 / 5))
    assert found.p_value == pytest.approx(2 * scipy.stats.t.sf(found.statistic, 4))
    turned = diebold_mariano(sessions, truth, forecast, other, lags=0)
    assert turned is not None
    assert (turned.statistic, turned.p_value) == pytest.approx((-found.statistic, found.p_value))


def test_equal_forecasts_have_no_test() -> None:
    sessions, truth = np.arange(20), np.random.default_rng(0).normal(size=20)
    assert clark_west(sessions, truth, truth / 2, truth / 2) is None
    assert diebold_mariano(sessions, truth, truth / 2, truth / 2) is None


def recursive_regression(slope: float, seed: int) -> tuple[FloatArray, FloatArray]:
    """Return truths and forecasts of a regression on one predictor, refitted before each date on all before it."""
    rng = np.random.default_rng(seed)
    x, noise = rng.normal(size=(2, 400))
    y = slope * x + noise
    weights = np.cumsum(x * y)[99:-1] / np.cumsum(x * x)[99:-1]
    return y[100:], weights * x[100:]


def shares_below(level: float, slope: float) -> tuple[float, float]:
    """Return the shares of 300 simulations in which Clark-West and one-sided Diebold-Mariano reject."""
    found = np.zeros(2)
    for seed in range(300):
        truth, made = recursive_regression(slope, seed)
        nested = clark_west(np.arange(300), truth, np.zeros(300), made)
        plain = diebold_mariano(np.arange(300), truth, np.zeros(300), made)
        assert nested is not None
        assert plain is not None
        found += [nested.p_value < level, plain.statistic > 0 and plain.p_value / 2 < level]
    return float(found[0] / 300), float(found[1] / 300)


def test_clark_west_keeps_its_level_where_nothing_is_to_be_found() -> None:
    nested, plain = shares_below(0.1, slope=0.0)
    # three standard deviations of a share of 0.1 in 300; the test is known to reject a little too seldom
    assert 0.03 <= nested <= 0.1 + 3 * np.sqrt(0.09 / 300)
    assert plain < nested / 2


def test_clark_west_finds_what_a_plain_comparison_misses() -> None:
    nested, plain = shares_below(0.05, slope=0.15)
    assert nested > 0.7
    assert nested > plain + 0.2


def test_spearman_is_that_of_scipy_with_ties_too() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        left = rng.integers(0, 6, 40).astype(np.float64)
        right = left + rng.normal(0, 3, 40).round()
        assert spearman(left, right) == pytest.approx(scipy.stats.spearmanr(left, right).statistic, abs=1e-12)
    assert spearman(np.ones(9), rng.normal(size=9)) is None
    assert spearman(np.array([1.0, 2]), np.array([1.0, 2])) is None


def measured(
    instrument: IntArray,
    sessions: IntArray,
    truth: FloatArray,
    forecast: FloatArray,
    *,
    seed: int = 0,
    replicates: int = 200,
) -> InformationCoefficient:
    return information_coefficient(
        NAMES, instrument, sessions, truth, forecast, np.zeros(len(truth)), seed=seed, replicates=replicates
    )


def test_the_mean_coefficient_weighs_instruments_by_their_rows() -> None:
    sessions = np.concatenate([np.arange(30), np.arange(10)])
    instrument = np.repeat([0, 2], [30, 10])
    truth = np.random.default_rng(0).normal(size=40)
    found = measured(instrument, sessions, truth, np.where(instrument == 0, truth, -truth))
    assert found.by_instrument == pytest.approx({"a": 1.0, "c": -1.0})
    assert found.mean == pytest.approx((30 - 10) / 40)
    assert found.baseline_mean is None
    assert found.cross_section is None


def test_an_instrument_of_one_forecast_has_no_coefficient() -> None:
    sessions = np.tile(np.arange(20), 2)
    instrument = np.repeat([0, 1], 20)
    truth = np.random.default_rng(0).normal(size=40)
    found = measured(instrument, sessions, truth, np.where(instrument == 0, truth, 0.0))
    assert found.by_instrument == {"a": pytest.approx(1.0), "b": None}
    assert (found.mean, found.low, found.high) == pytest.approx((1, 1, 1))
    nothing = measured(instrument, sessions, truth, np.zeros(40))
    assert (nothing.mean, nothing.low, nothing.high) == (None, None, None)


@pytest.mark.parametrize("strength", [0.0, 0.6])
def test_the_interval_of_the_coefficient_covers(strength: float) -> None:
    """Two instruments that share half of their noise; of a normal pair Spearman's is 6 / pi * asin(r / 2)."""
    covered, dates = 0, 500
    for seed in range(60):
        rng = np.random.default_rng(seed)
        forecast, noise = (rng.normal(size=(2, 2, dates)) + rng.normal(size=(2, 1, dates))) / np.sqrt(2)
        truth = strength * forecast + np.sqrt(1 - strength**2) * noise
        numbers, sessions = np.repeat([0, 1], dates), np.tile(np.arange(dates), 2)
        found = measured(numbers, sessions, truth.ravel(), forecast.ravel(), seed=seed)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 6 / np.pi * np.arcsin(strength / 2) <= found.high
    # 95 % are asked for; blocks of 21 out of 500 dates are few, so a little less is expected
    assert covered >= 0.85 * 60


def test_the_interval_is_as_wide_as_theory_says_and_wider_where_dates_repeat() -> None:
    """Of n independent pairs the standard deviation of Spearman's is 1 / sqrt(n - 1); twenty alike make it n / 20."""
    truth, forecast = np.random.default_rng(3).normal(size=(2, 2000))
    numbers, sessions = np.zeros(2000, dtype=np.int64), np.arange(2000)
    for repeats in (1, 20):
        pairs = [np.repeat(values[: 2000 // repeats], repeats) for values in (truth, forecast)]
        found = measured(numbers, sessions, *pairs, replicates=500)
        assert found.low is not None
        assert found.high is not None
        assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(repeats / 2000), rel=0.2)


def test_the_coefficient_across_instruments_by_hand() -> None:
    sessions = np.repeat([1, 2, 3], [5, 4, 5])
    instrument = np.array([0, 1, 2, 3, 4, 0, 1, 2, 3, 0, 1, 2, 3, 4])
    truth = np.array([1.0, 2, 3, 4, 5, 1, 2, 3, 4, 1, 2, 3, 4, 5])
    forecast = np.concatenate([truth[:9], -truth[9:]])
    sessions = np.concatenate([sessions, np.arange(10, 20)])  # dates of one instrument, so that there are 8 dates
    instrument = np.concatenate([instrument, np.zeros(10, dtype=np.int64)])
    truth, forecast = (np.concatenate([values, np.arange(10.0)]) for values in (truth, forecast))
    section = measured(instrument, sessions, truth, forecast).cross_section
    assert section is not None
    assert (section.dates, section.mean) == (2, pytest.approx(0))
    assert section.standard_error == pytest.approx(np.sqrt((1 + 2 * 0.5 * -0.5) / 2))


def test_too_few_dates_are_said() -> None:
    truth = np.arange(7.0)
    with pytest.raises(UsageError, match="at least 8 dates"):
        measured(np.zeros(7, dtype=np.int64), np.arange(7), truth, truth)
