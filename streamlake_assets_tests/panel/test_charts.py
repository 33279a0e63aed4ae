"""Pictures as markup: places, ticks, names; texts of data are escaped."""

import math
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panel_app import charts

HOSTILE = "<img src=x onerror=alert(1)>"


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_few_round_and_inside(low: float, width: float) -> None:
    found = charts.round_values(low, low + width)
    assert len(found) <= 7
    assert all(low - 1e-6 * width <= value <= low + width + 1e-6 * width for value in found)


def test_names_at_the_ends_of_lines_do_not_lie_on_one_another() -> None:
    assert charts.spread([10.0, 11.0, 50.0, 10.5], 5.0) == pytest.approx([10.0, 20.0, 50.0, 15.0])


def test_bars_begin_at_zero_and_go_to_both_sides() -> None:
    made = charts.bars_by_name(
        [charts.NamedBar(HOSTILE, 3.0, "3"), charts.NamedBar("b", -1.0, "-1", spread=(-1.0, 0.0))]
    )
    assert "left:25.00%;width:75.00%" in made and "left:0.00%;width:25.00%" in made
    assert "<img" not in made and "spread" in made
    assert charts.bars_by_name([]) == ""
    assert "width:0.00%" in charts.bars_by_name([charts.NamedBar("a", 0.0, "0")])


def test_equal_factors_are_equal_steps_in_a_chart_of_costs() -> None:
    made = charts.scaling({HOSTILE: {10: 1.0, 100: 10.0, 1000: 100.0}, "none": {}}, "s", {HOSTILE: "#000"})
    (points,) = re.findall(r'points="([^"]+)"', made)
    places = [tuple(map(float, pair.split(","))) for pair in points.split()]
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(places)]
    assert steps[0] == pytest.approx(steps[1], abs=0.02) and steps[0][1] < 0 < steps[0][0]
    assert "<img" not in made and "1,000" in made and charts.scaling({"a": {}}, "s", {}) == ""


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.5, 2000.0, [1, 10, 100, 1000]), (0.8, 12.0, [1, 2, 5, 10]), (3.0, 4.0, []), (0.01, 0.02, [0.01, 0.02])],
)
def test_a_logarithmic_axis_of_few_powers_has_values_between(low: float, high: float, expected: list[float]) -> None:
    assert charts.log_values(low, high) == pytest.approx(expected)


def test_lines_from_100_end_together_and_one_alone_is_no_comparison() -> None:
    made = charts.indexed([("A", [100.0, 110.0, 120.0]), (HOSTILE, [100.0, 90.0])])
    assert made.count("100.00,") == 2 and "A 120.0" in made and "<img" not in made
    assert charts.indexed([("A", [100.0, 110.0])]) == ""


def test_a_session_without_outcome_has_no_dot() -> None:
    waiting = charts.Said("2012-01-01", 0.01, 0.0, 0.02, None, False, HOSTILE)
    made = charts.said_and_happened([waiting])
    assert "<path" not in made and "&lt;img" in made and not math.isnan(float(re.findall(r'y="([^"]+)"', made)[0]))
