"""ARIMA(1,1,0): every way gives the forecasts of the definition, none looks ahead, noise has no skill."""

import numpy as np
import pytest

from streamlake_assets.errors import UsageError
from streamlake_assets.learning import arima
from streamlake_assets.market.series import FloatArray


def walk(count: int, seed: int, phi: float = 0.0) -> FloatArray:
    """Prices whose steps carry the share ``phi`` over to the next step."""
    rng = np.random.default_rng(seed)
    steps, noise = np.zeros(count), rng.normal(0, 1.5, count)
    for t in range(1, count):
        steps[t] = phi * steps[t - 1] + noise[t]
    return 200 + np.cumsum(steps)


def test_the_recursion_is_the_filter_of_statsmodels() -> None:
    values = walk(400, 2, phi=0.3)
    first = arima.first_forecast(values)
    phi, variance = arima.fit_phi(values[:first])
    assert phi == pytest.approx(0.3, abs=0.1)
    assert variance == pytest.approx(1.5**2, rel=0.2)
    by_filter = arima.filter_forecasts(values, first, phi, variance)
    np.testing.assert_allclose(arima.recursion_forecasts(values, first, phi), by_filter, rtol=1e-12)


def test_running_sums_are_the_least_squares_of_the_values_before_each_step() -> None:
    values = walk(120, 2, phi=0.2)
    found = arima.running_phi(values, 100)
    for offset, phi in enumerate(found):
        steps = np.diff(values[: 100 + offset])
        assert phi == pytest.approx(np.linalg.lstsq(steps[:-1, None], steps[1:], rcond=None)[0][0], rel=1e-9)


@pytest.mark.parametrize("way", ["refit", "recursion", "running sums"])
def test_no_forecast_knows_the_value_it_is_about(way: str) -> None:
    values = walk(80, 3, phi=0.2)
    changed = values.copy()
    changed[75:] += 50.0

    def made(of: FloatArray) -> FloatArray:
        if way == "refit":
            return arima.refit_forecasts(of, 70)
        return arima.recursion_forecasts(of, 70, 0.2 if way == "recursion" else arima.running_phi(of, 70))

    before, after = made(values), made(changed)
    np.testing.assert_array_equal(before[:6], after[:6])  # steps 70 to 75: all that was known is the same
    assert (np.abs(before[6:] - after[6:]) > 10).all()


def test_one_pass_is_as_good_as_refit_at_each_step_and_neither_beats_the_last_price_of_a_random_walk() -> None:
    compared = arima.compare_arima(walk(600, 4))
    assert (compared.train, compared.steps) == (540, 60)
    assert compared.rmse_ratio == pytest.approx(1, abs=0.01)
    assert compared.recursion.rmse == pytest.approx(compared.filter_pass.rmse, rel=1e-9)
    assert compared.least_squares.most_apart < 0.02
    assert compared.refit.most_apart == 0
    assert abs(compared.skill) < 0.02
    plain = compared.to_dict()
    assert plain["speed_up"] > plain["speed_up_with_fit"] > 0
    assert [name for name, part in plain.items() if isinstance(part, dict) and part["refits"]] == [
        "refit",
        "least_squares",
    ]


def test_skill_on_returns_is_found_where_it_is_and_not_where_it_is_not() -> None:
    sessions = np.arange(3000, dtype=np.int64)
    planted = arima.return_skill(0.01 * walk(3000, 5, phi=0.3), sessions)
    assert planted.skill == pytest.approx(0.09, abs=0.05)
    assert planted.has_skill
    nothing = arima.return_skill(0.01 * walk(3000, 6), sessions)
    assert abs(nothing.skill) < 0.01
    assert not nothing.has_skill


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.full(200, 5.0), "constant or a straight line"),
        (np.arange(200.0) / 3, "constant or a straight line"),
        (walk(37, 1), "37 values give 33 and 4"),
        (walk(20, 1), "20 values give 18 and 2"),
        (np.append(walk(200, 1), np.nan), "finite values"),
        (np.append(walk(200, 1), np.inf), "finite values"),
        (walk(200, 1).reshape(2, 100), "one row"),
    ],
)
def test_what_cannot_be_forecast_is_refused_with_a_reason(values: FloatArray, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        arima.compare_arima(values)


def test_a_share_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        arima.compare_arima(walk(200, 1), train_share=1.5)
