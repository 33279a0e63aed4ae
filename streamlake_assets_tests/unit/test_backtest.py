"""Money from positions: next open, adjusted, every trade paid for; and whether chance does as well."""

import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from streamlake_assets.errors import UsageError
from streamlake_assets.market.backtest import (
    DEFAULT_COSTS,
    SESSIONS_PER_YEAR,
    Backtest,
    Costs,
    Openings,
    annualised,
    backtest,
    break_even_cost,
    decisions,
    drawdown,
    hold,
    measure,
    openings,
    sharpe,
)
from streamlake_assets.market.luck import deflated_sharpe, deflated_sharpe_of, luck
from streamlake_assets.market.series import FloatArray, SessionSeries
from streamlake_assets.market.signals import ROUND_TRIP_COST
from streamlake_assets_tests.series_data import FIRST, random_walk

FREE = Costs(0.0, 0.0)
NAN = float("nan")


def opening(
    opens: list[float], factors: dict[int, float] | None = None, *, symbol: str = "AAA", days: list[int] | None = None
) -> SessionSeries:
    """Sessions of which only the opens matter: closes lie far away, so that whoever trades at them is found out."""
    price = np.array(opens, dtype=np.float64)
    factor = np.ones(len(opens))
    for day, value in (factors or {}).items():
        factor[day] = value
    return SessionSeries(
        symbol=symbol, exchange="XNYS", sessions=FIRST + np.array(days or range(len(opens)), dtype=np.int64),
        open=price, high=price * 9, low=price / 9, close=price * 3, volume=np.ones(len(opens)), factor=factor,
    )  # fmt: skip


def run(series: list[SessionSeries], made: list[list[float]], first: int = 0) -> tuple[Openings, FloatArray, Backtest]:
    """Execute decisions given row by row."""
    market = openings(series, FIRST + first)
    rows = np.array(made, dtype=np.float64).reshape(market.price.shape)
    return market, rows, backtest(market, rows)


def test_a_split_by_hand() -> None:
    # bought at 110, two shares for one at 60, sold at 63
    _, _, found = run([opening([100, 110, 60, 63], {2: 0.5})], [[1], [NAN], [NAN]], first=1)
    assert_allclose(found.earned, [60 / 55 - 1, 63 / 60 - 1])
    assert_allclose(found.traded, [1, 0, 1])
    assert found.trades == 2
    assert_allclose(measure(found, FREE).total, 126 / 110 - 1)
    assert_allclose(measure(found).total, 126 / 110 * (1 - 0.0005) ** 2 - 1)
    assert_allclose(measure(found).gross_total, 126 / 110 - 1)


def test_a_dividend_is_reinvested_at_its_factor() -> None:
    _, _, found = run([opening([100, 97], {1: 0.98})], [[1], [NAN]])
    assert_allclose(found.earned, [97 / 98 - 1])


def test_a_decision_after_a_session_earns_from_the_next_open_on() -> None:
    series = opening([100, 50, 80, 40])
    market = openings([series], FIRST)
    # decided after the second session: the fall to 50 is not avoided, the rise to 80 not had, the fall to 40 is
    made = decisions(market, np.zeros(1, dtype=np.int64), series.sessions[2:3], np.ones(1))
    found = backtest(market, made)
    assert_allclose(found.earned, [0, 0, 40 / 80 - 1])
    assert_allclose(market.price[:, 0], [100, 50, 80, 40])


def test_levelling_two_parts_is_traded_and_paid_for() -> None:
    pair = [opening([10, 11, 11]), opening([20, 20, 20], symbol="BBB")]
    _, made, found = run(pair, [[1, 1], [1, 1], [NAN, NAN]])
    held = [0.5 * 1.1 / 1.05, 0.5 / 1.05]
    assert_allclose(found.earned, [0.05, 0])
    assert_allclose(found.traded, [1, abs(held[0] - 0.5) + abs(held[1] - 0.5), 1])
    assert found.trades == 4, "levelling changes no position"
    assert_allclose(found.returns(Costs(10, 0)), [1.05 * (1 - 0.001) - 1, (1 - 0.001 * found.traded[1]) * 0.999 - 1])
    assert_allclose(backtest(openings(pair, FIRST), hold(made)).earned, found.earned)


def test_a_part_is_taken_only_while_an_instrument_is_traded() -> None:
    young = opening([5, 5], symbol="BBB", days=[1, 2])
    _, _, found = run([opening([10, 10, 10, 10]), young], [[1, NAN], [NAN, 1], [NAN, NAN], [NAN, NAN]])
    # alone, then halves, then alone again: the young one was closed at its last open
    assert_allclose(found.weight, [[1, 0], [0.5, 0.5], [1, 0], [0, 0]])
    assert_allclose(found.traded, [1, 1, 1, 1])


def test_where_a_bar_is_missing_the_position_is_carried_and_the_next_open_brings_the_whole_move() -> None:
    gappy = opening([10, 12, 12], {1: 0.5}, symbol="BBB", days=[0, 2, 3])
    market, made, found = run([opening([7, 7, 7, 7]), gappy], [[0, 1], [0, NAN], [0, NAN], [NAN, NAN]])
    assert np.isnan(market.price[1, 1])
    assert_allclose(market.growth[:, 1], [1, 12 / 5, 1])
    assert_allclose(found.earned, [0, 0.5 * (12 / 5 - 1), 0])
    assert found.traded[1] == 0, "there is nothing to trade at"
    late = made.copy()
    late[1, 1] = -1
    dropped = decisions(market, np.array([1]), np.array([FIRST + 1]), np.array([-1.0]))
    assert np.isnan(dropped).all(), "a decision that cannot be executed is none"


def test_a_price_at_or_below_zero_is_none() -> None:
    market = openings([opening([10, -3, 12], {1: 0.5})], FIRST)
    assert_allclose(market.growth[:, 0], [1, 12 / 5])


def test_who_lost_everything_has_nothing_left() -> None:
    _, _, found = run([opening([10, 30, 1, 1])], [[-1], [NAN], [1], [NAN]])
    assert_allclose(found.earned, [-1, 0, 0])
    assert measure(found).total == -1
    assert measure(found).drawdown == 1
    assert break_even_cost(found) is None


moves = st.floats(0.7, 1.4)
positions = st.sampled_from([NAN, -1.0, 0.0, 0.4, 1.0])


@st.composite
def markets(draw: st.DrawFn, *, bound: float = 1.0) -> tuple[list[SessionSeries], list[list[float]]]:
    """Two instruments of 3 to 8 sessions with a split somewhere, and decisions, the first of which is one."""
    count = draw(st.integers(3, 8))
    series = []
    for symbol in ("AAA", "BBB"):
        steps = draw(st.lists(moves, min_size=count, max_size=count))
        split = draw(st.integers(1, count - 1))
        factor = draw(st.sampled_from([0.5, 2.0, 1.0]))
        opens = np.cumprod(steps) * 50
        opens[split:] *= factor
        series.append(opening(opens.tolist(), {split: factor}, symbol=symbol))
    made = [[draw(positions) * bound, draw(positions) * bound] for _ in range(count)]
    made[0] = [1.0 * bound, draw(st.sampled_from([-1.0, 0.0, 0.4, 1.0])) * bound]
    return series, made


@given(markets(), st.floats(0.01, 200))
@settings(max_examples=150, deadline=None)
def test_costs_doubled_give_strictly_less_whenever_something_is_traded(
    market: tuple[list[SessionSeries], list[list[float]]], slippage: float
) -> None:
    _, _, found = run(*market)
    costs = Costs(0.0, slippage)
    assert found.traded.sum() > 0
    assert measure(found, costs.times(2)).total < measure(found, costs).total < measure(found, FREE).total


@given(markets())
@settings(max_examples=150, deadline=None)
def test_money_equals_what_shares_and_cash_come_to(market: tuple[list[SessionSeries], list[list[float]]]) -> None:
    series, made = market
    _, _, found = run(series, made)
    cash, shares, wanted, traded = 1.0, [0.0, 0.0], [0.0, 0.0], []
    for day in range(len(made)):
        prices = [float(one.open[day]) for one in series]
        # a split of f = 1/2 makes two shares of one
        shares = [held / float(one.factor[day]) for held, one in zip(shares, series, strict=True)]
        capital = cash + sum(held * price for held, price in zip(shares, prices, strict=True))
        wanted = [old if math.isnan(new) else new for old, new in zip(wanted, made[day], strict=True)]
        if day == len(made) - 1:
            wanted = [0.0, 0.0]
        target = [share * capital / 2 / price for share, price in zip(wanted, prices, strict=True)]
        traded.append(sum(abs(t - h) * p for t, h, p in zip(target, shares, prices, strict=True)) / capital)
        cash, shares = capital - sum(t * p for t, p in zip(target, prices, strict=True)), target
    assert_allclose(measure(found, FREE).total, cash - 1, rtol=1e-9, atol=1e-12)
    assert_allclose(found.traded, traded, rtol=1e-9, atol=1e-12)


@given(markets())
@settings(max_examples=100, deadline=None)
def test_at_the_break_even_cost_nothing_is_left(market: tuple[list[SessionSeries], list[list[float]]]) -> None:
    _, _, found = run(*market)
    cost = break_even_cost(found)
    assert cost is not None
    assert_allclose(np.log1p(found.earned).sum() + np.log1p(-cost * found.traded).sum(), 0, atol=1e-9)
    assert (cost > 0) == (measure(found).gross_total > 0) or abs(measure(found).gross_total) < 1e-9


def test_without_a_trade_there_is_no_break_even_and_costs_do_not_matter() -> None:
    _, _, found = run([opening([1, 2, 3])], [[0], [NAN], [NAN]])
    idle = measure(found)
    assert (idle.break_even_bp, idle.sharpe, idle.trades, idle.turnover) == (None, None, 0, 0)
    assert idle.total == measure(found, DEFAULT_COSTS.times(2)).total == 0


def test_the_past_of_a_backtest_does_not_change_with_what_comes_later() -> None:
    series, rng = random_walk(40, 3), np.random.default_rng(0)
    other = {name: getattr(series, name).copy() for name in ("open", "high", "low", "close")}
    for values in other.values():
        values[25:] *= 3
    changed = dataclasses.replace(series, **other)
    made = rng.choice([-1.0, 0.0, 1.0], 40)[:, None]
    made[24] = 1.0
    before, after = (backtest(openings([one], FIRST), made) for one in (series, changed))
    assert_allclose(before.position, after.position, rtol=0)
    assert_allclose(before.earned[:24], after.earned[:24], rtol=0)
    assert_allclose(before.traded[:25], after.traded[:25], rtol=0)
    assert after.earned[24] > 1, "what came later is earned later"


def test_the_default_costs_are_those_of_the_signals() -> None:
    assert_allclose(2 * DEFAULT_COSTS.per_unit, ROUND_TRIP_COST)


def test_measures_by_hand() -> None:
    returns = np.array([0.1, -0.5, 0.2, 1.0])
    assert_allclose(drawdown(returns), 0.5)
    assert_allclose(drawdown(-np.array([0.1, 0.1])), 0.19)
    assert drawdown(np.array([0.1, 0.2])) == 0
    assert sharpe(returns) == pytest.approx(0.2 / returns.std(ddof=1) * math.sqrt(252))
    assert sharpe(np.full(5, 0.01)) is None
    assert_allclose(annualised(0.21, 2 * SESSIONS_PER_YEAR), 0.1)


@pytest.mark.parametrize("costs", [Costs(-1, 3), Costs(NAN, 3), Costs(2000, 0)])
def test_costs_that_cannot_be_are_refused(costs: Costs) -> None:
    _, _, found = run([opening([1, 2])], [[1], [NAN]])
    with pytest.raises(UsageError, match="costs"):
        found.returns(costs)


def test_decisions_that_cannot_be_are_refused() -> None:
    series = opening([1, 2, 3])
    market = openings([series], FIRST)
    here, one = np.zeros(2, dtype=np.int64), np.ones(2)
    with pytest.raises(UsageError, match="no instrument has a bar"):
        decisions(market, here, np.array([FIRST, FIRST + 7]), one)
    with pytest.raises(UsageError, match="two decisions"):
        decisions(market, here, np.array([FIRST, FIRST]), one)
    with pytest.raises(UsageError, match="finite"):
        decisions(market, here, series.sessions[:2], one * np.inf)
    with pytest.raises(UsageError, match="not one decision"):
        backtest(market, np.full((3, 1), NAN))
    with pytest.raises(UsageError, match="calendar"):
        backtest(market, np.ones((2, 1)))
    with pytest.raises(UsageError, match="twice"):
        openings([series, series], FIRST)
    with pytest.raises(UsageError, match="two dates"):
        openings([series], FIRST + 2)


def signals(market: Openings, seed: int) -> FloatArray:
    """Decisions that last some sessions each and know nothing."""
    rng = np.random.default_rng(seed)
    return np.repeat(rng.choice([-1.0, 0.0, 1.0], (len(market.dates) // 5 + 1, 2)), 5, axis=0)[: len(market.dates)]


def test_foresight_is_no_luck_and_ignorance_is_found_lucky_as_often_as_it_should() -> None:
    lucky = []
    for seed in range(40):
        market = openings([random_walk(400, 2 * seed), random_walk(400, 2 * seed + 1, "BBB")], FIRST)
        lucky.append(luck(market, signals(market, seed), seed=seed, draws=500).probability)
    foresight = np.vstack([np.sign(market.growth - 1), [[0, 0]]])
    known = luck(market, foresight, seed=0)
    assert (known.as_good, known.probability) == (0, 1 / (known.draws + 1))
    # 40 draws of a share that is even between 0 and 1
    assert 0.35 < np.mean(lucky) < 0.65
    assert np.mean(np.array(lucky) <= 0.1) <= 0.25


def test_random_signals_trade_exactly_as_much_and_may_only_be_lucky_in_time() -> None:
    market = openings([random_walk(300, 1), random_walk(300, 2, "BBB")], FIRST)
    made = signals(market, 0)
    found = luck(market, made, seed=1)
    assert found.draws == 300 - 1 - 2 * 21 + 1, "every shift once, none shorter than a month"
    # nothing changes where there is no timing to lose
    constant = luck(market, np.ones_like(made), seed=1)
    assert constant.probability == 1
    assert_allclose(constant.median_gross, measure(backtest(market, np.ones_like(made))).gross_total)
    # every draw made by hand: the same changes around the circle, at other times
    own = backtest(market, made)
    held = own.position[:-1]
    changes = np.abs(held - np.roll(held, 1, axis=0)).sum()
    totals = []
    for shift in range(21, 279):
        moved = np.roll(held, shift, axis=0)
        assert np.abs(moved - np.roll(moved, 1, axis=0)).sum() == changes
        totals.append(np.prod(1 + (moved / 2 * (market.growth - 1)).sum(axis=1)) - 1)
    assert found.as_good == sum(total >= measure(own).gross_total - 1e-9 for total in totals)
    assert_allclose(found.median_gross, np.quantile(totals, 0.5, method="nearest"))
    with pytest.raises(UsageError, match="too few"):
        luck(openings([random_walk(10, 1)], FIRST), np.ones((10, 1)), seed=0)


def test_the_deflated_sharpe_ratio_of_the_paper() -> None:
    # the numerical example of Bailey and López de Prado (2014): 2.5 a year, 100 trials, five years of 250 sessions
    found = deflated_sharpe_of(
        2.5 / math.sqrt(250), skewness=-3, kurtosis=10, periods=1250, trials=100, trial_variance=1 / 2 / 250
    )
    assert found == pytest.approx(0.9004, abs=2e-4)


def test_more_trials_deflate_more() -> None:
    returns = np.random.default_rng(0).normal(0.001, 0.01, 500)
    found = [deflated_sharpe(returns, trials) for trials in (1, 2, 10, 1000)]
    assert all(more is not None and less is not None and more < less for less, more in pairwise(found))
    # one trial of normal returns: the probability that a mean is above zero
    ratio = returns.mean() / returns.std()
    assert found[0] == pytest.approx(0.5 * (1 + math.erf(ratio * math.sqrt(499) / math.sqrt(2))), abs=0.005)
    assert deflated_sharpe(np.full(9, 0.01), 3) is None
    with pytest.raises(UsageError, match="at least one"):
        deflated_sharpe(returns, 0)
    with pytest.raises(UsageError, match="needs 3 returns"):
        deflated_sharpe(returns[:2], 1)
