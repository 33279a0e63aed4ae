"""Measures: each against a hand-made truth or pandas, what is undefined stays undefined, parts make the whole."""

import datetime as dt
import itertools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from streamlake_assets.market import measures
from streamlake_assets.market.features import Derived
from streamlake_assets.market.measures import IndexReturns, PeriodKind
from streamlake_assets.market.series import FloatArray, SessionSeries, from_ordinal
from streamlake_assets.market.skill import measure_skill
from streamlake_assets.market.types import AssetClass
from streamlake_assets_tests.series_data import bokeh_series, made_series, random_walk

ALWAYS = (dt.date.min, dt.date.max)
REAL = bokeh_series()
INDEX = measures.equal_weight_index(REAL)


def values(*numbers: float) -> FloatArray:
    return np.array(numbers, dtype=np.float64)


def series(returns: list[float], **change: object) -> SessionSeries:
    """Sessions with exactly these adjusted simple returns from the second on."""
    logs = np.log1p(values(0.0, *returns))
    return replace(made_series(logs, np.full(len(logs), 0.02)), **change)  # type: ignore[arg-type]


def close_to(value: float | None) -> object:
    return pytest.approx(value, rel=1e-12)


def test_returns_are_the_adjusted_ones_and_the_first_is_unknown() -> None:
    for one in REAL:
        returns = measures.session_returns(one)
        assert math.isnan(returns[0])
        np.testing.assert_allclose(np.log1p(returns), Derived(one).adjusted_return, atol=1e-14)


def test_a_split_is_no_loss() -> None:
    close = values(100, 51, 51)
    split = replace(series([0, 0]), close=close, high=close, low=close, factor=values(1, 0.5, 1))
    assert measures.period_return(measures.session_returns(split)) == close_to(0.02)
    assert measures.max_drawdown(measures.session_returns(split)) == 0


def test_a_price_without_ratio_has_no_return_and_makes_no_other() -> None:
    oil = replace(series([0.1] * 3), close=values(10, -5, 8, 10), asset_class=AssetClass.COMMODITY)
    assert np.isnan(measures.session_returns(oil)).tolist() == [True, True, True, False]
    assert measures.period_return(measures.session_returns(oil)) == close_to(0.25)


@pytest.mark.parametrize("one", REAL, ids=lambda one: one.symbol)
def test_return_volatility_and_drawdown_are_those_of_pandas(one: SessionSeries) -> None:
    frame = pd.DataFrame({"close": one.close, "factor": one.factor})
    returns = frame.close / (frame.close.shift() * frame.factor) - 1
    growth = pd.concat([pd.Series([1.0]), (1 + returns.dropna()).cumprod()])
    found = measures.key_indicators([one], INDEX, *ALWAYS)
    assert found.period_return == pytest.approx(growth.iloc[-1] - 1)
    assert found.annualised_volatility == pytest.approx(np.log(1 + returns).std() * 252**0.5)
    assert found.max_drawdown == pytest.approx((growth / growth.cummax() - 1).min())
    assert found.dollar_volume == close_to(float((one.close * one.volume).sum()))
    assert found.vwap == close_to(float(np.average((one.high + one.low + one.close) / 3, weights=one.volume)))
    best = int(np.nanargmax(returns))
    assert found.best is not None
    assert found.best[0] == from_ordinal(one.sessions[best])
    assert found.best[1] == pytest.approx(returns[best])
    assert (found.sessions, found.first_session) == (len(one), from_ordinal(one.sessions[0]))


def test_beta_and_correlation_are_those_of_pandas() -> None:
    frame = pd.concat(
        {one.symbol: pd.Series(measures.session_returns(one), index=one.sessions) for one in REAL}, axis=1
    )
    index = frame.mean(axis=1)
    np.testing.assert_allclose(INDEX.returns, index.dropna())
    for one in REAL:
        both = pd.DataFrame({"own": frame[one.symbol], "index": index}).dropna()
        found = measures.key_indicators([one], INDEX, *ALWAYS)
        assert found.beta == pytest.approx(both.cov().loc["own", "index"] / both["index"].var())
        assert found.correlation == pytest.approx(both.corr().loc["own", "index"])


@pytest.mark.parametrize("kind", list(PeriodKind))
def test_periods_chain_to_the_whole(kind: PeriodKind) -> None:
    one = REAL[0]
    whole = measures.key_indicators([one], INDEX, *ALWAYS)
    first, last = from_ordinal(one.sessions[0]), one.last_session
    periods = measures.periods_between(first, last, kind)
    parts = [measures.key_indicators([one], INDEX, period.first, period.last) for period in periods]
    growth = math.prod(1 + part.period_return for part in parts if part.period_return is not None)
    assert growth - 1 == pytest.approx(whole.period_return)
    assert sum(part.sessions for part in parts) == whole.sessions
    assert math.fsum(part.dollar_volume or 0 for part in parts) == pytest.approx(whole.dollar_volume)
    for before, after in itertools.pairwise(periods):
        assert before.last + dt.timedelta(days=1) == after.first
    assert len({period.name for period in periods}) == len(periods)


@pytest.mark.parametrize(
    ("day", "kind", "name", "first", "last"),
    [
        ("2012-02-29", PeriodKind.MONTH, "2012-02", "2012-02-01", "2012-02-29"),
        ("2013-12-31", PeriodKind.MONTH, "2013-12", "2013-12-01", "2013-12-31"),
        ("2013-04-01", PeriodKind.QUARTER, "2013-Q2", "2013-04-01", "2013-06-30"),
        ("2013-12-01", PeriodKind.QUARTER, "2013-Q4", "2013-10-01", "2013-12-31"),
        ("2013-07-04", PeriodKind.YEAR, "2013", "2013-01-01", "2013-12-31"),
    ],
)
def test_periods_of_the_calendar(day: str, kind: PeriodKind, name: str, first: str, last: str) -> None:
    found = measures.period_of(dt.date.fromisoformat(day), kind)
    assert (found.name, found.first.isoformat(), found.last.isoformat()) == (name, first, last)


def test_no_period_holds_nothing() -> None:
    assert measures.periods_between(dt.date(2013, 1, 2), dt.date(2013, 1, 1), PeriodKind.YEAR) == []


def test_drawdown_counts_from_the_start_and_from_every_high() -> None:
    assert measures.drawdowns(values(-0.1, 0.5, -0.2, np.nan, 0.1)) == pytest.approx([-0.1, 0, -0.2, -0.2, -0.12])
    assert measures.max_drawdown(values(-0.3, 0.1)) == pytest.approx(-0.3)
    assert measures.max_drawdown(values(np.nan)) is None


def test_a_group_is_its_equal_weight_index() -> None:
    up, down = series([0.1, 0.1]), series([-0.1, 0.3], symbol="B", asset_class=AssetClass.CRYPTO)
    index = measures.equal_weight_index([up, down])
    found = measures.key_indicators([up, down], index, *ALWAYS, expected=8)
    assert index.returns == pytest.approx([0.0, 0.2])
    assert found.period_return == pytest.approx(0.2)
    assert found.annualised_volatility == pytest.approx(np.std(np.log([1.0, 1.2]), ddof=1) * 365**0.5)
    assert found.vwap is None
    assert (found.sessions, found.completeness) == (6, 0.75)
    assert found.beta is None, "two points lie on a line whatever they are"


def test_an_instrument_that_begins_later_joins_the_index_with_its_first_return() -> None:
    old = series([0.02] * 5)
    young = replace(old.tail(3), symbol="Y", close=values(1, 1.1, 1.21))
    assert measures.equal_weight_index([old, young]).returns == pytest.approx([0.02, 0.02, 0.02, 0.06, 0.06])


def test_the_index_has_beta_and_correlation_one_and_its_members_mean_is_one() -> None:
    walks = [random_walk(400, seed, f"S{seed}") for seed in range(4)]
    index = measures.equal_weight_index(walks)
    assert measures.beta(index.returns, index.returns) == close_to(1)
    assert measures.correlation(index.returns, index.returns) == close_to(1)
    betas = [measures.key_indicators([one], index, *ALWAYS).beta for one in walks]
    assert np.mean([value for value in betas if value is not None]) == pytest.approx(1)


def test_beta_finds_what_was_planted() -> None:
    index = np.random.default_rng(1).normal(0, 0.01, 50)
    assert measures.beta(0.001 - 2 * index, index) == pytest.approx(-2)
    assert measures.correlation(0.001 - 2 * index, index) == pytest.approx(-1)


@pytest.mark.parametrize("still", [0.0, 0.1])
def test_what_stands_still_has_no_correlation(still: float) -> None:
    flat, moving = np.full(10, still), np.linspace(-1, 1, 10)
    assert measures.beta(moving, flat) is None
    assert measures.correlation(moving, flat) is None
    assert measures.correlation(flat, moving) is None
    assert measures.beta(flat, moving) == 0


def test_pairs_are_the_sessions_both_know() -> None:
    index = IndexReturns(np.array([2, 3, 5]), values(0.2, 0.3, 0.5))
    own, other = measures.against_index(np.array([1, 2, 3, 4, 5]), values(1, np.nan, 3, 4, 5), index)
    assert (own.tolist(), other.tolist()) == ([3, 5], [0.3, 0.5])


def test_nothing_is_measured_where_nothing_is() -> None:
    before = measures.key_indicators([REAL[0]], INDEX, dt.date(1980, 1, 1), dt.date(1981, 1, 1), expected=0)
    nobody = measures.key_indicators([], measures.equal_weight_index([]), *ALWAYS)
    for found in (before, nobody):
        assert found.sessions == 0
        named = ("period_return", "annualised_volatility", "max_drawdown", "dollar_volume", "vwap", "beta", "best")
        assert [getattr(found, name) for name in (*named, "correlation", "worst", "completeness", "first_session")] == [
            None
        ] * 11


def test_volume_that_is_absent_is_no_volume() -> None:
    nan = np.nan
    assert measures.dollar_volume(values(1, 2), values(nan, 10)) == 20
    assert measures.dollar_volume(values(1, 2), values(nan, nan)) is None
    assert measures.vwap(values(2, 9), values(1, 9), values(1.5, 9), values(10, nan)) == close_to(1.5)
    assert measures.vwap(values(2), values(1), values(1), values(0)) is None
    assert measures.vwap(values(2), values(1), values(1), values(nan)) is None


def test_volatility_needs_two_returns_that_have_logarithms() -> None:
    assert measures.annualised_volatility(values(0.1, np.nan), 252) is None
    assert measures.annualised_volatility(values(0.1, -1.0), 252) is None
    assert measures.annualised_volatility(values(0.1, 0.1), 252) == pytest.approx(0, abs=1e-12)


def test_best_and_worst_of_names() -> None:
    found = measures.best_and_worst({"c": 1.0, "a": 3.0, "b": None, "d": 3.0, "e": -1.0})
    assert found == (("a", 3.0), ("e", -1.0))
    assert measures.best_and_worst({"a": None}) is None


def test_forecast_measures_are_those_of_the_gate() -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(0.001, 0.02, 300)
    point = np.where(rng.random(300) < 0.1, 0.0, 0.3 * truth + rng.normal(0, 0.01, 300))
    truth[::50] = 0
    judged = measure_skill(np.arange(300), truth, point, np.zeros(300), directional=True, seed=1)
    hits = measures.hit_rate(truth, point)
    assert hits is not None
    assert (hits.rate, hits.base_rate) == (judged.direction_accuracy, judged.direction_base_rate)
    assert hits.edge == hits.rate - hits.base_rate
    assert measures.live_skill(truth - point, truth) == close_to(judged.skill)


def test_forecasts_that_are_not_scored_count_nowhere() -> None:
    nan = np.nan
    assert measures.hit_rate(values(nan, 0.1), values(0.1, -0.1)) == measures.HitRate(1, 0, 1.0)
    assert measures.hit_rate(values(nan), values(0.1)) is None
    assert measures.live_skill(values(nan, 1), values(nan, 2)) == 0.75
    assert measures.live_skill(values(nan), values(nan)) is None
    assert measures.live_skill(values(1), values(0)) is None
    assert measures.interval_coverage(np.array([], dtype=bool)) is None
    assert measures.interval_coverage(np.array([True, False])) == 0.5


def test_shares_of_nothing_are_unknown() -> None:
    assert (measures.completeness(3, 4), measures.completeness(0, 0)) == (0.75, None)
    assert (measures.dead_letter_rate(10, 1), measures.dead_letter_rate(0, 0)) == (0.1, None)
