"""Features: only the past, the same bits in training and serving, adjusted for corporate actions."""

import dataclasses

import numpy as np
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlake_assets.errors import UsageError
from streamlake_assets.market.features import (
    LOOKBACK,
    RANGE_DECAY,
    RANGE_WINDOW,
    REGISTRY,
    FeatureMatrix,
    feature_matrix,
    target_values,
)
from streamlake_assets.market.indicators import RECURSION_WINDOW
from streamlake_assets.market.series import SessionSeries, from_ordinal
from streamlake_assets.market.targets import Target
from streamlake_assets.settings import Settings
from streamlake_assets_tests.series_data import bokeh_series, random_walk

PRICES = ("open", "high", "low", "close", "volume", "factor")


def changed_from(series: SessionSeries, row: int, seed: int, columns: tuple[str, ...] = PRICES) -> SessionSeries:
    """Replace the given columns from ``row`` on by other values; dates move on by a day."""
    rng = np.random.default_rng(seed)
    out = {}
    if "sessions" in columns:
        out["sessions"] = series.sessions + (np.arange(len(series)) >= row)
    for name in (one for one in columns if one != "sessions"):
        values = getattr(series, name).copy()
        values[row:] *= np.exp(rng.normal(0, 0.5, len(values) - row))
        out[name] = values
    return dataclasses.replace(series, **out)


def knowable(matrix: FeatureMatrix) -> np.ndarray:
    """Everything a row says about the past: features, scales, baselines."""
    return np.column_stack([matrix.x, *matrix.scale.values(), *matrix.baseline.values()])


@given(seed=st.integers(0, 10_000), row=st.integers(1, 119))
@settings(max_examples=40, deadline=None)
def test_changing_the_future_moves_no_past_feature(seed: int, row: int) -> None:
    series = random_walk(120, seed)
    before = knowable(feature_matrix(series))[:row]
    after = knowable(feature_matrix(changed_from(series, row, seed + 1)))[:row]
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("name", REGISTRY)
def test_every_feature_reads_its_newest_session(name: str) -> None:
    """Else the perturbation test would pass on a feature that reads nothing."""
    series, feature = random_walk(120, 5), REGISTRY[name]
    column, rows = list(REGISTRY).index(name), np.arange(94, 101)
    changed = [feature_matrix(changed_from(series, row, 6, feature.inputs)).x[row, column] for row in rows]
    assert (np.array(changed) != feature_matrix(series).x[rows + feature.lag, column]).any()


@pytest.mark.parametrize("name", REGISTRY)
def test_a_feature_reads_no_column_it_does_not_declare(name: str) -> None:
    series, column = random_walk(120, 7), list(REGISTRY).index(name)
    assert set(REGISTRY[name].inputs) <= {"sessions", *PRICES}
    others = tuple(c for c in ("sessions", *PRICES) if c not in REGISTRY[name].inputs)
    changed = feature_matrix(changed_from(series, 0, 8, others))
    np.testing.assert_array_equal(changed.x[:, column], feature_matrix(series).x[:, column])


@pytest.mark.parametrize("name", REGISTRY)
def test_a_feature_needs_no_more_sessions_than_it_declares(name: str) -> None:
    series, column, lookback = random_walk(120, 9), list(REGISTRY).index(name), REGISTRY[name].lookback
    whole = feature_matrix(series).x[-1, column]
    assert feature_matrix(series.tail(lookback)).x[-1, column] == whole
    assert np.isfinite(whole)


def test_a_feature_declares_no_more_sessions_than_it_needs() -> None:
    series = random_walk(120, 9)
    for name, feature in REGISTRY.items():
        if feature.lookback > 1:
            shorter = feature_matrix(series.tail(feature.lookback - 1))
            assert np.isnan(shorter.x[-1, shorter.names.index(name)]) or name == "volume_z"


def test_the_registry_holds_the_horizons_and_indicators_that_specs_may_name() -> None:
    kinds = {
        "return": (1, 2, 5, 10, 22),
        "volatility": (1, 5, 10, 22),
        "range": (1, 5, 22),
        "price_to_mean": (5, 22, 50),
        "mean_5_to": (22,),
        "mean_22_to": (50,),
        "rsi": (14,),
        "bollinger": (20,),
    }
    wanted = {f"{kind}_{horizon}" for kind, horizons in kinds.items() for horizon in horizons}
    assert wanted | {"macd_line", "macd_histogram", "volume_z"} <= REGISTRY.keys()
    assert LOOKBACK <= 63


def test_the_least_history_the_settings_allow_is_enough() -> None:
    least = next(m.ge for m in Settings.model_fields["min_history"].metadata if hasattr(m, "ge"))
    assert least >= LOOKBACK
    assert np.isfinite(feature_matrix(random_walk(LOOKBACK, 1)).x[-1]).all()


@given(seed=st.integers(0, 10_000), cut=st.integers(LOOKBACK, 119))
@settings(max_examples=40, deadline=None)
def test_serving_computes_the_bits_that_training_will(seed: int, cut: int) -> None:
    """The last row, issued without its future, equals the row training has once the next session is known."""
    series = random_walk(120, seed)
    known = series.until(from_ordinal(series.sessions[cut - 1]))
    served, trained = feature_matrix(known), feature_matrix(series)
    np.testing.assert_array_equal(knowable(served)[-1], knowable(trained)[cut - 1])
    np.testing.assert_array_equal(knowable(feature_matrix(known.tail(LOOKBACK)))[-1], knowable(trained)[cut - 1])
    assert all(np.isnan(served.y[t][-1]) for t in Target)
    assert served.target_sessions[-1] == -1


def test_serving_equals_training_on_the_real_bars() -> None:
    series = bokeh_series()[0]
    trained = knowable(feature_matrix(series))
    for cut in range(LOOKBACK, len(series), 97):
        served = knowable(feature_matrix(series.until(from_ordinal(series.sessions[cut - 1])).tail(LOOKBACK)))[-1]
        np.testing.assert_array_equal(served, trained[cut - 1])


def test_indicators_are_features_without_unit() -> None:
    """Of the close adjusted as the returns are, over the volatility where they are moves of the price."""
    series = next(one for one in bokeh_series() if one.symbol == "MSFT")
    matrix = feature_matrix(series)
    adjusted = 20.0 * np.exp(np.cumsum(np.nan_to_num(target_values(series, Target.ADJUSTED_RETURN))))
    volatility = matrix.scale[Target.ADJUSTED_RETURN]
    for row in range(LOOKBACK, len(series), 131):
        window = adjusted[row - RECURSION_WINDOW + 1 : row + 1]
        mean = {count: window[-count:].mean() for count in (5, 22, 50)}
        line, _, histogram = (part[-1] / window[-1] / volatility[row] for part in talib.MACD(window))
        expected = {
            **{
                f"price_to_mean_{count}": (window[-1] / mean[count] - 1) / volatility[row] / np.sqrt(count)
                for count in mean
            },
            "mean_5_to_22": (mean[5] / mean[22] - 1) / volatility[row] / np.sqrt(22),
            "mean_22_to_50": (mean[22] / mean[50] - 1) / volatility[row] / np.sqrt(50),
            "rsi_14": talib.RSI(window, 14)[-1] / 50 - 1,
            "macd_line": line,
            "macd_histogram": histogram,
            "bollinger_20": (window[-1] - window[-20:].mean()) / (2 * window[-20:].std()),
        }
        found = dict(zip(matrix.names, matrix.x[row], strict=True))
        assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-7, abs=1e-9)


def test_the_day_of_the_week_is_that_of_the_row_and_none_from_friday_to_sunday() -> None:
    series = random_walk(120, 3)
    matrix = feature_matrix(series)
    days = [name for name in matrix.names if name.startswith("is_")]
    assert days == ["is_monday", "is_tuesday", "is_wednesday", "is_thursday"]
    columns = matrix.x[:, [matrix.names.index(name) for name in days]]
    expected = [
        [float(from_ordinal(session).weekday() == number) for number in range(4)] for session in series.sessions
    ]
    np.testing.assert_array_equal(columns, expected)
    assert {from_ordinal(s).weekday() for s in series.sessions[columns.sum(axis=1) == 0]} == {4, 5, 6}


def test_closes_that_stood_still_for_a_month_are_in_the_middle_of_their_band() -> None:
    series = random_walk(120, 3)
    close = np.where(np.arange(120) >= 95, series.close[95], series.close)
    matrix = feature_matrix(dataclasses.replace(series, close=close))
    found = dict(zip(matrix.names, matrix.x[115], strict=True))
    assert found["bollinger_20"] == 0
    assert np.isfinite(matrix.x[115]).all()


def test_targets_are_those_of_the_next_session() -> None:
    series = random_walk(80, 3)
    matrix = feature_matrix(series)
    for target in Target:
        np.testing.assert_array_equal(matrix.y[target][:-1], target_values(series, target)[1:])
    np.testing.assert_array_equal(matrix.target_sessions[:-1], series.sessions[1:])


def test_a_two_for_one_split_leaves_features_and_targets_as_they_were() -> None:
    series = random_walk(120, 11)
    halved = {c: np.where(np.arange(120) >= 60, getattr(series, c) / 2, getattr(series, c)) for c in PRICES[:4]}
    factor = np.ones(120)
    factor[60] = 0.5
    split = dataclasses.replace(series, **halved, factor=factor)
    unadjusted = dataclasses.replace(split, factor=np.ones(120))

    plain, adjusted = feature_matrix(series), feature_matrix(split)
    np.testing.assert_allclose(adjusted.x, plain.x, atol=1e-10)
    for target in Target:
        np.testing.assert_allclose(adjusted.y[target], plain.y[target], atol=1e-12)
    assert feature_matrix(unadjusted).y[Target.ADJUSTED_RETURN][59] < -0.6


def test_real_splits_are_not_crashes() -> None:
    """Apple split 2 for 1 on 2005-02-28: the close fell from 88.99 to 44.86, the shares did not lose half."""
    series = next(s for s in bokeh_series() if s.symbol == "AAPL")
    returns = target_values(series, Target.ADJUSTED_RETURN)
    raw = np.diff(np.log(series.close))
    assert raw.min() < -0.69
    assert returns[np.argmin(raw[1000:]) + 1001] > -0.1


def test_the_baseline_of_the_range_is_its_decayed_mean() -> None:
    series = random_walk(40, 2)
    ranges = target_values(series, Target.LOG_RANGE)
    weights = RANGE_DECAY ** np.arange(RANGE_WINDOW)
    expected = (ranges[::-1][:RANGE_WINDOW] * weights).sum() / weights.sum()
    assert feature_matrix(series).baseline[Target.LOG_RANGE][-1] == pytest.approx(expected, rel=1e-12)
    assert feature_matrix(series).baseline[Target.ADJUSTED_RETURN][-1] == 0


def test_an_instrument_without_volume_still_has_features() -> None:
    series = dataclasses.replace(random_walk(80, 2), volume=np.full(80, np.nan))
    matrix = feature_matrix(series)
    assert np.isfinite(matrix.x[LOOKBACK:]).all()
    assert (matrix.x[:, matrix.names.index("volume_z")] == 0).all()


def test_a_price_without_logarithm_undefines_its_window_and_nothing_else() -> None:
    series = random_walk(120, 2)
    close = series.close.copy()
    close[50] = -1.0
    matrix = feature_matrix(dataclasses.replace(series, close=close))
    column = matrix.names.index("return_1")
    assert np.isnan(matrix.x[50, column])
    assert np.isfinite(matrix.x[50 + LOOKBACK :, column]).all()


def test_an_instrument_that_does_not_move_has_no_features() -> None:
    flat = np.full(80, 10.0)
    series = dataclasses.replace(random_walk(80, 2), open=flat, high=flat, low=flat, close=flat)
    assert np.isnan(feature_matrix(series).scale[Target.ADJUSTED_RETURN]).all()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("close", np.ones(3), "close must be"),
        ("close", np.ones(80, dtype=np.float32), "close must be"),
        ("sessions", np.zeros(80, dtype=np.int64), "strictly increasing"),
        ("factor", np.zeros(80), "factor must be positive"),
    ],
)
def test_a_malformed_series_is_refused(column: str, value: np.ndarray, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(random_walk(80, 2), **{column: value})  # type: ignore[arg-type]
