import datetime as dt
import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlake_assets.errors import BadRecordError
from streamlake_assets.market.contract import validate_action
from streamlake_assets.market.corporate import derive_actions, rounding_units
from streamlake_assets.market.sessions import daily_bar_time
from streamlake_assets.market.types import ActionKind, CorporateAction, Instrument

FIRST = dt.date(2010, 1, 4)
CENT = Decimal("0.01")


def derive(closes: list[Decimal], adjusted: list[Decimal]) -> list[CorporateAction]:
    sessions = [FIRST + dt.timedelta(days=n) for n in range(len(closes))]
    return derive_actions(sessions, closes, adjusted, instrument=Instrument("AAA", "XNYS"), source="made")


def adjusted_backwards(closes: list[Decimal], factors: dict[int, float]) -> list[Decimal]:
    level, out = 1.0, []
    for index in range(len(closes) - 1, -1, -1):
        out.append(Decimal(repr(float(closes[index]) * level)).quantize(CENT))
        level *= factors.get(index, 1.0)
    return out[::-1]


def test_closes_that_equal_their_adjusted_closes_hold_no_action() -> None:
    closes = [Decimal("10.01"), Decimal("11.5"), Decimal("3.07")]
    assert derive(closes, closes) == []


def test_split_gets_its_exact_ratio_and_the_local_midnight_of_its_ex_date() -> None:
    closes = [Decimal("90.13"), Decimal("88.99"), Decimal("44.86"), Decimal("45.01")]
    (action,) = derive(closes, adjusted_backwards(closes, {2: 0.5}))
    assert action.kind is ActionKind.SPLIT
    assert action.factor == Decimal("0.5")
    assert action.ex_date == FIRST + dt.timedelta(days=2)
    assert action.as_of == daily_bar_time(action.ex_date, "XNYS")
    assert action.source == "made"


@pytest.mark.parametrize(
    ("ratio", "written"), [(1 / 3, "0.3333333333"), (2 / 3, "0.6666666667"), (1 / 20, "0.05"), (10, "10.0")]
)
def test_usual_split_ratios_are_recognised(ratio: float, written: str) -> None:
    before, after = [Decimal("300.11"), Decimal("301.57")], [301.57 * ratio, 300.4 * ratio]
    closes = before + [Decimal(repr(value)).quantize(CENT) for value in after]
    (action,) = derive(closes, adjusted_backwards(closes, {2: ratio}))
    assert (action.kind, action.factor) == (ActionKind.SPLIT, Decimal(written))


def test_dividend_smaller_than_rounding_is_left_out_and_a_larger_one_is_found() -> None:
    closes = [Decimal("20.03")] * 10
    # what rounds to the same cent, and what rounding alone could make differ by one
    assert derive(closes, adjusted_backwards(closes, {5: 1 - 0.0002})) == []
    assert derive(closes, [Decimal("20.02")] * 5 + closes[5:]) == []
    (action,) = derive(closes, adjusted_backwards(closes, {5: 1 - 0.004}))
    assert action.kind is ActionKind.DIVIDEND
    assert action.ex_date == FIRST + dt.timedelta(days=5)


def test_factor_of_a_dividend_is_sharper_than_two_sessions_would_allow() -> None:
    # two sessions alone leave an error of up to 4e-4
    closes = [Decimal(2500 + 7 * n % 101) * CENT for n in range(80)]
    factor = 1 - 0.08 / float(closes[39])
    (action,) = derive(closes, adjusted_backwards(closes, {40: factor}))
    assert float(action.factor) == pytest.approx(factor, abs=5e-5)


def test_dividend_the_day_after_a_split_keeps_both_factors() -> None:
    closes = [Decimal(4800 + 13 * n % 89) * CENT for n in range(60)] + [
        Decimal(2400 + 17 * n % 97) * CENT for n in range(60)
    ]
    dividend = 1 - 0.08 / float(closes[60])
    split, paid = derive(closes, adjusted_backwards(closes, {60: 0.5, 61: dividend}))
    assert (split.kind, split.factor) == (ActionKind.SPLIT, Decimal("0.5"))
    assert paid.kind is ActionKind.DIVIDEND
    assert float(paid.factor) == pytest.approx(dividend, abs=1e-4)


def test_adjusted_closes_kept_as_narrow_floats_hold_no_action() -> None:
    closes = [Decimal("130.31"), Decimal("131.02"), Decimal("129.4")]
    noisy = [Decimal("130.30999755859375"), Decimal("131.02000427246094"), Decimal("129.39999389648438")]
    assert derive(closes, noisy) == []


def test_rounding_unit_counts_zeros_that_are_not_written() -> None:
    assert rounding_units([Decimal("31.68"), Decimal("31.5"), Decimal("32.01")]) == [0.005, 0.005, 0.005]
    assert rounding_units([Decimal("1.23456"), Decimal("31.5"), Decimal("32.01")])[0] == pytest.approx(5e-6)


@pytest.mark.parametrize("bad", ["0", "-1", "NaN", "Infinity"])
def test_close_that_is_no_positive_number_is_refused(bad: str) -> None:
    with pytest.raises(BadRecordError, match="not a finite number above zero"):
        derive([Decimal(10), Decimal(bad)], [Decimal(10), Decimal(10)])


def test_sessions_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="strictly increasing"):
        derive_actions([FIRST, FIRST], [Decimal(1)] * 2, [Decimal(1)] * 2, instrument=Instrument("AAA"), source="made")


@given(st.data())
def test_returns_rebuilt_from_factors_agree_with_adjusted_ones_within_rounding(data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 40))
    cents = st.integers(100, 100_000)
    closes = [Decimal(data.draw(cents)) * CENT for _ in range(count)]
    factors = data.draw(
        st.dictionaries(st.integers(1, count - 1), st.sampled_from([0.5, 2.0, 0.9, 0.99, 0.997, 1 / 3]))
    )
    adjusted = adjusted_backwards(closes, factors)
    if min(adjusted) <= 0:
        return
    actions = {action.ex_date: action for action in derive(closes, adjusted)}
    half = rounding_units(adjusted)
    for index in range(1, count):
        action = actions.get(FIRST + dt.timedelta(days=index))
        factor = 1.0 if action is None else float(action.factor)
        rebuilt = math.log(float(closes[index]) / (float(closes[index - 1]) * factor))
        low = math.log(max(1e-9, float(adjusted[index]) - half[index]) / (float(adjusted[index - 1]) + half[index - 1]))
        high = math.log(
            (float(adjusted[index]) + half[index]) / max(1e-9, float(adjusted[index - 1]) - half[index - 1])
        )
        assert low - 1e-6 <= rebuilt <= high + 1e-6
        if action is not None:
            validate_action(action)
