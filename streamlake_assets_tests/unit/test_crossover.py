"""Crossover, regret and choice on curves whose answers are known by hand."""

import math

import pytest

from streamlake_assets.errors import UsageError
from streamlake_assets.market.crossover import cost_at, crossover, growth, least_regret, regrets

LINE = {10_000: 1.0, 100_000: 10.0, 1_000_000: 100.0}
"""Proportional to rows: 1e-4 s for each."""


def test_a_crossover_lies_where_the_two_laws_are_equal() -> None:
    """a·n and b·√n are straight lines on logarithmic axes: they meet at (b/a)²."""
    root = {n: 0.05 * math.sqrt(n) for n in LINE}
    found = crossover(LINE, root)
    assert found.rows == pytest.approx((0.05 / 1e-4) ** 2)
    assert (found.first, found.last, found.at_once, found.stays) == (10_000, 1_000_000, False, True)


def test_what_is_equal_at_a_measured_size_crosses_there() -> None:
    assert crossover(LINE, {10_000: 3.0, 100_000: 10.0, 1_000_000: 50.0}).rows == pytest.approx(100_000)


def test_what_is_not_reached_says_up_to_where_it_was_looked() -> None:
    found = crossover(LINE, {n: 2 * s for n, s in LINE.items() if n < 1_000_000})
    assert (found.rows, found.last) == (None, 100_000)


def test_a_challenger_ahead_from_the_start_is_told_from_one_that_overtakes() -> None:
    found = crossover(LINE, {n: s / 2 for n, s in LINE.items()})
    assert (found.rows, found.at_once) == (10_000, True)


def test_an_incumbent_that_does_not_finish_is_overtaken_at_that_size() -> None:
    failing = {**LINE, 1_000_000: math.inf}
    found = crossover(failing, {n: 2 * s for n, s in LINE.items()})
    assert (found.rows, found.by_failure) == (1_000_000, True)
    both = crossover(failing, {**{n: 2 * s for n, s in LINE.items()}, 1_000_000: math.inf})
    assert both.rows is None


def test_a_lead_that_is_lost_again_is_no_lasting_one() -> None:
    found = crossover(LINE, {10_000: 2.0, 100_000: 5.0, 1_000_000: 200.0})
    assert found.rows is not None
    assert not found.stays


def test_without_a_common_size_or_with_a_cost_of_zero_there_is_no_answer() -> None:
    with pytest.raises(UsageError, match="both"):
        crossover(LINE, {5: 1.0})
    with pytest.raises(UsageError, match="above zero"):
        crossover(LINE, {10_000: 0.0})


def test_costs_between_sizes_follow_the_law_and_nothing_is_said_beyond() -> None:
    assert cost_at(LINE, 25_000) == pytest.approx(2.5)
    assert cost_at(LINE, 100_000) == 10.0
    assert cost_at(LINE, 9_999) is None
    assert cost_at(LINE, 1_000_001) is None
    assert cost_at({**LINE, 1_000_000: math.inf}, 200_000) == math.inf


def test_regret_is_a_multiple_of_the_best_in_time_and_in_memory() -> None:
    times = {"one": LINE, "other": {n: 4 * s for n, s in LINE.items()}, "elsewhere": {5: 1.0}}
    memory = {"one": dict.fromkeys(LINE, 300.0), "other": dict.fromkeys(LINE, 100.0)}
    found = regrets(times, memory, 30_000)
    assert [(one.name, pytest.approx(one.time), pytest.approx(one.memory)) for one in found] == [
        ("one", 1.0, 3.0),
        ("other", 4.0, 1.0),
    ]
    assert regrets({"one": {10: math.inf}}, {}, 10) == []
    assert regrets({"one": {10: 1.0}}, {}, 10)[0].memory == math.inf


def test_the_choice_has_the_least_worst_regret_over_all_tasks() -> None:
    """Alone, each task would choose another way; ``middle`` is never far off."""
    forest = {"start": {10: 1.0, 1_000: 90.0}, "middle": {10: 2.0, 1_000: 20.0}, "big": {10: 30.0, 1_000: 10.0}}
    linear = {"start": {10: 1.0}, "middle": {10: 1.5}, "big": {10: 9.0}}
    found = least_regret([forest, linear])
    assert found is not None
    assert (found.name, found.worst, found.rows) == ("middle", 2.0, 10)


def test_what_failed_or_was_not_measured_somewhere_is_not_chosen() -> None:
    failed = {"quick": {10: 1.0, 1_000: math.inf}, "slow": {10: 50.0, 1_000: 60.0}}
    found = least_regret([failed])
    assert found is not None
    assert (found.name, found.worst) == ("slow", 50.0)
    unknown = least_regret([{"quick": {10: 1.0}, "slow": {10: 50.0, 1_000: 60.0}}])
    assert unknown is not None
    assert unknown.name == "slow"
    assert least_regret([{"quick": {10: math.inf}}]) is None


def test_growth_is_the_exponent_of_the_law() -> None:
    assert growth(LINE) == pytest.approx(1.0)
    assert growth(dict.fromkeys(LINE, 7.0)) == pytest.approx(0.0)
    assert growth({10: 1.0}) is None
