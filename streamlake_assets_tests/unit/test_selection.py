"""Selection of features: what carries the target is taken, noise is not, no row outside the training is looked at."""

import msgspec
import numpy as np
import pytest
import statsmodels.api as sm

from streamlake_assets.errors import UsageError
from streamlake_assets.market.frames import training_frame
from streamlake_assets.market.selection import LEAST_DATES, SelectionRule, select_features, slope_t
from streamlake_assets.market.skill import walk_forward_folds
from streamlake_assets.market.targets import Target
from streamlake_assets_tests.series_data import bokeh_series, planted_range, planted_return, random_walks

INSTRUMENTS = 5


def pooled(seed: int, dates: int = 400, features: int = 8, carried: float = 0.0) -> tuple[np.ndarray, ...]:
    """Rows of five instruments that mostly move together; the first feature carries that much of the target."""
    rng = np.random.default_rng(seed)
    day = np.repeat(np.arange(dates), INSTRUMENTS)

    def together(width: int) -> np.ndarray:
        shared, own = rng.normal(size=(dates, width)), rng.normal(size=(len(day), width))
        return np.sqrt(0.8) * shared[day] + np.sqrt(0.2) * own

    x = together(features)
    return x, carried * x[:, 0] + together(1)[:, 0], day


def named(x: np.ndarray) -> list[str]:
    return [f"f{column}" for column in range(x.shape[1])]


def test_a_planted_feature_is_taken_and_noise_mostly_is_not() -> None:
    taken = [
        select_features(x, y, named(x), day, SelectionRule())
        for x, y, day in (pooled(s, carried=0.3) for s in range(30))
    ]
    assert all(0 in columns for columns in taken)
    assert sum(len(columns) - 1 for columns in taken) / (30 * 7) < 0.04


def test_noise_is_taken_as_often_as_the_level_says_and_far_more_often_where_rows_count_as_independent() -> None:
    rule = SelectionRule(level=0.05, lags=0)
    rate = {"by date": [], "by row": []}
    for seed in range(150):
        x, y, day = pooled(seed)
        rate["by date"].append(len(select_features(x, y, named(x), day, rule)) / 8)
        rate["by row"].append(len(select_features(x, y, named(x), np.arange(len(day)), rule)) / 8)
    assert 0.03 < np.mean(rate["by date"]) < 0.07
    assert np.mean(rate["by row"]) > 0.2


def test_errors_that_last_for_some_dates_are_not_taken_for_a_slope() -> None:
    def lasting(rng: np.random.Generator, width: int) -> np.ndarray:
        noise = rng.normal(size=(505, width))
        return np.repeat(sum(noise[lag : lag + 500] for lag in range(6)), 2, axis=0)

    rate = {0: [], 10: []}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x, y, day = lasting(rng, 8), lasting(rng, 1)[:, 0], np.repeat(np.arange(500), 2)
        for lags, found in rate.items():
            found.append(np.mean(np.abs(slope_t(x, y, day, lags)) > 1.96))
    assert np.mean(rate[0]) > 0.25
    assert np.mean(rate[10]) < 0.11


@pytest.mark.parametrize("lags", [0, 5])
def test_t_is_that_of_statsmodels(lags: int) -> None:
    x, y, day = pooled(3, dates=120, features=3, carried=0.1)
    for column, ours in enumerate(slope_t(x, y, day, lags)):
        model = sm.OLS(y, sm.add_constant(x[:, column]))
        fit = model.fit(cov_type="hac-groupsum", cov_kwds={"time": day, "maxlags": lags, "use_correction": False})
        assert ours == pytest.approx(fit.tvalues[1] * np.sqrt(119 / 120), rel=1e-9)


def test_of_two_copies_only_the_better_is_taken() -> None:
    x, y, day = pooled(1, carried=0.5)
    noisy = x[:, 0] + 0.2 * np.random.default_rng(2).normal(size=len(day))
    both = np.column_stack([noisy, x[:, 0], x[:, 1]])
    assert select_features(both, y, named(both), day, SelectionRule(level=1e-6)) == (1,)
    assert select_features(both, y, named(both), day, SelectionRule(level=1e-6, max_correlation=1.0)) == (0, 1)


def test_of_two_that_are_equally_good_the_first_is_taken() -> None:
    x, y, day = pooled(1, carried=0.5)
    twice = np.column_stack([x[:, 0], x[:, 0]])
    assert select_features(twice, y, named(twice), day, SelectionRule()) == (0,)


def test_the_core_is_taken_first_and_counts() -> None:
    x, y, day = pooled(4, carried=0.5)
    core = SelectionRule(core=("f5", "f3"), most=3, level=1e-6)
    assert select_features(x, y, named(x), day, core) == (0, 3, 5)
    assert select_features(x, y, named(x), day, msgspec.structs.replace(core, most=2)) == (3, 5)
    near = np.column_stack([x[:, 0] + 1e-3 * x[:, 1], x])
    shadowed = SelectionRule(core=("f0",), level=1e-6)
    assert select_features(near, y, named(near), day, shadowed) == (0,), "a core feature shuts its copies out"


def test_no_more_than_the_most_are_taken_and_the_best_of_them() -> None:
    x, _, day = pooled(6)
    y = 2 * x[:, 6] + 1.5 * x[:, 2] + x[:, 4] + np.random.default_rng(0).normal(size=len(day))
    assert select_features(x, y, named(x), day, SelectionRule(most=2)) == (2, 6)


def test_nothing_beyond_chance_takes_nothing() -> None:
    x, y, day = pooled(8)
    assert select_features(x, y, named(x), day, SelectionRule(level=1e-9)) == ()


def test_a_feature_that_does_not_vary_is_never_taken_and_one_that_fits_exactly_always() -> None:
    x, y, day = pooled(9)
    odd = np.column_stack([np.full(len(day), 0.1), 3 * y - 1, x[:, 0]])
    t = slope_t(odd, y, day, 5)
    assert t[0] == 0
    assert t[1] == np.inf
    assert slope_t(odd, -y, day, 5)[1] == -np.inf
    assert 1 in select_features(odd, y, named(odd), day, SelectionRule(level=0.999))
    assert 0 not in select_features(odd, y, named(odd), day, SelectionRule(level=0.999))


def test_the_order_of_the_rows_and_the_unit_of_a_column_change_nothing() -> None:
    x, y, day = pooled(10, carried=0.2)
    order = np.random.default_rng(1).permutation(len(day))
    rule = SelectionRule(level=0.2)
    taken = select_features(x, y, named(x), day, rule)
    assert select_features(x[order], y[order], named(x), day[order], rule) == taken
    assert select_features(x * 10.0 ** np.arange(8) + 7, 1e-4 * y, named(x), day, rule) == taken


def test_rows_of_the_test_never_change_what_is_taken() -> None:
    """A feature that only the tested dates know, and know perfectly, is not taken before they are training rows."""
    frame = training_frame(random_walks(420, 2), None, 63)
    rule = SelectionRule(level=0.001, lags=0)
    y = frame.y[Target.ADJUSTED_RETURN] / frame.scale[Target.ADJUSTED_RETURN]
    split = frame.sessions >= np.unique(frame.sessions)[200]
    knowing = np.where(split, y, np.random.default_rng(0).normal(size=len(y)))
    x, names = np.column_stack([frame.x, knowing]), [*frame.names, "knowing"]
    taken = [
        "knowing"
        in [names[i] for i in select_features(x[fold.train], y[fold.train], names, frame.sessions[fold.train], rule)]
        for fold in walk_forward_folds(frame.sessions, frame.target_sessions, first_train=200, step=60, embargo=0)
    ]
    assert taken == [False, True, True]


def test_the_planted_signals_are_found_by_their_features() -> None:
    ranges = training_frame([planted_range(800, s, f"S{s}") for s in range(3)], None, 63)
    returns = training_frame([planted_return(800, s, f"S{s}") for s in range(3)], None, 63)
    for frame, target, wanted in (
        (ranges, Target.LOG_RANGE, {"fall_1", "return_1"}),
        (returns, Target.ADJUSTED_RETURN, {"return_1"}),
    ):
        y = frame.y[target] / frame.scale[target]
        taken = select_features(frame.x, y, frame.names, frame.sessions, SelectionRule())
        assert wanted & {frame.names[column] for column in taken}


def test_the_real_bars_have_features_for_the_range() -> None:
    frame = training_frame(bokeh_series(), None, 63)
    y = frame.y[Target.LOG_RANGE] / frame.scale[Target.LOG_RANGE]
    rule = SelectionRule(core=("range_1", "range_5", "range_22"))
    taken = select_features(frame.x, y, frame.names, frame.sessions, rule)
    assert {"range_1", "range_5", "range_22"} < {frame.names[column] for column in taken}
    assert len(taken) <= rule.most


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"core": ("f99",)}, "unknown features: f99"),
        ({"names": ["f0"]}, "as many names"),
        ({"names": ["f0"] * 8}, "each once"),
        ({"y": np.ones(3)}, "n targets"),
        ({"day": np.ones(3)}, "n dates"),
        ({"value": np.nan}, "finite"),
        ({"dates": LEAST_DATES - 1}, "there are 29"),
    ],
)
def test_what_cannot_be_judged_is_refused(change: dict, message: str) -> None:
    x, y, day = pooled(1, dates=change.get("dates", 40))
    x[0, 0] = change.get("value", x[0, 0])
    rule = SelectionRule(core=change.get("core", ()))
    with pytest.raises(UsageError, match=message):
        select_features(x, change.get("y", y), change.get("names", named(x)), change.get("day", day), rule)


@pytest.mark.parametrize(
    "wrong",
    [
        {"level": 0.0},
        {"level": 1.0},
        {"max_correlation": 0.0},
        {"lags": -1},
        {"most": 0},
        {"core": ("a", "a")},
        {"core": ("a", "b"), "most": 1},
    ],
)
def test_a_rule_that_decides_nothing_is_refused(wrong: dict) -> None:
    with pytest.raises(UsageError, match="a selection rule needs"):
        SelectionRule(**wrong)
