"""Limits: which side is crossed, when that is over, what is compared, which instruments are meant."""

import datetime as dt
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlake_assets.market.alerts import Kind, Known, State, advance, judge
from streamlake_assets.market.thresholds import NewestBar, PriceLimit, VolatilityLimit, range_volatility, value_of
from streamlake_assets.market.types import Instrument

NOON = dt.datetime(2024, 1, 2, 12, tzinfo=dt.UTC)
IBM = Instrument("IBM", "XNYS")


def newest(*closes: float, spread: float = 0.0) -> list[NewestBar]:
    """Bars, the newest first; ``spread`` is ln(high / low)."""
    return [
        NewestBar(NOON - dt.timedelta(days=n), close, close * math.exp(spread / 2), close * math.exp(-spread / 2))
        for n, close in enumerate(closes)
    ]


@pytest.mark.parametrize(("side", "sign"), [("above", 1.0), ("below", -1.0)])
def test_a_limit_is_crossed_beyond_it_and_over_again_beyond_the_hysteresis(side: str, sign: float) -> None:
    limit = PriceLimit(name="a", hysteresis=0.01, **{side: 100.0})  # type: ignore[arg-type]
    assert [limit.is_crossed(100.0 + sign * d, False) for d in (-0.5, 0.0, 0.5)] == [False, False, True]
    assert [limit.is_crossed(100.0 + sign * d, True) for d in (-1.5, -1.0, -0.5, 0.5)] == [False, False, True, True]


def test_a_negative_limit_has_its_hysteresis_on_the_right_side() -> None:
    limit = PriceLimit(name="a", below=-0.02, hysteresis=0.5)
    assert limit.is_crossed(-0.021, False) and limit.is_crossed(-0.011, True) and not limit.is_crossed(-0.009, True)


@given(st.lists(st.floats(90, 110), min_size=1, max_size=50), st.floats(0.0, 0.2))
def test_edges_alternate_and_each_is_on_its_side_of_the_limit(values: list[float], hysteresis: float) -> None:
    limit, known, edges = PriceLimit(name="a", above=100.0, hysteresis=hysteresis), Known(), []
    for value in values:
        seen = limit.observe(IBM, value, known, NOON, "it is")
        if judge(known, seen):
            edges.append((seen.state, value))
        known = advance(known, seen)
    assert [state for state, _ in edges] == [(State.WARN, State.PASS)[n % 2] for n in range(len(edges))]
    assert all(value > 100 if state is State.WARN else value <= 100 * (1 - hysteresis) for state, value in edges)


def test_what_is_told_names_instrument_value_side_and_limit() -> None:
    limit = PriceLimit(name="cheap", below=180.0, severity="error")
    value, what = value_of(limit, newest(179.5)) or pytest.fail("a bar has a close")
    seen = limit.observe(IBM, value, Known(), NOON, what)
    assert (seen.kind, seen.name, seen.state) == (Kind.THRESHOLD, "cheap:IBM|XNYS", State.ERROR)
    assert seen.text == "IBM|XNYS: the 1d bar of 2024-01-02 12:00 UTC closed at 179.5, below 180."
    over = limit.observe(IBM, 185.0, advance(Known(), seen), NOON, "it closed at 185")
    assert over.order > seen.order, "two looks within a millisecond are two looks"
    assert over.text == "IBM|XNYS: it closed at 185, not below 180 any more."


def test_volatility_is_that_of_the_ranges_and_needs_all_its_bars() -> None:
    # made: prices of ln(high / low) = s have the volatility s / sqrt(4 ln 2), whatever they do from bar to bar
    assert range_volatility(newest(10, 20, 5, spread=0.1)) == pytest.approx(0.1 / math.sqrt(4 * math.log(2)))
    limit = VolatilityLimit(name="wild", above=0.05, bars=3)
    assert value_of(limit, newest(10, 10, spread=0.1)) is None
    found, what = value_of(limit, newest(10, 20, 5, 1, spread=0.1)) or pytest.fail("there are enough bars")
    assert found == pytest.approx(0.0600561) and "last 3 1d bars" in what
    free = [*newest(10, 10), NewestBar(NOON, 0.0, 0.0, 0.0)]
    assert value_of(limit, free) is None, "a price of zero has no logarithm"


@pytest.mark.parametrize(
    ("patterns", "meant"),
    [(("*",), True), (("IB?",), True), (("IBM|XNYS",), True), (("IBM|XNAS", "AAPL"), False), (("ibm",), False)],
)
def test_instruments_are_chosen_by_symbol_or_by_symbol_and_market(patterns: tuple[str, ...], meant: bool) -> None:
    assert PriceLimit(name="a", above=1.0, instruments=patterns).watches(IBM) is meant


def test_a_limit_has_one_side() -> None:
    for sides in ({}, {"above": 1.0, "below": 2.0}):
        with pytest.raises(ValueError, match="one limit: above or below"):
            PriceLimit(name="a", **sides)  # type: ignore[arg-type]
